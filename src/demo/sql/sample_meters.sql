-- demo: make up meters
-- 420 meters of three organisations, the same on every machine: names, addresses and dates follow
-- from the number alone. Organisation 7 has 190, 8 has 140, 9 has 90.
create temp table sample_meter on commit drop as
with numbered as (
    select n as id,
        case when n <= 190 then 7 when n <= 330 then 8 else 9 end as tenant_id,
        case when n % 10 < 6 then 'electric' when n % 10 < 8 then 'water'
            when n % 10 = 8 then 'gas' else 'steam' end as type
    from generate_series(1, 420) as n
), placed as (
    select *,
        (id * 7 + id / 8) % 8 as building,
        (id * 3 + id / 10) % 6 as load
    from numbered
), named as (
    select *,
        (array['Main building', 'Surgical wing', 'Laboratory', 'Kitchen', 'Boiler house', 'Car park',
            'Pharmacy', 'Administration'])[building + 1]
        || ', ' || case type
            when 'electric' then (array['main incomer', 'chiller', 'ventilation', 'lighting',
                'lift motors', 'distribution board'])[load + 1]
            when 'water' then (array['cold water', 'hot water', 'cooling tower make-up', 'irrigation',
                'softened water', 'fire main'])[load + 1]
            when 'gas' then (array['boiler', 'kitchen supply', 'steam generator', 'incinerator',
                'emergency generator', 'main supply'])[load + 1]
            else (array['steam header', 'sterilisation', 'laundry', 'humidifiers', 'condensate return',
                'calorifier'])[load + 1]
        end as place
    from placed
)
select id::bigint, tenant_id::bigint,
    place || ' ' || row_number() over (partition by tenant_id, place order by id) as name,
    type,
    (array['ABB', 'SIE', 'SCH', 'KAM', 'ELS', 'ITR'])[id % 6 + 1]
        || '-' || lpad(((id * 7919 + 104729) % 1000000)::text, 6, '0') as serial_number,
    date '2009-03-02' + (id * 37 % 5800) as installation_date,
    (4000 + id / 4)::bigint as device_id,
    (tenant_id * 100 + building)::bigint as location_id,
    format('10.%s.%s.%s', 20 + tenant_id, 1 + building, 10 + id % 200) as ip,
    case when type in ('electric', 'gas') then 502 + id % 3 else 47808 end as port,
    case when type in ('electric', 'gas') then 'modbus_tcp' else 'bacnet_ip' end as protocol,
    case when id % 23 = 0 then 'maintenance' when id % 17 = 0 then 'offline' else 'online' end as status,
    case type
        when 'electric' then jsonb_build_object('unit_id', 1 + id % 32, 'word_order', 'big', 'registers',
            jsonb_build_array(
                jsonb_build_object('name', 'active_energy_kwh', 'address', 40072, 'type', 'float32', 'scale', 1),
                jsonb_build_object('name', 'active_power_kw', 'address', 40054, 'type', 'float32', 'scale', 0.001),
                jsonb_build_object('name', 'power_factor', 'address', 40084, 'type', 'float32', 'scale', 1)))
        when 'gas' then jsonb_build_object('unit_id', 1 + id % 32, 'word_order', 'little', 'registers',
            jsonb_build_array(
                jsonb_build_object('name', 'volume_m3', 'address', 30001, 'type', 'uint32', 'scale', 0.01)))
        when 'water' then jsonb_build_object('device_instance', 120000 + id, 'objects',
            jsonb_build_array(
                jsonb_build_object('name', 'volume_m3', 'object', 'accumulator:1', 'scale', 0.1),
                jsonb_build_object('name', 'flow_m3_h', 'object', 'analog-input:2')))
        else jsonb_build_object('device_instance', 140000 + id, 'objects',
            jsonb_build_array(
                jsonb_build_object('name', 'mass_kg', 'object', 'accumulator:1'),
                jsonb_build_object('name', 'pressure_bar', 'object', 'analog-input:1'),
                jsonb_build_object('name', 'temperature_c', 'object', 'analog-input:2')))
    end as register_map,
    case when id % 11 = 0 then 'Access through the plant room; key at reception.'
        when id % 13 = 0 then 'Pulse output unused.'
        when id % 7 = 0 then '' end as notes,
    id % 29 <> 0 and id <> 140 as active,
    timestamptz '2019-06-03 08:00+00' + id * interval '5 hours 7 minutes' as created_at,
    timestamptz '2026-01-12 09:30+00' + id * interval '41 minutes' as updated_at
from named;
