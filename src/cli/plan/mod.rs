//! `meridian plan`: what a change would do, worked out from files (and, if asked, from what a server
//! has counted).

mod demand;
mod worlds;

use serde::Serialize;

use super::{Failure, args::Plan as Arguments};
use crate::{
    plan::{self, Plan, Question, Settling},
    render::{self, Style, print, print_json},
};

/// What is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Planned {
    /// Who asks.
    pub(crate) demand: Told,
    /// Where measured latency comes from, in words; `None`: nobody was asked.
    pub(crate) measured: Option<String>,
    /// What comes of it.
    #[serde(flatten)]
    pub(crate) plan: Plan,
}

/// Where the demand comes from.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    /// In words.
    pub(crate) source: String,
    /// What amounts are: `/24s`, `/48s`, `queries`, `bits`.
    pub(crate) unit: &'static str,
    /// Sum of all amounts.
    pub(crate) total: f64,
    /// Share of it whose location nobody knows.
    pub(crate) unlocated: f64,
    /// The whole demand in the unit of `capacity`.
    pub(crate) load: Option<f64>,
    /// Where that comes from, in words.
    pub(crate) load_source: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Arguments) -> Result<(), Failure> {
    let mut prepared = worlds::prepare(args)?;
    let (demand, mut told) = demand::demand(args, &prepared)?;
    if demand.unlocated >= demand.total {
        return Err(Failure::Message(format!(
            "none of the clients is known to the geo data ({}): nothing can be said of them",
            told.source
        )));
    }
    demand::load(args, &mut told, &prepared);
    let settled = prepared.settle(&demand, told.load);
    let (mut plan, picture) = plan::plan(&Question {
        before: &prepared.before,
        after: prepared.after(),
        demand: &demand,
        clients: &prepared.clients,
        services: &prepared.services,
        family: prepared.family,
        load: told.load,
        failures: true,
    });
    (plan.settled_before, plan.settled) = settled;
    plan.changes.clone_from(&prepared.changes);
    if let Some(out) = &args.svg {
        let drawn = plan::draw(&plan, &picture, prepared.after(), &prepared.clients);
        std::fs::write(out, drawn)
            .map_err(|e| Failure::Message(format!("cannot write {}: {e}", out.display())))?;
    }
    let moved = plan.moved;
    // What drifts anyway is counted with what the change moves.
    let drifts = matches!(plan.settled_before, Settling::Unsettled { .. });
    let unsure = match drifts {
        true => "; not all of that is the change's doing, since shares do not settle without it",
        false => "",
    };
    let planned = Planned {
        demand: told,
        measured: prepared.measured,
        plan,
    };
    show(args, &planned);
    match args.max_moved {
        Some(most) if moved > most => Err(Failure::Message(format!(
            "{:.2} % of clients move, more than {} %{unsure}",
            moved * 100.0,
            most * 100.0
        ))),
        _ => Ok(()),
    }
}

fn show(args: &Arguments, planned: &Planned) {
    if args.output.json {
        print_json(planned);
    } else {
        print(&render::plan(planned, Style::stdout()));
    }
}
