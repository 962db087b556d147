//! What the parameters of a connection string mean: checked, completed, and given to the driver.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode, SslNegotiation};

use super::Limits;
use super::conninfo::{self, Pairs};
use super::endpoint::EndpointError;
use super::tls::{self, Check, Roots, Tls, Wanted};

/// Parameters that the driver takes as they are.
const DRIVERS: &[&str] = &[
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
    "target_session_attrs",
    "load_balance_hosts",
];

/// Parameters that the driver does not know, or reads in another unit than libpq.
const OURS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "keepalives_count",
    "tcp_user_timeout",
];

/// Parameters of libpq that change nothing for this program.
const IGNORED: &[&str] = &[
    "client_encoding",
    "fallback_application_name",
    "gssencmode",
    "sslcompression",
];

/// A silent peer is noticed after about nine seconds: 3 s, then three probes 2 s apart.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(3);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVES_COUNT: u32 = 3;

/// The parameters of one connection string, all of them known.
pub(super) struct Parameters(Vec<(&'static str, String)>);

impl Parameters {
    /// Refuses unknown names. An empty value is as good as none; the last of a name wins.
    pub(super) fn new(pairs: Pairs) -> Result<Self, EndpointError> {
        let mut known: Vec<(&'static str, String)> = Vec::new();
        for (name, value) in pairs {
            let name = canonical_name(&name)?;
            known.retain(|(earlier, _)| *earlier != name);
            if !value.is_empty() && !IGNORED.contains(&name) {
                known.push((name, value));
            }
        }
        Ok(Self(known))
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| *known == name)?;
        Some(&found.1)
    }

    /// The driver's configuration but for `ssl_mode`.
    pub(super) fn driver(&self, limits: &Limits) -> Result<tokio_postgres::Config, EndpointError> {
        let mut pairs = Pairs::new();
        for (name, value) in self.0.iter().filter(|(name, _)| DRIVERS.contains(name)) {
            let pair = ((*name).to_owned(), value.clone());
            if conninfo::write(std::slice::from_ref(&pair))
                .parse::<tokio_postgres::Config>()
                .is_err()
            {
                return Err(bad(name, "the driver does not take this value"));
            }
            pairs.push(pair);
        }
        // Without a name the driver has nothing to check a certificate against; libpq takes the
        // address, too.
        if let (None, Some(addresses)) = (self.get("host"), self.get("hostaddr")) {
            pairs.push(("host".to_owned(), addresses.to_owned()));
        }
        if let (None, Some(user)) = (self.get("dbname"), self.get("user")) {
            pairs.push(("dbname".to_owned(), user.to_owned()));
        }
        let mut driver: tokio_postgres::Config = conninfo::write(&pairs)
            .parse()
            .or(Err(bad("value", "the driver does not take them together")))?;
        check_addresses(&driver)?;
        if driver.get_dbname().is_none() {
            return Err(bad("dbname", "the name of the database is missing"));
        }
        self.complete(&mut driver, limits)?;
        Ok(driver)
    }

    /// Sets what the string leaves open.
    fn complete(
        &self,
        driver: &mut tokio_postgres::Config,
        limits: &Limits,
    ) -> Result<(), EndpointError> {
        if driver.get_application_name().is_none() {
            driver.application_name("meter-sync");
        }
        if driver.get_connect_timeout().is_none() {
            driver.connect_timeout(limits.connect_timeout);
        }
        if self.get("keepalives_idle").is_none() {
            driver.keepalives_idle(KEEPALIVES_IDLE);
        }
        if self.get("keepalives_interval").is_none() {
            driver.keepalives_interval(KEEPALIVES_INTERVAL);
        }
        match self.number("keepalives_count")? {
            // The system's own, as libpq's manual says; the driver reads 0 of the other two in this way.
            Some(0) => {}
            count => {
                driver.keepalives_retries(count.unwrap_or(KEEPALIVES_COUNT));
            }
        }
        if let Some(milliseconds) = self.number("tcp_user_timeout")? {
            driver.tcp_user_timeout(Duration::from_millis(milliseconds.into()));
        }
        Ok(())
    }

    fn number(&self, name: &'static str) -> Result<Option<u32>, EndpointError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(bad(name, "it is a whole number")),
        }
    }

    /// How TLS is used; tells the driver whether it may be left out.
    pub(super) fn tls(&self, driver: &mut tokio_postgres::Config) -> Result<Tls, EndpointError> {
        let mode = self.mode()?;
        // A socket never leaves the machine: libpq, too, ignores sslmode there.
        let sockets_only = driver
            .get_hosts()
            .iter()
            .all(|host| matches!(host, Host::Unix(_)));
        let Some((ssl_mode, check)) = mode.filter(|_| !sockets_only) else {
            driver.ssl_mode(SslMode::Disable);
            driver.ssl_negotiation(SslNegotiation::Postgres);
            return Ok(Tls::Disable);
        };
        driver.ssl_mode(ssl_mode);
        let direct = driver.get_ssl_negotiation() == SslNegotiation::Direct;
        if direct && ssl_mode == SslMode::Prefer {
            return Err(bad(
                "sslnegotiation",
                "direct needs sslmode=require or more",
            ));
        }
        let wanted = Wanted {
            check,
            roots: match self.get("sslrootcert") {
                None | Some("system") => Roots::System,
                Some(path) => Roots::File(PathBuf::from(path)),
            },
            identity: self.identity()?,
            direct,
        };
        Ok(Tls::Rustls(
            Arc::new(tls::client_config(&wanted)?),
            wanted.check,
        ))
    }

    /// `sslmode` as what the driver and the certificate check make of it; `None` without TLS.
    fn mode(&self) -> Result<Option<(SslMode, Check)>, EndpointError> {
        let root = self.get("sslrootcert");
        let default = match root {
            Some("system") => "verify-full",
            Some(_) | None => "prefer",
        };
        let mode = self.get("sslmode").unwrap_or(default);
        if root == Some("system") && mode != "verify-full" {
            return Err(bad("sslmode", "sslrootcert=system needs verify-full"));
        }
        let if_root = match root {
            Some(_) => Check::Issuer,
            None => Check::Nothing,
        };
        match mode {
            "disable" => Ok(None),
            "allow" | "prefer" => Ok(Some((SslMode::Prefer, if_root))),
            "require" => Ok(Some((SslMode::Require, if_root))),
            "verify-ca" => Ok(Some((SslMode::Require, Check::Issuer))),
            "verify-full" => Ok(Some((SslMode::Require, Check::IssuerAndName))),
            _ => Err(bad(
                "sslmode",
                "it is one of disable, allow, prefer, require, verify-ca and verify-full",
            )),
        }
    }

    fn identity(&self) -> Result<Option<(PathBuf, PathBuf)>, EndpointError> {
        match (self.get("sslcert"), self.get("sslkey")) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => {
                Ok(Some((PathBuf::from(certificate), PathBuf::from(key))))
            }
            (Some(_), None) => Err(bad("sslcert", "it needs sslkey beside it")),
            (None, Some(_)) => Err(bad("sslkey", "it needs sslcert beside it")),
        }
    }
}

fn bad(parameter: &'static str, problem: &'static str) -> EndpointError {
    EndpointError::BadParameter { parameter, problem }
}

/// The name as one of the lists above has it. What is unknown is not repeated: in a URL with a raw
/// `?` in its password it is a part of the password.
fn canonical_name(name: &str) -> Result<&'static str, EndpointError> {
    let all = || DRIVERS.iter().chain(OURS).chain(IGNORED).copied();
    if let Some(known) = all().find(|known| *known == name) {
        return Ok(known);
    }
    let nearest = all().min_by_key(|known| strsim::damerau_levenshtein(known, name));
    Err(EndpointError::UnknownParameter {
        nearest: nearest.unwrap_or_default(),
    })
}

fn check_addresses(driver: &tokio_postgres::Config) -> Result<(), EndpointError> {
    let hosts = driver.get_hosts();
    if hosts.is_empty() {
        return Err(bad(
            "host",
            "the server, or the directory of its socket, is missing",
        ));
    }
    let odd = |name: &str| name.is_empty() || name.contains(['@', '/', ' ', '?', '#']);
    if hosts
        .iter()
        .any(|host| matches!(host, Host::Tcp(name) if odd(name)))
    {
        return Err(bad(
            "host",
            "it is no host name; in a URL, write @ / ? # of a password as %40 %2F %3F %23",
        ));
    }
    if driver.get_ports().contains(&0) {
        return Err(bad("port", "it is a number from 1 to 65535"));
    }
    let fits = |count: usize| count == 0 || count == hosts.len();
    if !fits(driver.get_hostaddrs().len()) {
        return Err(bad("hostaddr", "there are not as many as hosts"));
    }
    if driver.get_ports().len() > 1 && !fits(driver.get_ports().len()) {
        return Err(bad("port", "there are not as many as hosts"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(text: &str) -> Parameters {
        Parameters::new(conninfo::parse(text).unwrap()).unwrap()
    }

    fn refusal(text: &str) -> String {
        let refused = conninfo::parse(text)
            .map_err(EndpointError::from)
            .and_then(Parameters::new)
            .and_then(|parameters| {
                let mut driver = parameters.driver(&Limits::default())?;
                parameters.tls(&mut driver)
            });
        match refused {
            Ok(_) => panic!("{text} was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn sslmode_means_what_libpq_means() {
        use Check::{Issuer, IssuerAndName, Nothing};
        use SslMode::{Prefer, Require};
        for (text, mode) in [
            ("", Some((Prefer, Nothing))),
            ("sslmode=disable", None),
            ("sslmode=allow", Some((Prefer, Nothing))),
            ("sslmode=require", Some((Require, Nothing))),
            ("sslmode=require sslrootcert=/r", Some((Require, Issuer))),
            ("sslmode=verify-ca", Some((Require, Issuer))),
            ("sslmode=verify-full", Some((Require, IssuerAndName))),
            ("sslrootcert=system", Some((Require, IssuerAndName))),
            ("sslmode=require sslmode=disable", None),
        ] {
            assert_eq!(parameters(text).mode().unwrap(), mode, "{text}");
        }
    }

    #[test]
    fn what_the_string_leaves_open_is_completed() {
        let limits = Limits::default();
        let driver = parameters("host=h user=u").driver(&limits).unwrap();
        assert_eq!(driver.get_dbname(), Some("u"));
        assert_eq!(driver.get_application_name(), Some("meter-sync"));
        assert_eq!(driver.get_connect_timeout(), Some(&limits.connect_timeout));
        assert_eq!(driver.get_keepalives_idle(), KEEPALIVES_IDLE);
        assert_eq!(driver.get_tcp_user_timeout(), None);
        let given = "host=h dbname=m application_name=x keepalives_idle=60 keepalives_count=9 tcp_user_timeout=1500";
        let driver = parameters(given).driver(&limits).unwrap();
        assert_eq!(driver.get_application_name(), Some("x"));
        assert_eq!(driver.get_keepalives_idle(), Duration::from_secs(60));
        assert_eq!(driver.get_keepalives_retries(), Some(9));
        assert_eq!(
            driver.get_tcp_user_timeout(),
            Some(&Duration::from_millis(1500))
        );
    }

    #[test]
    fn keepalives_of_zero_are_those_of_the_system() {
        let given = "host=h dbname=m keepalives_count=0 keepalives_idle=0 keepalives_interval=0";
        let driver = parameters(given).driver(&Limits::default()).unwrap();
        assert_eq!(driver.get_keepalives_retries(), None);
        assert_eq!(driver.get_keepalives_interval(), None);
        // The driver sets one in any case; this is what systems have.
        assert_eq!(
            driver.get_keepalives_idle(),
            Duration::from_secs(2 * 60 * 60)
        );
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, part) in [
            ("dbname=m", "host"),
            ("host=h", "dbname"),
            ("host=h,i dbname=m port=1,2,3", "port"),
            ("host=h dbname=m port=0", "port"),
            ("host=h dbname=m port=many", "port"),
            ("host=h dbname=m hostaddr=h", "hostaddr"),
            ("host=h,i dbname=m hostaddr=10.0.0.1", "hostaddr"),
            ("postgres://u@v@/m?host=a@b", "host"),
            ("host=h dbname=m tcp_user_timeout=1s", "tcp_user_timeout"),
            ("host=h dbname=m sslmode=on", "sslmode"),
            (
                "host=h dbname=m sslmode=verify-ca sslrootcert=system",
                "sslmode",
            ),
            ("host=h dbname=m sslcert=/c", "sslcert"),
            ("host=h dbname=m sslkey=/k", "sslkey"),
            (
                "host=h dbname=m sslmode=verify-ca sslrootcert=/nowhere/r",
                "sslrootcert",
            ),
            ("host=h dbname=m sslnegotiation=direct", "sslnegotiation"),
            (
                "host=h dbname=m sslmod=require",
                "the nearest known one is sslmode",
            ),
        ] {
            assert!(refusal(text).contains(part), "{text}: {}", refusal(text));
        }
    }
}
