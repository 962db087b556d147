//! Serves the style sheet, the script and the icons. Browsers may cache the style sheet and the script for a year,
//! because their names contain a hash of their content. They may cache an icon for a day, because its name contains
//! only its shape and its colour.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};

use crate::badges::icons::Icon;
use crate::hex_digest::hex_digest;
use crate::http::request_error::RequestError;

/// The path below which assets are served.
pub(crate) const FOLDER: &str = "/assets/";

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

const FOR_EVER: &str = "public, max-age=31536000, immutable";
const A_DAY: &str = "public, max-age=86400";

static STYLE_PATH: LazyLock<String> = LazyLock::new(|| path(STYLE, "css"));
static SCRIPT_PATH: LazyLock<String> = LazyLock::new(|| path(SCRIPT, "js"));

fn path(text: &str, extension: &str) -> String {
    format!("{FOLDER}{}.{extension}", hex_digest(text, 8))
}

/// Returns the URL path of the style sheet.
pub(super) fn style() -> &'static str {
    &STYLE_PATH
}

/// Returns the URL path of the script.
pub(super) fn script() -> &'static str {
    &SCRIPT_PATH
}

/// Returns the URL path of an icon in the colour of `tone`, a name in [`TONES`].
pub(super) fn favicon(icon: Icon, tone: &str) -> String {
    format!("{FOLDER}{}-{tone}.svg", icon.name())
}

/// The colours of icon files by their names, called tones. The style sheet does not apply to icon files. The script
/// shows an icon of tone `gone` while the server does not answer.
const TONES: [(&str, &str); 5] = [
    ("good", "#1e8a4a"),
    ("warn", "#b06f00"),
    ("bad", "#d1392b"),
    ("calm", "#6b6b66"),
    ("gone", "#9a9a94"),
];

/// `GET /assets/{name}`: serves the style sheet, the script or an icon. Answers 404 for any other name.
pub(super) async fn serve(Path(name): Path<String>) -> Response {
    let asked = format!("{FOLDER}{name}");
    let (type_, kept, text) = if asked == *STYLE_PATH {
        ("text/css; charset=utf-8", FOR_EVER, STYLE.to_owned())
    } else if asked == *SCRIPT_PATH {
        (
            "text/javascript; charset=utf-8",
            FOR_EVER,
            SCRIPT.to_owned(),
        )
    } else if let Some(icon) = drawn(&name) {
        ("image/svg+xml", A_DAY, icon)
    } else {
        return RequestError::NotFound.into_response();
    };
    let headers = [
        (CONTENT_TYPE, type_),
        (CACHE_CONTROL, kept),
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
