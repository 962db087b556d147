//! `Database::write`: a transaction that is committed only if its work succeeds.

use meter_sync::db::{Database, DbError, Local, Tx};
use meter_sync::error::{ErrorCode, Failure};
use serde_json::json;

use crate::support::site::{Site, config, rows};

const INSERT: &str = "-- write\ninsert into public.written values (1)";

#[tokio::test]
async fn what_was_written_is_kept_if_the_work_succeeds_and_undone_if_it_fails() {
    let site = Site::new().await;
    site.on_local("create table written (n bigint)").await;
    let settings = config(&site.settings());
    let local = Database::<Local>::new(settings.local.as_ref().unwrap(), &settings.limits).unwrap();
    let written = async || rows(&site.local, "select n from written").await;

    let fails = async |tx: &Tx<'_, Local>| {
        tx.execute(INSERT, &[]).await?;
        Err::<(), _>(Failure::new(ErrorCode::Internal, "It failed."))
    };
    let failed = local.write("test", fails).await;
    assert_eq!(
        failed.map_err(|failure| failure.code),
        Err(ErrorCode::Internal)
    );
    assert_eq!(written().await, json!([]));

    let succeeds = async |tx: &Tx<'_, Local>| tx.execute(INSERT, &[]).await;
    let kept: Result<u64, DbError> = local.write("test", succeeds).await;
    assert_eq!(kept.unwrap(), 1);
    assert_eq!(written().await, json!([{"n": 1}]));
}
