-- keep runs for a while only

-- Whether the run is as old as METER_SYNC_KEEP_RUNS says and only kept for the last change of some meter.
alter table meter_sync.meter_sync_log add column is_pruned boolean not null default false;
create index meter_sync_log_not_pruned on meter_sync.meter_sync_log (local_table, started_at) where not is_pruned;
