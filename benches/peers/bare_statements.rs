//! The times of bare statements over the same rows. They are a lower bound: no way that reads, writes or sums all
//! rows is faster.

use anyhow::Result;
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::data::{BLANK, COLUMNS, TENANT};
use crate::peer::Peer;
use crate::results::{BareStatement, Results};
use crate::servers::{REMOTE_DATABASE, Servers, Side};

/// Measures each once. Ours must hold the rows, since its table is the one that is summed here.
pub(crate) async fn measure(servers: &Servers, size: u64, results: &mut Results) -> Result<()> {
    let remote = servers.connect(Side::Remote, REMOTE_DATABASE).await?;
    let blank = servers.connect(Side::Local, BLANK).await?;
    let file = servers.local.directory().join("meter.copy");
    let file = file.display();
    let rows = format!("select {COLUMNS} from meter where tenant_id = {TENANT}");
    remote
        .batch_execute(&format!("copy ({rows}) to '{file}'"))
        .await?;
    let mut add = |statement, seconds| {
        results
            .bare_statements
            .entry((size, statement))
            .or_default()
            .push(seconds);
    };
    add(
        BareStatement::Read,
        seconds(&remote, &format!("copy ({rows}) to '/dev/null'")).await?,
    );
    for (statement, extra) in [
        (BareStatement::Write, ""),
        (BareStatement::WriteWithKey, ", primary key (id)"),
    ] {
        let table = format!("create unlogged table target (like meter{extra})");
        blank.batch_execute(&table).await?;
        let copy = format!("copy target from '{file}'");
        add(statement, seconds(&blank, &copy).await?);
        blank.batch_execute("drop table target").await?;
    }
    let digest =
        format!("select count(*), bit_xor(hash_record_extended(row({COLUMNS}), 0)) from meter");
    let of_tenant = format!("{digest} where tenant_id = {TENANT}");
    add(
        BareStatement::DigestRemote,
        seconds(&remote, &of_tenant).await?,
    );
    if let Ok(ours) = servers.connect(Side::Local, Peer::Ours.database()).await {
        add(BareStatement::DigestLocal, seconds(&ours, &digest).await?);
        let both = tokio::try_join!(seconds(&remote, &of_tenant), seconds(&ours, &digest))?;
        add(BareStatement::DigestBoth, both.0.max(both.1));
    }
    std::fs::remove_file(servers.local.directory().join("meter.copy"))?;
    Ok(())
}

async fn seconds(client: &Client, sql: &str) -> Result<f64> {
    let start = Instant::now();
    client.batch_execute(sql).await?;
    Ok(start.elapsed().as_secs_f64())
}
