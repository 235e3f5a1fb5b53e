//! Drawing lots among the PoPs of one group: who bids most for a block of clients comes first.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use meridian_config::Weight;

use super::{
    case::{Case, Need},
    hash::{Bid, Highest},
    ladder::Picked,
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
        let (mut candidates, mut admitted) = (0, 0);
        let counted = self.bidders(group.clone()).inspect(|bidder| {
            candidates += 1;
            admitted += usize::from(self.admits(bidder.member, need));
        });
        let wanted = highest(counted);
        let is_let_in = |bidder: &Bidder| self.admits(bidder.member, need);
        let others = || highest(self.bidders(group.clone()).filter(is_let_in));
        let first = match admitted {
            0 => None,
            _ => wanted.filter(is_let_in).or_else(others),
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
        self.bidders(group)
            .filter(|bidder| after.beats(bidder) && self.admits(bidder.member, need))
            .reduce(|best, bidder| if bidder.beats(&best) { bidder } else { best })
    }

    fn bidders(&self, group: impl Iterator<Item = Lot>) -> impl Iterator<Item = Bidder> {
        group.enumerate().filter_map(|(at, (member, weight))| {
            let bid = self.candidate(member, weight)?;
            Some(Bidder { bid, at, member })
        })
    }
}

/// A PoP's place in the pool's list, and another weight than its own to draw by.
pub(super) type Lot = (u16, Option<Weight>);

/// Who bids most, the first of several.
fn highest(mut bidders: impl Iterator<Item = Bidder>) -> Option<Bidder> {
    let mut best = bidders.next()?;
    let mut highest = Highest::new(best.bid);
    for bidder in bidders {
        if highest.is_beaten_by(bidder.bid) {
            best = bidder;
        }
    }
    Some(best)
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
