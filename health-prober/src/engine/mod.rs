//! The whole of the prober's decisions, without I/O and without a clock.
//!
//! ```text
//! reload, overrides ─┐
//! time (poll) ───────┼─→ Engine ─→ Vec<Action>: start a probe, publish, tell
//! outcomes ──────────┘
//! ```
//!
//! One value owns every target, so nothing is locked and a snapshot is consistent by
//! construction. [`crate::runner`] feeds it and carries out its actions.

mod groups;
mod reload;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use self::groups::{Finding, Groups, Silence};
use crate::{
    GroupKey, HealthEvent, HealthSnapshot, Loads, Outcome, Override, Target, TargetId, Verdict,
    flap::Flap,
    load::{KNOWN, Observation},
    overrides,
    schedule::{Pace, Situation},
    verdict::{Machine, Thresholds},
};

/// A verdict is published at once, but never sooner than this after the last publication, so
/// that a storm of verdicts costs a bounded number of snapshots.
const VERDICT_GAP: Duration = Duration::from_millis(20);
/// That outcomes begin to contradict a verdict is published at most this often: one lost packet does
/// so too, and TTLs have whole seconds.
const DOUBT_GAP: Duration = Duration::from_millis(200);
/// Reasons and round trip times alone are published at most this often.
const DETAIL_GAP: Duration = Duration::from_secs(1);
/// With an override that ends, the wall clock is looked at this often: it may be set.
const WALL_CLOCK_STEP: Duration = Duration::from_secs(1);
/// A probe that starts later than this after it was due is counted as delayed.
const DELAYED: Duration = Duration::from_millis(100);

/// The moment, on both clocks: intervals are measured on the one that never jumps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) wall: SystemTime,
}

/// A probe to carry out.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: TargetId,
    pub(crate) target: Arc<Target>,
    pub(crate) started: Instant,
    /// Time for the whole probe.
    pub(crate) deadline: Duration,
}

/// What the runner shall do.
#[derive(Debug)]
pub(crate) enum Action {
    Start(Job),
    Tell(HealthEvent),
    Publish(Arc<HealthSnapshot>),
}

/// Every target with its state, and what was last published.
pub(crate) struct Engine {
    targets: HashMap<TargetId, Tracked>,
    /// Earliest due first. An entry whose time is not its target's `due` is out of date.
    queue: BinaryHeap<Reverse<(Instant, TargetId)>>,
    /// Targets that are judged by readings of a load source.
    passive: HashMap<GroupKey, Vec<TargetId>>,
    groups: Groups,
    overrides: BTreeMap<String, Override>,
    loads: Arc<Loads>,
    next_id: u64,
    in_flight: usize,
    max_in_flight: usize,
    delayed: u64,
    generation: u64,
    /// Where the times of [`Groups`] count from.
    began: Instant,
    published: Instant,
    news: News,
    actions: Vec<Action>,
}

/// What has happened since the last publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    None,
    Details,
    /// Outcomes began, or ceased, to contradict a verdict.
    Doubt,
    Verdicts,
    /// An operator's act: it never waits.
    Order,
}

struct Tracked {
    target: Arc<Target>,
    pace: Pace,
    thresholds: Thresholds,
    seed: u64,
    machine: Machine,
    flap: Flap,
    due: Instant,
    started: u64,
    in_flight: u32,
    last_start: Option<Instant>,
    /// Whether a pass came in since the last start.
    heard: bool,
    /// Start of the youngest probe that passed.
    passed: Option<Instant>,
    /// Start of the first probe in a row that contradicts the verdict.
    doubted: Option<Instant>,
    /// When something was last said of it, or when it began to be judged.
    judged: Instant,
    /// The last outcome that said something.
    said: Option<Outcome>,
    /// Nothing has been said for so long that it does not count beside other checks: see
    /// [`Tracked::hush`].
    silent: bool,
}

impl Engine {
    /// An engine without targets that keeps at most this many probes under way.
    pub(crate) fn new(max_in_flight: usize, now: Instant) -> Self {
        Self {
            targets: HashMap::new(),
            queue: BinaryHeap::new(),
            passive: HashMap::new(),
            groups: Groups::none(),
            overrides: BTreeMap::new(),
            loads: Arc::default(),
            next_id: 0,
            in_flight: 0,
            max_in_flight: max_in_flight.max(1),
            delayed: 0,
            generation: 0,
            began: now,
            published: now,
            news: News::None,
            actions: Vec::new(),
        }
    }

    /// Puts these overrides in place of all earlier ones. One that is over already ends at the
    /// next [`Engine::poll`].
    pub(crate) fn set_overrides(&mut self, overrides: BTreeMap<String, Override>) {
        if overrides != self.overrides {
            self.overrides = overrides;
            self.news = News::Order;
        }
    }

    /// Takes the outcome of a probe. Of a target that is gone only the slot comes back.
    pub(crate) fn finish(&mut self, job: &Job, outcome: &Outcome, now: Now) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(tracked) = self.targets.get_mut(&job.id) else {
            return;
        };
        tracked.in_flight = tracked.in_flight.saturating_sub(1);
        self.learn(job.id, job.started, outcome, now);
        if let Some(tracked) = self.targets.get_mut(&job.id) {
            tracked.due = tracked.next().max(now.instant);
            self.queue.push(Reverse((tracked.due, job.id)));
        }
    }

    /// What an outcome means for its target's verdict, and what of that is to be told.
    fn learn(&mut self, id: TargetId, started: Instant, outcome: &Outcome, now: Now) {
        let Some(tracked) = self.targets.get_mut(&id) else {
            return;
        };
        if !tracked.is_overtaken(started, outcome) {
            let (before, was_silent) = (tracked.machine.verdict(), tracked.silent);
            tracked.learn(started, outcome, now.instant);
            let after = tracked.machine.verdict();
            let soon = tracked.flips_in(now.instant);
            let turned = was_silent != tracked.silent;
            let doubted = match before == after {
                true => tracked.doubted,
                false => tracked.doubted.take(),
            };
            let finding = Finding {
                outcome,
                verdict: after,
                silence: tracked.silence(),
                turned,
                held: tracked.flap.held(now.instant),
                flips_at: soon.map(|time| now.instant + time - self.began),
                doubted_for: doubted.map(|since| now.instant.saturating_duration_since(since)),
            };
            let recorded = self.groups.record(&tracked.target, &finding, now.wall);
            let news = match before == after && !turned {
                true if recorded.contradiction => News::Doubt,
                true => News::Details,
                false => News::Verdicts,
            };
            self.news = self.news.max(news);
            let events = recorded.events.into_iter();
            self.actions.extend(events.map(Action::Tell));
        }
    }

    /// Takes what a reading of a PoP's load source says of it under a passive check: of all its
    /// endpoints, since the source counts for the PoP.
    pub(crate) fn observe(&mut self, observed: &Observation, now: Now) {
        let Observation {
            pop,
            check,
            outcome,
        } = observed;
        let key = GroupKey {
            pop: pop.clone(),
            check: check.clone(),
        };
        for id in self.passive.get(&key).cloned().unwrap_or_default() {
            self.learn(id, now.instant, outcome, now);
        }
    }

    /// Takes the loads that the next snapshot shows. They are no reason to publish one.
    pub(crate) fn set_loads(&mut self, loads: Arc<Loads>) {
        self.loads = loads;
    }

    /// Everything that is to be done now.
    pub(crate) fn poll(&mut self, now: Now) -> Vec<Action> {
        self.end_overrides(now);
        self.start_due(now.instant);
        if self.publish_due().is_some_and(|at| at <= now.instant) {
            let snapshot = self.snapshot(now.instant);
            self.published = now.instant;
            self.news = News::None;
            self.actions.push(Action::Publish(snapshot));
        }
        std::mem::take(&mut self.actions)
    }

    /// When [`Engine::poll`] next has something to do by time alone.
    pub(crate) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let probe = (self.in_flight < self.max_in_flight)
            .then(|| self.queue.peek().map(|Reverse((due, _))| *due))
            .flatten();
        let ends = self.overrides.values().any(|o| o.until.is_some());
        let wall = ends.then(|| now + WALL_CLOCK_STEP);
        [probe, self.publish_due(), wall]
            .into_iter()
            .flatten()
            .min()
    }

    /// Probes under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Probes that started late since the start.
    pub(crate) fn delayed(&self) -> u64 {
        self.delayed
    }

    /// The targets of now.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (TargetId, &Arc<Target>)> {
        self.targets
            .iter()
            .map(|(&id, tracked)| (id, &tracked.target))
    }

    /// The state of now under the next generation.
    pub(crate) fn snapshot(&mut self, now: Instant) -> Arc<HealthSnapshot> {
        self.generation += 1;
        Arc::new(HealthSnapshot {
            generation: self.generation,
            made: Some(now),
            groups: self.groups.at(now.saturating_duration_since(self.began)),
            overrides: self.overrides.clone(),
            loads: self.loads.clone(),
        })
    }

    fn publish_due(&self) -> Option<Instant> {
        let gap = match self.news {
            News::None => return None,
            News::Details => DETAIL_GAP,
            News::Doubt => DOUBT_GAP,
            News::Verdicts => VERDICT_GAP,
            News::Order => Duration::ZERO,
        };
        Some(self.published + gap)
    }

    fn start_due(&mut self, now: Instant) {
        while self.in_flight < self.max_in_flight {
            let Some(&Reverse((due, id))) = self.queue.peek().filter(|e| e.0.0 <= now) else {
                break;
            };
            self.queue.pop();
            let Some(tracked) = self.targets.get_mut(&id).filter(|t| t.due == due) else {
                continue;
            };
            self.delayed += u64::from(now.duration_since(due) > DELAYED);
            self.in_flight += 1;
            self.actions.push(Action::Start(tracked.start(id, now)));
            self.queue.push(Reverse((tracked.due, id)));
        }
    }

    fn end_overrides(&mut self, now: Now) {
        for pop in overrides::expired(&self.overrides, now.wall) {
            if let Some(ended) = self.overrides.remove(&pop) {
                self.news = News::Verdicts;
                let event = HealthEvent::OverrideEnded {
                    pop,
                    ended,
                    at: now.wall,
                };
                self.actions.push(Action::Tell(event));
            }
        }
    }
}

impl Tracked {
    fn start(&mut self, id: TargetId, now: Instant) -> Job {
        self.started += 1;
        self.in_flight += 1;
        self.heard = false;
        self.last_start = Some(now);
        self.due = self.next();
        Job {
            id,
            target: self.target.clone(),
            started: now,
            deadline: self.pace.deadline,
        }
    }

    /// A failure says nothing new when a probe that started later has passed: the silence of a
    /// lost packet ends long after the answer to the next one.
    fn is_overtaken(&self, started: Instant, outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Fail { .. }) && self.passed.is_some_and(|p| p > started)
    }

    fn learn(&mut self, started: Instant, outcome: &Outcome, now: Instant) {
        let passed = match outcome {
            Outcome::Inconclusive { .. } => return self.hush(now),
            Outcome::Pass { .. } => true,
            Outcome::Fail { .. } => false,
        };
        self.count(passed, started, now);
        if self.target.is_passive() {
            self.judged = now;
            self.said = Some(outcome.clone());
            self.silent &= passed && self.machine.verdict() == Verdict::Down;
        }
    }

    /// # Why
    /// A passive check speaks through the exporter of the load source. When that dies, its last word
    /// stands for ever, and a PoP that was down by it would never come back, however well it serves.
    ///
    /// # Trip
    /// After [`KNOWN`] intervals without a reading that can be judged, the time after which a load is not
    /// known either. The verdict stays, the counters start at zero.
    ///
    /// # Recovery
    /// By the first reading that can be judged; where the check was down and now passes, only once it
    /// has come up: its return must not take out a PoP that no reading speaks against.
    fn hush(&mut self, now: Instant) {
        let silent = now.saturating_duration_since(self.judged) >= self.silence_limit();
        if self.target.is_passive() && !self.silent && silent {
            self.silent = true;
            self.doubted = None;
            self.machine = Machine::new(self.machine.verdict());
        }
    }

    fn silence_limit(&self) -> Duration {
        self.target.check.interval.saturating_mul(KNOWN)
    }

    fn silence(&self) -> Option<Silence<'_>> {
        self.silent.then(|| Silence {
            limit: self.silence_limit(),
            said: self.said.as_ref(),
        })
    }

    fn count(&mut self, passed: bool, started: Instant, now: Instant) {
        if passed {
            self.heard = true;
            self.passed = self.passed.max(Some(started));
        }
        if self.machine.verdict().is_usable() == passed {
            self.doubted = None;
        } else {
            self.doubted.get_or_insert(started);
        }
        let next = self.machine.after(passed, self.thresholds);
        match (self.machine.verdict(), next.verdict()) {
            (Verdict::Down, Verdict::Up) if self.flap.held(now).is_some() => {
                // The passes so far are remembered: the first one after the time brings it up.
                return;
            }
            (Verdict::Up, Verdict::Down) => self.flap.fall(now, self.target.check.hold_down),
            _ => {}
        }
        self.machine = next;
    }

    /// Shortest time in which the verdict could flip, by the thresholds and by how often it is
    /// probed; `None` while nothing contradicts it.
    fn flips_in(&self, now: Instant) -> Option<Duration> {
        let (failures, passes) = (self.machine.failures(), self.machine.passes());
        let held = self.flap.remaining(now);
        // With a rise of 1 a pass that is held back is counted nowhere else.
        let waits = held.is_some() && self.doubted.is_some();
        match self.machine.verdict() {
            Verdict::Down if passes > 0 || waits => {
                let missing = self.thresholds.rise.saturating_sub(passes);
                Some(self.pace.rise_in(missing).max(held.unwrap_or_default()))
            }
            Verdict::Up | Verdict::Unknown if failures > 0 => {
                let missing = self.thresholds.fall.saturating_sub(failures);
                // Nothing is read sooner because it failed.
                Some(match self.target.is_passive() {
                    true => self.pace.rise_in(missing),
                    false => self.pace.fall_in(missing),
                })
            }
            _ => None,
        }
    }

    fn next(&self) -> Instant {
        let Some(last_start) = self.last_start else {
            return self.due;
        };
        let situation = Situation {
            last_start,
            started: self.started,
            heard: self.heard,
            in_flight: self.in_flight,
            failures: self.machine.failures(),
            down: self.machine.verdict() == Verdict::Down,
        };
        self.pace.next(situation, self.seed)
    }
}
