-- store how both sides were shown to be equal

-- How it is known that both sides were equal after a run; null if they were not, or if an earlier version made the run.
alter table meter_sync.meter_sync_log add column proved text check (proved in ('versions', 'contents', 'every_value'));

-- The last comparison of all meters of a mirror: what each side had, and how its rows were hashed, so that the digests
-- can be computed again.
create table meter_sync.meter_sync_proof (
    tenant text not null,
    local_table text not null,
    compared_at timestamptz not null,
    method text not null check (method in ('contents', 'every_value')),
    are_equal boolean not null,
    -- Whether the sides differed although row versions showed no change since the last run: an error of a run.
    is_unexplained boolean not null,
    remote_meters bigint not null,
    remote_digest text not null,
    local_meters bigint not null,
    local_digest text not null,
    seeds bigint[] not null,
    is_portable boolean not null,
    casts boolean not null,
    primary key (tenant, local_table)
);
