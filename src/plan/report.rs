//! The whole plan: everything worked out, for scripts as it stands, for people by `render`.

use std::{collections::BTreeMap, sync::Arc};

use meridian_config::Family;
use meridian_dns::steer::View;
use meridian_geo_data::{CellId, ClientMap};
use serde::Serialize;

use super::{
    demand::Demand,
    failures,
    moves::Moves,
    pairs::Pair,
    rows::rows,
    settle::Settling,
    tally::Tally,
    world::{Assignment, Decider, Estimate, RoundTrips, Site, Sites, World},
};

/// Bound for "near", milliseconds.
pub(crate) const NEAR_MS: f32 = 100.0;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// As it is.
    pub(crate) before: &'a World,
    /// As it would be.
    pub(crate) after: &'a World,
    /// Who asks.
    pub(crate) demand: &'a Demand,
    /// Where they are.
    pub(crate) clients: &'a ClientMap,
    /// The services planned for; of both worlds.
    pub(crate) services: &'a [Pair],
    /// A or AAAA.
    pub(crate) family: Family,
    /// The whole demand in the unit of `capacity`; `None`: loads are not told.
    pub(crate) load: Option<f64>,
    /// Whether to say what each single failure would do.
    pub(crate) failures: bool,
}

/// Everything worked out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Plan {
    /// Services planned for.
    pub(crate) services: Vec<String>,
    /// A or AAAA.
    pub(crate) family: Family,
    /// How round trips are estimated.
    pub(crate) estimate: Estimate,
    /// Whether something measured has a say, and if so, whether shares settled before the change.
    pub(crate) settled_before: Settling,
    /// The same after it, from where they were before.
    pub(crate) settled: Settling,
    /// What is changed, in words.
    pub(crate) changes: Vec<String>,
    /// PoPs of the services, most loaded (else largest share) after the change first.
    pub(crate) pops: Vec<PopRow>,
    /// Share of clients with a last resort before.
    pub(crate) last_resort_before: f64,
    /// Share of clients with a last resort after.
    pub(crate) last_resort_after: f64,
    /// Estimated round trips before.
    pub(crate) rtt_before: Quantiles,
    /// Estimated round trips after.
    pub(crate) rtt_after: Quantiles,
    /// What the estimated round trip of those that move changes by.
    pub(crate) rtt_added: Quantiles,
    /// Share of clients that move.
    pub(crate) moved: f64,
    /// From where to where, the largest first.
    pub(crate) moves: Vec<Move>,
    /// What each single failure would do after the change, the worst first.
    pub(crate) failures: Vec<Failure>,
    /// Whose failures were not worked out, since that would take too long; `None`: all were.
    pub(crate) failures_left_out: Option<LeftOut>,
}

/// One PoP.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PopRow {
    /// Its name.
    pub(crate) pop: String,
    /// `drained`, `down`, `new`, `gone`, or nothing.
    pub(crate) state: &'static str,
    /// Share of the clients before; 0 to 1.
    pub(crate) share_before: f64,
    /// Share of the clients after.
    pub(crate) share_after: f64,
    /// Load ÷ capacity before; `None`: no capacity or no total.
    pub(crate) load_before: Option<f64>,
    /// Load ÷ capacity after.
    pub(crate) load_after: Option<f64>,
    /// After: above its capacity, above the target, or neither.
    pub(crate) strain: Strain,
}

/// How much a PoP carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Strain {
    /// Not above the target, or not known.
    None,
    /// Above `target_load`.
    OverTarget,
    /// Above its capacity.
    OverCapacity,
}

/// Of a distribution, milliseconds; `None`: of nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) mean: Option<f64>,
    pub(crate) p50: Option<f64>,
    pub(crate) p90: Option<f64>,
    pub(crate) p99: Option<f64>,
    /// Share of clients within 100 ms.
    pub(crate) within_100_ms: Option<f64>,
    /// Share of all clients that is left out of the above: their round trip is not known, since they
    /// get an anycast address, a fallback or nothing, or nobody knows where they are.
    pub(crate) unknown: f64,
}

/// Clients that move.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Move {
    pub(crate) from: String,
    pub(crate) to: String,
    /// Share of all clients.
    pub(crate) share: f64,
}

/// What the failure of one PoP would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Failure {
    /// The PoP that fails.
    pub(crate) pop: String,
    /// Share of all clients that move.
    pub(crate) moved: f64,
    /// The PoP that then carries most (by load where it is known, else by share).
    pub(crate) worst: Option<String>,
    /// Its share of the clients.
    pub(crate) worst_share: f64,
    /// Its load ÷ capacity.
    pub(crate) worst_load: Option<f64>,
    /// PoPs above target then.
    pub(crate) over_target: usize,
    /// PoPs above their capacity then.
    pub(crate) over_capacity: usize,
    /// Estimated round trips of all clients then.
    pub(crate) rtt: Quantiles,
    /// Share of clients with a last resort.
    pub(crate) last_resort: f64,
}

/// PoPs whose failures were not worked out: those with the smallest shares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct LeftOut {
    /// How many.
    pub(crate) pops: usize,
    /// The largest share of clients that one of them has.
    pub(crate) share: f64,
}

/// A cell as the map shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spot {
    pub(crate) cell: CellId,
    /// Who serves most of its clients.
    pub(crate) site: Site,
    /// All its clients.
    pub(crate) amount: f64,
}

/// What the map is drawn from, besides the plan.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) sites: Sites,
    pub(crate) spots: Vec<Spot>,
}

/// Works everything out.
pub(crate) fn plan(question: &Question<'_>) -> (Plan, Picture) {
    let Question {
        before,
        after,
        demand,
        clients,
        ..
    } = *question;
    let sites = Sites::of(&before.config, &after.config);
    let trips_before = RoundTrips::new(before, &sites, clients);
    let trips_after = RoundTrips::new(after, &sites, clients);
    let (mut then, mut now) = (Tally::new(sites.all()), Tally::new(sites.all()));
    let mut moves = Moves::default();
    let mut assigned = Vec::new();
    let views = (Arc::new(before.view(None)), Arc::new(after.view(None)));
    let site_of = (sites.of_pops(before), sites.of_pops(after));
    let family = question.family;
    for pair in question.services {
        let of = |world, site_of: &[Site], service, view: &Arc<View>| {
            let which = (service, family);
            Decider::new(world, (&sites, site_of), which, view.clone()).assign(demand)
        };
        let first = of(before, &site_of.0, pair.before, &views.0);
        let second = of(after, &site_of.1, pair.after, &views.1);
        then.add(demand, &first, &trips_before, pair.share);
        now.add(demand, &second, &trips_after, pair.share);
        moves.add(
            demand,
            (&first, &trips_before),
            (&second, &trips_after),
            pair.share,
        );
        assigned.push(second);
    }
    let (failures, left_out) = if question.failures {
        failures::each(question, &sites, &trips_after, &now, &assigned)
    } else {
        (Vec::new(), None)
    };
    let picture = Picture {
        spots: spots(question, &assigned),
        sites: sites.clone(),
    };
    let plan = Plan {
        services: question
            .services
            .iter()
            .flat_map(|pair| pair.names.clone())
            .collect(),
        family: question.family,
        estimate: before.line().into(),
        settled_before: Settling::Idle,
        settled: Settling::Idle,
        changes: Vec::new(),
        pops: rows(question, &sites, &then, &now),
        last_resort_before: then.last_resort / demand.total,
        last_resort_after: now.last_resort / demand.total,
        rtt_before: Quantiles::of(&then),
        rtt_after: Quantiles::of(&now),
        rtt_added: moves.added(),
        moved: moves.moved() / demand.total,
        moves: moves.largest(&sites, demand.total),
        failures,
        failures_left_out: left_out,
    };
    (plan, picture)
}

impl Quantiles {
    /// Of everyone in a tally.
    pub(crate) fn of(tally: &Tally) -> Self {
        Self {
            mean: tally.rtt.mean(),
            p50: tally.rtt.quantile(0.5),
            p90: tally.rtt.quantile(0.9),
            p99: tally.rtt.quantile(0.99),
            within_100_ms: tally.rtt.share_within(NEAR_MS),
            unknown: tally.unknown(),
        }
    }
}

/// By cell of known place: who serves most of it, over all services.
fn spots(question: &Question<'_>, assigned: &[Assignment]) -> Vec<Spot> {
    let mut by_cell: BTreeMap<(CellId, Site), f64> = BTreeMap::new();
    for (pair, assignment) in question.services.iter().zip(assigned) {
        for (asker, site) in question.demand.askers.iter().zip(&assignment.sites) {
            if let Some(cell) = asker.cell {
                *by_cell.entry((cell, *site)).or_default() += asker.amount * pair.share;
            }
        }
    }
    let mut spots: Vec<(Spot, f64)> = Vec::new();
    for ((cell, site), amount) in by_cell {
        match spots.last_mut().filter(|(spot, _)| spot.cell == cell) {
            Some((spot, most)) => {
                spot.amount += amount;
                if amount > *most {
                    (spot.site, *most) = (site, amount);
                }
            }
            None => spots.push((Spot { cell, site, amount }, amount)),
        }
    }
    spots.into_iter().map(|(spot, _)| spot).collect()
}
