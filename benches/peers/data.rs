//! The meters: as many as asked for of our tenant, mixed with a tenth more of two others.

use anyhow::Result;
use tokio_postgres::Client;

use crate::servers::{REMOTE_DATABASE, Servers, Side};

/// The tenant whose meters are synced.
pub(crate) const TENANT: i64 = 1;

/// The columns that both sides have, the key first.
pub(crate) const COLUMNS: &str = "id, name, type, serial_number, installation_date, device_id, \
     location_id, ip, port, protocol, status, register_map, notes, active, created_at, updated_at";

/// The local database from which every peer's own is made.
pub(crate) const BLANK: &str = "blank";

/// `ip` is text, as sling and dlt do not write into a column of type `inet`.
const TYPES: &str = "name text, type text, serial_number text, installation_date date, device_id bigint, \
     location_id bigint, ip text, port integer, protocol text, status text, register_map jsonb, \
     notes text, active boolean, created_at timestamptz, updated_at timestamptz";

/// Keys lie so far apart that new ones fit in between.
const STRIDE: u64 = 1024;

/// How many meters a change touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChangedMeters {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    /// Gone, and active before.
    pub(crate) gone: u64,
}

/// Makes the remote database with so many meters, and the blank local one.
pub(crate) async fn fill(servers: &Servers, meters: u64) -> Result<()> {
    let local = servers
        .connect(Side::Local, crate::servers::MAINTENANCE)
        .await?;
    anew(&local, BLANK).await?;
    let table = format!("create table meter (id bigint primary key, {TYPES})");
    servers.batch(Side::Local, BLANK, &table).await?;
    let remote = servers
        .connect(Side::Remote, crate::servers::MAINTENANCE)
        .await?;
    anew(&remote, REMOTE_DATABASE).await?;
    let all = meters + meters / 10;
    let sql = format!(
        "create table meter (id bigint primary key, tenant_id bigint not null, {TYPES});
insert into meter
select n * {STRIDE}, case when n % 11 > 0 then {TENANT} else 2 + n % 2 end, {}
from generate_series(1::bigint, {all}) n;
create index on meter (tenant_id);
vacuum (freeze, analyze) meter",
        values("n")
    );
    for sql in sql.split(";\n") {
        servers.batch(Side::Remote, REMOTE_DATABASE, sql).await?;
    }
    Ok(())
}

async fn anew(server: &Client, database: &str) -> Result<()> {
    for sql in [
        format!("drop database if exists {database} with (force)"),
        format!("create database {database}"),
    ] {
        server.batch_execute(&sql).await?;
    }
    Ok(())
}

/// Values for all columns but key and tenant, made from a number.
fn values(n: &str) -> String {
    format!(
        "'Meter ' || {n} || ' ' || left(md5({n}::text), 12),
(array['electricity', 'heat', 'water', 'gas'])[1 + {n} % 4],
'SN-' || lpad(({n} * 7919)::text, 14, '0'),
date '2012-01-01' + ({n} % 4000)::integer,
{n} % 50000, {n} % 900,
('10.' || {n} % 200 || '.' || {n} % 251 || '.' || {n} % 253),
502 + ({n} % 3)::integer,
(array['modbus-tcp', 'mbus', 'bacnet'])[1 + {n} % 3],
case when {n} % 20 = 0 then 'maintenance' else 'online' end,
jsonb_build_object('energy', jsonb_build_object('address', {n} % 9999, 'scale', 0.1),
    'power', jsonb_build_object('address', {n} % 9998, 'unit', 'kW')),
case when {n} % 5 = 0 then 'cabinet ' || {n} % 70 || ', second floor' end,
{n} % 50 > 0, timestamptz '2020-01-01' + {n} % 100000 * interval '1 minute',
timestamptz '2024-01-01' + {n} % 100000 * interval '1 second'"
    )
}

/// Changes so many thousandths of the tenant's meters, scattered over all keys: of 20 changed ones one
/// goes, one is new, and the others get another status and time, every other one a name, too. `turn` is another number
/// each time. With 1000 thousandths all are updated and none goes.
pub(crate) async fn change(
    servers: &Servers,
    thousandths: u64,
    turn: u64,
) -> Result<ChangedMeters> {
    let remote = servers.connect(Side::Remote, REMOTE_DATABASE).await?;
    let changed = if thousandths == 1000 {
        let sql = update(turn, &format!("tenant_id = {TENANT}"));
        ChangedMeters {
            updated: remote.execute(&sql, &[]).await?,
            ..ChangedMeters::default()
        }
    } else {
        change_some(&remote, thousandths, turn).await?
    };
    remote.batch_execute("vacuum (analyze) meter").await?;
    Ok(changed)
}

async fn change_some(remote: &Client, thousandths: u64, turn: u64) -> Result<ChangedMeters> {
    let pick = format!(
        "create temp table picked as
select id, row_number() over (order by hashint8extended(id, {turn})) n
from meter where tenant_id = {TENANT}
order by n limit greatest(20, (select count(*) from meter where tenant_id = {TENANT}) * {thousandths} / 1000)"
    );
    remote.batch_execute(&pick).await?;
    let insert = format!(
        "insert into meter
select id / {STRIDE} * {STRIDE} + {turn}, {TENANT}, {} from picked where n % 20 = 1
on conflict do nothing",
        values("id")
    );
    let inserted = remote.execute(&insert, &[]).await?;
    let picked = "id in (select id from picked where n % 20 > 1)";
    let updated = remote.execute(&update(turn, picked), &[]).await?;
    let delete = "with gone as (
    delete from meter where id in (select id from picked where n % 20 = 0) returning active
) select count(*) filter (where active) from gone";
    let gone: i64 = remote.query_one(delete, &[]).await?.try_get(0)?;
    Ok(ChangedMeters {
        inserted,
        updated,
        gone: gone.unsigned_abs(),
    })
}

fn update(turn: u64, which: &str) -> String {
    format!(
        "update meter set status = 'turn {turn}', updated_at = timestamptz '2025-01-01' + {turn} * interval '1 hour', \
         name = case when id / {STRIDE} % 2 = 0 then name else left(name, 24) || ' {turn}' end where {which}"
    )
}
