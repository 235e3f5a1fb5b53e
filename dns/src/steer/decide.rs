//! The ladder: from the order of a pool and the view of health to the addresses of an answer.
//! Pure and total; without locks, and without allocation unless the kept part of an order runs
//! out.
//!
//! ```text
//! block → located → order of the pool ─┬─ pinned PoP first, where usable
//!                                      ├─ 1  inside the fence, usable
//!                                      ├─ 2  the same with weight 0
//!                                      ├─ 3  the pool's fallback                ┐
//!                                      ├─ 4  inside the fence, not drained      │ last
//!                                      ├─ 5  inside the fence                   │ resort
//!                                      └─ 6  outside the fence, usable ones first ┘
//! ```
//!
//! The first step that yields an address ends the ladder.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::net::IpAddr;

use arrayvec::ArrayVec;
use meridian_config::{Family, Policy};

use super::{
    Steering, View,
    case::{Case, Need},
    ranking::{Class, Ranked, Ranking, group_end},
    types::{Decision, Level, MAX_ANSWERS, Reason},
};
use crate::{
    client::{Client, Origin},
    types::ServiceId,
};

/// Chooses the addresses of `family` that `client` gets from `service`.
///
/// Never empty while the service's pool has an address of that family.
pub fn decide(
    steering: &Steering,
    view: &View,
    service: ServiceId,
    client: &Client,
    family: Family,
) -> Decision {
    match Case::new(steering, view, service, client, family) {
        Some(case) => case.decide(),
        None => Decision {
            addresses: ArrayVec::new(),
            pop: None,
            reason: Reason::NoAddressOfFamily,
            level: Level::LastResort,
            ttl: 0,
            scope: 0,
        },
    }
}

/// One rung of the ladder.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// PoPs of one class. The reason is given where it is not up to the choice itself.
    Pops(Class, Need, Option<Reason>),
    Fallback,
}

const LADDER: [Step; 13] = {
    use Class::{Fenced, FencedZero, Open, OpenZero};
    use Need::{NotDrained, Nothing, Usable};
    const DOWN: Option<Reason> = Some(Reason::LastResortDown);
    const DRAINED: Option<Reason> = Some(Reason::LastResortDrained);
    const FENCED: Option<Reason> = Some(Reason::LastResortFenced);
    [
        Step::Pops(Open, Usable, None),
        Step::Pops(OpenZero, Usable, None),
        Step::Fallback,
        Step::Pops(Open, NotDrained, DOWN),
        Step::Pops(OpenZero, NotDrained, DOWN),
        Step::Pops(Open, Nothing, DRAINED),
        Step::Pops(OpenZero, Nothing, DRAINED),
        Step::Pops(Fenced, Usable, FENCED),
        Step::Pops(FencedZero, Usable, FENCED),
        Step::Pops(Fenced, NotDrained, FENCED),
        Step::Pops(FencedZero, NotDrained, FENCED),
        Step::Pops(Fenced, Nothing, FENCED),
        Step::Pops(FencedZero, Nothing, FENCED),
    ]
};

/// What the ladder has found so far.
#[derive(Clone, Debug, Default)]
struct Picked {
    addresses: ArrayVec<IpAddr, MAX_ANSWERS>,
    /// Whom the first address belongs to.
    first: Option<u16>,
    /// The first address was drawn among several.
    first_drawn: bool,
    /// Any address was drawn among several: the answer differs from block to block.
    drawn: bool,
    /// A PoP that would have come first was not let in.
    passed_over: bool,
}

/// The kept part of an order has run out.
struct RanOut;

impl Case<'_> {
    pub(super) fn decide(&self) -> Decision {
        let cell = self.block.located.cell;
        let kept = self.steering.order(self.service, cell);
        let climbed = match kept.as_deref().map(|order| self.climb(order)) {
            Some(Ok(climbed)) => Some(climbed),
            Some(Err(RanOut)) => {
                let whole = self
                    .steering
                    .whole_order(self.service, cell)
                    .unwrap_or_default();
                self.climb(&whole).ok()
            }
            None => None,
        };
        let (picked, forced) = climbed.unwrap_or_default();
        let reason = forced.unwrap_or_else(|| self.reason(&picked));
        Decision {
            pop: picked.first.and_then(|first| self.pop_id(first)),
            reason,
            level: self.level(reason),
            ttl: self.service.ttl,
            scope: self.scope(reason, picked.drawn),
            addresses: picked.addresses,
        }
    }

    /// Climbs until a rung yields an address.
    fn climb(&self, order: &Ranking) -> Result<(Picked, Option<Reason>), RanOut> {
        let mut picked = Picked::default();
        let any_usable = self.view.any(self.service.roster, self.family);
        for step in LADDER {
            match step {
                // Nothing to be found: do not search a long order for it.
                Step::Pops(_, Need::Usable, _) if !any_usable => picked.passed_over = true,
                Step::Pops(class, need, reason) => {
                    self.step(order, class, need, &mut picked)?;
                    if !picked.addresses.is_empty() {
                        return Ok((picked, reason));
                    }
                }
                Step::Fallback => {
                    self.push_fallback(&mut picked);
                    if !picked.addresses.is_empty() {
                        return Ok((picked, Some(Reason::LastResortFallback)));
                    }
                }
            }
        }
        Ok((picked, Some(Reason::NoAddressOfFamily)))
    }

    /// The pinned PoP, then every group of `class` in turn, until the answer is full.
    fn step(
        &self,
        order: &Ranking,
        class: Class,
        need: Need,
        picked: &mut Picked,
    ) -> Result<(), RanOut> {
        if let Some(pinned) = self.pinned.filter(|pinned| self.has_family(*pinned)) {
            if self.admits(pinned, need) {
                self.push(pinned, need, false, picked);
            } else {
                picked.passed_over = true;
            }
        }
        let entries = &order.entries;
        let mut at = entries.partition_point(|one| one.class < class);
        while !self.is_full(picked) {
            let Some(first) = entries.get(at) else {
                return if order.complete { Ok(()) } else { Err(RanOut) };
            };
            if first.class != class {
                return Ok(());
            }
            let end = group_end(
                entries,
                at,
                self.service.grouping_in(self.block.located.cell),
            );
            if end >= entries.len() && !order.complete {
                return Err(RanOut);
            }
            self.group(entries.get(at..end).unwrap_or(&[]), need, picked);
            at = end;
        }
        Ok(())
    }

    /// Those of one group in the order of their bids.
    fn group(&self, group: &[Ranked], need: Need, picked: &mut Picked) {
        let field = self.field(group, need);
        let Some(mut next) = field.first else {
            picked.passed_over |= field.wanted.is_some() && picked.first.is_none();
            return;
        };
        if picked.first.is_none() {
            picked.passed_over |= field.wanted.is_some_and(|wanted| wanted.at != next.at);
        }
        let drawn = field.admitted > 1;
        picked.drawn |= drawn;
        loop {
            self.push(next.member, need, drawn, picked);
            if self.is_full(picked) || !drawn {
                return;
            }
            match self.next(group, need, next) {
                Some(after) => next = after,
                None => return,
            }
        }
    }

    /// Who bids in a group: one pass over it.
    fn field(&self, group: &[Ranked], need: Need) -> Field {
        let mut field = Field::default();
        for (at, one) in group.iter().enumerate() {
            if !self.is_candidate(one.member) {
                continue;
            }
            // Alone in the group: nobody to bid against.
            let bid = if group.len() == 1 {
                1.0
            } else {
                self.bid(one.member)
            };
            let bidder = Bidder {
                bid,
                at,
                member: one.member,
            };
            if field.wanted.is_none_or(|best| bidder.beats(&best)) {
                field.wanted = Some(bidder);
            }
            if self.admits(one.member, need) {
                field.admitted += 1;
                if field.first.is_none_or(|best| bidder.beats(&best)) {
                    field.first = Some(bidder);
                }
            }
        }
        field
    }

    /// Who comes after `after`: the highest bid that it beats.
    fn next(&self, group: &[Ranked], need: Need, after: Bidder) -> Option<Bidder> {
        let mut best: Option<Bidder> = None;
        for (at, one) in group.iter().enumerate() {
            if !self.is_candidate(one.member) || !self.admits(one.member, need) {
                continue;
            }
            let bidder = Bidder {
                bid: self.bid(one.member),
                at,
                member: one.member,
            };
            if after.beats(&bidder) && best.is_none_or(|best| bidder.beats(&best)) {
                best = Some(bidder);
            }
        }
        best
    }

    /// Adds the endpoints of one PoP. An address that two PoPs share is given once.
    fn push(&self, member: u16, need: Need, drawn: bool, picked: &mut Picked) {
        let (Some(pop), Some(tested)) = (self.pop(member), self.tested(member)) else {
            return;
        };
        for (index, address) in pop.endpoints.iter().enumerate() {
            let wanted = Family::of(*address) == self.family
                && (need != Need::Usable || self.view.endpoint(tested, index));
            if wanted && !self.is_full(picked) && !picked.addresses.contains(address) {
                picked.addresses.push(*address);
                if picked.first.is_none() {
                    picked.first = Some(member);
                    picked.first_drawn = drawn;
                }
            }
        }
    }

    fn push_fallback(&self, picked: &mut Picked) {
        for address in &self.pool.fallback {
            let wanted = Family::of(*address) == self.family;
            if wanted && !self.is_full(picked) && !picked.addresses.contains(address) {
                picked.addresses.push(*address);
            }
        }
    }

    fn is_full(&self, picked: &Picked) -> bool {
        picked.addresses.len() >= self.service.answers.clamp(1, MAX_ANSWERS)
    }

    /// Why the first address is what it is, on the first two rungs.
    fn reason(&self, picked: &Picked) -> Reason {
        let known = self.block.located.cell.is_some();
        match picked.first {
            None => Reason::NoAddressOfFamily,
            first if first == self.pinned => Reason::Pinned,
            _ if picked.passed_over => Reason::FailedOver,
            _ if self.service.policy == Policy::Failover => Reason::ConfiguredOrder,
            _ if !known => Reason::UnknownLocation,
            _ if picked.first_drawn => Reason::WeightShared,
            _ => Reason::Nearest,
        }
    }

    fn level(&self, reason: Reason) -> Level {
        let by_distance = self.service.policy == Policy::Score && self.block.located.cell.is_some();
        match reason {
            _ if reason.is_last_resort() => Level::LastResort,
            Reason::Pinned => Level::Geo,
            _ if by_distance => Level::Geo,
            _ => Level::ConfiguredOrder,
        }
    }

    /// The scope of the answer; see the module's text in `steer`.
    fn scope(&self, reason: Reason, drawn: bool) -> u8 {
        // RFC 7871 §7.3.1: what is cached "because of a query's SOURCE PREFIX-LENGTH of 0" is "only
        // … used for other /0 queries", so this scope tells nobody that the answer is for everyone.
        if self.client.origin == Origin::OptOut {
            return 0;
        }
        let nobody_has_any = !self.view.any(self.service.roster, self.family);
        let same_for_all = self.service.is_uniform(self.family)
            || (reason == Reason::LastResortFallback && nobody_has_any);
        match (same_for_all, drawn) {
            (true, _) => 0,
            (false, true) => self.block.scope_of_block(),
            (false, false) => self.block.scope_of_location(),
        }
    }
}

/// Who bids in a group.
#[derive(Clone, Copy, Debug, Default)]
struct Field {
    /// PoPs let in.
    admitted: usize,
    /// The highest bid of those let in.
    first: Option<Bidder>,
    /// The highest bid of all.
    wanted: Option<Bidder>,
}

/// A candidate with its bid; equal bids stand in the order of the group.
#[derive(Clone, Copy, Debug)]
struct Bidder {
    bid: f64,
    at: usize,
    member: u16,
}

impl Bidder {
    fn beats(&self, other: &Self) -> bool {
        self.bid > other.bid || (self.bid == other.bid && self.at < other.at)
    }
}
