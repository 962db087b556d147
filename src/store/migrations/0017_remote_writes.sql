-- tell whether the remote table was written to

-- How many rows of the remote table the server had counted as inserted, updated or deleted, and how many of these as
-- deleted; null if it was not asked.
alter table meter_sync.meter_sync_seen add column remote_writes bigint, add column remote_deletes bigint;
