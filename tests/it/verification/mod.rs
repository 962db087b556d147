//! How both sides are shown to be equal: by runs, by `meter-sync verify`, and by the SQL that it prints.

mod proofs_of_runs;
mod sql;
mod surfaces;
mod verify;

use meter_sync::mirrors::{Mirror, VerifyRequest};
use meter_sync::model::{ProofMethod, RunTrigger};
use meter_sync::reports::verify_report::VerifyReport;

use crate::support::site::Site;

/// A site in sync, with values in every column.
async fn in_sync() -> Site {
    let site = Site::new().await;
    site.on_remote(
        "insert into meter select n, 7, 'Meter ' || n, 'heat', 'S' || n, date '2020-01-01' + n::integer, n, n,
            inet '10.0.0.1' + n, 500 + n, 'modbus', '', '{\"a\": 1.0}', null, true,
            timestamptz '2026-01-01 10:00:00.123456+00', now()
        from generate_series(1, 20) n;
         insert into meter (id, tenant_id, name) values (100, 8, 'of others')",
    )
    .await;
    site.sync().await;
    site
}

fn request() -> VerifyRequest {
    VerifyRequest {
        every_value: false,
        trigger: RunTrigger::Cli,
        actor: None,
    }
}

async fn verify(mirror: &Mirror) -> VerifyReport {
    mirror.verify(&request()).await.expect("a report")
}

async fn verify_every_value(site: &Site) -> VerifyReport {
    let request = VerifyRequest {
        every_value: true,
        ..request()
    };
    site.mirror.verify(&request).await.expect("a report")
}

/// How the status says that the meters were last verified.
async fn verified_by(site: &Site) -> Option<ProofMethod> {
    site.status().await.verified.map(|proof| proof.by)
}

/// Stores the versions of all local rows as if a run had found both sides equal.
const REMEMBER_AS_EQUAL: &str = "update meter_sync.meter_sync_seen set local_sum = (
    select bit_xor(hashtidextended(ctid, ((select age('3'::xid)::bigint) - age(xmin)) & 4294967295)) from meter)";
