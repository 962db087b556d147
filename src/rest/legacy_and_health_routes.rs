//! The routes outside `/api/v1` that the `OpenAPI` description includes: the two legacy routes and the health checks.

use schemars::json_schema;

use super::legacy_endpoints;
use super::legacy_endpoints::{LegacyStatusResponse, LegacySyncResponse};
use super::route::{Route, RouteDescription};
use crate::http::health_checks;

pub(super) fn local_status() -> Route {
    let operation = RouteDescription::new(
        "getLocalStatus",
        "The status in the shape of the earlier sync program",
    )
    .answer(200, "The status", |generator| {
        generator.subschema_for::<LegacyStatusResponse>()
    });
    Route::get(
        "/api/local/meter-sync-status",
        legacy_endpoints::status,
        operation,
    )
}

pub(super) fn local_trigger() -> Route {
    let operation = RouteDescription::new(
        "startLocalSync",
        "A sync to its end, in the shape of the earlier sync program",
    )
    .described("Prefer `POST /api/v1/sync`, which can answer before the end.");
    let answers = [
        (200, "The sync has ended."),
        (
            400,
            "Several tenants are kept in sync here; ask `/api/v1/tenants/{tenant_id}/sync`.",
        ),
        (403, "Syncs are refused here."),
        (409, "A sync is in progress already."),
        (500, "The sync failed here."),
        (
            502,
            "The sync failed on the remote, or the brake refused it.",
        ),
        (503, "The databases or the tenant are not configured."),
    ];
    let operation = answers
        .into_iter()
        .fold(operation, |operation, (status, what)| {
            operation.answer(status, what, |generator| {
                generator.subschema_for::<LegacySyncResponse>()
            })
        });
    Route::post(
        "/api/local/meter-sync-trigger",
        legacy_endpoints::trigger,
        operation,
    )
}

pub(super) fn live() -> Route {
    let text = |_: &mut _| json_schema!({"type": "string"});
    let operation = RouteDescription::new("getLive", "Whether the process answers at all")
        .open()
        .content(200, "It does.", Some(("text/plain", text)));
    Route::get(health_checks::LIVE_PATH, health_checks::live, operation)
}

pub(super) fn ready() -> Route {
    let operation = RouteDescription::new("getReady", "Whether both databases are set and the local one answers")
        .open()
        .answer(200, "It is ready to sync.", |_| {
            json_schema!({"type": "object", "required": ["ready"], "properties": {"ready": {"const": true}}})
        })
        .answer(503, "It is not, and why.", |_| {
            json_schema!({
                "type": "object",
                "required": ["ready", "code", "reason", "remedy"],
                "properties": {
                    "ready": {"const": false},
                    "code": {"type": "string"},
                    "reason": {"type": "string"},
                    "remedy": {"type": "string"},
                },
            })
        });
    Route::get(health_checks::READY_PATH, health_checks::ready, operation)
}
