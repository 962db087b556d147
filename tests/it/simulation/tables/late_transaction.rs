//! A transaction of the remote that is committed some syncs after it wrote.

use tokio_postgres::Client;

use super::edits::EditGenerator;
use super::table::Draw;
use crate::support::postgres::connect;

pub(super) struct LateTransaction {
    client: Client,
    /// For how many more syncs it is open.
    open: Option<usize>,
}

impl LateTransaction {
    pub(super) async fn new(url: &str) -> Self {
        Self {
            client: connect(url).await,
            open: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// What it does, if it begins now; often it does.
    pub(super) fn begin(
        &mut self,
        edits: &mut EditGenerator<'_>,
        draw: &mut Draw,
    ) -> Option<String> {
        if self.is_open() || draw.below(4) == 0 {
            return None;
        }
        self.open = Some(draw.below(3));
        let begin = draw.of(&["begin", "begin; savepoint s"]);
        let edits = (0..=draw.below(3)).map(|_| format!("; {}", edits.remote(draw)));
        Some(format!("{begin}{}", edits.collect::<String>()))
    }

    /// How it ends, if it does now.
    pub(super) fn end(&mut self, draw: &mut Draw) -> Option<&'static str> {
        let left = self.open?;
        self.open = left.checked_sub(1);
        let end = draw.of(&["commit", "commit", "commit", "rollback"]);
        (!self.is_open()).then_some(end)
    }

    pub(super) async fn says(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(sql).await
    }
}
