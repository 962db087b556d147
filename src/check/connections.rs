//! Checks both database connections: whether they can be made, whether TLS protects them, and the clocks and encodings
//! of the servers.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use super::{Finding, Verdict, missing};
use crate::config::{
    CertificateCheck, DatabaseEndpoint, DatabaseTls, Limits, Setting, SourceSetting,
};
use crate::db::{Connection, Database, DbError, Local, Remote, Side, SideName, Tx};
use crate::engine;
use crate::error::Failure;
use crate::machine_clock;

/// The largest difference between a server's clock and this machine's clock that gives no warning. With a larger one,
/// times in the log do not match the schedule.
const SKEW: TimeDelta = TimeDelta::seconds(5);

/// An open connection to a database, and what its server reported.
pub(super) struct ConnectionWithReport<S> {
    connection: Connection<S>,
    server: ServerReport,
    connected_in: Duration,
}

/// What a server reports about itself and about the connection.
struct ServerReport {
    version: String,
    /// The TLS version, such as `TLSv1.3`; `None` if the connection is not encrypted.
    tls: Option<String>,
    clock_ahead: TimeDelta,
    encoding: String,
}

const SERVER: &str = "\
-- look at the server
select current_setting('server_version'), clock_timestamp(), case when s.ssl then s.version end,
       getdatabaseencoding()::text
from (select pg_backend_pid() as pid) me left join pg_catalog.pg_stat_ssl s on s.pid = me.pid";

impl ConnectionWithReport<Remote> {
    /// Connects to the remote database. Returns a failure if its URL is not set or if it cannot be reached.
    pub(super) async fn new(
        endpoint: Option<&DatabaseEndpoint>,
        limits: &Limits,
    ) -> Result<Self, Failure> {
        let endpoint = endpoint.ok_or_else(|| missing(Setting::RemoteUrl))?;
        let (mut connection, connected_in) = connect(endpoint, limits).await?;
        let tx = connection.snapshot("check", &[]).await?;
        let server = ServerReport::ask(&tx).await?;
        drop(tx);
        Ok(Self {
            connection,
            server,
            connected_in,
        })
    }

    /// Begins a read-only transaction. It is rolled back when dropped.
    pub(super) async fn begin_read_only(&mut self) -> Result<Tx<'_, Remote>, DbError> {
        self.connection.snapshot("check", &[]).await
    }

    /// Begins a read-only transaction for reading the rows of `source`, the remote table or query. Like a sync, it
    /// locks the tables and views to read, and uses the role's `search_path`.
    pub(super) async fn begin_reading_rows(
        &mut self,
        source: &SourceSetting,
    ) -> Result<Tx<'_, Remote>, DbError> {
        let locks = engine::locks_of(&mut self.connection, source, false).await?;
        let tx = self.connection.snapshot("check", &locks).await?;
        tx.use_role_path().await?;
        Ok(tx)
    }
}

impl ConnectionWithReport<Local> {
    /// Connects to the local database. Returns a failure if its URL is not set or if it cannot be reached.
    pub(super) async fn new(
        endpoint: Option<&DatabaseEndpoint>,
        limits: &Limits,
    ) -> Result<Self, Failure> {
        let endpoint = endpoint.ok_or_else(|| missing(Setting::LocalUrl))?;
        let (mut connection, connected_in) = connect(endpoint, limits).await?;
        let tx = connection.begin("check").await?;
        let server = ServerReport::ask(&tx).await?;
        drop(tx);
        Ok(Self {
            connection,
            server,
            connected_in,
        })
    }

    /// Begins a read-only transaction. It is rolled back when dropped.
    pub(super) async fn begin_read_only(&mut self) -> Result<Tx<'_, Local>, DbError> {
        let tx = self.connection.begin_for_run("check").await?;
        tx.batch("-- only look\nset transaction read only").await?;
        Ok(tx)
    }
}

async fn connect<S: Side>(
    endpoint: &DatabaseEndpoint,
    limits: &Limits,
) -> Result<(Connection<S>, Duration), Failure> {
    let begun = Instant::now();
    let database = Database::new(endpoint, limits)?;
    let connection = database.connect().await?;
    Ok((connection, begun.elapsed()))
}

impl ServerReport {
    async fn ask<S: Side>(tx: &Tx<'_, S>) -> Result<Self, DbError> {
        let asked = machine_clock::now();
        let row = tx.query_one(SERVER, &[]).await?;
        let answered = machine_clock::now();
        let there: DateTime<Utc> = row.get(1);
        Ok(Self {
            version: row.get(0),
            tls: row.get(2),
            clock_ahead: there - (asked + (answered - asked) / 2),
            encoding: row.get(3),
        })
    }
}

/// Returns the findings about one connection, from the result of the attempt to connect, and the connection itself if
/// it was made.
pub(super) fn findings<S: Side>(
    reached: Result<ConnectionWithReport<S>, Failure>,
    endpoint: Option<&DatabaseEndpoint>,
) -> (Vec<Finding>, Option<ConnectionWithReport<S>>) {
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
        endpoint.address(),
        reached.server.version,
        reached.connected_in.as_millis()
    );
    let connection = Finding::new(&subject, Verdict::Ok(text));
    let verdict = tls(side, endpoint, reached.server.tls.as_deref());
    let tls = Finding::new(&format!("{side} TLS"), verdict);
    (vec![connection, tls], Some(reached))
}

fn tls(side: SideName, endpoint: &DatabaseEndpoint, used: Option<&str>) -> Verdict {
    let url = match side {
        SideName::Remote => Setting::RemoteUrl.env(),
        SideName::Local => Setting::LocalUrl.env(),
    };
    let checked = match endpoint.tls() {
        DatabaseTls::Rustls(_, check) => *check,
        DatabaseTls::Disable => CertificateCheck::Nothing,
    };
    match (used, checked) {
        (Some(version), CertificateCheck::IssuerAndName) => {
            Verdict::Ok(format!("{version}, certificate and host name checked"))
        }
        (Some(version), CertificateCheck::Issuer) => {
            Verdict::Ok(format!("{version}, certificate checked, host name not"))
        }
        (used, CertificateCheck::Nothing) if endpoint.is_on_this_machine() => {
            let how = used.unwrap_or("clear text");
            Verdict::Ok(format!("{how}; the connection stays on this machine"))
        }
        (Some(version), CertificateCheck::Nothing) => Verdict::Warning(format!(
            "{version}, but the server's certificate is not checked: whoever answers in its place is believed. \
             Set sslmode=verify-full (and sslrootcert) in {url}."
        )),
        (None, _) => Verdict::Warning(format!(
            "in clear text: password and rows can be read and changed on the way. \
             Set sslmode=verify-full (and sslrootcert) in {url}."
        )),
    }
}

/// Reports how far the servers' clocks differ from this machine's; `None` if neither server answered.
pub(super) fn clocks(
    remote: Option<&ConnectionWithReport<Remote>>,
    local: Option<&ConnectionWithReport<Local>>,
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

/// Formats a duration in seconds with a sign, such as `-0.500`. The sign is written separately, because the integer
/// part of -0.5 s is 0, which has no sign.
fn seconds(length: TimeDelta) -> String {
    let milliseconds = length.num_milliseconds();
    let sign = if milliseconds < 0 { '-' } else { '+' };
    let magnitude = milliseconds.unsigned_abs();
    format!("{sign}{}.{:03}", magnitude / 1000, magnitude % 1000)
}

/// Reports which rows are rejected because the encoding of the local database cannot store their text. `None` if it can
/// store all text of the remote, or if a server did not answer.
pub(super) fn encodings(
    remote: Option<&ConnectionWithReport<Remote>>,
    local: Option<&ConnectionWithReport<Local>>,
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
