//! Takes one run from its request to its end: starts it (`begin`), carries it out (`execute`) and logs its end
//! (`settle`). `cancel_run` ends it early.

mod begin;
pub mod cancel_run;
pub(super) mod compare_both_sides;
pub(super) mod compare_contents_after_run;
pub(super) mod execute;
pub(super) mod follow_progress;
mod request_run;
mod run_task;
mod settle;
