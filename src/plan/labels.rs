//! Names on the map, beside their PoPs, where they cover least.

use std::fmt::Write as _;

use super::{
    map::{Dot, HEAD, MARGIN, WIDTH},
    projection::Projection,
    svg::{cut, escape, tenth, tenths},
};

/// Distances of names from their PoPs; from the second on a line leads there.
const FAR: [f64; 4] = [2.0, 9.0, 18.0, 30.0];

/// Longest name that is shown, characters.
const LONGEST: usize = 18;

/// A name this close to another PoP would be taken for that one's, pixels.
const BESIDE: f64 = 6.0;

/// A box on the map: left, top, right, bottom.
type Area = [f64; 4];

fn overlap(a: &Area, b: &Area) -> f64 {
    let width = a[2].min(b[2]) - a[0].max(b[0]);
    let height = a[3].min(b[3]) - a[1].max(b[1]);
    width.max(0.0) * height.max(0.0)
}

/// Names beside their PoPs, where they cover least of what is there already.
pub(super) fn draw(out: &mut String, dots: &[Dot<'_>], map: &Projection) {
    let mut taken: Vec<Area> = dots
        .iter()
        .map(|dot| {
            let r = dot.reach();
            [dot.x - r, dot.y - r, dot.x + r, dot.y + r]
        })
        .collect();
    let (mut text, mut lines) = (String::new(), String::new());
    for dot in dots {
        let best = spots(dot)
            .into_iter()
            .map(|(far, area)| {
                let beside = beside_others(&area, dot, dots);
                (cost(&area, &taken, map) + beside + far * 3.0, far, area)
            })
            .min_by(|a, b| a.0.total_cmp(&b.0));
        let Some((_, far, area)) = best else {
            continue;
        };
        taken.push(area);
        let (x, y) = (tenth(tenths(area[0] + 1.0)), tenth(tenths(area[3] - 3.0)));
        let name = escape(&cut(&dot.row.pop, LONGEST));
        let _ = writeln!(text, "<text x=\"{x}\" y=\"{y}\">{name}</text>");
        if far > FAR[0] {
            let (x, y) = (dot.x.clamp(area[0], area[2]), dot.y.clamp(area[1], area[3]));
            let points = [dot.x, dot.y, x, y].map(|pixels| tenth(tenths(pixels)));
            let _ = write!(
                lines,
                "M{} {}L{} {}",
                points[0], points[1], points[2], points[3]
            );
        }
    }
    let _ = writeln!(
        out,
        "<path d=\"{lines}\" stroke=\"#444\" stroke-width=\"0.9\"/>"
    );
    // Twice, since not every program paints strokes below their own fill.
    let _ = write!(
        out,
        "<g font-size=\"12\" font-weight=\"bold\" fill=\"#fff\" stroke=\"#fff\" stroke-width=\"3\" \
         stroke-linejoin=\"round\" stroke-opacity=\"0.85\" aria-hidden=\"true\">\n{text}</g>\n\
         <g font-size=\"12\" font-weight=\"bold\" fill=\"#111\">\n{text}</g>\n"
    );
}

/// Where a label may stand: how far off its dot, and there; the best place first.
// Lengths of names.
#[allow(clippy::cast_precision_loss)]
fn spots(dot: &Dot<'_>) -> Vec<(f64, Area)> {
    let shown = cut(&dot.row.pop, LONGEST).chars().count();
    let (width, height) = (shown as f64 * 8.4 + 2.0, 13.0);
    let mut all = Vec::new();
    for far in FAR {
        let r = dot.reach() + far;
        let d = r * std::f64::consts::FRAC_1_SQRT_2;
        for (x, y) in [
            (r, -height / 2.0),
            (-r - width, -height / 2.0),
            (-width / 2.0, -r - height),
            (-width / 2.0, r),
            (d, -d - height),
            (d, d),
            (-d - width, -d - height),
            (-d - width, d),
        ] {
            let (left, top) = (dot.x + x, dot.y + y);
            all.push((far, [left, top, left + width, top + height]));
        }
    }
    all
}

/// What it costs that the name of a PoP would stand beside others.
fn beside_others(area: &Area, own: &Dot<'_>, dots: &[Dot<'_>]) -> f64 {
    let gap = |dot: &Dot<'_>| {
        let x = dot.x - dot.x.clamp(area[0], area[2]);
        let y = dot.y - dot.y.clamp(area[1], area[3]);
        x.hypot(y) - dot.reach()
    };
    let others = dots.iter().filter(|dot| !std::ptr::eq(*dot, own));
    others
        .map(|dot| (BESIDE - gap(dot)).clamp(0.0, BESIDE) * 8.0)
        .sum()
}

/// What it costs to put a label there: what it covers, and how far it stands off the map. Of equal
/// places the first is taken.
fn cost(area: &Area, taken: &[Area], map: &Projection) -> f64 {
    let covered: f64 = taken.iter().map(|other| overlap(area, other)).sum();
    let (right, bottom) = (WIDTH - MARGIN, HEAD + map.height());
    let outside = (MARGIN - area[0]).max(0.0)
        + (area[2] - right).max(0.0)
        + (HEAD - area[1]).max(0.0)
        + (area[3] - bottom).max(0.0);
    covered + outside * 100.0
}
