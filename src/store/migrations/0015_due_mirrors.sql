-- share the runs of a sweep between processes

-- The mirrors that a sweep gives a run, in the order in which they are to run. Any process with the same settings takes
-- the next one that nobody has claimed. A process renews its claims while it works, so an old claim is one of a dead process.
create table meter_sync.meter_sync_due (
    sweep uuid not null references meter_sync.meter_sync_sweep on delete cascade,
    tenant text not null,
    local_table text not null,
    place bigint not null,
    claimed_by text,
    claimed_at timestamptz,
    ended_at timestamptz,
    error_code text,
    remote_bytes bigint not null default 0,
    primary key (sweep, tenant, local_table)
);
create index meter_sync_due_in_order on meter_sync.meter_sync_due (sweep, place) where ended_at is null;

-- Which process sweeps, and when it last said that it goes on. Null for a sweep whose runs are not shared.
alter table meter_sync.meter_sync_sweep add column claimed_by text, add column renewed_at timestamptz;

-- When somebody asked, through another process, for the end of a run that is in progress.
alter table meter_sync.meter_sync_log add column cancel_asked_at timestamptz;
