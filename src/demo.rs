//! stub
use crate::config::Settings;
use crate::shutdown::Shutdown;
/// .
#[derive(Debug, clap::Args)]
pub struct DemoArgs {}
/// .
pub async fn run(_a: DemoArgs, _s: &Settings, _d: Shutdown) -> anyhow::Result<()> {
    Ok(())
}
