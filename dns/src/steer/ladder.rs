//! The ladder: from the order of a pool and the view of health to the PoPs of an answer.
//! Pure and total.
//!
//! ```text
//! order of the pool ─┬─ pinned PoP first, where usable
//!                    ├─ 0  the pool's anycast address, or who is measured better
//!                    ├─ 1  inside the fence, usable
//!                    ├─ 2  the same with weight 0
//!                    ├─ 3  the pool's fallback                ┐
//!                    ├─ 4  inside the fence, not drained      │ last
//!                    ├─ 5  inside the fence                   │ resort
//!                    └─ 6  outside the fence, usable ones first ┘
//! ```
//!
//! The first step that yields an address ends the ladder.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{net::IpAddr, num::NonZeroU16};

use arrayvec::ArrayVec;
use meridian_config::{Policy, Weight};

use super::{
    case::{Case, Need},
    choice::{Choice, Kind, MEMBERS, Parts},
    ranking::{Class, Ranked, Ranking, group_end},
    types::{Level, MAX_ANSWERS, Reason},
};

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
pub(super) struct Picked {
    pub(super) addresses: ArrayVec<IpAddr, MAX_ANSWERS>,
    /// Whose addresses they are, in order, as many as fit.
    pub(super) members: ArrayVec<u16, MEMBERS>,
    /// More PoPs than fit.
    pub(super) more: bool,
    /// The first address was drawn among several.
    pub(super) first_drawn: bool,
    /// How soon one of them could leave answers, in whole seconds.
    pub(super) falls: Option<NonZeroU16>,
    /// Any address was drawn among several: the answer differs from block to block.
    pub(super) drawn: bool,
    /// A PoP that would have come first was not let in.
    pub(super) passed_over: bool,
    /// Whether one was is up to bids.
    pub(super) told_by_bids: bool,
    /// The first address is of a PoP that has a share of the place at the moment.
    pub(super) by_share: bool,
    /// The group that the first address was drawn in.
    group: Option<Group>,
}

/// A group of an order, and what was known before it bid.
#[derive(Clone, Copy, Debug)]
struct Group {
    start: usize,
    end: usize,
    passed_over: bool,
}

/// Stands for the bounds of the group of those who have a share of the place at the moment.
const SHARES: usize = u16::MAX as usize;

/// Stands for the pool's anycast address among members.
pub(super) const ANYCAST: u16 = u16::MAX;

/// Where the climb ended.
#[derive(Clone, Debug)]
pub(super) struct Climbed {
    pub(super) picked: Picked,
    /// `None`: at the anycast address, the fallback, or above the last rung.
    pub(super) need: Option<Need>,
    pub(super) reason: Reason,
}

/// The kept part of an order has run out.
struct RanOut;

impl Picked {
    pub(super) fn first(&self) -> Option<u16> {
        self.members.first().copied()
    }
}

impl Case<'_> {
    /// What can be said of the answer without regard to bids.
    pub(super) fn choice(&self) -> Choice {
        let Climbed {
            picked,
            need,
            reason,
        } = self.climb();
        let kind = match () {
            () if picked.drawn => Kind::Drawn,
            () if picked.more => Kind::Long,
            () if picked.told_by_bids => Kind::FixedTold,
            () => Kind::Fixed,
        };
        let mut parts = Parts {
            kind,
            reason,
            level: self.level(reason, picked.by_share),
            need,
            members: picked.members,
            group: None,
            // Where bids tell who was passed over, it is the same for all blocks.
            awaited: self.roll.rise.is_some() && (picked.passed_over || picked.told_by_bids)
                || picked.by_share && self.may_share_again(),
        };
        if kind == Kind::Drawn {
            // Only bids tell whose the addresses are.
            parts.members.clear();
        }
        if matches!(kind, Kind::Drawn | Kind::FixedTold)
            && parts.members.len() <= 1
            && let Some(group) = picked.group
        {
            let number = |index: usize| u16::try_from(index).ok();
            parts.group = number(group.start).zip(number(group.end));
            if !reason.is_last_resort() {
                // As far as it is known before they bid.
                parts.reason = match group.passed_over {
                    true => Reason::FailedOver,
                    false => Reason::WeightShared,
                };
            }
        }
        Choice::pack(&parts)
    }

    /// Whether a PoP with an address of the family that may come back soon would take a share of the place from those who have one
    /// now, as far as the order by the configuration tells: it stands before the last of them, or within
    /// tolerance.
    fn may_share_again(&self) -> bool {
        let Some(order) = self
            .roll
            .rise
            .and_then(|_| self.steering.order(self.service, self.cell))
        else {
            return false;
        };
        let shares = |one: &Ranked| self.parts().iter().any(|part| part.member == one.member);
        let last = order.iter().rposition(shares);
        let mut end = 0;
        while last.is_some_and(|last| end <= last) && end < order.len() {
            end = group_end(&order, end, self.service.grouping_in(self.cell));
        }
        let before = if last.is_some() { end } else { order.len() };
        let rises = |one: &Ranked| {
            let rises = self.state(one.member).rise.is_some() && self.has_family(one.member);
            rises && !self.admits(one.member, Need::Usable)
        };
        order.iter().take(before).any(rises)
    }

    /// Draws lots in the group that the choice names, without climbing, and says why. `None`: that
    /// is not all there is to the answer.
    pub(super) fn draw(&self, choice: Choice, picked: &mut Picked) -> Option<Reason> {
        let (start, end) = choice.group()?;
        let need = choice.need()?;
        picked.passed_over = choice.reason() == Reason::FailedOver;
        if start == SHARES {
            self.shares(picked);
        } else {
            let best = self.steering.best(self.service, self.cell)?;
            let further;
            let group = if let Some(group) = best.get(start..end) {
                group
            } else {
                further = self.steering.further(self.service, self.cell)?;
                further.get(start..end)?
            };
            self.members(group, need, picked);
        }
        let forced = Some(choice.reason()).filter(|reason| reason.is_last_resort());
        self.is_full(picked)
            .then(|| forced.unwrap_or_else(|| self.reason(picked)))
    }

    pub(super) fn climb(&self) -> Climbed {
        if let Some(climbed) = self.anycast() {
            return climbed;
        }
        let kept = self.steering.order(self.service, self.cell);
        let by = |order: Ranking<'_>| self.climb_by(&order).ok();
        let further = || self.steering.further(self.service, self.cell);
        let whole = || self.steering.whole_order(self.service, self.cell);
        let climbed = kept.and_then(by).or_else(|| further().and_then(by));
        let climbed = climbed.or_else(|| whole().and_then(by));
        climbed.unwrap_or(Climbed {
            picked: Picked::default(),
            need: None,
            reason: Reason::NoAddressOfFamily,
        })
    }

    /// What clients of a pool with an anycast address get: that, or the single PoP that was measured to
    /// be better for them, while it is usable. A PoP that they are pinned to comes before both.
    fn anycast(&self) -> Option<Climbed> {
        if !self.is_anycast() {
            return None;
        }
        let mut picked = Picked::default();
        if let Some(pinned) = self.pinned.filter(|pinned| self.has_family(*pinned)) {
            if self.admits(pinned, Need::Usable) {
                return None;
            }
            picked.passed_over = true;
        }
        if let Some(member) = self.preferred_pop() {
            if self.admits(member, Need::Usable) {
                self.pick(member, Need::Usable, false, &mut picked);
            }
            if !picked.addresses.is_empty() {
                return Some(Climbed {
                    picked,
                    need: Some(Need::Usable),
                    reason: Reason::Unicast,
                });
            }
            picked.passed_over = true;
        }
        self.push_anycast(&mut picked.addresses);
        picked.members.push(ANYCAST);
        Some(Climbed {
            picked,
            need: None,
            reason: Reason::Anycast,
        })
    }

    /// Climbs until a rung yields an address.
    fn climb_by(&self, order: &Ranking<'_>) -> Result<Climbed, RanOut> {
        let mut picked = Picked::default();
        let any_usable = self.view.any(self.service.roster, self.family);
        for step in LADDER {
            match step {
                // Nothing to be found: do not search a long order for it.
                Step::Pops(_, Need::Usable, _) if !any_usable => picked.passed_over = true,
                Step::Pops(class, need, reason) => {
                    self.step(order, class, need, &mut picked)?;
                    if !picked.addresses.is_empty() {
                        return Ok(Climbed {
                            reason: reason.unwrap_or_else(|| self.reason(&picked)),
                            need: Some(need),
                            picked,
                        });
                    }
                }
                Step::Fallback => {
                    self.push_fallback(&mut picked.addresses);
                    if !picked.addresses.is_empty() {
                        return Ok(Climbed {
                            reason: Reason::LastResortFallback,
                            need: None,
                            picked,
                        });
                    }
                }
            }
        }
        Ok(Climbed {
            reason: Reason::NoAddressOfFamily,
            need: None,
            picked,
        })
    }

    /// The pinned PoP, then every group of `class` in turn, until the answer is full.
    fn step(
        &self,
        order: &Ranking<'_>,
        class: Class,
        need: Need,
        picked: &mut Picked,
    ) -> Result<(), RanOut> {
        if let Some(pinned) = self.pinned.filter(|pinned| self.has_family(*pinned)) {
            if self.admits(pinned, need) {
                self.pick(pinned, need, false, picked);
            } else {
                picked.passed_over = true;
            }
        }
        if (class, need) == (Class::Open, Need::Usable) && !self.parts().is_empty() {
            let before = (picked.members.is_empty(), picked.passed_over);
            self.shares(picked);
            self.note(before, (SHARES, SHARES), picked);
        }
        let mut at = order.partition_point(|one| one.class < class);
        while !self.is_full(picked) {
            let Some(first) = order.get(at) else {
                return if order.complete { Ok(()) } else { Err(RanOut) };
            };
            if first.class != class {
                return Ok(());
            }
            let end = group_end(order, at, self.service.grouping_in(self.cell));
            if end >= order.len() && !order.complete {
                return Err(RanOut);
            }
            let before = (picked.members.is_empty(), picked.passed_over);
            self.members(order.get(at..end).unwrap_or(&[]), need, picked);
            self.note(before, (at, end), picked);
            at = end;
        }
        Ok(())
    }

    /// Keeps in mind where the first address was drawn.
    fn note(
        &self,
        (first, passed_over): (bool, bool),
        (start, end): (usize, usize),
        picked: &mut Picked,
    ) {
        if first && picked.group.is_none() && (picked.first_drawn || picked.told_by_bids) {
            picked.group = Some(Group {
                start,
                end,
                passed_over,
            });
        }
    }

    /// Those who have a share of the place at the moment, by their shares.
    fn shares(&self, picked: &mut Picked) {
        let lots = self.parts().iter().map(|part| {
            let weight = Weight(part.parts.into());
            (part.member, Some(weight))
        });
        let first = picked.members.is_empty();
        self.group(lots, Need::Usable, picked);
        picked.by_share = first && !picked.members.is_empty();
    }

    /// Those of one group of an order. Who has a share of the place has had its turn.
    fn members(&self, group: &[Ranked], need: Need, picked: &mut Picked) {
        let lot = |one: &Ranked| (one.member, None);
        let shares = match need {
            Need::Usable => self.parts(),
            Need::NotDrained | Need::Nothing => &[],
        };
        if shares.is_empty() {
            return self.group(group.iter().map(lot), need, picked);
        }
        let had_turn = |one: &Ranked| shares.iter().any(|part| part.member == one.member);
        let others = group.iter().filter(|one| !had_turn(one));
        self.group(others.map(lot), need, picked);
    }

    /// Adds the endpoints of one PoP.
    pub(super) fn pick(&self, member: u16, need: Need, drawn: bool, picked: &mut Picked) {
        if !self.push(member, need, &mut picked.addresses, &mut picked.falls) {
            return;
        }
        picked.first_drawn |= drawn && picked.members.is_empty();
        picked.more |= picked.members.try_push(member).is_err();
    }

    pub(super) fn is_full(&self, picked: &Picked) -> bool {
        picked.addresses.len() >= self.limit()
    }

    /// Why the first address is what it is, on the first two rungs.
    fn reason(&self, picked: &Picked) -> Reason {
        let known = self.cell.is_some();
        match picked.first() {
            None => Reason::NoAddressOfFamily,
            first if first == self.pinned => Reason::Pinned,
            _ if picked.passed_over => Reason::FailedOver,
            _ if self.service.policy == Policy::Failover => Reason::ConfiguredOrder,
            _ if !known => Reason::UnknownLocation,
            _ if picked.first_drawn => Reason::WeightShared,
            _ => Reason::Nearest,
        }
    }

    pub(super) fn level(&self, reason: Reason, by_share: bool) -> Level {
        let by_distance = self.service.policy == Policy::Score && self.cell.is_some();
        match reason {
            _ if reason.is_last_resort() => Level::LastResort,
            Reason::Pinned => Level::Geo,
            Reason::Unicast => Level::Measured,
            Reason::Anycast => Level::ConfiguredOrder,
            _ if by_share && self.is_measured() => Level::Measured,
            _ if by_distance => Level::Geo,
            _ => Level::ConfiguredOrder,
        }
    }
}
