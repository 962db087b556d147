//! `GET /metrics`: answers with counters and gauges in the text format of Prometheus
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).
//!
//! Counters come from the process's metrics recorder. Gauges are computed for each scrape from the current status, and
//! a gauge whose value is unknown is left out. The recorder cannot do that, because it repeats the last value of a
//! gauge. No text from a user or a database becomes a label, except the ids of a limited number of tenants.

use std::borrow::Cow;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::error::Failure;
use crate::mirrors::{Mirrors, ProcessContext};
use crate::model::{ActivityState, Health, saturating_i64};
use crate::reports::connections::{ConnectionReport, ConnectionState};
use crate::reports::status::{Status, StatusQuery};
use crate::reports::tenant_list::{TenantList, TenantSummary, TenantsQuery};

/// The path of [`scrape`].
pub(super) const PATH: &str = "/metrics";
const TEXT_FORMAT: &str = "text/plain; version=0.0.4";

/// How long a scrape waits for the local database. Prometheus aborts a scrape after 10 s by default. A shorter wait
/// lets the scrape report that the local database hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Each tenant has time series of its own only if there are at most this many tenants: one for each possible health
/// state, and one for its last success.
const MAX_LABELLED_TENANTS: u32 = 100;

/// A gauge and its samples. If its value is unknown, it has no samples and is not written.
struct Gauge {
    name: &'static str,
    help: &'static str,
    samples: Vec<Sample>,
}

/// One value of a metric, with the labels that tell it from the other values of the metric.
struct Sample {
    labels: Vec<(&'static str, Cow<'static, str>)>,
    value: f64,
}

/// Answers a scrape with all counters and gauges. Answers 500 with a message if the values of the gauges cannot be
/// read.
pub(super) async fn scrape(
    State((mirrors, recorder)): State<(Mirrors, PrometheusHandle)>,
) -> Response {
    let mut page = recorder.render();
    match status(&mirrors).await {
        Ok(status) => gauges(&status, &mirrors)
            .iter()
            .for_each(|gauge| gauge.write(&mut page)),
        Err(failure) => {
            return (StatusCode::INTERNAL_SERVER_ERROR, failure.message).into_response();
        }
    }
    ([(CONTENT_TYPE, TEXT_FORMAT)], page).into_response()
}

/// Returns the status of the mirror or of all mirrors, without past runs.
async fn status(mirrors: &Mirrors) -> Result<Status, Failure> {
    let Some(mirror) = mirrors.only() else {
        let query = TenantsQuery {
            limit: MAX_LABELLED_TENANTS,
            ..TenantsQuery::default()
        };
        return Ok(mirrors.overview_within(&query, PATIENCE).await);
    };
    let query = StatusQuery {
        history: 0,
        ..StatusQuery::default()
    };
    mirror.status_within(&query, PATIENCE).await
}

fn gauges(status: &Status, process: &ProcessContext) -> Vec<Gauge> {
    let is_local_up = status.connections.local.state == ConnectionState::Ok;
    let clock_ahead = is_local_up.then(|| process.local_clock_ahead());
    let clock_ahead = clock_ahead.map(|ahead| number(ahead.num_milliseconds()) / 1000.0);
    let is_running = status.activity == ActivityState::Running;
    let mut gauges = time_gauges(status);
    gauges.extend([
        gauge(
            "meter_sync_consecutive_failures",
            "How many runs in a row the log has without a success, dry runs aside.",
            status.consecutive_failures.map(number),
        ),
        gauge(
            "meter_sync_drifted_columns",
            "Synced columns that the remote dropped, renamed or gave another type, until that is settled.",
            status.drifted_columns.map(count),
        ),
        gauge(
            "meter_sync_unexplained_difference",
            "Whether the last comparison found that both sides differ although no row had changed since the last run.",
            status.is_difference_unexplained.map(truth),
        ),
        gauge(
            "meter_sync_local_clock_offset_seconds",
            "How far the clock of the local database, which tells the time of runs, is ahead of this machine's.",
            clock_ahead,
        ),
        gauge(
            "meter_sync_running",
            "Whether a run is in progress, here or in another process.",
            Some(truth(is_running)),
        ),
        gauge(
            "meter_sync_tenants_running",
            "How many of several tenants have a run in progress, here or in another process.",
            status.running_tenants.map(count),
        ),
        health(status.health),
        meters(status),
        databases(status),
        pools(process),
        Gauge {
            name: "meter_sync_build_info",
            help: "The version that runs; always 1.",
            samples: vec![sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0)],
        },
    ]);
    gauges.extend(status.tenants.iter().flat_map(tenants));
    gauges
}

/// Returns the gauges of several tenants: how many tenants are in each health state (such as `ok` or `failing`) and,
/// with at most [`MAX_LABELLED_TENANTS`] tenants, the health state and last success of each.
fn tenants(tenants: &TenantList) -> Vec<Gauge> {
    let count = |health: &Health| {
        let count = tenants.by_health.of(*health);
        sample(&[("health", health.as_str())], number(count))
    };
    let counts = Gauge {
        name: "meter_sync_tenants",
        help: "How many tenants are in which health.",
        samples: Health::ALL.iter().map(count).collect(),
    };
    if tenants.total > MAX_LABELLED_TENANTS.into() {
        return vec![counts];
    }
    let healths = tenants.list.iter().flat_map(|tenant| {
        let one = |one: &Health| {
            sample(&[("health", one.as_str())], truth(*one == tenant.health)).of(tenant)
        };
        Health::ALL.iter().map(one)
    });
    let successes = tenants.list.iter().filter_map(|tenant| {
        let at = tenant.last_success_at?;
        Some(sample(&[], seconds(at)).of(tenant))
    });
    vec![
        counts,
        Gauge {
            name: "meter_sync_tenant_health",
            help: "The health of each tenant: 1 for the health that holds, 0 for all others. Absent with more than 100 tenants.",
            samples: healths.collect(),
        },
        Gauge {
            name: "meter_sync_tenant_last_success_timestamp_seconds",
            help: "When each tenant's meters were last known to be in sync. Absent with more than 100 tenants.",
            samples: successes.collect(),
        },
    ]
}

/// Returns the gauges whose values are times: of the last success, of the last run that compared all rows, of the last
/// run and of the next run.
fn time_gauges(status: &Status) -> Vec<Gauge> {
    let last_run_at = status.last_run.as_ref().and_then(|run| run.finished_at);
    vec![
        gauge(
            "meter_sync_last_success_timestamp_seconds",
            "When the last successful run ended; of several tenants, of the one that is longest not in sync.",
            status.last_success_at.map(seconds),
        ),
        gauge(
            "meter_sync_last_comparison_timestamp_seconds",
            "When the last run ended that compared what all rows hold.",
            status.verified_at.map(seconds),
        ),
        gauge(
            "meter_sync_last_proof_timestamp_seconds",
            "When both sides were last shown to be equal, by versions, contents or every value.",
            status.verified.as_ref().map(|proof| seconds(proof.at)),
        ),
        gauge(
            "meter_sync_last_run_timestamp_seconds",
            "When the last run ended, dry runs aside.",
            last_run_at.map(seconds),
        ),
        gauge(
            "meter_sync_next_run_timestamp_seconds",
            "When the schedule fires next.",
            status.next_run_at.map(seconds),
        ),
    ]
}

fn health(health: Health) -> Gauge {
    let all = Health::ALL.iter();
    let one = |one: &Health| sample(&[("health", one.as_str())], truth(*one == health));
    Gauge {
        name: "meter_sync_health",
        help: "Whether the meters can be relied on: 1 for the health that holds, 0 for all others. Of several tenants, the worst.",
        samples: all.map(one).collect(),
    }
}

fn meters(status: &Status) -> Gauge {
    let counts = status.meters.iter();
    let states =
        counts.flat_map(|counts| [("active", counts.active), ("inactive", counts.inactive)]);
    Gauge {
        name: "meter_sync_meters",
        help: "Local meters of the tenant.",
        samples: states
            .map(|(state, count)| sample(&[("state", state)], number(count)))
            .collect(),
    }
}

fn databases(status: &Status) -> Gauge {
    let connections = &status.connections;
    let sides = [
        ("remote", &connections.remote),
        ("local", &connections.local),
    ];
    let up = |(side, connection)| Some(sample(&[("side", side)], truth(is_up(connection)?)));
    Gauge {
        name: "meter_sync_database_up",
        help: "Whether the database answers: the local one just now, the remote when last used.",
        samples: sides.into_iter().filter_map(up).collect(),
    }
}

fn is_up(connection: &ConnectionReport) -> Option<bool> {
    match connection.state {
        ConnectionState::Ok => Some(true),
        ConnectionState::Failed => Some(false),
        ConnectionState::Unknown | ConnectionState::NotConfigured => None,
    }
}

fn pools(process: &ProcessContext) -> Gauge {
    let sides = ["remote", "local"].into_iter();
    let known = sides
        .zip(process.pool_usages())
        .filter_map(|(side, pool)| Some((side, pool?)));
    let states = known.flat_map(|(side, pool)| {
        [
            ("idle", pool.idle),
            ("in_use", pool.in_use),
            ("max", pool.max),
        ]
        .map(|(state, count)| sample(&[("side", side), ("state", state)], f64::from(count)))
    });
    Gauge {
        name: "meter_sync_pool_connections",
        help: "Connections of this process: idle, in use, and how many there may be.",
        samples: states.collect(),
    }
}

fn gauge(name: &'static str, help: &'static str, value: Option<f64>) -> Gauge {
    Gauge {
        name,
        help,
        samples: value.map(|value| sample(&[], value)).into_iter().collect(),
    }
}

fn sample(labels: &[(&'static str, &'static str)], value: f64) -> Sample {
    Sample {
        labels: labels
            .iter()
            .map(|(name, word)| (*name, Cow::Borrowed(*word)))
            .collect(),
        value,
    }
}

impl Sample {
    /// Adds the label `tenant`, with the tenant's id as its value.
    fn of(mut self, tenant: &TenantSummary) -> Self {
        let id = Cow::Owned(escaped(&tenant.tenant_id));
        self.labels.insert(0, ("tenant", id));
        self
    }
}

/// Escapes a text for use as the value of a label.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    text.replace('\n', "\\n")
}

impl Gauge {
    /// Appends the gauge to `page`, the text of the response. Appends nothing if the gauge has no samples.
    fn write(&self, page: &mut String) {
        let Self {
            name,
            help,
            samples,
        } = self;
        if samples.is_empty() {
            return;
        }
        *page += &format!("# HELP {name} {help}\n# TYPE {name} gauge\n");
        for Sample { labels, value } in samples {
            let pairs: Vec<_> = labels
                .iter()
                .map(|(key, word)| format!("{key}=\"{word}\""))
                .collect();
            let labels = match pairs.join(",") {
                none if none.is_empty() => none,
                some => format!("{{{some}}}"),
            };
            *page += &format!("{name}{labels} {value}\n");
        }
        page.push('\n');
    }
}

/// Converts a time to seconds since 1970, with milliseconds as decimals.
fn seconds(at: DateTime<Utc>) -> f64 {
    number(at.timestamp_millis()) / 1000.0
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no count of ours comes near 2^53"
)]
fn number(count: i64) -> f64 {
    count as f64
}

fn count(length: usize) -> f64 {
    number(saturating_i64(length))
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}
