//! A controller with a clock of its own, its actions on record.

use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::{
    Action, Attributes, Claim, Command, CommandError, Controller, Drain, Event, Explanation,
    GRACEFUL_SHUTDOWN, Health, Input, Permit, PrefixSettings, Select, Settings, Site, Stage,
};

pub(super) const PREFIX: &str = "192.0.2.53/32";

pub(super) fn prefix() -> IpNet {
    PREFIX.parse().unwrap()
}

pub(crate) fn announce(prefix: &str) -> PrefixSettings {
    PrefixSettings {
        prefix: prefix.parse().unwrap(),
        next_hop: None,
        attributes: Attributes {
            communities: vec![(64512, 100)],
            ..Attributes::default()
        },
        health: Health::Own,
        addresses: vec![prefix.parse::<IpNet>().unwrap().addr()],
        drain_max: Duration::from_secs(300),
        quiet_rate: 1.0,
        drain: Drain {
            prepend: 3,
            med: 100,
            min_time: Duration::from_secs(60),
            linger: Duration::from_secs(600),
        },
    }
}

pub(super) fn settings() -> Settings {
    let site = Site {
        last_resort: false,
        min_sites: 2,
    };
    Settings {
        announce: vec![announce(PREFIX)],
        ..Settings::new(site)
    }
}

pub(super) fn shared() -> Settings {
    Settings {
        shared_store: true,
        ..settings()
    }
}

pub(super) struct Bed {
    pub(super) controller: Controller,
    pub(super) now: Instant,
    pub(super) actions: Vec<Action>,
}

impl Bed {
    pub(super) fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let mut bed = Self {
            controller: Controller::new(settings, now),
            now,
            actions: Vec::new(),
        };
        bed.input(Input::Tick);
        bed
    }

    /// A bed whose prefixes are Up, nothing on record.
    pub(super) fn up(settings: Settings) -> Self {
        let mut bed = Self::new(settings);
        bed.ready();
        bed.run(10);
        assert!(
            bed.stages().iter().all(|s| *s == Stage::Up),
            "{:?}",
            bed.explain()
        );
        bed.sent(1);
        bed.actions.clear();
        bed
    }

    /// Addresses are there and probes pass.
    pub(super) fn ready(&mut self) {
        for address in self.controller.addresses().clone() {
            self.input(Input::Address {
                address,
                state: Ok(()),
            });
        }
        self.pass();
    }

    pub(super) fn input(&mut self, input: Input) -> Vec<Action> {
        let actions = self.controller.step(self.now, input);
        self.actions.extend(actions.clone());
        actions
    }

    pub(super) fn probe(&mut self, result: Result<(), &str>) -> Vec<Action> {
        let mut out = Vec::new();
        for prefix in self.prefixes() {
            let result = result.map_err(str::to_owned);
            out.extend(self.input(Input::Probe { prefix, result }));
        }
        out
    }

    pub(super) fn pass(&mut self) {
        for _ in 0..3 {
            self.probe(Ok(()));
        }
    }

    pub(super) fn fail(&mut self) {
        for _ in 0..2 {
            self.probe(Err("no reply over UDP"));
        }
    }

    pub(super) fn sent(&mut self, peers: u32) {
        for prefix in self.prefixes() {
            self.input(Input::Sent { prefix, peers });
        }
    }

    pub(super) fn rate(&mut self, per_second: f64) {
        for prefix in self.prefixes() {
            self.input(Input::Rate { prefix, per_second });
        }
    }

    pub(super) fn answer(&mut self, permit: Permit) -> Vec<Action> {
        let until = self.now + Duration::from_secs(27);
        self.input(Input::Permit {
            prefix: prefix(),
            permit,
            until,
        })
    }

    /// Lets seconds pass, a tick each.
    pub(super) fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.input(Input::Tick);
        }
    }

    pub(super) fn command(&mut self, command: Command) -> Result<(), CommandError> {
        let actions = self.controller.command(self.now, command)?;
        self.actions.extend(actions);
        Ok(())
    }

    pub(super) fn drain(&mut self) {
        let reason = "maintenance".to_owned();
        self.command(Command::Drain {
            select: Select::Site,
            reason,
        })
        .unwrap();
    }

    pub(super) fn undrain(&mut self) {
        self.command(Command::Undo {
            select: Select::Site,
        })
        .unwrap();
    }

    pub(super) fn prefixes(&self) -> Vec<IpNet> {
        let desired = self.controller.desired();
        desired.iter().map(|d| d.prefix).collect()
    }

    pub(super) fn explain(&self) -> Vec<Explanation> {
        self.controller.explain(self.now)
    }

    pub(super) fn first(&self) -> Explanation {
        self.explain().remove(0)
    }

    pub(super) fn stages(&self) -> Vec<Stage> {
        self.explain().iter().map(|e| e.stage).collect()
    }

    pub(super) fn stage(&self) -> Stage {
        self.stages()[0]
    }

    /// What goes out for the first prefix: "-", "own" or "worse".
    pub(super) fn route(&self) -> &'static str {
        match &self.controller.routes()[0].attributes {
            None => "-",
            Some(a) if a.communities.contains(&GRACEFUL_SHUTDOWN) => {
                assert_eq!((a.prepend, a.med), (3, 100));
                "worse"
            }
            Some(_) => "own",
        }
    }

    pub(super) fn claim(&self) -> Option<Claim> {
        let claims = self.actions.iter().filter_map(|action| match action {
            Action::Claim { claim, .. } => Some(*claim),
            _ => None,
        });
        claims.collect::<Vec<_>>().last().copied()
    }

    pub(super) fn events(&self) -> Vec<&Event> {
        let events = self.actions.iter().filter_map(|action| match action {
            Action::Event(event) => Some(event),
            _ => None,
        });
        events.collect()
    }

    /// The names of the actions on record, without events.
    pub(super) fn acts(&self) -> Vec<String> {
        let names = self.actions.iter().filter_map(|action| match action {
            Action::Event(_) | Action::Claim { .. } => None,
            Action::AddAddress(address) => Some(format!("add {address}")),
            Action::RemoveAddress(address) => Some(format!("remove {address}")),
            Action::Cease(_) => Some("cease".to_owned()),
            Action::ProbeAgain(_) => Some("probe again".to_owned()),
            other => Some(format!("{other:?}")),
        });
        names.collect()
    }
}
