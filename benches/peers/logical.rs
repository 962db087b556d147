//! The initial copy of native logical replication. What comes after it needs a slot on the remote and
//! somebody who may make one, so it is no way for a site that may only read.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

use crate::data::{COLUMNS, TENANT};
use crate::peer::Site;
use crate::servers::{self, REMOTE_DATABASE, Servers, Side};

pub(crate) const METHOD: &str = "a publication of the tenant's rows and the 16 columns, and a subscription; until its initial \
     copy is there";

const POLL: Duration = Duration::from_millis(5);
const LIMIT: Duration = Duration::from_secs(300);

/// Makes the publication, once for all sites.
pub(crate) async fn publish(servers: &Servers) -> Result<()> {
    let sql = format!(
        "drop publication if exists meters;
create publication meters for table meter ({COLUMNS}) where (tenant_id = {TENANT}) with (publish = 'insert')"
    );
    servers.batch(Side::Remote, REMOTE_DATABASE, &sql).await
}

/// Subscribes and waits until the copy is there; gives how long that took.
pub(crate) async fn copy(site: Site<'_>) -> Result<Duration> {
    let local = servers::connect(site.local_url).await?;
    let start = Instant::now();
    let sql = format!(
        "create subscription meters connection 'host=127.0.0.1 port={} dbname={REMOTE_DATABASE} user=postgres' \
         publication meters",
        site.remote_port
    );
    local.batch_execute(&sql).await?;
    let sql = "select count(*) > 0 and bool_and(srsubstate in ('s', 'r')) from pg_subscription_rel";
    loop {
        let is_there: bool = local.query_one(sql, &[]).await?.try_get(0)?;
        if is_there {
            return Ok(start.elapsed());
        }
        ensure!(start.elapsed() < LIMIT, "the copy did not end in 300 s");
        sleep(POLL).await;
    }
}

/// Ends the subscription, and with it the slot on the remote.
pub(crate) async fn unsubscribe(site: Site<'_>) -> Result<()> {
    let local = servers::connect(site.local_url).await?;
    Ok(local
        .batch_execute("drop subscription if exists meters")
        .await?)
}
