//! Runs during another run, or while somebody is still writing.

use std::cell::Cell;

use meter_sync::mirrors::RunRequest;
use meter_sync::model::RunTrigger;
use meter_sync::reports::run_report::RunState;
use tokio_postgres::Client;

use super::model::RemoteMeter;
use super::op::{Edit, Name, Op};
use super::world::{World, assert_ended, is_as, says};
use super::write_model;
use crate::support::site::finish;
use crate::support::wait::until;

impl World {
    /// Two processes ask for a run at once: one gets it, and the other is told of it or comes after.
    pub(super) async fn two_at_once(&mut self) {
        let request = || RunRequest::new(RunTrigger::Rest);
        let (one, other) = tokio::join!(
            finish(&self.processes[0], request()),
            finish(&self.processes[1], request())
        );
        let (first, second) = match (one.state, other.state) {
            (RunState::AlreadyRunning, _) => (other, one),
            (_, RunState::AlreadyRunning) => (one, other),
            // which of them came first tells what they did
            _ if is_as(&one, &self.model.run(false, false)) => (one, other),
            _ => (other, one),
        };
        for run in [&first, &second] {
            if run.state == RunState::AlreadyRunning {
                assert_eq!(run.run_id, first.run_id);
            } else {
                let expected = self.model.run(false, false);
                assert_ended(run, &expected);
                self.ended(run, &expected).await;
            }
        }
    }

    /// The remote empties its table and fills it again in one transaction. A run that begins meanwhile waits for that, and
    /// sees what is there then.
    pub(super) async fn sync_during_reload(&mut self, key: u8, name: Name) {
        says(&self.late, "begin; truncate meter").await;
        let active = true;
        self.model.edit(&Op::Put { key, name, active });
        let filled: (&[RemoteMeter], _) = (&[], self.model.remote.as_slice());
        write_model::remote(&self.late, &self.kind, filled).await;
        let process = self.next().clone();
        let (run, ()) = tokio::join!(finish(&process, RunRequest::new(RunTrigger::Rest)), async {
            let waits = async || waits_for(&self.late, &self.site.remote).await;
            until("a run waits for the remote's reload", waits).await;
            says(&self.late, "commit").await;
        });
        let expected = self.model.run(false, false);
        assert_ended(&run, &expected);
        self.ended(&run, &expected).await;
    }

    /// Somebody edits a meter here in a transaction that is still open when a run begins. If the run would write that meter, too, it
    /// waits, and goes by what is there then. Nobody else gets a run meanwhile.
    pub(super) async fn sync_during_edit(&mut self, key: u8, edit: Edit) {
        let mut edited = self.model.clone();
        let is_edited = self.model.is_planned(key);
        if is_edited {
            edited.edit(&edit.of(key));
        }
        says(&self.hand, "begin").await;
        let rows = (&self.model.rows(), &edited.rows());
        write_model::local(&self.hand, &self.kind, rows).await;
        let process = self.next().clone();
        let other = self.next().clone();
        let (waited, is_over) = (Cell::new(false), Cell::new(false));
        let (run, other) = tokio::join!(
            async {
                let run = finish(&process, RunRequest::new(RunTrigger::Rest)).await;
                is_over.set(true);
                run
            },
            async {
                until("the run waits for the edit, or ends", async || {
                    waited.set(waits_for(&self.hand, &self.site.local).await);
                    waited.get() || is_over.get()
                })
                .await;
                let other = match waited.get() {
                    true => Some(finish(&other, RunRequest::new(RunTrigger::Mcp)).await),
                    false => None,
                };
                says(&self.hand, "commit").await;
                other
            }
        );
        if let Some(other) = other {
            assert_eq!(other.state, RunState::AlreadyRunning, "{other:#?}");
            assert_eq!(other.run_id, run.run_id, "{other:#?}");
            self.model = edited.clone();
        }
        let expected = self.model.run(false, false);
        assert_ended(&run, &expected);
        self.ended(&run, &expected).await;
        if !waited.get() && is_edited {
            self.model.edit(&edit.of(key));
        }
    }
}

/// Whether anybody in the database waits for what this connection does.
async fn waits_for(holder: &Client, eyes: &Client) -> bool {
    let own = holder.query_one("select pg_backend_pid()", &[]).await;
    let own: i32 = own.expect("a process").get(0);
    let waits = "select exists (select from pg_stat_activity a
         where a.datname = current_database() and $1 = any (pg_blocking_pids(a.pid)))";
    eyes.query_one(waits, &[&own]).await.expect("a flag").get(0)
}
