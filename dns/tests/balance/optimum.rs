//! The best that anybody could do: the linear program of the cheapest flow from cells to PoPs.

use microlp::{ComparisonOp, OptimizationDirection, Problem, SolveOutcome};

use crate::world::World;

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
