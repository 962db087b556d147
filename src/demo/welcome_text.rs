//! The text that the demo prints once it is running. The web address to open comes at the end, so that it stays
//! visible.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use serde_json::json;

use super::server_pair::ServerPair;
use crate::config::Config;

/// The data that the welcome text shows.
#[derive(Debug)]
pub(super) struct WelcomeData<'a> {
    pub(super) config: &'a Config,
    pub(super) pair: &'a ServerPair,
    /// How the first sync ended, in a sentence.
    pub(super) first_sync: &'a str,
}

impl WelcomeData<'_> {
    pub(super) fn text(&self) -> String {
        let base = format!("http://{}", reachable(self.config.listen));
        let version = self.pair.version();
        let schedule = self.config.schedule.as_ref();
        let schedule = schedule.map_or_else(|| "off".to_owned(), crate::config::Schedule::describe);
        let (remote, local) = (self.pair.remote_url(), self.pair.local_url());
        let directory = self.pair.directory().display();
        let (bearer, tokens) = if !self.config.requires_token() {
            ("", "")
        } else {
            let bearer = " -H 'Authorization: Bearer TOKEN'";
            (bearer, "TOKEN is one of yours in METER_SYNC_TOKENS.\n")
        };
        format!(
            "
meter-sync demo: a central Postgres {version} with the meters of three organisations, and the Postgres of
a site of one of them, Northgate Hospitals.

{first_sync}
From now on the central database changes a little every 20 s, and the schedule syncs ({schedule}).

Status         curl{bearer} {base}/api/local/meter-sync-status
Sync now       curl -X POST{bearer} {base}/api/local/meter-sync-trigger
{tokens}
Look inside    psql '{local}'
               select * from meter_sync.meter_sync_log order by started_at desc limit 5;
Change it      psql '{remote}'
               update meter set name = 'My meter' where id = 1;

For an assistant, over HTTP:
{http}

or started by the assistant itself:
{stdio}

The next `meter-sync demo` goes on with the data in {directory};
`meter-sync demo --fresh` starts over.

Open {base}/ in a browser. Ctrl-C stops all of it.

",
            first_sync = self.first_sync,
            http = over_http(&base),
            stdio = over_stdio(remote, local),
        )
    }
}

/// Returns the text that is printed when the demo has stopped.
pub(super) fn farewell(directory: &Path) -> String {
    format!(
        "\nStopped. Both servers are down; the data stays in {}.\n",
        directory.display()
    )
}

/// Returns the address at which clients on this machine reach the server: `listen` itself, or the loopback address if
/// the server listens on all addresses.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let loopback = match listen.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let everywhere = listen.ip().is_unspecified();
    let ip = if everywhere { loopback } else { listen.ip() };
    SocketAddr::new(ip, listen.port())
}

fn over_http(base: &str) -> String {
    block(&json!({"type": "http", "url": format!("{base}/mcp")}))
}

fn over_stdio(remote: &str, local: &str) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "meter-sync".into());
    block(&json!({
        "command": program,
        "args": ["stdio"],
        "env": {"METER_SYNC_REMOTE_URL": remote, "METER_SYNC_LOCAL_URL": local},
    }))
}

fn block(server: &serde_json::Value) -> String {
    let block = json!({"mcpServers": {"meter-sync": server}});
    serde_json::to_string_pretty(&block).unwrap_or_default()
}
