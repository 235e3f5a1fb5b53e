//! What the failure of each single PoP would do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use meridian_config::PopId;
use meridian_geo_data::CellId;

use super::{
    report::{Failure, LeftOut, Quantiles, Question, Strain},
    rows::{Loads, members},
    tally::Tally,
    world::{Assignment, Decider, RoundTrips, Site, Sites},
};

/// Rows decided for all failures together, about: tens of seconds.
const MOST_ROWS: usize = 60_000_000;

/// Failures that are worked out whatever they take.
const LEAST: usize = 10;

/// One entry for each PoP of the planned services that is in service after the change, the worst
/// first; where that would take too long, for those with the largest shares, and what is left out. Where something measured has a say, it is as the server spreads the clients at once by score and
/// headroom, before prices move.
///
/// A PoP that goes moves its own clients and nobody else's (steering's law); where clients of a cell
/// are shared by headroom, those of the same cell may change too, and those with an anycast address
/// when no PoP is left. So only they are decided anew.
pub(super) fn each(
    question: &Question<'_>,
    sites: &Sites,
    trips: &RoundTrips<'_>,
    whole: &Tally,
    assigned: &[Assignment],
) -> (Vec<Failure>, Option<LeftOut>) {
    let after = question.after;
    let site_of = sites.of_pops(after);
    let loads = Loads::new(after, sites, question);
    let ground = Ground {
        question,
        sites,
        site_of: &site_of,
        trips,
        loads: &loads,
        whole,
    };
    let own: Vec<Groups> = assigned
        .iter()
        .map(|one| Groups::new(question, one, sites))
        .collect();
    let pops = members(after, question.services.iter().map(|pair| pair.after));
    let in_service = pops.into_iter().filter(|pop| after.is_in_service(*pop));
    let amount = |pop: &PopId| {
        let site = after.site_of(*pop, sites) as usize;
        whole.by_site.get(site).copied().unwrap_or(0.0)
    };
    let mut pops: Vec<PopId> = in_service.collect();
    pops.sort_by(|a, b| amount(b).total_cmp(&amount(a)));
    let rest = pops.split_off(worked_out(after.rows()).min(pops.len()));
    let left_out = rest.first().map(|largest| LeftOut {
        pops: rest.len(),
        share: amount(largest) / question.demand.total,
    });
    let mut all: Vec<Failure> = pops
        .into_iter()
        .map(|pop| ground.one((assigned, &own), pop))
        .collect();
    let badness = |one: &Failure| (one.last_resort, one.worst_load.unwrap_or(0.0), one.moved);
    all.sort_by(|a, b| {
        let (a, b) = (badness(a), badness(b));
        b.0.total_cmp(&a.0)
            .then(b.1.total_cmp(&a.1))
            .then(b.2.total_cmp(&a.2))
    });
    (all, left_out)
}

/// How many failures are worked out where each takes so many rows.
fn worked_out(rows: usize) -> usize {
    (MOST_ROWS / rows.max(1)).max(LEAST)
}

/// Who is decided anew when a site goes.
struct Groups {
    /// By site: the places of its askers in the list.
    by_site: Vec<Vec<u32>>,
    /// By cell: the places of its askers in the list. Empty where only the site's own are needed.
    by_cell: BTreeMap<Option<CellId>, Vec<u32>>,
}

impl Groups {
    fn new(question: &Question<'_>, assignment: &Assignment, sites: &Sites) -> Self {
        let mut by_site = vec![Vec::new(); sites.all()];
        let mut by_cell: BTreeMap<Option<CellId>, Vec<u32>> = BTreeMap::new();
        let shared = question.after.follows_measurements();
        let askers = question.demand.askers.iter().zip(&assignment.sites);
        for (at, (asker, site)) in (0_u32..).zip(askers) {
            if let Some(list) = by_site.get_mut(*site as usize) {
                list.push(at);
            }
            if shared {
                by_cell.entry(asker.cell).or_default().push(at);
            }
        }
        Self { by_site, by_cell }
    }

    /// Those of the site that goes, and those with an anycast address: it is given as long as any PoP
    /// of the pool can be.
    fn of(&self, question: &Question<'_>, gone: Site, anycast: Site) -> Vec<u32> {
        let at = |site: Site| self.by_site.get(site as usize).into_iter().flatten();
        let mut own: Vec<u32> = at(gone).copied().collect();
        if self.by_cell.is_empty() {
            own.extend(at(anycast));
            return own;
        }
        let asker = |at: &u32| question.demand.askers.get(*at as usize);
        let cells: BTreeSet<Option<CellId>> = own
            .iter()
            .filter_map(asker)
            .map(|asker| asker.cell)
            .collect();
        let lists = cells.iter().filter_map(|cell| self.by_cell.get(cell));
        let anew: BTreeSet<u32> = lists.flatten().chain(at(anycast)).copied().collect();
        anew.into_iter().collect()
    }
}

/// What all failures are worked out from.
struct Ground<'a> {
    question: &'a Question<'a>,
    sites: &'a Sites,
    /// By PoP of the world after the change.
    site_of: &'a [Site],
    trips: &'a RoundTrips<'a>,
    loads: &'a Loads,
    /// Everyone, while nobody fails.
    whole: &'a Tally,
}

impl Ground<'_> {
    fn one(&self, (assigned, own): (&[Assignment], &[Groups]), pop: PopId) -> Failure {
        let Self {
            question, sites, ..
        } = *self;
        let gone = question.after.site_of(pop, sites);
        let mut tally = self.whole.clone();
        let mut moved = 0.0;
        let view = Arc::new(question.after.view(Some(pop)));
        for ((pair, own), assignment) in question.services.iter().zip(own).zip(assigned) {
            let which = (pair.after, question.family);
            let places = (sites, self.site_of);
            let decider = Decider::new(question.after, places, which, view.clone());
            for at in own.of(question, gone, sites.anycast()) {
                let at = at as usize;
                let (Some(asker), Some(was), Some(was_last)) = (
                    question.demand.askers.get(at),
                    assignment.sites.get(at),
                    assignment.last.get(at),
                ) else {
                    continue;
                };
                let (site, last) = decider.decide(asker);
                let amount = asker.amount * pair.share;
                if site != *was {
                    tally.put(*was, self.trips.between(asker.cell, *was), -amount);
                    tally.put(site, self.trips.between(asker.cell, site), amount);
                    moved += amount;
                }
                tally.last_resort += match (was_last, last) {
                    (false, true) => amount,
                    (true, false) => -amount,
                    _ => 0.0,
                };
            }
        }
        self.sum_up(&tally, gone, moved)
    }

    fn sum_up(&self, tally: &Tally, gone: Site, moved: f64) -> Failure {
        let (sites, loads) = (self.sites, self.loads);
        let total = self.question.demand.total;
        let (mut over_target, mut over_capacity) = (0, 0);
        let mut worst: Option<(Site, Option<f64>, f64)> = None;
        for (site, amount) in (0..).zip(tally.by_site.iter().copied()) {
            let at = site as usize;
            if at >= sites.len() || amount <= 0.0 {
                continue;
            }
            let load = loads.of(at, amount);
            match loads.strain(at, load) {
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
            last_resort: (tally.last_resort / total).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_failures_are_worked_out() {
        // No rows, the bundled data, a city database, a hundred lists of PoPs, more than there can be.
        let right = [60_000_000, 240_000, 857, 20, 10];
        assert_eq!(
            [0, 250, 70_000, 3_000_000, 50_000_000].map(worked_out),
            right
        );
    }
}
