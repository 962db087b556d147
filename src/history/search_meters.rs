//! Finds meters by the beginning of their key or by a part of their name.

use std::time::Duration;

use crate::db::{DbError, Local, Tx, param, quote, read_lossless_json};
use crate::error::Failure;

use crate::mirrors::Mirror;
use crate::reports::meter_report::MeterMatch;
use crate::tenants::meter_table::{MeterTable, NAME};

/// The time limit of a search by the beginning of a key or by a part of a name. No index helps, so a search reads all
/// rows: a third of a second for a million.
const LONGEST: Duration = Duration::from_secs(1);

/// The maximum number of meters that a search by name lists.
pub(super) const MATCHES: usize = 20;

impl Mirror {
    /// Returns the keys of meters in the local table that begin with `prefix`, at most `limit`, in key order. Returns
    /// an empty list if the key has several columns.
    pub async fn meter_keys(&self, prefix: &str, limit: i64) -> Result<Vec<String>, Failure> {
        let read = async |tx: &Tx<'_, Local>| {
            let meters = self.meters(tx).await?;
            Ok(meters.keys(tx, prefix, limit).await?)
        };
        self.local()?.read("meter keys", read).await
    }
}

impl MeterTable {
    async fn keys(
        &self,
        tx: &Tx<'_, Local>,
        prefix: &str,
        limit: i64,
    ) -> Result<Vec<String>, DbError> {
        let [column] = self.key.as_slice() else {
            return Ok(Vec::new());
        };
        let key = quote::identifier(&column.name);
        let sql = format!(
            "-- list keys
select l.{key}::text from {} l
where pg_catalog.starts_with(l.{key}::text, $1) and {} order by l.{key} limit $2",
            self.relation.quoted(),
            self.filter
        );
        tx.allow_each_statement(LONGEST).await?;
        let params = [param::text(prefix), param::bigint(limit)];
        let rows = tx.query(&sql, &params).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Returns the meters whose names contain `part`, ignoring case: first those whose whole name is `part`, then the
    /// others, sorted by name. Returns at most [`MATCHES`] plus one, so that the caller sees whether there are more.
    pub(super) async fn named(
        &self,
        tx: &Tx<'_, Local>,
        part: &str,
    ) -> Result<Vec<MeterMatch>, DbError> {
        if self.relation.column(NAME).is_none() {
            return Ok(Vec::new());
        }
        let texts = quote::list(self.key.iter().map(|column| &column.name), ", ", |name| {
            format!("l.{}::pg_catalog.text", quote::identifier(name))
        });
        let name = format!("l.{NAME}::pg_catalog.text");
        let lower = |text: &str| {
            format!(
                "pg_catalog.lower({text} collate pg_catalog.\"default\") collate pg_catalog.\"C\""
            )
        };
        let (held, asked) = (lower(&name), lower("$1::pg_catalog.text"));
        let sql = |text: fn(&str) -> String| {
            format!(
                "-- look for meters by name
select {}, {}, {}, {}
from {} l
where pg_catalog.strpos({held}, {asked}) operator(pg_catalog.>) 0 and {}
order by {held} operator(pg_catalog.<>) {asked}, {held}, {texts} limit {}",
                text(&self.key_json()),
                text(&format!("pg_catalog.to_jsonb({name})")),
                self.active,
                text(&format!("pg_catalog.jsonb_build_array({texts})")),
                self.relation.quoted(),
                self.filter,
                MATCHES + 1
            )
        };
        tx.allow_each_statement(LONGEST).await?;
        let part = tx.storable(part).await?;
        let rows = tx.query_json(sql, &[param::text(part.as_ref())]).await?;
        let found = rows.iter().map(|row| MeterMatch {
            key: read_lossless_json::fields(row.get(0)),
            name: serde_json::from_str(row.get(1)).ok(),
            active: row.get(2),
            key_texts: serde_json::from_str(row.get(3)).unwrap_or_default(),
        });
        Ok(found.collect())
    }
}
