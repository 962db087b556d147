-- Where a deactivated meter went on the remote: 'another_tenant' and that tenant's id, 'deleted' or 'deleted_or_hidden'.
-- Null if that is not known, and for other actions.
alter table meter_sync.meter_sync_change add column gone_to text;
