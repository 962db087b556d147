//! Lists the connection parameters of libpq, and how this program treats each of them
//! (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS>).

use super::database_endpoint_error::EndpointError;

/// Parameters that are passed to the driver unchanged.
pub(super) const PASSED_TO_DRIVER: &[&str] = &[
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "options",
    "application_name",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "sslnegotiation",
    "channel_binding",
    "load_balance_hosts",
];

/// Parameters that this program reads itself, because the driver does not know them or reads them differently from
/// libpq.
const READ_HERE: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "keepalives_count",
    "tcp_user_timeout",
    "target_session_attrs",
    "gssencmode",
];

/// Parameters that are accepted but have no effect in this program.
pub(super) const IGNORED: &[&str] = &[
    "client_encoding",
    "fallback_application_name",
    "sslcompression",
    "sslsni",
];

const NO_CRL: &str = "lists of revoked certificates are not read; leave it out";
const NO_KERBEROS: &str = "there is no Kerberos here; leave it out, and use a password or sslcert";
const NO_VERSIONS: &str =
    "TLS 1.2 and 1.3 are used, whichever is newer on both sides; leave it out";
const NO_FILE: &str = "libpq's own files are not read; write host, port, dbname, user and password out, in a file that METER_SYNC_REMOTE_URL_FILE or METER_SYNC_LOCAL_URL_FILE names";

/// Parameters that libpq accepts and this program refuses, each with the reason and what to do instead.
const REFUSED: &[(&str, &str)] = &[
    ("passfile", NO_FILE),
    ("service", NO_FILE),
    ("servicefile", NO_FILE),
    ("gssdelegation", NO_KERBEROS),
    ("gsslib", NO_KERBEROS),
    ("krbsrvname", NO_KERBEROS),
    ("sslcrl", NO_CRL),
    ("sslcrldir", NO_CRL),
    ("ssl_min_protocol_version", NO_VERSIONS),
    ("ssl_max_protocol_version", NO_VERSIONS),
    (
        "sslpassword",
        "the file of sslkey must hold the key unencrypted; leave it out",
    ),
    (
        "sslcertmode",
        "a client certificate is sent where sslcert names one; leave it out",
    ),
    (
        "requirepeer",
        "the owner of a socket is not asked after; leave it out",
    ),
    (
        "require_auth",
        "the server chooses how we sign in; leave it out, and use sslmode=verify-full so that the server is the right one",
    ),
    ("requiressl", "it is old; write sslmode=require"),
    (
        "replication",
        "meter-sync reads by ordinary queries; leave it out",
    ),
    (
        "ssl",
        "it is true at most, in a URL, which means sslmode=require; write sslmode",
    ),
];

/// Returns the name of a parameter as a constant. Error: the name is unknown or refused. The error does not quote an
/// unknown name: if a password in a URL contains an unescaped `?`, the name is a part of the password.
pub(super) fn known(name: &str) -> Result<&'static str, EndpointError> {
    let all = || {
        PASSED_TO_DRIVER
            .iter()
            .chain(READ_HERE)
            .chain(IGNORED)
            .copied()
    };
    if let Some(known) = all().find(|known| *known == name) {
        return Ok(known);
    }
    if let Some(&(parameter, problem)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Err(EndpointError::BadParameter { parameter, problem });
    }
    let nearest = all().min_by_key(|known| strsim::damerau_levenshtein(known, name));
    Err(EndpointError::UnknownParameter {
        nearest: nearest.unwrap_or_default(),
    })
}
