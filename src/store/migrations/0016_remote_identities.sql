-- notice a restored or replaced remote

-- Which remote database a mirror was last synced from, to notice one that was restored, rewound or swapped for another.
create table meter_sync.meter_sync_remote (
    tenant text not null,
    local_table text not null,
    -- Identifies the server: initdb makes it, and copies of the data directory keep it.
    system_identifier bigint not null,
    database_oid bigint not null,
    -- A hash of the setting that names the remote table or query, and the object id of the table.
    source text not null,
    relation_oid bigint,
    -- The timeline, and how far the write-ahead log was written to disk, in bytes. Null if only a standby was seen.
    timeline bigint,
    flushed bigint,
    -- Why a strict brake waits for a person; null if it does not.
    refused text,
    -- The last sums of row versions of this tenant's remote rows, newest first, to recognise an earlier state.
    version_sums bigint[] not null default '{}',
    primary key (tenant, local_table)
);
