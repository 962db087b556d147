//! dlt, merging a SQL table by its primary key.

use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::data::{COLUMNS, TENANT};
use crate::peer::Site;
use crate::python;

pub(crate) const METHOD: &str = "dlt 1.31.0 from PyPI: `sql_table` of the tenant's rows with `write_disposition=\"merge\"` and a \
     primary key (it has no mode that keeps rows that are gone and marks them)";

const TOOL: &str = "dlt";
const PACKAGES: [&str; 2] = ["dlt[postgres,sql-database]==1.31.0", "numpy"];
const SCRIPT: &str = "dlt_sync.py";

pub(crate) fn install() -> Result<()> {
    python::install(TOOL, &PACKAGES)
}

pub(crate) fn prepare(site: Site<'_>) -> Result<()> {
    Ok(fs::write(
        site.scratch.join(SCRIPT),
        include_str!("dlt_sync.py"),
    )?)
}

pub(crate) fn command(site: Site<'_>) -> Command {
    let mut command = python::command("python3", site.scratch);
    command.arg(SCRIPT).args([COLUMNS, &TENANT.to_string()]);
    command.env("PYTHONPATH", python::directory(TOOL));
    command.env("RUNTIME__DLTHUB_TELEMETRY", "false");
    command.env("METERS_REMOTE", site.remote_url);
    command.env("METERS_LOCAL", site.local_url);
    command
}
