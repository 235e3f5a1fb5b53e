//! `meridian announcements`.

use std::{fmt::Write as _, time::Duration};

use super::{Cell, Paint, Style, Table, clean, one_line, span};
use crate::runtime::site::state::{Announcements, PeerState, PrefixState, Route};

/// The whole page; `explain` adds why each prefix is as it is, and what it waits for.
pub(crate) fn announcements(all: &Announcements, explain: bool, style: Style) -> String {
    if all.site.is_empty() {
        return "This server announces nothing: [bgp] is not configured.\n".to_owned();
    }
    let mut out = format!("Site {}\n", clean(&all.site));
    if all.drained {
        let text = "drained by an operator";
        let _ = writeln!(out, "{}", style.paint(Paint::Warn, text));
    }
    if all.dry_run {
        let text = "dry_run: this is only decided, nothing is sent";
        let _ = writeln!(out, "{}", style.paint(Paint::Warn, text));
    }
    for alarm in &all.alarms {
        let text = format!("ALARM  {}", one_line(alarm));
        let _ = writeln!(out, "{}", style.paint(Paint::Bad, &text));
    }
    out.push('\n');
    out.push_str(&prefixes(&all.prefixes).render(style, 0));
    if explain {
        for one in &all.prefixes {
            out.push_str(&explanation(one));
        }
    }
    out.push('\n');
    out.push_str(&peers(&all.peers).render(style, 0));
    for peer in &all.peers {
        for line in peer.lint.iter().chain(&peer.refused) {
            let _ = writeln!(out, "{}: {}", clean(&peer.name), one_line(line));
        }
    }
    for hole in &all.blackholes {
        let text = format!("{hole} is blackholed by an operator");
        let _ = writeln!(out, "{}", style.paint(Paint::Warn, &text));
    }
    for address in &all.addresses {
        if let Some(problem) = &address.problem {
            let _ = writeln!(out, "{}: {}", address.address, one_line(problem));
        }
    }
    for note in &all.notes {
        let _ = writeln!(out, "note: {}", one_line(note));
    }
    out
}

/// The prefixes, a line each.
pub(super) fn prefixes(all: &[PrefixState]) -> Table {
    let mut table = Table::new(&["PREFIX", "STAGE", "FOR", "SENT TO", "QUERIES/S", "WHY"]);
    for one in all {
        let sent: Vec<&str> = one.sent.iter().map(|s| s.peer.as_str()).collect();
        let queries = one.queries_per_second.map(|rate| format!("{rate:.1}"));
        table.row(vec![
            Cell::painted(Paint::Bold, one.prefix.to_string()),
            Cell::painted(paint(&one.stage), &one.stage),
            Cell::new(span(Duration::from_secs(one.stage_seconds))),
            Cell::new(if sent.is_empty() {
                "nobody".to_owned()
            } else {
                sent.join(" ")
            }),
            Cell::new(queries.unwrap_or_default()),
            Cell::new(one_line(&one.why)),
        ]);
    }
    table
}

fn paint(stage: &str) -> Paint {
    match stage {
        "up" => Paint::Good,
        "pinned" | "suppressed" => Paint::Bad,
        _ => Paint::Warn,
    }
}

fn explanation(one: &PrefixState) -> String {
    let mut out = format!("\n{}\n", one.prefix);
    let mut line = |what: &str, text: Option<String>| {
        if let Some(text) = text {
            let _ = writeln!(out, "  {what:<10} {}", one_line(&text));
        }
    };
    line("stage", Some(format!("{}: {}", one.stage, one.why)));
    line("waits for", one.waits_for.clone());
    line(
        "next",
        one.next_change_seconds
            .map(|seconds| format!("may change by itself in {seconds:.1} s")),
    );
    line("desired", one.desired.as_ref().map(route));
    if one.desired.is_none() {
        line("desired", Some("withdrawn".to_owned()));
    }
    for sent in &one.sent {
        line(
            "sent",
            Some(format!("{}: {}", sent.peer, route(&sent.route))),
        );
    }
    line("not sent", one.not_sent.clone());
    line("refusal", one.refusal.clone());
    line("self-probe", one.probe.clone());
    out
}

fn route(route: &Route) -> String {
    let mut out = if route.next_hop.is_unspecified() {
        "next hop: the session's local address".to_owned()
    } else {
        format!("next hop {}", route.next_hop)
    };
    let _ = write!(out, ", MED {}", route.med);
    if route.prepend > 0 {
        let _ = write!(out, ", prepended {} times", route.prepend);
    }
    if !route.communities.is_empty() {
        let _ = write!(out, ", communities {}", route.communities.join(" "));
    }
    out
}

fn peers(all: &[PeerState]) -> Table {
    let mut table = Table::new(&[
        "PEER",
        "ADDRESS",
        "AS",
        "SESSION",
        "FOR",
        "BFD",
        "LAST ERROR",
    ]);
    for peer in all {
        let paint = match peer.state.as_str() {
            "established" => Paint::Good,
            _ => Paint::Bad,
        };
        table.row(vec![
            Cell::painted(Paint::Bold, &peer.name),
            Cell::new(peer.address.to_string()),
            Cell::new(peer.remote_as.to_string()),
            Cell::painted(paint, &peer.state),
            Cell::new(span(Duration::from_secs(peer.state_seconds))),
            Cell::new(peer.bfd.as_deref().unwrap_or("-")),
            Cell::new(one_line(peer.last_error.as_deref().unwrap_or(""))),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(explain: bool) -> String {
        let all = serde_json::from_value(serde_json::json!({
            "site": "fra", "drained": false, "dry_run": false, "notes": ["n"], "alarms": ["a\nb"], "addresses": [],
            "blackholes": ["192.0.2.54/32"],
            "prefixes": [{
                "prefix": "192.0.2.53/32", "stage": "pinned", "stage_seconds": 61,
                "why": "our own probes fail: UDP 192.0.2.53:53: no answer within 200 ms",
                "refusal": "withdraw refused: would leave 1 < min_sites 2",
                "desired": {"next_hop": "0.0.0.0", "med": 100, "prepend": 3,
                    "communities": ["65535:0"]},
                "sent": [], "not_sent": "not sent: dry run"
            }],
            "peers": [{
                "name": "tor1", "address": "10.99.0.1", "remote_as": 64500, "state": "active",
                "state_seconds": 5, "last_error": "hold timer \u{1b}[31mexpired", "lint": [],
                "refused": [], "ignored": 0
            }]
        }));
        announcements(&all.unwrap(), explain, Style::PLAIN)
    }

    #[test]
    fn everything_that_matters_is_on_the_page() {
        let short = page(false);
        assert!(
            short.contains("pinned") && short.contains("nobody"),
            "{short}"
        );
        assert!(!short.contains("would leave"), "{short}");
        let long = page(true);
        for part in [
            "withdraw refused: would leave 1 < min_sites 2",
            "MED 100, prepended 3 times, communities 65535:0",
            "not sent: dry run",
        ] {
            assert!(long.contains(part), "{part}: {long}");
        }
    }

    #[test]
    fn row_15_text_of_peers_reaches_no_terminal_as_control() {
        let hostile = |c: char| c.is_control() && c != '\n';
        assert!(!page(true).contains(hostile));
    }

    #[test]
    fn a_server_without_bgp_says_so() {
        let page = announcements(&Announcements::default(), true, Style::PLAIN);
        assert!(page.contains("[bgp] is not configured"));
    }
}
