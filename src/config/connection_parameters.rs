//! Checks the parameters of a connection string, adds defaults, and converts them to a configuration of the Postgres
//! driver.

use std::time::Duration;

use tokio_postgres::config::{Host, LoadBalanceHosts};

use super::Limits;
use super::connection_hosts::{ConnectionHost, ConnectionHosts, TargetSessionAttrs};
use super::database_endpoint_error::EndpointError;
use super::libpq_parameters;
use super::parse_connection_string::{self, ParameterPairs};

/// How long a connection is silent before the first keepalive probe, by default. Together with the next two constants,
/// a dead peer is noticed after about nine seconds: 3 s of silence, then three probes 2 s apart.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(3);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVES_COUNT: u32 = 3;

/// The parameters of one connection string, as pairs of name and value. All names are known, and no value is empty.
pub(super) struct ConnectionParameters(Vec<(&'static str, String)>);

impl ConnectionParameters {
    /// Checks the names of the parameters. A parameter with an empty value is dropped. If a name occurs twice, the last
    /// value is used. Error: a name is unknown or refused.
    pub(super) fn new(pairs: ParameterPairs) -> Result<Self, EndpointError> {
        let mut known: Vec<(&'static str, String)> = Vec::new();
        for (name, value) in pairs {
            let name = libpq_parameters::known(&name)?;
            known.retain(|(earlier, _)| *earlier != name);
            if !value.is_empty() && !libpq_parameters::IGNORED.contains(&name) {
                known.push((name, value));
            }
        }
        Ok(Self(known))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| *known == name)?;
        Some(&found.1)
    }

    /// Converts the parameters to a configuration of the driver, and returns the servers separately. `limits` gives the
    /// connect timeout if the parameters do not. The configuration lacks `ssl_mode`, which
    /// [`ConnectionParameters::tls`] adds.
    pub(super) fn driver(
        &self,
        limits: &Limits,
    ) -> Result<(tokio_postgres::Config, ConnectionHosts), EndpointError> {
        let mut pairs = ParameterPairs::new();
        for (name, value) in self
            .0
            .iter()
            .filter(|(name, _)| libpq_parameters::PASSED_TO_DRIVER.contains(name))
        {
            let pair = ((*name).to_owned(), value.clone());
            if read_by_driver(std::slice::from_ref(&pair)).is_err() {
                return Err(bad(name, "the driver does not take this value"));
            }
            pairs.push(pair);
        }
        // Without a host name, the driver cannot check the name in a certificate. As in libpq, the address then takes
        // the place of the name.
        if let (None, Some(addresses)) = (self.get("host"), self.get("hostaddr")) {
            pairs.push(("host".to_owned(), addresses.to_owned()));
        }
        if let (None, Some(user)) = (self.get("dbname"), self.get("user")) {
            pairs.push(("dbname".to_owned(), user.to_owned()));
        }
        let together = "the driver does not take them together";
        let all = read_by_driver(&pairs).or(Err(bad("value", together)))?;
        check_addresses(&all)?;
        pairs.retain(|(name, _)| !OF_SERVERS.contains(&name.as_str()));
        let mut driver = read_by_driver(&pairs).or(Err(bad("value", together)))?;
        if driver.get_dbname().is_none() {
            return Err(bad("dbname", "the name of the database is missing"));
        }
        if self.get("gssencmode") == Some("require") {
            return Err(bad(
                "gssencmode",
                "there is no GSSAPI here; leave it out, and use sslmode=verify-full",
            ));
        }
        self.complete(&mut driver)?;
        let servers = self.servers(&all, limits)?;
        driver.connect_timeout(servers.connect_timeout);
        Ok((driver, servers))
    }

    fn servers(
        &self,
        all: &tokio_postgres::Config,
        limits: &Limits,
    ) -> Result<ConnectionHosts, EndpointError> {
        let session = match self.get("target_session_attrs") {
            None => TargetSessionAttrs::default(),
            Some(text) => TargetSessionAttrs::parse(text).ok_or(bad(
                "target_session_attrs",
                "it is one of any, read-write, read-only, primary, standby and prefer-standby",
            ))?,
        };
        let ports = all.get_ports();
        let hosts = all.get_hosts().iter().enumerate();
        let list = hosts.map(|(index, host)| ConnectionHost {
            host: host.clone(),
            address: all.get_hostaddrs().get(index).copied(),
            port: ports.get(index).or(ports.first()).copied().unwrap_or(5432),
        });
        Ok(ConnectionHosts {
            list: list.collect(),
            shuffled: all.get_load_balance_hosts() == LoadBalanceHosts::Random,
            session,
            connect_timeout: all
                .get_connect_timeout()
                .copied()
                .unwrap_or(limits.connect_timeout),
        })
    }

    /// Completes the configuration `driver`: sets defaults for the application name and the keepalives, and sets the
    /// TCP parameters that the driver does not parse itself.
    fn complete(&self, driver: &mut tokio_postgres::Config) -> Result<(), EndpointError> {
        if driver.get_application_name().is_none() {
            driver.application_name("meter-sync");
        }
        if self.get("keepalives_idle").is_none() {
            driver.keepalives_idle(KEEPALIVES_IDLE);
        }
        if self.get("keepalives_interval").is_none() {
            driver.keepalives_interval(KEEPALIVES_INTERVAL);
        }
        match self.number("keepalives_count")? {
            // 0 means the default of the operating system, as in libpq. For the other two settings, the driver itself
            // treats 0 in this way.
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
}

/// The parameters that name the servers and say in which order to try them. They are not passed to the driver, but
/// become [`ConnectionHosts`].
const OF_SERVERS: &[&str] = &["host", "hostaddr", "port", "load_balance_hosts"];

fn read_by_driver(
    pairs: &[(String, String)],
) -> Result<tokio_postgres::Config, tokio_postgres::Error> {
    parse_connection_string::write(pairs).parse()
}

pub(super) fn bad(parameter: &'static str, problem: &'static str) -> EndpointError {
    EndpointError::BadParameter { parameter, problem }
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

    fn parameters(text: &str) -> ConnectionParameters {
        ConnectionParameters::new(parse_connection_string::parse(text).unwrap()).unwrap()
    }

    fn refusal(text: &str) -> String {
        let refused = parse_connection_string::parse(text)
            .map_err(EndpointError::from)
            .and_then(ConnectionParameters::new)
            .and_then(|parameters| {
                let (mut driver, servers) = parameters.driver(&Limits::default())?;
                parameters.tls(&mut driver, &servers)
            });
        match refused {
            Ok(_) => panic!("{text} was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_the_string_leaves_open_is_completed() {
        let limits = Limits::default();
        let (driver, servers) = parameters("host=h user=u").driver(&limits).unwrap();
        assert_eq!(driver.get_dbname(), Some("u"));
        assert_eq!(driver.get_application_name(), Some("meter-sync"));
        assert_eq!(driver.get_connect_timeout(), Some(&limits.connect_timeout));
        assert_eq!(servers.connect_timeout, limits.connect_timeout);
        assert_eq!(servers.list.len(), 1);
        assert_eq!(driver.get_keepalives_idle(), KEEPALIVES_IDLE);
        assert_eq!(driver.get_tcp_user_timeout(), None);
        let given = "host=h dbname=m application_name=x keepalives_idle=60 keepalives_count=9 tcp_user_timeout=1500";
        let (driver, _) = parameters(given).driver(&limits).unwrap();
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
        let (driver, _) = parameters(given).driver(&Limits::default()).unwrap();
        assert_eq!(driver.get_keepalives_retries(), None);
        assert_eq!(driver.get_keepalives_interval(), None);
        // The driver always sets an idle time. Its default is that of operating systems.
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
            (
                "host=localhost dbname=m sslnegotiation=direct",
                "sslnegotiation",
            ),
            ("host=h dbname=m gssencmode=require", "gssencmode"),
            ("host=h dbname=m passfile=/p", "METER_SYNC_REMOTE_URL_FILE"),
            ("service=central", "service"),
            ("host=h dbname=m ssl=true", "write sslmode"),
            ("host=h dbname=m sslcrl=/c", "sslcrl"),
            (
                "host=h dbname=m target_session_attrs=slave",
                "prefer-standby",
            ),
            (
                "host=h dbname=m sslmod=require",
                "the nearest known one is sslmode",
            ),
        ] {
            assert!(refusal(text).contains(part), "{text}: {}", refusal(text));
        }
    }
}
