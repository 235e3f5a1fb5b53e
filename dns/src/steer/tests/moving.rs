//! What holds from tick to tick: shares of cells under changing latency, load and health.

use std::{collections::HashSet, sync::Arc};

use meridian_config::{Config, PopId};
use meridian_geo_data::{
    CellId,
    latency::{Basis, Latency, Measured, Parts},
};
use meridian_health_prober::HealthSnapshot;
use proptest::prelude::*;

use super::{
    super::{
        Inputs, Standing, Steering, View,
        balance::{Part, Price, WHOLE},
        decide, explain,
        standing::is_crowded,
    },
    laws::{moved, rotated},
    seeded::seeded,
    world::{
        self, FAMILIES, World, config, health, lived, moving_world, network, pool_of, some_client,
        some_inputs,
    },
};
use crate::{client::Client, types::ServiceId};

/// Rows of a service, one after the other.
fn rows(steering: &Steering, standing: &Standing, service: usize) -> Vec<Vec<Part>> {
    let Some(table) = standing.table(steering.services()[service].stand) else {
        return Vec::new();
    };
    let count = steering.clients().cells().len() + standing.further_places();
    (0..count).map(|row| table.row(row).to_vec()).collect()
}

/// Share of a PoP of a row, 0 to 1.
fn share(row: &[Part], member: u16) -> f32 {
    let sum: f32 = row.iter().map(|part| f32::from(part.parts)).sum();
    let own = row.iter().find(|part| part.member == member);
    own.map_or(0.0, |own| f32::from(own.parts) / sum)
}

/// Share of a row's clients who had a PoP other than `gone` and have another now: blocks are drawn
/// by rendezvous, and a PoP keeps those of which it wins both draws.
fn disturbed(old: &[Part], new: &[Part], gone: u16) -> f64 {
    let parts = |row: &[Part], member: u16| {
        let part = row.iter().find(|part| part.member == member);
        part.map_or(0.0, |part| f64::from(part.parts))
    };
    let added = |part: &&Part| parts(old, part.member) == 0.0;
    let all: Vec<u16> = old
        .iter()
        .chain(new.iter().filter(added))
        .map(|part| part.member)
        .collect();
    let whole: f64 = all.iter().map(|member| parts(old, *member)).sum();
    let lost = |part: &Part| {
        let (was, is) = (f64::from(part.parts), parts(new, part.member));
        let rivals = all
            .iter()
            .map(|one| (parts(old, *one) / was).max(parts(new, *one) / is));
        was / whole
            - if is > 0.0 {
                1.0 / rivals.sum::<f64>()
            } else {
                0.0
            }
    };
    old.iter()
        .filter(|part| part.member != gone)
        .map(lost)
        .sum()
}

/// What the prices of a tick were, with that of one PoP changed.
fn with_price(inputs: &Inputs, pops: usize, pop: usize, change: impl Fn(&mut Price)) -> Inputs {
    let price = |pop| inputs.prices.get(pop).copied().unwrap_or(Price::NEUTRAL);
    let mut prices: Vec<Price> = (0..pops).map(price).collect();
    change(&mut prices[pop]);
    Inputs {
        prices: prices.into(),
        ..inputs.clone()
    }
}

/// What was measured, with one PoP farther away for everyone who measures it.
fn with_latency(inputs: &Inputs, cells: usize, column: u16, more: f32) -> Inputs {
    let slower = |one: &Measured| {
        let by = if one.column == column { more } else { 0.0 };
        Measured {
            ms: one.ms + by,
            ..*one
        }
    };
    let latency = &inputs.latency;
    let cells = (0..u32::try_from(cells).unwrap()).map(CellId);
    let changed = Latency::new(Parts {
        columns: latency.columns().into(),
        cells: cells
            .flat_map(|cell| {
                latency
                    .of_cell(cell)
                    .iter()
                    .map(move |one| (cell, slower(one)))
            })
            .collect(),
        exceptions: latency
            .exceptions()
            .iter()
            .map(|(prefix, row)| (*prefix, latency.of_row(*row).iter().map(slower).collect()))
            .collect(),
        ..Parts::default()
    });
    Inputs {
        latency: Arc::new(changed),
        ..inputs.clone()
    }
}

proptest! {
    #![proptest_config(seeded(128))]

    /// The same files and the same history, with a reload in the middle.
    #[test]
    fn two_nodes_with_the_same_input_history_give_identical_answers(
        world in moving_world(), later in prop::collection::vec(some_inputs(), 0..3),
        clients in prop::collection::vec(some_client(), 8), bias in 0.0..50.0_f64,
    ) {
        let mut config = world.config.clone();
        config.pops[0].bias_ms = bias;
        let node = || {
            let first = Steering::new(&world.config, world.steering.shared_clients());
            let before = lived(&first, &world.health, &world.history);
            let steering = Steering::new(&config, first.shared_clients());
            let after = later.iter().fold(before, |before, inputs| {
                before.next(&steering, &world.health, inputs)
            });
            let after = after.next(&steering, &world.health, &Inputs::default());
            let view = View::new(&steering, Arc::new(after), world.health.clone());
            (steering, view)
        };
        let ((one, first), (two, second)) = (node(), node());
        prop_assert!(first.standing().answers_like(second.standing()));
        for service in 0..one.services().len() {
            prop_assert_eq!(rows(&one, first.standing(), service), rows(&two, second.standing(), service));
            for (client, family) in clients.iter().flat_map(|one| FAMILIES.map(|family| (one, family))) {
                let id = super::model::id(service);
                let decision = decide(&one, &first, id, client, family);
                prop_assert_eq!(decision, decide(&two, &second, id, client, family));
            }
        }
    }

    /// The same where the PoPs are listed in another order: before a reload, after it, or both.
    #[test]
    fn the_order_of_pops_has_no_say_in_rows_over_a_reload(
        world in moving_world(), later in some_inputs(), by: [prop::sample::Index; 2],
    ) {
        let count = world.config.pops.len();
        let node = |orders: [usize; 2]| {
            let [config, reloaded] = orders.map(|by| rotated(&world.config, by));
            let steering = Steering::new(&config, world.steering.shared_clients());
            let turned = |inputs: &Inputs, by| moved(inputs, &world.config, by);
            let history: Vec<Inputs> = world.history.iter().map(|one| turned(one, orders[0])).collect();
            let before = lived(&steering, &world.health, &history);
            let steering = Steering::new(&reloaded, steering.shared_clients());
            let after = before.next(&steering, &world.health, &turned(&later, orders[1]));
            (0..steering.services().len()).map(|service| {
                let pops = &reloaded.pool(steering.services()[service].pool).pops;
                let name = |part: &Part| reloaded.pop(pops[usize::from(part.member)]).name.clone();
                rows(&steering, &after, service).iter().map(|row| {
                    let mut named: Vec<_> = row.iter().map(|part| (name(part), part.parts)).collect();
                    let home = named.first().cloned();
                    named.sort();
                    (home, named)
                }).collect::<Vec<_>>()
            }).collect::<Vec<_>>()
        };
        let [one, two] = by.map(|by| by.index(count));
        prop_assert_eq!(node([0, 0]), node([one, two]));
    }

    /// Nobody who can be handed out: no row. Otherwise whole shares of usable PoPs, each once.
    #[test]
    fn rows_are_shares_of_pops_that_may_be_used(world in moving_world()) {
        let view = &world.view;
        for (number, service) in world.steering.services().iter().enumerate() {
            for row in rows(&world.steering, view.standing(), number) {
                let members: HashSet<u16> = row.iter().map(|part| part.member).collect();
                prop_assert_eq!(members.len(), row.len());
                for part in row {
                    let tested = world.steering.rosters[service.roster].tested[usize::from(part.member)];
                    prop_assert!(view.state(tested).usable && part.parts > 0);
                }
            }
        }
    }

    /// A PoP that goes moves only its own clients: what the others have of a row stays in
    /// proportion, as long as anything of it is left.
    #[test]
    fn removing_a_pop_never_moves_other_pops_clients_except_by_load(
        world in moving_world(), gone: prop::sample::Index,
    ) {
        let gone = gone.index(world.config.pops.len());
        let pop = PopId(u16::try_from(gone).unwrap());
        let mut after = (*world.health).clone();
        after.overrides.extend(health(&world.config, &[], &[gone]).overrides);
        // A first standing: nobody is held back, so that every row is what the law wants.
        let inputs = world.history.last().unwrap();
        // Prices and free capacity are those of before; a PoP that grows is replaced by others.
        let grown = with_price(inputs, world.config.pops.len(), gone, |_| ());
        let prices: Vec<Price> =
            grown.prices.iter().map(|one| Price { ramp: 1.0, ..*one }).collect();
        let inputs = Inputs { prices: prices.into(), ..grown };
        let before = lived(&world.steering, &world.health, std::slice::from_ref(&inputs));
        let then = before.next_unlimited(&world.steering, &after, &inputs);
        for (number, service) in world.steering.services().iter().enumerate() {
            let pool = world.config.pool(service.pool);
            let Some(member) = pool.pops.iter().position(|one| *one == pop) else { continue };
            let member = u16::try_from(member).unwrap();
            let both = rows(&world.steering, &before, number)
                .into_iter()
                .zip(rows(&world.steering, &then, number));
            for (row, (old, new)) in both.enumerate() {
                let held = old.iter().any(|part| part.member == member);
                let all_went = held && old.len() == 1;
                // Where there are more than a row has places for, the next one takes the place.
                if all_went || (held && is_crowded(&world, &before, number, row)) {
                    continue;
                }
                let moved = disturbed(&old, &new, member);
                // Shares are rounded, each by a few parts.
                let rounding = 4.0 * (old.len() + new.len()) as f64 / f64::from(WHOLE);
                prop_assert!(moved <= rounding, "{}: {:?} {:?}", moved, old, new);
            }
        }
    }

    /// Monotone: more latency, a higher price or less bias never bring clients.
    #[test]
    fn shares_are_monotone_in_latency_load_and_bias(
        world in moving_world(), inputs in some_inputs(), at: prop::sample::Index,
        by in prop_oneof![Just(0.5_f32), Just(5.0), Just(100.0)],
    ) {
        let pops = world.config.pops.len();
        let pop = at.index(pops);
        // PoPs without a price of their own take the mean: they would follow.
        let known = (0..pops)
            .fold(inputs, |inputs, pop| with_price(&inputs, pops, pop, |price| price.own = true));
        let base = lived(&world.steering, &world.health, std::slice::from_ref(&known));
        let dearer = with_price(&known, pops, pop, |price| price.price_ms += by);
        let name = &world.config.pops[pop].name;
        let column = known.latency.column(name).unwrap_or(u16::MAX);
        let cells = world.steering.clients().cells().len();
        let slower = with_latency(&known, cells, column, by);
        let mut biased: Config = world.config.clone();
        biased.pops[pop].bias_ms -= f64::from(by);
        let biased = Steering::new(&biased, world.steering.shared_clients());
        let worse = [
            (&world.steering, dearer, "price"),
            (&world.steering, slower, "latency"),
            (&biased, known, "bias"),
        ];
        for (steering, inputs, what) in worse {
            let after = lived(steering, &world.health, std::slice::from_ref(&inputs));
            for (number, service) in world.steering.services().iter().enumerate() {
                let pool = world.config.pool(service.pool);
                let member = pool.pops.iter().position(|one| one.index() == pop);
                let Some(member) = member.map(|at| u16::try_from(at).unwrap()) else { continue };
                let both = rows(&world.steering, &base, number)
                    .into_iter()
                    .zip(rows(steering, &after, number));
                for (row, (old, new)) in both.enumerate() {
                    let (own, now) = (share(&old, member), share(&new, member));
                    if is_crowded(&world, &base, number, row) {
                        continue;
                    }
                    // Rounding to parts.
                    prop_assert!(now <= own + 0.02, "{what}: {old:?} {new:?}");
                }
            }
        }
    }

    /// No tick moves more than 5 % of the clients of a stand, but away from PoPs that went.
    #[test]
    fn no_more_than_the_limit_moves_at_once(world in moving_world(), inputs in some_inputs()) {
        let before = world.view.standing();
        let next = before.next(&world.steering, &world.health, &inputs);
        prop_assert!(next.moved().moved <= 0.05 + 1e-4);
        // Of exceptional prefixes nobody asks here, and cells have the same rows whatever they are.
        let cells = world.steering.clients().cells().len();
        for number in 0..world.steering.services().len() {
            let (mut moved, mut whole) = (0.0, 0.0);
            let both = rows(&world.steering, before, number)
                .into_iter()
                .zip(rows(&world.steering, &next, number));
            for (row, (old, new)) in both.enumerate().take(cells) {
                let demand = inputs.demand.of_cell(CellId(u32::try_from(row).unwrap()));
                whole += demand;
                if !old.is_empty() {
                    let lost = old.iter().map(|part| {
                        (share(&old, part.member) - share(&new, part.member)).max(0.0)
                    });
                    moved += demand * lost.sum::<f32>();
                }
            }
            prop_assert!(moved <= 0.06 * whole + 1e-3, "{moved} of {whole}");
        }
    }
}

/// A world of two PoPs and one cell, measured from it.
fn duel(tolerance_ms: u64) -> World {
    let pops = vec![
        world::pop("a", 50.0, 8.0, &["192.0.2.1"]),
        world::pop("b", 50.0, 8.5, &["192.0.2.2"]),
    ];
    let mut parameters = world::parameters();
    parameters.tolerance = std::time::Duration::from_millis(tolerance_ms);
    parameters.distance = 0.0;
    parameters.latency = 1.0;
    let mut config = config(pops, vec![pool_of(2)], vec![parameters]);
    config.geo.networks = vec![network("10.0.0.0/8", Some((50.0, 8.25)), None)];
    World::new(config, Default::default())
}

/// The cell of the duel.
fn cell(world: &World) -> CellId {
    let located = world.steering.clients().locate([10, 0, 0, 0].into());
    located.cell.unwrap()
}

fn measured(world: &World, cell_ms: &[f32], exceptions: &[(&str, Vec<f32>)]) -> Inputs {
    let row = |ms: &[f32]| -> Vec<Measured> {
        let one = |(column, ms): (u16, &f32)| Measured {
            column,
            basis: Basis::Cell,
            p25_ms: *ms,
            ms: *ms,
            samples: 50,
            age_s: 3,
        };
        (0..).zip(ms).map(one).collect()
    };
    let prefix = |(text, ms): &(&str, Vec<f32>)| (text.parse().unwrap(), row(ms));
    let latency = Latency::new(Parts {
        columns: ["a", "b"].map(Arc::from).into(),
        cells: row(cell_ms)
            .into_iter()
            .map(|one| (cell(world), one))
            .collect(),
        exceptions: exceptions.iter().map(prefix).collect(),
        ..Parts::default()
    });
    Inputs {
        latency: Arc::new(latency),
        ..Inputs::default()
    }
}

fn home(world: &World, standing: &Standing) -> u16 {
    rows(&world.steering, standing, 0)[cell(world).0 as usize][0].member
}

/// The incumbent stays until another is better by more than 10 % or 3 ms, whichever is more.
#[test]
fn hysteresis_by_table() {
    let world = duel(0);
    // Latency of a and b, tick by tick, and who serves then; a tick moves at most 5 % of the one
    // cell, so each is ticked until it has settled.
    let table: [(&[(f32, f32)], u16); 7] = [
        (&[(20.0, 30.0)], 0),
        (&[(20.0, 30.0), (20.0, 18.0)], 0),
        (&[(20.0, 30.0), (20.0, 17.5)], 0),
        (&[(20.0, 30.0), (20.0, 15.0)], 1),
        (&[(20.0, 30.0), (20.0, 15.0), (13.0, 15.0)], 1),
        // Of 100 ms 3 ms are no gain yet.
        (&[(100.0, 130.0), (100.0, 95.0)], 0),
        (&[(100.0, 130.0), (100.0, 85.0)], 1),
    ];
    for (ticks, expect) in table {
        let mut standing = Standing::none();
        for (a, b) in ticks {
            let inputs = measured(&world, &[*a, *b], &[]);
            for _ in 0..100 {
                standing = standing.next(&world.steering, &world.health, &inputs);
            }
        }
        assert_eq!(home(&world, &standing), expect, "{ticks:?}");
    }
    // Who goes down is left at once.
    let inputs = measured(&world, &[20.0, 19.0], &[]);
    let first = lived(
        &world.steering,
        &world.health,
        &[measured(&world, &[20.0, 30.0], &[])],
    );
    let down = health(&world.config, &[(0, vec![true])], &[]);
    let next = first.next(&world.steering, &down, &inputs);
    assert_eq!(
        rows(&world.steering, &next, 0)[cell(&world).0 as usize],
        [Part {
            member: 1,
            parts: WHOLE
        }]
    );
}

/// The margin that is shown is that of the shares: a tenth of what clients have now, not of the best.
#[test]
fn an_explanation_shows_the_margin_that_holds() {
    let world = duel(0);
    let mut standing = Standing::none();
    for (a, b) in [(100.0, 130.0), (100.0, 95.0)] {
        let inputs = measured(&world, &[a, b], &[]);
        standing = standing.next(&world.steering, &world.health, &inputs);
    }
    let view = View::new(&world.steering, Arc::new(standing), world.health.clone());
    let client = Client::from_source([10, 0, 0, 1].into());
    let told = explain(&world.steering, &view, ServiceId(0), &client, FAMILIES[0]).unwrap();
    let held = told.standing.unwrap();
    assert_eq!((&*held.home, held.better.as_deref()), ("a", Some("b")));
    assert!((held.margin_ms - 10.0).abs() < 0.01, "{}", held.margin_ms);
    assert!((held.better_by_ms.unwrap() - 5.0).abs() < 0.01);
}

/// A PoP that is down has no share of a place, but it may be back soon, and then it has one again.
#[test]
fn the_ttl_of_a_share_heeds_who_may_come_back() {
    use super::super::decide;
    let world = duel(5);
    let ttl = |soon: Option<u64>| {
        let mut down = health(&world.config, &[(0, vec![true]), (1, vec![])], &[]);
        let group = down.groups.iter_mut().find(|(key, _)| key.pop == "a");
        group.unwrap().1.endpoints[0].flips_in = soon.map(std::time::Duration::from_secs);
        let inputs = measured(&world, &[20.0, 21.0], &[]);
        let standing = lived(&world.steering, &down, &[inputs]);
        assert_eq!(home(&world, &standing), 1);
        let view = super::super::View::new(&world.steering, Arc::new(standing), Arc::new(down));
        let client = Client::from_ecs([10, 1, 2, 0].into(), 24, [10, 1, 2, 0].into());
        let (id, family) = (super::model::id(0), meridian_config::Family::V4);
        let decision = decide(&world.steering, &view, id, &client, family);
        assert_eq!(decision.pop, Some(PopId(1)));
        decision.ttl
    };
    assert_eq!([ttl(None), ttl(Some(20)), ttl(Some(3))], [30, 20, 15]);
}

/// A prefix that is off its cell has its own row, its own scope, and is explained as such.
#[test]
fn an_exceptional_prefix_is_judged_by_itself() {
    use super::super::{Level, explain};
    let off = ("10.20.30.0/24", vec![60.0, 20.0]);
    let world = duel(5);
    let inputs = measured(&world, &[20.0, 60.0], &[off]);
    let world = world.after(vec![inputs]);
    let ask = |text: &str| {
        let address = text.parse().unwrap();
        let client = Client::from_ecs(address, 24, address);
        let family = meridian_config::Family::V4;
        let id = super::model::id(0);
        let told = explain(&world.steering, &world.view, id, &client, family).unwrap();
        (
            decide(&world.steering, &world.view, id, &client, family),
            told,
        )
    };
    let (inside, told) = ask("10.20.30.0");
    assert_eq!(
        (inside.pop, inside.scope, inside.level),
        (Some(PopId(1)), 24, Level::Measured)
    );
    assert_eq!(told.exception, Some("10.20.30.0/24".parse().unwrap()));
    assert_eq!(told.candidates[0].latency.unwrap().p25_ms, 20.0);
    assert!(
        told.scope_why.contains("its own latency"),
        "{}",
        told.scope_why
    );
    let (beside, told) = ask("10.20.31.0");
    assert_eq!((beside.pop, beside.scope), (Some(PopId(0)), 24));
    assert_eq!(told.exception, None);
    let (farther, _) = ask("10.20.0.0");
    assert_eq!((farther.pop, farther.scope), (Some(PopId(0)), 20));
    let (far, _) = ask("10.128.0.0");
    assert_eq!((far.pop, far.scope), (Some(PopId(0)), 9));
}

/// Columns are named as soon as a PoP is known. Without a measurement they are no reason for rows, which
/// a PoP that comes back enters by 5 % of the clients a tick.
#[test]
fn named_but_empty_latency_columns_do_not_hold_a_pop_back_that_was_drained() {
    let world = duel(5);
    let named = measured(&world, &[], &[]);
    assert_eq!(named.latency.columns().len(), 2);
    let drained = health(&world.config, &[], &[0]);
    let before = lived(&world.steering, &drained, std::slice::from_ref(&named));
    let after = before.next(&world.steering, &world.health, &named);
    assert!(before.is_none() && after.is_none());
    // Each of the two serves some blocks.
    let answers = |health: &HealthSnapshot, standing| -> Vec<Option<PopId>> {
        let view = View::new(
            &world.steering,
            Arc::new(standing),
            Arc::new(health.clone()),
        );
        let client = |n: u8| Client::from_source([10, 0, n, 1].into());
        let (id, family) = (super::model::id(0), meridian_config::Family::V4);
        let answer = |n| decide(&world.steering, &view, id, &client(n), family).pop;
        (0..32).map(answer).collect()
    };
    assert_eq!(answers(&drained, before), [Some(PopId(1)); 32]);
    let back = answers(&world.health, after);
    assert!(back.contains(&Some(PopId(0))));
    assert_eq!(back, answers(&world.health, Standing::none()));
}

/// After a reload PoPs and pools are known again by name: the incumbent stays.
#[test]
fn a_reload_keeps_who_holds_what() {
    let world = duel(0);
    let before = measured(&world, &[20.0, 30.0], &[]);
    let standing = lived(&world.steering, &world.health, &[before]);
    let mut config = world.config.clone();
    config.pops.reverse();
    config
        .pops
        .push(world::pop("c", -40.0, 170.0, &["192.0.2.3"]));
    config.pools[0].pops = vec![PopId(2), PopId(0), PopId(1)];
    let next = Steering::new(&config, world.steering.shared_clients());
    // b is better by 2 ms, which is no reason to leave a.
    let inputs = measured(&world, &[20.0, 18.0], &[]);
    let after = standing.next(&next, &world.health, &inputs);
    assert_eq!(
        rows(&next, &after, 0)[cell(&world).0 as usize],
        [Part {
            member: 2,
            parts: WHOLE
        }]
    );
    let fresh = lived(&next, &world.health, &[inputs]);
    assert_eq!(rows(&next, &fresh, 0)[cell(&world).0 as usize][0].member, 1);
}

/// A PoP that is taken out of the list leaves its clients to those who are wanted then, at once, as one
/// that is down does: not all of them to who shared the place with it.
#[test]
fn a_reload_without_a_pop_spreads_its_clients_as_wanted() {
    let mut config = duel(5).config;
    config.pops.push(world::pop("c", 50.0, 8.2, &["192.0.2.3"]));
    config.pools[0] = pool_of(3);
    let world = World::new(config.clone(), Default::default());
    let inputs = |ms: &[f32]| {
        let mut inputs = measured(&world, ms, &[]);
        let cells = ms.iter().zip(0_u16..).map(|(ms, column)| {
            let one = Measured {
                column,
                basis: Basis::Cell,
                p25_ms: *ms,
                ms: *ms,
                samples: 50,
                age_s: 3,
            };
            (cell(&world), one)
        });
        inputs.latency = Arc::new(Latency::new(Parts {
            columns: ["a", "b", "c"].map(Arc::from).into(),
            cells: cells.collect(),
            ..Parts::default()
        }));
        inputs
    };
    // b is too far behind c, not behind a.
    let told = inputs(&[14.0, 18.0, 10.0]);
    let before = lived(&world.steering, &world.health, std::slice::from_ref(&told));
    let row = |steering: &Steering, standing: &Standing| {
        rows(steering, standing, 0)[cell(&world).0 as usize].clone()
    };
    let old = row(&world.steering, &before);
    assert!(share(&old, 0) > 0.3 && share(&old, 1) == 0.0, "{old:?}");
    config.pools[0] = pool_of(2);
    let next = Steering::new(&config, world.steering.shared_clients());
    let after = before.next(&next, &world.health, &told);
    let fresh = lived(&next, &world.health, &[told]);
    let (new, wanted) = (row(&next, &after), row(&next, &fresh));
    let (own, wanted) = (share(&new, 1), share(&wanted, 1));
    assert!(
        wanted > 0.3 && (own - wanted).abs() < 0.05,
        "{own} of {wanted}"
    );
}

/// Where nobody who serves a place has an address of the family, the explanation does not say that who
/// is given does.
#[test]
fn an_explanation_tells_who_stands_in_for_a_family() {
    let mut config = duel(5).config;
    config.pops[1]
        .endpoints
        .push("2001:db8::2".parse().unwrap());
    let world = World::new(config, Default::default());
    let inputs = measured(&world, &[20.0, 90.0], &[]);
    let world = world.after(vec![inputs]);
    let client = Client::from_source([10, 0, 0, 1].into());
    let told =
        |family| explain(&world.steering, &world.view, ServiceId(0), &client, family).unwrap();
    let [v4, v6] = FAMILIES.map(told);
    assert_eq!(v4.chosen.as_deref(), Some("a"));
    assert_eq!(
        v4.why,
        "a serves this place by what is measured, score 20.0 ms"
    );
    assert_eq!(v6.chosen.as_deref(), Some("b"));
    assert_eq!(
        v6.why,
        "none of those who serve this place has an AAAA address: b comes first of the others, by \
         configuration and distance"
    );
}
