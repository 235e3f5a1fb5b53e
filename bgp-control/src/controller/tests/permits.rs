//! Rules 1 and 2 with a shared store: asking, being refused, losing a permit.

use crate::{Cause, Claim, Input, Permit, Settings, Site, Stage};

use super::bed::{Bed, settings, shared};

#[test]
fn rule_2_a_withdrawal_waits_for_its_permit_and_renews_it() {
    let mut bed = Bed::up(shared());
    bed.fail();
    assert_eq!((bed.stage(), bed.route()), (Stage::Up, "own"));
    assert_eq!(
        bed.claim(),
        Some(Claim {
            announced: true,
            withdraw: true
        })
    );
    assert_eq!(bed.first().waits_for.unwrap(), "the permit store's answer");
    bed.answer(Permit::Held { others: 2 });
    assert_eq!((bed.stage(), bed.route()), (Stage::Withdrawn, "-"));
    bed.sent(0);
    for _ in 0..10 {
        bed.run(8);
        bed.answer(Permit::Held { others: 2 });
    }
    assert_eq!(bed.stage(), Stage::Withdrawn);
    assert!(
        bed.claim().unwrap().withdraw,
        "held as long as it is withdrawn"
    );
    bed.pass();
    bed.run(10);
    assert_eq!(bed.stage(), Stage::Up);
    assert!(
        bed.claim().unwrap().withdraw,
        "given back only when peers hold the route"
    );
    bed.sent(1);
    assert_eq!(
        bed.claim(),
        Some(Claim {
            announced: true,
            withdraw: false
        })
    );
}

#[test]
fn rule_2_a_refused_site_stays_pinned_and_depreferenced_with_its_sentence() {
    for (permit, sentence) in [
        (
            Permit::Denied { others: 1 },
            "withdraw refused: would leave 1 < min_sites 2",
        ),
        (
            Permit::Held { others: 1 },
            "withdraw refused: would leave 1 < min_sites 2",
        ),
        (
            Permit::Unavailable,
            "withdraw refused: the permit store cannot be reached",
        ),
        (
            Permit::TooManyAtOnce {
                withdrawn: 1,
                max_concurrent: 1,
            },
            "withdraw refused: 1 other sites are withdrawn already, max_concurrent 1",
        ),
    ] {
        let mut bed = Bed::up(shared());
        bed.fail();
        bed.answer(permit);
        assert_eq!((bed.stage(), bed.route()), (Stage::Pinned, "worse"));
        let explained = bed.first();
        assert_eq!(explained.refusal.unwrap(), sentence);
        assert!(explained.alarm);
        bed.answer(Permit::Denied { others: 0 });
        bed.answer(Permit::Unavailable);
        let alarms = bed.events().iter().filter(|e| e.alarm).count();
        assert_eq!(alarms, 1, "one alarm, not one a question or reason");
        // It goes on asking, and goes when it may.
        bed.run(2);
        bed.answer(Permit::Held { others: 2 });
        assert_eq!((bed.stage(), bed.route()), (Stage::Withdrawn, "-"));
    }
}

#[test]
fn rule_2_no_answer_counts_as_no() {
    let mut bed = Bed::up(shared());
    bed.fail();
    bed.run(1);
    assert_eq!((bed.stage(), bed.route()), (Stage::Pinned, "worse"));
}

#[test]
fn rule_2_the_announcer_announces_again_when_its_permit_ends() {
    for lose in [
        None,
        Some(Permit::Denied { others: 1 }),
        Some(Permit::Unavailable),
    ] {
        let mut bed = Bed::up(shared());
        bed.fail();
        bed.answer(Permit::Held { others: 2 });
        assert_eq!(bed.stage(), Stage::Withdrawn);
        match lose {
            Some(permit) => _ = bed.answer(permit),
            None => {
                bed.run(26);
                assert_eq!(bed.stage(), Stage::Withdrawn);
                bed.run(1);
            }
        }
        assert_eq!(
            (bed.stage(), bed.route()),
            (Stage::Pinned, "worse"),
            "{lose:?}"
        );
        let lost = bed
            .events()
            .iter()
            .any(|e| e.cause == Cause::PermitLost && e.alarm);
        assert!(lost, "{:?}", bed.events());
    }
}

#[test]
fn rule_2_even_a_suppressed_or_held_down_prefix_is_announced_when_its_permit_ends() {
    let mut bed = Bed::up(shared());
    for _ in 0..5 {
        bed.fail();
        bed.answer(Permit::Held { others: 2 });
        bed.pass();
        while bed.stage() != Stage::Up {
            bed.run(1);
            bed.answer(Permit::Held { others: 2 });
        }
    }
    bed.fail();
    bed.answer(Permit::Held { others: 2 });
    assert_eq!(bed.stage(), Stage::Suppressed, "{:?}", bed.explain());
    bed.run(27);
    assert_eq!((bed.stage(), bed.route()), (Stage::Pinned, "worse"));
}

#[test]
fn rule_2_a_last_resort_never_withdraws() {
    for store in [false, true] {
        let site = Site {
            last_resort: true,
            min_sites: 0,
        };
        let mut bed = Bed::up(Settings {
            site,
            shared_store: store,
            ..settings()
        });
        bed.fail();
        assert_eq!((bed.stage(), bed.route()), (Stage::Pinned, "worse"));
        assert_eq!(
            bed.first().refusal.unwrap(),
            "withdraw refused: this site is the last resort"
        );
        assert!(!bed.claim().is_some_and(|c| c.withdraw));
        bed.pass();
        bed.run(10);
        assert_eq!((bed.stage(), bed.route()), (Stage::Up, "own"));
    }
}

#[test]
fn rule_1_a_dependency_changes_no_route_and_freezes_new_withdrawals() {
    let mut bed = Bed::up(settings());
    bed.input(Input::Dependencies(Err(
        "the control plane is out of reach".into(),
    )));
    assert_eq!((bed.stage(), bed.route()), (Stage::Up, "own"));
    bed.fail();
    assert_eq!((bed.stage(), bed.route()), (Stage::Pinned, "worse"));
    assert_eq!(
        bed.first().refusal.unwrap(),
        "withdraw refused: a dependency is out of reach, withdrawals are frozen"
    );
    bed.input(Input::Dependencies(Ok(())));
    assert_eq!((bed.stage(), bed.route()), (Stage::Withdrawn, "-"));
    // What is withdrawn stays so.
    bed.input(Input::Dependencies(Err("gone again".into())));
    assert_eq!((bed.stage(), bed.route()), (Stage::Withdrawn, "-"));
}

#[test]
fn rule_1_stale_data_only_depreference() {
    let mut bed = Bed::up(settings());
    bed.input(Input::Fresh(Err("example.com is 3 days old".into())));
    assert_eq!((bed.stage(), bed.route()), (Stage::Pinned, "worse"));
    assert!(!bed.first().alarm);
    bed.run(10_000);
    assert_eq!((bed.stage(), bed.route()), (Stage::Pinned, "worse"));
    bed.input(Input::Fresh(Ok(())));
    assert_eq!((bed.stage(), bed.route()), (Stage::Up, "own"));
}

#[test]
fn an_operator_needs_no_permit() {
    let mut bed = Bed::up(shared());
    bed.fail();
    bed.answer(Permit::Denied { others: 0 });
    assert_eq!(bed.stage(), Stage::Pinned);
    bed.drain();
    bed.run(2000);
    assert_eq!(bed.stage(), Stage::Withdrawn);
    assert_eq!(bed.claim(), Some(Claim::default()));
}
