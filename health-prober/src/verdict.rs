//! Smooths outcomes into a verdict.
//!
//! # Why
//! One lost packet must not move clients; a dead endpoint must not keep them.
//!
//! # Rules
//!
//! | verdict | pass                     | failure                   |
//! |---------|--------------------------|---------------------------|
//! | Unknown | Up at once               | `fall` in a row → Down    |
//! | Up      | failures forgotten       | `fall` in a row → Down    |
//! | Down    | `rise` in a row → Up     | passes forgotten          |
//!
//! # Cold start
//! Nothing is known yet, and Unknown is usable: the first pass decides at once, because waiting
//! for `rise` would change no answer. A failure needs `fall` here too, so that a restart of ours
//! never takes a PoP out of answers for one lost packet.

use crate::Verdict;

/// The state of one target: a verdict, and how many outcomes in a row speak against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    verdict: Verdict,
    against: u32,
}

/// The numbers of a check that the machine needs, each at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thresholds {
    /// Consecutive failures until Down.
    pub(crate) fall: u32,
    /// Consecutive passes until Up.
    pub(crate) rise: u32,
}

impl Machine {
    /// A machine that starts from a verdict, with nothing counted.
    pub(crate) fn new(verdict: Verdict) -> Self {
        Self {
            verdict,
            against: 0,
        }
    }

    /// The verdict now.
    pub(crate) fn verdict(self) -> Verdict {
        self.verdict
    }

    /// Failures in a row that have not yet led to Down.
    pub(crate) fn failures(self) -> u32 {
        if self.verdict == Verdict::Down {
            0
        } else {
            self.against
        }
    }

    /// Passes in a row that have not yet led to Up.
    pub(crate) fn passes(self) -> u32 {
        if self.verdict == Verdict::Down {
            self.against
        } else {
            0
        }
    }

    /// The machine after one more outcome. A verdict change is a difference between the two.
    #[must_use]
    pub(crate) fn after(self, passed: bool, thresholds: Thresholds) -> Self {
        match (self.verdict, passed) {
            (Verdict::Unknown, true) => Self::new(Verdict::Up),
            (Verdict::Up, true) | (Verdict::Down, false) => Self::new(self.verdict),
            (Verdict::Unknown | Verdict::Up, false) => self.count(thresholds.fall, Verdict::Down),
            (Verdict::Down, true) => self.count(thresholds.rise, Verdict::Up),
        }
    }

    fn count(self, threshold: u32, then: Verdict) -> Self {
        let against = self.against.saturating_add(1);
        if against >= threshold {
            Self::new(then)
        } else {
            Self { against, ..self }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T: Thresholds = Thresholds { fall: 3, rise: 2 };

    fn run(start: Verdict, outcomes: &str, thresholds: Thresholds) -> Machine {
        outcomes
            .chars()
            .fold(Machine::new(start), |machine, outcome| {
                machine.after(outcome == '+', thresholds)
            })
    }

    #[test]
    fn table() {
        use Verdict::{Down, Unknown, Up};
        for (start, outcomes, verdict) in [
            (Unknown, "", Unknown),
            (Unknown, "+", Up),
            (Unknown, "-", Unknown),
            (Unknown, "--", Unknown),
            (Unknown, "---", Down),
            (Unknown, "--+", Up),
            (Up, "--", Up),
            (Up, "---", Down),
            (Up, "--+--", Up),
            (Up, "--+---", Down),
            (Down, "+", Down),
            (Down, "++", Up),
            (Down, "+-+", Down),
            (Down, "+-++", Up),
            (Up, "---++---", Down),
        ] {
            assert_eq!(
                run(start, outcomes, T).verdict(),
                verdict,
                "{start:?} {outcomes}"
            );
        }
    }

    /// Every sequence of up to ten outcomes, against the rule written the other way round: look
    /// back over the whole history instead of counting.
    #[test]
    fn exhaustive() {
        for fall in 1..=3 {
            for rise in 1..=3 {
                for length in 0..=10_u32 {
                    for bits in 0..1_u32 << length {
                        let outcomes: String = (0..length)
                            .map(|i| if bits >> i & 1 == 1 { '+' } else { '-' })
                            .collect();
                        let thresholds = Thresholds { fall, rise };
                        assert_eq!(
                            run(Verdict::Unknown, &outcomes, thresholds).verdict(),
                            model(&outcomes, thresholds),
                            "{outcomes} {thresholds:?}"
                        );
                    }
                }
            }
        }
    }

    fn model(outcomes: &str, t: Thresholds) -> Verdict {
        let ends = |text: &str, mark: &str, n: u32| text.ends_with(&mark.repeat(n as usize));
        let mut verdict = Verdict::Unknown;
        for end in 1..=outcomes.len() {
            let seen = &outcomes[..end];
            let tail_passes = seen.len() - seen.trim_end_matches('+').len();
            verdict = match verdict {
                Verdict::Unknown if tail_passes > 0 => Verdict::Up,
                Verdict::Down if ends(seen, "+", t.rise) => Verdict::Up,
                Verdict::Unknown | Verdict::Up if ends(seen, "-", t.fall) => Verdict::Down,
                same => same,
            };
        }
        verdict
    }

    proptest! {
        #[test]
        fn a_change_needs_its_whole_threshold(
            outcomes in proptest::collection::vec(any::<bool>(), 0..200),
            fall in 1_u32..6,
            rise in 1_u32..6,
        ) {
            let thresholds = Thresholds { fall, rise };
            let mut machine = Machine::new(Verdict::Unknown);
            for (at, &passed) in outcomes.iter().enumerate() {
                let next = machine.after(passed, thresholds);
                if next.verdict() != machine.verdict() {
                    let needed = match machine.verdict() {
                        Verdict::Unknown if passed => 1,
                        Verdict::Down => rise as usize,
                        _ => fall as usize,
                    };
                    prop_assert!(at + 1 >= needed);
                    prop_assert!(outcomes[at + 1 - needed..=at].iter().all(|&o| o == passed));
                }
                prop_assert!(next.verdict() != Verdict::Unknown || !passed);
                prop_assert!(next.failures() < fall);
                machine = next;
            }
        }
    }
}
