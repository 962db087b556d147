-- remember which mirrors are paused

-- A mirror is paused while it has a row here whose end does not lie in the past.
create table meter_sync.meter_sync_pause (
    local_table text not null,
    tenant text not null,
    paused_at timestamptz not null default clock_timestamp(),
    paused_by text,
    reason text not null,
    ends_at timestamptz,
    primary key (local_table, tenant)
);
comment on table meter_sync.meter_sync_pause is 'The mirrors that a person has paused: no run changes their meters.';
comment on column meter_sync.meter_sync_pause.ends_at is 'When the pause ends by itself; null until somebody resumes.';
