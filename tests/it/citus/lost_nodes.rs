//! Errors with which a coordinator tells that it has no connection to another server of its cluster.
//!
//! Within a transaction, they have no SQLSTATE of their own if the other server dies. No test can end a server of a
//! cluster that others may use, so a listener sends what Citus 13.2 sent then.

use meter_sync::config::{DatabaseEndpoint, Limits};
use meter_sync::db::{Database, DbError, Local};
use meter_sync::error::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const ERRORS: &[[&str; 3]] = &[
    [
        "XX000",
        "remote_commands.c",
        "server closed the connection unexpectedly\ninvalid socket",
    ],
    [
        "XX000",
        "remote_transaction.c",
        "failure on connection marked as essential: 10.0.0.5:5432",
    ],
    [
        "08006",
        "remote_commands.c",
        "connection to the remote node postgres@10.0.0.5:5432 failed with the following error: connection not open",
    ],
];

/// The error as the server's answer to a client that connects.
fn answer([state, file, message]: [&str; 3]) -> Vec<u8> {
    let fields = [
        ('S', "ERROR"),
        ('V', "ERROR"),
        ('C', state),
        ('M', message),
        ('F', file),
    ];
    let fields: String = fields
        .iter()
        .map(|(kind, text)| format!("{kind}{text}\0"))
        .collect();
    let length = u32::try_from(fields.len() + 5).expect("a short message");
    [b"E", &length.to_be_bytes()[..], fields.as_bytes(), b"\0"].concat()
}

/// The error that the program makes of it.
pub(crate) async fn received(error: [&str; 3]) -> DbError {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let text = format!("host=127.0.0.1 port={port} user=u dbname=d sslmode=disable");
    let endpoint = DatabaseEndpoint::parse(&text, &Limits::default()).expect("a connection string");
    let database = Database::<Local>::new(&endpoint, &Limits::default()).expect("a pool");
    let serve = async {
        let (mut client, _) = listener.accept().await.expect("a client");
        let mut startup = [0; 1024];
        let length = client.read(&mut startup).await.expect("a startup message");
        assert!(length > 0);
        client
            .write_all(&answer(error))
            .await
            .expect("the answer is sent");
    };
    let (connected, ()) = tokio::join!(database.connect(), serve);
    connected.err().expect("an error")
}

#[tokio::test]
async fn a_lost_server_of_the_cluster_is_no_fault_of_a_row_and_its_address_is_not_told() {
    for error in ERRORS {
        let received = received(*error).await;
        assert!(!received.is_about_a_row(), "{error:?}: {received:?}");
        let failure = received.failure();
        assert_eq!(failure.code, ErrorCode::LocalUnreachable, "{failure:?}");
        assert!(failure.code.is_transient());
        assert!(
            failure.message.contains("another server of its cluster"),
            "{failure:?}"
        );
        assert!(!failure.message.contains("10.0.0.5"), "{failure:?}");
    }
}
