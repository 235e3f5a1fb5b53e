//! The configurations of a plan, ready to decide: before and after.

use std::{collections::HashSet, path::Path, sync::Arc};

use jiff::Timestamp;
use meridian_config::{Config, Family, Name, PopId};
use meridian_dns::types::ServiceId;
use meridian_geo_data::{ClientMap, latency::Latency};

use crate::{
    cli::{
        Failure,
        args::{AddressType, Plan as Arguments},
    },
    plan::{self, Change, ChangeError, Demand, Pair, Settling, World},
    runtime::measure,
};

/// Both worlds, and what is planned for.
pub(super) struct Prepared {
    pub(super) before: World,
    /// `None`: nothing is changed.
    changed: Option<World>,
    /// Where clients are, by the first configuration.
    pub(super) clients: Arc<ClientMap>,
    pub(super) services: Vec<Pair>,
    pub(super) family: Family,
    /// In words.
    pub(super) changes: Vec<String>,
    /// Where measured latency comes from, in words.
    pub(super) measured: Option<String>,
}

impl Prepared {
    /// As it would be.
    pub(super) fn after(&self) -> &World {
        self.changed.as_ref().unwrap_or(&self.before)
    }

    /// PoPs of the planned services before the change.
    pub(super) fn members(&self) -> Vec<PopId> {
        let services = self.services.iter().map(|pair| pair.before);
        plan::members(&self.before, services)
    }

    /// What those PoPs can carry; where that is not known, what they could after the change.
    pub(super) fn capacity(&self) -> f64 {
        let before = self.before.capacity(&self.members());
        if before > 0.0 {
            return before;
        }
        let services = self.services.iter().map(|pair| pair.after);
        self.after()
            .capacity(&plan::members(self.after(), services))
    }

    /// Lets what is measured have its say before the change, then, from there, after it.
    pub(super) fn settle(&mut self, demand: &Demand, load: Option<f64>) -> (Settling, Settling) {
        let family = self.family;
        let of = |pairs: &[Pair], of: fn(&Pair) -> ServiceId| {
            let services = pairs.iter().map(|pair| (of(pair), family, pair.share));
            services.collect::<Vec<_>>()
        };
        let first = of(&self.services, |pair| pair.before);
        let (course, before) = self.before.settle(demand, &first, load, None);
        let Some(changed) = &mut self.changed else {
            return (before.clone(), before);
        };
        let second = of(&self.services, |pair| pair.after);
        let (_, after) = changed.settle(demand, &second, load, course);
        (before, after)
    }
}

/// Reads everything, and makes the change.
pub(super) fn prepare(args: &Arguments) -> Result<Prepared, Failure> {
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
    let mut measured = None;
    let mut latency = |config: &Config, clients: &Arc<ClientMap>| match &args.state {
        Some(directory) => kept(config, clients, directory).map(|(latency, told)| {
            measured.get_or_insert(told);
            latency
        }),
        None => Ok(Arc::default()),
    };
    let known = latency(&config, &clients)?;
    let before = World::new(config, clients.clone(), &Change::default()).map_err(usage)?;
    let before = before.with_latency(known);
    let wanted = args.service.as_deref();
    let wanted = wanted.map(|name| service(&before, name)).transpose()?;
    let planned = pools_of(&base, &before, wanted);
    let changed = change
        .apply(&base, |pool| planned.contains(pool.name.as_str()))
        .map_err(usage)?;
    let known = latency(&changed, &other_clients)?;
    let after = World::new(changed, other_clients, &change).map_err(usage)?;
    let after = after.with_latency(known);
    let services = plan::pairs(&before, &after, wanted);
    refuse_nothing(&before, &services, args)?;
    Ok(Prepared {
        before,
        changed: (!changes.is_empty()).then_some(after),
        clients,
        services,
        family: match args.rtype {
            AddressType::A => Family::V4,
            AddressType::Aaaa => Family::V6,
        },
        changes,
        measured,
    })
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

/// What a server has measured, and where that stands, in words.
fn kept(
    config: &Config,
    clients: &Arc<ClientMap>,
    directory: &Path,
) -> Result<(Arc<Latency>, String), Failure> {
    let (latency, written_s) =
        measure::kept(config, clients.clone(), directory).map_err(Failure::Message)?;
    let at = i64::try_from(written_s).ok();
    let at = at.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let told = format!(
        "{} {} of cell and PoP, kept in {}{}",
        latency.pairs(),
        if latency.pairs() == 1 {
            "pair"
        } else {
            "pairs"
        },
        directory.display(),
        at.map_or_else(String::new, |at| format!(" at {at}"))
    );
    Ok((latency, told))
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

/// Names of the pools that the planned services have in the configuration that is changed, which may be
/// another one.
fn pools_of<'a>(base: &'a Config, before: &World, wanted: Option<ServiceId>) -> HashSet<&'a str> {
    let planned = |name: &Name| {
        let known = before.service(name);
        known.is_some_and(|id| wanted.is_none_or(|wanted| wanted == id))
    };
    let services = base.zones.iter().flat_map(|zone| &zone.services);
    services
        .filter(|service| planned(&service.name))
        .map(|service| base.pool(service.pool).name.as_str())
        .collect()
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
