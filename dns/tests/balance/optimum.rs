//! The best that anybody could do: the linear program of the cheapest flow from cells to PoPs; and
//! what it costs where PoPs within the tolerance share, as they are configured to.

use microlp::{ComparisonOp, OptimizationDirection, Problem, SolveOutcome};

use crate::{run::Run, world::World};

/// Part of the target that the controller aims at.
const AIM: f64 = 0.984;
/// How far a market may be from cleared: above the target, and below it where there is a price.
const ABOVE: f64 = 1.02;
const BELOW: f64 = 0.95;
/// Ticks in which a market that is known exactly is cleared; at most 5 % of clients move in each.
const TICKS: usize = 180;

/// Least mean score without prices, ms, under which no PoP is above its target; `None`: there is
/// no such flow.
pub(crate) fn optimum(world: &World) -> Option<f64> {
    let mut problem = Problem::new(OptimizationDirection::Minimize);
    let mut at_pop: Vec<Vec<_>> = vec![Vec::new(); world.pops.len()];
    let all: f64 = world.cells.iter().map(|cell| cell.demand).sum();
    for cell in &world.cells {
        let usable = |near: &&(u16, f32)| world.pops[usize::from(near.0)].usable;
        let flows: Vec<_> = cell
            .near
            .iter()
            .filter(usable)
            .map(|(member, score)| {
                let flow = problem.add_var(f64::from(*score), (0.0, f64::INFINITY));
                at_pop[usize::from(*member)].push((flow, 1.0));
                (flow, 1.0)
            })
            .collect();
        problem.add_constraint(flows, ComparisonOp::Eq, cell.demand / all);
    }
    for (pop, flows) in world.pops.iter().zip(at_pop) {
        if pop.usable && !flows.is_empty() {
            let most = pop.capacity * world.target / all;
            problem.add_constraint(flows, ComparisonOp::Le, most);
        }
    }
    match problem.solve() {
        Ok(SolveOutcome::Solution(solution)) => Some(solution.objective()),
        _ => None,
    }
}

/// Mean score without prices, ms, of the law of sharing at prices that clear the market, with
/// everything known; `None`: no such prices were found.
///
/// The controller is asked for them, but that they clear the market is looked at here: nobody is
/// above the target, and whoever has a price is full.
pub(crate) fn shared(world: &World, seed: u64) -> Option<f64> {
    let mut run = Run::new(world.known(AIM), seed);
    run.ticks(TICKS);
    let loads = run.loads.last()?.iter().zip(&run.world.pops);
    let cleared = loads.zip(&*run.prices).all(|((load, pop), price)| {
        let full = load / world.target;
        !pop.usable || full <= ABOVE && (full >= BELOW || price.price_ms < 0.1)
    });
    cleared.then(|| run.latency.last().copied())?
}
