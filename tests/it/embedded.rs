//! The embedded Postgres launcher.

use crate::support::postgres::{connect, pair};

#[tokio::test]
async fn a_pair_of_servers_answers() {
    let pair = pair().await;
    for url in [&pair.remote_url, &pair.local_url] {
        let row = connect(url).await.query_one("select 1", &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), 1);
    }
    assert_ne!(pair.remote_url, pair.local_url);
}
