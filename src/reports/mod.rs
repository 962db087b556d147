//! What is reported of mirrors and runs, as plain data, and the sentences and health that follow from it. All user
//! interfaces show these reports.
//!
//! The reports are built in `mirrors` and `history`, which read the databases. This module holds no SQL and no
//! connection to a database, so everything that it decides can be tested without a database.

pub(crate) mod changes_csv;
pub(crate) mod clock_warnings;
pub mod connections;
pub(crate) mod derive_health;
pub(crate) mod join_warnings;
pub mod meter_report;
pub(crate) mod moment;
pub(crate) mod pause_text;
pub mod run_and_change_pages;
pub mod run_detail;
pub mod run_difference;
pub mod run_progress;
pub mod run_report;
pub mod status;
pub(crate) mod status_text;
pub(crate) mod stored_state;
pub mod tenant_list;
pub mod verified_status;
pub mod verify_report;
