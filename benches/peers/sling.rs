//! sling, in the mode that updates and inserts by primary key. What marks rows that are gone
//! (`delete_missing`) is refused without a paid token.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::data::{COLUMNS, TENANT};
use crate::peer::Site;
use crate::python;

pub(crate) const METHOD: &str = "sling 1.4.11 from PyPI (the last whose package holds the program): `mode: incremental` with a \
     primary key (`delete_missing`, which would mark what is gone, needs a paid token)";

const TOOL: &str = "sling";
const PACKAGE: &str = "sling-linux-amd64==1.4.11";
const PROGRAM: &str = "sling_linux_amd64/bin/sling-linux-amd64";
const REPLICATION: &str = "replication.yaml";

pub(crate) fn install() -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "only the package for Linux on x86-64 is tried"
    );
    python::install(TOOL, &[PACKAGE])?;
    let program = python::directory(TOOL).join(PROGRAM);
    Ok(fs::set_permissions(
        program,
        fs::Permissions::from_mode(0o755),
    )?)
}

pub(crate) fn prepare(site: Site<'_>) -> Result<()> {
    let replication = format!(
        "source: METERS_REMOTE
target: METERS_LOCAL
defaults:
  mode: incremental
  primary_key: [id]
streams:
  public.meter:
    sql: select {COLUMNS} from public.meter where tenant_id = {TENANT}
    object: public.meter
"
    );
    Ok(fs::write(site.scratch.join(REPLICATION), replication)?)
}

pub(crate) fn command(site: Site<'_>) -> Command {
    let program = python::directory(TOOL).join(PROGRAM);
    let mut command = python::command(program, site.scratch);
    command.args(["run", "-r", REPLICATION]);
    command.env("SLING_HOME_DIR", site.scratch.join("sling"));
    command.env("SLING_DISABLE_TELEMETRY", "true");
    command.env(
        "METERS_REMOTE",
        format!("{}?sslmode=disable", site.remote_url),
    );
    command.env(
        "METERS_LOCAL",
        format!("{}?sslmode=disable", site.local_url),
    );
    command
}
