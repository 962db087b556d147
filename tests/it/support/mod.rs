//! What the tests share.

pub(crate) mod postgres;
pub(crate) mod processes;
pub(crate) mod site;
