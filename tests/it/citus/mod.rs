//! A local table that Citus distributes.
//!
//! Citus takes fewer statements than Postgres. On plain Postgres, the tests make the program believe that its local
//! table is distributed, and read every statement that it sends (`statement_subset.rs`). On a real Citus, the one that
//! `METER_SYNC_TEST_CITUS_URL` names, the same runs are carried out (`real_citus.rs`).

mod distribution_findings;
mod feigned_citus;
pub(crate) mod lost_nodes;
mod real_citus;
mod runs;
mod statement_subset;

/// The local tables, of which Citus distributes `meter` and `meter_reading` by tenant. Each statement is sent on its
/// own, because Citus passes some of them on as they are.
const TABLES: &[&str] = &[
    "create table tenant (id bigint primary key, name text)",
    "insert into tenant values (7, 'Acme'), (8, 'Byte')",
    "create table meter (
        id bigint not null, tenant_id bigint not null, name text, serial_number text, parent bigint,
        port integer check (port > 0), register_map jsonb, active boolean not null default true,
        site_note text default 'ours', primary key (tenant_id, id), unique (tenant_id, serial_number))",
    "create table meter_reading (
        tenant_id bigint, meter_id bigint, at timestamptz, primary key (tenant_id, meter_id, at))",
];

/// What a site adds to its tables once they are distributed.
const CONSTRAINTS: &[&str] = &[
    "alter table meter add constraint meter_parent foreign key (tenant_id, parent) references meter (tenant_id, id)",
    "create unique index meter_name on meter (tenant_id, lower(name)) where active",
    "alter table meter_reading add constraint meter_reading_meter
        foreign key (tenant_id, meter_id) references meter (tenant_id, id)",
];

/// The remote's meters: twenty of tenant 7 with even ids, twenty of tenant 8 with odd ones.
const REMOTE: &str = "
    create table tenant (id bigint primary key, name text);
    create table meter (
        id bigint primary key, tenant_id bigint not null, name text, serial_number text, parent bigint, port integer,
        register_map jsonb, active boolean not null default true);
    insert into meter
    select n, 7 + n % 2, 'meter ' || n, 'SN-' || n, null, 502, '{\"unit\": 1.50}' from generate_series(1, 40) n";
