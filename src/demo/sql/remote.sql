-- demo: fill the remote
-- The central database as its owner has it.
create table tenant (
    id bigint primary key,
    name text not null
);
insert into tenant (id, name) values
    (7, 'Northgate Hospitals'), (8, 'Harbour Cold Storage'), (9, 'Linden Schools');

create table meter (
    id bigint primary key,
    tenant_id bigint not null references tenant,
    name text not null,
    type text not null,
    serial_number text,
    installation_date date,
    device_id bigint,
    location_id bigint,
    ip text,
    port integer,
    protocol text,
    status text,
    register_map jsonb,
    notes text,
    active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index meter_by_tenant on meter (tenant_id);

insert into meter (
    id, tenant_id, name, type, serial_number, installation_date, device_id, location_id, ip, port,
    protocol, status, register_map, notes, active, created_at, updated_at)
select id, tenant_id, name, type, serial_number, installation_date, device_id, location_id, ip, port,
    protocol, status, register_map, notes, active, created_at, updated_at
from sample_meter;
