//! The task of the site: everything that happens becomes an input of the controller, and what the
//! controller decides is done.
//!
//! ```text
//! probes, verdicts, overrides, rates, peers, pulse, orders → Controller → routes, addresses, sessions
//!                                                              └→ events, metrics, state
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ipnet::IpNet;
use meridian_bgp_control::{
    Action, Command, CommandError, Controller, Event, Input, Select, Stage, Verdict,
    session::{PeerEvent, PeerEventKind},
};
use meridian_config::{AnnounceHealth, Bgp, Config, PopId};
use meridian_health_prober as prober;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Order, Parts,
    addresses::Interface,
    probe::{Outcome, Probe},
    rates::Rates,
    sessions::{News, Passed, Sessions},
    settings,
    state::Announcements,
    words,
};
use crate::runtime::{
    describe,
    events::{EventKind, NewEvent},
    privileges,
};

/// How often time alone is looked at: the pulse, rates and deadlines.
const TICK: Duration = Duration::from_millis(50);

/// A DNS worker that has not gone round for so long serves no more.
const STALLED: Duration = Duration::from_secs(1);

/// Between the probes of a server that is about to take over.
const HURRY: Duration = Duration::from_millis(50);

/// Between two looks at the age of the data.
const FRESH: Duration = Duration::from_secs(5);

/// Everything that the task holds.
pub(super) struct Task {
    pub(super) parts: Parts,
    pub(super) config: Arc<Config>,
    pub(super) bgp: Bgp,
    pub(super) controller: Controller,
    pub(super) sessions: Sessions,
    pub(super) interface: Interface,
    pub(super) probes: BTreeMap<IpNet, Probe>,
    pub(super) outcomes: (mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>),
    pub(super) last_probe: HashMap<IpNet, String>,
    pub(super) rates: Rates,
    /// Why the operator has drained the site's PoP.
    pub(super) drained: Option<String>,
    pub(super) ticks_stalled: u32,
    pub(super) last_tick: Instant,
    pub(super) fresh_at: Option<Instant>,
    pub(super) reload_refused: Option<String>,
    /// A new server that has not taken over yet opens no session of its own.
    pub(super) waits_for_predecessor: bool,
    /// Told to stop: nothing is decided any more.
    pub(super) closed: bool,
    /// The operator's drain has ended all sessions.
    pub(super) ceased: bool,
    /// Another process answers for us: what is found meanwhile means nothing.
    pub(super) frozen: Arc<AtomicBool>,
    pub(super) shown_at: Instant,
    pub(super) state: watch::Sender<Arc<Announcements>>,
}

impl Task {
    /// A task that has done nothing yet. `None` when nothing is configured.
    pub(super) fn new(
        parts: Parts,
        state: watch::Sender<Arc<Announcements>>,
        now: Instant,
    ) -> Option<Self> {
        let config = parts.config.clone();
        let bgp = config.bgp.clone()?;
        let mut settings = settings::controller(&config, &bgp);
        if parts.successor {
            // What the predecessor announces has been waited for already.
            settings.timing.startup_delay = Duration::ZERO;
        }
        let (dns, frozen) = (parts.dns.clone(), Arc::new(AtomicBool::new(false)));
        let answers_elsewhere = frozen.clone();
        let pulse: super::sessions::Pulse = Arc::new(move || {
            answers_elsewhere.load(Relaxed) || !dns.load().pulse.stalled(clock(), STALLED / 2)
        });
        Some(Self {
            controller: Controller::new(settings, now),
            sessions: Sessions::new(pulse),
            interface: Interface::open(&bgp),
            probes: BTreeMap::new(),
            outcomes: mpsc::channel(64),
            last_probe: HashMap::new(),
            rates: Rates::default(),
            drained: None,
            ticks_stalled: 0,
            last_tick: now,
            fresh_at: None,
            reload_refused: None,
            waits_for_predecessor: parts.successor,
            closed: false,
            ceased: false,
            frozen,
            shown_at: now,
            state,
            config,
            bgp,
            parts,
        })
    }

    /// Runs until the last order.
    pub(super) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        self.begin();
        // A drain that survived a restart comes before everything else.
        self.judge_health().await;
        self.feed(Input::Tick).await;
        self.want_addresses();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut health = self.parts.health.clone();
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Finish(done)) => {
                        self.interface.remove_all().await;
                        let _ = done.send(());
                        return;
                    }
                    Some(order) => self.obey(order).await,
                    None => return,
                },
                Some(outcome) = self.outcomes.1.recv() => self.probed(outcome).await,
                Ok(()) = health.changed() => self.judge_health().await,
                news = self.sessions.news() => self.hear(news).await,
                () = self.interface.changed() => self.addressed().await,
                _ = tick.tick() => {
                    self.tick().await;
                    // Nothing but durations has changed, unless the controller did something.
                    if !self.is_shown_late() {
                        continue;
                    }
                }
            }
            self.show();
        }
    }

    /// Before anything else is heard.
    fn begin(&mut self) {
        self.watch_destinations();
        self.start_probes();
        self.open_sessions(Passed::default());
        for note in settings::notes(&self.config) {
            tracing::warn!("{note}");
        }
    }

    fn watch_destinations(&self) {
        let dns = self.parts.dns.load();
        dns.destinations.watch(self.prefixes());
    }

    fn prefixes(&self) -> Vec<IpNet> {
        self.bgp.announce.iter().map(|one| one.prefix).collect()
    }

    fn start_probes(&mut self) {
        let mut plans = settings::plans(&self.bgp, &self.parts.listens);
        if self.waits_for_predecessor {
            // Which waits for us in turn.
            for plan in &mut plans {
                plan.interval = HURRY;
            }
        }
        self.probes.retain(|_, probe| plans.contains(&probe.plan));
        for plan in plans {
            let (snapshot, outcomes) = (self.parts.snapshot.clone(), self.outcomes.0.clone());
            self.probes
                .entry(plan.prefix)
                .or_insert_with(|| Probe::start(plan, snapshot, outcomes));
        }
    }

    async fn feed(&mut self, input: Input) {
        if self.closed || self.is_frozen() {
            return;
        }
        let actions = self.controller.step(clock(), input);
        self.perform(actions).await;
    }

    async fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Publish => self.sessions.publish(self.controller.routes()),
                Action::AddAddress(_) | Action::RemoveAddress(_) => {
                    self.want_addresses();
                }
                // Without a store there is nobody to tell.
                Action::Claim { .. } => {}
                Action::ProbeAgain(prefix) => {
                    if let Some(probe) = self.probes.get(&prefix) {
                        probe.again();
                    }
                }
                Action::ExcludeFromSteering => (self.parts.exclude)(true),
                Action::IncludeInSteering => (self.parts.exclude)(false),
                Action::Cease(text) => {
                    self.ceased = true;
                    self.sessions.close(&text).await;
                }
                Action::OpenSessions => {
                    self.ceased = false;
                    self.open_sessions(Passed::default());
                }
                Action::Event(event) => self.tell(&event),
            }
        }
    }

    fn open_sessions(&mut self, passed: Passed) {
        if !self.waits_for_predecessor && !self.ceased {
            self.sessions.open(&self.bgp, passed, clock());
        }
    }

    fn is_frozen(&self) -> bool {
        self.frozen.load(Relaxed)
    }

    fn tell(&self, event: &Event) {
        self.parts.metrics.transition(event);
        let message = match (event.prefix, event.change) {
            (Some(prefix), Some((from, to))) => format!(
                "{prefix} is {}, was {}: {}",
                words::stage_name(to),
                words::stage_name(from),
                event.text
            ),
            (Some(prefix), None) => format!("{prefix}: {}", event.text),
            (None, _) => format!("site {}: {}", self.site(), event.text),
        };
        let kind = if event.alarm {
            EventKind::Alarm
        } else {
            EventKind::Announcement
        };
        let good = event.change.is_some_and(|(_, to)| to == Stage::Up) || event.change.is_none();
        (self.parts.tell)(NewEvent::new(kind, message).pop(self.site()).good(good));
    }

    pub(super) fn site(&self) -> &str {
        &self.config.pop(self.bgp.site).name
    }

    async fn probed(&mut self, outcome: Outcome) {
        self.rates.own(outcome.prefix, outcome.questions);
        let last = outcome.result.as_ref().err().cloned();
        self.last_probe
            .insert(outcome.prefix, last.unwrap_or_else(|| "pass".to_owned()));
        self.feed(Input::Probe {
            prefix: outcome.prefix,
            result: outcome.result,
        })
        .await;
    }

    /// Verdicts of the PoPs that prefixes depend on, and the operator's override of our own.
    async fn judge_health(&mut self) {
        let health = self.parts.health.borrow().clone();
        let mut pops: Vec<PopId> = Vec::new();
        for one in &self.bgp.announce {
            if let AnnounceHealth::Pop(pop) = one.health
                && !pops.contains(&pop)
            {
                pops.push(pop);
            }
        }
        for id in pops {
            let (verdict, reason, _) = describe::worst(&self.config, &health, id);
            let verdict = match verdict {
                prober::Verdict::Up => Verdict::Up,
                prober::Verdict::Down => Verdict::Down,
                prober::Verdict::Unknown => Verdict::Unknown,
            };
            let pop = self.config.pop(id).name.clone();
            self.feed(Input::Verdict {
                pop,
                verdict,
                reason,
            })
            .await;
        }
        let over = health.overrides.get(self.site());
        let drained = over.map(|over| over.reason.clone());
        if drained != self.drained {
            let select = Select::Site;
            let command = match &drained {
                Some(reason) => Command::Drain {
                    select,
                    reason: reason.clone(),
                },
                None => Command::Undo { select },
            };
            self.drained = drained;
            // The whole site is always there.
            let _ = self.command(command).await;
        }
    }

    async fn command(&mut self, command: Command) -> Result<(), CommandError> {
        let actions = self.controller.command(clock(), command)?;
        self.perform(actions).await;
        Ok(())
    }

    async fn hear(&mut self, news: News) {
        match news {
            News::Status => {
                let peers = self.sessions.peers();
                self.parts.metrics.peers(&peers, &self.prefixes());
                for prefix in self.prefixes() {
                    let holds = |peer: &&meridian_bgp_control::session::PeerStatus| {
                        peer.routes.iter().any(|route| route.prefix == prefix)
                    };
                    let count = peers.iter().filter(holds).count();
                    let peers = u32::try_from(count).unwrap_or(u32::MAX);
                    self.feed(Input::Sent { prefix, peers }).await;
                }
            }
            News::Event(event) => self.tell_peer(event),
            News::Liveness(peer, liveness) => self.sessions.alive(&peer, liveness),
        }
    }

    fn tell_peer(&self, event: PeerEvent) {
        let peer = event.peer;
        let (kind, good, message) = match event.kind {
            PeerEventKind::Up { lint } => {
                for line in lint {
                    let message = format!("peer {peer}: {line}");
                    (self.parts.tell)(NewEvent::new(EventKind::Peer, message));
                }
                (EventKind::Peer, true, format!("peer {peer} is up"))
            }
            PeerEventKind::Down { reason } => (
                EventKind::Peer,
                false,
                format!("peer {peer} is down: {reason}"),
            ),
            PeerEventKind::Alarm { text } => {
                (EventKind::Alarm, false, format!("peer {peer}: {text}"))
            }
            PeerEventKind::Sent {
                announced,
                withdrawn,
            } => (
                EventKind::Peer,
                true,
                format!("peer {peer} was told: {}", told(&announced, &withdrawn)),
            ),
        };
        (self.parts.tell)(NewEvent::new(kind, message).good(good));
    }

    fn want_addresses(&self) {
        self.interface.want(self.controller.addresses());
    }

    async fn addressed(&mut self) {
        let (changes, local) = self.interface.look();
        // A next hop is an address of ours, but none of those that other sites have too.
        let service = |address: &IpAddr| {
            let mut announced = self.bgp.announce.iter();
            announced.any(|one| one.addresses.contains(address))
        };
        let links = local.into_iter().filter(|a| !service(a)).collect();
        self.feed(Input::Links(links)).await;
        for (address, state) in changes {
            self.feed(Input::Address { address, state }).await;
        }
    }

    async fn tick(&mut self) {
        let now = clock();
        self.feel_pulse(now).await;
        let prefixes = self.prefixes();
        let destinations = self.parts.dns.load().destinations.clone();
        for (prefix, per_second) in self
            .rates
            .measure(now, &prefixes, |p| destinations.count(p))
        {
            self.feed(Input::Rate { prefix, per_second }).await;
        }
        if self.fresh_at.is_none_or(|at| now >= at + FRESH) {
            self.fresh_at = Some(now);
            let stale = (self.parts.stale)(self.bgp.stale_after);
            self.feed(Input::Fresh(stale)).await;
        }
        if !self.closed && !self.is_frozen() {
            self.sessions.retry(&self.bgp, now);
        }
        self.feed(Input::Tick).await;
    }

    /// The serving threads must have stood still at two looks: after a pause of the whole process
    /// they get the chance to go round first.
    async fn feel_pulse(&mut self, now: Instant) {
        let paused = now.saturating_duration_since(self.last_tick) > 4 * TICK;
        self.last_tick = now;
        let quiet = self.parts.dns.load().pulse.quiet(now);
        if quiet <= STALLED || paused {
            let was = std::mem::take(&mut self.ticks_stalled);
            if was >= 2 && quiet <= STALLED {
                self.feed(Input::Serving(Ok(()))).await;
            }
            return;
        }
        self.ticks_stalled = self.ticks_stalled.saturating_add(1);
        if self.ticks_stalled == 2 {
            let seconds = quiet.as_secs_f64();
            let reason = format!("a DNS worker has stood still for {seconds:.1} s");
            self.feed(Input::Serving(Err(reason))).await;
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Command(command, reply) => {
                let result = self.command(command).await;
                let _ = reply.send(result);
            }
            Order::Reload(config) => self.reload(config).await,
            Order::Close(text, done) => {
                self.closed = true;
                self.probes.clear();
                self.sessions.close(&text).await;
                let _ = done.send(());
            }
            Order::HandOver(reply) => {
                self.waits_for_predecessor = true;
                let _ = reply.send(self.sessions.hand_over().await);
            }
            Order::Adopt(passed, done) => {
                self.waits_for_predecessor = false;
                self.sessions.publish(self.controller.routes());
                self.open_sessions(*passed);
                self.start_probes();
                self.restore_delays().await;
                let _ = done.send(self.sessions.problem.clone().map_or(Ok(()), Err));
            }
            Order::Announcing(reply) => self.report_announcing(reply),
            Order::Freeze(frozen, done) => {
                self.freeze(frozen);
                let _ = done.send(());
            }
            Order::Launch(mut program, reply) => {
                let _ = reply.send(privileges::launch(&mut program));
            }
            // Taken by the loop.
            Order::Finish(done) => drop(done),
        }
    }

    fn freeze(&mut self, frozen: bool) {
        self.frozen.store(frozen, Relaxed);
        if frozen {
            self.probes.clear();
        } else {
            // The sockets are read by other threads now, which count from 0.
            self.watch_destinations();
            self.rates = Rates::default();
            self.start_probes();
        }
    }

    /// The times that a successor had set aside.
    async fn restore_delays(&mut self) {
        let settings = settings::controller(&self.config, &self.bgp);
        if let Ok(actions) = self.controller.reload(clock(), settings, true) {
            self.perform(actions).await;
        }
    }

    /// Which prefixes are announced, and why the others are not.
    fn report_announcing(&self, reply: oneshot::Sender<Vec<(IpNet, Stage, String)>>) {
        let explained = self.controller.explain(clock()).into_iter();
        let all = explained.map(|one| {
            let why = one.waits_for.unwrap_or(one.why);
            (one.prefix, one.stage, why)
        });
        let _ = reply.send(all.collect());
    }

    async fn reload(&mut self, config: Arc<Config>) {
        let Some(bgp) = config.bgp.clone() else {
            // Told by the reload itself: in force after a restart.
            return;
        };
        let settings = settings::controller(&config, &bgp);
        match self.controller.reload(clock(), settings, false) {
            Ok(actions) => {
                self.reload_refused = None;
                (self.config, self.bgp) = (config, bgp);
                self.watch_destinations();
                self.start_probes();
                self.sessions.reload(&self.bgp);
                self.perform(actions).await;
                self.judge_health().await;
            }
            Err(refused) => {
                let message = format!("[bgp] stays as it was: {refused}");
                self.reload_refused = Some(message.clone());
                (self.parts.tell)(NewEvent::new(EventKind::Alarm, message));
            }
        }
    }
}

fn told(announced: &[IpNet], withdrawn: &[IpNet]) -> String {
    let list = |all: &[IpNet], what: &str| {
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        (!all.is_empty()).then(|| format!("{what} {}", all.join(", ")))
    };
    let parts = [list(announced, "announced"), list(withdrawn, "withdrawn")];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[allow(clippy::disallowed_methods)] // the task is the runner that owns the clock
pub(super) fn clock() -> Instant {
    Instant::now()
}
