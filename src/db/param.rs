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

/// A `text`, or null.
pub fn text<'a>(value: impl Into<Option<&'a str>>) -> Param<'a> {
    param(value.into(), Type::TEXT)
}

/// A `bytea`.
pub fn bytea(value: &[u8]) -> Param<'_> {
    param(value, Type::BYTEA)
}

/// A `text[]`.
pub fn texts(values: &[String]) -> Param<'_> {
    param(values, Type::TEXT_ARRAY)
}

/// A `bigint`.
pub fn bigint<'a>(value: impl Into<Option<i64>>) -> Param<'a> {
    param(value.into(), Type::INT8)
}

/// A `bigint[]`.
pub fn bigints(values: &[i64]) -> Param<'_> {
    param(values, Type::INT8_ARRAY)
}

/// An `integer`.
pub fn integer<'a>(value: i32) -> Param<'a> {
    param(value, Type::INT4)
}

/// A `boolean`.
pub fn boolean<'a>(value: bool) -> Param<'a> {
    param(value, Type::BOOL)
}

/// An `oid`.
pub fn oid<'a>(value: u32) -> Param<'a> {
    param(value, Type::OID)
}

/// An `oid[]`.
pub fn oids(values: &[u32]) -> Param<'_> {
    param(values, Type::OID_ARRAY)
}

/// A `uuid`, or null.
pub fn uuid<'a>(value: impl Into<Option<Uuid>>) -> Param<'a> {
    param(value.into(), Type::UUID)
}

/// A `uuid[]`.
pub fn uuids(values: &[Uuid]) -> Param<'_> {
    param(values, Type::UUID_ARRAY)
}

/// A `timestamptz`.
pub fn timestamptz<'a>(value: DateTime<Utc>) -> Param<'a> {
    param(value, Type::TIMESTAMPTZ)
}

/// A `jsonb`.
pub fn jsonb<'a, T: Serialize + std::fmt::Debug + Sync + ?Sized>(value: &'a T) -> Param<'a> {
    param(Json(value), Type::JSONB)
}
