//! What is unlike its own recent past: queries of a service, the share of a PoP, health that falls,
//! loads that are no longer known, geo data that has grown old.
//!
//! ```text
//! counters, health, loads, databases → Observed → Monitor::step (pure) → News → events, metrics
//! ```
//!
//! # Rules
//! 1. Every minute is compared with the baseline of the same thing: a mean of its past in which
//!    the last hour counts most ([`baseline`]). Nothing is compared with anything else.
//! 2. An anomaly begins after three minutes in a row that are off, and ends after three that are
//!    well within bounds: a spike is none, and one at the edge does not begin again and again.
//! 3. Little traffic says nothing: below `queries` in a second, expected or seen, nothing begins.
//! 4. What stays becomes normal: the baseline follows, slowly.
//! 5. How much is off stands in `[anomalies]`.
//! 6. At most [`TOLD`] that begin in one minute, and as many that end, are told one by one; the others in one line.

pub mod baseline;
mod board;
mod metrics;
mod run;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use board::Board;
pub use metrics::AnomalyMetrics;

use baseline::{Bounds, Change, Series};
use meridian_config::Anomalies;

/// Anomalies that begin, or end, in one minute and are told one by one.
pub const TOLD: usize = 10;
/// Anomalies of each kind that are in `status` and have a series of their own in the metrics.
pub const SHOWN: usize = 100;
/// Off by more than the factor (three times, say) either way; well again within two thirds of it.
fn traffic_bounds(limits: &Anomalies) -> Bounds {
    let factor = limits.factor;
    Bounds {
        low: Some(1.0 / factor),
        high: Some(factor),
        well_low: 1.5 / factor,
        well_high: factor / 1.5,
    }
}

/// So many of the endpoints that were usable are gone; well again when half of them are back.
fn health_bounds(limits: &Anomalies) -> Bounds {
    Bounds {
        low: Some(1.0 - limits.health_drop),
        high: None,
        well_low: 1.0 - limits.health_drop / 2.0,
        well_high: f64::INFINITY,
    }
}

/// Queries in a minute below which nothing is judged.
fn least(limits: &Anomalies) -> f64 {
    limits.queries * 60.0
}

/// Kind of an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Queries of a service in a minute.
    Queries,
    /// Share of a PoP in all steered answers.
    Share,
    /// Share of a PoP's endpoints that are not down.
    Health,
    /// The load of a PoP is not known although it has a source.
    Load,
    /// A geo database is older than `geo_age`.
    Geo,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Queries,
        Self::Share,
        Self::Health,
        Self::Load,
        Self::Geo,
    ];

    /// The value of the label `kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queries => "queries",
            Self::Share => "share",
            Self::Health => "health",
            Self::Load => "load",
            Self::Geo => "geo",
        }
    }
}

/// What was seen at the end of a minute. Names come from the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Steered answers so far by service.
    pub services: BTreeMap<Arc<str>, u64>,
    /// Steered answers so far by PoP.
    pub pops: BTreeMap<Arc<str>, u64>,
    /// Share of endpoints that are not down, of the PoPs that are tested.
    pub health: BTreeMap<Arc<str>, f64>,
    /// Whether the load of a PoP with a source is known, and why not.
    pub loads: BTreeMap<Arc<str>, Result<(), String>>,
    /// PoPs that clients are not sent to: drained or down. Their share is nobody's surprise.
    pub out: BTreeSet<Arc<str>>,
    /// Age of each configured geo database in seconds.
    pub geo: BTreeMap<Arc<str>, u64>,
}

/// An anomaly that begins or ends.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// What kind.
    pub kind: Kind,
    /// Service, PoP or database.
    pub subject: Arc<str>,
    /// Begins, else ends.
    pub begins: bool,
    /// One sentence.
    pub message: String,
}

/// Something in force, for `status` and the metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct InForce {
    /// What kind.
    pub kind: Kind,
    /// Service, PoP or database.
    pub subject: Arc<str>,
    /// What is seen divided by what is usual; for a load 0, for geo data its age divided by `geo_age`.
    pub factor: f64,
}

/// Remembers the past of everything that is watched.
#[derive(Debug, Default)]
pub struct Monitor {
    before: Option<Observed>,
    series: BTreeMap<(Kind, Arc<str>), Series>,
    /// Loads and databases, which have no past: in force, with the factor.
    plain: BTreeMap<(Kind, Arc<str>), f64>,
    /// Loads that were known at least once: a source that never worked is no change.
    known: BTreeSet<Arc<str>>,
}

impl Monitor {
    /// Takes the next minute; returns what begins and ends.
    pub fn step(&mut self, now: Observed, limits: &Anomalies) -> Vec<News> {
        let mut news = Vec::new();
        if let Some(before) = self.before.take() {
            self.traffic(&before, &now, limits, &mut news);
        }
        let bounds = health_bounds(limits);
        for (pop, ratio) in &now.health {
            self.judge(Kind::Health, pop, *ratio, true, bounds, &mut news);
        }
        self.forget(&now);
        self.loads(&now, &mut news);
        self.geo(&now, limits.geo_age.as_secs(), &mut news);
        self.before = Some(now);
        news
    }

    /// What is in force now, by kind and name.
    pub fn in_force(&self) -> Vec<InForce> {
        let series = self.series.iter().filter(|(_, series)| series.is_off());
        let series = series.map(|(key, series)| (key, series.factor()));
        let plain = self.plain.iter().map(|(key, factor)| (key, *factor));
        let mut all: Vec<_> = series
            .chain(plain)
            .map(|((kind, subject), factor)| InForce {
                kind: *kind,
                subject: subject.clone(),
                factor,
            })
            .collect();
        all.sort_by(|a, b| (a.kind, &a.subject).cmp(&(b.kind, &b.subject)));
        all
    }

    fn traffic(
        &mut self,
        before: &Observed,
        now: &Observed,
        limits: &Anomalies,
        news: &mut Vec<News>,
    ) {
        let (bounds, least) = (traffic_bounds(limits), least(limits));
        for (service, count) in grown(&before.services, &now.services) {
            let usual = self.usual(Kind::Queries, &service).unwrap_or(0.0);
            let enough = count.max(usual) >= least;
            self.judge(Kind::Queries, &service, count, enough, bounds, news);
        }
        let pops: Vec<_> = grown(&before.pops, &now.pops).collect();
        let all: f64 = pops.iter().map(|(_, count)| count).sum();
        if all < least {
            return;
        }
        for (pop, count) in pops {
            let share = count / all;
            let usual = self.usual(Kind::Share, &pop);
            let out = now.out.contains(&pop);
            let in_force = || self.series.get(&(Kind::Share, pop.clone()));
            if out && !in_force().is_some_and(Series::is_off) {
                // Having nobody is not its usual share: it would be off when it comes back.
                continue;
            }
            let enough = share.max(usual.unwrap_or(0.0)) * all >= least && !out;
            self.judge(Kind::Share, &pop, share, enough, bounds, news);
        }
    }

    fn usual(&self, kind: Kind, subject: &Arc<str>) -> Option<f64> {
        self.series
            .get(&(kind, subject.clone()))
            .and_then(Series::usual)
    }

    fn judge(
        &mut self,
        kind: Kind,
        subject: &Arc<str>,
        value: f64,
        enough: bool,
        bounds: Bounds,
        news: &mut Vec<News>,
    ) {
        let series = self.series.entry((kind, subject.clone())).or_default();
        let usual = series.usual().unwrap_or(value);
        let begins = match series.step(value, enough, bounds) {
            Change::None => return,
            Change::Begins => true,
            Change::Ends => false,
        };
        news.push(News {
            kind,
            subject: subject.clone(),
            begins,
            message: sentence(kind, subject, value, usual, begins),
        });
    }

    /// What is no longer configured has no past.
    fn forget(&mut self, now: &Observed) {
        self.series.retain(|(kind, subject), _| match kind {
            Kind::Queries => now.services.contains_key(subject),
            Kind::Share => now.pops.contains_key(subject),
            _ => now.health.contains_key(subject),
        });
    }

    fn loads(&mut self, now: &Observed, news: &mut Vec<News>) {
        self.known.retain(|pop| now.loads.contains_key(pop));
        for (pop, load) in &now.loads {
            let key = (Kind::Load, pop.clone());
            let message = match load {
                Ok(()) => {
                    self.known.insert(pop.clone());
                    if self.plain.remove(&key).is_none() {
                        continue;
                    }
                    format!("the load of {pop} is known again")
                }
                Err(why) if self.known.contains(pop) && !self.plain.contains_key(&key) => {
                    self.plain.insert(key, 0.0);
                    format!("the load of {pop} is no longer known: {why}")
                }
                Err(_) => continue,
            };
            news.push(News {
                kind: Kind::Load,
                subject: pop.clone(),
                begins: load.is_err(),
                message,
            });
        }
        let there = |kind: Kind, pop: &Arc<str>| kind != Kind::Load || now.loads.contains_key(pop);
        self.plain.retain(|(kind, pop), _| there(*kind, pop));
    }

    fn geo(&mut self, now: &Observed, most_s: u64, news: &mut Vec<News>) {
        for (file, age) in &now.geo {
            let key = (Kind::Geo, file.clone());
            let was_old = self.plain.contains_key(&key);
            let old = *age > most_s;
            let days = age / 86_400;
            let message = match (was_old, old) {
                (false, true) => format!("the geo data in {file} is {days} days old"),
                (true, false) => format!("the geo data in {file} is {days} days old, renewed"),
                _ => String::new(),
            };
            if old {
                #[allow(clippy::cast_precision_loss, reason = "an age in seconds")]
                self.plain.insert(key, *age as f64 / most_s.max(1) as f64);
            } else {
                self.plain.remove(&key);
            }
            if !message.is_empty() {
                news.push(News {
                    kind: Kind::Geo,
                    subject: file.clone(),
                    begins: old,
                    message,
                });
            }
        }
        let there = |kind: Kind, file: &Arc<str>| kind != Kind::Geo || now.geo.contains_key(file);
        self.plain.retain(|(kind, file), _| there(*kind, file));
    }
}

/// What counters have grown by; one that is new or began anew says nothing yet.
fn grown<'a>(
    before: &'a BTreeMap<Arc<str>, u64>,
    now: &'a BTreeMap<Arc<str>, u64>,
) -> impl Iterator<Item = (Arc<str>, f64)> + 'a {
    now.iter().filter_map(|(name, count)| {
        let growth = count.checked_sub(*before.get(name)?)?;
        #[allow(clippy::cast_precision_loss, reason = "queries of a minute")]
        Some((name.clone(), growth as f64))
    })
}

fn sentence(kind: Kind, subject: &str, value: f64, usual: f64, begins: bool) -> String {
    let what = match kind {
        Kind::Queries => {
            let (value, usual) = (value / 60.0, usual / 60.0);
            format!("{subject} gets {value:.0} queries a second, usual are {usual:.0}")
        }
        Kind::Share => format!(
            "{subject} gets {:.1} % of the answers, usual are {:.1} %",
            100.0 * value,
            100.0 * usual
        ),
        _ => format!(
            "{:.0} % of the endpoints of {subject} are usable, lately it was {:.0} %",
            100.0 * value,
            100.0 * usual
        ),
    };
    match begins {
        true => what,
        false => format!("as usual again: {what}"),
    }
}

/// Splits what begins and ends into what is told one by one and the number of the others.
pub fn told(news: Vec<News>) -> (Vec<News>, usize) {
    // What ends is not lost among what begins.
    let (mut begins, mut ends) = (TOLD, TOLD);
    let mut rest = 0;
    let kept = news.into_iter().filter(|one| {
        let room = if one.begins { &mut begins } else { &mut ends };
        let told = *room > 0;
        rest += usize::from(!told);
        *room = room.saturating_sub(1);
        told
    });
    let kept = kept.collect();
    (kept, rest)
}
