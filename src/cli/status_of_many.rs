//! `meter-sync status` with several tenants: prints how many tenants are in sync, overdue, failing and so on (their
//! health), and a table of the tenants with the worst health.

use super::CommandReport;
use super::command_output::LONGEST_NAME;
use super::exit_codes;
use crate::arguments::bounds::TENANTS_LIMIT;
use crate::make_printable;
use crate::mirrors::Mirrors;
use crate::model::{Health, saturating_i64};
use crate::reports::run_report::counted;
use crate::reports::status::Status;
use crate::reports::tenant_list::{TenantList, TenantSummary, TenantsQuery};

/// How many tenants the table lists at most.
const SHOWN: u32 = 20;
/// The longest error message in the table, in characters; a longer one is cut.
const LONGEST_ERROR: usize = 100;

/// Reports the status of all tenants. The exit code follows from their overall health, which is the worst of all.
pub(super) async fn of_all(mirrors: &Mirrors, as_json: bool) -> CommandReport {
    let query = TenantsQuery {
        limit: if as_json { TENANTS_LIMIT.max() } else { SHOWN },
        ..TenantsQuery::default()
    };
    let status = mirrors.overview(&query).await;
    let report = match as_json {
        true => CommandReport::json(&status),
        false => CommandReport::text(&in_words(&status)),
    };
    report.with_code(exit_codes::of_health(status.health))
}

fn in_words(status: &Status) -> String {
    let mut text = format!("{}\n{}\n", status.summary, status.next_step);
    text += &format!(
        "schedule   {} {}\n",
        status.schedule.line, status.schedule.timezone
    );
    if let Some(next) = status.next_run_at {
        text += &format!("next run   {}\n", next.format("%Y-%m-%d %H:%M:%S UTC"));
    }
    for warning in &status.warnings {
        text += &format!("warning    {warning}\n");
    }
    if let Some(tenants) = &status.tenants {
        text += &table(tenants);
    }
    text
}

fn table(tenants: &TenantList) -> String {
    let counts = Health::ALL
        .iter()
        .map(|health| (tenants.by_health.of(*health), health));
    let counts = counted(counts).join(", ");
    let mut text = format!("tenants    {}: {counts}\n", tenants.total);
    for tenant in &tenants.list {
        text += &format!("{}\n", line(tenant));
    }
    let listed = saturating_i64(tenants.list.len());
    let others = tenants.total.saturating_sub(listed);
    if others > 0 {
        text += &format!("and {others} others, which are no worse\n");
    }
    text
}

fn line(tenant: &TenantSummary) -> String {
    let success = tenant.last_success_at.map_or_else(
        || "never".to_owned(),
        |at| at.format("%Y-%m-%d %H:%M:%S").to_string(),
    );
    let name = tenant.name.as_ref().map_or_else(String::new, |name| {
        format!(" ({})", make_printable::line(name, LONGEST_NAME))
    });
    let error = tenant.last_run.as_ref().and_then(|run| {
        let code = run.error_code?;
        let message = run.error_message.as_deref().unwrap_or_default();
        Some(format!(
            "  {} [{code}]",
            make_printable::line(message, LONGEST_ERROR)
        ))
    });
    format!(
        "{:<14} {success:<19}  {}{name}{}",
        tenant.health.as_str(),
        tenant.tenant_id,
        error.unwrap_or_default()
    )
}
