//! The sample data of the demo: a remote database with 420 meters of three organisations, and the local database of a
//! site of one of these organisations. Some local rows are out of date or missing, so that the first sync has changes
//! to make.

use anyhow::Context;

use super::owner_connection::OwnerConnection;

/// The version of the sample data. It must be increased with every change of the sample tables, so that data of an
/// older demo is detected.
const VERSION: i32 = 1;

const METERS: &str = include_str!("sql/sample_meters.sql");
const REMOTE: &str = include_str!("sql/remote.sql");
const LOCAL: &str = include_str!("sql/local.sql");

/// SQL: creates the table that records which version of the sample data a database holds, and how many changes the demo
/// has made since.
const MARK: &str = "\
-- demo: mark the database as filled
create table demo_sample (version integer not null, step bigint not null default 0)";

const MARKED: &str = "\
-- demo: look for the mark
select to_regclass('demo_sample') is not null";

const VERSION_FOUND: &str = "\
-- demo: read the sample's version
select version from demo_sample";

const REMEMBER: &str = "\
-- demo: remember the sample's version
insert into demo_sample (version) values ($1)";

/// Fills each of the two databases that does not hold the sample data yet. Leaves a database that holds this version of
/// the data as it is. Returns an error if a database holds another version.
pub async fn fill(remote_url: &str, local_url: &str) -> anyhow::Result<()> {
    let (remote, local) = tokio::join!(fill_one(remote_url, REMOTE), fill_one(local_url, LOCAL));
    remote.context("fill the demo's remote database")?;
    local.context("fill the demo's local database")
}

/// Fills one database in one transaction, so that the database stays empty if the process is killed in the middle.
async fn fill_one(url: &str, tables: &str) -> anyhow::Result<()> {
    let mut owner = OwnerConnection::connect(url).await?;
    let tx = owner.begin().await?;
    if tx.query_one(MARKED, &[]).await?.try_get(0)? {
        let found: i32 = tx.query_one(VERSION_FOUND, &[]).await?.try_get(0)?;
        anyhow::ensure!(
            found == VERSION,
            "an earlier version of the demo made this data (sample {found}, this is {VERSION}); \
             start over with `meter-sync demo --fresh`"
        );
    } else {
        tx.batch_execute(MARK).await?;
        tx.execute(REMEMBER, &[&VERSION]).await?;
        tx.batch_execute(METERS).await?;
        tx.batch_execute(tables).await?;
    }
    tx.commit().await?;
    owner.close().await;
    Ok(())
}
