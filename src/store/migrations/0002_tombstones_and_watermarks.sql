-- create the tables of what a run remembers for the next

-- How much a run compared: what the digests of both sides told apart, or every value of every meter.
alter table meter_sync.meter_sync_log add column compared text not null default 'nothing'
    check (compared in ('nothing', 'differences', 'everything'));

-- The meters that are inactive here because the remote has them no more, by a hash of their keys: what
-- the comparison with the remote leaves out. A wrong row costs time and does no harm.
create table meter_sync.meter_sync_gone (
    tenant text not null,
    local_table text not null,
    key_hash bigint not null,
    primary key (tenant, local_table, key_hash)
);

-- Which versions of rows both sides held when they were last found equal: how many, and a sum over them; of
-- the remote the oldest transaction that was running then, too. Without a row here the next run compares what
-- the rows hold.
create table meter_sync.meter_sync_seen (
    tenant text not null,
    local_table text not null,
    basis text not null,
    remote_rows bigint not null,
    remote_sum bigint not null,
    local_rows bigint not null,
    local_sum bigint not null,
    remote_horizon bigint not null,
    primary key (tenant, local_table)
);
