//! Connection strings: what is written in either form is what is read, and no error shows a password.

use std::error::Error;
use std::iter::successors;

use bolero::{Driver, TypeGenerator, check};
use meter_sync::config::{DatabaseEndpoint, Limits};
use tokio_postgres::config::Host;

use super::draw::{below, edited, odd, once_in, pick};
use super::inputs;

/// A part of each password.
const SECRET: &str = "hunter2";

/// Parameters with a value that can be used.
const PARAMETERS: &[(&str, &str)] = &[
    ("sslmode", "disable"),
    ("sslmode", "require"),
    ("connect_timeout", "7"),
    ("application_name", "a b"),
    ("target_session_attrs", "read-write"),
    ("keepalives_idle", "60"),
    ("tcp_user_timeout", "1500"),
    ("options", "-c geqo=off"),
    ("channel_binding", "prefer"),
    ("load_balance_hosts", "random"),
];

/// Whatever was asked for before: to read the certificates of the system takes as long as a hundred strings.
const WITHOUT_CERTIFICATES: (&str, &str) = ("sslmode", "disable");

/// What separates the parts of a string.
const PIECES: &[&str] = &[
    "postgres://",
    "postgresql://",
    "@",
    ":",
    "/",
    "?",
    "&",
    "=",
    "[",
    "]",
    "[::1]",
    "%",
    "%4",
    "%00",
    "%ff",
    "'",
    "\\",
    " ",
    "host=",
    "password=",
    "port=0",
    "sslmode=on",
    "service=x",
    "passfile=/p",
    "sslcert=/c",
    "hostaddr=::1",
];

/// A database, and how it is written.
#[derive(Clone, Debug)]
struct DatabaseUrl {
    user: String,
    password: String,
    hosts: Vec<(&'static str, u16)>,
    database: String,
    parameters: Vec<(&'static str, &'static str)>,
}

impl TypeGenerator for DatabaseUrl {
    fn generate<D: Driver>(driver: &mut D) -> Option<Self> {
        let word = |driver: &mut D| Some(odd(driver)?.replace('\0', ""));
        let hosts = 1 + below(driver, 3)?;
        let parameters = below(driver, 3)?;
        Some(Self {
            user: format!("u{}", word(driver)?),
            password: format!("{}{SECRET}{}", word(driver)?, word(driver)?),
            hosts: (0..hosts)
                .map(|_| {
                    let names = ["localhost", "db.example", "10.0.0.7", "::1"];
                    Some((*pick(driver, &names)?, *pick(driver, &[5432, 1, 65535])?))
                })
                .collect::<Option<_>>()?,
            database: format!("m{}", word(driver)?),
            parameters: (0..parameters)
                .map(|_| pick(driver, PARAMETERS).copied())
                .chain([Some(WITHOUT_CERTIFICATES)])
                .collect::<Option<_>>()?,
        })
    }
}

impl DatabaseUrl {
    fn url(&self) -> String {
        let hosts = self
            .hosts
            .iter()
            .map(|(host, port)| match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            });
        let hosts: Vec<_> = hosts.collect();
        let parameters = self.parameters.iter();
        let parameters = parameters.map(|(name, value)| format!("{name}={}", encoded(value)));
        let parameters: Vec<_> = parameters.collect();
        format!(
            "postgres://{}:{}@{}/{}?{}",
            encoded(&self.user),
            encoded(&self.password),
            hosts.join(","),
            encoded(&self.database),
            parameters.join("&")
        )
    }

    fn pairs(&self) -> String {
        let (hosts, ports): (Vec<_>, Vec<_>) = self
            .hosts
            .iter()
            .map(|(host, port)| (*host, port.to_string()))
            .unzip();
        let (hosts, ports) = (hosts.join(","), ports.join(","));
        let first = [
            ("user", self.user.as_str()),
            ("password", &self.password),
            ("host", &hosts),
            ("port", &ports),
            ("dbname", &self.database),
        ];
        let all = first.into_iter().chain(self.parameters.iter().copied());
        let all = all.map(|(name, value)| {
            let value = value.replace('\\', r"\\").replace('\'', r"\'");
            format!("{name} = '{value}'")
        });
        all.collect::<Vec<_>>().join(" ")
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn parse(text: &str) -> Result<DatabaseEndpoint, meter_sync::config::EndpointError> {
    DatabaseEndpoint::parse(text, &Limits::default())
}

#[test]
fn a_database_is_the_same_in_either_form() {
    check!()
        .with_iterations(inputs(300))
        .with_type::<DatabaseUrl>()
        .for_each(|place| {
            for text in [place.url(), place.pairs()] {
                let read = parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
                let driver = read.driver();
                assert_eq!(driver.get_user(), Some(place.user.as_str()), "{text}");
                assert_eq!(
                    driver.get_password(),
                    Some(place.password.as_bytes()),
                    "{text}"
                );
                assert_eq!(read.database(), place.database, "{text}");
                let servers = read.servers().list.iter().map(|server| match &server.host {
                    Host::Tcp(name) => (name.as_str(), server.port),
                    Host::Unix(_) => panic!("{text}"),
                });
                assert_eq!(servers.collect::<Vec<_>>(), place.hosts, "{text}");
                let shown = format!("{read:?} {}", read.address());
                assert!(!shown.contains(SECRET), "{shown}");
            }
        });
}

/// A string with a few edits.
#[derive(Clone, Debug)]
struct EditedUrl(String);

impl TypeGenerator for EditedUrl {
    fn generate<D: Driver>(driver: &mut D) -> Option<Self> {
        let place = DatabaseUrl::generate(driver)?;
        let text = match once_in(driver, 2)? {
            true => place.url(),
            // As people write it: the password is not encoded.
            false if once_in(driver, 2)? => place
                .url()
                .replace(&encoded(&place.password), &place.password),
            false => place.pairs(),
        };
        edited(driver, &text, PIECES).map(Self)
    }
}

#[test]
fn no_error_shows_any_of_a_string() {
    check!()
        .with_iterations(inputs(2000))
        .with_type::<EditedUrl>()
        .for_each(|EditedUrl(text)| {
            let Err(error) = parse(text) else { return };
            let causes = successors(Some(&error as &dyn Error), |error| (*error).source());
            let told: Vec<_> = causes.map(|error| format!("{error} {error:?}")).collect();
            let told = told.join(" ");
            assert!(told.len() > 10, "{told}");
            for secret in [SECRET, &encoded(SECRET)] {
                assert!(!told.contains(secret), "{text}: {told}");
            }
        });
}
