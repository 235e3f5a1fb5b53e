//! What the balance is told of every PoP: load, target, whether it may be chosen.

use meridian_config::{Config, PopId};
use meridian_dns::steer::balance::Reading;
use meridian_health_prober::{HealthSnapshot, Loads};

use crate::runtime::describe;

/// A reading for each PoP, by its number.
// Ratios and times as f32 are exact enough.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn readings(config: &Config, health: &HealthSnapshot, loads: &Loads) -> Vec<Reading> {
    let targets = targets(config);
    let pops = (0_u16..).map(PopId).zip(&config.pops).zip(targets);
    pops.map(|((id, pop), target)| {
        let load = loads.get(&pop.name);
        Reading {
            ratio: load.and_then(|load| load.ratio).map(|ratio| ratio as f32),
            target: target as f32,
            usable: describe::state(config, health, id).is_usable(),
            ramp_s: pop.ramp.as_secs_f32(),
            capacity: load
                .and_then(|load| load.capacity)
                .or(pop.capacity)
                .map(|capacity| capacity as f32),
            source: pop.load.is_some(),
        }
    })
    .collect()
}

/// By PoP: the lowest `target_load` of the services that it may answer; that of `[steering]` where
/// there is none.
pub(crate) fn targets(config: &Config) -> Vec<f64> {
    let mut lowest: Vec<Option<f64>> = vec![None; config.pops.len()];
    for service in config.zones.iter().flat_map(|zone| &zone.services) {
        let target = service.steering.target_load.0;
        for pop in &config.pool(service.pool).pops {
            if let Some(slot) = lowest.get_mut(pop.index()) {
                *slot = Some(slot.map_or(target, |known| known.min(target)));
            }
        }
    }
    let default = config.steering.target_load.0;
    lowest
        .into_iter()
        .map(|one| one.unwrap_or(default))
        .collect()
}
