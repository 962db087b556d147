-- tell of columns whose name another remote column has

alter table meter_sync.meter_sync_column
    drop constraint meter_sync_column_drift_check,
    add constraint meter_sync_column_drift_check check (drift in ('missing', 'renamed', 'retyped', 'replaced'));
