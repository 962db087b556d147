-- find runs without passing those that are not asked for

create index meter_sync_log_by_tenant on meter_sync.meter_sync_log (tenant, local_table, started_at desc, id desc);
create index meter_sync_log_successes on meter_sync.meter_sync_log (tenant, local_table, started_at desc)
    where outcome in ('succeeded', 'no_change');
create index meter_sync_log_problems on meter_sync.meter_sync_log (tenant, local_table, started_at desc, id desc)
    where outcome in ('partial', 'failed', 'refused', 'interrupted');
create index meter_sync_log_changes on meter_sync.meter_sync_log (tenant, local_table, started_at desc, id desc)
    where not dry_run and outcome in ('succeeded', 'partial') and inserted + updated + deactivated + reactivated > 0;

drop index meter_sync.meter_sync_log_by_start;
