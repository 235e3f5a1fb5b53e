//! Every safety rule as a property over random inputs in simulated time.

use std::time::Duration;

use proptest::prelude::*;

use crate::{
    Action, Cause, Command, GRACEFUL_SHUTDOWN, Health, Input, Permit, Select, Settings, Site,
    Stage, Verdict,
};

use super::bed::{Bed, announce, prefix, settings};

/// One thing that happens, short enough to read in a shrunk failure.
#[derive(Clone, Debug)]
enum Happens {
    Pass,
    Fail,
    Stopped(bool),
    Stale(bool),
    Dependency(bool),
    PopDown(bool),
    Address(bool),
    Permit(Option<u32>),
    Rate(u32),
    Sent(bool),
    Seconds(u64),
    Drain,
    Withdraw,
    Pin,
    Undo,
}

fn automatic() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => Just(Happens::Pass),
        4 => Just(Happens::Fail),
        1 => any::<bool>().prop_map(Happens::Stopped),
        1 => any::<bool>().prop_map(Happens::Stale),
        1 => any::<bool>().prop_map(Happens::Dependency),
        1 => any::<bool>().prop_map(Happens::PopDown),
        1 => any::<bool>().prop_map(Happens::Address),
        4 => prop::option::of(0_u32..4).prop_map(Happens::Permit),
        1 => (0_u32..10).prop_map(Happens::Rate),
        2 => any::<bool>().prop_map(Happens::Sent),
        6 => (1_u64..40).prop_map(Happens::Seconds),
    ]
}

fn anything() -> impl Strategy<Value = Happens> {
    prop_oneof![
        8 => automatic(),
        1 => Just(Happens::Drain),
        1 => Just(Happens::Withdraw),
        1 => Just(Happens::Pin),
        2 => Just(Happens::Undo),
    ]
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (flags, 0_u32..4).prop_map(|((last_resort, shared_store, pop), min_sites)| {
        let site = Site {
            last_resort,
            min_sites,
        };
        let mut made = Settings {
            site,
            shared_store,
            ..settings()
        };
        if pop {
            made.announce[0].health = Health::Pop("fra".into());
        }
        made
    })
}

fn state(good: bool) -> Result<(), String> {
    if good {
        Ok(())
    } else {
        Err("broken".to_owned())
    }
}

impl Happens {
    fn apply(&self, bed: &mut Bed) {
        let reason = || "test".to_owned();
        match self.clone() {
            Self::Pass => bed.pass(),
            Self::Fail => bed.fail(),
            Self::Stopped(stopped) => _ = bed.input(Input::Serving(state(!stopped))),
            Self::Stale(stale) => _ = bed.input(Input::Fresh(state(!stale))),
            Self::Dependency(lost) => _ = bed.input(Input::Dependencies(state(!lost))),
            Self::PopDown(down) => {
                let verdict = if down { Verdict::Down } else { Verdict::Up };
                bed.input(Input::Verdict {
                    pop: "fra".into(),
                    verdict,
                    reason: reason(),
                });
            }
            Self::Address(there) => {
                let address = prefix().addr();
                bed.input(Input::Address {
                    address,
                    state: state(there),
                });
            }
            Self::Permit(others) => {
                let permit = others.map_or(Permit::Unavailable, |others| Permit::Held { others });
                bed.answer(permit);
            }
            Self::Rate(rate) => bed.rate(f64::from(rate)),
            Self::Sent(sent) => bed.sent(u32::from(sent)),
            Self::Seconds(seconds) => bed.run(seconds),
            Self::Drain => bed.drain(),
            Self::Withdraw => {
                bed.command(Command::Withdraw {
                    select: Select::Site,
                    reason: reason(),
                })
                .unwrap();
            }
            Self::Pin => {
                bed.command(Command::Pin {
                    select: Select::Site,
                    reason: reason(),
                })
                .unwrap();
            }
            Self::Undo => bed.undrain(),
        }
    }
}

fn started(settings: Settings) -> Bed {
    let mut bed = Bed::new(settings);
    let up = Input::Verdict {
        pop: "fra".into(),
        verdict: Verdict::Up,
        reason: String::new(),
    };
    bed.input(up);
    bed.ready();
    bed.run(10);
    bed.sent(1);
    assert_eq!(bed.stage(), Stage::Up);
    bed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Rules 1 and 2: by itself the controller withdraws only for a fatal finding, never as the
    /// last resort, never while frozen, and with a shared store only under a permit that leaves
    /// enough sites.
    #[test]
    fn rules_1_and_2_automation_withdraws_only_when_it_may(
        settings in any_settings(),
        happens in prop::collection::vec(automatic(), 1..40),
    ) {
        let site = settings.site;
        let shared = settings.shared_store;
        let mut bed = started(settings);
        let (mut frozen, mut held) = (false, None);
        for one in &happens {
            let before = bed.stage();
            match one {
                Happens::Dependency(lost) => frozen = *lost,
                Happens::Permit(others) => held = others.map(|o| (o, bed.now)),
                _ => {}
            }
            let told = bed.events().len();
            one.apply(&mut bed);
            let after = bed.stage();
            let left: Vec<_> = bed.events()[told..].iter()
                .filter(|e| e.change.is_some_and(|(a, b)| a.is_announced() && !b.is_announced()))
                .map(|e| e.cause)
                .collect();
            for cause in left {
                prop_assert!(!site.last_resort, "{one:?}: {before:?} → {after:?}");
                prop_assert!(!frozen, "{one:?}");
                let fatal = matches!(cause, Cause::LocalFatal | Cause::SiteFatal | Cause::Flapping);
                prop_assert!(fatal, "{cause:?}");
                if shared {
                    let (others, _) = held.expect("a permit");
                    prop_assert!(others >= site.min_sites.max(1), "{others}");
                }
            }
        }
    }

    /// Rule 2: while automation keeps a prefix withdrawn and the sites share a store, there is a
    /// permit no older than its lease.
    #[test]
    fn rule_2_no_permit_no_absence(
        min_sites in 0_u32..4,
        happens in prop::collection::vec(automatic(), 1..60),
    ) {
        let site = Site { last_resort: false, min_sites };
        let mut bed = started(Settings { site, shared_store: true, ..settings() });
        let mut held = None;
        for one in &happens {
            if let Happens::Permit(others) = one {
                held = others.filter(|o| *o >= min_sites.max(1)).map(|_| bed.now);
            }
            one.apply(&mut bed);
            if !bed.stage().is_announced() {
                let since = held.expect("a permit that allows it");
                prop_assert!(bed.now < since + Duration::from_secs(27), "{:?}", bed.first());
            }
        }
    }

    /// Rule 3: whatever happens, a route is there only in announced stages; it is sent only while
    /// its address is wanted; sessions end only when nothing is announced, and addresses go after.
    #[test]
    fn rule_3_order(
        settings in any_settings(),
        happens in prop::collection::vec(anything(), 1..40),
    ) {
        let mut bed = started(settings);
        for one in &happens {
            let told = bed.actions.len();
            one.apply(&mut bed);
            let announced = bed.stage().is_announced();
            prop_assert_eq!(announced, bed.controller.routes()[0].attributes.is_some());
            let there = bed.controller.addresses().contains(&prefix().addr());
            prop_assert!(there || !announced);
            let mut ceased = false;
            for action in &bed.actions[told..] {
                match action {
                    Action::Cease(_) => ceased = true,
                    Action::RemoveAddress(_) => prop_assert!(ceased, "address before Cease"),
                    Action::Publish => prop_assert!(!ceased, "route after Cease"),
                    _ => {}
                }
            }
        }
    }

    /// Rule 5: a drain is one attribute change a step, and nothing is announced early.
    #[test]
    fn rule_5_one_change_a_step(
        settings in any_settings(),
        happens in prop::collection::vec(anything(), 1..40),
    ) {
        let mut bed = started(settings);
        for one in &happens {
            let before = bed.route();
            let operator = matches!(one, Happens::Drain);
            one.apply(&mut bed);
            // A drain never starts with a change of the route, unless nobody is served anyway.
            if operator && bed.stage() == Stage::Draining {
                prop_assert_eq!(before, bed.route());
            }
        }
    }

    /// Rule 5: damping delays coming back, never going away: a fatal finding that may withdraw
    /// does so within the same step, whatever happened before.
    #[test]
    fn rule_5_a_withdrawal_is_never_delayed(
        happens in prop::collection::vec(automatic(), 1..60),
    ) {
        let mut bed = started(settings());
        for one in &happens {
            one.apply(&mut bed);
        }
        bed.input(Input::Dependencies(Ok(())));
        bed.fail();
        prop_assert!(!bed.stage().is_announced(), "{:?}", bed.first());
    }

    /// Rule 6: only configured prefixes with allowed attributes leave, whatever happens.
    #[test]
    fn rule_6_egress(
        settings in any_settings(),
        happens in prop::collection::vec(anything(), 1..40),
    ) {
        let own = announce(super::bed::PREFIX).attributes;
        let mut bed = started(settings);
        for one in &happens {
            one.apply(&mut bed);
            for route in bed.controller.routes() {
                prop_assert_eq!(route.prefix, prefix());
                prop_assert!(route.next_hop.is_unspecified());
                let Some(sent) = route.attributes else { continue };
                let extra: Vec<_> = sent.communities.iter()
                    .filter(|c| !own.communities.contains(c))
                    .collect();
                prop_assert!(extra.is_empty() || extra == [&GRACEFUL_SHUTDOWN], "{extra:?}");
            }
        }
    }

    /// A healthy site comes back: no history leads to a state that health does not heal.
    #[test]
    fn health_always_heals(
        settings in any_settings(),
        happens in prop::collection::vec(anything(), 1..40),
    ) {
        let shared = settings.shared_store;
        let mut bed = started(settings);
        for one in &happens {
            one.apply(&mut bed);
        }
        bed.undrain();
        let address = prefix().addr();
        let up = Input::Verdict { pop: "fra".into(), verdict: Verdict::Up, reason: String::new() };
        for input in [
            Input::Serving(Ok(())),
            Input::Fresh(Ok(())),
            Input::Dependencies(Ok(())),
            Input::Address { address, state: Ok(()) },
            up,
        ] {
            bed.input(input);
        }
        bed.pass();
        for _ in 0..60 {
            bed.now += Duration::from_secs(60);
            bed.input(Input::Tick);
            if shared {
                bed.sent(1);
            }
        }
        prop_assert_eq!(bed.stage(), Stage::Up, "{:?}", bed.first());
    }

    /// The controller says itself when it must be woken: ticking only then leads to the same.
    #[test]
    fn deadlines_are_complete(
        settings in any_settings(),
        happens in prop::collection::vec(anything(), 1..30),
    ) {
        let mut ticking = started(settings);
        let mut lazy = ticking.controller.clone();
        let mut now = ticking.now;
        for one in &happens {
            let Happens::Seconds(seconds) = one else {
                one.apply(&mut ticking);
                let mut other = Bed { controller: lazy, now, actions: Vec::new() };
                one.apply(&mut other);
                lazy = other.controller;
                continue;
            };
            ticking.run(*seconds);
            let end = now + Duration::from_secs(*seconds);
            while let Some(at) = lazy.next_deadline(now).filter(|at| *at <= end) {
                now = at;
                lazy.step(now, Input::Tick);
            }
            now = end;
            prop_assert_eq!(ticking.controller.explain(now)[0].stage, lazy.explain(now)[0].stage);
        }
    }
}
