//! The world: sites, the store, and messages between them, driven by a queue of events.
#![allow(clippy::disallowed_methods)] // any instant serves as the start of simulated time

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use crate::{
    Action, Command, Controller, Input, Select, Settings, Site, Stage,
    controller::tests::bed::announce,
    permit::{
        CasError, Claim, Identity, Lease, LeaseAction, LeaseInput, ReadError, Revision, Rules,
        Timing,
    },
};

use super::{
    schedule::{At, Fault, Setup},
    store::{Random, Store},
};

/// A loss that automation did not cause may stay unknown for so long: the age at which a sign of
/// life stops counting (30 s) and the life of the permit granted on it (27 s), on slow clocks, and
/// the answer's way.
const UNKNOWN: Duration = Duration::from_secs(61);

/// All sites are up, and have seen each other, when the schedule begins.
const BEGIN: Duration = Duration::from_secs(35);

const MILLISECOND: Duration = Duration::from_millis(1);

#[derive(Clone, Debug)]
enum Happens {
    Fault(Fault),
    Wake {
        site: usize,
        alarm: u64,
    },
    Request {
        site: usize,
        life: u64,
        operation: u64,
        request: Request,
    },
    Reply {
        site: usize,
        life: u64,
        operation: u64,
        input: LeaseInput,
    },
    Sent {
        site: usize,
        life: u64,
        peers: u32,
    },
}

#[derive(Clone, Debug)]
enum Request {
    Read,
    Cas {
        expected: Revision,
        value: bytes::Bytes,
    },
}

struct Running {
    controller: Controller,
    lease: Lease,
    operation: u64,
}

struct SimulatedSite {
    running: Option<Running>,
    /// Counts starts, so that a message to the last life is not taken for one to this.
    life: u64,
    alarm: u64,
    rate: f64,
    healthy: bool,
    linked: bool,
    /// Its keeper of permits hangs.
    hung: bool,
    announced: bool,
    /// Automation withdrew it, and nobody else took it away since.
    away: bool,
    /// When something else than automation took its announcement.
    lost: Option<Duration>,
}

pub(super) struct World {
    setup: Setup,
    strict: bool,
    start: Instant,
    now: Duration,
    end: Duration,
    sites: Vec<SimulatedSite>,
    store: Store,
    no_leader_until: Duration,
    random: Random,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    pending: Vec<Option<Happens>>,
    log: Vec<String>,
    pub(super) withdrawals: u64,
    pub(super) refusals: u64,
    pub(super) permits_lost: u64,
}

impl World {
    pub(super) fn new(setup: &Setup, schedule: &[At], strict: bool) -> Self {
        let site = |number: usize| SimulatedSite {
            running: None,
            life: 0,
            alarm: 0,
            rate: 1.0 + f64::from(setup.drift[number % setup.drift.len()]) / 1000.0,
            healthy: true,
            linked: true,
            hung: false,
            announced: false,
            away: false,
            lost: None,
        };
        let mut world = Self {
            setup: setup.clone(),
            strict,
            start: Instant::now(),
            now: Duration::ZERO,
            end: BEGIN,
            sites: (0..setup.sites).map(site).collect(),
            store: Store::new(),
            no_leader_until: Duration::ZERO,
            random: Random(setup.seed),
            queue: BinaryHeap::new(),
            pending: Vec::new(),
            log: Vec::new(),
            withdrawals: 0,
            refusals: 0,
            permits_lost: 0,
        };
        for At(at, fault) in schedule {
            let at = BEGIN + Duration::from_millis(u64::from(*at) * 100);
            world.at(at, Happens::Fault(*fault));
            world.end = world.end.max(at + Duration::from_secs(45));
        }
        world
    }

    /// Runs to the end of the schedule and a while more.
    pub(super) fn run(&mut self) -> Result<(), String> {
        for site in 0..self.sites.len() {
            self.launch(site);
        }
        while let Some(Reverse((at, number))) = self.queue.pop() {
            if at > self.end {
                break;
            }
            self.now = at;
            let happens = usize::try_from(number)
                .ok()
                .and_then(|n| self.pending[n].take());
            if let Some(happens) = happens {
                self.happen(happens);
                self.judge()?;
            }
        }
        Ok(())
    }

    pub(super) fn announcing(&self) -> usize {
        self.sites.iter().filter(|site| site.announced).count()
    }

    pub(super) fn pinned(&self) -> usize {
        let stage = |site: &SimulatedSite| {
            let running = site.running.as_ref()?;
            Some(running.controller.explain(self.local(site)).first()?.stage)
        };
        self.sites
            .iter()
            .filter(|site| stage(site) == Some(Stage::Pinned))
            .count()
    }

    /// What happened, by the second.
    pub(super) fn story(&self) -> String {
        let mut story = format!("{:?}\n", self.setup);
        story.push_str(&self.log.join("\n"));
        story
    }

    /// The invariants.
    fn judge(&self) -> Result<(), String> {
        let away = self.sites.iter().filter(|site| site.away).count();
        if away == 0 {
            return Ok(());
        }
        let unknown = |site: &&SimulatedSite| {
            site.lost.is_some_and(|at| self.now < at + UNKNOWN) && !site.announced
        };
        let excused = if self.strict {
            0
        } else {
            self.sites.iter().filter(unknown).count()
        };
        let announcing = self.announcing();
        let needed = self.setup.min_sites.max(1) as usize;
        let when = self.now.as_secs_f64();
        if announcing + excused < needed {
            return Err(format!(
                "{when:.2} s: automation keeps {away} away, {announcing} announce, \
                 {excused} lost a moment ago, {needed} needed"
            ));
        }
        if away > self.setup.max_concurrent as usize {
            let max = self.setup.max_concurrent;
            return Err(format!("{when:.2} s: {away} away, max_concurrent {max}"));
        }
        Ok(())
    }

    fn happen(&mut self, happens: Happens) {
        match happens {
            Happens::Fault(fault) => self.fault(fault),
            Happens::Wake { site, alarm } if self.sites[site].alarm == alarm => {
                self.input(site, Input::Tick);
                self.lease(site, LeaseInput::Tick);
            }
            Happens::Wake { .. } => {}
            Happens::Request {
                site,
                life,
                operation,
                request,
            } => {
                self.serve(site, life, operation, request);
            }
            Happens::Reply {
                site,
                life,
                operation,
                input,
            } => {
                let current = |running: &Running| running.operation == operation;
                let alive = self.sites[site].life == life
                    && self.sites[site].running.as_ref().is_some_and(current);
                if alive {
                    if let Some(running) = &mut self.sites[site].running {
                        running.operation += 1;
                    }
                    self.lease(site, input);
                }
            }
            Happens::Sent { site, life, peers } if self.sites[site].life == life => {
                let prefix = announce("192.0.2.53/32").prefix;
                self.input(site, Input::Sent { prefix, peers });
            }
            Happens::Sent { .. } => {}
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.log
            .push(format!("{:8.2} s  {fault:?}", self.now.as_secs_f64()));
        let count = self.sites.len();
        let all = 0..count;
        match fault {
            Fault::Fail(site) => self.health(site % count, false),
            Fault::Heal(site) => self.health(site % count, true),
            Fault::FailAll => all.for_each(|site| self.health(site, false)),
            Fault::HealAll => all.for_each(|site| self.health(site, true)),
            Fault::Kill(site) => self.kill(site % count),
            Fault::Start(site) => self.launch(site % count),
            Fault::Cut(site) => self.sites[site % count].linked = false,
            Fault::Join(site) => self.sites[site % count].linked = true,
            Fault::CutAll => self.sites.iter_mut().for_each(|site| site.linked = false),
            Fault::JoinAll => self.sites.iter_mut().for_each(|site| site.linked = true),
            Fault::Gap(seconds) => {
                self.no_leader_until = self.now + Duration::from_secs(u64::from(seconds));
            }
            Fault::Hang(site) => self.sites[site % count].hung = true,
            Fault::Drain(site) => {
                let reason = "test".to_owned();
                self.command(
                    site % count,
                    Command::Withdraw {
                        select: Select::Site,
                        reason,
                    },
                );
            }
            Fault::Undrain(site) => {
                self.command(
                    site % count,
                    Command::Undo {
                        select: Select::Site,
                    },
                );
            }
            Fault::HealEverything => {
                self.setup.loss = 0;
                for site in all {
                    self.sites[site].linked = true;
                    if self.sites[site].hung {
                        self.kill(site);
                    }
                    self.launch(site);
                    self.command(
                        site,
                        Command::Undo {
                            select: Select::Site,
                        },
                    );
                    self.health(site, true);
                }
            }
        }
    }

    fn local(&self, site: &SimulatedSite) -> Instant {
        self.start + self.now.mul_f64(site.rate)
    }

    fn launch(&mut self, number: usize) {
        if self.sites[number].running.is_some() {
            return;
        }
        let now = self.local(&self.sites[number]);
        let site = Site {
            last_resort: false,
            min_sites: self.setup.min_sites,
        };
        let settings = Settings {
            shared_store: true,
            announce: vec![announce("192.0.2.53/32")],
            ..Settings::new(site)
        };
        let identity = Identity {
            site: format!("site{number}"),
            incarnation: self.random.next(),
        };
        let rules = Rules {
            min_sites: self.setup.min_sites,
            max_concurrent: self.setup.max_concurrent,
        };
        self.sites[number].life += 1;
        self.sites[number].hung = false;
        self.sites[number].running = Some(Running {
            controller: Controller::new(settings, now),
            lease: Lease::new(identity, rules, Timing::default(), now),
            operation: 0,
        });
        self.input(number, Input::Tick);
        self.lease(number, LeaseInput::Claim(Claim::default()));
        let healthy = self.sites[number].healthy;
        self.health(number, healthy);
    }

    fn kill(&mut self, number: usize) {
        let site = &mut self.sites[number];
        site.running = None;
        if site.announced || site.away {
            site.lost = Some(self.now);
        }
        (site.announced, site.away) = (false, false);
    }

    /// Two failures, or three passes: what makes a difference.
    fn health(&mut self, number: usize, healthy: bool) {
        self.sites[number].healthy = healthy;
        let prefix = announce("192.0.2.53/32").prefix;
        for _ in 0..3 {
            let result = if healthy {
                Ok(())
            } else {
                Err("no reply".to_owned())
            };
            self.input(number, Input::Probe { prefix, result });
        }
    }

    fn command(&mut self, number: usize, command: Command) {
        let operator = !matches!(command, Command::Undo { .. });
        let now = self.local(&self.sites[number]);
        let Some(running) = &mut self.sites[number].running else {
            return;
        };
        let actions = running.controller.command(now, command).unwrap_or_default();
        if operator {
            let site = &mut self.sites[number];
            if site.announced || site.away {
                site.lost = Some(self.now);
            }
            site.away = false;
        }
        self.perform(number, actions, operator);
        self.set_alarm(number);
    }

    fn input(&mut self, number: usize, input: Input) {
        let now = self.local(&self.sites[number]);
        let Some(running) = &mut self.sites[number].running else {
            return;
        };
        let actions = running.controller.step(now, input);
        self.perform(number, actions, false);
        self.set_alarm(number);
    }

    fn lease(&mut self, number: usize, input: LeaseInput) {
        if self.sites[number].hung {
            return;
        }
        let now = self.local(&self.sites[number]);
        let Some(running) = &mut self.sites[number].running else {
            return;
        };
        let actions = running.lease.step(now, input);
        let operation = running.operation;
        for action in actions {
            match action {
                LeaseAction::Answer { permit, until } => {
                    let prefix = announce("192.0.2.53/32").prefix;
                    self.input(
                        number,
                        Input::Permit {
                            prefix,
                            permit,
                            until,
                        },
                    );
                }
                LeaseAction::Read => self.request(number, operation, Request::Read),
                LeaseAction::Cas { expected, value } => {
                    self.request(number, operation, Request::Cas { expected, value });
                }
            }
        }
        self.set_alarm(number);
    }

    fn perform(&mut self, number: usize, actions: Vec<Action>, operator: bool) {
        for action in actions {
            match action {
                Action::Publish => self.published(number, operator),
                Action::AddAddress(address) => {
                    self.input(
                        number,
                        Input::Address {
                            address,
                            state: Ok(()),
                        },
                    );
                }
                Action::Claim { claim, .. } => self.lease(number, LeaseInput::Claim(claim)),
                Action::Event(event) => {
                    self.refusals += u64::from(event.text.contains("refused"));
                    self.permits_lost += u64::from(event.text.contains("the permit ended"));
                    let when = self.now.as_secs_f64();
                    let change = event.change.map(|(a, b)| format!("{a:?} → {b:?}, "));
                    let change = change.unwrap_or_default();
                    self.log.push(format!(
                        "{when:8.2} s  site {number}: {change}{}",
                        event.text
                    ));
                }
                _ => {}
            }
        }
    }

    fn published(&mut self, number: usize, operator: bool) {
        let site = &mut self.sites[number];
        let Some(running) = &site.running else { return };
        let announced = running
            .controller
            .routes()
            .iter()
            .any(|r| r.attributes.is_some());
        if site.announced && !announced && !operator {
            site.away = true;
            self.withdrawals += 1;
        }
        site.away &= !announced;
        site.announced = announced;
        let (life, peers) = (site.life, u32::from(announced));
        self.at(
            self.now + MILLISECOND * 20,
            Happens::Sent {
                site: number,
                life,
                peers,
            },
        );
    }

    /// Sends a request. The asker gives up after its patience; the request may arrive later still.
    fn request(&mut self, number: usize, operation: u64, request: Request) {
        let (life, linked) = (self.sites[number].life, self.sites[number].linked);
        let gives_up = match request {
            Request::Read => LeaseInput::Read(Err(ReadError("no answer".to_owned()))),
            Request::Cas { .. } => LeaseInput::Cas(Err(CasError::Ambiguous("lost".to_owned()))),
        };
        let patience = Timing::default().patience;
        let reply = Happens::Reply {
            site: number,
            life,
            operation,
            input: gives_up,
        };
        self.at(self.now + patience, reply);
        if linked && !self.random.percent(self.setup.loss) {
            let at = self.now + self.delay();
            self.at(
                at,
                Happens::Request {
                    site: number,
                    life,
                    operation,
                    request,
                },
            );
        }
    }

    fn serve(&mut self, number: usize, life: u64, operation: u64, request: Request) {
        if self.now < self.no_leader_until {
            return;
        }
        let input = match request {
            Request::Read => {
                let stale = self.random.percent(self.setup.stale);
                let back = if stale { 1 + self.random.below(6) } else { 0 };
                LeaseInput::Read(Ok(self.store.read(usize::try_from(back).unwrap_or(0))))
            }
            Request::Cas { expected, value } => LeaseInput::Cas(self.store.cas(expected, value)),
        };
        if self.sites[number].linked && !self.random.percent(self.setup.loss) {
            let at = self.now + self.delay();
            self.at(
                at,
                Happens::Reply {
                    site: number,
                    life,
                    operation,
                    input,
                },
            );
        }
    }

    fn delay(&mut self) -> Duration {
        let late = self.random.percent(self.setup.late);
        let most = if late { 4_000 } else { 30 };
        MILLISECOND * (1 + u32::try_from(self.random.below(most)).unwrap_or(0))
    }

    /// Sleeps until the earlier of the two deadlines, by the site's own clock.
    fn set_alarm(&mut self, number: usize) {
        let site = &self.sites[number];
        let local = self.local(site);
        let Some(running) = &site.running else { return };
        let lease = running.lease.next_deadline().filter(|_| !site.hung);
        let deadlines = [running.controller.next_deadline(local), lease];
        let Some(at) = deadlines.into_iter().flatten().min() else {
            return;
        };
        let wait = at.saturating_duration_since(local).div_f64(site.rate);
        self.sites[number].alarm += 1;
        let alarm = self.sites[number].alarm;
        self.at(
            self.now + wait.max(MILLISECOND),
            Happens::Wake {
                site: number,
                alarm,
            },
        );
    }

    fn at(&mut self, at: Duration, happens: Happens) {
        self.queue.push(Reverse((at, self.pending.len() as u64)));
        self.pending.push(Some(happens));
    }
}
