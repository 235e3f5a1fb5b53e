//! One site: controller, permit keeper and speaker, without DNS: its checks are the test's word.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use meridian_bgp_control::{
    Action, Attributes, Controller, Desired, Drain, Explanation, Health, Input, PrefixSettings,
    Settings, Site, Timing,
    permit::{self, Answer, Identity, Keeper, MemoryStore, PermitStore, Rules, clock},
    session::{PeerSettings, PeerStatus, Speaker, SpeakerSettings},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::bird::{ADDRESS, Bird, PREFIX};

pub(crate) struct RunningSite {
    health: watch::Sender<bool>,
    shown: Arc<Mutex<(Option<Explanation>, usize)>>,
    task: JoinHandle<()>,
}

impl Drop for RunningSite {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RunningSite {
    pub(crate) fn start(
        number: usize,
        address: &str,
        bird: &Bird,
        store: Arc<MemoryStore>,
    ) -> Self {
        let (health, checks) = watch::channel(true);
        let shown = Arc::<Mutex<_>>::default();
        let octet = u8::try_from(number + 2).expect("few sites");
        // BIRD refuses next hops in 127/8.
        let next_hop = Ipv4Addr::new(198, 18, 0, octet);
        let speaker = speaker(octet, address, bird.port);
        let (answered, answers) = mpsc::channel(64);
        let identity = Identity {
            site: address.to_owned(),
            incarnation: number as u64,
        };
        let rules = Rules {
            min_sites: 1,
            max_concurrent: 3,
        };
        let wiring = Wiring {
            controller: Controller::new(settings(next_hop), clock::now()),
            keeper: Keeper::new(store, identity, rules, lease_timing(), answered),
            answers,
            checks,
            shown: Arc::clone(&shown),
        };
        Self {
            health,
            shown,
            task: tokio::spawn(wiring.run(speaker)),
        }
    }

    /// From now on its checks pass, or fail.
    pub(crate) fn check(&self, pass: bool) {
        self.health.send_replace(pass);
    }

    pub(crate) fn explanation(&self) -> Explanation {
        let shown = self.shown.lock().expect("not poisoned");
        shown.0.clone().expect("it runs")
    }

    /// Alarms so far.
    pub(crate) fn alarms(&self) -> usize {
        self.shown.lock().expect("not poisoned").1
    }
}

/// How often the sites have written.
pub(crate) async fn revision(store: &MemoryStore) -> u64 {
    let key = "prefix.198.51.100.53=32";
    store
        .read_leader(key)
        .await
        .map_or(0, |(revision, _)| revision.0)
}

fn lease_timing() -> permit::Timing {
    permit::Timing {
        ttl: Duration::from_secs(6),
        margin: Duration::from_secs(1),
        renew: Duration::from_millis(200),
        ask: Duration::from_millis(200),
        fresh: Duration::from_secs(6),
        ..permit::Timing::default()
    }
}

fn settings(next_hop: Ipv4Addr) -> Settings {
    let prefix = PrefixSettings {
        prefix: PREFIX.parse().expect("a prefix"),
        next_hop: Some(next_hop.into()),
        attributes: Attributes::default(),
        health: Health::Own,
        addresses: vec!["198.51.100.53".parse().expect("an address")],
        drain: Drain {
            prepend: 3,
            med: 100,
            min_time: Duration::from_secs(1),
            linger: Duration::from_secs(1),
        },
        drain_max: Duration::from_secs(1),
        quiet_rate: 1.0,
    };
    let timing = Timing {
        startup_delay: Duration::from_millis(100),
        hold_down: Duration::from_millis(100),
        ..Timing::default()
    };
    let site = Site {
        last_resort: false,
        min_sites: 1,
    };
    Settings {
        shared_store: true,
        timing,
        announce: vec![prefix],
        ..Settings::new(site)
    }
}

fn speaker(octet: u8, address: &str, port: u16) -> SpeakerSettings {
    let router = ADDRESS.parse().expect("an address");
    let peer = PeerSettings {
        port,
        local_address: Some(address.parse().expect("an address")),
        ..PeerSettings::new("bird", router, 64500)
    };
    SpeakerSettings {
        listen_port: 0,
        prefixes: vec![PREFIX.parse().expect("a prefix")],
        peers: vec![peer],
        ..SpeakerSettings::new(64512, Ipv4Addr::new(127, 0, 0, octet))
    }
}

struct Wiring {
    controller: Controller,
    keeper: Keeper,
    answers: mpsc::Receiver<Answer>,
    checks: watch::Receiver<bool>,
    shown: Arc<Mutex<(Option<Explanation>, usize)>>,
}

impl Wiring {
    async fn run(mut self, settings: SpeakerSettings) {
        let (routes, receiver) = watch::channel(Arc::new(self.controller.routes()));
        let speaker = Speaker::start(settings, receiver, Arc::new(|| true), Vec::new());
        let speaker = speaker.expect("a speaker on loopback");
        let mut status = speaker.status();
        self.input(Input::Tick, &routes);
        self.probed(&routes);
        loop {
            let deadline = self.controller.next_deadline(clock::now());
            let wait = deadline.map_or(Duration::from_secs(3600), |at| {
                at.saturating_duration_since(clock::now())
            });
            tokio::select! {
                Some(Answer { prefix, permit, until }) = self.answers.recv() => {
                    self.input(Input::Permit { prefix, permit, until }, &routes);
                }
                Ok(()) = self.checks.changed() => self.probed(&routes),
                Ok(()) = status.changed() => {
                    let peers = sent(&status.borrow_and_update());
                    let prefix = PREFIX.parse().expect("a prefix");
                    self.input(Input::Sent { prefix, peers }, &routes);
                }
                () = tokio::time::sleep(wait) => self.input(Input::Tick, &routes),
            }
        }
    }

    fn probed(&mut self, routes: &watch::Sender<Arc<Vec<Desired>>>) {
        let prefix = PREFIX.parse().expect("a prefix");
        let pass = *self.checks.borrow_and_update();
        for _ in 0..3 {
            let result = if pass {
                Ok(())
            } else {
                Err("no reply".to_owned())
            };
            self.input(Input::Probe { prefix, result }, routes);
        }
    }

    fn input(&mut self, input: Input, routes: &watch::Sender<Arc<Vec<Desired>>>) {
        for action in self.controller.step(clock::now(), input) {
            match action {
                Action::Publish => _ = routes.send_replace(Arc::new(self.controller.routes())),
                Action::Claim { prefix, claim } => self.keeper.claim(prefix, claim),
                // As with `interface = "none"`.
                Action::AddAddress(address) => {
                    self.input(
                        Input::Address {
                            address,
                            state: Ok(()),
                        },
                        routes,
                    );
                }
                Action::Event(event) => {
                    self.shown.lock().expect("not poisoned").1 += usize::from(event.alarm);
                }
                _ => {}
            }
        }
        let explained = self.controller.explain(clock::now()).pop();
        self.shown.lock().expect("not poisoned").0 = explained;
    }
}

/// Peers that hold the route from us.
fn sent(peers: &[PeerStatus]) -> u32 {
    let holds = |peer: &&PeerStatus| peer.routes.iter().any(|r| r.prefix.to_string() == PREFIX);
    u32::try_from(peers.iter().filter(holds).count()).unwrap_or(u32::MAX)
}
