-- keep how long a run was in each phase, and what the brake held back

-- Runs are listed newest first; with the id in the index this needs no sort. Readers go on while it is made, so it
-- comes before what they must wait for.
create index meter_sync_log_by_table_and_id on meter_sync.meter_sync_log (local_table, started_at desc, id desc);

alter table meter_sync.meter_sync_log add column phases jsonb not null default '[]';
-- Of a refused run, and of a dry run that would be refused: the plan's digest, how many meters it would deactivate of
-- how many, and the first of them.
alter table meter_sync.meter_sync_log add column held_back jsonb;

drop index meter_sync.meter_sync_log_by_table;
alter index meter_sync.meter_sync_log_by_table_and_id rename to meter_sync_log_by_table;
