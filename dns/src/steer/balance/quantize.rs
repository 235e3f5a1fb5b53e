//! From real shares to parts of a whole.

use std::cmp::Reverse;

use arrayvec::ArrayVec;

/// PoPs that one cell may be shared among.
pub const MAX_PARTS: usize = 16;
/// Parts of a whole: what the parts of a cell sum to. As many as fit: a large cell beside a small
/// PoP must be able to give it a few thousandths of itself.
pub const WHOLE: u16 = u16::MAX;
/// Parts by which shares may be off before they are rounded anew: rounding never flutters.
const SLACK: f32 = 0.9;

/// One PoP's share of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// As in the offer.
    pub member: u16,
    /// Of [`WHOLE`]; at least 1.
    pub parts: u16,
}

/// Shares of a cell, the home first, then the largest first; they sum to [`WHOLE`].
pub type Parts = ArrayVec<Part, MAX_PARTS>;

/// A member and its real share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Real {
    pub(super) member: u16,
    pub(super) share: f32,
    /// Whether it has a share already.
    pub(super) is_in: bool,
}

impl Real {
    /// Where there are more than fit, who is in already stays in.
    fn claim(&self) -> f32 {
        self.share * if self.is_in { 1.25 } else { 1.0 }
    }
}

/// Rounds shares that sum to 1, largest remainder first. Where the previous parts are as good as
/// that, they stay.
pub(super) fn parts(shares: &mut [Real], previous: &[Part]) -> Parts {
    // Stable: equal shares stay in the order of the offers.
    shares.sort_by(|a, b| b.claim().total_cmp(&a.claim()));
    let kept = shares.get(..MAX_PARTS.min(shares.len())).unwrap_or(&[]);
    let sum: f32 = kept.iter().map(|real| real.share).sum();
    if sum <= 0.0 {
        return Parts::new();
    }
    let wanted = |real: &Real| real.share / sum * f32::from(WHOLE);
    if still_good(kept, previous, wanted) {
        return previous.iter().copied().collect();
    }
    round(kept, wanted)
}

fn still_good(kept: &[Real], previous: &[Part], wanted: impl Fn(&Real) -> f32) -> bool {
    let whole: u32 = previous.iter().map(|part| u32::from(part.parts)).sum();
    let before = |member: u16| {
        let part = previous.iter().find(|part| part.member == member);
        part.map_or(0.0, |part| f32::from(part.parts))
    };
    let offered = |part: &Part| kept.iter().any(|real| real.member == part.member);
    whole == u32::from(WHOLE)
        && previous.len() <= MAX_PARTS
        && previous.iter().all(offered)
        && kept
            .iter()
            .all(|real| (wanted(real) - before(real.member)).abs() <= SLACK)
}

// Between 0 and the whole.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn round(kept: &[Real], wanted: impl Fn(&Real) -> f32) -> Parts {
    let mut rounded: ArrayVec<(Part, f32), MAX_PARTS> = kept
        .iter()
        .map(|real| {
            let exact = wanted(real);
            let (member, parts) = (real.member, exact as u16);
            (Part { member, parts }, exact - exact.floor())
        })
        .collect();
    let given: u32 = rounded.iter().map(|(part, _)| u32::from(part.parts)).sum();
    let mut left = u32::from(WHOLE).saturating_sub(given);
    rounded.sort_by(|a, b| b.1.total_cmp(&a.1));
    while left > 0 {
        for (part, _) in &mut rounded {
            if left > 0 {
                part.parts = part.parts.saturating_add(1);
                left -= 1;
            }
        }
    }
    rounded.sort_by_key(|(part, _)| Reverse(part.parts));
    let parts = rounded.into_iter().map(|(part, _)| part);
    parts.filter(|part| part.parts > 0).collect()
}
