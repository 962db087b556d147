-- after "staged" was filled: make "meter" equal to it
analyze staged;
update meter m
set (name, type, serial_number, installation_date, device_id, location_id, ip, port, protocol, status,
    register_map, notes, active, created_at, updated_at)
  = (s.name, s.type, s.serial_number, s.installation_date, s.device_id, s.location_id, s.ip, s.port, s.protocol,
    s.status, s.register_map, s.notes, s.active, s.created_at, s.updated_at)
from staged s
where m.id = s.id
  and (m.name, m.type, m.serial_number, m.installation_date, m.device_id, m.location_id, m.ip, m.port,
    m.protocol, m.status, m.register_map, m.notes, m.active, m.created_at, m.updated_at)
  is distinct from
    (s.name, s.type, s.serial_number, s.installation_date, s.device_id, s.location_id, s.ip, s.port,
    s.protocol, s.status, s.register_map, s.notes, s.active, s.created_at, s.updated_at);
insert into meter
select s.* from staged s
where not exists (select from meter m where m.id = s.id);
update meter m set active = false
where m.active and not exists (select from staged s where s.id = m.id);
commit;
