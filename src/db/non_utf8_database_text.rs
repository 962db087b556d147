//! Writes texts to a local database whose encoding lacks some characters, and reads JSON with bytes that cannot be
//! converted to UTF-8.

use std::borrow::Cow;

use serde_json::Value;
use tokio_postgres::Row;

use super::param::Param;
use super::{DbError, Local, Tx, param, read_lossless_json};

/// The database encodings that accept every Unicode text.
const TAKE_EVERY_TEXT: &[&str] = &["UTF8", "SQL_ASCII"];

impl Tx<'_, Local> {
    /// Returns the text in a form that the local database can store. It is the first of these forms that the database
    /// accepts:
    /// - the text as it is;
    /// - the text with all characters beyond Latin-1 written as `\u{..}`;
    /// - the text with all characters beyond ASCII written as `\u{..}`.
    pub async fn storable<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, DbError> {
        if text.is_ascii() || TAKE_EVERY_TEXT.contains(&self.encoding()) {
            return Ok(text.into());
        }
        if self.takes(text).await? {
            return Ok(text.into());
        }
        let most = escaped(text, |c| u32::from(c) <= 0xff);
        Ok(match self.takes(&most).await? {
            true => most.into(),
            false => escaped(text, |c| c.is_ascii()).into(),
        })
    }

    /// Returns an optional text in a form that the local database can store (see [`Tx::storable`]); `None` stays
    /// `None`.
    pub async fn storable_if_any<'t>(
        &self,
        text: Option<&'t str>,
    ) -> Result<Option<Cow<'t, str>>, DbError> {
        Ok(match text {
            Some(text) => Some(self.storable(text).await?),
            None => None,
        })
    }

    /// Returns a JSON value in a form that the local database can store: as it is if the database can store all its
    /// texts, otherwise with all characters beyond ASCII written as `\u{..}`.
    pub async fn storable_json(&self, value: Value) -> Result<Value, DbError> {
        let text = value.to_string();
        Ok(match self.storable(&text).await? {
            Cow::Borrowed(_) => value,
            Cow::Owned(_) => escaped_json(value),
        })
    }

    /// Runs a query that selects JSON values as text. `sql` builds the query; its argument is a function that turns an
    /// SQL expression for a JSON value into one for the text of the value. If a value cannot be converted to UTF-8,
    /// runs the query again and returns all values in ASCII (see [`read_lossless_json::in_ascii`]).
    pub async fn query_json(
        &self,
        sql: impl Fn(fn(&str) -> String) -> String,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, DbError> {
        const SAVEPOINT: &str = "meter_sync_json";
        let plain = sql(|value| format!("{value}::text"));
        if self.is_utf8() {
            return self.query(&plain, params).await;
        }
        let queried = self.query(&plain, params);
        let queried = self.undo_if(SAVEPOINT, DbError::is_about_a_row, queried);
        match queried.await? {
            Ok(rows) => Ok(rows),
            Err(_) => self.query(&sql(read_lossless_json::in_ascii), params).await,
        }
    }

    async fn takes(&self, text: &str) -> Result<bool, DbError> {
        const SAVEPOINT: &str = "meter_sync_storable";
        let sql = "-- look whether a text can be stored\nselect $1";
        let params = [param::text(text)];
        let taken = self.query_one(sql, &params);
        let taken = self.undo_if(SAVEPOINT, DbError::is_about_a_row, taken);
        Ok(taken.await?.is_ok())
    }
}

fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut written = String::with_capacity(text.len());
    for c in text.chars() {
        match is_kept(c) {
            true => written.push(c),
            false => written.extend(c.escape_unicode()),
        }
    }
    written
}

fn escaped_json(value: Value) -> Value {
    let escape = |text: String| escaped(&text, |c| c.is_ascii());
    match value {
        Value::String(text) => Value::String(escape(text)),
        Value::Array(values) => values.into_iter().map(escaped_json).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (escape(name), escaped_json(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}
