//! A configuration ready to decide, and the PoP of every client in it.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    sync::Arc,
    time::SystemTime,
};

use meridian_config::{Config, Coordinates, Family, Name, Policy, Pop, PopId};
use meridian_dns::{
    client::Client,
    steer::{Decision, Reason, Standing, Steering, View, decide},
    types::ServiceId,
};
use meridian_geo_data::{
    CellId, ClientMap,
    distance::haversine_km,
    latency::{Latency, Line, anycast_column},
};
use meridian_health_prober::{HealthSnapshot, Override, OverrideKind};
use serde::Serialize;

use super::{
    change::{self, Change, ChangeError},
    demand::{Asker, Demand},
    settle::{BOUNDS, Beginning, Bounds, Course, Settling, after_failure, settle},
};
use crate::runtime::standing;

/// Names of all PoPs before and after, in a fixed order; [`Site`] is the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sites {
    names: Vec<String>,
    by_name: HashMap<String, Site>,
}

/// A PoP of either world, or what follows them: the pool's fallback, its anycast address, nobody.
pub(crate) type Site = u32;

impl Sites {
    /// The PoPs of the first configuration, then those that only the second has.
    pub(crate) fn of(before: &Config, after: &Config) -> Self {
        let mut all = Self::default();
        for pop in before.pops.iter().chain(&after.pops) {
            let next = site(all.names.len());
            if let Entry::Vacant(free) = all.by_name.entry(pop.name.clone()) {
                free.insert(next);
                all.names.push(pop.name.clone());
            }
        }
        all
    }

    /// Number of PoPs.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Number of places in a table by site.
    pub(crate) fn all(&self) -> usize {
        self.len() + 3
    }

    /// Clients that get the pool's fallback.
    pub(crate) fn fallback(&self) -> Site {
        site(self.len())
    }

    /// Clients that get the pool's anycast address: routing says where that leads them.
    pub(crate) fn anycast(&self) -> Site {
        site(self.len() + 1)
    }

    /// Clients that get no address.
    pub(crate) fn nobody(&self) -> Site {
        site(self.len() + 2)
    }

    /// What it is called.
    pub(crate) fn name(&self, site: Site) -> &str {
        match self.names.get(site as usize) {
            Some(name) => name,
            None if site == self.fallback() => "(fallback)",
            None if site == self.anycast() => "(anycast)",
            None => "(nobody)",
        }
    }

    /// By PoP of a world: its site.
    pub(crate) fn of_pops(&self, world: &World) -> Vec<Site> {
        let pops = world.config.pops.iter();
        pops.map(|pop| self.find(&pop.name)).collect()
    }

    fn find(&self, name: &str) -> Site {
        self.by_name.get(name).copied().unwrap_or(self.nobody())
    }
}

/// Two configurations have 131,072 PoPs at most.
fn site(index: usize) -> Site {
    Site::try_from(index).unwrap_or(Site::MAX)
}

/// The line by which round trips are estimated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Estimate {
    /// Milliseconds at distance 0.
    pub(crate) intercept_ms: f32,
    /// Milliseconds for each 100 km.
    pub(crate) ms_per_100km: f32,
    /// Pairs of cell and PoP that it was fitted to; 0: the default.
    pub(crate) pairs: u32,
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |number: f32| (number * 100.0).round() / 100.0;
        let (intercept, slope) = (short(self.intercept_ms), short(self.ms_per_100km));
        write!(f, "{intercept} ms + {slope} ms a 100 km")
    }
}

impl From<Line> for Estimate {
    fn from(line: Line) -> Self {
        Self {
            intercept_ms: line.intercept_ms,
            ms_per_100km: line.ms_per_100km,
            pairs: line.pairs,
        }
    }
}

/// A configuration with geo data, and what of it is taken as out of service.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) steering: Steering,
    drained: Vec<PopId>,
    down: Vec<PopId>,
    health: Arc<HealthSnapshot>,
    standing: Arc<Standing>,
    /// What was measured of the cells of this world's geo data.
    pub(super) latency: Arc<Latency>,
}

impl World {
    /// A world in which `change` drains and fails PoPs; everything else in it must be in `config`
    /// already.
    ///
    /// # Errors
    /// A name that is not known.
    pub(crate) fn new(
        config: Config,
        clients: Arc<ClientMap>,
        change: &Change,
    ) -> Result<Self, ChangeError> {
        let ids = |names: &[String]| {
            let ids = names.iter().map(|name| change::find(&config, name));
            ids.collect::<Result<Vec<PopId>, ChangeError>>()
        };
        let (drained, down) = (ids(&change.drain)?, ids(&change.fail)?);
        let steering = Steering::new(&config, clients);
        let mut world = Self {
            drained,
            down,
            health: Arc::default(),
            standing: Arc::new(Standing::none()),
            latency: Arc::new(Latency::empty()),
            steering,
            config,
        };
        world.health = Arc::new(world.drained_health(world.drained.iter().copied()));
        Ok(world)
    }

    /// The same with what was measured of the cells of its geo data.
    pub(crate) fn with_latency(mut self, latency: Arc<Latency>) -> Self {
        self.latency = latency;
        self
    }

    /// Lets loads and latencies have their say: from now on the world stands as the server's controller
    /// leaves it. `course`: where it was before; `load`: the whole demand in the unit of the capacities.
    pub(crate) fn settle(
        &mut self,
        demand: &Demand,
        services: &[(ServiceId, Family, f64)],
        load: Option<f64>,
        course: Option<Course>,
    ) -> (Option<Course>, Settling) {
        self.settle_within(BOUNDS, (demand, load), services, course)
    }

    /// The same with other bounds.
    pub(super) fn settle_within(
        &mut self,
        bounds: Bounds,
        (demand, load): (&Demand, Option<f64>),
        services: &[(ServiceId, Family, f64)],
        course: Option<Course>,
    ) -> (Option<Course>, Settling) {
        let in_force = |pop: &Pop| pop.load.is_some() && pop.capacity.is_some();
        let load = load.filter(|_| self.config.pops.iter().any(in_force));
        if load.is_none() && self.latency.is_empty() {
            return (course, Settling::Idle);
        }
        let begin = self.beginning(demand, services);
        let (course, settled) = settle(self, (demand, load), course, begin, bounds);
        self.standing = course.standing().clone();
        (Some(course), settled)
    }

    /// Share of the demand by PoP as things stand, and what of it nothing measured moves.
    #[allow(clippy::cast_possible_truncation)] // shares
    fn beginning(&self, demand: &Demand, services: &[(ServiceId, Family, f64)]) -> Beginning {
        let sites = Sites::of(&self.config, &self.config);
        let mut begin = Beginning {
            shares: vec![0.0; self.config.pops.len()],
            fixed: vec![0.0; self.config.pops.len()],
            services: vec![0.0; self.steering.services().len()],
        };
        let site_of = sites.of_pops(self);
        let view = Arc::new(self.view(None));
        for (service, family, share) in services {
            let places = (&sites, site_of.as_slice());
            let decider = Decider::new(self, places, (*service, *family), view.clone());
            let by_score = self.steering.service(*service);
            let by_score = by_score.is_some_and(|one| one.policy == Policy::Score);
            for asker in &demand.askers {
                let at = decider.decide(asker).0 as usize;
                let part = asker.amount * share / demand.total;
                let is_fixed = !by_score || asker.cell.is_none();
                let sums = [
                    Some(&mut begin.shares),
                    is_fixed.then_some(&mut begin.fixed),
                ];
                for sum in sums
                    .into_iter()
                    .flatten()
                    .filter_map(|sums| sums.get_mut(at))
                {
                    *sum += part;
                }
            }
            if let Some(weight) = begin.services.get_mut(service.index()) {
                *weight += *share as f32;
            }
        }
        begin
    }

    /// Health in which an operator has drained these PoPs.
    pub(crate) fn drained_health(&self, pops: impl Iterator<Item = PopId>) -> HealthSnapshot {
        let word = |pop: PopId| {
            let word = Override {
                kind: OverrideKind::Drain,
                reason: "planned".to_owned(),
                since: SystemTime::UNIX_EPOCH,
                until: None,
            };
            (self.config.pop(pop).name.clone(), word)
        };
        HealthSnapshot {
            overrides: pops.map(word).collect(),
            ..HealthSnapshot::default()
        }
    }

    /// Health with one more PoP down, and the shares that follow from it at once.
    pub(crate) fn view(&self, also: Option<PopId>) -> View {
        let down: Vec<PopId> = self.down.iter().copied().chain(also).collect();
        let standing = match also {
            Some(pop) if !self.standing.is_none() => after_failure(self, &self.standing, pop),
            _ => self.standing.clone(),
        };
        View::with_down(&self.steering, standing, self.health.clone(), &down)
    }

    /// Whether clients are shared by what is measured at the moment.
    pub(crate) fn follows_measurements(&self) -> bool {
        !self.standing.is_none()
    }

    /// Rows that are decided anew when a PoP fails; none where nothing measured has a say.
    pub(crate) fn rows(&self) -> usize {
        self.standing.size().1
    }

    /// Whether the PoP can be chosen at all.
    pub(crate) fn is_in_service(&self, pop: PopId) -> bool {
        !self.drained.contains(&pop) && !self.down.contains(&pop)
    }

    /// `drained`, `down`, or nothing.
    pub(crate) fn state(&self, name: &str) -> &'static str {
        let is = |list: &[PopId]| list.iter().any(|pop| self.config.pop(*pop).name == name);
        match () {
            () if is(&self.drained) => "drained",
            () if is(&self.down) => "down",
            () => "",
        }
    }

    /// The service of that name.
    pub(crate) fn service(&self, name: &Name) -> Option<ServiceId> {
        self.steering.service_by_name(name)
    }

    /// How round trips are estimated.
    pub(crate) fn line(&self) -> Line {
        self.latency.line()
    }

    /// By site: where it stands in this world.
    pub(crate) fn places(&self, sites: &Sites) -> Vec<Option<Coordinates>> {
        let mut places = vec![None; sites.all()];
        for pop in &self.config.pops {
            if let Some(place) = places.get_mut(sites.find(&pop.name) as usize) {
                *place = Some(pop.location);
            }
        }
        places
    }

    /// By site: what it can carry, where that is known.
    pub(crate) fn capacities(&self, sites: &Sites) -> Vec<Option<f64>> {
        let mut all = vec![None; sites.all()];
        for pop in &self.config.pops {
            if let Some(one) = all.get_mut(sites.find(&pop.name) as usize) {
                *one = pop.capacity;
            }
        }
        all
    }

    /// Sum of what these PoPs can carry, as far as it is known.
    pub(crate) fn capacity(&self, pops: &[PopId]) -> f64 {
        let known = pops.iter().filter_map(|pop| self.config.pop(*pop).capacity);
        known.sum::<f64>() + 0.0
    }

    /// By site: load ÷ capacity that it should not be above, the least of its services' limits.
    pub(crate) fn targets(&self, sites: &Sites) -> Vec<f64> {
        let mut all = vec![self.config.steering.target_load.0; sites.all()];
        let targets = standing::targets(&self.config);
        for (pop, target) in self.config.pops.iter().zip(targets) {
            if let Some(one) = all.get_mut(sites.find(&pop.name) as usize) {
                *one = target;
            }
        }
        all
    }

    /// By PoP of this world.
    pub(crate) fn site_of(&self, pop: PopId, sites: &Sites) -> Site {
        sites.find(&self.config.pop(pop).name)
    }
}

/// Who serves whom, one entry an asker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assignment {
    /// By asker.
    pub(crate) sites: Vec<Site>,
    /// By asker: whether that is a last resort.
    pub(crate) last: Vec<bool>,
}

/// Decides for clients of one service under one view, as the server does.
pub(crate) struct Decider<'a> {
    world: &'a World,
    view: Arc<View>,
    service: ServiceId,
    family: Family,
    sites: &'a Sites,
    site_of: &'a [Site],
}

impl<'a> Decider<'a> {
    /// Decides under this view of the world. `site_of`: by PoP of it.
    pub(crate) fn new(
        world: &'a World,
        (sites, site_of): (&'a Sites, &'a [Site]),
        (service, family): (ServiceId, Family),
        view: Arc<View>,
    ) -> Self {
        Self {
            world,
            view,
            service,
            family,
            sites,
            site_of,
        }
    }

    /// The site of one asker, and whether it is a last resort. Of several addresses in an answer the
    /// first counts: most clients try it first.
    pub(crate) fn decide(&self, asker: &Asker) -> (Site, bool) {
        let bits = if asker.address.is_ipv4() { 32 } else { 128 };
        let client = Client::from_ecs(asker.address, bits, asker.address);
        let decision: Decision = decide(
            &self.world.steering,
            &self.view,
            self.service,
            &client,
            self.family,
        );
        let site = match decision.pop {
            Some(pop) => self.site_of.get(pop.index()).copied(),
            None if decision.reason == Reason::Anycast => Some(self.sites.anycast()),
            None if decision.addresses.is_empty() => None,
            None => Some(self.sites.fallback()),
        };
        (
            site.unwrap_or_else(|| self.sites.nobody()),
            decision.reason.is_last_resort(),
        )
    }

    /// The same for everyone.
    pub(crate) fn assign(&self, demand: &Demand) -> Assignment {
        let decided = demand.askers.iter().map(|asker| self.decide(asker));
        let (sites, last) = decided.unzip();
        Assignment { sites, last }
    }
}

/// Round trips between cells and sites: measured ones where there are any, else the estimate.
pub(crate) struct RoundTrips<'a> {
    cells: &'a [meridian_geo_data::Cell],
    places: Vec<Option<Coordinates>>,
    line: Line,
    latency: Arc<Latency>,
    /// By site: its column in the latencies.
    columns: Vec<Option<u16>>,
}

impl<'a> RoundTrips<'a> {
    /// Of the PoPs of `world`, with clients where `clients` has them.
    pub(crate) fn new(world: &World, sites: &Sites, clients: &'a ClientMap) -> Self {
        // Cells of other geo data have other numbers.
        let latency = match std::ptr::eq(world.steering.clients(), clients) {
            true => world.latency.clone(),
            false => Arc::new(Latency::empty()),
        };
        let mut columns = vec![None; sites.all()];
        let mut put = |site: Site, column: Option<u16>| {
            if let Some(slot) = columns.get_mut(site as usize) {
                *slot = slot.or(column);
            }
        };
        for pop in &world.config.pops {
            put(sites.find(&pop.name), latency.column(&pop.name));
        }
        for pool in &world.config.pools {
            let column = latency.column(&anycast_column(&pool.name));
            put(sites.anycast(), column.filter(|_| pool.anycast.is_some()));
        }
        Self {
            cells: clients.cells(),
            places: world.places(sites),
            line: world.line(),
            latency,
            columns,
        }
    }

    /// Milliseconds; `None` where client or site has no known place and nothing was measured.
    // Kilometres fit well into f32.
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn between(&self, cell: Option<CellId>, site: Site) -> Option<f32> {
        if let Some(column) = *self.columns.get(site as usize)? {
            let mut known = self.latency.of_cell(cell?).iter();
            if let Some(measured) = known.find(|one| one.column == column) {
                return Some(measured.ms);
            }
        }
        let cell = self.cells.get(cell?.0 as usize)?;
        let place = (*self.places.get(site as usize)?)?;
        Some(
            self.line
                .at((haversine_km(cell.center, place) / 100.0) as f32),
        )
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Small worlds.

    use meridian_config::Geo;

    use super::*;

    /// A configuration with these PoPs in one pool, and `www.example.com`.
    pub(crate) fn config(pops: &[(&str, f64, f64)]) -> Config {
        config_with(pops, "")
    }

    /// The same with more text at the end.
    pub(crate) fn config_with(pops: &[(&str, f64, f64)], more: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.toml");
        let mut text = String::new();
        for (number, (name, latitude, longitude)) in pops.iter().enumerate() {
            text += &format!(
                "[[pop]]\nname = {name:?}\nlatitude = {latitude:?}\nlongitude = {longitude:?}\n\
                 endpoints = [\"192.0.2.{}\"]\n",
                number + 1
            );
        }
        let names: Vec<String> = pops.iter().map(|(name, ..)| format!("{name:?}")).collect();
        text += &format!("[[pool]]\nname = \"edge\"\npops = [{}]\n", names.join(", "));
        text += "[[zone]]\nname = \"example.com\"\nfile = \"z\"\n\
                 [[zone.service]]\nname = \"www\"\npool = \"edge\"\n";
        text += more;
        std::fs::write(&path, text).unwrap();
        meridian_config::load(&path).unwrap_or_else(|e| panic!("{}", e.render(false)))
    }

    /// The bundled geo data.
    pub(crate) fn clients() -> Arc<ClientMap> {
        let geo = Geo {
            city: Vec::new(),
            asn: Vec::new(),
            networks: Vec::new(),
        };
        Arc::new(ClientMap::open(&geo).unwrap())
    }

    /// A change that only takes PoPs out of service.
    pub(crate) fn without(drain: &[&str], fail: &[&str]) -> Change {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Change {
            drain: owned(drain),
            fail: owned(fail),
            ..Change::default()
        }
    }
}
