//! A site for faults: lines that can be broken, roles with the rights that a sync needs and no more, and rows that a sync
//! must leave alone.

use std::collections::{BTreeMap, BTreeSet};

use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::mirrors::{Mirror, RunApprovals, RunRequest};
use meter_sync::model::{DeactivationApproval, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;

use crate::support::postgres::{Pair, connect, pair};
use crate::support::proxy::{Fault, Proxy};
use crate::support::site::{self, finish, rows};

const REMOTE: &str = "
    create table meter (
        id bigint primary key, tenant_id bigint not null, serial text not null, name text, port integer, notes text,
        active boolean not null default true, spare text default 'spare');
    insert into meter
    select n, case n when 9 then 8 else 7 end, 'S' || n, 'meter ' || n, n, repeat(md5(n::text), 4), true
    from generate_series(1, $rows) n;
    create role $role login password 'right';
    grant select on meter to $role";

/// Rows of another tenant, a column of the site's own, and readings that follow a meter's serial number.
const LOCAL: &str = "
    create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme');
    create table meter (
        id bigint primary key, tenant_id bigint not null, serial text not null unique, name text, port varchar(5),
        notes text, active boolean not null default true, spare text, site_note text default 'ours');
    insert into meter select n, 8, 'T' || n, 'theirs', n - 90000, 'n', true, 'theirs' from generate_series(90001, 90009) n;
    create table reading (
        meter_id bigint not null references meter, serial text not null references meter (serial) on update cascade);
    create role $role login password 'right';
    grant select, insert, update on meter to $role;
    grant select on tenant to $role;
    do $$ begin execute format('grant create on database %I to $role', current_database()); end $$";

/// Updates, of serial numbers too, a deactivation, a reactivation and an insert.
pub(super) const CHANGES: &str = "
    update meter set name = name || '!', serial = serial || '+', notes = md5(notes) || notes where id % 4 = 1;
    update meter set tenant_id = 15 - tenant_id where id in (2, 9);
    insert into meter select max(id) + 1, 7, 'S' || max(id) + 1, 'new', 1, 'n', true from meter";

/// What a site adds on its own side.
const SITE_WRITES: &str = "
    update meter set site_note = 'by hand' where id % 3 = 0 and tenant_id = 7;
    insert into reading select id, serial from meter";

/// Whose database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Remote,
    Local,
}

impl Side {
    /// How the error codes of this side begin.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Remote => "REMOTE_",
            Self::Local => "LOCAL_",
        }
    }
}

/// One of the two databases.
pub(super) struct TrialDatabase {
    /// Signs the test in.
    admin_url: String,
    /// Whom the sync signs in as.
    role: String,
    /// Signs the sync in, past the line that can be broken.
    pub(super) direct_url: String,
    /// Signs the sync in.
    pub(super) url: String,
    pub(super) line: Proxy,
}

impl TrialDatabase {
    async fn new(admin_url: &str, schema: &str) -> Self {
        let database = Self::at(admin_url).await;
        database.run(schema).await;
        database
    }

    /// The same in a database that has the tables and the role.
    pub(super) async fn at(admin_url: &str) -> Self {
        let (_, database) = admin_url.rsplit_once('/').expect("a URL");
        let role = format!("sync_{database}");
        let direct_url = admin_url.replace("postgres@", &format!("{role}:right@"));
        let (line, url) = Proxy::before(&direct_url).await;
        Self {
            admin_url: admin_url.to_owned(),
            role,
            direct_url,
            url,
            line,
        }
    }

    /// SQL with `$role` for the role of the sync.
    pub(super) fn sql(&self, sql: &str) -> String {
        sql.replace("$role", &self.role)
    }

    /// A new connection of the test's own.
    pub(super) async fn connect(&self) -> tokio_postgres::Client {
        connect(&self.admin_url).await
    }

    /// Runs statements of the test's own.
    pub(super) async fn run(&self, sql: &str) {
        let ran = self.connect().await.batch_execute(&self.sql(sql)).await;
        ran.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The connections of the sync.
    pub(super) async fn sessions(&self) -> Value {
        let sessions = "select pid, state, query from pg_stat_activity where usename = '$role'";
        self.rows(sessions).await
    }

    pub(super) async fn rows(&self, query: &str) -> Value {
        rows(&self.connect().await, &self.sql(query)).await
    }
}

/// A meter's columns as texts.
pub(super) type Meter = Map<String, Value>;

/// The local side at a moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    /// All meters by id, also those of other tenants.
    pub(super) meters: BTreeMap<String, Meter>,
    /// The number of the last run in the log; 0 before the first.
    pub(super) last_run: i64,
}

impl State {
    /// The rows in which another state differs: as they are here, and as they are there. A column that is gone there counts
    /// for nothing, as the site has dropped it meanwhile.
    pub(super) fn difference(&self, there: &Self) -> Vec<(Option<Meter>, Option<Meter>)> {
        let column_is_there = |column: &str| {
            let mut meters = there.meters.values();
            meters
                .next()
                .is_some_and(|meter| meter.contains_key(column))
        };
        let ids: BTreeSet<_> = self.meters.keys().chain(there.meters.keys()).collect();
        let pairs = ids.into_iter().map(|id| {
            let here = self.meters.get(id).cloned().map(|mut meter| {
                meter.retain(|column, _| column_is_there(column));
                meter
            });
            (here, there.meters.get(id).cloned())
        });
        pairs.filter(|(here, there)| here != there).collect()
    }
}

/// Two databases, the lines to them, and the runs over them.
pub(super) struct Trial {
    pub(super) remote: TrialDatabase,
    pub(super) local: TrialDatabase,
    pub(super) mirror: Mirror,
    /// What the runs are made of.
    settings: CommandLineSettings,
    /// How many tasks this test has beside the sync and the two lines.
    pub(super) other_tasks: usize,
    /// Whether each run may deactivate as many meters as it likes.
    pub(super) allows_mass_deactivation: bool,
    _pair: Option<Pair>,
}

impl Trial {
    /// A site with so many meters, synced, on the servers of this process.
    pub(super) async fn new(rows: u32) -> Self {
        let other_tasks = alive_tasks();
        let pair = pair().await;
        let (remote, local) = (pair.remote_url.clone(), pair.local_url.clone());
        Self {
            _pair: Some(pair),
            other_tasks,
            ..Self::over((&remote, &local), rows).await
        }
    }

    /// The same in two empty databases.
    pub(super) async fn over((remote, local): (&str, &str), rows: u32) -> Self {
        let remote_schema = REMOTE.replace("$rows", &rows.to_string());
        let (remote, local) = (
            TrialDatabase::new(remote, &remote_schema).await,
            TrialDatabase::new(local, LOCAL).await,
        );
        let settings = settings(&remote.url, &local.url);
        let trial = Self {
            remote,
            local,
            mirror: site::mirror(&settings),
            settings,
            other_tasks: 0,
            allows_mass_deactivation: false,
            _pair: None,
        };
        let first = trial.sync().await;
        assert!(first.error.is_none(), "{first:#?}");
        trial.local.run(SITE_WRITES).await;
        trial
    }

    pub(super) fn database(&self, side: Side) -> &TrialDatabase {
        match side {
            Side::Remote => &self.remote,
            Side::Local => &self.local,
        }
    }

    /// Starts anew, as a process of its own would, with more settings.
    pub(super) fn start_anew(&mut self, more: &[(Setting, &str)]) {
        let add = |settings: CommandLineSettings, (setting, value): &(Setting, &str)| {
            settings.with(*setting, *value)
        };
        let settings = settings(&self.remote.url, &self.local.url);
        self.settings = more.iter().fold(settings, add);
        self.restart();
    }

    /// Starts anew with the same settings.
    pub(super) fn restart(&mut self) {
        self.mirror = site::mirror(&self.settings);
    }

    /// How many tasks of the sync there are in the test's runtime.
    pub(super) fn tasks(&self) -> usize {
        let ours = self.remote.line.tasks() + self.local.line.tasks() + self.other_tasks;
        alive_tasks().saturating_sub(ours)
    }

    /// Lets both lines be sound.
    pub(super) fn mend_lines(&self) {
        self.remote.line.set(Fault::None);
        self.local.line.set(Fault::None);
    }

    /// Changes of every kind, which wait on the remote.
    pub(super) async fn change(&self) {
        self.remote.run(CHANGES).await;
    }

    pub(super) async fn sync(&self) -> RunReport {
        let mass_deactivation = match self.allows_mass_deactivation {
            true => DeactivationApproval::Any,
            false => DeactivationApproval::None,
        };
        let allow = RunApprovals {
            mass_deactivation,
            tenant_change: false,
            remote_change: false,
        };
        let request = RunRequest {
            allow,
            ..RunRequest::new(RunTrigger::Cli)
        };
        finish(&self.mirror, request).await
    }

    /// The local side now.
    pub(super) async fn state(&self) -> State {
        let exists = "select 1 from pg_tables where schemaname = 'meter_sync' and tablename = 'meter_sync_log'";
        let last = "select coalesce(max(seq), 0) as seq from meter_sync.meter_sync_log";
        let last_run = match self.local.rows(exists).await == json!([]) {
            true => 0,
            false => self.local.rows(last).await[0]["seq"]
                .as_i64()
                .expect("a number"),
        };
        State {
            meters: meters(&self.local, "true").await,
            last_run,
        }
    }

    /// What the local side is to be once the remote of now has arrived.
    pub(super) async fn state_after_sync(&self, before: &State) -> State {
        let mut after = before.clone();
        let of_tenant = |meter: &&mut Meter| meter["tenant_id"] == "7";
        for meter in after.meters.values_mut().filter(of_tenant) {
            meter.insert("active".to_owned(), json!("false"));
        }
        let columns = before.meters.values().next().expect("a meter").keys();
        let blank: Meter = columns
            .map(|column| (column.clone(), Value::Null))
            .collect();
        for (id, meter) in meters(&self.remote, "tenant_id = 7").await {
            let here = after.meters.entry(id).or_insert_with(|| {
                let mut new = blank.clone();
                new.insert("site_note".to_owned(), json!("ours"));
                new
            });
            here.extend(meter);
        }
        after
    }
}

/// The tasks of the test's runtime.
fn alive_tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

async fn meters(database: &TrialDatabase, which: &str) -> BTreeMap<String, Meter> {
    let texts = format!(
        "select (select jsonb_object_agg(key, value) from jsonb_each_text(to_jsonb(m.*))) as meter
         from meter m where {which}"
    );
    let texts = database.rows(&texts).await;
    let texts = texts.as_array().expect("rows").iter();
    let meter = |row: &Value| {
        let meter = row["meter"].as_object().expect("columns").clone();
        (meter["id"].as_str().expect("a text").to_owned(), meter)
    };
    texts.map(meter).collect()
}

fn settings(remote_url: &str, local_url: &str) -> CommandLineSettings {
    site::settings(remote_url, local_url)
        .with(Setting::ConnectTimeout, "3s")
        .with(Setting::StatementTimeout, "5s")
        .with(Setting::LockTimeout, "3s")
}
