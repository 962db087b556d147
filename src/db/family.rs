//! A table together with its partitions and the tables that inherit from it, for queries of the catalogs.

/// Begins a query with the tables of the family of `$1`, as `family`.
macro_rules! family {
    () => {
        "
with recursive family (oid) as (
    select $1::oid
    union
    select h.inhrelid from family f join pg_catalog.pg_inherits h on h.inhparent = f.oid
)"
    };
}

pub(crate) use family;
