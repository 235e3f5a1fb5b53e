//! PoPs on the map, and the lines below it that say what is drawn.

use std::fmt::Write as _;

use super::{
    map::{Dot, MARGIN, WIDTH},
    report::{Plan, PopRow, Strain},
    svg::{cut, escape, hex, percent, tenth, tenths},
};

/// Height of a line of the legend.
pub(super) const LINE: f64 = 20.0;

pub(super) fn pops(out: &mut String, dots: &[Dot<'_>]) {
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
pub(super) fn draw(out: &mut String, plan: &Plan, dots: &[Dot<'_>], (top, columns): (f64, f64)) {
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
