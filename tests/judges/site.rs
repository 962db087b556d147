//! A site for those who judge the program from outside: a remote and a local database on servers of
//! their own, changed by lines on standard input.
//!
//! The first line written is `{"remote_url": .., "local_url": ..}`. Each line read is
//! `{"remote": "sql"}` or `{"local": "sql"}`, answered by a line `{"rows": [{..}, ..]}`, all values as
//! text, or `{"error": ".."}`. It ends, and the servers with it, when standard input does.

#![allow(clippy::expect_used, reason = "who judges sees it stop, and why")]

use std::collections::BTreeMap;
use std::io::{self, Write};

use meter_sync::embedded::{DataDirectory, PostgresBinaries, Server, ServerOptions};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

const DATABASE: &str = "postgres";

const REMOTE: &str = "
    create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme'), (8, 'Byte');
    create table meter (
        id bigint primary key, tenant_id bigint not null, name text, type text,
        serial_number text, active boolean not null default true);
    create index on meter (tenant_id);
    insert into meter
    select id, 7 + id % 2, 'Meter ' || id, 'electricity', 'SN-' || id from generate_series(1, 60) id";

const LOCAL: &str = "
    create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme');
    create table meter (
        id bigint primary key, name text, type text,
        serial_number text, active boolean not null default true)";

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Remote(String),
    Local(String),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let binaries = PostgresBinaries::find_or_install(None).await?;
    let (remote, local) =
        tokio::try_join!(server(&binaries, "remote"), server(&binaries, "local"),)?;
    let urls = [&remote, &local].map(|server| server.url(DATABASE));
    let clients = (connect(&urls[0]).await?, connect(&urls[1]).await?);
    clients.0.batch_execute(REMOTE).await?;
    clients.1.batch_execute(LOCAL).await?;
    say(&json!({"remote_url": urls[0], "local_url": urls[1]}))?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = match serde_json::from_str(&line)? {
            Line::Remote(sql) => answer(&clients.0, &sql).await,
            Line::Local(sql) => answer(&clients.1, &sql).await,
        };
        say(&answer)?;
    }
    tokio::try_join!(remote.stop(), local.stop())?;
    Ok(())
}

async fn server(binaries: &PostgresBinaries, name: &'static str) -> anyhow::Result<Server> {
    let options = ServerOptions {
        name,
        data: DataDirectory::Temporary,
        settings: Vec::new(),
    };
    Ok(Server::start(binaries, options).await?)
}

async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    #[expect(clippy::disallowed_methods, reason = "it ends with the client")]
    tokio::spawn(connection);
    Ok(client)
}

async fn answer(client: &Client, sql: &str) -> Value {
    let messages = match client.simple_query(sql).await {
        Ok(messages) => messages,
        Err(error) => return json!({"error": format!("{error:?}")}),
    };
    let rows = messages.iter().filter_map(|message| {
        let SimpleQueryMessage::Row(row) = message else {
            return None;
        };
        let columns = row.columns().iter().enumerate();
        let row: BTreeMap<_, _> = columns
            .map(|(index, column)| (column.name(), row.get(index)))
            .collect();
        Some(json!(row))
    });
    json!({"rows": rows.collect::<Vec<_>>()})
}

fn say(line: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
