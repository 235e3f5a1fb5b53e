//! Row by row: which PoPs are looked at, and the shares that they come to.

use std::cell::OnceCell;

use meridian_geo_data::{CellId, latency::Measured};

use super::{Field, NONE};
use crate::steer::{
    balance::{MAX_PARTS, Offer, Part, Parts, WHOLE, share},
    order::{Vector, class, shortest_ms},
    ranking::Class,
    standing::limit::moved,
};

/// What is looked at for a row; kept from row to row.
#[derive(Debug, Default)]
pub(in crate::steer::standing) struct Scratch {
    offers: Vec<Offer>,
}

impl Scratch {
    /// The members that had a say in the row that came last.
    pub(in crate::steer::standing) fn members(&self) -> impl Iterator<Item = u16> {
        self.offers.iter().map(|offer| offer.member)
    }
}

/// What a row is judged by: its cell, and what was measured there.
pub(super) struct Seen<'a> {
    cell: CellId,
    told: &'a [Measured],
    /// Where the cell is, once somebody is looked at whose distance is not known yet.
    from: OnceCell<Vector>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(cell: CellId, told: &'a [Measured]) -> Self {
        let from = OnceCell::new();
        Self { cell, told, from }
    }
}

/// What a row was, and what remains of it when PoPs that are not usable are left out.
pub(super) struct Before<'a> {
    previous: &'a [Part],
    kept: Parts,
}

impl<'a> Before<'a> {
    pub(super) fn new(previous: &'a [Part], kept: Parts) -> Self {
        Self { previous, kept }
    }
}

/// What a row comes to.
#[derive(Clone, Debug)]
pub(in crate::steer::standing) struct Rowed {
    pub(in crate::steer::standing) parts: Parts,
    pub(in crate::steer::standing) measured: bool,
    /// What the row before becomes when only those move whose PoP is not usable.
    pub(in crate::steer::standing) kept: Parts,
    /// By how much the mean score is better than that, ms.
    pub(in crate::steer::standing) gain: f32,
    /// Share of its clients that change their PoP for it.
    pub(in crate::steer::standing) moves: f32,
}

impl Field<'_> {
    /// What a row comes to after `previous`.
    pub(in crate::steer::standing) fn row(
        &self,
        row: usize,
        previous: &[Part],
        scratch: &mut Scratch,
    ) -> Rowed {
        let offers = &mut scratch.offers;
        offers.clear();
        let before = Before::new(previous, self.kept(previous));
        let Some((cell, told, _)) = self.of_row(row) else {
            return self.judged(offers, before, f32::INFINITY, false);
        };
        let needed = self.offer_few(&Seen::new(cell, told), &before, offers);
        self.judged(offers, before, needed, self.is_told(told))
    }

    /// The way from `previous` to shares that are told.
    pub(in crate::steer::standing) fn toward(
        &self,
        row: usize,
        previous: &[Part],
        parts: Parts,
        scratch: &mut Scratch,
    ) -> Rowed {
        let offers = &mut scratch.offers;
        offers.clear();
        if let Some((cell, told, _)) = self.of_row(row) {
            let seen = Seen::new(cell, told);
            for part in previous.iter().chain(&parts) {
                self.offer_once(&seen, part.member, offers);
            }
        }
        let kept = handed_on(previous, &self.kept(previous), &parts);
        Rowed {
            gain: mean(offers, &kept) - mean(offers, &parts),
            moves: moved(&kept, &parts),
            parts,
            measured: false,
            kept,
        }
    }

    /// Who may take part in a row after `previous` at prices about these, best first; and what
    /// remains of that row.
    pub(in crate::steer::standing) fn offered<'s>(
        &self,
        row: usize,
        previous: &[Part],
        scratch: &'s mut Scratch,
    ) -> (&'s mut Vec<Offer>, Parts) {
        let offers = &mut scratch.offers;
        offers.clear();
        let before = Before::new(previous, self.kept(previous));
        if let Some((cell, told, _)) = self.of_row(row) {
            self.offer_few(&Seen::new(cell, told), &before, offers);
        }
        self.sort(offers);
        (offers, normalised(&before.kept))
    }

    /// The PoP that is nearest to a row, of those that the list has.
    pub(in crate::steer::standing) fn nearest(&self, row: usize) -> Option<usize> {
        let (cell, _, _) = self.of_row(row)?;
        let mut near = self.near?.of(cell);
        let own = near.find_map(|(member, _)| match &self.of_near {
            Some(own) => own
                .get(usize::from(member))
                .copied()
                .filter(|own| *own != NONE),
            None => Some(member),
        });
        Some(self.pool.members.get(usize::from(own?))?.index())
    }

    /// All that can have a share of a row after `previous`, and some others.
    /// Returns the score that is needed among them.
    fn offer_few(&self, seen: &Seen<'_>, before: &Before<'_>, offers: &mut Vec<Offer>) -> f32 {
        self.offer_near(seen, offers);
        self.offer_measured(seen, offers);
        for part in before.previous {
            self.offer_once(seen, part.member, offers);
        }
        let needed = self.needed(offers, &before.kept);
        let bound = self.near.map_or(f32::NEG_INFINITY, |near| {
            near.bound(seen.cell, self.profile, &self.line)
        });
        if bound >= needed {
            return needed;
        }
        self.offer_rest(seen, &before.kept, needed, offers);
        self.needed(offers, &before.kept)
    }

    /// What these offers come to, of which `needed` is needed.
    pub(super) fn judged(
        &self,
        offers: &mut Vec<Offer>,
        before: Before<'_>,
        needed: f32,
        measured: bool,
    ) -> Rowed {
        let parts = self.shared(offers, &before, needed);
        let kept = handed_on(before.previous, &before.kept, &parts);
        let gain = mean(offers, &kept) - mean(offers, &parts);
        Rowed {
            moves: moved(&kept, &parts),
            parts,
            measured,
            kept,
            gain,
        }
    }

    /// The shares of a row; sorts the offers, best first.
    fn shared(&self, offers: &mut Vec<Offer>, before: &Before<'_>, needed: f32) -> Parts {
        let (previous, kept) = (before.previous, &before.kept);
        offers.retain(|offer| {
            offer.score_ms <= needed || previous.iter().any(|part| part.member == offer.member)
        });
        if let [only] = offers.as_slice()
            && only.usable
        {
            let member = only.member;
            let parts = WHOLE;
            return [Part { member, parts }].into_iter().collect();
        }
        self.sort(offers);
        let before = normalised(kept);
        let parts = share(offers, &before, &self.rules);
        unrounded(kept, &parts).unwrap_or(parts)
    }

    /// Best first; by name where they are equal.
    fn sort(&self, offers: &mut [Offer]) {
        let name = |offer: &Offer| self.names.get(usize::from(offer.member)).copied();
        offers.sort_unstable_by(|a, b| {
            let by_score = a.score_ms.total_cmp(&b.score_ms);
            by_score.then_with(|| name(a).cmp(&name(b)))
        });
    }

    /// What remains of a row: the shares stay in proportion.
    pub(super) fn kept(&self, previous: &[Part]) -> Parts {
        let usable = |part: &&Part| self.is_usable(part.member);
        previous.iter().filter(usable).copied().collect()
    }

    /// The score up to which PoPs can have a share, or a say in it, after what is kept of a row: no
    /// farther behind the best that has grown to its full share than matters.
    pub(super) fn needed(&self, offers: &[Offer], kept: &[Part]) -> f32 {
        let usable = offers.iter().filter(|offer| offer.usable);
        let grown = usable.filter(|offer| offer.ramp >= 1.0);
        let best = grown.map(|offer| offer.score_ms).reduce(f32::min);
        let reach = |best: f32| {
            let now = mean(offers, kept);
            self.rules.reach(best).max(self.rules.reach(now))
        };
        best.map_or(f32::INFINITY, |best| best + reach(best))
    }

    fn offer_near(&self, seen: &Seen<'_>, offers: &mut Vec<Offer>) {
        let Some(near) = self.near else { return };
        for (member, distance_ms) in near.of(seen.cell) {
            let own = match &self.of_near {
                Some(own) => own.get(usize::from(member)).copied(),
                None => Some(member),
            };
            let Some(member) = own.filter(|own| *own != NONE) else {
                continue;
            };
            let latency = self.latency_ms(member, distance_ms, seen.told);
            offers.extend(self.offer(member, distance_ms, latency));
        }
    }

    /// PoPs with a measurement of their own, near or not.
    fn offer_measured(&self, seen: &Seen<'_>, offers: &mut Vec<Offer>) {
        for one in seen.told {
            let member = self.member(one);
            if member != NONE {
                self.offer_once(seen, member, offers);
            }
        }
    }

    pub(super) fn offer_once(&self, seen: &Seen<'_>, member: u16, offers: &mut Vec<Offer>) {
        if offers.iter().any(|offer| offer.member == member) {
            return;
        }
        let cell = self.steering.cell(seen.cell);
        let Some(pop) = self.steering.member(self.pool, member) else {
            return;
        };
        if class(pop, cell) == Class::Open {
            let from = seen.from.get_or_init(|| Vector::to(cell.center));
            let distance_ms = pop.distance_ms(*from);
            let latency = self.latency_ms(member, distance_ms, seen.told);
            offers.extend(self.offer(member, distance_ms, latency));
        }
    }

    /// All others that can score below what is needed.
    fn offer_rest(&self, seen: &Seen<'_>, kept: &[Part], mut needed: f32, offers: &mut Vec<Offer>) {
        let center = self.steering.cell(seen.cell).center;
        let from = seen.from.get_or_init(|| Vector::to(center));
        for (member, pop) in (0_u16..).zip(&self.pool.members) {
            let Some(pop) = self.steering.pops.get(pop.index()) else {
                continue;
            };
            let least = shortest_ms(*from, pop.vector);
            let least = self.offer(member, least, self.line.at(least));
            if least.is_none_or(|least| least.score_ms > needed) {
                continue;
            }
            let before = offers.len();
            self.offer_once(seen, member, offers);
            if offers.len() > before {
                needed = needed.min(self.needed(offers, kept));
            }
        }
    }

    fn offer(&self, member: u16, distance_ms: f32, latency_ms: f32) -> Option<Offer> {
        let load = self.loads.get(usize::from(member))?;
        let bias_ms = self.steering.member(self.pool, member)?.bias_ms;
        let weights = &self.profile.weights;
        let score_ms = weights.free_of_load(distance_ms, latency_ms, bias_ms) + load.cost;
        Some(Offer {
            member,
            score_ms,
            weight: load.weight,
            ramp: load.ramp,
            usable: self.is_usable(member),
        })
    }
}

/// Mean score of a row, ms.
fn mean(offers: &[Offer], parts: &[Part]) -> f32 {
    let (mut sum, mut whole) = (0.0, 0.0);
    for part in parts {
        if let Some(offer) = offers.iter().find(|offer| offer.member == part.member) {
            sum += offer.score_ms * f32::from(part.parts);
            whole += f32::from(part.parts);
        }
    }
    if whole > 0.0 { sum / whole } else { 0.0 }
}

/// What is left of a row, with the shares of those that are gone given to who has less than is wanted.
// Between 0 and the whole.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn handed_on(previous: &[Part], kept: &Parts, wanted: &Parts) -> Parts {
    if kept.len() == previous.len() || kept.is_empty() {
        return kept.clone();
    }
    let sum = |parts: &[Part]| parts.iter().map(|part| f32::from(part.parts)).sum::<f32>();
    let (before, whole) = (sum(previous).max(1.0), sum(wanted).max(1.0));
    let of = |row: &[Part], member: u16| {
        let part = row.iter().find(|part| part.member == member);
        part.map_or(0.0, |part| f32::from(part.parts))
    };
    let has = |member: u16| of(kept, member) / before;
    let lacks = |member: u16| (of(wanted, member) / whole - has(member)).max(0.0);
    let gone = 1.0 - sum(kept) / before;
    let lack: f32 = wanted.iter().map(|part| lacks(part.member)).sum();
    let added = wanted.iter().filter(|part| of(kept, part.member) <= 0.0);
    let all = kept.iter().chain(added).map(|part| {
        let more = gone * lacks(part.member) / lack.max(f32::MIN_POSITIVE);
        let parts = (has(part.member) + more) * f32::from(WHOLE);
        let parts = parts.round().clamp(0.0, f32::from(WHOLE)) as u16;
        Part { parts, ..*part }
    });
    let row: Parts = all.filter(|part| part.parts > 0).take(MAX_PARTS).collect();
    normalised(&row)
}

/// The same shares in parts of [`WHOLE`].
// Between 0 and the whole.
#[allow(clippy::cast_possible_truncation)]
pub(in crate::steer::standing) fn normalised(row: &Parts) -> Parts {
    let sum: u32 = row.iter().map(|part| u32::from(part.parts)).sum();
    if sum == 0 || sum == u32::from(WHOLE) {
        return row.clone();
    }
    let mut left = WHOLE;
    let mut out: Parts = row
        .iter()
        .map(|part| {
            let parts = (u32::from(part.parts) * u32::from(WHOLE) / sum) as u16;
            left = left.saturating_sub(parts);
            Part { parts, ..*part }
        })
        .collect();
    for part in out.iter_mut().take(usize::from(left)) {
        part.parts = part.parts.saturating_add(1);
    }
    out.retain(|part| part.parts > 0);
    out
}

/// The old row with the home of the new one, where both say the same but for rounding: so a PoP
/// that leaves moves nobody between the others.
// Sums of a few parts are exact.
#[allow(clippy::cast_precision_loss)]
fn unrounded(old: &Parts, new: &Parts) -> Option<Parts> {
    let sum: u32 = old.iter().map(|part| u32::from(part.parts)).sum();
    let of = |row: &Parts, member: u16| {
        let part = row.iter().find(|part| part.member == member);
        part.map_or(0.0, |part| f32::from(part.parts))
    };
    let slack = 0.5 + f32::from(WHOLE) / sum as f32;
    let close = |part: &Part| {
        let exact = of(old, part.member) * f32::from(WHOLE) / sum as f32;
        (of(new, part.member) - exact).abs() <= slack
    };
    let home = new.first()?.member;
    let at = old.iter().position(|part| part.member == home)?;
    let mut row = old.clone();
    row.get_mut(..=at)?.rotate_right(1);
    old.iter().chain(new).all(close).then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_gone_leaves_to_those_who_are_wanted_and_nobody_else_moves() {
        let row = |given: &[(u16, u16)]| -> Parts {
            let part = |(member, parts): &(u16, u16)| Part {
                member: *member,
                parts: *parts,
            };
            given.iter().map(part).collect()
        };
        let handed = |before: &[(u16, u16)], wanted: &[(u16, u16)]| {
            let kept: Parts = row(&before[1..]);
            let row = handed_on(&row(before), &kept, &row(wanted));
            let share = |part: &Part| (part.member, f32::from(part.parts) / f32::from(WHOLE));
            row.iter().map(share).collect::<Vec<_>>()
        };
        let close = |got: Vec<(u16, f32)>, wanted: &[(u16, f32)]| {
            let near = |(a, b): (&(u16, f32), &(u16, f32))| a.0 == b.0 && (a.1 - b.1).abs() < 1e-3;
            assert_eq!(got.len(), wanted.len(), "{got:?}");
            assert!(got.iter().zip(wanted).all(near), "{got:?} {wanted:?}");
        };
        // The first one is gone: not all of it goes to the one that is left.
        let half = [(0, 30_000), (1, 30_000)];
        close(handed(&half, &[(1, 700), (2, 300)]), &[(1, 0.7), (2, 0.3)]);
        // That others would like to go as well is another matter, which the limit has a say in.
        let few = [(0, 100), (1, 900)];
        close(handed(&few, &[(2, 1_000)]), &[(1, 0.9), (2, 0.1)]);
        close(handed(&few, &[(1, 1_000)]), &[(1, 1.0)]);
        close(handed(&few[..1], &[(2, 1_000)]), &[]);
    }
}
