//! Looks up the remote source: a table, a view or a query.

use crate::config::{Mapping, SourceSetting};
use crate::db::catalog::{self, Column};
use crate::db::count_writes::{self, WriteCounts};
use crate::db::{Remote, Tx};
use crate::engine::SyncError;

use super::explain_missing_names::{lacks, remote_source};

/// The remote source: a table, a view or a query. Fields that [`Relation`](catalog::Relation) also has mean the same
/// here. `from` is the source as SQL for use after `from`, and `what` names it in messages. A query has no `oid`, no
/// `file` and no `writes`.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine) struct RemoteSource {
    pub(in crate::engine) from: String,
    pub(in crate::engine) is_plain: bool,
    pub(super) is_table: bool,
    pub(super) may_be_foreign: bool,
    pub(super) columns: Vec<Column>,
    pub(in crate::engine) oid: Option<u32>,
    pub(in crate::engine) file: Option<String>,
    /// How often its rows were written so far; `None` if it is not known.
    pub(super) writes: Option<WriteCounts>,
    pub(super) what: String,
}

impl RemoteSource {
    /// Looks up the source that the settings name, and its columns.
    pub(in crate::engine) async fn find(
        remote: &Tx<'_, Remote>,
        mapping: &Mapping,
    ) -> Result<Self, SyncError> {
        match &mapping.source {
            SourceSetting::Table(name) => {
                // Both are sent at once.
                let (relation, writes) = tokio::join!(
                    remote_source(remote, name),
                    count_writes::of_table(remote, name)
                );
                let relation = relation?;
                Ok(Self {
                    from: relation.quoted(),
                    is_plain: relation.is_plain,
                    is_table: relation.is_table,
                    may_be_foreign: relation.may_be_foreign,
                    oid: Some(relation.oid),
                    file: relation.file,
                    writes: writes?,
                    columns: relation.columns,
                    what: format!("table {name}"),
                })
            }
            SourceSetting::Query(query) => {
                remote.use_role_path().await?;
                Ok(Self {
                    from: format!("({query}\n)"),
                    is_plain: false,
                    is_table: false,
                    may_be_foreign: false,
                    columns: catalog::of_query(remote, query).await?,
                    oid: None,
                    file: None,
                    writes: None,
                    what: "query".to_owned(),
                })
            }
        }
    }

    /// Returns the column of this name; `None` if the source has none.
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Returns the error for a column that the source lacks. `role` says what the column is for, and is part of the
    /// message.
    pub(super) fn lacks(&self, role: &str, column: &str) -> SyncError {
        lacks(
            SyncError::RemoteSchema,
            &self.what,
            &self.columns,
            role,
            column,
        )
    }

    /// Returns the column that holds the tenant's id. Fails if the source has no such column.
    pub(in crate::engine) fn tenant(&self, mapping: &Mapping) -> Result<Column, SyncError> {
        let name = &mapping.tenant_column;
        let column = self.column(name).cloned();
        column.ok_or_else(|| self.lacks("tenant column", name))
    }

    /// Whether the source has a column of this name.
    pub(super) fn has(&self, column: &str) -> bool {
        self.column(column).is_some()
    }
}
