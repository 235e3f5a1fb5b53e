//! `meridian plan`: what a change would do, worked out from files (and, if asked, from what a server
//! has counted).

use std::{fs::File, io::BufReader, net::IpAddr, path::Path, sync::Arc};

use meridian_config::{Config, Family, Name, Pool};
use meridian_dns::types::ServiceId;
use meridian_geo_data::ClientMap;
use serde::{Deserialize, Serialize};

use super::{
    Failure,
    args::{AddressType, Plan as Arguments, Target},
    client::Client,
};
use crate::{
    plan::{
        self, Change, ChangeError, Demand, Pair, Plan, Question, Settled, TrafficError,
        TrafficUnit, World,
    },
    render::{self, Style, print, print_json},
};

/// Share of all capacity that is asked for when nobody says how much is.
const ASSUMED: f64 = 0.5;

/// What is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Planned {
    /// Who asks.
    pub(crate) demand: Told,
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
    pub(crate) load_source: Option<&'static str>,
}

/// Both worlds, and what is planned for.
struct Prepared {
    before: World,
    after: World,
    /// Where clients are, by the first configuration.
    clients: Arc<ClientMap>,
    services: Vec<Pair>,
    family: Family,
    /// In words.
    changes: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Arguments) -> Result<(), Failure> {
    let mut prepared = prepare(args)?;
    let (demand, mut told) = demand(args, &prepared.clients, prepared.family)?;
    if demand.unlocated >= demand.total {
        return Err(Failure::Message(format!(
            "none of the clients is known to the geo data ({}): nothing can be said of them",
            told.source
        )));
    }
    load(args, &mut told, &prepared);
    let settled = settle(&mut prepared, &demand, told.load);
    let (mut plan, picture) = plan::plan(&Question {
        before: &prepared.before,
        after: &prepared.after,
        demand: &demand,
        clients: &prepared.clients,
        services: &prepared.services,
        family: prepared.family,
        load: told.load,
        failures: true,
    });
    (plan.loads, plan.settled_after_s) = settled.told();
    plan.changes = prepared.changes;
    if let Some(out) = &args.svg {
        let drawn = plan::draw(&plan, &picture, &prepared.after, &prepared.clients);
        std::fs::write(out, drawn)
            .map_err(|e| Failure::Message(format!("cannot write {}: {e}", out.display())))?;
    }
    let moved = plan.moved;
    show(args, &Planned { demand: told, plan });
    match args.max_moved {
        Some(most) if moved > most => Err(Failure::Message(format!(
            "{:.2} % of clients move, more than {} %",
            moved * 100.0,
            most * 100.0
        ))),
        _ => Ok(()),
    }
}

fn prepare(args: &Arguments) -> Result<Prepared, Failure> {
    let (config, clients) = read(&args.config)?;
    let change = change_of(args);
    let mut changes = change.lines(&config);
    let (base, other_clients) = match &args.compare {
        Some(other) => {
            changes.insert(
                0,
                format!("{} -> {}", args.config.display(), other.display()),
            );
            read_other(other, &config, &clients)?
        }
        None => (config.clone(), clients.clone()),
    };
    let before = World::new(config, clients.clone(), &Change::default()).map_err(usage)?;
    let wanted = args.service.as_deref();
    let wanted = wanted.map(|name| service(&before, name)).transpose()?;
    let planned = pools_of(&before, wanted);
    let changed = change
        .apply(&base, |pool| planned.contains(&pool.name))
        .map_err(usage)?;
    let after = World::new(changed, other_clients, &change).map_err(usage)?;
    let services = plan::pairs(&before, &after, wanted);
    refuse_nothing(&before, &services, args)?;
    Ok(Prepared {
        before,
        after,
        clients,
        services,
        family: match args.rtype {
            AddressType::A => Family::V4,
            AddressType::Aaaa => Family::V6,
        },
        changes,
    })
}

/// Lets loads have their say before the change, then, from there, after it.
fn settle(prepared: &mut Prepared, demand: &Demand, load: Option<f64>) -> Settled {
    let family = prepared.family;
    let of = |pairs: &[Pair], of: fn(&Pair) -> ServiceId| {
        let services = pairs.iter().map(|pair| (of(pair), family, pair.share));
        services.collect::<Vec<_>>()
    };
    let first = of(&prepared.services, |pair| pair.before);
    let (course, _) = prepared.before.settle(demand, &first, load, None);
    // Without a change both are the same, whether they settled or not.
    let course = course.filter(|_| !prepared.changes.is_empty());
    let second = of(&prepared.services, |pair| pair.after);
    prepared.after.settle(demand, &second, load, course).1
}

fn show(args: &Arguments, planned: &Planned) {
    if args.output.json {
        print_json(planned);
    } else {
        print(&render::plan(planned, Style::stdout()));
    }
}

/// A wrong name is wrong usage.
fn usage(error: ChangeError) -> Failure {
    Failure::Usage(error.to_string())
}

fn change_of(args: &Arguments) -> Change {
    Change {
        drain: args.drain.clone(),
        fail: args.fail.clone(),
        add: args.add.clone(),
        weight: args.weight.clone(),
    }
}

/// Configuration and geo data; zone files have no say in who is steered where.
fn read(path: &Path) -> Result<(Config, Arc<ClientMap>), Failure> {
    let config = meridian_config::load(path)?;
    let clients = ClientMap::open(&config.geo).map_err(|mistakes| config.blame(mistakes))?;
    Ok((config, Arc::new(clients)))
}

/// The same, with the geo data that are open already if they are the same files and no operator
/// network pins: pins are numbers of a configuration's own PoPs.
fn read_other(
    path: &Path,
    config: &Config,
    clients: &Arc<ClientMap>,
) -> Result<(Config, Arc<ClientMap>), Failure> {
    let other = meridian_config::load(path)?;
    let pins = other
        .geo
        .networks
        .iter()
        .any(|network| network.pop.is_some());
    if other.geo == config.geo && !pins {
        return Ok((other, clients.clone()));
    }
    let opened = ClientMap::open(&other.geo).map_err(|mistakes| other.blame(mistakes))?;
    Ok((other, Arc::new(opened)))
}

/// The service of that name.
fn service(world: &World, name: &str) -> Result<ServiceId, Failure> {
    let parsed: Name = name
        .parse()
        .map_err(|error| Failure::Usage(format!("{name:?} is no domain name: {error}")))?;
    world.service(&parsed).ok_or_else(|| {
        let services = world.steering.services().iter();
        let known: Vec<String> = services.map(|service| service.name.to_string()).collect();
        Failure::Usage(format!(
            "{name} is not a service; services are: {}",
            known.join(" ")
        ))
    })
}

/// Names of the pools of the planned services.
fn pools_of(world: &World, wanted: Option<ServiceId>) -> Vec<String> {
    let pool = |pool: &Pool| pool.name.clone();
    let all = world.steering.services();
    match wanted.and_then(|id| world.steering.service(id)) {
        Some(one) => vec![pool(world.config.pool(one.pool))],
        None => all
            .iter()
            .map(|one| pool(world.config.pool(one.pool)))
            .collect(),
    }
}

fn refuse_nothing(before: &World, pairs: &[Pair], args: &Arguments) -> Result<(), Failure> {
    if before.steering.services().is_empty() {
        let file = args.config.display();
        return Err(Failure::Message(format!(
            "{file} has no service to plan for"
        )));
    }
    if pairs.is_empty() {
        let other = args.compare.as_deref().unwrap_or(&args.config).display();
        return Err(Failure::Message(format!(
            "{other} has none of the services planned for"
        )));
    }
    Ok(())
}

fn demand(
    args: &Arguments,
    clients: &ClientMap,
    family: Family,
) -> Result<(Demand, Told), Failure> {
    let mut load = None;
    let (demand, source, unit) = if let Some(file) = &args.traffic {
        let refused = |error: &TrafficError| {
            let file = file.display();
            match error {
                TrafficError::Io(error) => format!("cannot read the traffic file {file}: {error}"),
                error => format!("the traffic file {file} cannot be used: {error}"),
            }
        };
        let failed = |error: TrafficError| Failure::Message(refused(&error));
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
        let (counted, carried) = super::block_on(ask(args, url))?;
        load = carried;
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
        load_source: None,
    };
    Ok((demand, told))
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

/// The demand by client, and what all PoPs carry together, where any says so.
async fn ask(args: &Arguments, url: &str) -> Result<(Vec<(IpAddr, f64)>, Option<f64>), Failure> {
    let target = Target {
        admin: url.to_owned(),
        token_file: args.token_file.clone(),
        ca_file: args.ca_file.clone(),
    };
    let client = Client::new(&target)?;
    let counted: Counted = client.get("/api/v1/demand").await?;
    let pops: Vec<Carrier> = client.get("/api/v1/pops").await?;
    let carried = pops.iter().filter_map(|pop| pop.load.as_ref()?.amount());
    let carried: f64 = carried.sum();
    let asked = |cell: &CountedCell| cell.queries.is_finite() && cell.queries > 0.0;
    let cells = counted.cells.into_iter().filter(asked);
    let cells = cells.map(|cell| (cell.client, cell.queries)).collect();
    Ok((cells, (carried > 0.0).then_some(carried)))
}

/// The whole demand in the unit of the capacities, as far as any is known.
fn load(args: &Arguments, told: &mut Told, prepared: &Prepared) {
    let capacity = prepared.before.capacity().max(prepared.after.capacity());
    if capacity <= 0.0 {
        return;
    }
    let (load, source) = match (args.total, told.load) {
        (Some(total), _) => (total, "--total"),
        (None, Some(now)) => (
            now,
            "what the server's PoPs carry now; --total says otherwise",
        ),
        (None, None) if args.traffic.is_some() => (told.total, "the sum of the traffic file"),
        (None, None) => (
            capacity * ASSUMED,
            "assumed: half of all capacity; --total says otherwise",
        ),
    };
    told.load = Some(load);
    told.load_source = Some(source);
}
