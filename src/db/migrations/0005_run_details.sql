-- keep how long a run was in each phase, and what the brake held back

alter table meter_sync.meter_sync_log add column phases jsonb not null default '[]';
-- Of a refused run, and of a dry run that would be refused: the plan's digest, how many meters it would deactivate of
-- how many, and the first of them.
alter table meter_sync.meter_sync_log add column held_back jsonb;

-- Runs are listed newest first; with the id in the index this needs no sort.
drop index meter_sync.meter_sync_log_by_table;
create index meter_sync_log_by_table on meter_sync.meter_sync_log (local_table, started_at desc, id desc);
