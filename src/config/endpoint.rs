//! One database as a setting: where it is, who we are there, and how TLS is checked.

/// One database: where it is, who we are there, and how TLS is checked. Its `Debug` shows no secret.
#[derive(Clone)]
pub struct Endpoint {
    /// What the driver connects with; holds the password.
    pub(crate) driver: tokio_postgres::Config,
    /// How TLS is used and checked.
    pub(crate) tls: Tls,
}

/// How TLS is used and checked: libpq's `sslmode`
/// (<https://www.postgresql.org/docs/current/libpq-ssl.html>).
#[derive(Clone)]
pub enum Tls {
    /// Never.
    Disable,
    /// With this client configuration; the driver's own `ssl_mode` says whether it may be left out.
    Rustls(std::sync::Arc<rustls::ClientConfig>),
}

impl Endpoint {
    /// What the driver connects with.
    pub(crate) fn driver(&self) -> &tokio_postgres::Config {
        &self.driver
    }

    /// How TLS is used.
    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}
