//! Whether the local meters are as they should be. It reads every row of both sides, and uses nothing of the program.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use tokio_postgres::Client;

use crate::site::Site;

/// The number of rows of a tenant and a sum over the md5 of each.
type Content = (i64, String);

/// What a side holds of each tenant.
pub(crate) type Contents = BTreeMap<i64, Content>;

const CONTENTS: &str = "\
select tenant_id, count(*), sum(('x' || left(md5(m::text), 16))::bit(64)::bigint)::text
from meter m group by tenant_id";

/// Reads what a side holds.
pub(crate) async fn contents(client: &Client) -> Result<Contents> {
    let mut contents = BTreeMap::new();
    for row in client.query(CONTENTS, &[]).await? {
        contents.insert(row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?));
    }
    Ok(contents)
}

/// Fails unless both sides hold the same meters of every tenant.
pub(crate) async fn check_equal(site: &Site) -> Result<()> {
    check_equal_but(site, &Contents::new()).await
}

/// Fails unless the local side holds these contents of the tenants in `kept`, and of every other tenant the same meters
/// as the remote.
pub(crate) async fn check_equal_but(site: &Site, kept: &Contents) -> Result<()> {
    let (remote, local) = tokio::try_join!(contents(&site.remote), contents(&site.local))?;
    let mut expected = remote;
    expected.extend(kept.clone());
    let tenants = usize::try_from(site.size.tenants)?;
    ensure!(expected.len() == tenants, "{} tenants", expected.len());
    for (tenant, content) in &expected {
        let held = local.get(tenant);
        ensure!(
            held == Some(content),
            "tenant {tenant}: {content:?} is expected, and {held:?} is there"
        );
    }
    ensure!(local.len() == tenants, "local meters of other tenants");
    Ok(())
}
