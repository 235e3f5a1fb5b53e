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
    let drawn = args.svg.as_ref().map(|out| {
        let drawn = plan::draw(&plan, &picture, prepared.after(), &prepared.clients);
        std::fs::write(out, drawn)
            .map_err(|e| Failure::Message(format!("cannot write {}: {e}", out.display())))
    });
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
    // What was worked out is shown all the same.
    show(args, &planned);
    drawn.unwrap_or(Ok(()))?;
    match args.max_moved {
        Some(most) if moved > most => Err(Failure::Message(format!(
            "{}{unsure}",
            too_many(moved, most)
        ))),
        _ => Ok(()),
    }
}

/// More clients move than may, as shares: with the digits that tell the two apart.
fn too_many(moved: f64, most: f64) -> String {
    // Seven per cent is 7.000000000000001 otherwise.
    let most = (most * 1e8).round() / 1e6;
    let moved = moved * 100.0;
    let digits = if moved - most < 0.01 { 6 } else { 2 };
    format!("{moved:.digits$} % of clients move, more than {most} %")
}

fn show(args: &Arguments, planned: &Planned) {
    if args.output.json {
        print_json(planned);
    } else {
        print(&render::plan(planned, Style::stdout()));
    }
}

#[cfg(test)]
mod tests {
    use super::too_many;

    #[test]
    fn limits_are_told_as_they_were_given() {
        for (moved, most, right) in [
            (0.4233, 0.07, "42.33 % of clients move, more than 7 %"),
            (0.0004, 0.0001, "0.04 % of clients move, more than 0.01 %"),
            (0.050_001, 0.05, "5.000100 % of clients move, more than 5 %"),
        ] {
            assert_eq!(too_many(moved, most), right);
        }
    }
}
