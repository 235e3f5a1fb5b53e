//! No more clients are moved at once than resolvers' caches and PoPs can follow: those who gain
//! most go first, the others at the next ticks. Whoever loses their PoP moves at once.

use super::{
    Moved,
    field::{Rowed, normalised},
};
use crate::steer::balance::{Part, Parts};

/// Parts into which the move of one row is cut where it is too large as a whole.
const CUTS: u16 = 64;

/// Takes back what is more than `most`, a share of all clients; `demand` is that of a row. Says what
/// was wanted and what was done.
pub(super) fn limit(rows: &mut [Rowed], most: f32, demand: impl Fn(usize) -> f32) -> Moved {
    let whole: f64 = (0..rows.len()).map(|row| f64::from(demand(row))).sum();
    let mut moves: Vec<Move> = rows
        .iter()
        .enumerate()
        .filter_map(|(row, rowed)| {
            let mass = demand(row) * moved(&rowed.kept, &rowed.parts);
            (mass > 0.0).then_some(Move {
                row,
                gain: rowed.gain,
                mass,
            })
        })
        .collect();
    let wanted: f64 = moves.iter().map(|one| f64::from(one.mass)).sum();
    let most = f64::from(most) * whole;
    if wanted <= most {
        return told(wanted, wanted, whole);
    }
    moves.sort_unstable_by(|a, b| b.gain.total_cmp(&a.gain).then(a.row.cmp(&b.row)));
    let mut left = most;
    for one in moves {
        let mass = f64::from(one.mass);
        if mass <= left {
            left -= mass;
            continue;
        }
        if let Some(rowed) = rows.get_mut(one.row) {
            let (parts, done) = partly(rowed, left / mass);
            rowed.parts = parts;
            left = (left - mass * done).max(0.0);
        }
    }
    told(wanted, most - left, whole)
}

struct Move {
    row: usize,
    gain: f32,
    mass: f32,
}

// Shares need no more than a few digits.
#[allow(clippy::cast_possible_truncation)]
fn told(wanted: f64, moved: f64, whole: f64) -> Moved {
    let share = |mass: f64| {
        if whole > 0.0 {
            (mass / whole) as f32
        } else {
            0.0
        }
    };
    Moved {
        wanted: share(wanted),
        moved: share(moved),
    }
}

/// Share of a row's clients that change their PoP; nobody where there was none before.
fn moved(before: &Parts, after: &Parts) -> f32 {
    if before.is_empty() || before == after {
        return 0.0;
    }
    let (old, new) = (sum(before), sum(after));
    let lost = before.iter().map(|part| {
        let kept = after.iter().find(|one| one.member == part.member);
        let kept = kept.map_or(0.0, |one| f32::from(one.parts) / new);
        (f32::from(part.parts) / old - kept).max(0.0)
    });
    let lost: f32 = lost.sum();
    // Rounding is no move.
    if lost < 1e-4 { 0.0 } else { lost }
}

fn sum(parts: &[Part]) -> f32 {
    let sum: f32 = parts.iter().map(|part| f32::from(part.parts)).sum();
    sum.max(1.0)
}

/// A part of the way from what was to what is wanted, no more than `part` of it; says how much.
// Numbers of parts are small.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn partly(rowed: &Rowed, part: f64) -> (Parts, f64) {
    let cuts = (part * f64::from(CUTS)).clamp(0.0, f64::from(CUTS)) as u16;
    if cuts == 0 {
        return (rowed.kept.clone(), 0.0);
    }
    let (old, new) = (normalised(&rowed.kept), normalised(&rowed.parts));
    let of = |row: &Parts, member: u16| {
        let found = row.iter().find(|one| one.member == member);
        found.map_or(0, |one| u32::from(one.parts))
    };
    let (cuts, all) = (u32::from(cuts), u32::from(CUTS));
    // Those that were there first; of the new ones as many as fit.
    let mut members: Parts = old.clone();
    for one in &new {
        if !members.iter().any(|part| part.member == one.member) {
            let _ = members.try_push(*one);
        }
    }
    let mixed: Parts = members
        .iter()
        .map(|one| {
            let mixed = of(&old, one.member) * (all - cuts) + of(&new, one.member) * cuts;
            let parts = u16::try_from(mixed / all).unwrap_or(u16::MAX);
            Part { parts, ..*one }
        })
        .filter(|one| one.parts > 0)
        .collect();
    let mut mixed = normalised(&mixed);
    if mixed.is_empty() {
        return (rowed.kept.clone(), 0.0);
    }
    // The wanted home leads as soon as it is in.
    let home = rowed.parts.first().map(|home| home.member);
    if let Some(at) = mixed.iter().position(|one| Some(one.member) == home)
        && let Some(front) = mixed.get_mut(..=at)
    {
        front.rotate_right(1);
    }
    let whole = moved(&rowed.kept, &rowed.parts).max(f32::MIN_POSITIVE);
    let done = f64::from(moved(&rowed.kept, &mixed) / whole);
    (mixed, done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::balance::WHOLE;

    const LIMIT: f32 = 0.05;

    fn row(before: &[(u16, u16)], after: &[(u16, u16)], gain: f32) -> Rowed {
        let parts = |given: &[(u16, u16)]| {
            let part = |(member, parts): &(u16, u16)| Part {
                member: *member,
                parts: *parts,
            };
            given.iter().map(part).collect::<Parts>()
        };
        Rowed {
            parts: parts(after),
            measured: true,
            kept: parts(before),
            gain,
        }
    }

    #[test]
    fn those_who_gain_most_go_first() {
        let mut rows: Vec<Rowed> = (0..100_u16)
            .map(|n| row(&[(0, WHOLE)], &[(1, WHOLE)], f32::from(n)))
            .collect();
        let told = limit(&mut rows, LIMIT, |_| 1.0);
        assert_eq!((told.wanted, told.moved), (1.0, 0.05));
        let gone: Vec<usize> = (0..100).filter(|n| rows[*n].parts[0].member == 1).collect();
        assert_eq!(gone, [95, 96, 97, 98, 99]);
    }

    #[test]
    fn a_row_that_is_too_large_goes_in_parts() {
        let mut before = vec![(0, WHOLE)];
        let mut ticks = 0;
        while before != [(1, WHOLE)] {
            let mut rows = vec![
                row(&before, &[(1, WHOLE)], 5.0),
                row(&[(2, WHOLE)], &[(2, WHOLE)], 0.0),
            ];
            let told = limit(&mut rows, LIMIT, |_| 1.0);
            assert!(told.moved <= LIMIT + 1e-6, "{told:?}");
            let after = rows.remove(0).parts;
            let after: Vec<(u16, u16)> = after.iter().map(|one| (one.member, one.parts)).collect();
            assert_ne!(after, before, "it must get on");
            before = after;
            ticks += 1;
        }
        assert!((10..=40).contains(&ticks), "{ticks}");
    }

    #[test]
    fn who_lost_their_pop_moves_at_once() {
        let mut rows = vec![
            row(&[], &[(1, WHOLE)], 0.0),
            row(&[(2, WHOLE)], &[(2, WHOLE)], 0.0),
        ];
        assert_eq!(limit(&mut rows, LIMIT, |_| 1.0), Moved::default());
        assert_eq!(rows[0].parts[0].member, 1);
    }
}
