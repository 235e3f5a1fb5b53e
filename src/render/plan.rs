//! A plan as text.

use std::{fmt::Write as _, time::Duration};

use meridian_config::Family;

use super::{Cell, Paint, Style, Table, clean, one_line, span};
use crate::{
    cli::Planned,
    plan::{Failure, Plan, Quantiles, Range, Settling, Strain},
};

/// Largest moves that are shown.
const MOVES: usize = 10;

/// PoPs that are shown whose shares do not settle.
const SWINGS: usize = 5;

/// Failures that are shown.
const FAILURES: usize = 15;

/// Renders a plan.
pub(crate) fn plan(planned: &Planned, style: Style) -> String {
    let plan = &planned.plan;
    let mut out = head(planned, style);
    out.push('\n');
    out.push_str(&pops(plan, style));
    out.push('\n');
    out.push_str(&round_trips(plan, style));
    out.push_str(&moves(plan, style));
    out.push_str(&overload(plan, style));
    out.push_str(&failures(plan, style));
    out
}

fn head(planned: &Planned, style: Style) -> String {
    let mut out = String::new();
    for (key, text) in facts(planned) {
        let key = style.paint(Paint::Dim, &format!("{key:<9}"));
        let _ = writeln!(out, "{key} {}", one_line(&text));
    }
    out
}

/// What the plan rests on, by keyword.
fn facts(planned: &Planned) -> Vec<(&'static str, String)> {
    let (plan, demand) = (&planned.plan, &planned.demand);
    let services = match plan.services.as_slice() {
        [one] => one.clone(),
        many => format!("{} services, each with the same demand", many.len()),
    };
    let family = match plan.family {
        Family::V4 => "A",
        Family::V6 => "AAAA",
    };
    let mut facts = vec![("services", format!("{services}, {family}"))];
    if plan.changes.is_empty() {
        facts.push(("change", "none".to_owned()));
    }
    facts.extend(plan.changes.iter().map(|change| ("change", change.clone())));
    let total = short(demand.total);
    facts.push((
        "demand",
        format!("{total} {} ({})", demand.unit, demand.source),
    ));
    if demand.unlocated > 0.0005 {
        let share = percent(demand.unlocated);
        facts.push(("", format!("of {share} of it nobody knows where")));
    }
    if let (Some(load), Some(source)) = (demand.load, &demand.load_source) {
        let load = short(load);
        facts.push(("load", format!("{load} in the unit of capacity ({source})")));
    }
    if let Some(measured) = &planned.measured {
        facts.push(("measured", measured.clone()));
    }
    facts.extend(settled(plan).map(|text| ("settling", text)));
    let line = &plan.estimate;
    let from = match line.pairs {
        0 => "nothing is measured".to_owned(),
        pairs => format!("fitted to {pairs} measured pairs"),
    };
    facts.push(("estimate", format!("round trip = {line} ({from})")));
    facts
}

/// Whether the controller came to rest: before the change too, where that says something else.
fn settled(plan: &Plan) -> impl Iterator<Item = String> {
    let one = |settled: &Settling, when: &str| {
        let time = |s: &u32| span(Duration::from_secs((*s).into()));
        match settled {
            Settling::Idle => None,
            Settling::Settled { after_s } => Some(format!("settled {when}in {}", time(after_s))),
            Settling::Unsettled {
                after_s,
                spent,
                ranges,
            } => Some(unsettled(when, &time(after_s), *spent, ranges)),
        }
    };
    let (then, now) = match plan.changes.is_empty() {
        true => ("", ""),
        false => ("before the change ", "after the change "),
    };
    let before = one(&plan.settled_before, then).filter(|_| !plan.changes.is_empty());
    before.into_iter().chain(one(&plan.settled, now))
}

/// That it did not, why not, and what it is worth to read on.
fn unsettled(when: &str, time: &str, spent: bool, ranges: &[Range]) -> String {
    let moved = match ranges {
        [] => String::new(),
        ranges => format!("; in the last ten minutes {}", swings(ranges)),
    };
    match spent {
        true => format!(
            "not at rest {when}after {time}, as far as a plan looks in a world as hard as this; what is shown is that moment{moved}"
        ),
        false => format!("did not settle {when}in {time}; what is shown is that moment{moved}"),
    }
}

fn swings(ranges: &[Range]) -> String {
    let shown = ranges.iter().take(SWINGS).map(|one| {
        let (low, high) = (percent(one.low), percent(one.high));
        format!("{} had {low} to {high}", one.pop)
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if ranges.len() > SWINGS {
        let _ = write!(text, ", and {} others moved", ranges.len() - SWINGS);
    }
    text
}

fn pops(plan: &Plan, style: Style) -> String {
    let loads = plan.pops.iter().any(|row| row.load_after.is_some());
    let mut table = match loads {
        true => Table::new(&[
            "POP",
            ">BEFORE",
            ">AFTER",
            ">CHANGE",
            ">LOAD BEFORE",
            ">AFTER",
            "",
        ]),
        false => Table::new(&["POP", ">BEFORE", ">AFTER", ">CHANGE", ""]),
    };
    for row in &plan.pops {
        let change = row.share_after - row.share_before;
        let strain = match row.strain {
            Strain::None => None,
            Strain::OverTarget => Some((Paint::Warn, "over target")),
            Strain::OverCapacity => Some((Paint::Bad, "over capacity")),
        };
        let note = match (row.state, strain) {
            ("", None) => Cell::new(""),
            ("", Some((paint, strain))) => Cell::painted(paint, strain),
            (state, None) => Cell::painted(Paint::of_state(state), state),
            (state, Some((paint, strain))) => Cell::painted(paint, format!("{state}, {strain}")),
        };
        let mut cells = vec![
            Cell::new(&row.pop),
            Cell::new(percent(row.share_before)),
            Cell::new(percent(row.share_after)),
            Cell::new(if change.abs() < 5e-5 {
                String::new()
            } else {
                format!("{:+.2}", change * 100.0)
            }),
        ];
        if loads {
            cells.push(Cell::new(ratio(row.load_before)));
            cells.push(Cell::new(ratio(row.load_after)));
        }
        cells.push(note);
        table.row(cells);
    }
    let mut out = table.render(style, 0);
    if plan.last_resort_after > 0.0 {
        let text = format!(
            "{} of clients get a last resort: nothing that may be handed out to them is usable",
            percent(plan.last_resort_after)
        );
        let _ = writeln!(out, "\n{}", style.paint(Paint::Bad, &text));
    }
    out
}

fn round_trips(plan: &Plan, style: Style) -> String {
    let (before, after) = (&plan.rtt_before, &plan.rtt_after);
    let mut table = Table::new(&["ESTIMATED RTT", ">BEFORE", ">AFTER", ">CHANGE"]);
    for (name, before, after) in [
        ("mean", before.mean, after.mean),
        ("p50", before.p50, after.p50),
        ("p90", before.p90, after.p90),
        ("p99", before.p99, after.p99),
    ] {
        let change = before
            .zip(after)
            .map(|(a, b)| b - a)
            .filter(|c| c.abs() >= 0.05);
        table.row(vec![
            Cell::new(name),
            Cell::new(ms(before)),
            Cell::new(ms(after)),
            Cell::new(change.map_or_else(String::new, |c| format!("{c:+.1}"))),
        ]);
    }
    let share = |q: &Quantiles| q.within_100_ms.map_or_else(|| "-".to_owned(), percent);
    let change = before
        .within_100_ms
        .zip(after.within_100_ms)
        .map(|(a, b)| (b - a) * 100.0);
    table.row(vec![
        Cell::new("within 100 ms"),
        Cell::new(share(before)),
        Cell::new(share(after)),
        Cell::new(
            change
                .filter(|c| c.abs() >= 0.005)
                .map_or_else(String::new, |c| format!("{c:+.2}")),
        ),
    ]);
    if before.unknown.max(after.unknown) > 0.0 {
        table.row(vec![
            Cell::new("not known of"),
            Cell::new(percent(before.unknown)),
            Cell::new(percent(after.unknown)),
            Cell::new(""),
        ]);
    }
    table.render(style, 0)
}

fn moves(plan: &Plan, style: Style) -> String {
    if plan.moves.is_empty() {
        return "\nNo client moves.\n".to_owned();
    }
    let added = &plan.rtt_added;
    let mut out = format!("\n{} of clients move", percent(plan.moved));
    if let (Some(p50), Some(p90), Some(p99)) = (added.p50, added.p90, added.p99) {
        let _ = write!(
            out,
            "; their round trip changes by {p50:+.1} ms (p50), {p90:+.1} (p90), {p99:+.1} (p99)"
        );
    }
    out.push_str(":\n");
    let mut table = Table::new(&["FROM", "TO", ">CLIENTS"]);
    for one in plan.moves.iter().take(MOVES) {
        table.row(vec![
            Cell::new(&one.from),
            Cell::new(&one.to),
            Cell::new(percent(one.share)),
        ]);
    }
    out.push_str(&table.render(style, 2));
    let rest = plan.moves.iter().skip(MOVES);
    let share: f64 = rest.clone().map(|one| one.share).sum();
    if rest.len() > 0 {
        let _ = writeln!(out, "  and {} other ways, {}", rest.len(), percent(share));
    }
    out
}

fn overload(plan: &Plan, style: Style) -> String {
    let list = |strain: Strain, paint: Paint, what: &str| {
        let names: Vec<String> = plan
            .pops
            .iter()
            .filter(|row| row.strain == strain)
            .map(|row| format!("{} {}", clean(&row.pop), ratio(row.load_after)))
            .collect();
        match names.is_empty() {
            true => String::new(),
            false => format!("{} {}\n", style.paint(paint, what), names.join(", ")),
        }
    };
    let over = list(Strain::OverCapacity, Paint::Bad, "Over capacity:")
        + &list(Strain::OverTarget, Paint::Warn, "Over target:");
    if over.is_empty() {
        over
    } else {
        format!("\n{over}")
    }
}

fn failures(plan: &Plan, style: Style) -> String {
    if plan.failures.is_empty() {
        return String::new();
    }
    let loads = plan.failures.iter().any(|one| one.worst_load.is_some());
    let mut table = Table::new(&[
        "DOWN",
        ">MOVES",
        "MOST LOADED",
        if loads { ">LOAD" } else { ">SHARE" },
        ">P50 MS",
        ">P99 MS",
        "",
    ]);
    for one in plan.failures.iter().take(FAILURES) {
        table.row(vec![
            Cell::new(&one.pop),
            Cell::new(percent(one.moved)),
            Cell::new(one.worst.as_deref().unwrap_or("-")),
            Cell::new(if loads {
                ratio(one.worst_load)
            } else {
                percent(one.worst_share)
            }),
            Cell::new(added(one.rtt.p50, plan.rtt_after.p50)),
            Cell::new(added(one.rtt.p99, plan.rtt_after.p99)),
            verdict(one),
        ]);
    }
    let mut out = format!(
        "\nIf one PoP more fails{}:\n",
        match plan.failures.len() {
            all if all > FAILURES => format!(" (the worst {FAILURES} of {all})"),
            _ => String::new(),
        }
    );
    out.push_str(&table.render(style, 2));
    if let Some(rest) = &plan.failures_left_out {
        let (pops, share) = (rest.pops, percent(rest.share));
        let _ = writeln!(
            out,
            "  and {pops} with smaller shares, at most {share}, that were not worked out: it would take too long"
        );
    }
    out
}

fn verdict(one: &Failure) -> Cell {
    match one {
        one if one.last_resort > 0.0 => Cell::painted(
            Paint::Bad,
            format!("{} get a last resort", percent(one.last_resort)),
        ),
        one if one.over_capacity > 0 => {
            Cell::painted(Paint::Bad, format!("{} over capacity", one.over_capacity))
        }
        one if one.over_target > 0 => {
            Cell::painted(Paint::Warn, format!("{} over target", one.over_target))
        }
        _ => Cell::new(""),
    }
}

fn added(now: Option<f64>, then: Option<f64>) -> String {
    match now.zip(then) {
        Some((now, then)) => format!("{:+.1}", now - then),
        None => "-".to_owned(),
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn ratio(load: Option<f64>) -> String {
    load.map_or_else(|| "-".to_owned(), |load| format!("{load:.2}"))
}

fn ms(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"))
}

/// A number with at most four digits before its power of 1,000.
fn short(number: f64) -> String {
    let powers = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match powers.iter().find(|(power, _)| number >= 10.0 * power) {
        Some((power, letter)) => format!("{:.0} {letter}", number / power),
        None => format!("{number:.0}"),
    }
}
