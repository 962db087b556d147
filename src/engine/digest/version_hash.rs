//! SQL for the hashes of row versions (see `row_versions`), and their total.

use tokio_postgres::SimpleQueryRow;

use crate::store::watermarks::VersionSum;

/// The number of rows and the sum of row versions of one side. `horizon` and `next` are the limits of the snapshot in
/// which they were read: the oldest transaction still running, and one more than the newest that had ended.
pub(in crate::engine) struct VersionTotal {
    pub(in crate::engine) versions: VersionSum,
    pub(super) horizon: i64,
    pub(super) next: i64,
}

impl VersionTotal {
    /// SQL for the columns of a total. `sum` is the SQL for the sum of the versions, and `rows` for their number.
    pub(super) fn columns(sum: &str, rows: &str) -> [String; Self::COLUMNS] {
        [
            format!("coalesce({sum}, 0)"),
            "pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())".to_owned(),
            "pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())".to_owned(),
            rows.to_owned(),
        ]
    }

    /// How many columns a total has.
    pub(super) const COLUMNS: usize = 4;

    /// Reads the total from the columns of `row` from the number `first` on.
    pub(super) fn read(row: &SimpleQueryRow, first: usize) -> Option<Self> {
        let number = |n| row.get(first + n)?.parse().ok();
        Some(Self {
            versions: (number(3)?, number(0)?),
            horizon: number(1)?,
            next: number(2)?,
        })
    }
}

/// Returns a `bigint` expression in SQL for the hash of the version of a row with the alias `row`. It is NULL if there
/// is no row.
pub(in crate::engine) fn row_version(row: &str) -> String {
    version(&format!("{row}.ctid"), &format!("{row}.xmin"))
}

/// Returns a `bigint` expression in SQL for the hash of a row's place (`ctid`) and transaction (`xmin`). The
/// transaction is hashed as its distance from the first one (number 3), and not as its age, which grows with each new
/// transaction. All names have their schema, because this SQL also runs with the role's own search path.
pub(super) fn version(place: &str, transaction: &str) -> String {
    format!(
        "pg_catalog.hashtidextended({place}, ((select pg_catalog.age('3'::pg_catalog.xid)::bigint) operator(pg_catalog.-) \
         pg_catalog.age({transaction})) operator(pg_catalog.&) 4294967295)"
    )
}

/// Returns the SQL condition that the version of the row with the alias `row` was made by the transaction `since` or a
/// later one. It also holds for some very old versions, because transaction IDs wrap around. To take these rows for new
/// ones does no harm.
pub(in crate::engine) fn is_new(row: &str, since: i64) -> String {
    let number = since & 0xffff_ffff;
    format!(
        "pg_catalog.age({row}.xmin) operator(pg_catalog.<=) (select pg_catalog.age('{number}'::pg_catalog.xid))"
    )
}
