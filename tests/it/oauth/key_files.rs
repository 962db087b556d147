//! Keys in a file, which is read again when it changes.

use super::issuer::{Signer, claims, key_set};
use super::{STATUS, settings, status};
use crate::support::http_server::HttpServer;
use crate::support::site::Site;
use crate::support::wait;

#[tokio::test]
async fn keys_of_a_file_count_as_the_file_says_now() {
    let site = Site::new().await;
    let files = tempfile::tempdir().expect("a directory");
    let file = files.path().join("jwks.json");
    let write = |text: &str| {
        let new = files.path().join("new");
        std::fs::write(&new, text).expect("write the keys");
        std::fs::rename(new, &file).expect("put them in place");
    };
    let (old, new) = (Signer::ed25519(), Signer::ecdsa("ES256"));
    let old_token = old.token("old", &claims("meter-sync:read"));
    let new_token = new.token("new", &claims("meter-sync:read"));
    let served = HttpServer::new(&settings(&site, file.to_str().expect("a path"))).await;
    assert_eq!(
        status(&served, STATUS, &old_token).await,
        503,
        "no file yet"
    );
    write(&key_set(&[("old", &old)]));
    wait::until("the file is read", async || {
        status(&served, STATUS, &old_token).await == 200
    })
    .await;
    assert_eq!(status(&served, STATUS, &new_token).await, 401);
    write("no keys");
    assert_eq!(
        status(&served, STATUS, &old_token).await,
        200,
        "the former keys"
    );
    write(&key_set(&[("old", &old), ("new", &new)]));
    assert_eq!(status(&served, STATUS, &old_token).await, 200);
    assert_eq!(status(&served, STATUS, &new_token).await, 200);
    write(&key_set(&[("new", &new)]));
    assert_eq!(status(&served, STATUS, &old_token).await, 401, "taken back");
    assert_eq!(status(&served, STATUS, &new_token).await, 200);
    std::fs::remove_file(&file).expect("remove it");
    assert_eq!(
        status(&served, STATUS, &new_token).await,
        200,
        "it may be about to be replaced"
    );
}
