//! Latencies, without coordinated omission: a query counts from the moment it was due, not from the
//! moment a delayed generator sent it, and a lost one counts as long as it was waited for.

use hdrhistogram::Histogram;

/// Longest latency that is told apart, ns.
const LONGEST_NS: u64 = 10_000_000_000;

/// A histogram of nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

/// What is shown of a histogram, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Percentiles {
    /// Half of all answers came within.
    pub(crate) p50: u64,
    /// 99 % came within.
    pub(crate) p99: u64,
    /// 99.9 % came within.
    pub(crate) p999: u64,
}

impl Latencies {
    /// An empty histogram, three digits exact.
    #[allow(clippy::expect_used)] // the bounds are constants
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are in order"))
    }

    /// Records an answer at `now` to a query due at `due`, both ns of one clock.
    pub(crate) fn record(&mut self, due: u64, now: u64) {
        self.0.saturating_record(now.saturating_sub(due).max(1));
    }

    /// The percentiles; zeros when nothing was recorded.
    pub(crate) fn percentiles(&self) -> Percentiles {
        Percentiles {
            p50: self.0.value_at_quantile(0.5),
            p99: self.0.value_at_quantile(0.99),
            p999: self.0.value_at_quantile(0.999),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: u64, expected: u64) -> bool {
        value.abs_diff(expected) * 500 <= expected
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.percentiles(), Percentiles::default());
        for microseconds in 1..=1000 {
            latencies.record(500, 500 + microseconds * 1000);
        }
        let seen = latencies.percentiles();
        assert!(near(seen.p50, 500_000), "{seen:?}");
        assert!(near(seen.p99, 990_000), "{seen:?}");
        assert!(near(seen.p999, 999_000), "{seen:?}");
    }

    #[test]
    fn a_stall_counts_for_every_query_that_was_due_in_it() {
        // 1000 queries, one a millisecond, each answered after 1 ms; but nothing moves from 0.5 s
        // to 0.6 s, and what was due then is sent and answered at its end.
        let mut latencies = Latencies::new();
        for due in (0..1000_u64).map(|n| n * 1_000_000) {
            let stalled = (500_000_000..600_000_000).contains(&due);
            let answered = if stalled {
                601_000_000
            } else {
                due + 1_000_000
            };
            latencies.record(due, answered);
        }
        let seen = latencies.percentiles();
        assert!(near(seen.p50, 1_000_000), "{seen:?}");
        // Measured from the sending, p99 would be 1 ms as well.
        assert!(seen.p99 > 85_000_000, "{seen:?}");
    }

    #[test]
    fn extremes_do_not_break_it() {
        let mut latencies = Latencies::new();
        latencies.record(10, 5);
        latencies.record(0, u64::MAX);
        assert!(latencies.percentiles().p999 >= LONGEST_NS);
    }
}
