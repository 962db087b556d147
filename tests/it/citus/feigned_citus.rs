//! A plain Postgres server that looks like Citus to the program, and whose log has every statement.

use meter_sync::config::Setting;
use meter_sync::embedded::Server;

use super::statement_subset::faults;
use super::{CONSTRAINTS, REMOTE, TABLES, runs};
use crate::support::postgres::{binaries, connect, pair, start_server_with};
use crate::support::site::Site;

/// What the program looks at to learn how Citus distributes a table.
const FEIGNED: &str = "
    set allow_system_table_mods = on;
    create table pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod \"char\", partkey text, repmodel \"char\");
    create table pg_catalog.pg_dist_shard (logicalrelid regclass, shardid bigint);
    create table pg_catalog.pg_dist_placement (shardid bigint);
    create function pg_catalog.column_to_column_name(regclass, text) returns text language sql as 'select $2';
    reset allow_system_table_mods";

/// What begins each entry of the log.
const ENTRY: &str = "@entry@";

pub(super) struct FeignedCitus {
    pub(super) site: Site,
    server: Server,
}

impl FeignedCitus {
    pub(super) async fn start(tables: &[&str]) -> Self {
        let settings = vec![
            format!("log_line_prefix={ENTRY}%d "),
            "log_statement=all".to_owned(),
            "log_min_messages=warning".to_owned(),
        ];
        let server = start_server_with(&binaries().await, "local", settings).await;
        let admin = connect(&server.url("postgres")).await;
        admin.batch_execute("create database citus").await.unwrap();
        let mut pair = pair().await;
        pair.local_url = server.url("citus");
        let site = Site::on_pair(pair, REMOTE, FEIGNED).await;
        for table in tables {
            site.on_local(table).await;
        }
        Self { site, server }
    }

    async fn distribute(&self, table: &str, column: Option<&str>) {
        self.distribute_as(table, column, "s").await;
    }

    /// Lets the table look distributed by `column`, or as one whole. `replicas` is `t` for a reference table, and `c`
    /// for a table with two copies of its shard.
    pub(super) async fn distribute_as(&self, table: &str, column: Option<&str>, replicas: &str) {
        let method = if column.is_some() { "h" } else { "n" };
        let column = column.map_or("null".to_owned(), |column| format!("'{column}'"));
        let add = format!(
            "insert into pg_catalog.pg_dist_partition values ('{table}'::regclass, '{method}', {column}, '{replicas}')"
        );
        self.site.on_local(&add).await;
        let shard = format!("'{table}'::regclass, '{table}'::regclass::oid::bigint");
        let shard = format!("insert into pg_catalog.pg_dist_shard values ({shard})");
        self.site.on_local(&shard).await;
        let copies = if replicas == "c" { 2 } else { 1 };
        let place = format!(
            "insert into pg_catalog.pg_dist_placement select '{table}'::regclass::oid::bigint from generate_series(1, {copies})"
        );
        self.site.on_local(&place).await;
    }

    /// The statements that have reached the database so far.
    fn statements(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.server.directory().join("log")).expect("the log");
        let entries = log
            .split(ENTRY)
            .filter_map(|entry| entry.strip_prefix("citus "));
        let statement = |entry: &str| {
            let (kind, rest) = entry.split_once(':')?;
            let is_statement = kind.starts_with("LOG");
            let (_, sql) = rest.split_once(": ").filter(|_| is_statement)?;
            Some(sql.replace("\n\t", "\n"))
        };
        entries.filter_map(statement).collect()
    }
}

fn assert_all_are_taken(statements: &[String], tables: &[&str]) {
    let ours: Vec<&String> = statements
        .iter()
        .filter(|sql| sql.starts_with("-- "))
        .collect();
    assert!(
        ours.len() > 20,
        "the log has {} statements of ours",
        ours.len()
    );
    let refused = ours.iter().flat_map(|sql| {
        let faults = faults(sql, tables);
        faults
            .into_iter()
            .map(move |fault| format!("{fault}: {sql}"))
    });
    let refused: Vec<String> = refused.collect();
    assert!(refused.is_empty(), "{}", refused.join("\n\n"));
}

#[tokio::test]
async fn citus_takes_every_statement_about_a_table_distributed_by_tenant() {
    let mut citus = FeignedCitus::start(TABLES).await;
    for constraint in CONSTRAINTS {
        citus.site.on_local(constraint).await;
    }
    citus.distribute("meter", Some("tenant_id")).await;
    citus.distribute("meter_reading", Some("tenant_id")).await;
    runs::of_every_kind(&mut citus.site).await;
    super::distribution_findings::all_is_well(&citus.site).await;
    let statements = citus.statements();
    // Each step that is rarely needed was there.
    for step in [
        "-- park unique values",
        "-- give unique values up",
        "-- find who holds the values",
        "-- sweep the local",
    ] {
        assert!(
            statements.iter().any(|sql| sql.starts_with(step)),
            "no statement of: {step}"
        );
    }
    assert_all_are_taken(
        &statements,
        &[
            "\"public\".\"meter\"",
            "\"public\".\"meter_reading\"",
            "public.meter",
            "public.meter_reading",
        ],
    );
}

#[tokio::test]
async fn citus_takes_every_statement_about_tables_in_distributed_schemas() {
    let table = "create table site_N.meter (id bigint primary key, name text, serial_number text unique, active boolean not null default true)";
    let citus = FeignedCitus::start(&[
        "create table tenant (id bigint primary key)",
        "insert into tenant values (7), (8)",
    ])
    .await;
    for tenant in ["7", "8"] {
        citus
            .site
            .on_local(&format!("create schema site_{tenant}"))
            .await;
        citus.site.on_local(&table.replace('N', tenant)).await;
        citus
            .distribute(&format!("site_{tenant}.meter"), None)
            .await;
    }
    runs::of_distributed_schemas(&citus.site).await;
    assert_all_are_taken(
        &citus.statements(),
        &[
            "\"site_7\".\"meter\"",
            "\"site_8\".\"meter\"",
            "site_7.meter",
            "site_8.meter",
        ],
    );
}

/// The rows that a run copies to the coordinator are those that it changes.
#[tokio::test]
async fn a_run_with_a_change_copies_no_other_rows() {
    let mut citus = FeignedCitus::start(TABLES).await;
    citus.distribute("meter", Some("tenant_id")).await;
    let settings = citus.site.settings().with(Setting::TenantId, "7");
    citus.site.reconfigure(&settings);
    citus.site.sync().await;
    citus
        .site
        .on_remote("update meter set name = 'changed' where id = 4")
        .await;
    let before = citus.statements().len();
    let run = citus.site.sync().await;
    assert_eq!(run.counts.updated, 1, "{run:#?}");
    let statements = citus.statements();
    let copies = statements
        .iter()
        .skip(before)
        .filter(|sql| sql.starts_with("-- copy the rows"));
    let copies: Vec<&String> = copies.collect();
    assert!(!copies.is_empty(), "{statements:#?}");
    for copy in copies {
        assert!(copy.contains("join \"public\".\"meter\" l"), "{copy}");
    }
}
