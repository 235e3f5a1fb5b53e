//! `meridian status`.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use jiff::Timestamp;
use meridian_health_prober::LoadState;

use super::{Cell, Paint, Style, Table, announcements::prefixes, clean, one_line, span};
use crate::runtime::status::{AnomalyStatus, EndpointStatus, LoadStatus, PopStatus, Status};

/// How the reason of a probe begins that could not be carried out.
const NOT_PROBED: &str = "not probed: ";

/// The whole page. `now` is when the answer was received.
pub(crate) fn status(status: &Status, now: Timestamp, style: Style) -> String {
    let mut out = heading(status, now, style);
    for alarm in &status.alarms {
        let text = format!("ALARM  {}", one_line(alarm));
        let _ = writeln!(out, "{}", style.paint(Paint::Bad, &text));
    }
    out.push('\n');
    if !status.anomalies.is_empty() {
        out.push_str(&anomalies(&status.anomalies, now).render(style, 0));
        out.push('\n');
    }
    out.push_str(&pops(&status.pops, now).render(style, 0));
    let broken = endpoints(&status.pops, now);
    if let Some(table) = broken {
        let _ = write!(
            out,
            "\nEndpoints that are not up, or cannot be probed:\n{}",
            table.render(style, 2)
        );
    }
    let pops = status.pops.iter();
    let loaded = pops.map(|pop| (pop.name.as_str(), pop.load.as_ref()));
    if let Some(table) = loads(loaded, now) {
        let _ = write!(out, "\n{}", table.render(style, 0));
    }
    out.push('\n');
    out.push_str(&services(status).render(style, 0));
    out.push('\n');
    if let Some(announced) = &status.announcements {
        out.push_str(&prefixes(&announced.prefixes).render(style, 0));
        out.push('\n');
    }
    out.push_str(&geo(status, now).render(style, 0));
    out
}

fn heading(status: &Status, now: Timestamp, style: Style) -> String {
    let config = &status.config;
    let mut out = format!(
        "meridian {}, answering since {} ({})\n{}, loaded {} ago, generation {}\n",
        clean(&status.version),
        status.started.strftime("%Y-%m-%d %H:%M:%SZ"),
        ago(status.started, now),
        clean(&config.file),
        ago(config.loaded, now),
        status.generation,
    );
    if config.last_good {
        let text = "The files could not be read at start: this is the last good state.";
        let _ = writeln!(out, "{}", style.paint(Paint::Bad, text));
    }
    if !config.last_reload_successful {
        let why = config.refused.as_deref().unwrap_or("");
        let text = format!("The newest reload was refused: {}", one_line(why));
        let _ = writeln!(out, "{}", style.paint(Paint::Bad, &text));
    }
    out
}

fn pops(pops: &[PopStatus], now: Timestamp) -> Table {
    let mut table = Table::new(&["POP", "STATE", "FOR", "ENDPOINTS", "POOLS", "WHY"]);
    for pop in pops {
        // An endpoint under several checks stands there once for each.
        let all: BTreeSet<_> = pop.endpoints.iter().map(|e| e.address).collect();
        let down = pop.endpoints.iter().filter(|e| e.verdict == "down");
        let down: BTreeSet<_> = down.map(|e| e.address).collect();
        let since = match &pop.override_ {
            Some(word) => Some(word.since),
            None => pop.since,
        };
        table.row(vec![
            Cell::painted(Paint::Bold, &pop.name),
            Cell::painted(Paint::of_state(pop.state.as_str()), pop.state.as_str()),
            Cell::new(since.map(|t| ago(t, now)).unwrap_or_default()),
            Cell::new(format!("{} of {}", all.len() - down.len(), all.len())),
            Cell::new(pools(&pop.pools)),
            Cell::new(why(pop, now)),
        ]);
    }
    table
}

/// The first pools; a PoP may stand in a hundred.
fn pools(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let (first, more) = names.split_at(names.len().min(SHOWN));
    let mut out = first.join(" ");
    if !more.is_empty() {
        let _ = write!(out, " and {} more", more.len());
    }
    out
}

/// The operator's word first, the verdict beside it.
fn why(pop: &PopStatus, now: Timestamp) -> String {
    let Some(word) = &pop.override_ else {
        return pop.reason.clone();
    };
    let mut out = format!("{} by operator", word.kind);
    if !word.reason.is_empty() {
        let _ = write!(out, ": {}", word.reason);
    }
    if let Some(until) = word.until {
        let _ = write!(out, " (ends in {})", ago(now, until));
    }
    let _ = write!(out, "; verdict {}", pop.verdict);
    if !pop.reason.is_empty() {
        let _ = write!(out, ": {}", pop.reason);
    }
    out
}

fn endpoints(pops: &[PopStatus], now: Timestamp) -> Option<Table> {
    let mut table = Table::new(&["POP", "ENDPOINT", "CHECK", "VERDICT", "FOR", "LAST PROBE"]);
    let mut any = false;
    for pop in pops {
        for endpoint in pop.endpoints.iter().filter(|e| is_worth_a_look(e)) {
            any = true;
            table.row(vec![
                Cell::new(&pop.name),
                Cell::new(endpoint.address.to_string()),
                Cell::new(endpoint.check.as_deref().unwrap_or("-")),
                Cell::painted(Paint::of_state(&endpoint.verdict), &endpoint.verdict),
                Cell::new(endpoint.since.map(|t| ago(t, now)).unwrap_or_default()),
                Cell::new(&endpoint.reason),
            ]);
        }
    }
    any.then_some(table)
}

/// Down, or with probes that say nothing. One that was not probed yet, or has no check, is as it should be.
fn is_worth_a_look(endpoint: &EndpointStatus) -> bool {
    endpoint.verdict == "down" || endpoint.reason.contains(NOT_PROBED)
}

/// What is known of the loads of these PoPs; `None`: none of them has a source.
pub(super) fn loads<'a>(
    pops: impl Iterator<Item = (&'a str, Option<&'a LoadStatus>)>,
    now: Timestamp,
) -> Option<Table> {
    let mut table = Table::new(&[
        "POP", "LOAD", "STATE", "AGE", "OF", "WHAT", "SOURCE", "PROBLEM",
    ]);
    let mut any = false;
    for (pop, load) in pops {
        let Some(load) = load else {
            continue;
        };
        any = true;
        let (paint, state) = match load.state {
            LoadState::Fresh => (Paint::Plain, "fresh"),
            LoadState::Stale => (Paint::Warn, "stale"),
            LoadState::Unknown => (Paint::Warn, "unknown"),
        };
        let percent = load.ratio.map(|ratio| format!("{:.0} %", 100.0 * ratio));
        let of = match (load.value, load.capacity) {
            (Some(value), Some(capacity)) => format!("{value:.0} of {capacity:.0}"),
            (Some(value), None) => format!("{value:.0}, never full"),
            (None, Some(capacity)) => format!("{capacity:.0}"),
            (None, None) => String::new(),
        };
        table.row(vec![
            Cell::painted(Paint::Bold, pop),
            Cell::new(percent.unwrap_or_else(|| "-".to_owned())),
            Cell::painted(paint, state),
            Cell::new(load.at.map(|at| ago(at, now)).unwrap_or_default()),
            Cell::new(of),
            Cell::new(&load.what),
            Cell::new(&load.source),
            Cell::new(problem(load, now)),
        ]);
    }
    any.then_some(table)
}

/// Since when a source has been silent, and why, as far as that is known.
fn problem(load: &LoadStatus, now: Timestamp) -> String {
    let silent = match (load.state, load.at) {
        (LoadState::Fresh, _) => None,
        (_, Some(at)) => Some(format!("silent for {}", ago(at, now))),
        (_, None) => Some("never told".to_owned()),
    };
    let known = [silent.as_deref(), load.problem.as_deref()];
    known.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

fn services(status: &Status) -> Table {
    let mut table = Table::new(&[
        "SERVICE",
        "POOL",
        "STEERED BY",
        "SHIFTS WITHIN",
        "LAST TIME",
    ]);
    let seconds = |time: Option<f64>| time.map_or("-".to_owned(), |s| format!("{s:.0} s"));
    for service in &status.services {
        let (paint, level) = level(service.level);
        table.row(vec![
            Cell::painted(Paint::Bold, &service.name),
            Cell::new(&service.pool),
            Cell::painted(paint, level),
            Cell::new(seconds(service.shift_bound_s)),
            Cell::new(seconds(service.shift_last_s)),
        ]);
    }
    table
}

/// What a rung of the ladder is called (`steering_level`).
pub(super) fn level(level: u8) -> (Paint, &'static str) {
    match level {
        0 => (Paint::Plain, "measurements"),
        1 => (Paint::Plain, "distance"),
        2 => (Paint::Plain, "configured order"),
        _ => (Paint::Bad, "last resort"),
    }
}

fn anomalies(all: &[AnomalyStatus], now: Timestamp) -> Table {
    let mut table = Table::new(&["ANOMALY", "WHERE", "FOR", "NOW", "WHEN IT BEGAN"]);
    for one in all {
        let factor = match one.kind.as_str() {
            "load" => "unknown".to_owned(),
            "geo" => format!("{:.1} times the age allowed", one.factor),
            _ => format!("{:.2} times the usual", one.factor),
        };
        table.row(vec![
            Cell::painted(Paint::Bad, &one.kind),
            Cell::new(&one.subject),
            Cell::new(ago(one.since, now)),
            Cell::new(factor),
            Cell::new(&one.message),
        ]);
    }
    table
}

fn geo(status: &Status, now: Timestamp) -> Table {
    let mut table = Table::new(&["GEO DATA", "TYPE", "LEVEL", "BUILT"]);
    for database in &status.geo {
        table.row(vec![
            Cell::new(&database.file),
            Cell::new(&database.database_type),
            Cell::new(&database.level),
            Cell::new(format!("{} ago", ago(database.built, now))),
        ]);
    }
    table
}

/// Time from `then` to `now`; nothing when the clocks disagree.
fn ago(then: Timestamp, now: Timestamp) -> String {
    let gone = now.duration_since(then);
    span(Duration::try_from(gone).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Status {
        serde_json::from_value(serde_json::json!({
            "version": "0.1.0",
            "started": "2026-11-20T20:00:00Z",
            "generation": 12,
            "config": {
                "file": "/etc/meridian/meridian.toml",
                "loaded": "2026-11-20T21:00:00Z",
                "last_reload_successful": false,
                "refused": "pool[0].pops: unknown PoP\nsecond",
                "last_good": false
            },
            "pops": [
                {"name": "fra", "latitude": 50.0, "longitude": 8.5, "weight": 100,
                 "state": "down", "verdict": "down", "reason": "1 of 1 endpoints down",
                 "since": "2026-11-20T22:58:00Z", "pools": ["edge", "a", "b", "c", "d", "e"],
                 "load": {"state": "stale", "ratio": 0.716, "value": 7160.0, "capacity": 10000.0,
                    "what": "active", "source": "http://192.0.2.10:9100/metrics",
                    "at": "2026-11-20T22:59:40Z", "problem": "connection refused"},
                 "endpoints": [{"address": "192.0.2.10", "check": "edge", "verdict": "down",
                    "reason": "connection refused", "since": "2026-11-20T22:58:00Z"}]},
                {"name": "iad", "latitude": 39.0, "longitude": -77.5, "weight": 100,
                 "state": "drained", "verdict": "up", "reason": "", "pools": ["edge"],
                 "override": {"kind": "drain", "reason": "switch\u{1b}[2J",
                    "since": "2026-11-20T22:00:00Z", "until": "2026-11-21T00:00:00Z"},
                 "endpoints": [{"address": "192.0.2.20", "check": "edge", "verdict": "up",
                    "reason": "pass", "rtt_ms": 0.4},
                    {"address": "192.0.2.20", "check": "ping", "verdict": "unknown",
                    "reason": "not probed: no permission"},
                    {"address": "192.0.2.20", "verdict": "unknown", "reason": "no check"}]}
            ],
            "services": [{"name": "www.example.com.", "pool": "edge", "level": 3, "shift_bound_s": 39.02, "shift_last_s": 36.2}],
            "geo": [{"file": "bundled", "database_type": "country", "level": "country",
                     "built": "2026-11-01T23:00:00Z"}],
            "alarms": ["disk full"],
            "anomalies": [
                {"kind": "share", "subject": "iad", "since": "2026-11-20T22:50:00Z", "factor": 4.128,
                 "message": "iad gets 41.0 % of the answers, usual are 10.0 %"},
                {"kind": "load", "subject": "fra", "since": "2026-11-20T22:59:00Z", "factor": 0.0,
                 "message": "the load of fra is no longer known: connection\u{1b} refused"}]
        }))
        .unwrap()
    }

    #[test]
    fn golden() {
        let now = "2026-11-20T23:00:00Z".parse().unwrap();
        let shown = status(&sample(), now, Style::PLAIN);
        let expected = r"meridian 0.1.0, answering since 2026-11-20 20:00:00Z (3h)
/etc/meridian/meridian.toml, loaded 2h ago, generation 12
The newest reload was refused: pool[0].pops: unknown PoP; second
ALARM  disk full

ANOMALY  WHERE  FOR  NOW                   WHEN IT BEGAN
share    iad    10m  4.13 times the usual  iad gets 41.0 % of the answers, usual are 10.0 %
load     fra    1m   unknown               the load of fra is no longer known: connection\u{1b} refused

POP  STATE    FOR  ENDPOINTS  POOLS                  WHY
fra  down     2m   0 of 1     edge a b c and 2 more  1 of 1 endpoints down
iad  drained  1h   1 of 1     edge                   drain by operator: switch\u{1b}[2J (ends in 1h); verdict up

Endpoints that are not up, or cannot be probed:
  POP  ENDPOINT    CHECK  VERDICT  FOR  LAST PROBE
  fra  192.0.2.10  edge   down     2m   connection refused
  iad  192.0.2.20  ping   unknown       not probed: no permission

POP  LOAD  STATE  AGE  OF             WHAT    SOURCE                          PROBLEM
fra  72 %  stale  20s  7160 of 10000  active  http://192.0.2.10:9100/metrics  silent for 20s: connection refused

SERVICE           POOL  STEERED BY   SHIFTS WITHIN  LAST TIME
www.example.com.  edge  last resort  39 s           36 s

GEO DATA  TYPE     LEVEL    BUILT
bundled   country  country  19d 0h ago
";
        assert_eq!(shown, expected);
    }
}
