//! A world as a failed property test shows it: a line for each PoP, service, network, cell and tick.

use std::fmt::{Debug, Formatter, Result};

use meridian_config::Fence;
use meridian_geo_data::latency::Measured;

use super::{super::Inputs, world::World};

impl Debug for World {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let config = &self.config;
        writeln!(f, "a world:")?;
        for (at, pop) in config.pops.iter().enumerate() {
            let (place, name) = (&pop.location, &pop.name);
            write!(
                f,
                "  pop {at} {name} at {} {}",
                place.latitude, place.longitude
            )?;
            write!(f, " weight {} bias {}", pop.weight.0, pop.bias_ms)?;
            let loaded = if pop.load.is_some() { "load" } else { "" };
            write!(f, " {:?} {loaded}", pop.endpoints)?;
            match pop.serves == Fence::default() {
                true => writeln!(f)?,
                false => writeln!(f, " {:?}", pop.serves)?,
            }
        }
        for pool in &config.pools {
            let pops: Vec<usize> = pool.pops.iter().map(|pop| pop.index()).collect();
            let anycast = &pool.anycast;
            writeln!(f, "  pool {pops:?} else {:?} {anycast:?}", pool.fallback)?;
        }
        for service in config.zones.iter().flat_map(|zone| &zone.services) {
            let one = &service.steering;
            write!(f, "  service {} over {}", service.name, service.pool.0)?;
            write!(f, " weights {} {} {}", one.distance, one.latency, one.load)?;
            write!(f, " tolerance {:?} answers {}", one.tolerance, one.answers)?;
            write!(f, " {:?} {:?}", one.policy, one.scope_max)?;
            write!(f, " min_health {}", one.min_health.0)?;
            writeln!(f, " ttl {:?}..{:?}", one.ttl_min, one.ttl)?;
        }
        for one in &config.geo.networks {
            let place = one.location.as_ref();
            let place = place.map(|place| (place.latitude, place.longitude));
            writeln!(f, "  network {} {place:?} {:?}", one.prefix, one.pop)?;
        }
        for (at, cell) in self.steering.clients().cells().iter().enumerate() {
            writeln!(f, "  cell {at} {cell:?}")?;
        }
        for (key, group) in &self.health.groups {
            for one in &group.endpoints {
                write!(f, "  health {}: {}", key.pop, one.address)?;
                writeln!(f, " {:?} flips in {:?}", one.verdict, one.flips_in)?;
            }
        }
        for (pop, one) in &self.health.overrides {
            writeln!(f, "  override {pop} {:?}", one.kind)?;
        }
        self.history
            .iter()
            .try_for_each(|inputs| write!(f, "{inputs}"))
    }
}

impl std::fmt::Display for Inputs {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "  a tick:")?;
        for (pop, price) in self.prices.iter().enumerate() {
            let (ms, ramp) = (price.price_ms, price.ramp);
            let (free, known, own) = (price.free, price.known, price.own);
            writeln!(
                f,
                "    pop {pop} price {ms} free {free} ramp {ramp} known {known} own {own}"
            )?;
        }
        let latency = &self.latency;
        let row = |row: &[Measured]| -> Vec<(Option<&str>, f32)> {
            let name = |column: u16| latency.columns().get(usize::from(column));
            let one = |one: &Measured| (name(one.column).map(|name| &**name), one.ms);
            row.iter().map(one).collect()
        };
        for cell in (0..64).map(meridian_geo_data::CellId) {
            let found = latency.of_cell(cell);
            if !found.is_empty() {
                writeln!(f, "    cell {} measured {:?}", cell.0, row(found))?;
            }
        }
        for (prefix, number) in latency.exceptions() {
            writeln!(
                f,
                "    {prefix} measured {:?}",
                row(latency.of_row(*number))
            )?;
        }
        writeln!(f, "    {:?}", self.demand)
    }
}
