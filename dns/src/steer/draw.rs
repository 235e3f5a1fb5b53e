//! Drawing lots among the PoPs of one group: who bids most for a block of clients comes first.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use meridian_config::{Family, Weight};

use super::{
    case::{Case, Need},
    hash::{Bid, Highest},
    ladder::Picked,
    layout::Members,
    steering,
};

impl Case<'_> {
    /// Those of one group in the order of their bids.
    pub(super) fn group(
        &self,
        group: impl Iterator<Item = Lot> + Clone,
        need: Need,
        picked: &mut Picked,
    ) {
        let field = self.field(&group, need);
        let Some(mut next) = field.first else {
            picked.passed_over |= field.wanted.is_some() && picked.members.is_empty();
            return;
        };
        if picked.members.is_empty() {
            picked.passed_over |= field.wanted.is_some_and(|wanted| wanted.at != next.at);
            picked.told_by_bids |= field.candidates > field.admitted;
        }
        let drawn = field.admitted > 1;
        picked.drawn |= drawn;
        loop {
            self.pick(next.member, need, drawn, picked);
            if self.is_full(picked) || !drawn {
                return;
            }
            match self.next(group.clone(), need, next) {
                Some(after) => next = after,
                None => return,
            }
        }
    }

    /// Who bids in a group: one pass over it, and another one where who bids most is not let in.
    fn field(&self, group: &(impl Iterator<Item = Lot> + Clone), need: Need) -> Field {
        let bidding = self.bidding(need);
        let (mut candidates, mut admitted) = (0, 0);
        let mut wanted = None;
        for bidder in bidding.bidders(group.clone()) {
            candidates += 1;
            admitted += usize::from(bidding.let_in.has(bidder.member));
            Leader::offer(&mut wanted, bidder);
        }
        let wanted = wanted.map(Leader::bidder);
        let first = match admitted {
            0 => None,
            _ => wanted
                .filter(|bidder| bidding.let_in.has(bidder.member))
                .or_else(|| bidding.highest(group.clone())),
        };
        Field {
            candidates,
            admitted,
            first,
            wanted,
        }
    }

    /// Who comes after `after`: the highest bid that it beats.
    fn next(&self, group: impl Iterator<Item = Lot>, need: Need, after: Bidder) -> Option<Bidder> {
        let bidding = self.bidding(need);
        bidding
            .bidders(group)
            .filter(|bidder| after.beats(bidder) && bidding.let_in.has(bidder.member))
            .reduce(|best, bidder| if bidder.beats(&best) { bidder } else { best })
    }

    fn bidding(&self, need: Need) -> Bidding<'_> {
        Bidding {
            lots: &self.pool.lots,
            family: self.family,
            pinned: self.pinned,
            block: self.block,
            let_in: self.let_in(need),
        }
    }
}

/// What all bids of a group rest on, looked up once for all of them.
#[derive(Clone, Copy, Debug)]
struct Bidding<'a> {
    lots: &'a [steering::Lot],
    family: Family,
    pinned: Option<u16>,
    block: u64,
    let_in: Members<'a>,
}

impl Bidding<'_> {
    /// Who takes part at its place in the order: it has the family, and is not the pinned one, which
    /// went before.
    fn bidders(self, group: impl Iterator<Item = Lot>) -> impl Iterator<Item = Bidder> {
        group.enumerate().filter_map(move |(at, (member, weight))| {
            let lot = self.lots.get(usize::from(member))?;
            let takes_part = lot.has(self.family) && self.pinned != Some(member);
            takes_part.then(|| Bidder {
                bid: Bid::new(self.block, lot.seed, weight.unwrap_or(lot.weight)),
                at,
                member,
            })
        })
    }

    /// Who bids most of those let in.
    // Rare, and kept out of the way of what is not.
    #[inline(never)]
    fn highest(self, group: impl Iterator<Item = Lot>) -> Option<Bidder> {
        let mut leader = None;
        self.bidders(group)
            .filter(|bidder| self.let_in.has(bidder.member))
            .for_each(|bidder| Leader::offer(&mut leader, bidder));
        leader.map(Leader::bidder)
    }
}

/// A PoP's place in the pool's list, and another weight than its own to draw by.
pub(super) type Lot = (u16, Option<Weight>);

/// Who bids most so far, the first of several.
#[derive(Clone, Copy, Debug)]
struct Leader {
    highest: Highest,
    at: usize,
    member: u16,
}

impl Leader {
    #[inline]
    fn offer(leader: &mut Option<Self>, bidder: Bidder) {
        let Bidder { bid, at, member } = bidder;
        match leader {
            Some(leader) => {
                if leader.highest.is_beaten_by(bid) {
                    (leader.at, leader.member) = (at, member);
                }
            }
            None => {
                let highest = Highest::new(bid);
                *leader = Some(Self {
                    highest,
                    at,
                    member,
                });
            }
        }
    }

    fn bidder(self) -> Bidder {
        Bidder {
            bid: self.highest.bid(),
            at: self.at,
            member: self.member,
        }
    }
}

/// Who bids in a group.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// PoPs that have the family.
    candidates: usize,
    /// Those of them let in.
    admitted: usize,
    /// The highest bid of those let in.
    first: Option<Bidder>,
    /// The highest bid of all.
    wanted: Option<Bidder>,
}

/// A candidate with its bid; equal bids stand in the order of the group.
#[derive(Clone, Copy, Debug)]
struct Bidder {
    bid: Bid,
    at: usize,
    member: u16,
}

impl Bidder {
    fn beats(&self, other: &Self) -> bool {
        let above = self.bid.is_above(other.bid);
        above || (self.at < other.at && !other.bid.is_above(self.bid))
    }
}
