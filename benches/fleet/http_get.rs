//! Asks a program over HTTP.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer may wait until the states of all tenants are published.
const PATIENCE: Duration = Duration::from_secs(120);

/// The whole answer to a request without a body, with its head.
pub(crate) async fn http_get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    let answered = tokio::time::timeout(PATIENCE, read).await;
    answered.context("no answer")??;
    Ok(answer)
}
