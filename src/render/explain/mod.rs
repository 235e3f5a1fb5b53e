//! `meridian explain`. Drawn from the JSON of the API, so that text and JSON cannot differ and a
//! newer server can be asked by an older command.

mod told;

use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;

use super::{
    Cell, Paint, Style, Table, clean, span,
    status::{self, level},
};
pub(crate) use told::Explained;
use told::{Anycast, Candidate, Held, Latency, Load, Location, Weights};

/// The decision first, then what led to it.
pub(crate) fn explanation(e: &Explained, now: Timestamp, style: Style) -> String {
    let mut out = format!(
        "{} {} for {}/{}: ",
        clean(e.asked.as_deref().unwrap_or(&e.service)),
        clean(&e.family),
        clean(&e.client.address),
        e.client.source_len
    );
    let chosen = match (&e.chosen, e.addresses.is_empty()) {
        (Some(pop), _) => clean(pop).into_owned(),
        (None, false) if e.reason == "anycast" => "the pool's anycast address".to_owned(),
        (None, false) => "the pool's fallback".to_owned(),
        (None, true) => "no address".to_owned(),
    };
    out.push_str(&style.paint(Paint::Bold, &chosen));
    let _ = writeln!(out, "\n{}\n", clean(&e.why));
    for (key, value) in facts(e) {
        let key = style.paint(Paint::Dim, &format!("{key:<8}"));
        let _ = writeln!(out, "{key} {}", clean(&value));
    }
    let _ = write!(out, "\n{}", candidates(e).render(style, 0));
    let loaded = e.candidates.iter().map(|one| {
        let load = one.load.as_ref();
        (
            one.pop.as_str(),
            load.and_then(|load| load.reading.as_ref()),
        )
    });
    if let Some(table) = status::loads(loaded, now) {
        let _ = write!(out, "\n{}", table.render(style, 0));
    }
    if let Some(text) = not_measured(e) {
        let _ = writeln!(out, "\n{}", style.paint(Paint::Dim, &clean(&text)));
    }
    out
}

fn facts(e: &Explained) -> Vec<(&'static str, String)> {
    let check = match &e.check {
        Some(check) => format!("check {check}"),
        None => "never tested".to_owned(),
    };
    let mut pool = format!("{}, {check}, policy {}", e.pool, e.policy);
    if e.policy == "score" {
        let _ = write!(pool, ", tolerance {} ms", e.tolerance_ms);
    }
    let addresses = match e.addresses.len() {
        0 => "none (NODATA)".to_owned(),
        _ => e.addresses.join(" "),
    };
    let name = name(e).map(|text| ("name", text)).into_iter();
    let facts = vec![
        ("answer", addresses),
        (
            "ttl",
            match &e.ttl_why {
                Some(why) => format!("{} s, {why}", e.ttl),
                None => format!("{} s", e.ttl),
            },
        ),
        ("scope", scope(e)),
        (
            "level",
            format!("{}, {}", e.level_number, level(e.level_number).1),
        ),
        (
            "client",
            format!("{}, judged as {}", location(&e.location), e.block),
        ),
        ("pool", pool),
    ];
    name.chain(facts)
        .chain(
            e.weights_in_force
                .as_ref()
                .map(|one| ("score", score(e, one))),
        )
        .chain(e.standing.as_ref().map(|held| ("home", home(e, held))))
        .chain(e.anycast.as_ref().map(|one| ("anycast", anycast(one))))
        .collect()
}

/// How the name leads to the service; `None`: it is the service's own.
fn name(e: &Explained) -> Option<String> {
    // RFC 4343: names differ not by case.
    let is_own = |name: &&String| name.eq_ignore_ascii_case(&e.service);
    let asked = e.asked.as_ref().filter(|asked| !is_own(asked))?;
    let mut text = match e.aliases.is_empty() {
        true => asked.clone(),
        false => format!("alias: {asked} -> {}", e.aliases.join(" -> ")),
    };
    if !is_own(&e.aliases.last().unwrap_or(asked)) {
        let _ = write!(text, ", covered by {}", e.service);
    }
    Some(text)
}

/// What is not measured for any PoP of the pool.
fn not_measured(e: &Explained) -> Option<String> {
    let is = |term: &str| e.not_measured.iter().any(|one| one == term);
    let load = e
        .weights_in_force
        .as_ref()
        .is_some_and(|one| one.load > 0.0);
    match (is("latency"), is("load") && load) {
        (true, true) => Some("No latency is measured, it is estimated; no load is known."),
        (true, false) => Some("No latency is measured: it is estimated from the distance."),
        (false, true) => Some("No load is known: the term is the same for all."),
        (false, false) => None,
    }
    .map(str::to_owned)
}

/// The weights that count, and the estimate.
fn score(e: &Explained, weights: &Weights) -> String {
    let mut text = format!(
        "{:.2} distance + {:.2} latency",
        weights.distance, weights.latency
    );
    if weights.load > 0.0 {
        let _ = write!(text, " + {:.2} price", weights.load);
    }
    text.push_str(" - bias");
    if let Some(line) = &e.line {
        let of = match line.pairs {
            0 => "default".to_owned(),
            pairs => format!("fitted to {pairs} pairs"),
        };
        let _ = write!(
            text,
            "; latency estimated as {:.1} + {:.2} ms per 100 km ({of})",
            line.intercept_ms, line.ms_per_100km
        );
    }
    text
}

/// Who holds the place, and what it takes to change that.
fn home(e: &Explained, held: &Held) -> String {
    let mut text = format!(
        "{}, until another is better by {:.1} ms",
        held.home, held.margin_ms
    );
    if let (Some(better), Some(by)) = (&held.better, held.better_by_ms) {
        let _ = write!(text, "; {better} is by {by:.1} ms");
    }
    if let Some(prefix) = &e.exception {
        let _ = write!(text, "; {prefix} is judged by its own latency");
    }
    text
}

/// A round trip with its source, and what it rests on.
fn latency_of(one: &Candidate) -> String {
    let Some(terms) = &one.terms else {
        return String::new();
    };
    let mut text = format!("{:.1} {}", terms.latency_ms, terms.latency_from);
    if let Some(measured) = &one.latency {
        let _ = write!(text, ", {}", rests_on(measured));
    }
    text
}

/// How many samples, and how old the newest is.
fn rests_on(measured: &Latency) -> String {
    let age = span(Duration::from_secs(measured.age_s));
    let samples = if measured.samples == 1 {
        "sample"
    } else {
        "samples"
    };
    format!("{} {samples}, {age} old", measured.samples)
}

/// What the load costs, and what is free.
fn price_of(one: &Candidate) -> String {
    let Some(load) = &one.load else {
        return String::new();
    };
    let price = match (load.price_ms, &one.terms) {
        (Some(price), _) => format!("{price:.1}, {}", free_of(load)),
        (None, Some(terms)) if terms.load_counted_ms > 0.0 => {
            format!("unknown, {:.1} counts", terms.load_counted_ms)
        }
        (None, _) => "unknown".to_owned(),
    };
    match load.ramp < 1.0 {
        true => format!("{price}, grown to {:.0} %", load.ramp * 100.0),
        false => price,
    }
}

/// The free capacity that counts; it begins at all of it and follows what is read in minutes.
fn free_of(load: &Load) -> String {
    let counted = format!("{:.0} % free", load.free * 100.0);
    let read = load.reading.as_ref().and_then(|one| one.ratio);
    match read.map(|ratio| (1.0 - ratio).max(0.0)) {
        Some(read) if (read - load.free).abs() >= 0.1 => {
            format!("{counted} counts, {:.0} % read", read * 100.0)
        }
        _ => counted,
    }
}

/// The address, what was measured of it, and who is better.
fn anycast(one: &Anycast) -> String {
    let figure = |latency: &Option<Latency>| match latency {
        Some(one) => format!("{:.1} ms ({})", one.p25_ms, rests_on(one)),
        None => "not measured".to_owned(),
    };
    let mut text = format!("{}, {}", one.address, figure(&one.latency));
    if let Some(better) = &one.better {
        let force = match better.in_force {
            true => "in force",
            false => "not yet in force",
        };
        let _ = write!(
            text,
            "; {} {}, better by {} ms in {} of the last 24 windows, {force}",
            better.pop,
            figure(&better.latency),
            one.margin_ms,
            better.windows
        );
    }
    text
}

/// The reason starts with the number in most cases.
fn scope(e: &Explained) -> String {
    let number = e.scope.to_string();
    match e.scope_why.strip_prefix(&number) {
        Some(rest) => format!("/{number}{rest}"),
        None => format!("/{number}: {}", e.scope_why),
    }
}

fn location(l: &Location) -> String {
    let mut parts = Vec::new();
    parts.extend(l.city.clone());
    parts.extend(l.cell_data.as_ref().and_then(|area| area.country.clone()));
    if let Some(at) = &l.location {
        parts.push(format!("{:.2} {:.2}", at.latitude, at.longitude));
    }
    if parts.is_empty() {
        return "location unknown".to_owned();
    }
    let source = match (&*l.source.kind, &l.source.of) {
        ("network", Some(prefix)) => format!("[[geo.network]] {prefix}"),
        (_, Some(file)) => file.clone(),
        (kind, None) => kind.to_owned(),
    };
    format!("{} (by {source})", parts.join(", "))
}

fn candidates(e: &Explained) -> Table {
    let with_load = e.candidates.iter().any(|one| one.load.is_some());
    let with_share = e.candidates.iter().any(|one| one.share.is_some());
    let bias = |one: &Candidate| one.terms.as_ref().map(|terms| terms.bias_ms);
    let with_bias = e
        .candidates
        .iter()
        .any(|one| bias(one).is_some_and(|ms| ms != 0.0));
    let mut names = vec!["", "POP", ">KM", ">DISTANCE MS", "LATENCY MS"];
    names.extend(with_load.then_some("PRICE MS"));
    names.extend(with_bias.then_some(">BIAS MS"));
    names.push(">SCORE MS");
    names.extend(with_share.then_some(">SHARE"));
    names.extend([">WEIGHT", "HEALTH", "WHY"]);
    let mut table = Table::new(&names);
    for candidate in &e.candidates {
        let health = match candidate.drained {
            true => "drained",
            false => &candidate.verdict,
        };
        let name = match (candidate.chosen, candidate.excluded) {
            (true, _) => Paint::Bold,
            (_, true) => Paint::Dim,
            _ => Paint::Plain,
        };
        let number = |n: Option<f64>, digits: usize| {
            Cell::new(n.map_or_else(String::new, |n| format!("{n:.digits$}")))
        };
        let distance = candidate.terms.as_ref().and_then(|terms| terms.distance_ms);
        let share = candidate
            .share
            .map(|share| format!("{:.0} %", share * 100.0));
        let mut row = vec![
            Cell::painted(Paint::Good, if candidate.chosen { "->" } else { "" }),
            Cell::painted(name, &candidate.pop),
            number(candidate.distance_km, 0),
            number(distance, 1),
            Cell::new(latency_of(candidate)),
        ];
        row.extend(with_load.then(|| Cell::new(price_of(candidate))));
        row.extend(with_bias.then(|| number(bias(candidate), 1)));
        row.push(number(candidate.score_ms, 1));
        row.extend(with_share.then(|| Cell::new(share.unwrap_or_default())));
        row.extend([
            Cell::new(candidate.weight.to_string()),
            Cell::painted(Paint::of_state(health), health),
            Cell::new(&candidate.why),
        ]);
        table.row(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_capacity_that_lags_is_told_with_what_is_read() {
        let told = |free: f64, ratio: Option<f64>| {
            let reading = ratio.map(|ratio| {
                serde_json::json!({"state": "fresh", "ratio": ratio, "value": null,
                    "capacity": null, "what": "a", "source": "b", "at": null})
            });
            let load = serde_json::json!({"price_ms": 0.0, "free": free, "ramp": 1.0,
                "reading": reading});
            free_of(&serde_json::from_value(load).unwrap())
        };
        assert_eq!(told(1.0, None), "100 % free");
        assert_eq!(told(1.0, Some(0.5)), "100 % free counts, 50 % read");
        assert_eq!(told(0.52, Some(0.5)), "52 % free");
        assert_eq!(told(0.3, Some(7.0)), "30 % free counts, 0 % read");
    }

    #[test]
    fn golden() {
        let candidate = |pop: &str, km: f64, why: &str| {
            let reading = serde_json::json!({"state": "stale", "ratio": 0.5, "value": 50.0,
                "capacity": 100.0, "what": "load", "source": "push", "at": "2026-11-20T21:00:00Z", "problem": "no answer"});
            let latency = serde_json::json!({"p25_ms": 5.0, "samples": 20, "age_s": 65});
            let is_near = pop == "nrt";
            serde_json::json!({
                "pop": pop, "distance_km": km, "score_ms": km / 100.0, "weight": 100,
                "terms": {"distance_ms": km / 100.0, "latency_ms": km / 50.0,
                    "latency_from": if is_near { "cell" } else { "estimate" },
                    "load_counted_ms": 1.5, "bias_ms": if is_near { 2.0 } else { 0.0 }},
                "latency": is_near.then_some(latency),
                "load": {"price_ms": is_near.then_some(1.5), "free": 0.5, "ramp": 1.0,
                    "reading": is_near.then_some(reading)}, "share": 0.5,
                "verdict": "up", "drained": pop == "fra", "chosen": pop == "nrt",
                "excluded": pop == "fra", "why": why
            })
        };
        let json = serde_json::json!({
            "service": "*.example.com.", "asked": "shop.example.com.",
            "aliases": ["a.example.com.", "b.example.com."], "pool": "edge", "check": "edge", "family": "A",
            "policy": "score", "tolerance_ms": 5.0, "not_measured": [],
            "weights_in_force": {"distance": 0.3, "latency": 0.4, "load": 0.3},
            "line": {"intercept_ms": 5.0, "ms_per_100km": 1.5, "pairs": 0},
            "standing": {"home": "nrt", "margin_ms": 3.0, "better": null, "better_by_ms": null},
            "client": {"address": "133.11.0.0", "source_len": 24, "origin": "ecs"},
            "block": "133.11.0.0/24",
            "location": {"city": "Tokyo\u{1b}", "location": {"latitude": 35.6, "longitude": 139.7},
                "cell_data": {"country": "JP"}, "source": {"kind": "database", "of": "bundled"}},
            "candidates": [candidate("nrt", 290.4, "best score"), candidate("fra", 9320.0, "drained")],
            "addresses": ["192.0.2.30"], "chosen": "nrt", "why": "nrt is nearest",
            "level_number": 1, "ttl": 30, "scope": 8, "scope_why": "8: as wide as the geo data says"
        });
        let explained: Explained = serde_json::from_value(json).unwrap();
        let expected = "\
shop.example.com. A for 133.11.0.0/24: nrt
nrt is nearest

name     alias: shop.example.com. -> a.example.com. -> b.example.com., covered by *.example.com.
answer   192.0.2.30
ttl      30 s
scope    /8: as wide as the geo data says
level    1, distance
client   Tokyo\\u{1b}, JP, 35.60 139.70 (by bundled), judged as 133.11.0.0/24
pool     edge, check edge, policy score, tolerance 5 ms
score    0.30 distance + 0.40 latency + 0.30 price - bias; latency estimated as 5.0 + 1.50 ms per 100 km (default)
home     nrt, until another is better by 3.0 ms

    POP    KM  DISTANCE MS  LATENCY MS                       PRICE MS             BIAS MS  SCORE MS  SHARE  WEIGHT  HEALTH   WHY
->  nrt   290          2.9  5.8 cell, 20 samples, 1m 5s old  1.5, 50 % free           2.0       2.9   50 %     100  up       best score
    fra  9320         93.2  186.4 estimate                   unknown, 1.5 counts      0.0      93.2   50 %     100  drained  drained

POP  LOAD  STATE  AGE     OF         WHAT  SOURCE  PROBLEM
nrt  50 %  stale  1m 30s  50 of 100  load  push    silent for 1m 30s: no answer
";
        let now = "2026-11-20T21:01:30Z".parse().unwrap();
        assert_eq!(explanation(&explained, now, Style::PLAIN), expected);
        let mut own = explained;
        own.aliases.clear();
        own.asked = Some("*.EXAMPLE.com.".to_owned());
        assert_eq!(name(&own), None, "it is asked for by its own name");
    }
}
