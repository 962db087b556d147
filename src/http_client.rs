//! An HTTP client for small documents: fetches one, or sends a short text. Which URLs may be used is for the settings to
//! say.
//!
//! It follows no redirect, because a redirect could lead to another host or to http. It uses no proxy.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a request may take, from resolving the host name to the last byte.
const LIMIT: Duration = Duration::from_secs(5);
/// The longest document in bytes. A key set has a few kilobytes.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;
/// The name of this program and its version, as servers see it.
const NAME: &str = concat!("meter-sync/", env!("CARGO_PKG_VERSION"));

/// The reason why a request got no answer that can be used. The messages leave out the URL, because an operator finds it in
/// the settings, and it may hold a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpClientError {
    /// The request took longer than 5 s.
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
    /// The response says that the request did not succeed.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// The body is longer than [`MAX_BYTES`].
    #[error("the answer is longer than 1 MiB")]
    TooLong,
}

/// Fetches a document and returns its whole body: at most [`MAX_BYTES`], within 5 s.
pub(crate) async fn fetch(url: &Uri) -> Result<Bytes, HttpClientError> {
    let request = Request::get(path(url))
        .header(ACCEPT, "application/json, application/jwk-set+json")
        .body(Full::default())?;
    let (status, body) = send(url, request).await?;
    match status {
        StatusCode::OK => Ok(body),
        other => Err(HttpClientError::Status(other)),
    }
}

/// Sends a text by POST, and ignores the body of the answer. Error: no answer came within 5 s, or its status is not one of
/// success (2xx).
pub(crate) async fn post(url: &Uri, text: String) -> Result<(), HttpClientError> {
    let request = Request::post(path(url))
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Full::from(text))?;
    let (status, _body) = send(url, request).await?;
    match status.is_success() {
        true => Ok(()),
        false => Err(HttpClientError::Status(status)),
    }
}

fn path(url: &Uri) -> &str {
    url.path_and_query().map_or("/", |path| path.as_str())
}

async fn send(
    url: &Uri,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), HttpClientError> {
    let answered = tokio::time::timeout(LIMIT, connect_and_send(url, request)).await;
    answered.unwrap_or(Err(HttpClientError::Slow))
}

async fn connect_and_send(
    url: &Uri,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), HttpClientError> {
    let host = url.host().ok_or(HttpClientError::NoHost)?;
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
        return exchange(stream, url, request).await;
    }
    let name = ServerName::try_from(host).map_err(|_odd| HttpClientError::NoHost)?;
    let tls = TlsConnector::from(Arc::new(tls()?));
    exchange(tls.connect(name, stream).await?, url, request).await
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

async fn exchange<S>(
    stream: S,
    url: &Uri,
    mut request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), HttpClientError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let host = url.authority().map_or("", |authority| authority.as_str());
    let headers = request.headers_mut();
    headers.insert(
        HOST,
        HeaderValue::from_str(host).or(Err(HttpClientError::NoHost))?,
    );
    headers.insert(USER_AGENT, HeaderValue::from_static(NAME));
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BYTES)
            .collect()
            .await;
        body.map(|body| (status, body.to_bytes())).map_err(broken)
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

fn broken(error: Box<dyn std::error::Error + Send + Sync>) -> HttpClientError {
    if error.is::<LengthLimitError>() {
        return HttpClientError::TooLong;
    }
    match error.downcast::<hyper::Error>() {
        Ok(error) => HttpClientError::Http(*error),
        Err(other) => HttpClientError::Connect(std::io::Error::other(other)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Fetches from a server that sends `answer` and then, if `is_endless`, spaces without end.
    async fn fetched(answer: &str, is_endless: bool) -> Result<Bytes, HttpClientError> {
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
        assert!(
            matches!(endless, Err(HttpClientError::TooLong)),
            "{endless:?}"
        );
        let moved = "HTTP/1.1 307 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
        let moved = fetched(moved, false).await;
        assert!(
            matches!(moved, Err(HttpClientError::Status(_))),
            "{moved:?}"
        );
        let other = fetched("220 mail.example ready\r\n", false).await;
        assert!(matches!(other, Err(HttpClientError::Http(_))), "{other:?}");
    }
}
