//! The icons of the status page and of the card that MCP hosts show (an MCP App). An HTML page contains all icons once,
//! as an SVG sprite, and its elements refer to the sprite.

use maud::{Markup, html};

/// Builds the SVG path of an icon with a circle around it: the path of the circle, followed by the path `$inside`.
macro_rules! ring {
    ($inside:literal) => {
        concat!("M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20Z", $inside)
    };
}

/// The circle around most icons, as an SVG path.
pub(crate) const RING: &str = ring!("");

/// An icon, named after what it depicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Icon {
    Check,
    Level,
    Cross,
    Alert,
    Clock,
    Pause,
    Dots,
    Block,
    Gap,
    List,
}

impl Icon {
    /// All icons.
    pub(crate) const ALL: [Self; 10] = [
        Self::Check,
        Self::Level,
        Self::Cross,
        Self::Alert,
        Self::Clock,
        Self::Pause,
        Self::Dots,
        Self::Block,
        Self::Gap,
        Self::List,
    ];

    /// Returns the name of the icon in URLs and element ids.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Level => "level",
            Self::Cross => "cross",
            Self::Alert => "alert",
            Self::Clock => "clock",
            Self::Pause => "pause",
            Self::Dots => "dots",
            Self::Block => "block",
            Self::Gap => "gap",
            Self::List => "list",
        }
    }

    /// Returns the SVG path of the icon, which fits in a square of 24 by 24 units.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Check => ring!("M7.5 12.3l3 3 6-6.3"),
            Self::Level => ring!("M7.5 10h9m-9 4.4h9"),
            Self::Cross => "M8 2h8l6 6v8l-6 6H8l-6-6V8ZM9 9l6 6m0-6-6 6",
            Self::Alert => "M12 3 2 20.5h20ZM12 10v4.5m0 2.6v.1",
            Self::Clock => ring!("M12 7v5l3.5 2"),
            Self::Pause => ring!("M9.7 8.5v7m4.6-7v7"),
            Self::Dots => ring!("M7.5 12h.1m4.4 0h.1m4.4 0h.1"),
            Self::Block => ring!("M5 19 19 5"),
            Self::Gap => "M4 4h16v16H4ZM8.5 12h7",
            Self::List => "M4 4h16v16H4ZM8.5 9h7m-7 4h7m-7 3.5h4",
        }
    }

    /// Returns HTML that shows the icon. Screen readers ignore it, so a word with the same meaning must stand beside
    /// it.
    pub(crate) fn markup(self) -> Markup {
        html! { svg.icon viewBox="0 0 24 24" aria-hidden="true" { use href=(format!("#{}", self.name())) {} } }
    }
}

/// Returns the SVG sprite with all icons. An HTML page must contain it once, so that [`Icon::markup`] can refer to it.
pub(crate) fn sprite() -> Markup {
    html! {
        svg.sprite aria-hidden="true" width="0" height="0" {
            @for icon in Icon::ALL {
                symbol id=(icon.name()) viewBox="0 0 24 24" { path d=(icon.path()) {} }
            }
        }
    }
}
