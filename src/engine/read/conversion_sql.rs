//! Builds the SQL that converts rows staged as text to the types of the local columns.

use crate::db::catalog::Column;
use crate::db::quote;

use crate::engine::Relations;

/// SQL that converts values of the text table `meter_sync_text`, with the alias `t`, to the types of the local columns.
pub(in crate::engine) struct ConversionSql {
    /// The select list.
    pub(in crate::engine) list: String,
    /// The `from` clause.
    pub(in crate::engine) from: String,
}

/// Builds the SQL that converts the columns `names` of the text table to their local types, without length or
/// precision. The insert then applies length and precision, and refuses a value that is too long; an explicit cast
/// would cut it off (<https://www.postgresql.org/docs/current/typeconv-query.html>).
pub(in crate::engine) fn values(relations: &Relations, names: &[String]) -> ConversionSql {
    let column = |name: &str| relations.columns.iter().find(|column| column.name == name);
    let is_read = |name: &str| column(name).is_some_and(is_read_by_input);
    let list = quote::list(names, ", ", |name| match is_read(name) {
        true => relations.column("i", name),
        false => {
            let base_type = column(name).map_or("text", |column| column.base_type.as_str());
            format!("{}::{base_type}", relations.column("t", name))
        }
    });
    let read: Vec<&String> = names.iter().filter(|name| is_read(name)).collect();
    let mut from = "pg_temp.meter_sync_text t".to_owned();
    if !read.is_empty() {
        let texts = relations.list("t", read.iter().copied());
        let types = quote::list(read, ", ", |name| {
            let exact_type = column(name).map_or("text", |column| column.exact_type.as_str());
            format!("{} {exact_type}", relations.temp_column(name))
        });
        from.push_str(&format!(
            "
cross join lateral pg_catalog.json_to_record((select pg_catalog.row_to_json(x) from (select {texts}) x)) i ({types})"
        ));
    }
    ConversionSql { list, from }
}

/// Whether texts for this column must be converted by the input function of its type, as COPY does, because a cast may
/// give another value. Two kinds of types need this:
///
/// - types with their own cast from text (`regclass`, some user-defined types);
/// - an interval limited to some fields, because the fields decide the unit of a bare number.
///
/// In SQL, only `json_to_record` calls the input function of any type.
fn is_read_by_input(column: &Column) -> bool {
    !column.is_builtin || column.base_type == "regclass" || has_interval_fields(column)
}

/// Whether the column is an interval limited to some fields or to fewer fractional digits.
pub(in crate::engine) fn has_interval_fields(column: &Column) -> bool {
    let is_interval = ["interval", "interval[]"].contains(&column.base_type.as_str());
    is_interval && column.exact_type != column.base_type
}
