//! The demand that ticks go on with: what was counted, held still for as long as newer counts say about
//! the same. A model whose demand flutters with every count lets the balance mistake that for load.
//!
//! ```text
//! nobody counted yet        what addresses let expect
//! counted, for the first time, or otherwise than by chance, or hours old          the newest counts
//! else                      those from before
//! ```

use std::sync::Arc;

use meridian_dns::steer::Demand;
use meridian_geo_data::ClientMap;

/// Seconds after which newer counts are taken in any case.
const OLD_S: f64 = 6.0 * 3600.0;
/// Part by which a PoP's demand must be off to be news, and standard deviations of its count.
const NEWS: f32 = 0.04;
const CHANCE: f32 = 3.0;

/// Demand as it is held.
#[derive(Debug, Default)]
pub(super) struct Held {
    demand: Arc<Demand>,
    /// What its cells and services are numbered by.
    of: Option<(Arc<ClientMap>, Vec<Arc<str>>)>,
    since_s: f64,
    /// What counts are multiplied by: most PoPs go on with the demand that they had.
    scale: f32,
}

/// What is counted at the moment.
pub(super) struct Counts<'a> {
    pub(super) demand: Arc<Demand>,
    /// Samples behind it.
    pub(super) samples: f64,
    pub(super) clients: &'a Arc<ClientMap>,
    pub(super) services: &'a [Arc<str>],
}

impl Held {
    /// One that goes on with what another process multiplied its counts by.
    pub(super) fn restored(scale: f32) -> Self {
        Self {
            scale: if scale.is_finite() {
                scale.max(0.0)
            } else {
                0.0
            },
            ..Self::default()
        }
    }

    /// What counts are multiplied by; 0: nothing was counted yet.
    pub(super) fn scale(&self) -> f32 {
        self.scale
    }

    /// What to go on with. `of_pops` says what every PoP has of a demand as clients are shared now.
    pub(super) fn next(
        &mut self,
        now_s: f64,
        counts: Counts<'_>,
        of_pops: impl Fn(&Arc<Demand>) -> Vec<f32>,
    ) -> Arc<Demand> {
        let fits = self.of.as_ref().is_some_and(|(clients, services)| {
            Arc::ptr_eq(clients, counts.clients) && **services == *counts.services
        });
        let none = counts.demand.cells().is_empty();
        if !fits {
            self.of = Some((counts.clients.clone(), counts.services.to_vec()));
            self.demand = match none {
                true => Arc::new(Demand::assumed(counts.clients)),
                false => self.scaled(&counts.demand),
            };
            self.since_s = now_s;
        } else if !none {
            let newest = self.scaled(&counts.demand);
            let both = (of_pops(&self.demand), of_pops(&newest));
            let is_news = self.demand.is_assumed()
                || now_s - self.since_s >= OLD_S
                || differ(&both.0, &both.1, counts.samples);
            if is_news {
                self.scale = self.scale.max(f32::MIN_POSITIVE) * usual(&both.0, &both.1);
                self.demand = self.scaled(&counts.demand);
                self.since_s = now_s;
            }
        }
        self.demand.clone()
    }

    fn scaled(&mut self, demand: &Arc<Demand>) -> Arc<Demand> {
        if self.scale <= 0.0 {
            self.scale = 1.0;
        }
        Arc::new(demand.scaled(self.scale))
    }
}

/// Whether any PoP's demand is off by more than counting explains, when all have changed alike.
// A number of samples.
#[allow(clippy::cast_possible_truncation)]
fn differ(old: &[f32], new: &[f32], samples: f64) -> bool {
    let usual = usual(old, new);
    let whole: f32 = old.iter().sum();
    let samples = (samples as f32).max(1.0);
    old.iter().zip(new).any(|(old, new)| {
        let chance = (old.max(1e-9) / whole.max(f32::MIN_POSITIVE) / samples).sqrt() * whole;
        (new * usual - old).abs() > NEWS * old + CHANCE * chance
    })
}

/// Old ÷ new of the PoP in the middle, each counted by its demand: what most have in common.
fn usual(old: &[f32], new: &[f32]) -> f32 {
    let both = old
        .iter()
        .zip(new)
        .filter(|(old, new)| **old > 0.0 && **new > 0.0);
    let mut ratios: Vec<(f32, f32)> = both.map(|(old, new)| (old / new, *new)).collect();
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let whole: f32 = ratios.iter().map(|(_, demand)| demand).sum();
    let mut passed = 0.0;
    for (ratio, demand) in ratios {
        passed += demand;
        if passed >= whole / 2.0 && ratio.is_finite() {
            return ratio;
        }
    }
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_chance_explains_is_no_news_and_what_all_have_in_common_neither() {
        let old = [100.0, 50.0, 50.0, 1.0];
        assert!(!differ(&old, &[102.0, 49.5, 49.0, 1.3], 20_000.0));
        assert!(differ(&old, &[100.0, 56.0, 50.0, 1.0], 50_000.0));
        // The same from few samples.
        assert!(!differ(&old, &[100.0, 56.0, 50.0, 1.0], 1_000.0));
        // Night falls everywhere.
        assert!(!differ(&old, &[50.0, 25.0, 25.0, 0.5], 20_000.0));
        // A crowd at one PoP is news, and the others keep their demand.
        let crowd = [100.0, 50.0, 90.0, 1.0];
        assert!(differ(&old, &crowd, 20_000.0));
        assert_eq!(usual(&old, &crowd), 1.0);
        assert_eq!(usual(&[], &[]), 1.0);
        assert_eq!(usual(&[1.0, 0.0], &[0.0, 1.0]), 1.0);
    }

    #[test]
    fn counts_are_held_until_they_are_news_or_old() {
        let geo = meridian_config::Geo {
            city: Vec::new(),
            asn: Vec::new(),
            networks: Vec::new(),
        };
        let clients = Arc::new(ClientMap::open(&geo).unwrap());
        let services = ["s.example.".into()];
        let cells = clients.cells().len();
        let of = |first: f32, others: f32| {
            let mut all = vec![others; cells];
            all[0] = first;
            Arc::new(Demand::new(all, Vec::new(), vec![1.0]))
        };
        // The first cell's PoP, and that of all others.
        let of_pops = |demand: &Arc<Demand>| {
            let cells = demand.cells();
            vec![cells[0], cells[1..].iter().sum()]
        };
        let mut held = Held::default();
        let mut at = |now_s, demand| {
            let (clients, services) = (&clients, &services[..]);
            let counts = Counts {
                demand,
                samples: 50_000.0,
                clients,
                services,
            };
            held.next(now_s, counts, of_pops)
        };
        let assumed = at(0.0, Arc::default());
        assert!(assumed.is_assumed() && *assumed == Demand::assumed(&clients));
        let sum = |demand: &Demand| demand.cells().iter().sum::<f32>();
        let first = at(10.0, of(40.0, 1.0));
        assert!(!first.is_assumed());
        // Most clients are where they were thought to be: in the second PoP's cells.
        let kept = sum(&first) - first.cells()[0];
        assert!((kept / (sum(&assumed) - assumed.cells()[0]) - 1.0).abs() < 1e-3);
        let same = at(20.0, of(40.5, 1.0));
        assert!(Arc::ptr_eq(&first, &same));
        // Nobody is counted any more: what is known stays.
        assert!(Arc::ptr_eq(&first, &at(30.0, Arc::default())));
        let crowd = at(40.0, of(80.0, 1.0));
        assert!((crowd.cells()[0] / first.cells()[0] - 2.0).abs() < 1e-3);
        assert!((crowd.cells()[1] / first.cells()[1] - 1.0).abs() < 1e-3);
        let evening = at(50.0, of(40.0, 0.5));
        assert!(Arc::ptr_eq(&crowd, &evening));
        let old = at(40.0 + OLD_S, of(41.0, 0.5));
        assert!(!Arc::ptr_eq(&crowd, &old));
        assert!((old.cells()[1] / first.cells()[1] - 1.0).abs() < 1e-3);
    }
}
