-- tell comparisons of contents by digests from those of every value

-- What a run compared: the rows that versions or digests told apart; what all rows hold, by digests, in the run or right
-- after it; or every value of every meter.
alter table meter_sync.meter_sync_log
    drop constraint meter_sync_log_compared_check,
    add constraint meter_sync_log_compared_check check (compared in ('nothing', 'differences', 'contents', 'everything'));

-- When contents were last compared is a part of each status.
create index meter_sync_log_compared on meter_sync.meter_sync_log (tenant, local_table, started_at desc)
    where compared in ('contents', 'everything');
