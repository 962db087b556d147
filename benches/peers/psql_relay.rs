//! What one writes with what Postgres brings: two psql, a pipe, a staging table and a merge.

use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::data::{COLUMNS, TENANT};
use crate::peer::Site;

pub(crate) const METHOD: &str = "two `psql`, `copy` to `copy` into a temporary table, `analyze`, update where a row differs, \
     insert, set inactive what is gone; one transaction";

const SCRIPT: &str = "merge.sql";

pub(crate) fn prepare(site: Site<'_>) -> Result<()> {
    let script = format!(
        "begin;\ncreate temp table staged (like meter) on commit drop;\n\\copy staged from pstdin\n{}",
        include_str!("merge.sql")
    );
    Ok(fs::write(site.scratch.join(SCRIPT), script)?)
}

pub(crate) fn command(site: Site<'_>) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args([
        "-c",
        "\"$PSQL\" -X -q -v ON_ERROR_STOP=1 -c \"$READ\" \"$REMOTE\" | \
         \"$PSQL\" -X -q -v ON_ERROR_STOP=1 -f \"$MERGE\" \"$LOCAL\"",
    ]);
    command.env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("PSQL", site.psql);
    command.env("REMOTE", site.remote_url);
    command.env("LOCAL", site.local_url);
    command.env("MERGE", site.scratch.join(SCRIPT));
    let read = format!("copy (select {COLUMNS} from meter where tenant_id = {TENANT}) to stdout");
    command.env("READ", read);
    command
}
