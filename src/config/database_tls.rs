//! TLS to databases, as libpq's `sslmode` defines it (<https://www.postgresql.org/docs/current/libpq-ssl.html>).
//!
//! The differences from libpq, each of which is stricter or due to the TLS library:
//!
//! - `allow` means `prefer`.
//! - `sslrootcert` is checked under `prefer` too. A failed check is an error, with no fallback to clear text.
//! - Without `sslrootcert`, `verify-ca` and `verify-full` trust the root certificates of the operating system.
//! - Files below `~/.postgresql` are not read.
//! - The host name must be in the certificate's `subjectAltName`. The common name is ignored.
//! - A certificate that is checked must be X.509 version 3.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use x509_cert::der::{Decode, Encode};

/// Whether connections to a database use TLS, and how the server's certificate is checked.
#[derive(Clone)]
pub enum DatabaseTls {
    /// TLS is never used.
    Disable,
    /// TLS is used with this client configuration, which checks as much of the server's certificate as
    /// [`CertificateCheck`] says. The driver's `ssl_mode` says whether a connection without TLS is allowed.
    Rustls(Arc<ClientConfig>, CertificateCheck),
}

/// The TLS settings that a connection string asks for.
pub(super) struct RequestedTls {
    pub(super) check: CertificateCheck,
    pub(super) roots: RootCertificates,
    /// The files with the client certificate (`sslcert`) and its key (`sslkey`); `None` without a client certificate.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
    /// Whether TLS starts at once, without a request to the server in clear text (`sslnegotiation=direct`). Postgres
    /// accepts that only if the client names the protocol `postgresql` by ALPN.
    pub(super) direct: bool,
}

/// How much of the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateCheck {
    /// Nothing is checked. The connection is encrypted, but anyone may pose as the server.
    Nothing,
    /// One of the root certificates must have issued the certificate.
    Issuer,
    /// One of the root certificates must have issued the certificate, and the certificate must name the host.
    IssuerAndName,
}

/// The root certificates that may have issued the server's certificate.
pub(super) enum RootCertificates {
    /// The certificates that the operating system trusts.
    System,
    /// The certificates in the file that `sslrootcert` names.
    File(PathBuf),
}

/// Why TLS cannot be set up as the connection string asks. No path is shown, because it may be a misplaced secret.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key file cannot be used.
    #[error("the file of its {parameter} {problem}")]
    File {
        /// The connection parameter that names the file, such as `sslcert`.
        parameter: &'static str,
        /// What is wrong with the file, such as `does not exist`.
        problem: &'static str,
    },
    /// The operating system has no root certificates to check the server's certificate against.
    #[error("the operating system has no trusted certificates; name a file with sslrootcert")]
    NoSystemRoots,
    /// The TLS library refuses the client certificate or its key.
    #[error("its sslcert and sslkey cannot be used together")]
    Identity(#[source] rustls::Error),
    /// The TLS library refuses its own default settings. This would be a bug.
    #[error("TLS cannot be set up")]
    Library(#[source] rustls::Error),
}

/// Builds the client configuration for the TLS settings of a connection string.
pub(super) fn client_config(wanted: &RequestedTls) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = CertificateVerifier::new(wanted, Arc::clone(&provider))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Library)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &wanted.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates("sslcert", certificate)?, private_key(key)?)
            .map_err(TlsError::Identity)?,
    };
    if wanted.direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(config)
}

/// Checks as much of a server's certificate as `check` says. Always checks that the server holds the private key of the
/// certificate, because channel binding depends on that.
#[derive(Debug)]
struct CertificateVerifier {
    check: CertificateCheck,
    roots: RootCertStore,
    /// The certificates of `sslrootcert`. If the server's certificate is one of them, its issuer is not checked, as in
    /// libpq: a self-signed one is often marked as an issuer, and the TLS library alone would refuse it.
    listed: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl CertificateVerifier {
    fn new(wanted: &RequestedTls, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let (roots, listed) = match (&wanted.roots, wanted.check) {
            (_, CertificateCheck::Nothing) => (RootCertStore::empty(), Vec::new()),
            (roots, CertificateCheck::Issuer | CertificateCheck::IssuerAndName) => match roots {
                RootCertificates::System => (system_roots()?, Vec::new()),
                RootCertificates::File(path) => file_roots(path)?,
            },
        };
        Ok(Self {
            check: wanted.check,
            roots,
            listed,
            provider,
        })
    }
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.check == CertificateCheck::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if self.listed.iter().any(|listed| listed == end_entity) {
            check_dates(end_entity, now)?;
        } else {
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &self.roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        if self.check == CertificateCheck::IssuerAndName {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match self.check {
            CertificateCheck::Nothing => {
                verify_tls13_signature_with_raw_key(message, &public_key(cert)?, dss, algorithms)
            }
            CertificateCheck::Issuer | CertificateCheck::IssuerAndName => {
                verify_tls13_signature(message, cert, dss, algorithms)
            }
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Reads the public key of a certificate that is not checked further. The TLS library itself parses only X.509 version
/// 3, but the commands in the Postgres manual create certificates of version 1.
fn public_key(
    certificate: &CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'static>, rustls::Error> {
    x509_cert::Certificate::from_der(certificate)
        .and_then(|parsed| parsed.tbs_certificate.subject_public_key_info.to_der())
        .map(SubjectPublicKeyInfoDer::from)
        .or(Err(CertificateError::BadEncoding.into()))
}

/// Returns an error if the certificate is not yet valid or has expired.
fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let parsed =
        x509_cert::Certificate::from_der(certificate).or(Err(CertificateError::BadEncoding))?;
    let valid = parsed.tbs_certificate.validity;
    let now = now.as_secs();
    if now < valid.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > valid.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // Certificates of the operating system that the library cannot read are skipped.
    let (usable, _unusable) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if usable == 0 {
        return Err(TlsError::NoSystemRoots);
    }
    Ok(roots)
}

fn file_roots(path: &Path) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let listed = certificates("sslrootcert", path)?;
    let mut roots = RootCertStore::empty();
    let (usable, _unusable) = roots.add_parsable_certificates(listed.iter().cloned());
    if usable == 0 {
        return Err(TlsError::File {
            parameter: "sslrootcert",
            problem: "holds no certificate that can be used",
        });
    }
    Ok((roots, listed))
}

fn certificates(
    parameter: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| file_error(parameter, &error))?;
    if found.is_empty() {
        return Err(file_error(parameter, &pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| file_error("sslkey", &error))
}

/// Converts an error of the PEM parser. The text of the parser is left out, because it quotes lines of the file.
fn file_error(parameter: &'static str, error: &pem::Error) -> TlsError {
    let kind = if let pem::Error::Io(cause) = error {
        Some(cause.kind())
    } else {
        None
    };
    let problem = if kind == Some(std::io::ErrorKind::NotFound) {
        "does not exist"
    } else if kind.is_some() {
        "cannot be read by this user"
    } else if parameter == "sslkey" {
        "holds no unencrypted private key in PEM form"
    } else {
        "holds no certificate in PEM form"
    };
    TlsError::File { parameter, problem }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The time at which the tests check certificates: 2030-01-01.
    const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_893_456_000));

    fn data(name: &str) -> PathBuf {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
        directory.join(name)
    }

    fn is_accepted(check: CertificateCheck, root: &str, server: &str, name: &'static str) -> bool {
        let wanted = RequestedTls {
            check,
            roots: RootCertificates::File(data(root)),
            identity: None,
            direct: false,
        };
        let provider = Arc::new(ring::default_provider());
        let verifier = CertificateVerifier::new(&wanted, provider).unwrap();
        let certificate = CertificateDer::from_pem_file(data(server)).unwrap();
        let name = ServerName::try_from(name).unwrap();
        let checked = verifier.verify_server_cert(&certificate, &[], &name, &[], NOW);
        checked.is_ok()
    }

    #[test]
    fn a_certificate_is_checked_as_far_as_sslmode_asks() {
        use CertificateCheck::{Issuer, IssuerAndName, Nothing};
        for (check, root, server, name, accepted) in [
            (IssuerAndName, "root.crt", "server.crt", "db.example", true),
            (IssuerAndName, "root.crt", "server.crt", "192.0.2.1", true),
            (
                IssuerAndName,
                "root.crt",
                "server.crt",
                "other.example",
                false,
            ),
            (IssuerAndName, "root.crt", "server.crt", "192.0.2.2", false),
            (
                IssuerAndName,
                "other.crt",
                "server.crt",
                "db.example",
                false,
            ),
            (Issuer, "root.crt", "server.crt", "other.example", true),
            (Issuer, "other.crt", "server.crt", "db.example", false),
            (Nothing, "other.crt", "server.crt", "other.example", true),
            (Nothing, "other.crt", "version1.crt", "other.example", true),
        ] {
            let found = is_accepted(check, root, server, name);
            assert_eq!(found, accepted, "{check:?} {root} {server} {name}");
        }
    }

    #[test]
    fn a_self_signed_certificate_is_taken_where_it_is_listed() {
        use CertificateCheck::{Issuer, IssuerAndName};
        let accepted = |check, root, name| is_accepted(check, root, "selfsigned.crt", name);
        assert!(accepted(IssuerAndName, "selfsigned.crt", "db.example"));
        assert!(accepted(Issuer, "selfsigned.crt", "other.example"));
        assert!(!accepted(IssuerAndName, "selfsigned.crt", "other.example"));
        assert!(!accepted(Issuer, "root.crt", "db.example"));
    }

    #[test]
    fn a_self_signed_certificate_has_its_time() {
        let listed = CertificateDer::from_pem_file(data("selfsigned.crt")).unwrap();
        let at =
            |year: u64| UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_556_952));
        assert!(check_dates(&listed, NOW).is_ok());
        let late = check_dates(&listed, at(2200)).unwrap_err();
        assert_eq!(late, CertificateError::Expired.into());
        let early = check_dates(&listed, at(2000)).unwrap_err();
        assert_eq!(early, CertificateError::NotValidYet.into());
    }

    #[test]
    fn the_key_of_a_certificate_of_version_1_is_found() {
        let key = |name| public_key(&CertificateDer::from_pem_file(data(name)).unwrap()).unwrap();
        assert_eq!(key("version1.crt"), key("server.crt"));
        assert!(public_key(&CertificateDer::from(vec![0x30, 0])).is_err());
    }

    #[test]
    fn a_file_of_no_use_is_named_by_its_parameter() {
        for (name, problem) in [
            ("nowhere", "does not exist"),
            ("README.md", "holds no cert"),
        ] {
            let error = file_roots(&data(name)).unwrap_err().to_string();
            assert!(
                error.contains("sslrootcert") && error.contains(problem),
                "{error}"
            );
        }
        let error = private_key(&data("root.crt")).unwrap_err().to_string();
        assert!(error.contains("sslkey holds no unencrypted"), "{error}");
    }
}
