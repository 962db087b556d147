//! The plot: for three cases, seconds by number of meters, both on logarithmic scales.

use crate::case::Case;
use crate::options::LineKind;
use crate::peer::Peer;
use crate::results::{Key, Results};

use super::format::count;

const PANEL: (f64, f64) = (270.0, 260.0);
const LEFT: f64 = 60.0;
const TOP: f64 = 36.0;
const GAP: f64 = 24.0;
const LEGEND: f64 = 60.0;

/// Colours that stay apart for most eyes, on white and on black.
fn colour(peer: Peer) -> &'static str {
    match peer {
        Peer::Ours => "#d55e00",
        Peer::PsqlRelay => "#0072b2",
        Peer::Fdw => "#009e73",
        Peer::Logical => "#888888",
        Peer::RowByRow => "#cc79a7",
        Peer::Sling => "#e69f00",
        Peer::Dlt => "#56b4e9",
    }
}

/// The points of one peer in one case.
struct Curve {
    peer: Peer,
    points: Vec<(f64, f64)>,
}

/// Where values are drawn.
struct Scale {
    x: (f64, f64),
    y: (f64, f64),
    left: f64,
}

impl Scale {
    fn x(&self, size: f64) -> f64 {
        let (low, high) = self.x;
        self.left + PANEL.0 * (size / low).ln() / (high / low).ln()
    }

    fn y(&self, seconds: f64) -> f64 {
        let (low, high) = self.y;
        TOP + PANEL.1 * (1.0 - (seconds / low).ln() / (high / low).ln())
    }
}

/// The plot as SVG.
pub(super) fn svg(results: &Results) -> String {
    let panels = Case::MAIN.map(|case| (case, curves(results, case)));
    let all = || panels.iter().flat_map(|(_, curves)| curves.iter());
    let points = || all().flat_map(|curve| curve.points.iter());
    let range = |take: fn(&(f64, f64)) -> f64| {
        let low = points().map(take).fold(f64::INFINITY, f64::min);
        let high = points().map(take).fold(0.0, f64::max);
        (low, high)
    };
    let (x, y) = (range(|point| point.0), range(|point| point.1));
    if !x.0.is_finite() || !y.0.is_finite() {
        return String::new();
    }
    // whole decades, and some room where there is only one size
    let x = (x.0 * 0.8, x.1 * 1.25);
    let y = (
        10_f64.powf(y.0.log10().floor()),
        10_f64.powf(y.1.log10().ceil()),
    );
    let width = LEFT + 3.0 * (PANEL.0 + GAP);
    let height = TOP + PANEL.1 + 30.0 + LEGEND;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut left = LEFT;
    for (case, curves) in &panels {
        let scale = Scale { x, y, left };
        frame(&mut svg, &scale, *case, &results.sizes(LineKind::Lan));
        curves
            .iter()
            .for_each(|curve| draw(&mut svg, &scale, curve));
        left += PANEL.0 + GAP;
    }
    let mut peers: Vec<Peer> = all().map(|curve| curve.peer).collect();
    peers.sort_unstable();
    peers.dedup();
    legend(&mut svg, &peers, height - LEGEND / 2.0);
    svg + "</svg>\n"
}

fn curves(results: &Results, case: Case) -> Vec<Curve> {
    let curve = |peer| {
        let point = |size| {
            let key = Key::over_lan(size, peer, case);
            Some((size as f64, results.median(key, |sample| sample.wall)?))
        };
        let sizes = results.sizes(LineKind::Lan).into_iter();
        let points = sizes.filter_map(point).collect();
        Curve { peer, points }
    };
    let all = Peer::ALL.into_iter().map(curve);
    all.filter(|curve| !curve.points.is_empty()).collect()
}

fn frame(svg: &mut String, scale: &Scale, case: Case, sizes: &[u64]) {
    let (left, right, bottom) = (scale.left, scale.left + PANEL.0, TOP + PANEL.1);
    let mut put = |element: String| *svg += &(element + "\n");
    put(format!(
        "<text x=\"{}\" y=\"22\" text-anchor=\"middle\" font-weight=\"bold\">{case}</text>",
        left + PANEL.0 / 2.0
    ));
    let mut seconds = scale.y.0;
    while seconds <= scale.y.1 * 1.01 {
        let y = scale.y(seconds);
        put(format!(
            "<path d=\"M{left} {y:.1}H{right}\" stroke=\"#ddd\"/>"
        ));
        if left == LEFT {
            put(format!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{seconds} s</text>",
                left - 6.0,
                y + 4.0
            ));
        }
        seconds = 10_f64.powf((seconds.log10() + 1.0).round());
    }
    for size in sizes {
        let x = scale.x(*size as f64);
        put(format!(
            "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#eee\"/>"
        ));
        // two that stand close together would cover each other
        let has_room = *size != 100_000 || !sizes.contains(&200_000);
        if has_room {
            put(format!(
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                count(*size)
            ));
        }
    }
    put(format!(
        "<rect x=\"{left}\" y=\"{TOP}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#999\"/>",
        PANEL.0, PANEL.1
    ));
}

fn draw(svg: &mut String, scale: &Scale, curve: &Curve) {
    let colour = colour(curve.peer);
    let width = if curve.peer == Peer::Ours { 3 } else { 1 };
    let points = curve.points.iter();
    let at: Vec<(f64, f64)> = points.map(|(x, y)| (scale.x(*x), scale.y(*y))).collect();
    let line: Vec<String> = at.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    *svg += &format!(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>\n",
        line.join(" ")
    );
    for (x, y) in at {
        *svg += &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>\n");
    }
}

fn legend(svg: &mut String, peers: &[Peer], y: f64) {
    let mut x = LEFT;
    for peer in peers {
        let (colour, title) = (colour(*peer), peer.title());
        *svg += &format!(
            "<circle cx=\"{x}\" cy=\"{}\" r=\"5\" fill=\"{colour}\"/><text x=\"{}\" y=\"{y}\">{title}</text>\n",
            y - 4.0,
            x + 10.0
        );
        x += 34.0 + 7.0 * title.len() as f64;
    }
}
