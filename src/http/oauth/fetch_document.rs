//! Fetches a small document, such as a key set, over https. The settings allow plain http only for URLs on this
//! machine.
//!
//! The fetch follows no redirect, because a redirect could lead to another host or to http. It uses no proxy.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a fetch may take, from resolving the host name to the last byte.
const LIMIT: Duration = Duration::from_secs(5);
/// The longest document in bytes. A key set has a few kilobytes.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// The reason why a document could not be fetched. The messages leave out the URL, because an operator finds it in the
/// settings.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The fetch took longer than 5 s.
    #[error("no whole answer came within {} s", LIMIT.as_secs())]
    Slow,
    /// The connection or the TLS handshake failed: the host is unknown or refuses, or its certificate is not trusted.
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    /// TLS could not be set up in this process.
    #[error("no TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The URL has no host, or a host that no certificate can name.
    #[error("the address names no host")]
    NoHost,
    /// The response is not HTTP, or the connection ended before the response was complete.
    #[error("the answer broke off or is no HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// No request could be built from the URL.
    #[error("the address cannot be asked for: {0}")]
    Address(#[from] hyper::http::Error),
    /// The status of the response is not 200.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// The body is longer than [`MAX_BYTES`].
    #[error("the answer is longer than 1 MiB")]
    TooLong,
}

/// Fetches a document and returns its whole body: at most [`MAX_BYTES`], within 5 s.
pub(super) async fn fetch(url: &Uri) -> Result<Bytes, FetchError> {
    let fetched = tokio::time::timeout(LIMIT, get(url)).await;
    fetched.unwrap_or(Err(FetchError::Slow))
}

async fn get(url: &Uri) -> Result<Bytes, FetchError> {
    let host = url.host().ok_or(FetchError::NoHost)?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let is_encrypted = url.scheme_str() == Some("https");
    let port = url
        .port_u16()
        .unwrap_or(if is_encrypted { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    if !is_encrypted {
        return exchange(stream, url).await;
    }
    let name = ServerName::try_from(host).map_err(|_odd| FetchError::NoHost)?;
    let tls = TlsConnector::from(Arc::new(tls()?));
    exchange(tls.connect(name, stream).await?, url).await
}

/// Returns the TLS settings of a client that trusts the certificate authorities that the operating system trusts.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

async fn exchange<S>(stream: S, url: &Uri) -> Result<Bytes, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(
            HOST,
            url.authority().map_or("", |authority| authority.as_str()),
        )
        .header(ACCEPT, "application/json, application/jwk-set+json")
        .header(
            USER_AGENT,
            concat!("meter-sync/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_BYTES)
            .collect()
            .await;
        body.map(|body| body.to_bytes()).map_err(broken)
    };
    // The connection may end before the last bytes of the response are read, so only the response ends the `select!`.
    let driven = async {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection that fetched a document broke");
        }
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        answer = answer => answer,
        never = driven => match never {},
    }
}

fn broken(error: Box<dyn std::error::Error + Send + Sync>) -> FetchError {
    if error.is::<LengthLimitError>() {
        return FetchError::TooLong;
    }
    match error.downcast::<hyper::Error>() {
        Ok(error) => FetchError::Http(*error),
        Err(other) => FetchError::Connect(std::io::Error::other(other)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Fetches from a server that sends `answer` and then, if `is_endless`, spaces without end.
    async fn fetched(answer: &str, is_endless: bool) -> Result<Bytes, FetchError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.read_u8().await.expect("a request");
            let mut written = stream.write_all(answer.as_bytes()).await;
            while is_endless && written.is_ok() {
                written = stream.write_all(&[b' '; 4096]).await;
            }
            std::future::pending::<Infallible>().await
        };
        let url = format!("http://{address}/keys").parse().expect("a URL");
        tokio::select! {
            fetched = fetch(&url) => fetched,
            never = serve => match never {},
        }
    }

    #[tokio::test]
    async fn a_document_is_taken_whole_and_from_where_it_was_asked() {
        let whole = fetched("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", false).await;
        assert_eq!(whole.expect("a document"), "ab");
        let endless = fetched("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", true).await;
        assert!(matches!(endless, Err(FetchError::TooLong)), "{endless:?}");
        let moved = "HTTP/1.1 307 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
        let moved = fetched(moved, false).await;
        assert!(matches!(moved, Err(FetchError::Status(_))), "{moved:?}");
        let other = fetched("220 mail.example ready\r\n", false).await;
        assert!(matches!(other, Err(FetchError::Http(_))), "{other:?}");
    }
}
