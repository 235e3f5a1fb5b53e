//! Every load source with its state and its schedule, without I/O and without a clock.
//!
//! ```text
//! reload, push ──┐
//! time (due) ────┼─→ Book ─→ Fetch…, Observation…, Loads
//! readings ──────┘
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use meridian_config::{Config, LoadKind, LoadPage, LoadSource, PassiveCheck, PopId, SeriesMatch};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Access, Fault, Found, Page,
    gauge::Gauge,
    growth::Growth,
    passive::{passive_checks, unread, unread_first, verdict, wanted},
    unit::{same_unit, what},
};
use crate::{KeptLoad, Level, Loads, LocalReason, Outcome, PopLoad, PushError, engine::Now};

/// Pages fetched at the same time; those that find no place wait their turn.
const MAX_FETCHES: usize = 64;
/// Loads beyond this, and ratios, are mistakes of unit: as at the API.
const GREATEST: f64 = 1e15;
/// Longest time until the first reading.
const FIRST: Duration = Duration::from_secs(1);

/// A page to fetch.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    /// The PoP whose load is read.
    pub(crate) pop: String,
    /// Names the definition of the source; never given out twice.
    pub(crate) id: u64,
    pub(crate) page: LoadPage,
    pub(crate) timeout: Duration,
    /// Series to look for; `None`: the page is nginx's.
    pub(crate) wanted: Option<Arc<[SeriesMatch]>>,
    pub(crate) access: Access,
}

/// What a reading says about a PoP under a passive check.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observation {
    pub(crate) pop: String,
    pub(crate) check: String,
    pub(crate) outcome: Outcome,
}

/// Every load source.
#[derive(Default)]
pub(crate) struct Book {
    sources: BTreeMap<String, Source>,
    next_id: u64,
    fetching: usize,
}

struct Source {
    id: u64,
    spec: LoadSource,
    access: Access,
    capacity: Option<f64>,
    passive: Vec<(String, PassiveCheck)>,
    wanted: Option<Arc<[SeriesMatch]>>,
    what: String,
    seed: u64,
    readings: u64,
    /// `None` for pushed load, and while a page is fetched.
    due: Option<Instant>,
    gauge: Gauge,
    growth: Growth,
    /// Errors and requests, for each passive check.
    counters: Vec<[Growth; 2]>,
    problem: Option<String>,
    pushed_by: Option<String>,
}

impl Book {
    /// Takes over a configuration, the first one too. A source whose definition stays goes on;
    /// one of the same kind at another place keeps its last value until the new one has read. `access`
    /// holds what was read of the files of each source, by PoP.
    pub(crate) fn reload(
        &mut self,
        config: &Config,
        mut access: HashMap<String, Access>,
        now: Instant,
    ) {
        let mut before = std::mem::take(&mut self.sources);
        let mut passive_checks = passive_checks(config);
        for (id, pop) in (0_u16..).map(PopId).zip(&config.pops) {
            let Some(spec) = &pop.load else {
                continue;
            };
            let passive = passive_checks.remove(&id).unwrap_or_default();
            let known = before.remove(&pop.name);
            let access = access.remove(&pop.name).unwrap_or_default();
            let pages = known.as_ref().map(|known| known.spec.kind.page());
            let access = match (spec.kind.page(), pages.flatten(), &known) {
                (Some(page), Some(before), Some(known)) => {
                    access.or_former(page, before, &known.access)
                }
                _ => access,
            };
            let mut source = match known {
                Some(known) if known.spec == *spec && known.passive == passive => known,
                known => {
                    self.next_id += 1;
                    let mut source = Source::new(self.next_id, &pop.name, spec, passive, now);
                    if let Some(known) = known.filter(|k| same_unit(&k.spec, spec)) {
                        source.gauge = known.gauge;
                        source.pushed_by = known.pushed_by;
                    }
                    source
                }
            };
            source.capacity = pop.capacity;
            source.access = access;
            self.sources.insert(pop.name.clone(), source);
        }
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Names of the PoPs with a source.
    pub(crate) fn pops(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    /// The pages to fetch now: those that have waited longest, so that sources that hang do not keep the
    /// others waiting for ever, whatever their names are.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Fetch> {
        let mut due: Vec<_> = self
            .sources
            .iter_mut()
            .filter_map(|(pop, source)| Some((source.due?, pop, source)))
            .filter(|(due, ..)| *due <= now)
            .collect();
        due.sort_by_key(|(due, ..)| *due);
        let mut fetches = Vec::new();
        for (_, pop, source) in due {
            if self.fetching >= MAX_FETCHES {
                break;
            }
            if let Some(page) = source.spec.kind.page() {
                self.fetching += 1;
                source.due = None;
                source.readings += 1;
                fetches.push(Fetch {
                    pop: pop.clone(),
                    id: source.id,
                    page: page.clone(),
                    timeout: source.spec.timeout,
                    wanted: source.wanted.clone(),
                    access: source.access.clone(),
                });
            }
        }
        fetches
    }

    /// When something next happens by time alone: a reading, or a state that changes.
    pub(crate) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let room = self.fetching < MAX_FETCHES;
        let of = |source: &Source| {
            let due = source.due.filter(|_| room);
            let turn = source.gauge.turns(source.spec.interval, now);
            due.into_iter().chain(turn).min()
        };
        self.sources.values().filter_map(of).min()
    }

    /// Takes what a fetch, started at `started`, gave. Of a source that is gone only the place
    /// comes back.
    pub(crate) fn finish(
        &mut self,
        fetch: &Fetch,
        started: Instant,
        page: Result<Page, Fault>,
        now: Now,
    ) -> (Result<(), Fault>, Vec<Observation>) {
        self.fetching = self.fetching.saturating_sub(1);
        let source = self.sources.get_mut(&fetch.pop);
        let Some(source) = source.filter(|source| source.id == fetch.id) else {
            return (page.map(drop), Vec::new());
        };
        source.due = Some((started + source.gap()).max(now.instant));
        let observed = source.judge(&page, now.instant);
        let read = page.and_then(|page| source.read(page, now));
        source.problem = read.as_ref().err().map(ToString::to_string);
        let observed = observed.into_iter().zip(&source.passive);
        let observed = observed.map(|(outcome, (check, _))| Observation {
            pop: fetch.pop.clone(),
            check: check.clone(),
            outcome,
        });
        (read, observed.collect())
    }

    /// Takes a level that was pushed by `who`.
    ///
    /// # Errors
    /// The PoP does not take it; nothing changed.
    pub(crate) fn push(
        &mut self,
        pop: &str,
        level: Level,
        who: &str,
        now: Now,
    ) -> Result<(), PushError> {
        let source = self.sources.get_mut(pop);
        let pushed = |source: &&mut Source| matches!(source.spec.kind, LoadKind::Push);
        let Some(source) = source.filter(pushed) else {
            return Err(PushError::NotPushed(pop.to_owned()));
        };
        let (Level::Value(number) | Level::Ratio(number)) = level;
        if !number.is_finite() || number < 0.0 {
            return Err(PushError::Absurd);
        }
        if matches!(level, Level::Value(_)) && source.capacity.is_none() {
            return Err(PushError::NoCapacity(pop.to_owned()));
        }
        source.gauge.set(level, now);
        source.pushed_by = Some(who.to_owned());
        Ok(())
    }

    /// The last level of every source.
    pub(crate) fn keep(&self) -> Vec<KeptLoad> {
        let one = |(pop, source): (&String, &Source)| {
            Some(KeptLoad {
                pop: pop.clone(),
                what: source.what.clone(),
                level: source.gauge.last()?,
                at: source.gauge.at()?,
                pushed_by: source.pushed_by.clone(),
            })
        };
        self.sources.iter().filter_map(one).collect()
    }

    /// Time since the last level of every source that has had one.
    pub(crate) fn ages(&self, now: Instant) -> Vec<(String, Duration)> {
        let one = |(pop, source): (&String, &Source)| Some((pop.clone(), source.gauge.age(now)?));
        self.sources.iter().filter_map(one).collect()
    }

    /// Takes up what another process kept, where nothing newer is known and the source still counts the
    /// same. It is as old as it was there, by the wall clock; what lies in the future is as of now.
    pub(crate) fn restore(&mut self, kept: Vec<KeptLoad>, now: Now) {
        for one in kept {
            let Some(source) = self.sources.get_mut(&one.pop) else {
                continue;
            };
            let (Level::Value(number) | Level::Ratio(number)) = one.level;
            let sane = number.is_finite() && number >= 0.0;
            let newer = source.gauge.at().is_none_or(|known| known < one.at);
            if !sane || !newer || source.what != one.what {
                continue;
            }
            let age = now.wall.duration_since(one.at).unwrap_or_default();
            source.gauge.set_aged(one.level, now, age);
            source.pushed_by = one.pushed_by;
        }
    }

    /// The load of every PoP; `usable` is the share of a PoP's endpoints that are not down.
    pub(crate) fn loads(&self, now: Instant, usable: impl Fn(&str) -> f64) -> Loads {
        let one = |(pop, source): (&String, &Source)| {
            let load = source.load(now, usable(pop));
            (pop.clone(), load)
        };
        self.sources.iter().map(one).collect()
    }
}

impl Source {
    fn new(
        id: u64,
        pop: &str,
        spec: &LoadSource,
        passive: Vec<(String, PassiveCheck)>,
        now: Instant,
    ) -> Self {
        let seed = xxh3_64(format!("load/{pop}").as_bytes());
        let fetched = spec.kind.page().is_some();
        let first = FIRST.min(spec.interval).mul_f64(fraction(seed, 0));
        Self {
            id,
            spec: spec.clone(),
            access: Access::default(),
            capacity: None,
            wanted: wanted(&spec.kind, &passive),
            what: what(&spec.kind),
            seed,
            readings: 0,
            due: fetched.then(|| now + first),
            gauge: Gauge::default(),
            growth: Growth::default(),
            counters: passive.iter().map(|_| Default::default()).collect(),
            passive,
            problem: None,
            pushed_by: None,
        }
    }

    /// Time from one reading to the next: up to a tenth less than the interval, so that sources do
    /// not fall into step.
    fn gap(&self) -> Duration {
        let early = 0.1 * fraction(self.seed, self.readings);
        self.spec.interval.mul_f64(1.0 - early)
    }

    /// Reads the load from a page.
    fn read(&mut self, page: Page, now: Now) -> Result<(), Fault> {
        let value = match (&self.spec.kind, page) {
            (LoadKind::Prometheus { rate, sum, .. }, Page::Series(mut found)) => {
                let found = found.drain(..).next().unwrap_or_default();
                match found.len() {
                    0 => return Err(Fault::NoSeries),
                    1 => {}
                    _ if *sum => {}
                    several => return Err(Fault::SeveralSeries(several)),
                }
                match rate {
                    None => Some(found.values().sum()),
                    Some(window) => {
                        let _ = self.growth.take(now.instant, found);
                        self.growth.rate(*window)
                    }
                }
            }
            (LoadKind::StubStatus { field, .. }, Page::Stub(stub)) => {
                let number = stub.number(*field);
                if *field == meridian_config::StubField::Requests {
                    let found = Found::from([(0, number)]);
                    let _ = self.growth.take(now.instant, found);
                    self.growth.rate(Duration::ZERO)
                } else {
                    Some(number)
                }
            }
            _ => return Err(Fault::NoSeries),
        };
        // A rate needs a second reading; until then nothing is known, and nothing is wrong.
        match value {
            Some(value) if !(0.0..=GREATEST).contains(&value) => Err(Fault::Absurd),
            Some(value) => {
                self.gauge.set(Level::Value(value), now);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// An outcome for each passive check; none before the second reading.
    fn judge(&mut self, page: &Result<Page, Fault>, now: Instant) -> Vec<Outcome> {
        let found = match page {
            Ok(Page::Series(found)) => found,
            Ok(Page::Stub(_)) => return Vec::new(),
            Err(fault) => {
                let reason = LocalReason::Source(fault.to_string());
                let outcome = Outcome::Inconclusive { reason };
                return vec![outcome; self.passive.len()];
            }
        };
        // The load's own selector stands first.
        let pairs = found.get(1..).unwrap_or_default().chunks_exact(2);
        let checks = self.passive.iter().zip(&mut self.counters).zip(pairs);
        checks
            .map(|(((_, check), [errors, requests]), pair)| {
                let [failed, all] = pair else {
                    return unread(&Fault::NoSeries);
                };
                if all.is_empty() {
                    return unread(&Fault::NoSeries);
                }
                // No series of errors: there has been none yet.
                let failed = errors.take(now, failed.clone());
                let all = requests.take(now, all.clone());
                match (failed, all) {
                    (Some(failed), Some(all)) => verdict(check, failed, all),
                    _ => unread_first(),
                }
            })
            .collect()
    }

    fn load(&self, now: Instant, usable: f64) -> PopLoad {
        let (state, level) = self.gauge.level(self.spec.interval, now);
        let capacity = self.capacity.map(|whole| whole * usable);
        let (ratio, value) = match (level, capacity) {
            (None, _) => (None, None),
            (Some(Level::Ratio(ratio)), _) => (Some(ratio), None),
            (Some(Level::Value(value)), None) => (Some(0.0), Some(value)),
            (Some(Level::Value(value)), Some(capacity)) => {
                (Some((value / capacity).min(GREATEST)), Some(value))
            }
        };
        let source = match (self.spec.kind.page(), &self.pushed_by) {
            (Some(page), _) => page.url(),
            (None, Some(who)) => format!("push by {who}"),
            (None, None) => "push".to_owned(),
        };
        PopLoad {
            state,
            ratio,
            value,
            capacity,
            what: self.what.clone(),
            source,
            at: self.gauge.at(),
            age: self.gauge.age(now),
            problem: self.problem.clone(),
        }
    }
}

/// A number from 0 to 1 that is the same at every start.
fn fraction(seed: u64, step: u64) -> f64 {
    let hash = xxh3_64(&(seed ^ step.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes());
    f64::from(u32::try_from(hash >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
