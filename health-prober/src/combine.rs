//! Verdicts of several checks of one endpoint → one verdict.
//!
//! # Rules
//! Verdicts are combined as in three-valued logic (Kleene's), Unknown being the value that may yet be
//! either:
//!
//! | a       | b       | `all`   | `any`   |
//! |---------|---------|---------|---------|
//! | Up      | Up      | Up      | Up      |
//! | Up      | Unknown | Unknown | Up      |
//! | Up      | Down    | Down    | Up      |
//! | Unknown | Unknown | Unknown | Unknown |
//! | Unknown | Down    | Down    | Unknown |
//! | Down    | Down    | Down    | Down    |
//!
//! Unknown is usable, so an endpoint leaves answers only when what is known suffices for that.
//! Checks are combined for each endpoint first; `min_health` then judges the PoP by its endpoints. So
//! with `any`, a PoP half of whose endpoints pass one check and the other half the other is Up.
//!
//! A silent check (a passive one whose exporter is gone) is left out while another speaks: it is neither
//! the reason for Down, nor does it keep a dead endpoint usable under `any`. Where all are silent nobody
//! else can tell, and what they last said stays.

use std::time::{Duration, SystemTime};

use meridian_config::CheckRule;

use crate::{CheckHealth, EndpointHealth, Verdict};

/// The verdict over checks with these verdicts. Of no checks at all: Unknown.
pub fn combine(rule: CheckRule, verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    // What decides alone, whatever the others say.
    let decisive = match rule {
        CheckRule::All => Verdict::Down,
        CheckRule::Any => Verdict::Up,
    };
    let worse = |one, other| match (one, other) {
        (a, _) | (_, a) if a == decisive => decisive,
        (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
        (same, _) => same,
    };
    verdicts
        .into_iter()
        .reduce(worse)
        .unwrap_or(Verdict::Unknown)
}

/// An endpoint under one of several checks.
pub(crate) struct Part {
    pub(crate) health: EndpointHealth,
    /// Name of the check.
    pub(crate) check: String,
    /// Nothing has been heard of it for long.
    pub(crate) silent: bool,
}

/// An endpoint under several checks. `known`: as it was before, for the time of its verdict.
/// `None` without parts.
pub(crate) fn combined(
    rule: CheckRule,
    parts: &[Part],
    known: Option<&EndpointHealth>,
    wall: SystemTime,
) -> Option<EndpointHealth> {
    let address = parts.first()?.health.address;
    let verdict = combine(rule, counted(parts).map(|health| health.verdict));
    let since = match known.filter(|known| known.address == address) {
        Some(known) if known.verdict == verdict => known.since,
        _ if verdict == Verdict::Unknown => None,
        _ => Some(wall),
    };
    Some(EndpointHealth {
        address,
        verdict,
        reason: reason(parts),
        since,
        rtt: parts.iter().filter_map(|part| part.health.rtt).max(),
        flips_in: flips_in(rule, parts),
        checks: parts
            .iter()
            .map(|part| check(part, is_left_out(part, parts)))
            .collect(),
    })
}

/// What counts: the checks that speak. Where all are silent, what they last said.
fn counted(parts: &[Part]) -> impl Iterator<Item = &EndpointHealth> + Clone {
    let counts = |part: &&Part| !is_left_out(part, parts);
    parts.iter().filter(counts).map(|part| &part.health)
}

fn is_left_out(part: &Part, parts: &[Part]) -> bool {
    part.silent && parts.iter().any(|other| !other.silent)
}

fn check(part: &Part, left_out: bool) -> CheckHealth {
    let Part { health, check, .. } = part;
    CheckHealth {
        check: check.clone(),
        verdict: match left_out {
            true => Verdict::Unknown,
            false => health.verdict,
        },
        reason: health.reason.clone(),
        since: health.since.filter(|_| !left_out),
        rtt: health.rtt,
    }
}

/// What the checks say that did not pass; `pass` when all did.
fn reason(parts: &[Part]) -> String {
    let said: Vec<_> = parts
        .iter()
        .filter(|part| part.health.reason != "pass")
        .map(|part| format!("{}: {}", part.check, part.health.reason))
        .collect();
    if said.is_empty() {
        "pass".to_owned()
    } else {
        said.join("; ")
    }
}

/// The earliest time at which enough of the parts may have flipped that the whole does.
fn flips_in(rule: CheckRule, parts: &[Part]) -> Option<Duration> {
    let parts = counted(parts);
    let usable = combine(rule, parts.clone().map(|part| part.verdict)).is_usable();
    let after = |time: Duration| {
        let verdicts = parts.clone().map(|part| {
            let flips = part.flips_in.is_some_and(|at| at <= time);
            match part.verdict {
                // Only what speaks against the whole.
                verdict if !flips || verdict.is_usable() != usable => verdict,
                Verdict::Down => Verdict::Up,
                Verdict::Up | Verdict::Unknown => Verdict::Down,
            }
        });
        combine(rule, verdicts).is_usable()
    };
    let mut times: Vec<_> = parts.clone().filter_map(|part| part.flips_in).collect();
    times.sort_unstable();
    times.into_iter().find(|time| after(*time) != usable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use Verdict::{Down, Unknown, Up};

    fn part(verdict: Verdict, flips: Option<u64>) -> Part {
        let health = EndpointHealth {
            reason: if verdict == Up { "pass" } else { "refused" }.into(),
            flips_in: flips.map(Duration::from_secs),
            ..testing::endpoint(1, verdict)
        };
        Part {
            health,
            check: "web".into(),
            silent: false,
        }
    }

    /// The table of docs/health.md.
    #[test]
    fn the_truth_table() {
        for (a, b, all, any) in [
            (Up, Up, Up, Up),
            (Up, Unknown, Unknown, Up),
            (Up, Down, Down, Up),
            (Unknown, Unknown, Unknown, Unknown),
            (Unknown, Down, Down, Unknown),
            (Down, Down, Down, Down),
        ] {
            for pair in [[a, b], [b, a]] {
                assert_eq!(combine(CheckRule::All, pair), all, "all {pair:?}");
                assert_eq!(combine(CheckRule::Any, pair), any, "any {pair:?}");
            }
        }
        for rule in [CheckRule::All, CheckRule::Any] {
            assert_eq!(combine(rule, []), Unknown);
            for one in [Up, Down, Unknown] {
                assert_eq!(combine(rule, [one]), one, "one check decides alone");
            }
        }
        assert_eq!(combine(CheckRule::All, [Up, Unknown, Down]), Down);
        assert_eq!(combine(CheckRule::Any, [Down, Unknown, Down]), Unknown);
    }

    #[test]
    fn the_whole_flips_when_enough_of_it_may() {
        use CheckRule::{All, Any};
        type Part = (Verdict, Option<u64>);
        let table: [(CheckRule, [Part; 2], Option<u64>); 9] = [
            (All, [(Up, None), (Up, None)], None),
            (All, [(Up, Some(3)), (Up, Some(2))], Some(2)),
            (All, [(Up, Some(3)), (Down, None)], None),
            (All, [(Down, Some(9)), (Up, Some(2))], Some(9)),
            (All, [(Down, Some(9)), (Down, Some(4))], Some(9)),
            (Any, [(Up, Some(3)), (Up, Some(2))], Some(3)),
            (Any, [(Up, Some(3)), (Down, None)], Some(3)),
            (Any, [(Up, Some(3)), (Unknown, None)], None),
            (Any, [(Down, Some(9)), (Down, Some(4))], Some(4)),
        ];
        for (rule, parts, expect) in table {
            let made = parts.map(|(verdict, flips)| part(verdict, flips));
            let expect = expect.map(Duration::from_secs);
            assert_eq!(flips_in(rule, &made), expect, "{rule:?} {parts:?}");
        }
    }

    #[test]
    fn a_silent_check_counts_only_where_none_speaks() {
        use CheckRule::{All, Any};
        for (rule, silent, speaks, expect) in [
            (All, Down, Some(Up), Up),
            (All, Down, Some(Unknown), Unknown),
            (All, Up, Some(Down), Down),
            (All, Up, Some(Up), Up),
            (Any, Up, Some(Down), Down),
            (Any, Unknown, Some(Down), Down),
            (Any, Down, Some(Up), Up),
            (Any, Down, Some(Unknown), Unknown),
            (All, Down, None, Down),
            (Any, Up, None, Up),
        ] {
            let silent = Part {
                silent: true,
                check: "errors".into(),
                ..part(silent, None)
            };
            let alone = speaks.is_none();
            let said = silent.health.verdict;
            let parts: Vec<_> = [silent]
                .into_iter()
                .chain(speaks.map(|verdict| part(verdict, Some(2))))
                .collect();
            let one = combined(rule, &parts, None, SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(one.verdict, expect, "{rule:?} {said:?} {speaks:?}");
            assert_eq!(one.flips_in.is_some(), !alone, "by the one that speaks");
            let shown = if alone { said } else { Unknown };
            assert_eq!(one.checks[0].verdict, shown);
        }
    }

    #[test]
    fn each_check_shows_and_since_stays_with_the_verdict() {
        let (then, now) = (
            SystemTime::UNIX_EPOCH,
            SystemTime::UNIX_EPOCH + Duration::from_secs(9),
        );
        let parts = [
            part(Up, None),
            Part {
                check: "ping".into(),
                ..part(Down, None)
            },
        ];
        let all = combined(CheckRule::All, &parts, None, then).unwrap();
        assert_eq!((all.verdict, all.reason.as_str()), (Down, "ping: refused"));
        assert_eq!((all.since, all.checks.len()), (Some(then), 2));
        let again = combined(CheckRule::All, &parts, Some(&all), now).unwrap();
        assert_eq!(again.since, Some(then));
        let any = combined(CheckRule::Any, &parts, Some(&all), now).unwrap();
        assert_eq!((any.verdict, any.since), (Up, Some(now)));
    }
}
