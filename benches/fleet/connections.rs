//! How many connections the program holds while it works.

use std::time::Duration;

use anyhow::Result;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::site::Site;

/// How often they are counted.
const PAUSE: Duration = Duration::from_millis(50);

/// Those of this process, except the bench's own, which have no name.
const COUNT: &str =
    "select count(*) from pg_stat_activity where application_name like 'meter-sync%'";

/// Does the work, and tells how many connections there were at most at the remote and at the local database.
pub(crate) async fn most_during<T>(
    site: &Site,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, [u32; 2])> {
    let clients = site.connect_both().await?;
    let is_done = CancellationToken::new();
    let work = async {
        let done = work.await;
        is_done.cancel();
        done
    };
    let (done, most) = tokio::join!(work, count(&clients, &is_done));
    Ok((done?, most?))
}

async fn count(clients: &[Client; 2], is_done: &CancellationToken) -> Result<[u32; 2]> {
    let mut most = [0; 2];
    while !is_done.is_cancelled() {
        for (most, client) in most.iter_mut().zip(clients) {
            let open: i64 = client.query_one(COUNT, &[]).await?.try_get(0)?;
            *most = u32::try_from(open)?.max(*most);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(most)
}
