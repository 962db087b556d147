//! `meter-sync changes`: prints what all syncs have changed since a time, as text, JSON or CSV.

use std::io::{self, ErrorKind, Write};

use chrono::{DateTime, Utc};

use super::run_text::change_line;
use super::{CommandReport, find_mirror, parse_past_time};
use crate::app::App;
use crate::arguments::bounds::{LISTED_CHANGES, LISTED_CHANGES_LIMIT};
use crate::arguments::change_kinds;
use crate::history::changes_since::DEFAULT_SINCE;
use crate::mirrors::Mirror;
use crate::model::{ChangeAction, ChangesSinceQuery};
use crate::reports::changes_csv;
use crate::reports::run_and_change_pages::ChangesSincePage;

/// How many changes are read at once for CSV.
const PAGE: u32 = LISTED_CHANGES_LIMIT.max();

#[derive(Debug, clap::Args)]
pub(super) struct ChangesArgs {
    /// The time: `24h` or `7d` ago, 2026-01-31, or 2026-01-31T08:00Z
    #[arg(long, value_name = "TIME", default_value = DEFAULT_SINCE, value_parser = parse_past_time)]
    since: DateTime<Utc>,
    /// List only changes of these kinds, with commas between: insert, update, deactivate, reactivate
    #[arg(long, value_name = "KINDS", value_parser = parse_kinds)]
    kind: Option<Kinds>,
    /// How many changes to list at most, those of the newest sync first; CSV has all
    #[arg(long, value_name = "N", default_value_t = LISTED_CHANGES, value_parser = clap::value_parser!(u32).range(1..=i64::from(LISTED_CHANGES_LIMIT.max())))]
    limit: u32,
    /// Print all changes as CSV, one a line, whatever --json and --limit say
    #[arg(long)]
    csv: bool,
    /// Print the counts and the changes as one JSON object
    #[arg(long, env = "METER_SYNC_JSON", value_parser = clap::builder::BoolishValueParser::new())]
    json: bool,
}

/// Kinds of changes. The type keeps clap from taking several values of the flag.
#[derive(Clone, Debug, Default)]
struct Kinds(Vec<ChangeAction>);

fn parse_kinds(text: &str) -> Result<Kinds, String> {
    change_kinds::parse(text)
        .map(Kinds)
        .map_err(|refused| refused.0)
}

impl ChangesArgs {
    /// Reports the changes. CSV is written to standard output page by page.
    pub(super) async fn run(self, app: &App) -> anyhow::Result<CommandReport> {
        let mirror = find_mirror(app.mirrors()).await?;
        let Kinds(kinds) = self.kind.unwrap_or_default();
        let query = ChangesSinceQuery {
            since: self.since,
            kinds: &kinds,
            before: None,
            limit: if self.csv { PAGE } else { self.limit },
        };
        if self.csv {
            write_csv(&mirror, query).await?;
            return Ok(CommandReport::default());
        }
        let page = mirror.changes_since(&query).await?;
        Ok(match self.json {
            true => CommandReport::json(&page),
            false => CommandReport::text(&in_words(&page)),
        })
    }
}

fn in_words(page: &ChangesSincePage) -> String {
    let found = &page.changes_since;
    let mut text = format!("{}\n", page.summary);
    for dated in &found.changes {
        let at = dated.at.format("%Y-%m-%d %H:%M:%S");
        text += &format!("{at}  {}\n", change_line(&dated.change));
    }
    if found.has_more {
        text += "... and older ones: --limit, or all with --csv\n";
    }
    text
}

/// Writes all changes to standard output. Ends early if it is a pipe whose reader has closed it.
async fn write_csv(mirror: &Mirror, mut query: ChangesSinceQuery<'_>) -> anyhow::Result<()> {
    let page = mirror.changes_since(&query).await?;
    let mut found = page.changes_since;
    if !found.is_complete {
        CommandReport::write_to_stderr_now(&format!("{}\n", page.summary))?;
    }
    if !write(&changes_csv::header())? {
        return Ok(());
    }
    while write(&changes_csv::rows(&found.changes))? {
        query.before = found.next_before();
        if query.before.is_none() {
            break;
        }
        found = mirror.more_changes_since(&query).await?;
    }
    Ok(())
}

/// Writes to standard output. Returns `false` if its reader has closed it.
fn write(bytes: &[u8]) -> io::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}
