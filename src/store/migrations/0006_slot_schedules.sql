-- keep by which schedule a slot was claimed

-- Line and time zone; between two slots of one schedule it is known which slots were missed.
alter table meter_sync.meter_sync_slot add column schedule text;
