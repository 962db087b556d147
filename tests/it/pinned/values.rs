//! Values that a local type refuses in words of its own.

use meter_sync::meter::Outcome;
use serde_json::json;

use super::site;
use crate::support::site::rows;

/// Types that call a value wrong SQL, or something that is not there.
#[tokio::test]
async fn a_value_that_is_refused_as_wrong_sql_keeps_only_its_row_out() {
    for (type_, before, bad) in [
        ("tsquery", "", "a &"),
        ("tsvector", "", "'"),
        ("jsonpath", "", "$["),
        ("regtype", "", "nosuch"),
        ("regclass", "", "nosuch.table"),
        ("query[]", "create domain query as tsquery", "{a &}"),
        ("ltree", "create extension ltree", "a b"),
        (
            "text check (nlevel(text2ltree(name)) < 9)",
            "create extension ltree",
            "a b",
        ),
    ] {
        let site = site("name text, place text", "").await;
        site.on_local(&format!(
            "{}; alter table meter drop column name, add column name {type_}",
            if before.is_empty() { "select" } else { before }
        ))
        .await;
        site.on_remote(
            "insert into meter select n, 7, null, 'old', true from generate_series(1, 9) n",
        )
        .await;
        site.sync().await;
        site.on_remote("update meter set place = 'new' where id = 4")
            .await;
        site.on_remote(&format!(
            "update meter set name = $t${bad}$t$ where id = 3; insert into meter values (10, 7, $t${bad}$t$, 'new', true)"
        ))
        .await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(Outcome::Partial), "{type_}: {run:#?}");
        assert_eq!(
            (run.counts.updated, run.counts.rejected),
            (1, 2),
            "{type_}: {run:#?}"
        );
        // What a check calls tells no column.
        let told = !type_.starts_with("text");
        let kept = "select reason like '%name%' as told, key from meter_sync.meter_sync_rejected order by key::text";
        assert_eq!(
            rows(&site.local, kept).await,
            json!([{"told": told, "key": {"id": 10}}, {"told": told, "key": {"id": 3}}]),
            "{type_}"
        );
    }
}
