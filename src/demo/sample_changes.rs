//! Changes rows of the demo's remote, so that a person can watch them being synced: one change every 20 s. Six kinds of
//! change form a cycle that leaves the number of meters as it was. The remote database stores the number of the next
//! change, so that a restarted demo continues the cycle.

use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_util::sync::CancellationToken;

use super::owner_connection::OwnerConnection;

const INTERVAL: Duration = Duration::from_secs(20);

/// A kind of change on the remote. The SQL statement of each kind takes the number of the cycle as its parameter and
/// returns the names of the changed meters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SampleChange {
    /// Renames a meter. The next sync updates it.
    Rename,
    /// Inserts a meter. The next sync inserts it, or reactivates it if a meter with its id was deleted earlier.
    Install,
    /// Changes a meter's port. The next sync updates it.
    MovePort,
    /// Sets a meter's `active` to false. The next sync counts this as an update.
    SwitchOff,
    /// Sets `active` to true again for the meter of the previous cycle's [`SampleChange::SwitchOff`]. The next sync
    /// reactivates it.
    SwitchOn,
    /// Deletes a meter. The next sync deactivates its local row.
    Dismantle,
}

const CYCLE: [SampleChange; 6] = [
    SampleChange::Rename,
    SampleChange::Dismantle,
    SampleChange::Install,
    SampleChange::MovePort,
    SampleChange::SwitchOff,
    SampleChange::SwitchOn,
];

impl SampleChange {
    fn words(self) -> &'static str {
        match self {
            Self::Rename => "renamed a meter",
            Self::Install => "installed a meter",
            Self::MovePort => "moved a meter to another port",
            Self::SwitchOff => "switched a meter off",
            Self::SwitchOn => "switched meters on again",
            Self::Dismantle => "dismantled a meter",
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Rename => RENAME,
            Self::Install => INSTALL,
            Self::MovePort => MOVE_PORT,
            Self::SwitchOff => SWITCH_OFF,
            Self::SwitchOn => SWITCH_ON,
            Self::Dismantle => DISMANTLE,
        }
    }
}

const RENAME: &str = "\
-- demo: rename a meter
update meter set updated_at = now(),
    name = case when name like '% (old)' then left(name, -6) else name || ' (old)' end
where id = 1 + $1 * 7 % 150 and tenant_id = 7
returning name";

/// SQL: inserts a meter. Only forty ids are used for these meters, in turn, so that the data does not grow if the demo
/// runs for a week.
const INSTALL: &str = "\
-- demo: install a meter
insert into meter (id, tenant_id, name, type, serial_number, installation_date, ip, port, protocol,
    status, register_map)
select 1000 + $1 % 40, 7, 'New wing, submeter ' || 1 + $1 % 40, 'electric',
    'ELS-' || 700000 + $1 % 40, date '2026-11-02', '10.27.20.' || 10 + $1 % 40, 502, 'modbus_tcp',
    'online', jsonb_build_object('unit_id', 1 + $1 % 40, 'registers', jsonb_build_array())
on conflict do nothing
returning name";

const MOVE_PORT: &str = "\
-- demo: move a meter to another port
update meter set port = case when port = 1502 then 502 else 1502 end, updated_at = now()
where id = 2 + $1 * 11 % 150 and tenant_id = 7
returning name";

const SWITCH_OFF: &str = "\
-- demo: switch a meter off
update meter set active = false, status = 'offline', updated_at = now()
where id = 3 + $1 * 13 % 150 and tenant_id = 7
returning name";

const SWITCH_ON: &str = "\
-- demo: switch meters on again
update meter set active = true, status = 'online', updated_at = now()
where id = 3 + ($1 + 149) * 13 % 150 and tenant_id = 7 and not active
returning name";

/// SQL: deletes a meter. In the first three cycles, that is a meter of the sample data; later, the meter that was
/// inserted three cycles before.
const DISMANTLE: &str = "\
-- demo: dismantle a meter
delete from meter
where id = case when $1 < 3 then 160 + $1 else 1000 + ($1 + 37) % 40 end and tenant_id = 7
returning name";

const NEXT: &str = "\
-- demo: take the number of the next change
update demo_sample set step = step + 1 returning step - 1";

/// Makes one change on the remote every 20 s until `stop` is cancelled.
pub(super) async fn keep_changing(remote_url: String, stop: CancellationToken) {
    loop {
        let pause = tokio::time::sleep(INTERVAL);
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
        let changed = change_once(&remote_url);
        match stop.run_until_cancelled(changed).await {
            None => return,
            // A user who tries out the demo may have deleted the meter.
            Some(Ok((_, names))) if names.is_empty() => {}
            Some(Ok((change, names))) => {
                tracing::info!(meters = names.join("; "), "the demo {}", change.words());
            }
            // a user who tries out the demo may have changed the database
            Some(Err(error)) => tracing::warn!(%error, "the demo could not change its remote"),
        }
    }
}

async fn change_once(
    remote_url: &str,
) -> Result<(SampleChange, Vec<String>), tokio_postgres::Error> {
    let mut owner = OwnerConnection::connect(remote_url).await?;
    let tx = owner.begin().await?;
    let step: i64 = tx.query_one(NEXT, &[]).await?.try_get(0)?;
    let (change, cycle) = place(step);
    let rows = tx
        .query_typed(change.sql(), &[(&cycle, Type::INT8)])
        .await?;
    let names: Result<_, _> = rows.iter().map(|row| row.try_get(0)).collect();
    tx.commit().await?;
    owner.close().await;
    Ok((change, names?))
}

/// Returns what kind of change the step with this number makes, and the number of its cycle. Steps are counted from 0.
fn place(step: i64) -> (SampleChange, i64) {
    let length = CYCLE.len() as i64;
    let index = usize::try_from(step.rem_euclid(length)).unwrap_or_default();
    let change = CYCLE.get(index).copied().unwrap_or(SampleChange::Rename);
    (change, step.div_euclid(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_has_every_change_once() {
        let cycle: Vec<_> = (6..12).map(place).collect();
        for change in CYCLE {
            assert!(cycle.contains(&(change, 1)), "{change:?}");
        }
    }
}
