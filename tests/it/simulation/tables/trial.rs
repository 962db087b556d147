//! One pair of tables, its edits and its syncs.

use meter_sync::config::CommandLineSettings;
use meter_sync::mirrors::{Mirror, RunApprovals, RunRequest};
use meter_sync::model::{Counts, DeactivationApproval, RunOutcome, RunTrigger};
use meter_sync::reports::run_report::{RunReport, RunState};

use super::edits::EditGenerator;
use super::late_transaction::LateTransaction;
use super::oracle::{self, Rows};
use super::table::{Draw, Table, TableFeature};
use crate::support::site::{Site, finish, mirror};

pub(super) struct Trial<'t> {
    table: &'t Table,
    edits: EditGenerator<'t>,
    site: Site,
    settings: CommandLineSettings,
    /// Two processes.
    processes: [Mirror; 2],
    late: LateTransaction,
    /// What was done so far, to be told when something is wrong.
    log: Vec<String>,
}

/// Who syncs.
#[derive(Clone, Copy, Debug)]
enum Who {
    One(usize),
    BothAtOnce,
}

impl<'t> Trial<'t> {
    pub(super) async fn new(table: &'t Table, seed: u64, draw: &mut Draw) -> Self {
        let site = table.site().await;
        let settings = table.settings(&site);
        let late = LateTransaction::new(&site.pair.remote_url).await;
        let mut trial = Self {
            table,
            edits: EditGenerator::new(table),
            processes: [mirror(&settings), mirror(&settings)],
            late,
            log: vec![format!("TEST_SEED={seed} {table:#?}")],
            site,
            settings,
        };
        let first = trial.edits.first(draw);
        trial.on_remote(first).await;
        trial
    }

    /// Some edits of both sides, a sync, and another that finds nothing to do.
    pub(super) async fn step(&mut self, draw: &mut Draw) {
        if let Some(end) = self.late.end(draw) {
            self.late_says(end).await;
        }
        // What others wrote here hides what a run remembers of the remote.
        let is_local_calm = draw.below(2) == 0;
        for _ in 0..draw.below(6) {
            self.edit(draw, is_local_calm).await;
        }
        // The last edit, so that no meter goes away with a value that another one gets.
        let exchange = self.edits.exchange(draw);
        if let Some(exchange) = exchange.filter(|_| draw.below(2) == 0) {
            self.on_remote(exchange).await;
        }
        if let Some(sql) = self.late.begin(&mut self.edits, draw) {
            self.late_says(&sql).await;
        }
        self.refer(draw).await;
        if draw.below(4) == 0 {
            self.processes[draw.below(2)] = mirror(&self.settings);
        }
        let who = draw.of(&[Who::One(0), Who::One(1), Who::BothAtOnce]);
        self.sync(who).await;
        let before = self.versions().await;
        self.sync(Who::One(draw.below(2))).await;
        assert_eq!(self.versions().await, before, "{}", self.told());
    }

    async fn edit(&mut self, draw: &mut Draw, is_local_calm: bool) {
        match draw.below(6) {
            0 if !self.late.is_open() => {
                let edit = self.edits.alone(draw);
                self.on_remote(edit).await;
            }
            1 | 2 if !is_local_calm => {
                let edit = self.edits.local(draw);
                self.on_local(edit).await;
            }
            _ => {
                let edit = self.edits.remote(draw);
                self.on_remote(edit).await;
            }
        }
    }

    async fn late_says(&mut self, sql: &str) {
        self.log.push(format!("late: {sql}"));
        let done = self.late.says(sql).await;
        done.unwrap_or_else(|error| panic!("{error:?}: {}", self.told()));
    }

    /// Readings refer to some meters by their unique value.
    async fn refer(&mut self, draw: &mut Draw) {
        if self.table.special == TableFeature::Referenced {
            let (key, serial) = (
                self.table.key_names(),
                self.table.serial().unwrap_or_default(),
            );
            let rows = draw.of(&[0, 1, 5]);
            let refer = format!(
                "insert into reading select concat_ws(' ', {key}), {serial} from meter
                 where {serial} is not null order by 1 limit {rows}"
            );
            self.on_local(refer).await;
        }
    }

    /// A sync leaves what the oracle says, and counts it.
    async fn sync(&mut self, who: Who) {
        self.log.push(format!("-- {who:?}"));
        let before = oracle::here(self.table, &self.site.local).await;
        let remote = oracle::remote(self.table, &self.site).await;
        let (after, counts) = oracle::expected(self.table, &before, &remote);
        let runs = self.runs(who).await;
        self.assert_rows(&after, &runs).await;
        // Of two at once one did it, and the other found it done.
        let (_, nothing) = oracle::expected(self.table, &after, &remote);
        let mut expected = vec![counts, nothing];
        for run in &runs {
            let found = expected.iter().position(|counts| is_as(run, *counts));
            let found = found.unwrap_or_else(|| panic!("{run:#?} {expected:#?} {}", self.told()));
            expected.drain(..=found);
        }
        assert!(expected.len() < 2, "{runs:#?} {}", self.told());
    }

    /// The runs that were made, in the order of the log.
    async fn runs(&self, who: Who) -> Vec<RunReport> {
        let [one, other] = &self.processes;
        let mut runs = match who {
            Who::One(n) => vec![finish(&self.processes[n], request()).await],
            Who::BothAtOnce => {
                let (one, other) = tokio::join!(finish(one, request()), finish(other, request()));
                vec![one, other]
            }
        };
        runs.retain(|run| run.state != RunState::AlreadyRunning);
        runs.sort_by_key(|run| std::cmp::Reverse(run.counts.changes()));
        runs
    }

    async fn assert_rows(&self, after: &Rows, runs: &[RunReport]) {
        let found = oracle::here(self.table, &self.site.local).await;
        if found != *after {
            let is_wrong = |(key, row): &(_, _)| found.get(*key) != Some(*row);
            let wrong: Vec<_> = after.iter().filter(is_wrong).take(5).collect();
            let found: Vec<_> = wrong.iter().map(|(key, _)| found.get(*key)).collect();
            panic!("{found:#?} should be {wrong:#?} {runs:#?} {}", self.told());
        }
        if self.table.special == TableFeature::Referenced {
            let key = self
                .table
                .key
                .iter()
                .map(|(c, _)| format!(", m.{}", c.name));
            let strayed = format!(
                "select count(*) from reading r left join meter m on m.{} = r.meter
                 where r.owner is distinct from concat_ws(' '{})",
                self.table.serial().unwrap_or_default(),
                key.collect::<String>()
            );
            let strayed = self.site.local.query_one(&strayed, &[]).await;
            let strayed: i64 = strayed.expect("a count").get(0);
            assert_eq!(strayed, 0, "readings strayed: {}", self.told());
        }
    }

    /// Changes with every row that is written.
    async fn versions(&self) -> Option<String> {
        let sql = "select md5(string_agg(concat(ctid, xmin), ' ' order by ctid)) from meter";
        let row = self.site.local.query_one(sql, &[]).await;
        row.expect("versions").get(0)
    }

    async fn on_remote(&mut self, sql: String) {
        self.site.on_remote(&sql).await;
        self.log.push(format!("remote: {sql}"));
    }

    async fn on_local(&mut self, sql: String) {
        self.site.on_local(&sql).await;
        self.log.push(format!("local: {sql}"));
    }

    fn told(&self) -> String {
        self.log.join("\n")
    }
}

fn request() -> RunRequest {
    let allow = RunApprovals {
        mass_deactivation: DeactivationApproval::Any,
        ..RunApprovals::default()
    };
    RunRequest {
        allow,
        ..RunRequest::new(RunTrigger::Page)
    }
}

fn is_as(run: &RunReport, counts: Counts) -> bool {
    let outcome = match () {
        () if counts.rejected > 0 => RunOutcome::Partial,
        () if counts.changes() > 0 => RunOutcome::Succeeded,
        () => RunOutcome::NoChange,
    };
    run.outcome == Some(outcome) && run.counts == counts
}
