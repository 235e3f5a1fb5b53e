//! What a service answers to everyone of whom the same is known, packed into 64 bits and kept.
//!
//! The ladder is climbed once for each service, family, place and view. Clients of the same place
//! then get their answer by one load, and two places with equal [`Choice::key`] get identical
//! answers, which is what wide scopes are made of.
//!
//! # Memory
//! Kept choices grow by chunks as places are asked for, 8 octets a place; scopes by a bit for each
//! range of addresses. All tables of one
//! [`Steering`](super::Steering), under whatever view, stay below [`BUDGET`] together. Past it the
//! ladder is climbed once for each query. What scopes can take at most is set aside before the first
//! is told, so that no query ever finds out about many ranges in vain: [`Choices::room`] says for how
//! many tables that is, and those past it tell the scope of the location alone.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use arrayvec::ArrayVec;
use meridian_geo_data::{ClientMap, PlaceId, Runs};

use super::{
    block::Block,
    case::Need,
    types::{Level, Reason},
};

/// Octets that all tables together may take. Few in tests, so that it runs out in some worlds.
const BUDGET: usize = if cfg!(test) { 24 << 10 } else { 1 << 30 };
/// Places in one chunk.
const CHUNK: usize = if cfg!(test) { 8 } else { 256 };
/// PoPs that fit into a packed choice.
pub(super) const MEMBERS: usize = 3;

/// ```text
/// bits 0…2   kind: 0 not known yet
///      3…6   reason
///      7…8   level
///      9…10  which endpoints of the PoPs; 3: none, it is the fallback
///      11…12 how many PoPs
///      13    the upper two of the three numbers that follow are the bounds of a group
///      14    a PoP that would come before may come back soon
///      16…63 their places in the pool's list
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice(u64);

/// How an answer comes about at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is the same for everyone there.
    Fixed,
    /// The same, but why is told by bids, block by block.
    FixedTold,
    /// The same, but of more PoPs than fit in here: climb again.
    Long,
    /// It is up to bids, block by block: climb again.
    Drawn,
}

/// Everything that is packed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parts {
    pub(super) kind: Kind,
    pub(super) reason: Reason,
    pub(super) level: Level,
    /// `None`: the pool's fallback.
    pub(super) need: Option<Need>,
    pub(super) members: ArrayVec<u16, MEMBERS>,
    /// Where in the order the group stands in which bids decide; with at most one PoP.
    pub(super) group: Option<(u16, u16)>,
    /// A PoP that would come before for some here may come back soon, so the TTL is lower.
    pub(super) awaited: bool,
}

const KIND: u64 = 0b111;
/// What tells answers apart: all but kind, reason and level.
const ANSWER: u64 = !0x1ff;

/// The bounds of a group, which have no say in an answer that is fixed.
const GROUP: u64 = 0xffff_ffff << 32 | 1 << 13;

impl Choice {
    const UNKNOWN: Self = Self(0);

    pub(super) fn pack(parts: &Parts) -> Self {
        let kind = match parts.kind {
            Kind::Fixed => 1,
            Kind::FixedTold => 2,
            Kind::Long => 3,
            Kind::Drawn => 4,
        };
        let need = match parts.need {
            Some(Need::Usable) => 0,
            Some(Need::NotDrained) => 1,
            Some(Need::Nothing) => 2,
            None => 3,
        };
        let members = parts
            .members
            .iter()
            .rev()
            .fold(0, |all, member| (all << 16) | u64::from(*member));
        let reason = u64::from(parts.reason.number());
        let level = parts.level as u64;
        let count = parts.members.len() as u64;
        let group = parts
            .group
            .filter(|_| count <= 1)
            .map_or(0, |(start, end)| {
                1 << 13 | u64::from(start) << 32 | u64::from(end) << 48
            });
        let awaited = u64::from(parts.awaited) << 14;
        Self(
            group
                | awaited
                | kind
                | reason << 3
                | level << 7
                | need << 9
                | count << 11
                | members << 16,
        )
    }

    pub(super) fn kind(self) -> Option<Kind> {
        match self.0 & KIND {
            1 => Some(Kind::Fixed),
            2 => Some(Kind::FixedTold),
            3 => Some(Kind::Long),
            4 => Some(Kind::Drawn),
            _ => None,
        }
    }

    pub(super) fn reason(self) -> Reason {
        Reason::numbered((self.0 >> 3 & 0xf) as u8)
    }

    pub(super) fn level(self) -> Level {
        match self.0 >> 7 & 0b11 {
            0 => Level::Measured,
            1 => Level::Geo,
            2 => Level::ConfiguredOrder,
            _ => Level::LastResort,
        }
    }

    /// `None`: the pool's fallback.
    pub(super) fn need(self) -> Option<Need> {
        match self.0 >> 9 & 0b11 {
            0 => Some(Need::Usable),
            1 => Some(Need::NotDrained),
            2 => Some(Need::Nothing),
            _ => None,
        }
    }

    /// The PoPs that give addresses, in order.
    pub(super) fn members(self) -> impl Iterator<Item = u16> {
        let count = (self.0 >> 11 & 0b11) as usize;
        // The low 16 bits after the shift are the PoP; the truncation is meant.
        #[allow(clippy::cast_possible_truncation)]
        (0..count.min(MEMBERS)).map(move |at| (self.0 >> (16 + 16 * at)) as u16)
    }

    /// Where in the order the group stands in which bids decide, if that is known.
    // 16 bits are left after each shift.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn group(self) -> Option<(usize, usize)> {
        let bounds = ((self.0 >> 32) as u16, (self.0 >> 48) as u16);
        (self.0 >> 13 & 1 == 1).then(|| (bounds.0.into(), bounds.1.into()))
    }

    /// Whether a PoP that would come before may come back soon.
    pub(super) fn is_awaited(self) -> bool {
        self.0 >> 14 & 1 == 1
    }

    /// Equal for two places only when everyone at both gets the same addresses; `None` when that
    /// cannot be told.
    pub(super) fn key(self) -> Option<u64> {
        match self.kind() {
            Some(Kind::Fixed | Kind::FixedTold) if self.group().is_some() => {
                Some(self.0 & ANSWER & !GROUP)
            }
            Some(Kind::Fixed | Kind::FixedTold) => Some(self.0 & ANSWER),
            _ => None,
        }
    }
}

/// Choices by place for one service (or several alike), one family and one view, and the scopes
/// that follow from them. Filled from any thread without locks: whoever computes a choice computes
/// the same.
#[derive(Debug)]
pub(super) struct Choices {
    chunks: Box<[OnceLock<Chunk>]>,
    /// `None`: scopes are those of locations.
    runs: Option<Runs>,
    budget: Budget,
}

type Chunk = Box<[AtomicU64]>;

impl Choices {
    /// How many tables a view may have: two views of as many leave half of the budget to choices.
    pub(super) fn room(clients: &ClientMap) -> usize {
        let chunks = clients.places().div_ceil(CHUNK) * size_of::<OnceLock<Chunk>>();
        BUDGET / 4 / (chunks + clients.runs().most_octets()).max(1)
    }

    /// Nothing known yet; `None` when what that and all scopes take is beyond the budget.
    pub(super) fn new(clients: &ClientMap, further: usize, used: Arc<AtomicUsize>) -> Option<Self> {
        let places = clients.places().saturating_add(further);
        let (count, runs) = (places.div_ceil(CHUNK), clients.runs());
        let budget = Budget {
            used,
            own: AtomicUsize::new(0),
        };
        budget
            .reserve(count * size_of::<OnceLock<Chunk>>() + runs.most_octets())
            .then(|| Self {
                chunks: (0..count).map(|_| OnceLock::new()).collect(),
                runs: Some(runs),
                budget,
            })
    }

    /// Keeps nothing: for when the budget is used up.
    pub(super) fn keeping_nothing() -> Self {
        Self {
            chunks: Box::default(),
            runs: None,
            budget: Budget {
                used: Arc::default(),
                own: AtomicUsize::new(0),
            },
        }
    }

    /// Length of the widest prefix with the block that gets the answer of `choice`, in the family
    /// of its first address; `None`: it is told apart from all others. The choice at its own place
    /// must have a key; `make` computes that at another one.
    pub(super) fn widest(
        &self,
        clients: &ClientMap,
        block: &Block,
        make: impl Fn(PlaceId) -> Choice,
    ) -> Option<u8> {
        let key = |place: PlaceId| self.get(place, || make(place)).key();
        let of = (block.first, block.found);
        clients.widest(self.runs.as_ref()?, of, block.by_first_address, key)
    }

    /// The choice at `place`, made by `make` when it is not known yet.
    pub(super) fn get(&self, place: PlaceId, make: impl FnOnce() -> Choice) -> Choice {
        let index = place.0 as usize;
        let Some(slot) = self.slot(index) else {
            return make();
        };
        // Relaxed: the value is whole in itself, nothing else is published with it.
        let kept = Choice(slot.load(Ordering::Relaxed));
        if kept != Choice::UNKNOWN {
            return kept;
        }
        let made = make();
        slot.store(made.0, Ordering::Relaxed);
        made
    }

    fn slot(&self, index: usize) -> Option<&AtomicU64> {
        let chunk = self.chunks.get(index / CHUNK)?;
        if let Some(chunk) = chunk.get() {
            return chunk.get(index % CHUNK);
        }
        self.add(chunk)?.get(index % CHUNK)
    }

    #[cold]
    fn add<'a>(&self, to: &'a OnceLock<Chunk>) -> Option<&'a Chunk> {
        let octets = CHUNK * size_of::<AtomicU64>();
        if !self.budget.reserve(octets) {
            return None;
        }
        let fresh = (0..CHUNK).map(|_| AtomicU64::new(0)).collect();
        if to.set(fresh).is_err() {
            self.budget.give_back(octets);
        }
        to.get()
    }
}

/// A share of the octets that all tables may take, given back when it goes.
#[derive(Debug)]
struct Budget {
    used: Arc<AtomicUsize>,
    own: AtomicUsize,
}

impl Budget {
    fn reserve(&self, octets: usize) -> bool {
        self.own.fetch_add(octets, Ordering::Relaxed);
        if self.used.fetch_add(octets, Ordering::Relaxed) + octets <= BUDGET {
            return true;
        }
        self.give_back(octets);
        false
    }

    fn give_back(&self, octets: usize) {
        self.own.fetch_sub(octets, Ordering::Relaxed);
        self.used.fetch_sub(octets, Ordering::Relaxed);
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.used.fetch_sub(*self.own.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(kind: Kind, reason: Reason, need: Option<Need>, members: &[u16]) -> Parts {
        Parts {
            kind,
            reason,
            level: Level::Geo,
            need,
            members: members.iter().copied().collect(),
            group: None,
            awaited: false,
        }
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let needs = [
            Some(Need::Usable),
            Some(Need::NotDrained),
            Some(Need::Nothing),
            None,
        ];
        let lists: [&[u16]; 4] = [&[], &[0], &[65_535, 0], &[1, 2, 65_535]];
        for kind in [Kind::Fixed, Kind::FixedTold, Kind::Long, Kind::Drawn] {
            for reason in Reason::ALL {
                for need in needs {
                    for members in lists {
                        let one = parts(kind, reason, need, members);
                        let choice = Choice::pack(&one);
                        assert_eq!(choice.kind(), Some(kind));
                        assert_eq!(choice.reason(), reason);
                        assert_eq!(choice.level(), Level::Geo);
                        assert_eq!(choice.need(), need);
                        assert!(choice.members().eq(members.iter().copied()));
                    }
                }
            }
        }
    }

    #[test]
    fn why_is_no_part_of_the_answer() {
        let key = |kind, reason, members: &[u16]| {
            Choice::pack(&parts(kind, reason, Some(Need::Usable), members)).key()
        };
        let near = key(Kind::Fixed, Reason::Nearest, &[7]);
        let told = Parts {
            group: Some((3, 65_535)),
            ..parts(
                Kind::FixedTold,
                Reason::FailedOver,
                Some(Need::Usable),
                &[7],
            )
        };
        let told = Choice::pack(&told);
        assert_eq!((near, told.group()), (told.key(), Some((3, 65_535))));
        assert_ne!(near, key(Kind::Fixed, Reason::Nearest, &[8]));
        assert_ne!(near, key(Kind::Fixed, Reason::Nearest, &[7, 0]));
        assert_eq!(key(Kind::Drawn, Reason::Nearest, &[7]), None);
        let awaited = Choice::pack(&Parts {
            awaited: true,
            ..parts(Kind::Fixed, Reason::Nearest, Some(Need::Usable), &[7])
        });
        assert!(
            awaited.is_awaited() && awaited.key() != near,
            "its TTL is another"
        );
    }

    fn bundled() -> ClientMap {
        let geo = meridian_config::Geo {
            city: Vec::new(),
            asn: Vec::new(),
            networks: Vec::new(),
        };
        ClientMap::open(&geo).unwrap()
    }

    #[test]
    fn the_budget_is_given_back() {
        let clients = bundled();
        let used = Arc::new(AtomicUsize::new(0));
        let made = |reason| Choice::pack(&parts(Kind::Fixed, reason, None, &[]));
        let taken = BUDGET - 1_000;
        used.fetch_add(taken, Ordering::Relaxed);
        let kept = Choices {
            chunks: (0..25).map(|_| OnceLock::new()).collect(),
            runs: None,
            budget: Budget {
                used: used.clone(),
                own: AtomicUsize::new(0),
            },
        };
        let get = |place, reason| kept.get(PlaceId(place), || made(reason)).reason();
        assert_eq!(get(9, Reason::Pinned), Reason::Pinned);
        assert_eq!(get(9, Reason::Nearest), Reason::Pinned, "it was kept");
        for place in 0..200 {
            assert_eq!(get(place, Reason::Pinned), Reason::Pinned);
        }
        assert_eq!(
            get(199, Reason::Nearest),
            Reason::Nearest,
            "no room was left"
        );
        assert!(Choices::new(&clients, 0, used.clone()).is_none());
        drop(kept);
        assert_eq!(used.load(Ordering::Relaxed), taken);
    }
}
