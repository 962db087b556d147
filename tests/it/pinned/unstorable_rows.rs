//! A row that the other side cannot store, or refuses, is rejected alone.

use meter_sync::mirrors::RunRequest;
use meter_sync::model::{Counts, RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::site;
use crate::support::postgres::{Pair, connect, pair};
use crate::support::site::{Site, finish, mirror, rows, settings};

const COLUMNS: &str =
    "id text primary key, name text, notes text, active boolean not null default true";

/// A pair of databases in encodings of their own.
pub(super) struct EncodedSite {
    pair: Pair,
    pub(super) remote: Client,
    pub(super) local: Client,
    pub(super) urls: [String; 2],
}

impl EncodedSite {
    pub(super) async fn new(there: &str, here: &str) -> Self {
        let pair = pair().await;
        let urls = [
            create(&pair.remote_url, there).await,
            create(&pair.local_url, here).await,
        ];
        let [remote, local] = [connect(&urls[0]).await, connect(&urls[1]).await];
        let sql = format!("create table meter ({COLUMNS}, tenant_id bigint not null default 7)");
        remote.batch_execute(&sql).await.unwrap();
        let sql = format!(
            "create table tenant (id bigint primary key); insert into tenant values (7); create table meter ({COLUMNS})"
        );
        local.batch_execute(&sql).await.unwrap();
        Self {
            pair,
            remote,
            local,
            urls,
        }
    }

    pub(super) async fn sync(&self) -> RunReport {
        let runs = mirror(&settings(&self.urls[0], &self.urls[1]));
        let request = RunRequest {
            reason: Some("Zähler \u{1f600} \u{20ac}".to_owned()),
            ..RunRequest::new(RunTrigger::Cli)
        };
        finish(&runs, request).await
    }

    pub(super) async fn aside(&self) -> Value {
        let sql = "select r.key from meter_sync.meter_sync_rejected r join meter_sync.meter_sync_log g on g.id = r.run_id
            where r.reason <> '' and g.started_at = (select max(started_at) from meter_sync.meter_sync_log) order by r.key::text";
        rows(&self.local, sql).await
    }

    pub(super) async fn end(self) {
        drop((self.remote, self.local));
        for (url, own) in [
            (&self.pair.remote_url, &self.urls[0]),
            (&self.pair.local_url, &self.urls[1]),
        ] {
            let (_, name) = own.rsplit_once('/').unwrap();
            let drop = format!("drop database {name} with (force)");
            connect(url).await.batch_execute(&drop).await.unwrap();
        }
    }
}

async fn create(url: &str, encoding: &str) -> String {
    let (server, name) = url.rsplit_once('/').unwrap();
    let name = format!("{}_{name}", encoding.to_lowercase());
    let client = connect(url).await;
    for sql in [
        format!("drop database if exists {name}"),
        format!("create database {name} encoding '{encoding}' locale 'C' template template0"),
    ] {
        client.batch_execute(&sql).await.unwrap();
    }
    format!("{server}/{name}")
}

pub(super) const METERS: &str =
    "insert into meter (id, name) select 'K' || n, 'meter' from generate_series(1, 20) n";

pub(super) fn partial(inserted: i64, updated: i64, rejected: i64) -> Counts {
    Counts {
        inserted,
        updated,
        rejected,
        ..Counts::default()
    }
}

/// What was done, and nothing of what was not.
pub(super) fn done(run: &RunReport) -> Counts {
    Counts {
        unchanged: 0,
        ..run.counts
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_are_set_aside_and_the_others_go_on() {
    // A byte that stands for nothing: of a database without an encoding, and of one with gaps in its own.
    for (there, here) in [
        ("SQL_ASCII", "UTF8"),
        ("SQL_ASCII", "LATIN1"),
        ("WIN1252", "UTF8"),
    ] {
        let site = EncodedSite::new(there, here).await;
        site.remote.batch_execute(METERS).await.unwrap();
        let clean = site.sync().await;
        assert_eq!(
            done(&clean),
            partial(20, 0, 0),
            "{there} {here}: {clean:#?}"
        );
        site.remote
            .batch_execute(r"set client_encoding = sql_ascii; update meter set name = E'Z\x81hler' where id = 'K3'; update meter set notes = 'fine' where id = 'K4'")
            .await
            .unwrap();
        let run = site.sync().await;
        assert_eq!(
            run.outcome,
            Some(RunOutcome::Partial),
            "{there} {here}: {run:#?}"
        );
        assert_eq!(done(&run), partial(0, 1, 1), "{there} {here}: {run:#?}");
        assert_eq!(site.aside().await, json!([{"key": {"id": "K3"}}]));
        // Its meter is neither gone nor changed.
        let left = "select count(*) as n from meter where active and name = 'meter'";
        assert_eq!(rows(&site.local, left).await, json!([{"n": 20}]));
        let again = site.sync().await;
        assert_eq!(done(&again), partial(0, 0, 1), "{there} {here}: {again:#?}");
        // A first load finds it as well.
        site.local
            .batch_execute("truncate meter; drop schema meter_sync cascade")
            .await
            .unwrap();
        let first = site.sync().await;
        assert_eq!(
            done(&first),
            partial(19, 0, 1),
            "{there} {here}: {first:#?}"
        );
        site.end().await;
    }
}

#[tokio::test]
async fn characters_that_the_local_encoding_lacks_are_set_aside_and_the_others_go_on() {
    for here in ["LATIN1", "WIN1252", "LATIN9", "KOI8R"] {
        let site = EncodedSite::new("UTF8", here).await;
        let more = "insert into meter (id, name) values ('K21', U&'Z\\+01F600'), (U&'K\\+01F600', 'the key itself')";
        site.remote.batch_execute(METERS).await.unwrap();
        site.remote.batch_execute(more).await.unwrap();
        let first = site.sync().await;
        assert_eq!(
            first.outcome,
            Some(RunOutcome::Partial),
            "{here}: {first:#?}"
        );
        assert_eq!(done(&first), partial(20, 0, 2), "{here}: {first:#?}");
        let aside = json!([{"key": {"id": "K21"}}, {"key": {"id": "K\\u{1f600}"}}]);
        assert_eq!(site.aside().await, aside, "{here}");
        site.remote
            .batch_execute("update meter set name = U&'\\+01F600' where id = 'K2'; update meter set name = 'new' where id = 'K3'")
            .await
            .unwrap();
        let changed = site.sync().await;
        assert_eq!(done(&changed), partial(0, 1, 3), "{here}: {changed:#?}");
        // What was written to the log can be read again.
        let reasons = "select reason from meter_sync.meter_sync_log limit 1";
        let reason = rows(&site.local, reasons).await;
        assert!(
            reason.to_string().contains("\\\\u{1f600}"),
            "{here}: {reason}"
        );
        site.end().await;
    }
}

#[tokio::test]
async fn a_row_that_row_security_or_a_trigger_forbids_is_set_aside_alone() {
    let site = site("name text", "").await;
    let (_, database) = site.pair.local_url.rsplit_once('/').unwrap();
    let role = format!("guarded_{database}");
    site.on_local(&format!(
        "drop role if exists {role}; create role {role} login;
         grant all on schema public to {role}; grant create on database {database} to {role};
         grant all on meter, tenant to {role};
         alter table meter enable row level security;
         create policy readable on meter for select to {role} using (true);
         create policy writable on meter to {role} using (true) with check (name <> 'forbidden');
         create function refuse() returns trigger language plpgsql as $$ begin
             if new.name = 'not yours' then raise 'not yours' using errcode = 'insufficient_privilege'; end if;
             if new.name = 'odd' then raise 'odd' using errcode = 'feature_not_supported'; end if; return new; end $$;
         create trigger refuse before insert or update on meter for each row execute function refuse()"
    ))
    .await;
    let url = site
        .pair
        .local_url
        .replace("postgres@", &format!("{role}@"));
    let runs = mirror(&settings(&site.pair.remote_url, &url));
    let sync = async || finish(&runs, RunRequest::new(RunTrigger::Cli)).await;
    site.on_remote(
        "insert into meter values (1, 7, 'a', true), (2, 7, 'forbidden', true), (3, 7, 'not yours', true), (4, 7, 'd', true), (5, 7, 'odd', true)",
    )
    .await;
    let run = sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    assert_eq!(done(&run), partial(2, 0, 3), "{run:#?}");
    site.on_remote("update meter set name = 'forbidden' where id = 1; update meter set name = 'e' where id = 4")
        .await;
    let run = sync().await;
    assert_eq!(done(&run), partial(0, 1, 4), "{run:#?}");
    // A privilege that is lacking concerns every row.
    site.on_local(&format!("revoke update on meter from {role}"))
        .await;
    site.on_remote("update meter set name = 'f' where id = 4")
        .await;
    let run = sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Failed), "{run:#?}");
}

/// Row security locks no row that may not be updated, so such a row looks as if somebody had changed it.
#[tokio::test]
async fn rows_that_row_security_lets_nobody_update_are_set_aside_alone() {
    let site = site("name text", "").await;
    site.on_remote("insert into meter select n, 7, 'a', true from generate_series(1, 9) n")
        .await;
    site.sync().await;
    let (_, database) = site.pair.local_url.rsplit_once('/').unwrap();
    let role = format!("kept_from_{database}");
    site.on_local(&format!(
        "drop role if exists {role}; create role {role} login;
         grant all on schema public, meter_sync to {role}; grant create on database {database} to {role};
         grant all on meter, tenant to {role}; grant all on all tables in schema meter_sync to {role};
         grant all on all sequences in schema meter_sync to {role};
         alter table meter enable row level security;
         create policy readable on meter for select to {role} using (true);
         create policy new on meter for insert to {role} with check (true);
         create policy writable on meter for update to {role} using (id not in (2, 4, 6))"
    ))
    .await;
    let url = site
        .pair
        .local_url
        .replace("postgres@", &format!("{role}@"));
    let runs = mirror(&settings(&site.pair.remote_url, &url));
    site.on_remote(
        "update meter set name = 'b' where id in (1, 2); update meter set active = false where id in (3, 4);
         delete from meter where id in (5, 6); insert into meter values (10, 7, 'c', true)",
    )
    .await;
    for expected in [(1, 2, 1, 3), (0, 0, 0, 3)] {
        let run = finish(&runs, RunRequest::new(RunTrigger::Cli)).await;
        assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
        let of = run.counts;
        assert_eq!(
            (of.inserted, of.updated, of.deactivated, of.rejected),
            expected,
            "{run:#?}"
        );
    }
    let reasons = "select distinct reason from meter_sync.meter_sync_rejected";
    assert_eq!(
        rows(&site.local, reasons).await,
        json!([{"reason": "the row security of the local table does not let our role write the row"}])
    );
}

#[tokio::test]
async fn of_binary_data_the_beginning_is_recorded() {
    let site = site("image bytea", "").await;
    site.on_remote("insert into meter values (1, 7, decode(repeat('ab', 20000), 'hex'), true), (2, 7, '\\xab', true)")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let recorded =
        "select key->'id' as id, length(after->>'image') as l, left(after->>'image', 4) as a
        from meter_sync.meter_sync_change order by key";
    assert_eq!(
        rows(&site.local, recorded).await,
        json!([{"id": 1, "l": 10_003, "a": "\\xab"}, {"id": 2, "l": 4, "a": "\\xab"}])
    );
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::NoChange));
}

/// Rows cross as text where types differ, as those of the ports do here.
#[tokio::test]
async fn binary_data_that_is_too_long_as_text_is_set_aside_and_the_others_go_on() {
    let remote = "create table meter (
        id bigint primary key, tenant_id bigint not null, port integer, image bytea, active boolean not null);
        alter table meter alter image set storage external";
    let local = "create table tenant (id bigint primary key); insert into tenant values (7);
        create table meter (id bigint primary key, port text, image bytea, active boolean not null)";
    let site = Site::with_schemas(remote, local).await;
    site.on_remote("insert into meter select n, 7, n, '\\xab', true from generate_series(1, 3) n")
        .await;
    site.sync().await;
    // longer than half of the most that a server writes as one row
    site.on_remote(
        "update meter set port = 4 where id = 1;
         update meter set image = (select string_agg(decode(repeat('ab', 54000000), 'hex'), '') from generate_series(1, 10)) where id = 2",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    let reasons = "select key, reason from meter_sync.meter_sync_rejected";
    let reasons = rows(&site.local, reasons).await;
    assert_eq!(reasons[0]["key"], json!({"id": 2}), "{reasons:#}");
    let reason = reasons[0]["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("image") && reason.contains("too many bytes"),
        "{reason}"
    );
    let here = "select id, port, length(image) as length from meter order by id";
    let rows_here = rows(&site.local, here).await;
    assert_eq!(
        rows_here,
        json!([{"id": 1, "port": "4", "length": 1}, {"id": 2, "port": "2", "length": 1}, {"id": 3, "port": "3", "length": 1}])
    );
}
