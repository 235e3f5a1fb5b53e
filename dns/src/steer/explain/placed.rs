//! In which order a client would have the PoPs of a pool.

use meridian_config::Weight;

use super::{
    super::{
        case::Case,
        ranking::{Ranked, group_end},
        standing::Field,
    },
    class, row,
};

/// A PoP with its place in the client's order.
pub(super) struct Placed {
    pub(super) ranked: Ranked,
    /// From 1.
    pub(super) group: usize,
    /// From 1, within the group.
    pub(super) rank: usize,
    /// PoPs in the group.
    pub(super) of: usize,
}

/// Every PoP of the pool in the client's order: the pinned one, then those that have a share of the
/// place, by bids, then the others by score.
pub(super) fn placed_by_share(case: &Case<'_>, field: &Field<'_>) -> Vec<Placed> {
    let parts = case.parts();
    let mut sharing: Vec<(f64, u16)> = parts
        .iter()
        .map(|part| {
            let weight = Weight(part.parts.into());
            (case.bid(part.member, Some(weight)).value(), part.member)
        })
        .collect();
    // Stable: equal bids keep their order, as in the decision.
    sharing.sort_by(|a, b| b.0.total_cmp(&a.0));
    let ranked = |member: u16| {
        let pop = case.pop(member)?;
        Some(Ranked {
            score: field.fielded(row(case)?, member)?.score,
            member,
            class: class(pop, case.steering, case.cell),
        })
    };
    let members = (0_u16..).take(case.pool.members.len());
    let mut others: Vec<Ranked> = members
        .filter(|member| parts.iter().all(|part| part.member != *member))
        .filter_map(ranked)
        .collect();
    let name = |one: &Ranked| case.pop(one.member).map(|pop| &pop.name);
    others.sort_by(|a, b| {
        let by_score = || a.score.total_cmp(&b.score);
        let by_class = a.class.cmp(&b.class);
        by_class
            .then_with(by_score)
            .then_with(|| name(a).cmp(&name(b)))
    });
    let of = sharing.len();
    let first = sharing.iter().filter_map(|(_, member)| ranked(*member));
    let first = (1..).zip(first).map(|(rank, ranked)| Placed {
        ranked,
        group: 1,
        rank,
        of,
    });
    let others = (2..).zip(others).map(|(group, ranked)| Placed {
        ranked,
        group,
        rank: 1,
        of: 1,
    });
    let mut all: Vec<Placed> = first.chain(others).collect();
    all.sort_by_key(|one| case.pinned != Some(one.ranked.member));
    all
}

/// Every PoP of the pool in the client's order: the pinned one, then group by group by bids.
pub(super) fn placed(case: &Case<'_>) -> Vec<Placed> {
    let cell = case.cell;
    let order = case.steering.whole_order(case.service, cell);
    let order: &[Ranked] = order.as_deref().unwrap_or(&[]);
    let bid = |one: &Ranked| case.bid(one.member, None).value();
    let mut all = Vec::new();
    let (mut start, mut number) = (0, 0);
    while start < order.len() {
        let end = group_end(order, start, case.service.grouping_in(cell));
        let mut group = order[start..end].to_vec();
        if group.len() > 1 {
            // Stable: equal bids keep the order of the group, as in the decision.
            group.sort_by(|a, b| bid(b).total_cmp(&bid(a)));
        }
        number += 1;
        let of = group.len();
        let place = |(rank, ranked)| Placed {
            ranked,
            group: number,
            rank,
            of,
        };
        all.extend((1..).zip(group).map(place));
        start = end;
    }
    all.sort_by_key(|one| case.pinned != Some(one.ranked.member));
    all
}
