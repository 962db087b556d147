//! The two connections: whether they come about, how they are protected, and the clocks at their
//! ends.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use super::{Finding, Verdict, missing};
use crate::clock;
use crate::config::{Check, Endpoint, Limits, Setting, Source, Tls};
use crate::db::{Connection, Database, DbError, Local, Remote, Side, SideName, Tx};
use crate::error::Failure;
use crate::sync;

/// A schedule and a log that are read side by side mislead when the clocks differ by more.
const SKEW: TimeDelta = TimeDelta::seconds(5);

/// A database that answers.
pub(super) struct Reached<S> {
    connection: Connection<S>,
    server: Server,
    connected_in: Duration,
}

/// What a server says of itself and of the connection.
struct Server {
    version: String,
    /// The protocol's version; `None` in clear text.
    tls: Option<String>,
    clock_ahead: TimeDelta,
    encoding: String,
}

const SERVER: &str = "\
-- look at the server
select current_setting('server_version'), clock_timestamp(), case when s.ssl then s.version end,
       getdatabaseencoding()::text
from (select pg_backend_pid() as pid) me left join pg_catalog.pg_stat_ssl s on s.pid = me.pid";

impl Reached<Remote> {
    /// Connects to the central database.
    pub(super) async fn new(endpoint: Option<&Endpoint>, limits: &Limits) -> Result<Self, Failure> {
        let endpoint = endpoint.ok_or_else(|| missing(Setting::RemoteUrl))?;
        let (mut connection, connected_in) = connect(endpoint, limits).await?;
        let tx = connection
            .snapshot("check", &[])
            .await
            .map_err(|e| e.failure())?;
        let server = Server::ask(&tx).await.map_err(|e| e.failure())?;
        drop(tx);
        Ok(Self {
            connection,
            server,
            connected_in,
        })
    }

    /// A read-only transaction, rolled back when dropped.
    pub(super) async fn look(&mut self) -> Result<Tx<'_, Remote>, DbError> {
        self.connection.snapshot("check", &[]).await
    }

    /// The same for the rows of the source, as a run reads them.
    pub(super) async fn look_at_rows(
        &mut self,
        source: &Source,
    ) -> Result<Tx<'_, Remote>, DbError> {
        let locks = sync::locks_of(&mut self.connection, source, false).await?;
        let tx = self.connection.snapshot("check", &locks).await?;
        tx.use_role_path().await?;
        Ok(tx)
    }
}

impl Reached<Local> {
    /// Connects to the site's database.
    pub(super) async fn new(endpoint: Option<&Endpoint>, limits: &Limits) -> Result<Self, Failure> {
        let endpoint = endpoint.ok_or_else(|| missing(Setting::LocalUrl))?;
        let (mut connection, connected_in) = connect(endpoint, limits).await?;
        let tx = connection.begin("check").await.map_err(|e| e.failure())?;
        let server = Server::ask(&tx).await.map_err(|e| e.failure())?;
        drop(tx);
        Ok(Self {
            connection,
            server,
            connected_in,
        })
    }

    /// A read-only transaction, rolled back when dropped.
    pub(super) async fn look(&mut self) -> Result<Tx<'_, Local>, DbError> {
        let tx = self.connection.begin_beside_the_remote("check").await?;
        tx.batch("-- only look\nset transaction read only").await?;
        Ok(tx)
    }
}

async fn connect<S: Side>(
    endpoint: &Endpoint,
    limits: &Limits,
) -> Result<(Connection<S>, Duration), Failure> {
    let begun = Instant::now();
    let database = Database::new(endpoint, limits).map_err(|e| e.failure())?;
    let connection = database.connect().await.map_err(|e| e.failure())?;
    Ok((connection, begun.elapsed()))
}

impl Server {
    async fn ask<S: Side>(tx: &Tx<'_, S>) -> Result<Self, DbError> {
        let asked = clock::now();
        let row = tx.query_one(SERVER, &[]).await?;
        let answered = clock::now();
        let there: DateTime<Utc> = row.get(1);
        Ok(Self {
            version: row.get(0),
            tls: row.get(2),
            clock_ahead: there - (asked + (answered - asked) / 2),
            encoding: row.get(3),
        })
    }
}

/// What is found of one connection, and the connection if there is one.
pub(super) fn findings<S: Side>(
    reached: Result<Reached<S>, Failure>,
    endpoint: Option<&Endpoint>,
) -> (Vec<Finding>, Option<Reached<S>>) {
    let side = S::NAME;
    let subject = format!("{side} connection");
    let (reached, endpoint) = match (reached, endpoint) {
        (Ok(reached), Some(endpoint)) => (reached, endpoint),
        (Err(failure), _) => {
            return (vec![Finding::new(&subject, Verdict::Failed(failure))], None);
        }
        (Ok(_), None) => return (Vec::new(), None),
    };
    let text = format!(
        "{}, Postgres {}, connected in {} ms",
        endpoint.place(),
        reached.server.version,
        reached.connected_in.as_millis()
    );
    let connection = Finding::new(&subject, Verdict::Ok(text));
    let verdict = tls(side, endpoint, reached.server.tls.as_deref());
    let tls = Finding::new(&format!("{side} TLS"), verdict);
    (vec![connection, tls], Some(reached))
}

fn tls(side: SideName, endpoint: &Endpoint, used: Option<&str>) -> Verdict {
    let url = match side {
        SideName::Remote => Setting::RemoteUrl.env(),
        SideName::Local => Setting::LocalUrl.env(),
    };
    let checked = match endpoint.tls() {
        Tls::Rustls(_, check) => *check,
        Tls::Disable => Check::Nothing,
    };
    match (used, checked) {
        (Some(version), Check::IssuerAndName) => {
            Verdict::Ok(format!("{version}, certificate and host name checked"))
        }
        (Some(version), Check::Issuer) => {
            Verdict::Ok(format!("{version}, certificate checked, host name not"))
        }
        (used, Check::Nothing) if endpoint.is_on_this_machine() => {
            let how = used.unwrap_or("clear text");
            Verdict::Ok(format!("{how}; the connection stays on this machine"))
        }
        (Some(version), Check::Nothing) => Verdict::Warning(format!(
            "{version}, but the server's certificate is not checked: whoever answers in its place is believed. \
             Set sslmode=verify-full (and sslrootcert) in {url}."
        )),
        (None, _) => Verdict::Warning(format!(
            "in clear text: password and rows can be read and changed on the way. \
             Set sslmode=verify-full (and sslrootcert) in {url}."
        )),
    }
}

/// How far the servers' clocks are from ours.
pub(super) fn clocks(
    remote: Option<&Reached<Remote>>,
    local: Option<&Reached<Local>>,
) -> Option<Finding> {
    let ahead = [
        remote.map(|reached| (SideName::Remote, reached.server.clock_ahead)),
        local.map(|reached| (SideName::Local, reached.server.clock_ahead)),
    ];
    let ahead: Vec<_> = ahead.into_iter().flatten().collect();
    let worst = ahead.iter().map(|(_, ahead)| ahead.abs()).max()?;
    let each = ahead
        .iter()
        .map(|(side, ahead)| format!("{side} {} s", seconds(*ahead)));
    let text = format!(
        "against this machine: {}",
        each.collect::<Vec<_>>().join(", ")
    );
    let verdict = if worst > SKEW {
        Verdict::Warning(format!(
            "{text}. Set the clocks by NTP; times in logs and schedules do not match."
        ))
    } else {
        Verdict::Ok(text)
    };
    Some(Finding::new("clocks", verdict))
}

/// With its sign, which whole seconds of a part of a second do not have.
fn seconds(length: TimeDelta) -> String {
    let milliseconds = length.num_milliseconds();
    let sign = if milliseconds < 0 { '-' } else { '+' };
    let magnitude = milliseconds.unsigned_abs();
    format!("{sign}{}.{:03}", magnitude / 1000, magnitude % 1000)
}

/// Which texts cannot pass from the one database to the other; nothing where all can.
pub(super) fn encodings(
    remote: Option<&Reached<Remote>>,
    local: Option<&Reached<Local>>,
) -> Option<Finding> {
    let (there, here) = (&remote?.server.encoding, &local?.server.encoding);
    let rejected = match (there.as_str(), here.as_str()) {
        (there, here) if there == here => return None,
        (_, "SQL_ASCII") => return None,
        ("SQL_ASCII", here) => format!("a row with bytes that are no {here} is rejected"),
        (_, "UTF8") => return None,
        (_, here) => format!("a row with a character that {here} lacks is rejected"),
    };
    let text = format!("remote {there}, local {here}: {rejected}");
    Some(Finding::new("encodings", Verdict::Ok(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_by_less_than_a_second_has_its_sign() {
        for (milliseconds, told) in [
            (0, "+0.000"),
            (-1, "-0.001"),
            (-500, "-0.500"),
            (61_250, "+61.250"),
            (-3_600_000, "-3600.000"),
        ] {
            assert_eq!(seconds(TimeDelta::milliseconds(milliseconds)), told);
        }
    }
}
