//! A world map of a plan as SVG: client cells in the colour of their PoP, PoPs as large as their
//! share, a legend. The same plan gives the same octets.
//!
//! ```text
//! title, what was changed
//! land ── cells ── PoPs ── their labels
//! legend: colour, PoP, share, load
//! ```

use std::fmt::Write as _;

use meridian_config::Coordinates;
use meridian_geo_data::ClientMap;

use super::{
    coast, labels, legend,
    legend::LINE,
    palette,
    palette::Color,
    projection::{CENTRAL, NORTH, Projection, SOUTH},
    report::{Picture, Plan, PopRow, Strain},
    spots,
    svg::{cut, escape, percent, tenth, tenths},
    world::World,
};

/// Width of the drawing, pixels.
pub(super) const WIDTH: f64 = 1600.0;
/// White around everything.
pub(super) const MARGIN: f64 = 20.0;
/// Room for the title.
pub(super) const HEAD: f64 = 74.0;
/// Least width of a column of the legend.
const COLUMN: f64 = 256.0;

/// A PoP on the map.
pub(super) struct Dot<'a> {
    pub(super) row: &'a PopRow,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) radius: f64,
    pub(super) color: Color,
}

/// What the fill of a PoP says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It serves clients: its colour.
    Serving,
    /// It is in service, and nobody's.
    Idle,
    /// Drained or down.
    Out,
}

impl Dot<'_> {
    pub(super) fn look(&self) -> Look {
        match self.row.state {
            "drained" | "down" => Look::Out,
            _ if self.row.share_after > 0.0 => Look::Serving,
            _ => Look::Idle,
        }
    }

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
    spots::draw(&mut out, picture, &dots, clients, &map);
    legend::pops(&mut out, &dots);
    labels::draw(&mut out, &dots, &map);
    legend::draw(&mut out, plan, &dots, (legend_top, columns));
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
    // By name, not by share: a PoP keeps its colour from plan to plan, so that two maps can be laid
    // side by side.
    rows.sort_by(|a, b| a.0.pop.cmp(&b.0.pop));
    let places: Vec<Coordinates> = rows.iter().map(|(_, place)| *place).collect();
    let colors = palette::colors(&places);
    let mut dots: Vec<Dot<'_>> = rows
        .into_iter()
        .zip(colors)
        .map(|((row, place), color)| {
            // What stands beyond the edge of the map is shown on it, not among the lines below.
            let (x, y) = map.place(Coordinates {
                latitude: place.latitude.clamp(SOUTH, NORTH),
                ..place
            });
            let mut dot = Dot {
                row,
                x,
                y,
                radius: 0.0,
                color,
            };
            dot.radius = match dot.look() {
                Look::Serving => 4.0 + 26.0 * row.share_after.sqrt(),
                Look::Idle => 3.0,
                Look::Out => 4.5,
            };
            dot
        })
        .collect();
    dots.sort_by(|a, b| b.row.share_after.total_cmp(&a.row.share_after));
    dots
}
