//! The style sheet, the script and the icons, under names that hold a hash of what they are, so that a browser
//! may keep them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::icons::Icon;
use crate::http::problem::Problem;

/// Where the assets lie.
pub(in crate::http) const FOLDER: &str = "/assets/";

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

static STYLE_PATH: LazyLock<String> = LazyLock::new(|| path(STYLE, "css"));
static SCRIPT_PATH: LazyLock<String> = LazyLock::new(|| path(SCRIPT, "js"));

fn path(text: &str, extension: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let hash: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{FOLDER}{hash}.{extension}")
}

/// The style sheet's path.
pub(super) fn style() -> &'static str {
    &STYLE_PATH
}

/// The script's path.
pub(super) fn script() -> &'static str {
    &SCRIPT_PATH
}

/// The path of the icon in a tone.
pub(super) fn favicon(icon: Icon, tone: &str) -> String {
    format!("{FOLDER}{}-{tone}.svg", icon.name())
}

/// What a tone is in an icon, which no style sheet reaches.
const TONES: [(&str, &str); 5] = [
    ("good", "#1e8a4a"),
    ("warn", "#b06f00"),
    ("bad", "#d1392b"),
    ("calm", "#6b6b66"),
    ("gone", "#9a9a94"),
];

/// Answers an asset.
pub(super) async fn serve(Path(name): Path<String>) -> Response {
    let asked = format!("{FOLDER}{name}");
    let (type_, text) = if asked == *STYLE_PATH {
        ("text/css; charset=utf-8", STYLE.to_owned())
    } else if asked == *SCRIPT_PATH {
        ("text/javascript; charset=utf-8", SCRIPT.to_owned())
    } else if let Some(icon) = drawn(&name) {
        ("image/svg+xml", icon)
    } else {
        return Problem::NotFound.into_response();
    };
    let headers = [
        (CONTENT_TYPE, type_),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}

fn drawn(name: &str) -> Option<String> {
    let (icon, tone) = name.strip_suffix(".svg")?.split_once('-')?;
    let icon = Icon::ALL.into_iter().find(|one| one.name() == icon)?;
    let (_, colour) = TONES.iter().find(|(one, _)| *one == tone)?;
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 24 24\" fill=\"none\" stroke=\"{colour}\" \
         stroke-width=\"2.6\" stroke-linecap=\"round\" stroke-linejoin=\"round\"><path d=\"{}\"/></svg>",
        icon.path()
    ))
}
