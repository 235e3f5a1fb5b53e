//! Queries a second on each prefix, from counters that only rise. Pure.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use ipnet::IpNet;

/// Length of one measurement.
const WINDOW: Duration = Duration::from_secs(1);

/// Queries that the self-probe itself sends must not keep a drain from ending.
#[derive(Debug, Default)]
pub(super) struct Rates {
    at: Option<Instant>,
    before: HashMap<IpNet, u64>,
    own: HashMap<IpNet, u64>,
    last: HashMap<IpNet, f64>,
}

impl Rates {
    /// Counts queries of our own.
    pub(super) fn own(&mut self, prefix: IpNet, queries: u64) {
        *self.own.entry(prefix).or_default() += queries;
    }

    /// The rates, when a window is over; `count` gives a counter as it stands.
    pub(super) fn measure(
        &mut self,
        now: Instant,
        prefixes: &[IpNet],
        count: impl Fn(IpNet) -> u64,
    ) -> Vec<(IpNet, f64)> {
        let began = *self.at.get_or_insert(now);
        let took = now.saturating_duration_since(began);
        if !took.is_zero() && took < WINDOW {
            return Vec::new();
        }
        let mut rates = Vec::new();
        for prefix in prefixes {
            let counter = count(*prefix);
            let own = self.own.remove(prefix).unwrap_or(0);
            let Some(before) = self.before.insert(*prefix, counter) else {
                continue;
            };
            // A counter that fell is another one: a prefix that was away for a while.
            let queries = counter.saturating_sub(before).saturating_sub(own);
            #[allow(clippy::cast_precision_loss)] // queries of a second have fewer bits
            let rate = queries as f64 / took.as_secs_f64();
            if rate.is_finite() {
                self.last.insert(*prefix, rate);
                rates.push((*prefix, rate));
            }
        }
        self.at = Some(now);
        self.before.retain(|prefix, _| prefixes.contains(prefix));
        self.last.retain(|prefix, _| prefixes.contains(prefix));
        rates
    }

    /// The last rate that was measured.
    pub(super) fn last(&self, prefix: IpNet) -> Option<f64> {
        self.last.get(&prefix).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)] // any instant will do as the beginning
    fn rates_are_differences_without_our_own_queries() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let one: IpNet = "192.0.2.53/32".parse().unwrap();
        let two: IpNet = "2001:db8::/48".parse().unwrap();
        let mut rates = Rates::default();
        assert!(rates.measure(at(0), &[one], |_| 100).is_empty());
        assert!(rates.measure(at(999), &[one], |_| 200).is_empty());
        rates.own(one, 50);
        // A second prefix is only known from here on.
        let found = rates.measure(at(2000), &[one, two], |_| 250);
        assert_eq!(found, [(one, 50.0)]);
        assert_eq!((rates.last(one), rates.last(two)), (Some(50.0), None));
        let found = rates.measure(at(4000), &[one, two], |_| 250);
        assert_eq!(found, [(one, 0.0), (two, 0.0)]);
        // A counter that starts again, and more of our own than was counted.
        rates.own(two, 9);
        let found = rates.measure(at(6000), &[one, two], |p| if p == one { 3 } else { 251 });
        assert_eq!(found, [(one, 0.0), (two, 0.0)]);
        rates.measure(at(8000), &[two], |_| 400);
        assert_eq!(rates.last(one), None);
    }
}
