-- create the sync tables

-- One row a run. The row is made when the run starts; outcome stays null until it ends, and is set in
-- the transaction that changes the meters. A null outcome without a holder of the run's lock means that
-- its process died; the next run marks it interrupted.
create table meter_sync.meter_sync_log (
    id uuid primary key,
    tenant text,
    local_table text not null,
    trigger text not null,
    actor text,
    reason text,
    idempotency_key text,
    dry_run boolean not null default false,
    started_at timestamptz not null,
    finished_at timestamptz,
    outcome text check (outcome in (
        'succeeded', 'no_change', 'partial', 'failed', 'refused', 'interrupted', 'dry_run')),
    inserted bigint not null default 0,
    updated bigint not null default 0,
    deactivated bigint not null default 0,
    reactivated bigint not null default 0,
    unchanged bigint not null default 0,
    rejected bigint not null default 0,
    error_code text,
    error_message text,
    error_remedy text,
    remote_bytes bigint not null default 0,
    changes_truncated boolean not null default false,
    warning text,
    check ((outcome is null) = (finished_at is null))
);
create index meter_sync_log_by_start on meter_sync.meter_sync_log (tenant, local_table, started_at desc);
create index meter_sync_log_by_table on meter_sync.meter_sync_log (local_table, started_at desc);
create index meter_sync_log_unfinished on meter_sync.meter_sync_log (tenant, local_table) where outcome is null;
create index meter_sync_log_by_key on meter_sync.meter_sync_log (tenant, local_table, idempotency_key)
    where idempotency_key is not null;

comment on table meter_sync.meter_sync_log is 'One row per sync run of meter-sync.';
comment on column meter_sync.meter_sync_log.changes_truncated is
    'true when meter_sync_change holds fewer rows than the run changed (METER_SYNC_CHANGE_LIMIT).';

-- What each run changed; of a dry run, what it would have changed.
create table meter_sync.meter_sync_change (
    run_id uuid not null references meter_sync.meter_sync_log (id) on delete cascade,
    n bigint not null,
    action text not null check (action in ('insert', 'update', 'deactivate', 'reactivate')),
    key jsonb not null,
    before jsonb not null,
    after jsonb not null,
    primary key (run_id, n)
);

-- The remote rows that the local table would not take.
create table meter_sync.meter_sync_rejected (
    run_id uuid not null references meter_sync.meter_sync_log (id) on delete cascade,
    n bigint not null,
    key jsonb not null,
    reason text not null,
    primary key (run_id, n)
);

-- The slots of the schedule that a process has taken upon itself.
create table meter_sync.meter_sync_slot (
    tenant text not null,
    local_table text not null,
    slot timestamptz not null,
    claimed_at timestamptz not null default now(),
    claimed_by text not null,
    primary key (tenant, local_table, slot)
);
