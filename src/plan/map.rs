//! A world map of a plan as SVG: client cells in the colour of their PoP, PoPs as large as their
//! share, a legend. The same plan gives the same octets.
//!
//! ```text
//! title, what was changed
//! land ── cells ── PoPs ── their labels
//! legend: colour, PoP, share, load
//! ```

use std::{collections::BTreeMap, fmt::Write as _};

use meridian_config::Coordinates;
use meridian_geo_data::ClientMap;

use super::{
    coast, labels, palette,
    palette::Color,
    projection::{CENTRAL, NORTH, Projection, SOUTH},
    report::{Picture, Plan, PopRow, Strain},
    world::World,
};

/// Width of the drawing, pixels.
pub(super) const WIDTH: f64 = 1600.0;
/// White around everything.
pub(super) const MARGIN: f64 = 20.0;
/// Room for the title.
pub(super) const HEAD: f64 = 74.0;
/// Height of a line of the legend.
const LINE: f64 = 20.0;
/// Least width of a column of the legend.
const COLUMN: f64 = 256.0;
/// Diameters of cells by how many clients they have, pixels.
const SIZES: [f64; 8] = [2.0, 3.2, 5.0, 8.0, 12.0, 18.0, 26.0, 36.0];

/// A PoP on the map.
pub(super) struct Dot<'a> {
    pub(super) row: &'a PopRow,
    pub(super) x: f64,
    pub(super) y: f64,
    radius: f64,
    color: Color,
}

impl Dot<'_> {
    /// Radius with the ring around it.
    pub(super) fn reach(&self) -> f64 {
        self.radius
            + if self.row.strain == Strain::None {
                1.0
            } else {
                5.0
            }
    }
}

/// Draws the world after the change. `clients` is where the cells of the picture are.
pub(crate) fn draw(plan: &Plan, picture: &Picture, world: &World, clients: &ClientMap) -> String {
    let map = Projection::new(WIDTH - 2.0 * MARGIN, MARGIN, HEAD);
    let dots = dots(plan, world, &map);
    let columns = ((WIDTH - 2.0 * MARGIN) / COLUMN).floor();
    let legend_top = HEAD + map.height() + 16.0;
    let lines = (dots.len() as f64 / columns).ceil() + 1.0;
    let height = (legend_top + lines * LINE + MARGIN).ceil();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, sans-serif\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    head(&mut out, plan);
    land(&mut out, &map);
    cells(&mut out, picture, &dots, clients, &map);
    pops(&mut out, &dots);
    labels::draw(&mut out, &dots, &map);
    legend(&mut out, plan, &dots, (legend_top, columns));
    out.push_str("</svg>\n");
    out
}

fn head(out: &mut String, plan: &Plan) {
    let title = match plan.services.as_slice() {
        [one] => one.clone(),
        [one, rest @ ..] => format!("{one} and {} more", rest.len()),
        [] => String::new(),
    };
    let changes = match plan.changes.as_slice() {
        [] => "as configured".to_owned(),
        changes => changes.join(", "),
    };
    let near = plan
        .rtt_after
        .within_100_ms
        .map_or_else(String::new, |share| {
            format!("; {} of clients within 100 ms estimated", percent(share))
        });
    let moved = if plan.moved > 0.0 {
        format!("; {} of clients move", percent(plan.moved))
    } else {
        String::new()
    };
    let _ = writeln!(
        out,
        "<text x=\"{MARGIN}\" y=\"34\" font-size=\"22\" font-weight=\"bold\" fill=\"#222\">{}</text>\n\
         <text x=\"{MARGIN}\" y=\"57\" font-size=\"14\" fill=\"#555\">{}</text>",
        escape(&cut(&format!("Who serves whom: {title}"), 110)),
        escape(&cut(&format!("{changes}{near}{moved}"), 190)),
    );
}

/// At most so many characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}

fn land(out: &mut String, map: &Projection) {
    let mut path = String::new();
    for ring in coast::rings() {
        let mut last = (0_i64, 0_i64);
        for (number, at) in ring.iter().enumerate() {
            // A hair of the far east reaches over the edge of the map.
            let beyond = (at.longitude - CENTRAL).clamp(-180.0, 180.0);
            let (x, y) = map.place_at(at.latitude, beyond);
            let now = (tenths(x), tenths(y));
            if number == 0 {
                let _ = write!(path, "M{} {}l", tenth(now.0), tenth(now.1));
            } else if now != last {
                let (dx, dy) = (now.0 - last.0, now.1 - last.1);
                let blank = if path.ends_with('l') || dx < 0 {
                    ""
                } else {
                    " "
                };
                let between = if dy < 0 { "" } else { " " };
                let _ = write!(path, "{blank}{}{between}{}", tenth(dx), tenth(dy));
            }
            last = now;
        }
        path.push('z');
    }
    let _ = writeln!(
        out,
        "<path d=\"{path}\" fill=\"#eceae4\" fill-rule=\"evenodd\" stroke=\"#cfcbc0\" \
         stroke-width=\"0.6\" stroke-linejoin=\"round\"/>"
    );
}

/// Pixels in tenths.
// A map is some thousand pixels wide.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn tenths(pixels: f64) -> i64 {
    (pixels * 10.0).round() as i64
}

/// A tenth as short as it can be written.
pub(super) fn tenth(tenths: i64) -> String {
    let sign = if tenths < 0 { "-" } else { "" };
    match (tenths.abs() / 10, tenths.abs() % 10) {
        (0, 0) => "0".to_owned(),
        (whole, 0) => format!("{sign}{whole}"),
        (0, part) => format!("{sign}.{part}"),
        (whole, part) => format!("{sign}{whole}.{part}"),
    }
}

/// PoPs of the plan that stand somewhere, the largest share first.
fn dots<'a>(plan: &'a Plan, world: &World, map: &Projection) -> Vec<Dot<'a>> {
    let place = |row: &PopRow| {
        let pop = world.config.pops.iter().find(|pop| pop.name == row.pop);
        pop.map(|pop| pop.location)
    };
    let mut rows: Vec<(&PopRow, Coordinates)> = plan
        .pops
        .iter()
        .filter_map(|row| Some((row, place(row)?)))
        .collect();
    rows.sort_by(|a, b| {
        let by_name = || a.0.pop.cmp(&b.0.pop);
        b.0.share_after
            .total_cmp(&a.0.share_after)
            .then_with(by_name)
    });
    let places: Vec<Coordinates> = rows.iter().map(|(_, place)| *place).collect();
    let colors = palette::colors(&places);
    rows.into_iter()
        .zip(colors)
        .map(|((row, place), color)| {
            let (x, y) = map.place(place);
            let radius = 4.0 + 26.0 * row.share_after.max(0.0).sqrt();
            Dot {
                row,
                x,
                y,
                radius,
                color,
            }
        })
        .collect()
}

/// Cells as round dots: one path for each PoP and size, cells of one spot drawn once.
fn cells(
    out: &mut String,
    picture: &Picture,
    dots: &[Dot<'_>],
    clients: &ClientMap,
    map: &Projection,
) {
    let most = picture
        .spots
        .iter()
        .map(|spot| spot.amount)
        .fold(0.0, f64::max);
    // Many small cells or few large ones: either way they may cover about the same part of the map.
    let all: f64 = picture.spots.iter().map(|spot| spot.amount).sum();
    let scale = if all > 0.0 {
        (30_000.0 / all).sqrt()
    } else {
        0.0
    };
    let scale = scale.min(SIZES[7] / most.max(f64::MIN_POSITIVE).sqrt());
    // Few cells, as from country data, may each be larger.
    let least = if picture.spots.len() < 2_000 {
        SIZES[2]
    } else {
        SIZES[0]
    };
    let mut paths: BTreeMap<(usize, u16), Vec<(i64, i64)>> = BTreeMap::new();
    for spot in &picture.spots {
        let Some(cell) = clients.cells().get(spot.cell.0 as usize) else {
            continue;
        };
        let wanted = spot.amount.sqrt() * scale;
        let wanted = wanted.max(least);
        let size = SIZES.iter().rposition(|size| *size <= wanted).unwrap_or(0);
        if !(SOUTH..=NORTH).contains(&cell.center.latitude) {
            continue;
        }
        let (x, y) = map.place(cell.center);
        let half = |pixels: f64| tenths(pixels) / 5 * 5;
        // The largest first, so that none hides behind another.
        let key = (SIZES.len() - size, spot.site);
        paths.entry(key).or_default().push((half(y), half(x)));
    }
    let color = |site: u16| {
        let name = picture.sites.name(site);
        let dot = dots.iter().find(|dot| dot.row.pop == name);
        dot.map_or([0x66, 0x66, 0x66], |dot| dot.color)
    };
    out.push_str("<g fill=\"none\" stroke-linecap=\"round\" stroke-opacity=\"0.62\">\n");
    for ((size, site), mut spots) in paths {
        spots.sort_unstable();
        spots.dedup();
        let mut path = String::new();
        for (y, x) in spots {
            let _ = write!(path, "M{} {}h0", tenth(x), tenth(y));
        }
        let width = SIZES.get(SIZES.len() - size).copied().unwrap_or(SIZES[0]);
        let color = hex(color(site));
        let _ = writeln!(
            out,
            "<path d=\"{path}\" stroke=\"{color}\" stroke-width=\"{width}\"/>"
        );
    }
    out.push_str("</g>\n");
}

fn pops(out: &mut String, dots: &[Dot<'_>]) {
    // Small ones on top of large ones.
    for dot in dots {
        let (x, y, r) = (tenth(tenths(dot.x)), tenth(tenths(dot.y)), dot.radius);
        if let Some(alarm) = alarm(dot.row.strain) {
            let r = tenth(tenths(r + 3.5));
            let _ = writeln!(
                out,
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\" fill=\"none\" stroke=\"{alarm}\" stroke-width=\"3\"/>"
            );
        }
        let r = tenth(tenths(r));
        let out_of_service = matches!(dot.row.state, "drained" | "down");
        let fill = if out_of_service {
            "#fff".to_owned()
        } else {
            hex(dot.color)
        };
        let edge = if out_of_service { "#222" } else { "#fff" };
        let _ = writeln!(
            out,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\" fill=\"{fill}\" stroke=\"{edge}\" stroke-width=\"1.6\">\
             <title>{}</title></circle>",
            escape(&told(dot.row))
        );
    }
}

fn alarm(strain: Strain) -> Option<&'static str> {
    match strain {
        Strain::None => None,
        Strain::OverTarget => Some("#f0a000"),
        Strain::OverCapacity => Some("#d00000"),
    }
}

// Numbers of PoPs.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn legend(out: &mut String, plan: &Plan, dots: &[Dot<'_>], (top, columns): (f64, f64)) {
    let lines = (dots.len() as f64 / columns).ceil().max(1.0) as usize;
    let width = (WIDTH - 2.0 * MARGIN) / columns;
    out.push_str("<g font-size=\"12.5\" fill=\"#222\">\n");
    for (number, dot) in dots.iter().enumerate() {
        let x = MARGIN + (number / lines) as f64 * width;
        let y = top + (number % lines) as f64 * LINE;
        let color = hex(dot.color);
        let mark = alarm(dot.row.strain).unwrap_or("none");
        let _ = writeln!(
            out,
            "<circle cx=\"{}\" cy=\"{}\" r=\"6\" fill=\"{color}\" stroke=\"{mark}\" stroke-width=\"2.5\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            tenth(tenths(x + 8.0)),
            tenth(tenths(y + 6.0)),
            tenth(tenths(x + 21.0)),
            tenth(tenths(y + 10.5)),
            escape(&cut(&told(dot.row), 34)),
        );
    }
    let y = top + lines as f64 * LINE + 12.0;
    let mut notes = vec![
        "A dot is a cell of clients, larger with more of them, in the colour of the PoP that serves most of it."
            .to_owned(),
        format!(
            "Round trips are estimated: {} ms + {} ms a 100 km.",
            plan.estimate.intercept_ms, plan.estimate.ms_per_100km
        ),
    ];
    if dots.iter().any(|dot| dot.row.strain != Strain::None) {
        notes.push("Rings: above target (amber), above capacity (red).".to_owned());
    }
    notes.push("Coastlines: Natural Earth.".to_owned());
    let _ = writeln!(
        out,
        "<text x=\"{MARGIN}\" y=\"{y}\" font-size=\"11\" fill=\"#666\">{}</text>\n</g>",
        escape(&notes.join(" "))
    );
}

/// A PoP in a line.
fn told(row: &PopRow) -> String {
    let load = row
        .load_after
        .map_or_else(String::new, |load| format!(", load {load:.2}"));
    let state = match row.state {
        "" => String::new(),
        state => format!(", {state}"),
    };
    format!("{} {}{load}{state}", row.pop, percent(row.share_after))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn hex([r, g, b]: Color) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The one way of text into the drawing: what would be markup, and what XML cannot hold, is replaced
/// (failure class 15).
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_15_no_text_becomes_markup() {
        assert_eq!(
            escape("<a href=\"x\">&\u{1}é"),
            "&lt;a href=&quot;x&quot;&gt;&amp;\u{fffd}é"
        );
        assert_eq!(cut("abcdef", 3), "abc…");
        assert_eq!(cut("äöü", 3), "äöü");
    }

    #[test]
    fn tenths_are_short() {
        for (tenths, text) in [
            (0, "0"),
            (5, ".5"),
            (-5, "-.5"),
            (120, "12"),
            (-123, "-12.3"),
        ] {
            assert_eq!(tenth(tenths), text);
        }
    }
}
