//! PoPs of a plan with shares and loads.

use meridian_config::PopId;
use meridian_dns::types::ServiceId;

use super::{
    report::{PopRow, Question, Strain},
    tally::Tally,
    world::{Site, Sites, World},
};

/// Everything that loads are told from.
pub(crate) struct Loads {
    capacity: Vec<Option<f64>>,
    /// By site.
    targets: Vec<f64>,
    /// Whole demand, in the unit of the capacity.
    total: Option<f64>,
    /// The same in the unit of the demand.
    demand: f64,
}

impl Loads {
    /// Of the PoPs of one world.
    pub(crate) fn new(world: &World, sites: &Sites, question: &Question<'_>) -> Self {
        Self {
            capacity: world.capacities(sites),
            targets: world.targets(sites),
            total: question.load,
            demand: question.demand.total,
        }
    }

    /// Load ÷ capacity of a site with this amount of clients.
    pub(crate) fn of(&self, site: usize, amount: f64) -> Option<f64> {
        let capacity = (*self.capacity.get(site)?)?;
        Some(amount / self.demand * self.total? / capacity)
    }

    /// How much that is for the site.
    pub(crate) fn strain(&self, site: usize, load: Option<f64>) -> Strain {
        let target = self.targets.get(site).copied().unwrap_or(1.0);
        match load {
            Some(load) if load > 1.0 => Strain::OverCapacity,
            Some(load) if load > target => Strain::OverTarget,
            _ => Strain::None,
        }
    }
}

/// PoPs that stand in a pool of the planned services of one world.
pub(crate) fn members<'a>(
    world: &'a World,
    services: impl Iterator<Item = ServiceId> + 'a,
) -> Vec<PopId> {
    let pools = services
        .filter_map(|id| world.steering.service(id))
        .map(|service| service.pool);
    let pops = pools.flat_map(|pool| world.config.pool(pool).pops.iter().copied());
    let unique: std::collections::BTreeSet<PopId> = pops.collect();
    unique.into_iter().collect()
}

/// Every PoP of the planned services, most loaded (else largest share) after the change first.
pub(super) fn rows(
    question: &Question<'_>,
    sites: &Sites,
    then: &Tally,
    now: &Tally,
) -> Vec<PopRow> {
    let Question {
        before,
        after,
        demand,
        ..
    } = *question;
    let site_set = |world: &World, ids: Vec<PopId>| {
        ids.into_iter()
            .map(|pop| world.site_of(pop, sites))
            .collect::<Vec<Site>>()
    };
    let was = site_set(
        before,
        members(before, question.services.iter().map(|pair| pair.before)),
    );
    let is = site_set(
        after,
        members(after, question.services.iter().map(|pair| pair.after)),
    );
    let loads = (
        Loads::new(before, sites, question),
        Loads::new(after, sites, question),
    );
    let row = |at: usize| {
        let site = Site::try_from(at).ok()?;
        let amounts = (*then.by_site.get(at)?, *now.by_site.get(at)?);
        let known = was.contains(&site) || is.contains(&site);
        if !known && amounts.0 + amounts.1 <= 0.0 {
            return None;
        }
        let load_after = loads.1.of(at, amounts.1);
        let name = sites.name(site);
        Some(PopRow {
            pop: name.to_owned(),
            state: match (was.contains(&site), is.contains(&site)) {
                (true, false) => "gone",
                (false, true) if after.state(name).is_empty() => "new",
                _ => after.state(name),
            },
            share_before: amounts.0 / demand.total,
            share_after: amounts.1 / demand.total,
            load_before: loads.0.of(at, amounts.0),
            load_after,
            strain: loads.1.strain(at, load_after),
        })
    };
    let mut rows: Vec<PopRow> = (0..sites.all()).filter_map(row).collect();
    let rank = |row: &PopRow| row.load_after.unwrap_or(0.0);
    rows.sort_by(|a, b| {
        let by_share = || b.share_after.total_cmp(&a.share_after);
        rank(b)
            .total_cmp(&rank(a))
            .then_with(by_share)
            .then_with(|| a.pop.cmp(&b.pop))
    });
    rows
}
