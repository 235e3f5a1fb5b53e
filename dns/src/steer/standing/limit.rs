//! No more clients are moved at once than resolvers' caches and PoPs can follow: those who gain
//! most go first, the others at the next ticks. Whoever loses their PoP moves at once.

use arrayvec::ArrayVec;

use super::{
    Moved,
    field::{Rowed, normalised},
};
use crate::steer::balance::{MAX_PARTS, Part, Parts};

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
            let mass = demand(row) * rowed.moves;
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
///
/// Blocks are drawn by rendezvous: a PoP keeps those for which it wins both draws. With more than two
/// PoPs that is more than the shares differ by.
pub(super) fn moved(before: &Parts, after: &Parts) -> f32 {
    if before.is_empty() || before == after {
        return 0.0;
    }
    let (old, new) = (sum(before), sum(after));
    let share = |row: &Parts, sum: f32, member: u16| {
        let found = row.iter().find(|part| part.member == member);
        found.map_or(0.0, |part| f32::from(part.parts) / sum)
    };
    let added = |part: &&Part| before.iter().all(|one| one.member != part.member);
    let members = before.iter().chain(after.iter().filter(added));
    let both: ArrayVec<(f32, f32), { 2 * MAX_PARTS }> = members
        .map(|part| {
            (
                share(before, old, part.member),
                share(after, new, part.member),
            )
        })
        .collect();
    let lost = |(was, is): &(f32, f32)| {
        if *is <= 0.0 {
            return *was;
        }
        let rivals = both.iter().map(|(w, i)| (w / was).max(i / is));
        was - 1.0 / rivals.sum::<f32>()
    };
    let lost: f32 = both.iter().filter(|(was, _)| *was > 0.0).map(lost).sum();
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
    let whole = rowed.moves.max(f32::MIN_POSITIVE);
    let cuts = (part * f64::from(CUTS)).clamp(0.0, f64::from(CUTS)) as u16;
    // Halfway in shares may be more than halfway in clients.
    for cuts in (1..=cuts).rev() {
        let mixed = mixed(rowed, cuts);
        let done = f64::from(moved(&rowed.kept, &mixed) / whole);
        if done <= part && !mixed.is_empty() {
            return (mixed, done);
        }
    }
    (rowed.kept.clone(), 0.0)
}

/// So many cuts of the way; empty where nothing comes out of it.
fn mixed(rowed: &Rowed, cuts: u16) -> Parts {
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
    // The wanted home leads as soon as it is in.
    let home = rowed.parts.first().map(|home| home.member);
    if let Some(at) = mixed.iter().position(|one| Some(one.member) == home)
        && let Some(front) = mixed.get_mut(..=at)
    {
        front.rotate_right(1);
    }
    mixed
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
        let (kept, parts) = (parts(before), parts(after));
        Rowed {
            moves: moved(&kept, &parts),
            parts,
            measured: true,
            kept,
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
    fn a_move_is_counted_in_blocks_not_in_shares() {
        let parts = |given: &[u16]| -> Parts {
            let part = |(member, parts)| Part { member, parts };
            (0..).zip(given.iter().copied()).map(part).collect()
        };
        // Two PoPs: as much as the shares differ by.
        let two = moved(&parts(&[400, 600]), &parts(&[500, 500]));
        assert!((two - 0.1).abs() < 1e-5, "{two}");
        // Three: the one in the middle loses some to the first, and gets others from the last.
        let three = moved(&parts(&[1000, 1000, 1000]), &parts(&[1300, 700, 1000]));
        assert!((three - 0.1311).abs() < 1e-3, "{three}");
        let gone = moved(&parts(&[250, 750]), &parts(&[0, 1000]));
        assert!((gone - 0.25).abs() < 1e-5, "{gone}");
        assert_eq!(moved(&parts(&[1, 2, 3]), &parts(&[100, 200, 300])), 0.0);
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
