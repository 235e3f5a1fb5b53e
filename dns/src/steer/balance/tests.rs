//! Laws of sharing, by table and by chance.

use proptest::prelude::*;

use super::*;

fn offer(member: u16, score_ms: f32, weight: f32) -> Offer {
    Offer {
        member,
        score_ms,
        weight,
        ramp: 1.0,
        usable: true,
    }
}

fn of(parts: &Parts, member: u16) -> u8 {
    let part = parts.iter().find(|part| part.member == member);
    part.map_or(0, |part| part.parts)
}

fn all(parts: &Parts) -> Vec<(u16, u8)> {
    parts.iter().map(|part| (part.member, part.parts)).collect()
}

/// Two PoPs, the second by `gain` ms better, settled.
fn pair(gain: f32, previous: &Parts, rules: &Rules) -> Parts {
    let offers = [offer(0, 20.0, 1.0), offer(1, 20.0 - gain, 1.0)];
    share(&offers, previous, rules)
}

#[test]
fn weights_share_exactly_within_tolerance() {
    let offers = [
        offer(0, 10.0, 10.0),
        offer(1, 11.0, 20.0),
        offer(2, 13.7, 70.0),
    ];
    let mut parts = share(&offers, &[], &Rules::new(5.0));
    for _ in 0..3 {
        assert_eq!(all(&parts), [(0, 25), (2, 179), (1, 51)]);
        parts = share(&offers, &parts, &Rules::new(5.0));
    }
}

#[test]
fn a_share_fades_at_the_edge_of_the_tolerance() {
    let rules = Rules::new(5.0);
    let second = |gap: f32| of(&pair(-gap, &Parts::new(), &rules), 1);
    let shares = [0.0, 3.7, 4.0, 4.5, 4.9, 5.0, 5.1].map(second);
    assert_eq!(shares, [127, 127, 113, 73, 19, 0, 0]);
}

#[test]
fn without_tolerance_a_cell_stays_until_the_gain_exceeds_the_margin() {
    let rules = Rules::new(0.0);
    let mut parts = pair(-1.0, &Parts::new(), &rules);
    let mut steps = Vec::new();
    for gain in [
        0.0, 2.9, 3.0, 3.5, 4.0, 3.0, 4.5, 5.0, 3.0, 0.0, -3.0, -4.0, -5.0,
    ] {
        parts = pair(gain, &parts, &rules);
        steps.push((gain, of(&parts, 1)));
    }
    let expect = [
        (0.0, 0),
        (2.9, 0),
        (3.0, 0),
        (3.5, 85),
        (4.0, 127),
        (3.0, 127),
        (4.5, 170),
        (5.0, 255),
        (3.0, 255),
        (0.0, 255),
        (-3.0, 255),
        (-4.0, 128),
        (-5.0, 0),
    ];
    assert_eq!(steps, expect);
}

#[test]
fn far_away_the_margin_is_a_tenth() {
    let far = |gain: f32, previous: &Parts| {
        let offers = [offer(0, 200.0, 1.0), offer(1, 200.0 - gain, 1.0)];
        share(&offers, previous, &Rules::new(0.0))
    };
    let parts = far(-5.0, &Parts::new());
    assert_eq!(all(&far(18.0, &parts)), [(0, 255)]);
    assert_eq!(all(&far(22.0, &parts)), [(1, 255)]);
}

#[test]
fn a_down_pop_is_left_at_once_and_the_home_comes_first() {
    let rules = Rules::new(5.0);
    let mut offers = [
        offer(0, 10.0, 1.0),
        offer(1, 12.0, 1.0),
        offer(2, 30.0, 1.0),
    ];
    let parts = share(&offers, &[], &rules);
    assert_eq!(all(&parts), [(0, 128), (1, 127)]);
    offers[0].usable = false;
    let parts = share(&offers, &parts, &rules);
    assert_eq!(all(&parts), [(1, 255)]);
    offers[0].usable = true;
    let parts = share(&offers, &parts, &rules);
    assert_eq!(parts[0].member, 1, "2 ms are no reason to move home");
    offers[0].score_ms = 8.0;
    let parts = share(&offers, &parts, &rules);
    assert_eq!(parts[0].member, 0, "4 ms are");
    offers.iter_mut().for_each(|offer| offer.usable = false);
    assert!(share(&offers, &parts, &rules).is_empty());
}

#[test]
fn a_ramp_leaves_the_rest_to_those_beyond_the_tolerance() {
    let rules = Rules::new(5.0);
    let mut offers = [
        offer(0, 10.0, 1.0),
        offer(1, 40.0, 1.0),
        offer(2, 42.0, 3.0),
    ];
    offers[0].ramp = 0.2;
    assert_eq!(
        all(&share(&offers, &[], &rules)),
        [(0, 51), (2, 153), (1, 51)]
    );
    offers.iter_mut().for_each(|offer| offer.ramp = 0.02);
    assert_eq!(
        all(&share(&offers, &[], &rules)),
        [(0, 255)],
        "all grow alike"
    );
}

#[test]
fn a_weight_of_nothing_and_a_score_of_nothing() {
    let rules = Rules::new(5.0);
    let zero = [offer(0, 10.0, 0.0), offer(1, 10.0, f32::NAN)];
    assert_eq!(share(&zero, &[], &rules).len(), 2);
    let absurd = [offer(0, f32::NAN, 1.0), offer(1, f32::INFINITY, 1.0)];
    assert_eq!(all(&share(&absurd, &[], &rules)), [(0, 255)]);
}

prop_compose! {
    fn offers()(
        list in prop::collection::vec(
            (0.0_f32..60.0, 0.0_f32..100.0, 0.0_f32..=1.0, prop::bool::weighted(0.8)), 1..12)
    ) -> Vec<Offer> {
        let mut list: Vec<Offer> = list.into_iter().enumerate().map(|(member, one)| Offer {
            member: member as u16,
            score_ms: one.0,
            weight: one.1,
            ramp: if one.2 > 0.5 { 1.0 } else { one.2 },
            usable: one.3,
        }).collect();
        list.sort_by(|a, b| a.score_ms.total_cmp(&b.score_ms));
        list
    }
}

fn tolerance() -> impl Strategy<Value = f32> {
    prop_oneof![Just(0.0_f32), Just(1.0), Just(5.0), 0.0_f32..30.0]
}

proptest! {
    #[test]
    fn parts_sum_to_the_whole_and_are_given_to_the_usable(
        all in prop::collection::vec(offers(), 1..5), tolerance in tolerance()
    ) {
        let mut parts = Parts::new();
        for offers in all {
            parts = share(&offers, &parts, &Rules::new(tolerance));
            let sum: u32 = parts.iter().map(|part| u32::from(part.parts)).sum();
            let any = offers.iter().any(|offer| offer.usable);
            prop_assert_eq!(sum, if any { 255 } else { 0 });
            for part in &parts {
                let offer = offers.iter().find(|offer| offer.member == part.member);
                prop_assert!(part.parts > 0 && offer.is_some_and(|offer| offer.usable));
            }
        }
    }

    /// Monotone, and smooth: a score that rises by a little never gets its PoP a larger share
    /// than before, and a hundredth of a millisecond moves a few parts at most.
    #[test]
    fn a_score_that_moves_a_bit_moves_the_shares_a_bit(
        offers in offers(), more in offers(), tolerance in tolerance(), at in any::<prop::sample::Index>()
    ) {
        let rules = Rules::new(tolerance);
        let at = at.index(offers.len());
        // More than fit are cut off, which is a step.
        let offers: Vec<Offer> = offers.into_iter().take(7).collect();
        prop_assume!(at < offers.len());
        let more: Vec<Offer> = more.into_iter().take(7).collect();
        let before = share(&offers, &share(&more, &[], &rules), &rules);
        let moved = |by: f32| {
            let mut offers = offers.clone();
            offers[at].score_ms += by;
            share(&offers, &before, &rules)
        };
        let (little, much) = (moved(0.01), moved(8.0));
        let member = offers[at].member;
        prop_assume!(!before.is_empty());
        prop_assert!(of(&little, member) <= of(&before, member).saturating_add(1));
        prop_assert!(of(&much, member) <= of(&before, member).saturating_add(1));
        for offer in &offers {
            let (a, b) = (of(&before, offer.member), of(&little, offer.member));
            prop_assert!(a.abs_diff(b) <= 12, "{} {} {:?} {:?}", a, b, before, little);
        }
        prop_assert_eq!(share(&offers, &before, &rules), share(&offers, &before, &rules));
    }
}
