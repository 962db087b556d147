//! stub
use crate::config::Config;
use crate::error::Failure;
/// .
#[derive(Debug)]
pub struct Finding {
    /// .
    pub subject: String,
    /// .
    pub verdict: Verdict,
}
/// .
#[derive(Debug)]
pub enum Verdict {
    /// .
    Ok(String),
    /// .
    Warning(String),
    /// .
    Failed(Failure),
}
/// .
pub async fn run(_config: &Config) -> Vec<Finding> {
    Vec::new()
}
