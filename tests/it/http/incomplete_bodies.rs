//! Bodies that do not come as a whole: which status says that one was too long, broke off or came too late.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use axum::body::{Body, Bytes};
use axum::http::Request;
use futures_util::stream;
use meter_sync::config::CommandLineSettings;

use crate::support::program::{self, RunningProgram};
use crate::support::unconfigured_router::{read, router, send};

/// Where a body is read, and its media type.
const ROUTES: [(&str, &str); 5] = [
    ("/mcp", "application/json"),
    ("/api/v1/sync", "application/json"),
    ("/api/local/meter-sync-trigger", "application/json"),
    ("/sync", "application/x-www-form-urlencoded"),
    ("/sign-in", "application/x-www-form-urlencoded"),
];

fn request(path: &str, media_type: &str, body: Body) -> Request<Body> {
    let request = Request::post(path)
        .header("host", "localhost")
        .header("origin", "http://localhost")
        .header("content-type", media_type);
    request.body(body).expect("a request")
}

/// A body that ends with an error, as the server has it where its client or the time is at fault.
fn ending(kind: ErrorKind) -> Body {
    let pieces = [
        Ok(Bytes::from_static(b"{")),
        Err(std::io::Error::from(kind)),
    ];
    Body::from_stream(stream::iter(pieces))
}

#[tokio::test]
async fn a_body_that_broke_off_or_came_too_late_is_not_called_too_long() {
    let router = router(&CommandLineSettings::default());
    for (path, media_type) in ROUTES {
        for (kind, status, cause) in [
            (ErrorKind::TimedOut, 408, "in the time"),
            (ErrorKind::UnexpectedEof, 400, "broke off"),
        ] {
            let answer = send(&router, request(path, media_type, ending(kind))).await;
            let (given, told) = read(answer).await;
            assert_eq!(given, status, "{path}: {told}");
            assert!(told.contains(cause), "{path}: {told}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_without_a_length_is_called_so() {
    let router = router(&CommandLineSettings::default());
    for (path, media_type) in ROUTES {
        let pieces = stream::iter(
            (0..40).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 64 * 1024]))),
        );
        let answer = send(
            &router,
            request(path, media_type, Body::from_stream(pieces)),
        )
        .await;
        // This one takes no body at all.
        let expected = if path.contains("local") { 400 } else { 413 };
        let (given, told) = read(answer).await;
        assert_eq!(given, expected, "{path}: {told}");
    }
}

#[tokio::test]
async fn a_client_that_ends_in_the_middle_of_a_body_is_told_so() {
    let (_program, address) =
        RunningProgram::serve(program::bare(&["serve", "--listen", "127.0.0.1:0"], &[])).await;
    for (path, media_type) in ROUTES {
        let mut client = TcpStream::connect(&address).expect("a connection");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nContent-Type: {media_type}\r\nContent-Length: 9\r\n\r\n{{"
        );
        client.write_all(head.as_bytes()).expect("it is sent");
        client.shutdown(Shutdown::Write).expect("it is closed");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
        assert!(answer.contains("broke off"), "{path}: {answer}");
    }
}
