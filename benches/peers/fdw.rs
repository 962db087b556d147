//! A foreign table of `postgres_fdw` in the local database, and the relay's merge.

use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::data::{COLUMNS, TENANT};
use crate::peer::Site;
use crate::servers::{self, REMOTE_DATABASE};

pub(crate) const METHOD: &str = "`postgres_fdw` with `fetch_size` 10,000 and an analysed foreign table, read into a temporary \
     table; then the relay's merge";

const SCRIPT: &str = "fdw.sql";

/// Makes the foreign table and has it analysed, and writes the script.
pub(crate) async fn prepare(site: Site<'_>) -> Result<()> {
    let local = servers::connect(site.local_url).await?;
    let sql = format!(
        "create extension postgres_fdw;
create server central foreign data wrapper postgres_fdw
    options (host '127.0.0.1', port '{}', dbname '{REMOTE_DATABASE}', fetch_size '10000');
create user mapping for current_user server central options (user 'postgres');
create schema central;
import foreign schema public limit to (meter) from server central into central;
analyze central.meter;
alter server central options (set port '{}')",
        site.direct_port, site.remote_port
    );
    local.batch_execute(&sql).await?;
    let script = format!(
        "begin;\ncreate temp table staged on commit drop as\n\
         select {COLUMNS} from central.meter where tenant_id = {TENANT};\n{}",
        include_str!("merge.sql")
    );
    Ok(fs::write(site.scratch.join(SCRIPT), script)?)
}

pub(crate) fn command(site: Site<'_>) -> Command {
    let mut command = Command::new(site.psql);
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]);
    command.arg(site.scratch.join(SCRIPT)).arg(site.local_url);
    command.env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}
