//! What the failure of each single PoP would do.

use meridian_config::PopId;

use super::{
    report::{Failure, Loads, Quantiles, Question, Strain, members},
    tally::Tally,
    world::{Assignment, Decider, RoundTrips, Site, Sites},
};

/// One entry for each PoP of the planned services that is in service after the change, the worst
/// first.
///
/// A PoP that goes moves its own clients and nobody else's (steering's law), so only they are decided
/// anew.
pub(super) fn each(
    question: &Question<'_>,
    sites: &Sites,
    trips: &RoundTrips<'_>,
    whole: &Tally,
    assigned: &[Assignment],
) -> Vec<Failure> {
    let after = question.after;
    let own = assigned
        .iter()
        .map(|one| by_site(one, sites))
        .collect::<Vec<_>>();
    let pops = members(after, question.services.iter().map(|pair| pair.after));
    let in_service = pops.into_iter().filter(|pop| after.is_in_service(*pop));
    let mut all: Vec<Failure> = in_service
        .map(|pop| one(question, sites, trips, whole, &own, pop))
        .collect();
    let badness = |one: &Failure| (one.last_resort, one.worst_load.unwrap_or(0.0), one.moved);
    all.sort_by(|a, b| {
        let (a, b) = (badness(a), badness(b));
        b.0.total_cmp(&a.0)
            .then(b.1.total_cmp(&a.1))
            .then(b.2.total_cmp(&a.2))
    });
    all
}

/// By site: the places of its askers in the list.
fn by_site(assignment: &Assignment, sites: &Sites) -> Vec<Vec<u32>> {
    let mut own = vec![Vec::new(); sites.all()];
    for (at, site) in (0_u32..).zip(&assignment.sites) {
        if let Some(list) = own.get_mut(usize::from(*site)) {
            list.push(at);
        }
    }
    own
}

fn one(
    question: &Question<'_>,
    sites: &Sites,
    trips: &RoundTrips<'_>,
    whole: &Tally,
    own: &[Vec<Vec<u32>>],
    pop: PopId,
) -> Failure {
    let gone = question.after.site_of(pop, sites);
    let mut tally = whole.clone();
    let mut moved = 0.0;
    for (pair, own) in question.services.iter().zip(own) {
        let which = (pair.after, question.family);
        let decider = Decider::new(question.after, sites, which, Some(pop));
        for at in own.get(usize::from(gone)).into_iter().flatten() {
            let Some(asker) = question.demand.askers.get(*at as usize) else {
                continue;
            };
            let (site, last) = decider.decide(asker);
            let amount = asker.amount * pair.share;
            tally.put(gone, trips.between(asker.cell, gone), -amount);
            tally.put(site, trips.between(asker.cell, site), amount);
            if site != gone {
                moved += amount;
            }
            if last {
                tally.last_resort += amount;
            }
        }
    }
    sum_up(question, sites, &tally, gone, moved)
}

fn sum_up(
    question: &Question<'_>,
    sites: &Sites,
    tally: &Tally,
    gone: Site,
    moved: f64,
) -> Failure {
    let total = question.demand.total;
    let loads = Loads::new(question.after, sites, question);
    let (mut over_target, mut over_capacity) = (0, 0);
    let mut worst: Option<(Site, Option<f64>, f64)> = None;
    for (site, amount) in (0..).zip(tally.by_site.iter().copied()) {
        if usize::from(site) >= sites.len() || amount <= 0.0 {
            continue;
        }
        let load = loads.of(usize::from(site), amount);
        match loads.strain(load) {
            Strain::None => {}
            Strain::OverTarget => over_target += 1,
            Strain::OverCapacity => over_capacity += 1,
        }
        let above = |known: (Site, Option<f64>, f64)| (load, amount) > (known.1, known.2);
        if worst.is_none_or(above) {
            worst = Some((site, load, amount));
        }
    }
    Failure {
        pop: sites.name(gone).to_owned(),
        moved: moved / total,
        worst: worst.map(|(site, ..)| sites.name(site).to_owned()),
        worst_share: worst.map_or(0.0, |(.., amount)| amount / total),
        worst_load: worst.and_then(|(_, load, _)| load),
        over_target: over_target + over_capacity,
        over_capacity,
        rtt: Quantiles::of(tally),
        last_resort: tally.last_resort / total,
    }
}
