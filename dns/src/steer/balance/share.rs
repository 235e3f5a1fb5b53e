//! How the clients of one cell are shared among the PoPs offered to them.
//!
//! * *Law.* The PoPs within `tolerance` of the best share by weight. In the last quarter of the
//!   tolerance, at least 1 ms, a PoP's weight fades, and is 0 at its edge: so a score that moves a little moves
//!   the shares a little, which is what lets a price split a cell of any size.
//! * *Ramp.* A PoP at ramp r gets r times what it would get in full; the rest is shared as if it
//!   were not there, among PoPs beyond the tolerance too, if need be.
//! * *Hysteresis.* Where the margin (3 ms or 10 %) is larger than the tolerance, a PoP's share
//!   stays as it is as long as it lies between what it would be if the PoP were by some
//!   milliseconds better, and what it would be if it were as much worse; past that it moves as far
//!   as it must, no further. With a tolerance of 0 a cell leaves its PoP only for one that is
//!   better by more than the margin.

use arrayvec::ArrayVec;

use super::quantize::{Part, Parts, Real, WHOLE, parts};

/// Offers looked at: of those that can have a share the ones that would get most, the best one, and
/// those that have a share already.
const FIELD: usize = 32;
/// Least width, in ms, in which a share goes from all to nothing, whatever the tolerance.
const NARROWEST_MS: f32 = 1.0;

/// A PoP that may serve the cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    /// Its place in the pool's list.
    pub member: u16,
    /// Milliseconds, lower is better, load included.
    pub score_ms: f32,
    /// Weight × free capacity. Where all are 0, they count as equal.
    pub weight: f32,
    /// Share of its full part that it may have while it grows, 0 to 1.
    pub ramp: f32,
    /// Up, not drained, with an address of the family. One that is not gets nothing, but says who is
    /// within tolerance, so that its failure moves none but its own clients.
    pub usable: bool,
}

/// What the shares of a service obey.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// PoPs this close to the best share by weight, ms.
    pub tolerance_ms: f32,
    /// A gain below this part of the best score is none.
    pub margin_ratio: f32,
    /// A gain below this is none, ms.
    pub margin_ms: f32,
}

impl Rules {
    /// The usual margin of 10 % or 3 ms, whichever is more.
    pub const fn new(tolerance_ms: f32) -> Self {
        Self {
            tolerance_ms,
            margin_ratio: 0.1,
            margin_ms: 3.0,
        }
    }

    /// By how much another's score must be better than the present one for a change of
    /// the home, ms.
    pub fn margin(&self, now_ms: f32) -> f32 {
        (now_ms.abs() * self.margin_ratio).max(self.margin_ms)
    }

    /// How far behind the best PoP that has grown in full another can have a new share, or a say in
    /// who has one, where the mean score is `now_ms`; ms.
    pub fn reach(&self, now_ms: f32) -> f32 {
        self.width() + self.play(now_ms)
    }

    fn width(&self) -> f32 {
        self.tolerance_ms.max(NARROWEST_MS)
    }

    /// By how many ms better or worse a PoP is thought before its share moves.
    fn play(&self, now_ms: f32) -> f32 {
        (self.margin(now_ms) + self.width() - 2.0 * self.tolerance_ms).max(0.0)
    }
}

/// Shares one cell among `offers`, best first, given what it was shared like before.
///
/// The first part is the cell's *home*: the previous one, unless it is not usable, has no share
/// any more, or another's score is better by more than the margin. Empty only if no offer is usable.
pub fn share(offers: &[Offer], previous: &[Part], rules: &Rules) -> Parts {
    let Some(field) = Field::new(offers, previous, rules) else {
        return Parts::new();
    };
    let now = field.now;
    let shares = field.shares(rules);
    let mut real: ArrayVec<Real, FIELD> = field
        .entries
        .iter()
        .zip(&shares)
        .map(|(entry, share)| Real {
            member: entry.member,
            share: *share,
            is_in: entry.before > 0.0,
        })
        .collect();
    let mut parts = parts(&mut real, previous);
    field.home_first(&mut parts, previous, rules.margin(now));
    parts
}

/// A usable offer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) member: u16,
    pub(super) score: f32,
    pub(super) weight: f32,
    pub(super) ramp: f32,
    /// Its share until now.
    pub(super) before: f32,
    /// Whether it must be looked at, and what it would have of the cell's weight, at best.
    pub(super) claim: (bool, f32),
}

impl Entry {
    fn new(offer: &Offer, previous: &[Part]) -> Self {
        Self {
            member: offer.member,
            score: offer.score_ms,
            weight: sane(offer.weight),
            ramp: sane(offer.ramp).min(1.0),
            before: before(previous, offer.member),
            claim: (true, f32::INFINITY),
        }
    }
}

/// What a cell is shared among.
pub(super) struct Field {
    entries: ArrayVec<Entry, FIELD>,
    /// Scores of PoPs that are not usable, each the best of a group within tolerance: they still say
    /// who else is in it. Best first.
    gone: ArrayVec<f32, FIELD>,
    /// Mean score of the shares until now, else the best one.
    now: f32,
}

pub(super) type Shares = ArrayVec<f32, FIELD>;

impl Field {
    /// `None`: nobody is usable.
    fn new(offers: &[Offer], previous: &[Part], rules: &Rules) -> Option<Self> {
        let usable = || offers.iter().filter(|offer| offer.usable);
        let rated = || usable().filter(|offer| offer.score_ms.is_finite());
        let Some(best) = rated().map(|offer| offer.score_ms).reduce(f32::min) else {
            // Scores that are no numbers are worth nothing, but somebody must answer.
            let first = usable().take(1);
            let entries = first.map(|one| Entry {
                score: 0.0,
                ..Entry::new(one, previous)
            });
            let entries: ArrayVec<Entry, FIELD> = entries.collect();
            let (gone, now) = (ArrayVec::new(), 0.0);
            return (!entries.is_empty()).then_some(Self { entries, gone, now });
        };
        // The margin is a part of what the cell has: a better PoP that appears must not narrow it.
        let now = mean_before(rated(), previous).unwrap_or(best);
        let grown = rated().filter(|offer| sane(offer.ramp) >= 1.0);
        let grown = grown.map(|offer| offer.score_ms).reduce(f32::min);
        let all = rated().map(|offer| Entry::new(offer, previous));
        let gone = groups(offers, rules.tolerance_ms);
        Some(Self::among((best, grown, now), all, gone, rules))
    }

    /// The same of entries; `None` if there is none.
    pub(super) fn of(
        all: impl Iterator<Item = Entry> + Clone,
        gone: impl Iterator<Item = f32>,
        rules: &Rules,
    ) -> Option<Self> {
        let scores = |all: &mut dyn Iterator<Item = Entry>| {
            let scores = all.map(|entry| entry.score);
            scores.reduce(f32::min)
        };
        let best = scores(&mut all.clone())?;
        let grown = scores(&mut all.clone().filter(|entry| entry.ramp >= 1.0));
        let (mut sum, mut whole) = (0.0, 0.0);
        for entry in all.clone() {
            sum += entry.before * entry.score;
            whole += entry.before;
        }
        let now = if whole > 0.0 { sum / whole } else { best };
        Some(Self::among((best, grown, now), all, gone, rules))
    }

    /// Those who can have a share: where the best score is known, that of the best one that has grown
    /// in full, and the mean until now.
    fn among(
        (best, grown, now): (f32, Option<f32>, f32),
        all: impl Iterator<Item = Entry>,
        gone: impl Iterator<Item = f32>,
        rules: &Rules,
    ) -> Self {
        let (width, play) = (rules.width(), rules.play(now));
        let last = grown.map_or(f32::INFINITY, |grown| grown + width + play);
        let gone = gone.filter(|score| (best - width - play..=last).contains(score));
        let mut field = Self {
            entries: ArrayVec::new(),
            gone: gone.take(FIELD).collect(),
            now,
        };
        for one in all {
            // Who has grown in full leaves nothing to those that are too far behind.
            let gap = grown.map_or(0.0, |grown| one.score - grown);
            if one.before > 0.0 {
                field.enter(one);
            } else if gap <= width + play {
                let first = one.score <= best || (one.ramp >= 1.0 && gap <= 0.0);
                let claim = (first, one.weight * fade(gap - play, width));
                field.enter(Entry { claim, ..one });
            }
        }
        field
    }

    /// Takes one in; where there is no room, for the one with the least claim to a share, the last
    /// of several.
    fn enter(&mut self, one: Entry) {
        let by_claim = |a: &Entry, b: &Entry| {
            let (a, b) = (a.claim, b.claim);
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        };
        if self.entries.is_full() {
            let all = self.entries.iter().enumerate().rev();
            match all.min_by(|a, b| by_claim(a.1, b.1)) {
                Some((at, least)) if by_claim(least, &one).is_lt() => self.entries.remove(at),
                _ => return,
            };
        }
        self.entries.push(one);
    }

    /// Who has a say, as they were given.
    pub(super) fn members(&self) -> impl Iterator<Item = u16> {
        self.entries.iter().map(|entry| entry.member)
    }

    /// By the law, or what is held of what was.
    pub(super) fn shares(&self, rules: &Rules) -> Shares {
        let play = rules.play(self.now);
        let held = self.entries.iter().any(|entry| entry.before > 0.0);
        match held {
            true if play > 0.0 => self.held(rules.width(), play),
            true => self.ideal(rules.width(), None),
            false => self.ideal(rules.tolerance_ms, None),
        }
    }

    /// Shares by the law, with one entry's score shifted.
    fn ideal(&self, width: f32, shift: Option<(usize, f32)>) -> Shares {
        let scores: Shares = self
            .entries
            .iter()
            .enumerate()
            .map(|(at, entry)| match shift {
                Some((shifted, by)) if shifted == at => entry.score + by,
                _ => entry.score,
            })
            .collect();
        let mut shares: Shares = self.entries.iter().map(|_| 0.0).collect();
        let top = self.entries.iter().map(|entry| entry.ramp);
        let top = top.fold(0.0, f32::max);
        // At each level those take part whose ramp has reached it: a mixture of worlds with more
        // and more PoPs. All at 0: as if all were at 1.
        let mut below = 0.0;
        while below < top || top == 0.0 {
            let above = self.entries.iter().map(|entry| entry.ramp);
            let level = above.filter(|ramp| *ramp > below).fold(top, f32::min);
            let part = if top > 0.0 {
                (level - below) / top
            } else {
                1.0
            };
            self.add_level(&scores, width, level, part, &mut shares);
            below = level;
            if top == 0.0 {
                break;
            }
        }
        shares
    }

    /// Adds `part` of the world in which those take part whose ramp is at least `level`.
    fn add_level(&self, scores: &[f32], width: f32, level: f32, part: f32, shares: &mut Shares) {
        let present = || {
            let both = self.entries.iter().zip(scores);
            both.map(move |(entry, score)| (entry, *score, entry.ramp >= level))
        };
        let here = present().filter(|(_, _, is_here)| *is_here);
        let best = here
            .map(|(_, score, _)| score)
            .fold(f32::INFINITY, f32::min);
        let start = self.start(best, width);
        let fades = |score: f32, is_here: bool| {
            if is_here {
                fade(score - start, width)
            } else {
                0.0
            }
        };
        let weighed: f32 = present().map(|(e, s, h)| e.weight * fades(s, h)).sum();
        let counted: f32 = present().map(|(_, s, h)| fades(s, h)).sum();
        for ((entry, score, is_here), share) in present().zip(shares.iter_mut()) {
            let fade = fades(score, is_here);
            *share += part
                * if weighed > 0.0 {
                    entry.weight * fade / weighed
                } else {
                    fade / counted.max(f32::MIN_POSITIVE)
                };
        }
    }

    /// Where the group begins whose best usable PoP has the score `best`.
    fn start(&self, best: f32, width: f32) -> f32 {
        let before = self.gone.iter().take_while(|score| **score < best);
        let mut around = before.filter(|score| best - **score < width);
        around.next().copied().unwrap_or(best)
    }

    /// The shares until now, moved as far as they must.
    fn held(&self, width: f32, play: f32) -> Shares {
        let ideal = self.ideal(width, None);
        let shifted = self.shifted(width);
        let mut shares: Shares = ArrayVec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            let share = entry.before.max(shifted(at, play));
            // Most of those that are looked at have no share, and come to none.
            shares.push(match share > 0.0 {
                true => share.min(shifted(at, -play)),
                false => share,
            });
        }
        // What is missing or too much goes toward the ideal; there is always enough of it, since
        // the ideal sums to 1.
        let missing = 1.0 - shares.iter().sum::<f32>();
        let toward = |share: f32, ideal: f32| (missing.signum() * (ideal - share)).max(0.0);
        let both = || shares.iter().zip(&ideal);
        let room: f32 = both().map(|(s, i)| toward(*s, *i)).sum();
        if room > 0.0 {
            let by = missing / room;
            return both().map(|(s, i)| s + by * toward(*s, *i)).collect();
        }
        shares
    }

    /// The share of one entry by the law with its score shifted.
    fn shifted(&self, width: f32) -> impl Fn(usize, f32) -> f32 {
        let mut ramps = self.entries.windows(2);
        let alike =
            ramps.all(|two| two.first().map(|one| one.ramp) == two.last().map(|one| one.ramp));
        move |at, by| match alike {
            true => self.one(width, at, by),
            false => {
                let shares = self.ideal(width, Some((at, by)));
                shares.get(at).copied().unwrap_or(0.0)
            }
        }
    }

    /// The same where all have grown alike, which is by far the usual case: nobody else's share is needed.
    fn one(&self, width: f32, at: usize, by: f32) -> f32 {
        let Some(own) = self.entries.get(at) else {
            return 0.0;
        };
        let scores = || {
            let all = self.entries.iter().enumerate();
            all.map(move |(n, entry)| match n == at {
                true => (entry.weight, entry.score + by),
                false => (entry.weight, entry.score),
            })
        };
        let best = scores().map(|(_, score)| score);
        let start = self.start(best.fold(f32::INFINITY, f32::min), width);
        let fades = |score: f32| fade(score - start, width);
        let part = fades(own.score + by);
        if part <= 0.0 {
            return 0.0;
        }
        let weighed: f32 = scores().map(|(weight, score)| weight * fades(score)).sum();
        if weighed > 0.0 {
            return own.weight * part / weighed;
        }
        let counted: f32 = scores().map(|(_, score)| fades(score)).sum();
        part / counted.max(f32::MIN_POSITIVE)
    }

    /// Moves the home to the front.
    fn home_first(&self, parts: &mut Parts, previous: &[Part], margin: f32) {
        let score = |member: u16| {
            let entry = self.entries.iter().find(|entry| entry.member == member);
            entry.map_or(f32::INFINITY, |entry| entry.score)
        };
        let position = |member: u16| parts.iter().position(|part| part.member == member);
        let best = parts.iter().map(|part| score(part.member));
        let best = best.fold(f32::INFINITY, f32::min);
        let stays = |part: &&Part| score(part.member) <= best + margin;
        let incumbent = previous.first().filter(stays);
        let home = incumbent.and_then(|part| position(part.member));
        let nearest = || parts.iter().position(|part| score(part.member) <= best);
        if let Some(found) = home.or_else(nearest)
            && let Some(front) = parts.get_mut(..=found)
        {
            front.rotate_right(1);
        }
    }
}

/// Those that can be chosen, with a score that is a number.
pub(super) fn usable(offers: &[Offer], previous: &[Part]) -> impl Iterator<Item = Entry> + Clone {
    let usable = offers.iter().filter(|offer| offer.usable);
    let rated = usable.filter(|offer| offer.score_ms.is_finite());
    rated.map(|offer| Entry::new(offer, previous))
}

/// Best scores of the groups within tolerance that those make who are not usable.
pub(super) fn groups(offers: &[Offer], tolerance_ms: f32) -> impl Iterator<Item = f32> {
    let gone = offers.iter().filter(|offer| !offer.usable);
    let scores = gone.map(|offer| offer.score_ms);
    let mut end = f32::NEG_INFINITY;
    scores.filter(move |score| {
        let begins = *score > end;
        if begins {
            end = score + tolerance_ms;
        }
        begins
    })
}

/// Mean score of the shares until now.
fn mean_before<'a>(offers: impl Iterator<Item = &'a Offer>, previous: &[Part]) -> Option<f32> {
    if previous.is_empty() {
        return None;
    }
    let (mut sum, mut whole) = (0.0, 0.0);
    for offer in offers {
        let before = before(previous, offer.member);
        sum += before * offer.score_ms;
        whole += before;
    }
    (whole > 0.0).then(|| sum / whole)
}

/// 1, and in the last quarter of `width` (at least 1 ms) falling to 0 at its end.
fn fade(gap: f32, width: f32) -> f32 {
    let band = (width / 4.0).max(width.min(NARROWEST_MS));
    if gap <= width - band {
        1.0
    } else {
        ((width - gap) / band.max(f32::MIN_POSITIVE)).clamp(0.0, 1.0)
    }
}

fn before(previous: &[Part], member: u16) -> f32 {
    let part = previous.iter().find(|part| part.member == member);
    part.map_or(0.0, |part| f32::from(part.parts) / f32::from(WHOLE))
}

/// What is not a number, or negative, counts as 0.
fn sane(value: f32) -> f32 {
    if value.is_finite() {
        value.max(0.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::steer::tests::seeded::seeded;

    proptest! {
        #![proptest_config(seeded(256))]

        /// One share alone is that of all, to the last bit.
        #[test]
        fn one_share_alone_is_that_of_all(
            entries in prop::collection::vec((0_u16..4096, 0_u16..8), 1..FIELD),
            gone in prop::collection::vec(0.0_f32..64.0, 0..4),
            (width, by, ramp) in (0.0_f32..20.0, -20.0_f32..20.0, 0.0_f32..=1.0),
        ) {
            let entry = |(member, (score, weight)): (u16, (u16, u16))| Entry {
                member,
                score: f32::from(score) / 64.0,
                weight: f32::from(weight),
                ramp,
                before: 0.0,
                claim: (true, 0.0),
            };
            let mut gone: ArrayVec<f32, FIELD> = gone.into_iter().collect();
            gone.sort_by(f32::total_cmp);
            let field = Field {
                entries: (0..).zip(entries).map(entry).collect(),
                gone,
                now: 0.0,
            };
            for at in 0..field.entries.len() {
                let of_all = field.ideal(width, Some((at, by)))[at];
                prop_assert_eq!(field.shifted(width)(at, by).to_bits(), of_all.to_bits());
            }
        }
    }
}
