-- keep which meters the brake held back

-- Of a run that the brake refused, and of a dry run that it would refuse: the keys of the meters that would become inactive, up to a
-- thousand in an array. A person approves these and no others. They are deleted when a sync succeeds, which outdates them.
create table meter_sync.meter_sync_held (
    run_id uuid not null references meter_sync.meter_sync_log (id) on delete cascade,
    n bigint not null,
    tenant text not null,
    local_table text not null,
    keys jsonb not null,
    primary key (run_id, n)
);
create index meter_sync_held_by_tenant on meter_sync.meter_sync_held (tenant, local_table);
