-- keep which columns were synced

-- One row a synced column, as the runs so far know it; written when that changes. A column that the remote dropped, renamed
-- or gave another type stays here as it was, with its drift, until that is settled. To accept a column as it is now, delete
-- its row.
create table meter_sync.meter_sync_column (
    tenant text not null,
    local_table text not null,
    column_name text not null,
    source text not null,
    remote_relation bigint not null,
    remote_number smallint not null,
    remote_type text not null,
    local_type text not null,
    drift text check (drift in ('missing', 'renamed', 'retyped')),
    drifted_to text,
    primary key (tenant, local_table, column_name)
);
