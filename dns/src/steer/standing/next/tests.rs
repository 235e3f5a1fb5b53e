//! Ticks against the model, when measurements begin and end, and within their memory.

use std::sync::Arc;

use meridian_config::Family;
use meridian_geo_data::{
    CellId,
    latency::{Basis, Latency, Measured, Parts as LatencyParts},
};
use proptest::prelude::*;

use super::*;
use crate::{
    client::Client,
    steer::{
        Demand, View,
        balance::{MAX_PARTS, Model as _, Part, WHOLE},
        decide,
        tests::{
            seeded::seeded,
            world::{World, config, lived, moving_world, network, parameters, pool_of, pop},
            world::{some_address, some_inputs, world},
        },
    },
    types::ServiceId,
};

/// Nobody is held back.
const FREE: Bounds = Bounds {
    moved: 1.0,
    ..BOUNDS
};

/// Demand of each PoP by the rows of a standing.
fn counted(world: &World, standing: &Standing, inputs: &Inputs) -> Vec<f32> {
    let steering = &world.steering;
    let mut demand = vec![0.0; world.config.pops.len()];
    let services = || (0_u32..).map(ServiceId).zip(steering.services());
    let whole: f32 = services().map(|(id, _)| inputs.demand.of_service(id)).sum();
    for (id, service) in services() {
        let Some(table) = standing.table(service.stand) else {
            continue;
        };
        let of_service = inputs.demand.of_service(id) / whole;
        for row in 0..table.len() {
            let of_row = match row.checked_sub(steering.clients.cells().len()) {
                None => inputs.demand.of_cell(CellId(u32::try_from(row).unwrap())),
                Some(number) => inputs
                    .demand
                    .of_prefix(standing.exceptions.prefix(number).unwrap()),
            };
            for part in table.row(row) {
                let pop = world.config.pool(service.pool).pops[usize::from(part.member)];
                demand[pop.index()] +=
                    of_row * of_service * f32::from(part.parts) / f32::from(WHOLE);
            }
        }
    }
    demand
}

/// Like the law of another kind of worlds, for services of different demand.
fn with_services(mut inputs: Inputs, services: Vec<f32>) -> Inputs {
    let cells = inputs.demand.cells().to_vec();
    inputs.demand = Arc::new(Demand::new(cells, Vec::new(), services));
    inputs
}

proptest! {
    #![proptest_config(seeded(128))]

    /// What the model foresees at the prices of a tick is what the tick comes to, but for the limit.
    #[test]
    fn the_model_says_what_the_rows_say(
        world in moving_world(), inputs in some_inputs(),
        services in prop::collection::vec(0.1..9.0_f32, 0..5), same_latency: bool,
    ) {
        let before = world.view.standing();
        let mut inputs = with_services(inputs, services);
        if same_latency {
            inputs.latency = before.inputs().latency.clone();
        }
        let next = before.next_within(FREE, &world.steering, &world.health, &inputs);
        // The model knows those that have rows, and goes by what is measured.
        let is_moved = |stand: &Stand| {
            let (scoring, exceptions) = (stand.scoring(), &next.exceptions);
            let field = Field::new(&world.steering, scoring, Vec::new(), &inputs, exceptions, None);
            field.unwrap().is_moved()
        };
        let has_rows = |number| before.table(Some(number)).is_some();
        let mut stands = world.steering.stands.iter().enumerate();
        if !stands.all(|(number, stand)| has_rows(number) && is_moved(stand)) {
            return Ok(());
        }
        let mut model = before.model(&world.steering, &world.health, &inputs);
        let prices = 0..world.config.pops.len();
        let prices: Vec<f32> = prices.map(|pop| inputs.price(pop).price_ms).collect();
        let (foreseen, came) = (model.at(&prices), counted(&world, &next, &inputs));
        let whole: f32 = came.iter().sum();
        for (one, other) in foreseen.iter().zip(&came) {
            prop_assert!((one - other).abs() <= 1e-4 * whole + 1e-4, "{:?} {:?}", foreseen, came);
        }
    }

    /// Before measurements begin the rows are taken to be what is answered without them.
    #[test]
    fn plain_rows_hold_who_answers(world in world(), addresses in prop::collection::vec(some_address(), 8)) {
        let steering = &world.steering;
        let layout = Layout::new(steering, &world.health, &[]);
        let none = Arc::new(Standing::none());
        let view = View::new(steering, none, world.health.clone());
        let exceptions = Exceptions::default();
        for (id, service) in (0_u32..).map(ServiceId).zip(steering.services()) {
            let Some(number) = service.stand else { continue };
            let usable = layout.usable(steering.stands[number].roster);
            let plain = plain(steering, number, &usable, &exceptions).unwrap();
            for address in &addresses {
                let client = Client::from_source(*address);
                let clients = steering.clients();
                let block = crate::steer::block::Block::of(clients, None, *address, service.scope_max);
                let located = clients.locate(block.first);
                let (Some(cell), None) = (located.cell, located.pinned) else { continue };
                let row = plain.row(cell.0 as usize);
                prop_assert_eq!(row.is_empty(), row.iter().all(|part| part.parts == 0));
                for family in [Family::V4, Family::V6] {
                    let pops = &world.config.pool(service.pool).pops;
                    let roll = world.view.roll(service.roster).answers(family);
                    let gives = |part: &Part| roll.get(usize::from(part.member));
                    // Of the others some have only addresses of the other family.
                    if row.len() < MAX_PARTS && row.iter().any(gives) {
                        let decision = decide(steering, &view, id, &client, family);
                        let is_in = |part: &Part| Some(pops[usize::from(part.member)]) == decision.pop;
                        // A weight may be too small for a whole part.
                        let light = pops.iter().any(|pop| world.config.pop(*pop).weight.0 == 1);
                        prop_assert!(light || row.iter().any(is_in), "{}: {:?} {:?}", client, row, decision);
                    }
                }
            }
        }
    }
}

/// Forty cells near the first of two PoPs.
fn forty_cells() -> World {
    let pops = vec![
        pop("a", 50.0, 8.0, &["192.0.2.1"]),
        pop("b", 50.0, 20.0, &["192.0.2.2"]),
    ];
    let mut config = config(pops, vec![pool_of(2)], vec![parameters(); 2]);
    config.zones[0].services[1].steering.tolerance = std::time::Duration::from_millis(40);
    let place = |n: u8| {
        network(
            &format!("10.{n}.0.0/16"),
            Some((40.0 + f64::from(n) / 2.0, 8.0)),
            None,
        )
    };
    config.geo.networks = (0..40).map(place).collect();
    World::new(config, Default::default())
}

/// The second PoP is far nearer for all of them than the map says.
fn the_other_way(world: &World) -> Inputs {
    let cells = u32::try_from(world.steering.clients().cells().len()).unwrap();
    let ms = |column, ms| Measured {
        column,
        basis: Basis::Cell,
        p25_ms: ms,
        ms,
        samples: 50,
        age_s: 3,
    };
    let latency = Latency::new(LatencyParts {
        columns: ["a", "b"].map(Arc::from).into(),
        cells: (0..cells)
            .map(CellId)
            .flat_map(|cell| [(cell, ms(0, 40.0)), (cell, ms(1, 1.0))])
            .collect(),
        ..LatencyParts::default()
    });
    Inputs {
        latency: Arc::new(latency),
        ..Inputs::default()
    }
}

/// Share of all cells that the second PoP serves for the first service.
fn share_of_second(world: &World, standing: &Standing) -> f32 {
    let table = standing.table(world.steering.services()[0].stand).unwrap();
    let rows = || (0..table.len()).map(|row| table.row(row));
    let second = rows().flatten().filter(|part| part.member == 1);
    let sum: f32 = second
        .map(|part| f32::from(part.parts) / f32::from(WHOLE))
        .sum();
    sum / rows().map(|_| 1.0).sum::<f32>()
}

/// The same while nothing is measured.
fn plain_share_of_second(world: &World) -> f32 {
    let exceptions = Exceptions::default();
    let plain = plain(&world.steering, 0, &[true; 2], &exceptions).unwrap();
    let cells = world.steering.clients().cells().len();
    let rows = (0..cells).flat_map(|row| plain.row(row));
    let sum: f32 = rows
        .filter(|part| part.member == 1)
        .map(|part| f32::from(part.parts) / f32::from(WHOLE))
        .sum();
    sum / (0..cells).map(|_| 1.0).sum::<f32>()
}

#[test]
fn when_measurements_begin_and_end_clients_move_within_the_limit() {
    let world = forty_cells();
    let (steering, health) = (&world.steering, &world.health);
    let (measured, nothing) = (the_other_way(&world), Inputs::default());
    // A server that starts with what it knows has not answered anybody yet.
    let first = lived(steering, health, std::slice::from_ref(&measured));
    assert_eq!(share_of_second(&world, &first), 1.0);

    let mut standing = lived(steering, health, std::slice::from_ref(&nothing));
    assert!(standing.is_none());
    let plain = plain_share_of_second(&world);
    assert!(plain < 0.7, "{plain}");
    let mut share = plain;
    let mut ticks = 0;
    while share < 1.0 {
        standing = standing.next(steering, health, &measured);
        let now = share_of_second(&world, &standing);
        assert!(share < now && now <= share + 0.05 + 1e-4, "{share} {now}");
        (share, ticks) = (now, ticks + 1);
    }
    assert!(ticks >= 6, "{ticks}");
    let settled = standing.next(steering, health, &measured);
    assert!(settled.answers_like(&standing));

    standing = settled.next(steering, health, &nothing);
    while !standing.is_none() {
        let now = share_of_second(&world, &standing);
        assert!(now < share && now >= share - 0.05 - 1e-4, "{share} {now}");
        share = now;
        standing = standing.next(steering, health, &nothing);
    }
    assert!((share - plain).abs() < 1e-4, "{share} {plain}");
}

#[test]
fn tables_past_the_memory_bound_are_not_made() {
    let world = forty_cells();
    let measured = the_other_way(&world);
    let (steering, health) = (&world.steering, &world.health);
    let start = Standing::none();
    let tables = |octets| {
        let bounds = Bounds { octets, ..FREE };
        let standing = start.next_within(bounds, steering, health, &measured);
        (standing.size().0, standing.octets())
    };
    let (count, all) = tables(BOUNDS.octets);
    assert_eq!(count, 2);
    let one = start.next_within(FREE, steering, health, &measured);
    let of_near: usize = one.near.iter().flatten().map(|near| near.octets()).sum();
    assert!(of_near < all);
    // The near PoPs alone would fit.
    let (count, some) = tables(of_near);
    assert_eq!(count, 1);
    assert!(some < all);
}

/// Pools with the same PoPs score alike, but only one of these is led by BGP: its clients do not follow prices,
/// those of the other do, whichever comes first in the configuration.
#[test]
fn the_model_tells_pools_with_the_same_pops_apart() {
    let foreseen = |anycast: usize| {
        let mut config = forty_cells().config;
        let mut other = config.pools[0].clone();
        other.name = "other".into();
        config.pools.push(other);
        config.pools[anycast].anycast = Some(meridian_config::Anycast {
            addresses: vec!["192.0.2.250".parse().unwrap()],
            margin: std::time::Duration::ZERO,
        });
        let services = &mut config.zones[0].services;
        services[1].steering = services[0].steering.clone();
        services[1].pool = meridian_config::PoolId(1);
        let world = World::new(config, Default::default());
        let inputs = the_other_way(&world);
        let standing = lived(
            &world.steering,
            &world.health,
            std::slice::from_ref(&inputs),
        );
        let mut model = standing.model(&world.steering, &world.health, &inputs);
        model.at(&[0.0, 0.0])
    };
    let cells = forty_cells().steering.clients().cells().len();
    // Half of all that is asked.
    let expect = f32::from(u16::try_from(cells).unwrap()) / 2.0;
    for anycast in [0, 1] {
        let demand: f32 = foreseen(anycast).iter().sum();
        assert!(
            (demand - expect).abs() < 1e-3 * expect,
            "{anycast}: {demand} for {expect}"
        );
    }
}
