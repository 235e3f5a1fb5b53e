//! Services planned for: those of both worlds, what answers alike taken together.

use std::collections::BTreeMap;

use meridian_dns::{steer::Service, types::ServiceId};

use super::world::World;

/// Services that answer alike, before and after.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pair {
    /// Their names.
    pub(crate) names: Vec<String>,
    /// One of them before.
    pub(crate) before: ServiceId,
    /// The same after.
    pub(crate) after: ServiceId,
    /// Share of the demand.
    pub(crate) share: f64,
}

/// Services of both worlds that share a name, those that answer alike taken together. `wanted`:
/// only this one. Of each name the demand is the same.
// Numbers of services.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn pairs(before: &World, after: &World, wanted: Option<ServiceId>) -> Vec<Pair> {
    let mut found: BTreeMap<(String, String), Pair> = BTreeMap::new();
    let mut count = 0;
    for (number, service) in (0_u32..).zip(before.steering.services()) {
        let id = ServiceId(number);
        if wanted.is_some_and(|wanted| wanted != id) {
            continue;
        }
        let Some(same) = after.service(&service.name) else {
            continue;
        };
        let other = after
            .steering
            .service(same)
            .map_or_else(String::new, |s| alike(after, s));
        count += 1;
        let pair = found
            .entry((alike(before, service), other))
            .or_insert_with(|| Pair {
                names: Vec::new(),
                before: id,
                after: same,
                share: 0.0,
            });
        pair.names.push(service.name.to_string());
    }
    let mut pairs: Vec<Pair> = found.into_values().collect();
    pairs.sort_by_key(|pair| pair.before.0);
    for pair in &mut pairs {
        pair.share = pair.names.len() as f64 / f64::from(count);
    }
    pairs
}

/// Everything that has a say in who is answered, as text.
fn alike(world: &World, service: &Service) -> String {
    let pool = world.config.pool(service.pool);
    // Who gets the anycast address was measured under the name of the pool.
    let anycast = pool.anycast.as_ref().map(|anycast| (&pool.name, anycast));
    let of = (
        &pool.pops,
        &pool.fallback,
        anycast,
        service.policy,
        service.weights,
        service.answers,
    );
    format!(
        "{of:?} {} {:?} {:?}",
        service.tolerance_ms, service.min_health, service.scope_max
    )
}
