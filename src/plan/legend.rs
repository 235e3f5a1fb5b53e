//! PoPs on the map, and the lines below it that say what is drawn.

use std::fmt::Write as _;

use super::{
    map::{Dot, Look, MARGIN, WIDTH},
    report::{Plan, PopRow, Strain},
    svg::{cut, escape, hex, percent, tenth, tenths},
};

/// Height of a line of the legend.
pub(super) const LINE: f64 = 20.0;
/// Characters that a column of the legend has room for.
const COLUMN: usize = 31;
/// So many characters of a name are shown in any case.
const SHORTEST: usize = 6;

pub(super) fn pops(out: &mut String, dots: &[Dot<'_>]) {
    // Small ones on top of large ones.
    for dot in dots {
        let (x, y, r) = (tenth(tenths(dot.x)), tenth(tenths(dot.y)), dot.radius);
        if let Some(alarm) = alarm(dot.row.strain) {
            let r = tenth(tenths(r + 3.5));
            let _ = writeln!(
                out,
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\" fill=\"#fff\" stroke=\"{alarm}\" stroke-width=\"3\"/>"
            );
        }
        let r = tenth(tenths(r));
        let (fill, edge) = paint(dot);
        let _ = writeln!(
            out,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\" fill=\"{fill}\" stroke=\"{edge}\" stroke-width=\"1.6\">\
             <title>{}</title></circle>",
            escape(&told(dot.row, usize::MAX))
        );
    }
}

/// Fill and edge of a PoP, here as below the map.
fn paint(dot: &Dot<'_>) -> (String, &'static str) {
    match dot.look() {
        Look::Serving => (hex(dot.color), "#fff"),
        Look::Idle => ("#8a8a8a".to_owned(), "#fff"),
        Look::Out => ("#fff".to_owned(), "#222"),
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
pub(super) fn draw(out: &mut String, plan: &Plan, dots: &[Dot<'_>], (top, columns): (f64, f64)) {
    let lines = (dots.len() as f64 / columns).ceil().max(1.0) as usize;
    let width = (WIDTH - 2.0 * MARGIN) / columns;
    out.push_str("<g font-size=\"12.5\" fill=\"#222\">\n");
    for (number, dot) in dots.iter().enumerate() {
        let x = MARGIN + (number / lines) as f64 * width;
        let y = top + (number % lines) as f64 * LINE;
        let (color, edge) = paint(dot);
        let edge = if dot.look() == Look::Out {
            edge
        } else {
            "none"
        };
        let mark = alarm(dot.row.strain).unwrap_or(edge);
        let _ = writeln!(
            out,
            "<circle cx=\"{}\" cy=\"{}\" r=\"6\" fill=\"{color}\" stroke=\"{mark}\" stroke-width=\"2.5\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            tenth(tenths(x + 8.0)),
            tenth(tenths(y + 6.0)),
            tenth(tenths(x + 21.0)),
            tenth(tenths(y + 10.5)),
            escape(&told(dot.row, COLUMN)),
        );
    }
    let y = top + lines as f64 * LINE + 12.0;
    let mut notes = vec![
        "A dot is a cell of clients, larger with more of them, in the colour of the PoP that serves most of it."
            .to_owned(),
        format!("Round trips are estimated: {}.", plan.estimate),
    ];
    if dots.iter().any(|dot| dot.row.strain != Strain::None) {
        notes.push("Rings: above target (amber), above capacity (red).".to_owned());
    }
    if dots.iter().any(|dot| dot.look() == Look::Out) {
        notes.push("Hollow: out of service.".to_owned());
    }
    if dots.iter().any(|dot| dot.look() == Look::Idle) {
        notes.push("Grey: serves nobody.".to_owned());
    }
    notes.push("Coastlines: Natural Earth.".to_owned());
    let _ = writeln!(
        out,
        "<text x=\"{MARGIN}\" y=\"{y}\" font-size=\"11\" fill=\"#666\">{}</text>\n</g>",
        escape(&notes.join(" "))
    );
}

/// A PoP in a line of about `room` characters: its name gives way, never what is said of it.
fn told(row: &PopRow, room: usize) -> String {
    let load = match row.load_after {
        None => String::new(),
        Some(load) if load >= 100.0 => format!(", load {load:.0}"),
        Some(load) => format!(", load {load:.2}"),
    };
    let state = match row.state {
        "" => String::new(),
        state => format!(", {state}"),
    };
    let share = match row.share_after {
        share if share > 0.0 && share < 0.0005 => "< 0.1 %".to_owned(),
        share => percent(share),
    };
    let said = format!("{share}{load}{state}");
    let name = cut(&row.pop, room.saturating_sub(said.len() + 2).max(SHORTEST));
    format!("{name} {said}")
}
