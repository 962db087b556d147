//! Query parameters with their types. Because the types are given, the driver need not ask the server for them, which
//! saves a round trip.

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_postgres::types::{Json, ToSql, Type};
use uuid::Uuid;

/// A query parameter: a value and its type.
pub struct Param<'a> {
    value: Box<dyn ToSql + Sync + Send + 'a>,
    type_: Type,
}

fn param<'a>(value: impl ToSql + Sync + Send + 'a, type_: Type) -> Param<'a> {
    Param {
        value: Box::new(value),
        type_,
    }
}

/// Converts parameters to the form that the driver takes.
pub(super) fn typed<'p>(params: &'p [Param<'_>]) -> Vec<(&'p (dyn ToSql + Sync), Type)> {
    params
        .iter()
        .map(|param| (&*param.value as &(dyn ToSql + Sync), param.type_.clone()))
        .collect()
}

/// Creates a `text` parameter; `None` is null.
pub fn text<'a>(value: impl Into<Option<&'a str>>) -> Param<'a> {
    param(value.into(), Type::TEXT)
}

/// Creates a `bytea` parameter.
pub fn bytea(value: &[u8]) -> Param<'_> {
    param(value, Type::BYTEA)
}

/// Creates a `text[]` parameter.
pub fn texts(values: &[String]) -> Param<'_> {
    param(values, Type::TEXT_ARRAY)
}

/// Creates a `bigint` parameter; `None` is null.
pub fn bigint<'a>(value: impl Into<Option<i64>>) -> Param<'a> {
    param(value.into(), Type::INT8)
}

/// Creates a `bigint[]` parameter.
pub fn bigints(values: &[i64]) -> Param<'_> {
    param(values, Type::INT8_ARRAY)
}

/// Creates an `integer` parameter.
pub fn integer<'a>(value: i32) -> Param<'a> {
    param(value, Type::INT4)
}

/// Creates a `boolean` parameter.
pub fn boolean<'a>(value: bool) -> Param<'a> {
    param(value, Type::BOOL)
}

/// Creates an `oid` parameter.
pub fn oid<'a>(value: u32) -> Param<'a> {
    param(value, Type::OID)
}

/// Creates an `oid[]` parameter.
pub fn oids(values: &[u32]) -> Param<'_> {
    param(values, Type::OID_ARRAY)
}

/// Creates a `uuid` parameter; `None` is null.
pub fn uuid<'a>(value: impl Into<Option<Uuid>>) -> Param<'a> {
    param(value.into(), Type::UUID)
}

/// Creates a `uuid[]` parameter.
pub fn uuids(values: &[Uuid]) -> Param<'_> {
    param(values, Type::UUID_ARRAY)
}

/// Creates a `timestamptz` parameter.
pub fn timestamptz<'a>(value: impl Into<Option<DateTime<Utc>>>) -> Param<'a> {
    param(value.into(), Type::TIMESTAMPTZ)
}

/// Creates a `jsonb` parameter from a value that can be serialized.
pub fn jsonb<'a, T: Serialize + std::fmt::Debug + Sync + ?Sized>(value: &'a T) -> Param<'a> {
    param(Json(value), Type::JSONB)
}
