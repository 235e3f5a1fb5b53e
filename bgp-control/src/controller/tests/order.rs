//! Rule 3, the order of going up, and rule 5: rise, fall, start-up delay, hold-down, damping.

use std::time::Duration;

use crate::{Action, Cause, Input, Stage};

use super::bed::{Bed, PREFIX, settings};

#[test]
fn rule_3_up_address_then_probe_then_rise_then_announce() {
    let mut bed = Bed::new(settings());
    assert_eq!(bed.acts(), ["add 192.0.2.53", "Publish"]);
    assert_eq!(bed.route(), "-");
    bed.run(20);
    assert_eq!(
        bed.first().waits_for.unwrap(),
        "its address 192.0.2.53: not yet on the interface"
    );
    let address = "192.0.2.53".parse().unwrap();
    bed.input(Input::Address {
        address,
        state: Ok(()),
    });
    assert_eq!(
        bed.first().waits_for.unwrap(),
        "health: 0 of 3 passes in a row"
    );
    bed.probe(Ok(()));
    bed.probe(Ok(()));
    assert_eq!((bed.stage(), bed.route()), (Stage::Warmup, "-"));
    bed.probe(Ok(()));
    assert_eq!((bed.stage(), bed.route()), (Stage::Warmup, "-"));
    bed.run(10);
    assert_eq!((bed.stage(), bed.route()), (Stage::Up, "own"));
    assert_eq!(bed.first().prefix.to_string(), PREFIX);
}

#[test]
fn rule_5_nothing_is_announced_within_the_start_up_delay() {
    let mut bed = Bed::new(settings());
    bed.ready();
    let explained = bed.first();
    assert_eq!(explained.waits_for.unwrap(), "the start-up delay of 10 s");
    assert_eq!(explained.next_change, Some(Duration::from_secs(10)));
    bed.run(9);
    assert_eq!(bed.stage(), Stage::Warmup);
    bed.run(1);
    assert_eq!(bed.stage(), Stage::Up);
}

#[test]
fn rule_5_the_first_failure_only_asks_for_another_probe() {
    let mut bed = Bed::up(settings());
    assert!(matches!(
        bed.probe(Err("timeout"))[..],
        [Action::ProbeAgain(_)]
    ));
    assert_eq!(bed.stage(), Stage::Up);
    bed.probe(Err("timeout"));
    assert_eq!((bed.stage(), bed.route()), (Stage::Withdrawn, "-"));
}

#[test]
fn row_8_a_site_that_cannot_answer_is_not_announced() {
    let mut bed = Bed::up(settings());
    bed.probe(Err("no reply over TCP"));
    let actions = bed.probe(Err("no reply over TCP"));
    assert!(actions.contains(&Action::Publish));
    assert_eq!((bed.stage(), bed.route()), (Stage::Withdrawn, "-"));
    assert_eq!(bed.first().why, "our own probes fail: no reply over TCP");
    // The serving loop stops: no probe is waited for.
    let mut bed = Bed::up(settings());
    bed.input(Input::Serving(Err("worker 1 has not moved for 1 s".into())));
    assert_eq!((bed.stage(), bed.route()), (Stage::Withdrawn, "-"));
}

#[test]
fn rule_5_hold_down_doubles_and_a_withdrawal_never_waits() {
    let mut bed = Bed::up(settings());
    for hold_down in [10, 20, 40, 80] {
        bed.fail();
        assert_eq!(bed.stage(), Stage::Withdrawn, "withdrawn at once");
        bed.pass();
        assert_eq!(bed.stage(), Stage::Warmup);
        bed.run(hold_down - 1);
        assert_eq!(bed.stage(), Stage::Warmup, "hold-down of {hold_down} s");
        bed.run(1);
        assert_eq!(bed.stage(), Stage::Up, "hold-down of {hold_down} s");
    }
    bed.fail();
    bed.pass();
    bed.run(160);
    bed.fail();
    assert_eq!(bed.stage(), Stage::Suppressed);
    let event = bed.events().last().copied().unwrap().clone();
    assert!(event.alarm && event.cause == Cause::Flapping, "{event:?}");
    bed.pass();
    bed.run(700);
    assert_eq!((bed.stage(), bed.route()), (Stage::Suppressed, "-"));
    assert_eq!(bed.first().waits_for.unwrap(), "its flaps to decay");
    bed.run(400);
    assert_eq!(bed.stage(), Stage::Up);
}

#[test]
fn a_failure_while_held_down_starts_the_hold_down_again() {
    let mut bed = Bed::up(settings());
    bed.fail();
    bed.pass();
    bed.run(9);
    bed.fail();
    assert_eq!(bed.stage(), Stage::Withdrawn);
    bed.pass();
    bed.run(9);
    assert_eq!(bed.stage(), Stage::Warmup);
    bed.run(1);
    assert_eq!(
        bed.stage(),
        Stage::Up,
        "it has not left Up again: no doubling"
    );
}

#[test]
fn rule_5_threads_that_stop_and_go_on_are_held_down_too() {
    let mut bed = Bed::up(settings());
    for hold_down in [10, 20] {
        bed.input(Input::Serving(Err("worker 1 stands still".into())));
        assert_eq!(bed.stage(), Stage::Withdrawn);
        bed.input(Input::Serving(Ok(())));
        bed.run(hold_down - 1);
        assert_eq!(bed.stage(), Stage::Warmup);
        bed.run(1);
        assert_eq!(bed.stage(), Stage::Up);
    }
}

#[test]
fn a_lost_address_is_probed_at_once() {
    let mut bed = Bed::up(settings());
    let address = "192.0.2.53".parse().unwrap();
    let state = Err("deleted by somebody".to_owned());
    let actions = bed.input(Input::Address { address, state });
    assert!(matches!(actions[..], [Action::ProbeAgain(_)]));
    assert_eq!(bed.stage(), Stage::Up);
}
