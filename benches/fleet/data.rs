//! The meters of all tenants, and the changes that are made to them.

use crate::options::Size;

/// The tenant of which all meters change.
pub(crate) const ALL_CHANGED: i64 = 2;
/// The tenant whose meters are all gone for a while, so that the brake holds its run back.
pub(crate) const HELD_BACK: i64 = 3;
/// The tenant one of whose meters the local table does not take for a while.
pub(crate) const FAILING: i64 = 4;

/// On both sides.
const TABLE: &str = "
create table meter (
    id bigint primary key, tenant_id bigint not null, name text, type text,
    serial_number text, installation_date date, device_id bigint, location_id bigint,
    ip inet, port integer, protocol text, status text, register_map jsonb, notes text,
    active boolean not null default true, created_at timestamptz, updated_at timestamptz);
create index on meter (tenant_id);";

/// The remote's meters. Those of one tenant are spread over the whole table.
pub(crate) fn remote(size: Size) -> String {
    let Size {
        tenants, meters, ..
    } = size;
    let all = u64::from(tenants) * u64::from(meters);
    format!(
        "{TABLE}
insert into meter
select n, 1 + n % {tenants}, 'Meter ' || n || ' ' || left(md5(n::text), 12),
    (array['electricity', 'heat', 'water', 'gas'])[1 + n % 4], 'SN-' || lpad((n * 7919)::text, 14, '0'),
    date '2012-01-01' + (n % 4000)::integer, n % 50000, n % 900,
    ('10.' || n % 200 || '.' || n % 251 || '.' || n % 253)::inet, 502 + (n % 3)::integer,
    (array['modbus-tcp', 'mbus', 'bacnet'])[1 + n % 3], 'online',
    jsonb_build_object('energy', jsonb_build_object('address', n % 9999, 'scale', 0.1)),
    case when n % 5 = 0 then 'cabinet ' || n % 70 || ', second floor' end,
    true, timestamptz '2020-01-01' + n % 100000 * interval '1 minute',
    timestamptz '2024-01-01' + n % 100000 * interval '1 second'
from generate_series(1::bigint, {all}) n;
analyze meter"
    )
}

/// The local tables: the tenants, and no meter yet.
pub(crate) fn local(size: Size) -> String {
    format!(
        "{TABLE}
alter table meter add constraint meter_works check (status <> 'broken');
create table tenant (id bigint primary key, name text);
insert into tenant select n, 'Tenant ' || n from generate_series(1, {}) n;
analyze tenant",
        size.tenants
    )
}

/// The local tables of the tenants' own, a few to a statement list because a transaction holds a lock on each. They inherit
/// from the table `meter`, by which the bench reads the rows of all of them.
pub(crate) fn own_tables(size: Size) -> impl Iterator<Item = String> {
    const AT_ONCE: u32 = 100;
    let firsts = (1..=size.tenants).step_by(AT_ONCE as usize);
    firsts.map(move |first| {
        let last = size.tenants.min(first + AT_ONCE - 1);
        let table = |tenant| {
            format!("create table {OWN_TABLE}{tenant} (primary key (id)) inherits (meter);\n")
        };
        (first..=last).map(table).collect()
    })
}

/// The name of a tenant's own table, without its id at the end.
pub(crate) const OWN_TABLE: &str = "meter_of_";

/// Changes one meter of every hundredth tenant. `turn` is another number each time.
pub(crate) fn change_some(size: Size, turn: u32) -> String {
    let tenants = size.tenants;
    format!(
        "update meter set name = 'changed {turn}', updated_at = now()
where id between {tenants} and {} and (id - {tenants}) % 100 = 0",
        2 * tenants - 1
    )
}

/// Changes one meter of each tenant.
pub(crate) fn change_one_of_each(size: Size, turn: u32) -> String {
    let tenants = size.tenants;
    format!(
        "update meter set name = 'turn {turn}', updated_at = now() where id between {tenants} and {}",
        2 * tenants - 1
    )
}

/// Changes all meters of one tenant.
pub(crate) fn change_tenant(turn: u32) -> String {
    format!(
        "update meter set name = 'turn {turn} ' || id, updated_at = now() where tenant_id = {ALL_CHANGED}"
    )
}

/// Takes all meters of one tenant away, and gives another one a meter that the local table does not take.
pub(crate) fn break_two() -> String {
    format!(
        "create temp table taken as select * from meter where tenant_id = {HELD_BACK};
delete from meter where tenant_id = {HELD_BACK};
update meter set status = 'broken' where id = (select min(id) from meter where tenant_id = {FAILING})"
    )
}

/// Undoes [`break_two`].
pub(crate) const MEND_TWO: &str = "
insert into meter select * from taken;
drop table taken;
update meter set status = 'online' where status = 'broken'";

/// One statement over the same rows and of the same use as a sweep has them: the number of rows of each tenant, and a
/// hash of their versions.
pub(crate) const GROUPED: &str = "\
select tenant_id, count(*), bit_xor(hashtidextended(ctid, xmin::text::bigint)) from meter group by tenant_id";
