//! What services of this kind usually do: read all remote rows, look each of them up here, and write
//! those that differ, each in a transaction of its own. Statements are prepared once.

use std::collections::HashSet;
use std::process::Command;

use anyhow::{Context, Result};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use crate::data::{COLUMNS, TENANT};
use crate::peer::Site;
use crate::servers;

pub(crate) const METHOD: &str = "one connection a side, prepared statements: select all remote rows, for each select the local \
     one, compare, insert or update; then set inactive what is gone";

const TYPES: [&str; 16] = [
    "bigint",
    "text",
    "text",
    "text",
    "date",
    "bigint",
    "bigint",
    "text",
    "integer",
    "text",
    "text",
    "jsonb",
    "text",
    "boolean",
    "timestamptz",
    "timestamptz",
];

/// This program, in its other part.
pub(crate) fn command(site: Site<'_>) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("row-by-row")
        .arg(site.remote_url)
        .arg(site.local_url);
    command.env_clear();
    Ok(command)
}

struct Statements {
    select: Statement,
    insert: Statement,
    update: Statement,
}

impl Statements {
    async fn prepare(local: &Client) -> Result<Self> {
        let values: Vec<String> = (1..)
            .zip(TYPES)
            .map(|(n, of)| format!("${n}::text::{of}"))
            .collect();
        let set: Vec<String> = COLUMNS
            .split(", ")
            .zip(&values)
            .skip(1)
            .map(|(column, value)| format!("{column} = {value}"))
            .collect();
        let prepare = async |sql: String| local.prepare(&sql).await;
        Ok(Self {
            select: prepare(format!(
                "select {} from meter where id = $1::text::bigint",
                as_text()
            ))
            .await?,
            insert: prepare(format!(
                "insert into meter ({COLUMNS}) values ({})",
                values.join(", ")
            ))
            .await?,
            update: prepare(format!(
                "update meter set {} where id = $1::text::bigint",
                set.join(", ")
            ))
            .await?,
        })
    }
}

fn as_text() -> String {
    let columns: Vec<String> = COLUMNS
        .split(", ")
        .map(|column| format!("{column}::text"))
        .collect();
    columns.join(", ")
}

/// One run.
pub(crate) async fn run(remote_url: &str, local_url: &str) -> Result<()> {
    let remote = servers::connect(remote_url).await?;
    let local = servers::connect(local_url).await?;
    let statements = Statements::prepare(&local).await?;
    let sql = format!("select {} from meter where tenant_id = {TENANT}", as_text());
    let mut seen = HashSet::new();
    for row in remote.query(&sql, &[]).await? {
        let there = values(&row)?;
        settle(&local, &statements, &there).await?;
        let key = there.into_iter().next().flatten();
        seen.insert(key.context("a meter without a key")?);
    }
    let deactivate = local
        .prepare("update meter set active = false where id = $1::text::bigint")
        .await?;
    for row in local
        .query("select id::text from meter where active", &[])
        .await?
    {
        let key: String = row.try_get(0)?;
        if !seen.contains(&key) {
            local.execute(&deactivate, &[&key]).await?;
        }
    }
    Ok(())
}

async fn settle(local: &Client, statements: &Statements, there: &[Option<String>]) -> Result<()> {
    let key = there.first().context("a row without columns")?;
    let write = match local.query_opt(&statements.select, &[key]).await? {
        None => &statements.insert,
        Some(here) if values(&here)? != there => &statements.update,
        Some(_) => return Ok(()),
    };
    let parameters: Vec<&(dyn ToSql + Sync)> = there.iter().map(|value| value as _).collect();
    local.execute(write, &parameters).await?;
    Ok(())
}

fn values(row: &Row) -> Result<Vec<Option<String>>> {
    let all = 0..row.len();
    Ok(all.map(|n| row.try_get(n)).collect::<Result<_, _>>()?)
}
