-- demo: fill the local side
-- A site that was last synced by hand some months ago: text ids and ports, a column of its own,
-- readings that refer to its meters, and meters that have changed, come back or gone since.
create table tenant (
    id varchar(40) primary key,
    name varchar(80) not null
);
insert into tenant (id, name) values ('7', 'Northgate Hospitals');

create table meter (
    id varchar(40) primary key,
    name varchar(80) not null,
    type varchar(20),
    serial_number varchar(40),
    installation_date date,
    device_id varchar(40),
    location_id varchar(40),
    ip varchar(45),
    port varchar(5),
    protocol varchar(20),
    status varchar(20),
    register_map jsonb,
    notes text,
    active boolean not null default true,
    created_at timestamptz,
    updated_at timestamptz,
    site_note text
);
comment on column meter.site_note is 'The site''s own remark; the central database does not know it.';

create table meter_reading (
    id bigint generated always as identity primary key,
    meter_id varchar(40) not null references meter,
    read_at timestamptz not null,
    value double precision not null
);
create index meter_reading_by_meter on meter_reading (meter_id, read_at);

insert into meter (
    id, name, type, serial_number, installation_date, device_id, location_id, ip, port, protocol,
    status, register_map, notes, active, created_at, updated_at, site_note)
select id::text,
    case when id % 9 = 0 then upper(name) else name end,
    type, serial_number, installation_date, device_id::text, location_id::text, ip,
    case when id % 14 = 0 then '502' else port::text end,
    protocol, status, register_map, notes,
    active and id <> 12,
    created_at, updated_at,
    case when id % 6 = 0 then 'Read by hand on the first Monday of the month.' end
from sample_meter
where tenant_id = 7 and id <= 60;

insert into meter (id, name, type, serial_number, installation_date, port, protocol, active, site_note)
values
    ('901', 'Old laundry, steam header 1', 'steam', 'SIE-000917', date '2004-05-17', '47808', 'bacnet_ip',
        true, 'Demolished in spring.'),
    ('902', 'Old laundry, main incomer 1', 'electric', 'ABB-000918', date '2004-05-17', '502',
        'modbus_tcp', true, null);

insert into meter_reading (meter_id, read_at, value)
select meter.id, timestamptz '2026-10-01 00:00+00' + hour * interval '1 hour',
    1000 * ascii(right(meter.id, 1)) + hour * (1 + length(meter.name) % 7)
from meter, generate_series(0, 47) as hour;
