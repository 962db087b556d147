-- find the changes of a meter

create index meter_sync_change_by_key on meter_sync.meter_sync_change using hash (key);
