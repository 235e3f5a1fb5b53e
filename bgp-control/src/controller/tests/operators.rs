//! Operators: explicit filters, pins, blackholes, reloads, dry runs.

use std::time::Duration;

use crate::{
    Action, Attributes, BLACKHOLE, Command, CommandError, Input, NO_EXPORT, ReloadError, Select,
    Stage,
};

use super::bed::{Bed, PREFIX, announce, prefix, settings, shared};

fn select(prefixes: &[&str]) -> Select {
    Select::Prefixes(prefixes.iter().map(|p| p.parse().unwrap()).collect())
}

#[test]
fn row_4_an_empty_or_unknown_filter_is_refused_and_never_means_all() {
    let reason = || "test".to_owned();
    for (named, error) in [
        (
            select(&[]),
            "refused: no prefix is named; name each one, or the whole site",
        ),
        (
            select(&["198.51.100.1/32"]),
            "refused: 198.51.100.1/32 is not a configured prefix",
        ),
        (
            select(&[PREFIX, "0.0.0.0/0"]),
            "refused: 0.0.0.0/0 is not a configured prefix",
        ),
        (
            select(&["192.0.2.0/24"]),
            "refused: 192.0.2.0/24 is not a configured prefix",
        ),
    ] {
        let mut bed = Bed::up(settings());
        for command in [
            Command::Drain {
                select: named.clone(),
                reason: reason(),
            },
            Command::Withdraw {
                select: named.clone(),
                reason: reason(),
            },
            Command::Pin {
                select: named.clone(),
                reason: reason(),
            },
            Command::Undo {
                select: named.clone(),
            },
        ] {
            assert_eq!(bed.command(command).unwrap_err().to_string(), error);
        }
        bed.run(1);
        assert_eq!(
            (bed.stage(), bed.actions.len()),
            (Stage::Up, 0),
            "nothing changed"
        );
    }
}

#[test]
fn row_3_a_reload_that_drops_over_half_of_the_prefixes_needs_confirmation() {
    let many = |hosts: std::ops::Range<u8>| {
        let mut many = settings();
        many.announce = hosts
            .map(|h| announce(&format!("192.0.2.{h}/32")))
            .collect();
        many
    };
    let mut bed = Bed::up(many(0..10));
    let refused = bed
        .controller
        .reload(bed.now, many(0..4), false)
        .unwrap_err();
    let expected = ReloadError::DropsTooMany {
        dropped: 6,
        announced: 10,
        percent: 50,
    };
    assert_eq!(refused, expected);
    assert_eq!(
        refused.to_string(),
        "reload refused: it drops 6 of 10 announced prefixes, over 50 %; confirm it"
    );
    bed.run(1);
    assert!(bed.stages().iter().all(|s| *s == Stage::Up) && bed.actions.is_empty());
    // Half is allowed; what goes is drained, not cut off.
    bed.controller.reload(bed.now, many(0..5), false).unwrap();
    let draining = bed
        .stages()
        .iter()
        .filter(|s| **s == Stage::Draining)
        .count();
    assert_eq!(draining, 5);
    bed.run(2000);
    assert_eq!(bed.stages(), [Stage::Up; 5]);
    bed.controller.reload(bed.now, many(0..0), true).unwrap();
    bed.run(2000);
    assert!(bed.stages().is_empty());
    assert!(bed.controller.addresses().is_empty());
}

#[test]
fn rule_8_a_reload_without_a_change_does_nothing() {
    let mut bed = Bed::up(settings());
    let actions = bed.controller.reload(bed.now, settings(), false).unwrap();
    assert_eq!(actions, []);
    let mut changed = settings();
    changed.announce[0].attributes.med = 50;
    let actions = bed.controller.reload(bed.now, changed, false).unwrap();
    assert_eq!(
        actions,
        [Action::Publish],
        "one attribute change, no other step"
    );
    assert_eq!(bed.stage(), Stage::Up);
}

#[test]
fn a_prefix_that_comes_back_to_the_configuration_stays() {
    let mut bed = Bed::up(settings());
    let mut other = settings();
    other.announce = vec![announce("192.0.2.54/32")];
    bed.controller.reload(bed.now, other, true).unwrap();
    bed.run(10);
    assert_eq!(bed.stages(), [Stage::Draining, Stage::Warmup]);
    bed.controller.reload(bed.now, settings(), false).unwrap();
    assert_eq!(bed.stage(), Stage::Up);
}

#[test]
fn a_pin_keeps_what_automation_would_withdraw() {
    let mut bed = Bed::up(settings());
    let reason = "the probe is wrong".to_owned();
    bed.command(Command::Pin {
        select: Select::Site,
        reason,
    })
    .unwrap();
    bed.fail();
    assert_eq!((bed.stage(), bed.route()), (Stage::Pinned, "worse"));
    assert_eq!(
        bed.first().refusal.unwrap(),
        "withdraw refused: pinned by an operator"
    );
    bed.command(Command::Undo {
        select: Select::Site,
    })
    .unwrap();
    assert_eq!(bed.stage(), Stage::Withdrawn);
}

#[test]
fn rule_6_a_blackhole_only_by_command_and_only_for_a_while() {
    let mut bed = Bed::up(settings());
    let hole = |prefix: &str, seconds| Command::Blackhole {
        prefix: prefix.parse().unwrap(),
        lasts: Duration::from_secs(seconds),
        reason: "flood".to_owned(),
    };
    for (command, error) in [
        (
            hole("198.51.100.1/32", 60),
            "refused: 198.51.100.1/32 is not a host (/32 or /128) inside a configured prefix",
        ),
        (
            hole("0.0.0.0/0", 60),
            "refused: 0.0.0.0/0 is not a host (/32 or /128) inside a configured prefix",
        ),
        (
            hole(PREFIX, 0),
            "refused: a blackhole lasts between 1 s and 86400 s",
        ),
        (
            hole(PREFIX, 86_401),
            "refused: a blackhole lasts between 1 s and 86400 s",
        ),
    ] {
        assert_eq!(bed.command(command).unwrap_err().to_string(), error);
    }
    bed.command(hole(PREFIX, 60)).unwrap();
    let route = bed.controller.routes().remove(0);
    assert_eq!(route.prefix, prefix());
    assert_eq!(
        route.attributes.unwrap().communities,
        [BLACKHOLE, NO_EXPORT]
    );
    assert!(
        !bed.claim().unwrap().announced,
        "a blackholed site serves nobody"
    );
    bed.run(59);
    assert!(
        bed.controller.routes()[0]
            .attributes
            .as_ref()
            .unwrap()
            .communities
            .contains(&BLACKHOLE)
    );
    bed.run(1);
    assert_eq!(
        bed.controller.routes()[0].attributes,
        Some(announce(PREFIX).attributes)
    );
    let error = bed
        .command(Command::EndBlackhole { prefix: prefix() })
        .unwrap_err();
    assert_eq!(error, CommandError::NotBlackholed(prefix()));
}

#[test]
fn rule_6_a_configured_blackhole_or_a_foreign_next_hop_is_not_sent() {
    let mut configured = settings();
    configured.announce[0].attributes = Attributes {
        communities: vec![BLACKHOLE],
        ..Attributes::default()
    };
    let mut bed = Bed::new(configured);
    bed.ready();
    bed.run(10);
    assert_eq!((bed.stage(), bed.route()), (Stage::Up, "-"));
    let mut foreign = settings();
    foreign.announce[0].next_hop = Some("10.99.0.9".parse().unwrap());
    let mut bed = Bed::new(foreign);
    bed.input(Input::Links(vec!["10.99.0.2".parse().unwrap()]));
    bed.ready();
    bed.run(10);
    assert_eq!((bed.stage(), bed.route()), (Stage::Up, "-"));
    assert_eq!(
        bed.first().not_sent.unwrap(),
        "not sent: next hop 10.99.0.9 is no address of this server on a link to a peer"
    );
}

#[test]
fn a_dry_run_decides_and_sends_nothing() {
    let mut dry = shared();
    dry.dry_run = true;
    let mut bed = Bed::new(dry);
    bed.ready();
    bed.run(10);
    assert_eq!((bed.stage(), bed.route()), (Stage::Up, "-"));
    assert!(bed.controller.desired()[0].attributes.is_some());
    assert_eq!(bed.first().not_sent.unwrap(), "not sent: dry run");
    bed.fail();
    assert_eq!(bed.stage(), Stage::Pinned);
    assert_eq!(
        bed.first().refusal.unwrap(),
        "withdraw refused: a dry run asks other sites for no permit"
    );
    bed.drain();
    bed.run(2000);
    assert_eq!(
        bed.stage(),
        Stage::Withdrawn,
        "it goes all the way, on paper"
    );
    assert_eq!(bed.claim(), None);
    assert!(!bed.actions.contains(&Action::ExcludeFromSteering));
}
