//! Endpoint verdicts → PoP verdict, by `min_health`.
//!
//! # Rules
//! With `n` endpoints, `usable` of them not Down and `up` of them Up:
//!
//! 1. none is usable → Down, whatever `min_health` says: there is nothing to hand out;
//! 2. `usable / n < min_health` → Down;
//! 3. `up ≥ 1` and `up / n ≥ min_health` → Up;
//! 4. otherwise → Unknown: enough endpoints may be up, which is usable.
//!
//! This is the quorum of one vantage point, this server.

use std::time::Duration;

use meridian_config::Ratio;

use crate::{EndpointHealth, Verdict};

/// The verdict over a PoP whose endpoints have these verdicts.
pub fn judge(endpoints: impl IntoIterator<Item = Verdict>, min_health: Ratio) -> Verdict {
    Count::of(endpoints).verdict(min_health)
}

/// The earliest time at which a PoP may have flipped, from the verdicts of its endpoints and when
/// each of them could: `None` while too few are contradicted.
pub fn flips_in(
    endpoints: impl Iterator<Item = (Verdict, Option<Duration>)> + Clone,
    min_health: Ratio,
) -> Option<Duration> {
    let count = Count::of(endpoints.clone().map(|(verdict, _)| verdict));
    let is_usable = count.verdict(min_health).is_usable();
    let mut times: Vec<Duration> = endpoints
        .filter(|(verdict, _)| verdict.is_usable() == is_usable)
        .filter_map(|(_, time)| time)
        .collect();
    times.sort_unstable();
    (1..).zip(times).find_map(|(flipped, time)| {
        let down = match is_usable {
            true => count.down + flipped,
            false => count.down.saturating_sub(flipped),
        };
        // Of those usable, none need be more than Unknown.
        let then = Count {
            all: count.all,
            up: 0,
            down,
        };
        (then.verdict(min_health).is_usable() != is_usable).then_some(time)
    })
}

/// The verdict together with the sentence that explains it.
pub(crate) fn explain(endpoints: &[EndpointHealth], min_health: Ratio) -> (Verdict, String) {
    let count = Count::of(endpoints.iter().map(|endpoint| endpoint.verdict));
    let verdict = count.verdict(min_health);
    let Count { all, up, down } = count;
    let mut text = format!("{up} of {all} endpoints up");
    if all - up - down > 0 {
        text.push_str(&format!(", {} not yet known", all - up - down));
    }
    if verdict == Verdict::Down {
        text.push_str(&format!(", at least {} must be", needed(all, min_health)));
    }
    if let Some(first) = endpoints.iter().find(|e| e.verdict == Verdict::Down) {
        text.push_str(&format!(" ({}: {}", first.address, first.reason));
        if down > 1 {
            text.push_str(&format!(", and {} more", down - 1));
        }
        text.push(')');
    }
    (verdict, text)
}

/// The share of endpoints that are usable, 0 to 1.
pub(crate) fn ratio(endpoints: &[EndpointHealth]) -> f64 {
    let count = Count::of(endpoints.iter().map(|endpoint| endpoint.verdict));
    if count.all == 0 {
        0.0
    } else {
        share(count.all - count.down, count.all)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    all: usize,
    up: usize,
    down: usize,
}

impl Count {
    fn of(endpoints: impl IntoIterator<Item = Verdict>) -> Self {
        let mut count = Self::default();
        for verdict in endpoints {
            count.all += 1;
            count.up += usize::from(verdict == Verdict::Up);
            count.down += usize::from(verdict == Verdict::Down);
        }
        count
    }

    fn verdict(self, min_health: Ratio) -> Verdict {
        let usable = self.all - self.down;
        if usable == 0 || !reaches(usable, self.all, min_health) {
            Verdict::Down
        } else if self.up > 0 && reaches(self.up, self.all, min_health) {
            Verdict::Up
        } else {
            Verdict::Unknown
        }
    }
}

/// The smallest number of endpoints that is enough.
fn needed(all: usize, min_health: Ratio) -> usize {
    (1..=all)
        .find(|&some| reaches(some, all, min_health))
        .unwrap_or(all)
}

/// `some / all ≥ min_health`. A quotient is rounded as the operator's decimal is: 7 of 10 reach 0.7.
fn reaches(some: usize, all: usize, min_health: Ratio) -> bool {
    share(some, all) >= min_health.0
}

#[allow(clippy::cast_precision_loss)] // a PoP has fewer than 2^52 endpoints
fn share(some: usize, all: usize) -> f64 {
    some as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing;
    use Verdict::{Down, Unknown, Up};

    fn verdict_of(mark: char) -> Verdict {
        match mark {
            '+' => Up,
            '-' => Down,
            _ => Unknown,
        }
    }

    #[test]
    fn table() {
        for (endpoints, min_health, verdict) in [
            ("?", 0.5, Unknown),
            ("+", 0.5, Up),
            ("-", 0.5, Down),
            ("-", 0.0, Down),
            ("+-", 0.5, Up),
            ("+-", 0.51, Down),
            ("+-", 1.0, Down),
            ("?-", 0.5, Unknown),
            ("?-", 0.6, Down),
            ("+?", 0.6, Unknown),
            ("+?", 0.5, Up),
            ("+--", 0.5, Down),
            ("++-", 0.5, Up),
            ("?---", 0.0, Unknown),
            ("+---", 0.0, Up),
            ("+++++++---", 0.7, Up),
            ("+++++++++++---------", 0.55, Up),
            ("", 0.5, Down),
        ] {
            let got = judge(endpoints.chars().map(verdict_of), Ratio(min_health));
            assert_eq!(got, verdict, "{endpoints} with {min_health}");
        }
    }

    #[test]
    fn the_sentence_names_the_first_endpoint_down() {
        let endpoint = |last, verdict, reason: &str| EndpointHealth {
            reason: reason.into(),
            ..testing::endpoint(last, verdict)
        };
        let endpoints = [
            endpoint(1, Up, "pass"),
            endpoint(2, Down, "status 503"),
            endpoint(3, Down, "connection refused"),
        ];
        assert_eq!(
            explain(&endpoints, Ratio(0.5)),
            (
                Down,
                "1 of 3 endpoints up, at least 2 must be (192.0.2.2: status 503, and 1 more)"
                    .into()
            )
        );
        assert_eq!(
            explain(&endpoints[..1], Ratio(0.5)),
            (Up, "1 of 1 endpoints up".into())
        );
        let unknown = [endpoint(1, Unknown, "not yet probed")];
        assert_eq!(
            explain(&unknown, Ratio(0.5)).1,
            "0 of 1 endpoints up, 1 not yet known"
        );
    }

    #[test]
    fn a_pop_flips_when_enough_endpoints_may() {
        type Endpoint = (Verdict, Option<u64>);
        let table: [(&[Endpoint], f64, Option<u64>); 8] = [
            (&[(Up, None)], 0.5, None),
            (&[(Up, Some(2))], 0.5, Some(2)),
            (&[(Down, Some(9))], 0.5, Some(9)),
            (&[(Up, Some(2)), (Up, None)], 0.5, None),
            (&[(Up, Some(2)), (Down, None)], 0.5, Some(2)),
            (&[(Up, Some(2)), (Down, Some(1))], 0.5, Some(2)),
            (
                &[(Up, Some(2)), (Unknown, Some(5)), (Up, None)],
                0.5,
                Some(5),
            ),
            (
                &[(Down, Some(4)), (Down, Some(9)), (Down, None)],
                0.6,
                Some(9),
            ),
        ];
        for (endpoints, min_health, expect) in table {
            let all = endpoints
                .iter()
                .map(|(v, t)| (*v, t.map(Duration::from_secs)));
            let got = flips_in(all, Ratio(min_health));
            assert_eq!(got, expect.map(Duration::from_secs), "{endpoints:?}");
        }
    }

    proptest! {
        /// An endpoint that gets better never makes its PoP worse.
        #[test]
        fn monotone(
            marks in proptest::collection::vec(0_usize..3, 1..12),
            at in any::<prop::sample::Index>(),
            min_health in 0.0_f64..=1.0,
        ) {
            let order = [Down, Unknown, Up];
            let rank = |v: Verdict| order.iter().position(|&o| o == v);
            let before: Vec<_> = marks.iter().map(|&m| order[m]).collect();
            let mut after = before.clone();
            let at = at.index(after.len());
            after[at] = order[(marks[at] + 1).min(2)];
            let (before, after) = (judge(before, Ratio(min_health)), judge(after, Ratio(min_health)));
            prop_assert!(rank(after) >= rank(before));
        }
    }
}
