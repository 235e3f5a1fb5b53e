//! What the balance is told of every PoP: load, target, whether it may be chosen.

use meridian_config::{Config, Pool, PopId};
use meridian_dns::steer::balance::Reading;
use meridian_health_prober::{GroupKey, HealthSnapshot, Loads};

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
            usable: is_usable(config, health, id),
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

/// Whether any service may be answered with it: who is down by one check has clients by another one, and
/// their load is to be watched all the same.
fn is_usable(config: &Config, health: &HealthSnapshot, id: PopId) -> bool {
    let pop = &config.pop(id).name;
    let is_up = |pool: &Pool| {
        let check = pool.check.as_ref().map(|check| config.check_name(check));
        let group = check.and_then(|check| {
            let pop = pop.clone();
            health.groups.get(&GroupKey { pop, check })
        });
        group.is_none_or(|group| group.verdict.is_usable())
    };
    let mut pools = config
        .pools
        .iter()
        .filter(|pool| pool.pops.contains(&id))
        .peekable();
    let in_none = pools.peek().is_none();
    !health.overrides.contains_key(pop) && (in_none || pools.any(is_up))
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
