//! Rules 3 and 4: going down one attribute change a step, by a closed loop, and back again.

use std::time::Duration;

use crate::{Action, Command, Select, Stage};

use super::bed::{Bed, announce, settings, shared};

#[test]
fn rule_3_down_steering_then_attributes_then_withdrawal_then_cease_then_address() {
    let mut bed = Bed::up(settings());
    bed.rate(500.0);
    bed.drain();
    assert_eq!(bed.acts(), ["ExcludeFromSteering"]);
    assert_eq!((bed.stage(), bed.route()), (Stage::Draining, "own"));
    let waits = bed.first().waits_for.unwrap();
    assert_eq!(waits, "steering to send clients elsewhere");
    bed.run(5);
    assert_eq!((bed.stage(), bed.route()), (Stage::Draining, "worse"));
    bed.rate(2.0);
    bed.run(8);
    assert_eq!(
        bed.first().waits_for.unwrap(),
        "its clients to leave: 2.0 queries/s, quiet at 5.0"
    );
    bed.run(51);
    assert_eq!(bed.stage(), Stage::Draining, "the minimum time");
    bed.rate(2.0);
    bed.run(1);
    assert_eq!((bed.stage(), bed.route()), (Stage::Lingering, "-"));
    assert_eq!(bed.first().why, "drained: 2.0 queries/s, quiet at 5.0");
    for _ in 0..12 {
        bed.rate(0.0);
        bed.run(5);
    }
    assert_eq!(bed.stage(), Stage::Withdrawn);
    assert_eq!(
        bed.acts(),
        [
            "ExcludeFromSteering",
            "Publish",
            "Publish",
            "cease",
            "remove 192.0.2.53"
        ]
    );
    assert_eq!(bed.first().waits_for.unwrap(), "an operator's undrain");
}

#[test]
fn rule_4_a_drain_waits_for_its_clients_but_not_for_ever() {
    let mut bed = Bed::up(settings());
    bed.rate(500.0);
    bed.drain();
    bed.run(5);
    for _ in 0..299 {
        bed.rate(100.0);
        bed.run(1);
    }
    assert_eq!(bed.stage(), Stage::Draining);
    bed.run(1);
    assert_eq!(bed.stage(), Stage::Lingering);
    assert!(bed.first().why.starts_with("drained: 300 s are over"));
    for _ in 0..599 {
        bed.rate(100.0);
        bed.run(1);
    }
    assert_eq!(bed.stage(), Stage::Lingering);
    bed.run(1);
    assert_eq!(bed.stage(), Stage::Withdrawn);
}

#[test]
fn rule_4_an_unknown_rate_never_ends_a_drain_early() {
    let mut bed = Bed::up(settings());
    bed.rate(0.0);
    bed.drain();
    bed.run(5 + 299);
    assert_eq!(
        bed.stage(),
        Stage::Draining,
        "the rate of long ago says nothing"
    );
    bed.run(1);
    assert_eq!(bed.stage(), Stage::Lingering);
}

#[test]
fn undrain_reverses_from_any_stage() {
    for (seconds, stage, acts) in [
        (2, Stage::Draining, vec!["IncludeInSteering"]),
        (20, Stage::Draining, vec!["Publish", "IncludeInSteering"]),
        (400, Stage::Lingering, vec!["Publish", "IncludeInSteering"]),
    ] {
        let mut bed = Bed::up(settings());
        bed.drain();
        bed.run(seconds);
        assert_eq!(bed.stage(), stage, "after {seconds} s");
        bed.actions.clear();
        bed.undrain();
        assert_eq!(
            (bed.stage(), bed.route()),
            (Stage::Up, "own"),
            "after {seconds} s"
        );
        assert_eq!(bed.acts(), acts, "after {seconds} s");
    }
}

#[test]
fn undrain_after_the_end_goes_the_whole_way_up() {
    let mut bed = Bed::up(settings());
    bed.drain();
    bed.run(2000);
    assert_eq!(bed.stage(), Stage::Withdrawn);
    // Without its address it does not answer, as it should be.
    bed.fail();
    bed.actions.clear();
    bed.undrain();
    assert_eq!(bed.acts(), ["OpenSessions", "add 192.0.2.53"]);
    assert_eq!((bed.stage(), bed.route()), (Stage::Warmup, "-"));
    bed.ready();
    let now = (bed.stage(), bed.route());
    assert_eq!(now, (Stage::Up, "own"), "no hold-down: an operator's act");
    let acts = [
        "OpenSessions",
        "add 192.0.2.53",
        "Publish",
        "IncludeInSteering",
    ];
    assert_eq!(bed.acts(), acts);
}

#[test]
fn a_drain_of_one_prefix_leaves_the_site_alone() {
    let mut two = settings();
    two.announce.push(announce("2001:db8::53/128"));
    let mut bed = Bed::up(two);
    let select = Select::Prefixes(vec!["2001:db8::53/128".parse().unwrap()]);
    let reason = "renumbering".to_owned();
    bed.command(Command::Drain { select, reason }).unwrap();
    bed.run(2000);
    assert_eq!(bed.stages(), [Stage::Up, Stage::Withdrawn]);
    assert_eq!(bed.acts(), ["Publish", "Publish", "remove 2001:db8::53"]);
}

#[test]
fn an_unhealthy_site_does_not_make_a_drain_wait() {
    let mut bed = Bed::up(settings());
    bed.drain();
    bed.run(10);
    bed.fail();
    assert_eq!((bed.stage(), bed.route()), (Stage::Lingering, "-"));
}

#[test]
fn withdraw_at_once_still_lingers() {
    let mut bed = Bed::up(settings());
    let reason = "attack".to_owned();
    bed.command(Command::Withdraw {
        select: Select::Site,
        reason,
    })
    .unwrap();
    assert_eq!((bed.stage(), bed.route()), (Stage::Lingering, "-"));
    assert_eq!(bed.first().next_change, Some(Duration::from_secs(60)));
}

#[test]
fn a_draining_site_no_longer_counts_for_the_others() {
    let mut bed = Bed::up(shared());
    assert!(bed.controller.explain(bed.now)[0].sent_to == 1);
    bed.drain();
    let claim = bed.claim().unwrap();
    assert!(!claim.announced && !claim.withdraw);
    assert!(
        !bed.actions.contains(&Action::Publish),
        "the claim comes before the route changes"
    );
}
