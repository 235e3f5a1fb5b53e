//! Who asks, and how much that is: files, a server's counters, or the geo data.

use std::{fs::File, io::BufReader, net::IpAddr, path::Path};

use meridian_config::Family;
use serde::Deserialize;

use super::{Told, worlds::Prepared};
use crate::{
    cli::{
        Failure,
        args::{DEFAULT_ADMIN, Plan as Arguments, Target},
        block_on,
        client::{Client, ClientError},
    },
    plan::{self, Demand, TrafficError, TrafficUnit},
};

/// Share of all capacity that is asked for when nobody says how much is.
const ASSUMED: f64 = 0.4;

/// Who asks, as the arguments want it.
pub(super) fn demand(args: &Arguments, prepared: &Prepared) -> Result<(Demand, Told), Failure> {
    let (clients, family) = (&prepared.clients, prepared.family);
    let (mut load, mut load_source) = (None, None);
    let (demand, source, unit) = if let Some(file) = &args.traffic {
        let failed = |error| traffic_failure(file, error);
        let opened = File::open(file).map_err(|error| failed(error.into()))?;
        let traffic = plan::read_traffic(BufReader::new(opened)).map_err(failed)?;
        let unit = match traffic.unit {
            TrafficUnit::Queries => "queries",
            TrafficUnit::Bits => "bits",
        };
        let demand = Demand::by_prefixes(clients, &traffic.prefixes);
        (
            demand,
            format!(
                "{} client prefixes of {}",
                traffic.prefixes.len(),
                file.display()
            ),
            unit,
        )
    } else if let Some(url) = &args.from_server {
        let (counted, carried) = block_on(ask(args, url, prepared))?;
        if let Some((carried, who)) = carried {
            load = Some(carried);
            load_source = Some(who);
        }
        let demand = Demand::by_cells(clients, family, &counted);
        (
            demand,
            format!("what {url} counted, {} cells", counted.len()),
            "answers a second",
        )
    } else {
        let unit = if family == Family::V4 { "/24s" } else { "/48s" };
        let demand = Demand::by_addresses(clients, family);
        (
            demand,
            "all networks of the geo data, each address alike".to_owned(),
            unit,
        )
    };
    if demand.is_empty() {
        return Err(Failure::Message(format!(
            "nobody asks for anything: {source}"
        )));
    }
    let told = Told {
        source,
        unit,
        total: demand.total,
        unlocated: demand.unlocated / demand.total,
        load,
        load_source,
    };
    Ok((demand, told))
}

fn traffic_failure(file: &Path, error: TrafficError) -> Failure {
    let file = file.display();
    match error {
        TrafficError::Io(error) => {
            Failure::Message(format!("cannot read the traffic file {file}: {error}"))
        }
        TrafficError::Lines(lines) => Failure::List {
            what: format!("the traffic file {file} cannot be used"),
            lines,
        },
        error => Failure::Message(format!("the traffic file {file} cannot be used: {error}")),
    }
}

/// What `GET /api/v1/demand` says.
#[derive(Debug, Deserialize)]
struct Counted {
    cells: Vec<CountedCell>,
}

#[derive(Debug, Deserialize)]
struct CountedCell {
    /// An address in the cell.
    client: IpAddr,
    queries: f64,
}

/// A PoP of `GET /api/v1/pops`.
#[derive(Debug, Deserialize)]
struct Carrier {
    name: String,
    load: Option<Carried>,
}

#[derive(Debug, Deserialize)]
struct Carried {
    value: Option<f64>,
    ratio: Option<f64>,
    capacity: Option<f64>,
}

impl Carried {
    /// In the unit of the capacity.
    fn amount(&self) -> Option<f64> {
        let shared = || Some(self.ratio? * self.capacity?);
        self.value
            .or_else(shared)
            .filter(|load| load.is_finite() && *load >= 0.0)
    }
}

/// The demand by client, and what the PoPs of the planned services carry together, where any says so,
/// with who that is in words.
async fn ask(
    args: &Arguments,
    url: &str,
    prepared: &Prepared,
) -> Result<(Vec<(IpAddr, f64)>, Option<(f64, String)>), Failure> {
    let target = Target {
        admin: url.to_owned(),
        token_file: args.token_file.clone(),
        ca_file: args.ca_file.clone(),
    };
    let client = Client::new(&target).map_err(|error| match error {
        ClientError::Url(url) => Failure::Usage(format!(
            "--from-server {url} is not a URL such as {DEFAULT_ADMIN}"
        )),
        other => other.into(),
    })?;
    let counted: Counted = client.get("/api/v1/demand").await?;
    let pops: Vec<Carrier> = client.get("/api/v1/pops").await?;
    let config = &prepared.before.config;
    let members = prepared.members();
    let is_planned = |pop: &&Carrier| {
        let id = config.pop_by_name(&pop.name);
        id.is_some_and(|id| members.contains(&id))
    };
    let planned = pops.iter().filter(is_planned);
    let told = planned.filter_map(|pop| pop.load.as_ref()?.amount());
    let told: Vec<f64> = told.collect();
    let carried: f64 = told.iter().sum();
    // What the others carry is missing in the sum.
    let who = match told.len() == members.len() {
        true => "what the server's PoPs carry now".to_owned(),
        false => format!(
            "what {} of {} PoPs carry now, the others do not tell",
            told.len(),
            members.len()
        ),
    };
    let asked = |cell: &CountedCell| cell.queries.is_finite() && cell.queries > 0.0;
    let cells = counted.cells.into_iter().filter(asked);
    let cells = cells.map(|cell| (cell.client, cell.queries)).collect();
    Ok((cells, (carried > 0.0).then_some((carried, who))))
}

/// The whole demand in the unit of the capacities, as far as any is known.
pub(super) fn load(args: &Arguments, told: &mut Told, prepared: &Prepared) {
    let capacity = prepared.capacity();
    if capacity <= 0.0 {
        return;
    }
    let (load, source) = match (args.total, told.load) {
        (Some(total), _) => {
            told.load = Some(total);
            told.load_source = Some("--total".to_owned());
            return;
        }
        (None, Some(now)) => (now, told.load_source.take().unwrap_or_default()),
        (None, None) if args.traffic.is_some() => {
            (told.total, "the sum of the traffic file".to_owned())
        }
        (None, None) => (
            capacity * ASSUMED,
            "assumed: two fifths of all capacity of these PoPs".to_owned(),
        ),
    };
    told.load = Some(load);
    told.load_source = Some(format!("{source}; --total says otherwise"));
}
