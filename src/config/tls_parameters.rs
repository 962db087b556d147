//! Decides how connections use TLS, from `sslmode` and the other TLS parameters of a connection string.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_postgres::config::{Host, SslMode, SslNegotiation};

use super::connection_hosts::{ConnectionHost, ConnectionHosts};
use super::connection_parameters::{ConnectionParameters, bad};
use super::database_endpoint_error::EndpointError;
use super::database_tls::{self, CertificateCheck, DatabaseTls, RequestedTls, RootCertificates};

impl ConnectionParameters {
    /// Returns whether and how connections to `servers` use TLS. Also sets in `driver` whether a connection without TLS
    /// is allowed.
    pub(super) fn tls(
        &self,
        driver: &mut tokio_postgres::Config,
        servers: &ConnectionHosts,
    ) -> Result<DatabaseTls, EndpointError> {
        let mode = Self::checked(self.sslmode(servers), self.get("sslrootcert"))?;
        // A connection by Unix socket never leaves this machine, so TLS is not used. libpq also ignores sslmode there.
        let mut hosts = servers.list.iter().map(|server| &server.host);
        let sockets_only = hosts.all(|host| matches!(host, Host::Unix(_)));
        let Some((ssl_mode, check)) = mode.filter(|_| !sockets_only) else {
            driver.ssl_mode(SslMode::Disable);
            driver.ssl_negotiation(SslNegotiation::Postgres);
            return Ok(DatabaseTls::Disable);
        };
        driver.ssl_mode(ssl_mode);
        let direct = driver.get_ssl_negotiation() == SslNegotiation::Direct;
        if direct && ssl_mode == SslMode::Prefer {
            return Err(bad(
                "sslnegotiation",
                "direct needs sslmode=require or more",
            ));
        }
        let wanted = RequestedTls {
            check,
            roots: match self.get("sslrootcert") {
                None | Some("system") => RootCertificates::System,
                Some(path) => RootCertificates::File(PathBuf::from(path)),
            },
            identity: self.identity()?,
            direct,
        };
        Ok(DatabaseTls::Rustls(
            Arc::new(database_tls::client_config(&wanted)?),
            wanted.check,
        ))
    }

    /// Returns `sslmode` as given, or its default. The default is `prefer`, as in libpq, only if all servers are on
    /// this machine. Otherwise, and with `sslrootcert=system`, it is the safest mode, `verify-full`.
    pub(super) fn sslmode(&self, servers: &ConnectionHosts) -> &str {
        let is_safe_here = servers.list.iter().all(ConnectionHost::is_on_this_machine);
        let default = match self.get("sslrootcert") {
            Some("system") => "verify-full",
            Some(_) | None if is_safe_here => "prefer",
            Some(_) | None => "verify-full",
        };
        self.get("sslmode").unwrap_or(default)
    }

    /// Converts `sslmode` (`mode`) and `sslrootcert` (`root`) to the driver's mode and the check of the certificate.
    /// `None` means no TLS. Error: the mode is unknown, or too weak for `sslrootcert=system`.
    fn checked(
        mode: &str,
        root: Option<&str>,
    ) -> Result<Option<(SslMode, CertificateCheck)>, EndpointError> {
        if root == Some("system") && mode != "verify-full" {
            return Err(bad("sslmode", "sslrootcert=system needs verify-full"));
        }
        let if_root = match root {
            Some(_) => CertificateCheck::Issuer,
            None => CertificateCheck::Nothing,
        };
        match mode {
            "disable" => Ok(None),
            "allow" | "prefer" => Ok(Some((SslMode::Prefer, if_root))),
            "require" => Ok(Some((SslMode::Require, if_root))),
            "verify-ca" => Ok(Some((SslMode::Require, CertificateCheck::Issuer))),
            "verify-full" => Ok(Some((SslMode::Require, CertificateCheck::IssuerAndName))),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Limits, parse_connection_string};

    fn mode(text: &str) -> Option<(SslMode, CertificateCheck)> {
        let text = format!("dbname=m {text}");
        let parameters =
            ConnectionParameters::new(parse_connection_string::parse(&text).unwrap()).unwrap();
        let (_, servers) = parameters.driver(&Limits::default()).unwrap();
        let root = parameters.get("sslrootcert");
        ConnectionParameters::checked(parameters.sslmode(&servers), root).unwrap()
    }

    #[test]
    fn sslmode_means_what_libpq_means() {
        use CertificateCheck::{Issuer, IssuerAndName, Nothing};
        use SslMode::{Prefer, Require};
        for (text, expected) in [
            ("sslmode=disable", None),
            ("sslmode=allow", Some((Prefer, Nothing))),
            ("sslmode=require", Some((Require, Nothing))),
            ("sslmode=require sslrootcert=/r", Some((Require, Issuer))),
            ("sslmode=verify-ca", Some((Require, Issuer))),
            ("sslmode=verify-full", Some((Require, IssuerAndName))),
            ("sslrootcert=system", Some((Require, IssuerAndName))),
            ("sslmode=require sslmode=disable", None),
        ] {
            for host in ["host=localhost", "host=db.example"] {
                assert_eq!(mode(&format!("{host} {text}")), expected, "{host} {text}");
            }
        }
    }

    #[test]
    fn a_connection_that_leaves_this_machine_is_verified_unless_told_otherwise() {
        use CertificateCheck::{Issuer, IssuerAndName, Nothing};
        use SslMode::{Prefer, Require};
        for (text, expected) in [
            ("host=localhost", (Prefer, Nothing)),
            ("host=/run/pg", (Prefer, Nothing)),
            ("host=db.example hostaddr=127.0.0.1", (Prefer, Nothing)),
            ("host=localhost sslrootcert=/r", (Prefer, Issuer)),
            ("host=db.example", (Require, IssuerAndName)),
            ("host=localhost,db.example", (Require, IssuerAndName)),
            (
                "host=localhost hostaddr=192.0.2.1",
                (Require, IssuerAndName),
            ),
            ("host=db.example sslrootcert=/r", (Require, IssuerAndName)),
            ("host=db.example sslmode=prefer", (Prefer, Nothing)),
        ] {
            assert_eq!(mode(text), Some(expected), "{text}");
        }
    }
}
