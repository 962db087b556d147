-- order runs by what the database gives

-- Clocks of processes and machines may be wrong or step; the order of runs is a number that the database hands out.
-- Runs of before are numbered by their times.
alter table meter_sync.meter_sync_log add column seq bigint;
update meter_sync.meter_sync_log l set seq = o.n
from (select id, row_number() over (order by started_at, id) as n from meter_sync.meter_sync_log) o
where o.id = l.id;
alter table meter_sync.meter_sync_log alter column seq set not null;
alter table meter_sync.meter_sync_log alter column seq add generated always as identity;
select setval(pg_get_serial_sequence('meter_sync.meter_sync_log', 'seq'), coalesce(max(seq), 0) + 1, false)
from meter_sync.meter_sync_log;

drop index meter_sync.meter_sync_log_by_table;
drop index meter_sync.meter_sync_log_by_tenant;
drop index meter_sync.meter_sync_log_successes;
drop index meter_sync.meter_sync_log_problems;
drop index meter_sync.meter_sync_log_changes;
create index meter_sync_log_by_table on meter_sync.meter_sync_log (local_table, seq desc);
create index meter_sync_log_by_tenant on meter_sync.meter_sync_log (tenant, local_table, seq desc);
create index meter_sync_log_successes on meter_sync.meter_sync_log (tenant, local_table, seq desc)
    where outcome in ('succeeded', 'no_change');
create index meter_sync_log_problems on meter_sync.meter_sync_log (tenant, local_table, seq desc)
    where outcome in ('partial', 'failed', 'refused', 'interrupted');
create index meter_sync_log_changes on meter_sync.meter_sync_log (tenant, local_table, seq desc)
    where not dry_run and outcome in ('succeeded', 'partial') and inserted + updated + deactivated + reactivated > 0;
-- Runs since some time are looked for, too.
create index meter_sync_log_by_time on meter_sync.meter_sync_log (tenant, local_table, started_at desc);
