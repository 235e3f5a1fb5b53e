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

/// In parts of 255, which are easier to read.
fn small(part: &Part) -> u16 {
    part.parts / 257 + u16::from(part.parts % 257 > 128)
}

fn of(parts: &Parts, member: u16) -> u16 {
    let part = parts.iter().find(|part| part.member == member);
    part.map_or(0, small)
}

fn all(parts: &Parts) -> Vec<(u16, u16)> {
    parts
        .iter()
        .map(|part| (part.member, small(part)))
        .collect()
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
            prop_assert_eq!(sum, if any { u32::from(WHOLE) } else { 0 });
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
        let (still, little, much) = (moved(0.0), moved(0.01), moved(8.0));
        let member = offers[at].member;
        prop_assume!(!before.is_empty());
        prop_assert!(of(&little, member) <= of(&still, member).saturating_add(1));
        prop_assert!(of(&much, member) <= of(&still, member).saturating_add(1));
        for offer in &offers {
            let (a, b) = (of(&still, offer.member), of(&little, offer.member));
            prop_assert!(a.abs_diff(b) <= 12, "{} {} {:?} {:?}", a, b, still, little);
        }
        prop_assert_eq!(share(&offers, &before, &rules), share(&offers, &before, &rules));
    }
}

/// A little world: cells on a line between PoPs, shared by the real `share`.
struct Line {
    pops: usize,
    parts: Vec<Parts>,
}

impl Line {
    fn new(pops: usize, cells: usize) -> Self {
        Self {
            pops,
            parts: vec![Parts::new(); cells],
        }
    }

    fn offers(&self, cell: usize, prices: &[f32]) -> Vec<Offer> {
        let at = cell as f32 / self.parts.len() as f32 * 40.0;
        let away = |pop: usize| (pop as f32 * 40.0 / self.pops as f32 - at).abs();
        let one = |pop: usize| offer(pop as u16, away(pop) + 0.3 * prices[pop], 1.0);
        let mut offers: Vec<Offer> = (0..self.pops).map(one).collect();
        offers.sort_by(|a, b| a.score_ms.total_cmp(&b.score_ms));
        offers
    }

    fn shared(&self, cell: usize, prices: &[f32]) -> Parts {
        share(
            &self.offers(cell, prices),
            &self.parts[cell],
            &Rules::new(5.0),
        )
    }

    fn model(&self, prices: &[f32]) -> Vec<f32> {
        let mut demand = vec![0.0; self.pops];
        for cell in 0..self.parts.len() {
            for part in self.shared(cell, prices) {
                demand[usize::from(part.member)] += f32::from(part.parts) / f32::from(WHOLE);
            }
        }
        demand
    }

    fn decide(&mut self, prices: &[Price]) {
        let prices: Vec<f32> = prices.iter().map(|price| price.price_ms).collect();
        for cell in 0..self.parts.len() {
            self.parts[cell] = self.shared(cell, &prices);
        }
    }
}

impl Model for Line {
    fn now(&mut self) -> Vec<f32> {
        let mut demand = vec![0.0; self.pops];
        for part in self.parts.iter().flatten() {
            demand[usize::from(part.member)] += f32::from(part.parts) / f32::from(WHOLE);
        }
        demand
    }

    fn at(&mut self, prices: &[f32]) -> Vec<f32> {
        self.model(prices)
    }

    fn market(&mut self, prices: &[f32]) -> Market {
        let mut market = Market::new(self.pops);
        for (cell, parts) in self.parts.iter().enumerate() {
            let offers = self.offers(cell, prices);
            market.add(1.0, (&Rules::new(5.0), 0.3), (&offers, parts), prices);
        }
        market
    }
}

/// A model that says the same whatever it is asked.
struct Says(Vec<f32>);

impl Model for Says {
    fn now(&mut self) -> Vec<f32> {
        self.0.clone()
    }

    fn at(&mut self, _: &[f32]) -> Vec<f32> {
        self.0.clone()
    }

    fn market(&mut self, _: &[f32]) -> Market {
        Market::new(self.0.len())
    }
}

fn reading(ratio: Option<f32>) -> Reading {
    Reading {
        ratio,
        target: 0.7,
        usable: true,
        ramp_s: 0.0,
        capacity: None,
        source: true,
    }
}

#[test]
fn the_crowded_pop_gets_a_price_and_comes_below_its_target() {
    let mut line = Line::new(4, 80);
    let mut balance = Balance::default();
    let mut prices: Prices = vec![Price::NEUTRAL; 4].into();
    for tick in 0..200 {
        line.decide(&prices);
        let demand = line.now();
        // The second one is small.
        let loads = [60.0, 15.0, 60.0, 60.0];
        let readings: Vec<Reading> = demand
            .iter()
            .zip(loads)
            .map(|(demand, capacity)| reading(Some(demand / capacity)))
            .collect();
        prices = balance.step(f64::from(tick) * 10.0, &readings, &mut line);
        if tick == 199 {
            assert!(readings[1].ratio.unwrap() <= 0.7, "{readings:?}");
            assert!(readings[1].ratio.unwrap() > 0.6, "{readings:?}");
        }
    }
    assert!(
        prices[1].price_ms > 0.0 && prices[3].price_ms == 0.0,
        "{prices:?}"
    );
}

#[test]
fn what_is_no_load_is_not_known() {
    let absurd = [f32::NAN, f32::INFINITY, -0.1, 1e6];
    let mut balance = Balance::default();
    let readings: Vec<Reading> = absurd
        .iter()
        .map(|ratio| reading(Some(*ratio)))
        .chain([reading(None), reading(Some(0.3))])
        .collect();
    let prices = balance.step(0.0, &readings, &mut Says(vec![1.0; 6]));
    let known: Vec<bool> = prices.iter().map(|price| price.known).collect();
    assert_eq!(known, [false, false, false, false, false, true]);
    for price in prices.iter() {
        assert_eq!(
            (price.price_ms, price.free),
            (prices[5].price_ms, prices[5].free)
        );
    }
}

/// Two hundred ticks of a line of PoPs of which the second is small, so that it has a price.
fn crowded() -> (Line, Balance, Prices, [f32; 4]) {
    let capacities = [60.0, 15.0, 60.0, 60.0];
    let (mut line, mut balance) = (Line::new(4, 80), Balance::default());
    let mut prices: Prices = vec![Price::NEUTRAL; 4].into();
    for tick in 0..200 {
        line.decide(&prices);
        let readings = read(&mut line, capacities);
        prices = balance.step(f64::from(tick) * 10.0, &readings, &mut line);
    }
    (line, balance, prices, capacities)
}

fn read(line: &mut Line, capacities: [f32; 4]) -> Vec<Reading> {
    let each = line.now().into_iter().zip(capacities);
    each.map(|(demand, capacity)| Reading {
        capacity: Some(capacity),
        ..reading(Some(demand / capacity))
    })
    .collect()
}

#[test]
fn a_silent_pop_goes_on_with_its_own_price_for_a_day() {
    let (mut line, mut balance, before, capacities) = crowded();
    assert!(before[1].price_ms > 0.0);
    let mut prices = before.clone();
    for tick in 200..200 + 8640 {
        line.decide(&prices);
        let mut readings = read(&mut line, capacities);
        let load = readings[1].ratio.take().unwrap();
        assert!((0.6..=0.7).contains(&load), "{tick}: {load}, {prices:?}");
        prices = balance.step(f64::from(tick) * 10.0, &readings, &mut line);
        assert!(!prices[1].known && prices[1].own, "{prices:?}");
    }
    assert_eq!(prices[0].price_ms, before[0].price_ms);
}

#[test]
fn a_capacity_that_changes_while_the_source_is_silent_counts() {
    for capacity in [30.0, 15.0, 10.0] {
        let (mut line, mut balance, mut prices, mut capacities) = crowded();
        let mut loads = Vec::new();
        for tick in 200..800 {
            if tick == 300 {
                capacities[1] = capacity;
            }
            line.decide(&prices);
            let mut readings = read(&mut line, capacities);
            loads.push(readings[1].ratio.take().unwrap());
            prices = balance.step(f64::from(tick) * 10.0, &readings, &mut line);
            assert!(prices[1].own, "{prices:?}");
        }
        let last = loads.last().unwrap();
        // Twice the capacity is more than its neighbours leave to it.
        let least = if capacity > 20.0 { 0.45 } else { 0.6 };
        assert!((least..=0.7).contains(last), "{capacity}: {last}");
    }
}

#[test]
fn what_was_measured_fades_into_what_others_are_like() {
    // Its clients weigh thrice as much as those of the others: after a day nobody is sure of that.
    let (mut line, mut balance, before, capacities) = crowded();
    let heavy = |line: &mut Line| {
        let mut readings = read(line, capacities);
        readings[1].ratio = readings[1].ratio.map(|ratio| 3.0 * ratio);
        readings
    };
    let mut prices = before;
    let mut shares = Vec::new();
    for tick in 200..10_000 {
        line.decide(&prices);
        let mut readings = heavy(&mut line);
        if tick >= 400 {
            readings[1].ratio = None;
        }
        prices = balance.step(f64::from(tick) * 10.0, &readings, &mut line);
        if [399, 760, 9_999].contains(&tick) {
            shares.push(line.now()[1] / capacities[1] / 0.7);
        }
    }
    assert!((0.3..=0.34).contains(&shares[0]), "{shares:?}");
    assert!((0.3..=0.45).contains(&shares[1]), "an hour: {shares:?}");
    assert!((0.9..=1.0).contains(&shares[2]), "a day: {shares:?}");
}

#[test]
fn a_pop_whose_source_is_taken_away_takes_the_mean() {
    let (mut line, mut balance, _, capacities) = crowded();
    let mut readings = read(&mut line, capacities);
    readings[1].ratio = None;
    readings[1].source = false;
    let prices = balance.step(2000.0, &readings, &mut line);
    let mean = (prices[0].price_ms + prices[2].price_ms + prices[3].price_ms) / 3.0;
    assert_eq!((prices[1].own, prices[1].price_ms), (false, mean));
    readings[1].source = true;
    let prices = balance.step(2010.0, &readings, &mut line);
    assert!(!prices[1].own, "it is forgotten");
}

#[test]
fn a_model_without_an_answer_moves_prices_a_little() {
    let answers = [vec![], vec![f32::NAN; 2], vec![0.0; 2], vec![-1.0; 2]];
    for answer in answers {
        let mut balance = Balance::default();
        let mut prices = |now: f64, ratio: f32| {
            let readings = [reading(Some(ratio)), reading(Some(0.1))];
            let prices = balance.step(now, &readings, &mut Says(answer.clone()));
            assert_eq!(prices[1].price_ms, 0.0);
            prices[0].price_ms
        };
        // Time, load, and what the price has come to.
        let steps = [
            (0.0, 0.9, 0.0),
            (10.0, 0.77, 0.5),
            (20.0, 900.0, 2.5),
            (1000.0, 900.0, 4.5),
            (1010.0, 0.65, 4.5),
            (1020.0, 0.0, 2.5),
            (1030.0, 0.0, 0.5),
            (1050.0, 0.0, 0.0),
        ];
        for (now, ratio, price) in steps {
            let is = prices(now, ratio);
            assert!((is - price).abs() < 1e-3, "{now}: {is}, not {price}");
        }
        let most = (0..400).map(|tick| prices(1060.0 + 10.0 * f64::from(tick), 2.0));
        assert_eq!(most.last(), Some(300.0), "nothing runs away");
    }
}

/// Clients who follow prices within five minutes, beside a model that knows none of them.
#[test]
fn without_a_model_a_crowded_pop_still_comes_to_its_target() {
    let (mut line, mut balance) = (Line::new(4, 80), Balance::default());
    let mut prices: Prices = vec![Price::NEUTRAL; 4].into();
    let mut carried = [20.0; 4];
    let mut last = Vec::new();
    for tick in 0..1000 {
        line.decide(&prices);
        for (carried, decided) in carried.iter_mut().zip(line.now()) {
            *carried += (decided - *carried) / 15.0;
        }
        let capacities = [60.0, 20.0, 60.0, 60.0];
        let each = carried.iter().zip(capacities);
        let readings: Vec<Reading> = each.map(|(load, of)| reading(Some(load / of))).collect();
        prices = balance.step(f64::from(tick) * 10.0, &readings, &mut Says(vec![0.0; 4]));
        last.push(readings[1].ratio.unwrap());
    }
    assert!(last[0] > 0.9, "{}", last[0]);
    for load in &last[500..] {
        assert!((0.55..=0.74).contains(load), "{load}, {prices:?}");
    }
}

#[test]
fn a_ramp_is_linear_and_only_for_those_that_come() {
    let mut balance = Balance::default();
    let mut at = |now: f64, usable: bool, ramp_s: f32| {
        let readings = [
            reading(Some(0.1)),
            Reading {
                usable,
                ramp_s,
                ..reading(None)
            },
        ];
        balance.step(now, &readings, &mut Says(vec![1.0; 2]))[1].ramp
    };
    assert_eq!(at(0.0, true, 100.0), 1.0, "there from the beginning");
    assert_eq!(at(10.0, false, 100.0), 0.02, "what it would come back with");
    let grown = [20.0, 45.0, 70.0, 120.0, 500.0].map(|now| at(now, true, 100.0));
    assert_eq!(grown, [0.02, 0.25, 0.5, 1.0, 1.0]);
    at(510.0, false, 0.0);
    assert_eq!(at(520.0, true, 0.0), 1.0, "without a ramp at once");
}

#[test]
fn another_configuration_keeps_what_is_known_by_number() {
    let mut balance = Balance::default();
    let readings = [reading(Some(0.2)), reading(Some(0.9))];
    for tick in 0..10 {
        balance.step(f64::from(tick) * 10.0, &readings, &mut Says(vec![1.0; 2]));
    }
    let prices = balance.step(100.0, &readings, &mut Says(vec![1.0; 2]));
    let mut next = balance.renumbered(3, |pop| [Some(1), None, Some(0)][pop]);
    let grows = Reading {
        ramp_s: 100.0,
        ..reading(None)
    };
    let readings = [reading(Some(0.9)), grows, reading(Some(0.2))];
    let after = next.step(100.0, &readings, &mut Says(vec![1.0; 3]));
    assert_eq!(after[0].free, prices[1].free);
    assert_eq!(after[2].free, prices[0].free);
    assert_eq!(after[1].ramp, 0.02, "it is new");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is read and modelled: prices are bounded, parts are parts, and the same history
    /// gives the same prices.
    #[test]
    fn prices_are_bounded_and_the_same_each_time(
        steps in prop::collection::vec(
            prop::collection::vec(
                (prop::option::of(prop_oneof![0.0_f32..2.0, Just(f32::NAN), Just(1e9)]),
                 prop::bool::weighted(0.9), 0.0_f32..100.0, -1.0_f32..1.5),
                5),
            1..8)
    ) {
        let mut line = Line::new(5, 20);
        line.decide(&[Price::NEUTRAL; 5]);
        let (mut one, mut two) = (Balance::default(), Balance::default());
        for (tick, step) in steps.iter().enumerate() {
            let readings: Vec<Reading> = step.iter().map(|(ratio, usable, ramp_s, target)| Reading {
                ratio: *ratio, usable: *usable, ramp_s: *ramp_s, target: *target, capacity: Some(*ramp_s), source: true,
            }).collect();
            let now = tick as f64 * 10.0;
            let first = one.step(now, &readings, &mut line);
            let second = two.step(now, &readings, &mut line);
            prop_assert_eq!(&first, &second);
            for price in first.iter() {
                prop_assert!((0.0..=3000.0).contains(&price.price_ms), "{price:?}");
                prop_assert!(price.free > 0.0 && price.free <= 1.0, "{price:?}");
                prop_assert!(price.ramp > 0.0 && price.ramp <= 1.0, "{price:?}");
            }
        }
    }

    /// Above the target a price, below it none; and more load never makes it much lower. (A step is
    /// cut where too many would move, which leaves a little play.)
    #[test]
    fn more_load_is_no_cheaper(load in 0.1_f32..1.2, more in 0.05_f32..0.5) {
        let price = |load: f32| {
            let mut line = Line::new(3, 30);
            line.decide(&[Price::NEUTRAL; 3]);
            let mut balance = Balance::default();
            let readings = [reading(Some(load)), reading(Some(0.3)), reading(Some(0.3))];
            balance.step(0.0, &readings, &mut line)[0].price_ms
        };
        prop_assert!(load > 0.68 || price(load) == 0.0);
        prop_assert!(load < 0.72 || price(load) > 0.0);
        prop_assert!(price(load + more) >= 0.8 * price(load), "{} {}", price(load), price(load + more));
    }
}
