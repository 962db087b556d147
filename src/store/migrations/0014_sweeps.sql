-- keep sweeps, and when a mirror was found unchanged

-- A sweep is one look at all mirrors of a process. Only mirrors that may differ get a run; how many were found unchanged
-- is told here, and not by a run of each.
create table meter_sync.meter_sync_sweep (
    id uuid primary key,
    seq bigint not null generated always as identity,
    local_table text not null,
    trigger text not null,
    actor text,
    reason text,
    started_at timestamptz not null,
    finished_at timestamptz,
    mirrors bigint not null default 0,
    unchanged bigint not null default 0,
    succeeded bigint not null default 0,
    failed bigint not null default 0,
    error_code text,
    error_message text,
    error_remedy text,
    remote_bytes bigint not null default 0
);
create index meter_sync_sweep_by_table on meter_sync.meter_sync_sweep (local_table, seq desc);
create index meter_sync_sweep_by_time on meter_sync.meter_sync_sweep (local_table, started_at desc);

-- When a sweep last found a mirror unchanged. Each sweep updates many rows in place, so pages keep room for that.
create table meter_sync.meter_sync_mirror (
    tenant text not null,
    local_table text not null,
    checked_at timestamptz not null,
    primary key (tenant, local_table)
) with (fillfactor = 50);
