//! SQL for catalog queries about a table together with its partitions and the tables that inherit from it.

/// SQL: begins a query with the common table expression `family`, which has the object IDs of the table `$1`, its
/// partitions and the tables that inherit from it.
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
