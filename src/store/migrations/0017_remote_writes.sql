-- tell whether the remote table was written to

-- How many rows of the remote table the server had counted as inserted, updated or deleted; null if it was not asked.
alter table meter_sync.meter_sync_seen add column remote_writes bigint;
