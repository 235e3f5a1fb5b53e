//! The PoPs of a pool that a cell is likely to get while little is measured: the nearest ones, with
//! their distance. Made once for a configuration, when the first tick needs it.
//!
//! Scores are then compared among these few, and one number per cell bounds the score of all
//! others: where it does not show that none of them could take part, all are looked at.

use std::collections::{HashMap, HashSet};

use meridian_config::{Policy, PopId};
use meridian_geo_data::{Cell, CellId, latency::Line};

use crate::steer::{
    Steering,
    order::{Vector, chord_ms, class},
    ranking::Class,
    steering::{Pool, Profile},
};

/// PoPs kept for a cell. Few in tests, where pools are small.
pub(super) const KEPT: usize = if cfg!(test) { 4 } else { 16 };
/// Pools from this size on share what is found here, where their lists differ little. Small in tests.
const SHARED: usize = if cfg!(test) { 2 } else { 64 };
/// A PoP that is not in a list.
pub(super) const NONE: u16 = u16::MAX;
/// By how much the cheap and the real distance may differ, milliseconds.
const MARGIN_MS: f64 = 0.001;

/// The nearest PoPs of one pool, inside their fence and of weight above 0, for every cell. Serves
/// lists of nearly all of them too: who is not in a list is left out.
#[derive(Debug)]
pub(super) struct Near {
    /// The pool, or what several have together.
    pub(super) pool: Pool,
    starts: Box<[u32]>,
    members: Box<[u16]>,
    distances: Box<[f32]>,
    /// No PoP left out is nearer than that, after its bias; infinite where none is left out.
    rest: Box<[f32]>,
    rise: f64,
    /// Greatest bias, either way.
    bias: f64,
}

impl Near {
    pub(super) fn new(steering: &Steering, profile: &Profile, pool: Pool) -> Self {
        let cells = steering.clients.cells();
        let mut starts = Vec::with_capacity(cells.len() + 1);
        let (mut members, mut distances) = (Vec::new(), Vec::new());
        let mut rest = Vec::with_capacity(cells.len());
        let rise = rise(profile, &Line::default());
        let mut open = Vec::new();
        for cell in cells {
            starts.push(u32::try_from(members.len()).unwrap_or(u32::MAX));
            let from = Vector::to(cell.center);
            rest.push(pick(steering, &pool, (cell, from), rise, &mut open));
            let mut kept: Vec<(f32, u16)> = open
                .iter()
                .take(KEPT)
                .filter_map(|(_, member)| {
                    let pop = steering.member(&pool, *member)?;
                    Some((pop.distance_ms(from), *member))
                })
                .collect();
            kept.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            members.extend(kept.iter().map(|(_, member)| *member));
            distances.extend(kept.iter().map(|(distance, _)| *distance));
        }
        starts.push(u32::try_from(members.len()).unwrap_or(u32::MAX));
        let biases = pool
            .members
            .iter()
            .filter_map(|pop| steering.pops.get(pop.index()));
        let bias = biases
            .map(|pop| f64::from(pop.bias_ms.abs()))
            .fold(0.0, f64::max);
        Self {
            starts: starts.into(),
            members: members.into(),
            distances: distances.into(),
            rest: rest.into(),
            rise,
            bias,
            pool,
        }
    }

    /// Members with their distance term.
    pub(super) fn of(&self, cell: CellId) -> impl Iterator<Item = (u16, f32)> + Clone {
        let at = cell.0 as usize;
        let ends = self.starts.get(at).zip(self.starts.get(at + 1));
        let range = ends.map_or(0..0, |(start, end)| *start as usize..*end as usize);
        let members = self.members.get(range.clone()).unwrap_or(&[]);
        let distances = self.distances.get(range).unwrap_or(&[]);
        members.iter().copied().zip(distances.iter().copied())
    }

    /// A pool's own place for each member; `None`: it is the same list.
    pub(super) fn members_of(&self, pool: &Pool) -> Option<Vec<u16>> {
        if self.pool.members == pool.members {
            return None;
        }
        let own: HashMap<PopId, u16> = pool.members.iter().copied().zip(0..).collect();
        let place = |pop: &PopId| own.get(pop).copied().unwrap_or(NONE);
        Some(self.pool.members.iter().map(place).collect())
    }

    /// The score, but for what load costs, that no PoP left out of which nothing is measured is
    /// below.
    // Rounding is far below the margin.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn bound(&self, cell: CellId, profile: &Profile, line: &Line) -> f32 {
        let rest = self.rest.get(cell.0 as usize).copied();
        let rest = rest.unwrap_or(f32::NEG_INFINITY);
        let rise = rise(profile, line);
        let off = self.bias * (rise / self.rise - 1.0).abs();
        let start = profile.weights.latency * f64::from(line.intercept_ms);
        (start + rise * f64::from(rest) - off - MARGIN_MS * rise.max(1.0)) as f32
    }

    pub(super) fn octets(&self) -> usize {
        size_of_val(&*self.starts)
            + size_of_val(&*self.members)
            + size_of_val(&*self.distances)
            + size_of_val(&*self.rest)
    }
}

/// What a profile's pool and those of others with nearly the same list have together, with the
/// profiles; all of them score alike. Each list has at least three quarters of it.
pub(super) fn family(steering: &Steering, number: usize) -> Option<(Pool, Vec<usize>)> {
    let first = steering.profiles.get(number)?;
    let pool = steering.pools.get(first.pool.index())?;
    let mut members: Vec<PopId> = pool.members.to_vec();
    let mut all: HashSet<PopId> = members.iter().copied().collect();
    let (mut least, mut profiles) = (members.len(), vec![number]);
    for (at, profile) in steering.profiles.iter().enumerate().skip(number + 1) {
        let Some(other) = steering.pools.get(profile.pool.index()) else {
            continue;
        };
        let new = |pop: &&PopId| !all.contains(pop);
        let further: Vec<PopId> = other.members.iter().filter(new).copied().collect();
        let least_of_both = least.min(other.members.len());
        let whole = members.len() + further.len();
        let fits = least_of_both >= SHARED && whole * 3 <= least_of_both * 4;
        let alike = profile.policy == Policy::Score && profile.weights == first.weights;
        if fits && alike {
            all.extend(&further);
            members.extend(further);
            (least, profiles) = (least_of_both, [profiles, vec![at]].concat());
        }
    }
    let bias = |pop: &PopId| {
        steering
            .pops
            .get(pop.index())
            .map_or(0.0, |pop| pop.bias_ms)
    };
    let biased = members
        .iter()
        .any(|pop| bias(pop).to_bits() != pool.bias_ms.to_bits());
    let shared = Pool {
        members: members.into(),
        biased,
        ..pool.clone()
    };
    Some((shared, profiles))
}

/// By how much the score rises with each millisecond of distance.
fn rise(profile: &Profile, line: &Line) -> f64 {
    let weights = &profile.weights;
    let rise = weights.distance + weights.latency * f64::from(line.ms_per_100km.max(0.0));
    rise.max(1e-3)
}

/// Fills `open` with all PoPs that may be handed out, the nearest after their bias first; returns
/// how near the best of those past [`KEPT`] is.
// Rounding is far below the margin.
#[allow(clippy::cast_possible_truncation)]
fn pick(
    steering: &Steering,
    pool: &Pool,
    (cell, from): (&Cell, Vector),
    rise: f64,
    open: &mut Vec<(f64, u16)>,
) -> f32 {
    open.clear();
    open.extend((0_u16..).zip(&pool.members).filter_map(|(member, pop)| {
        let pop = steering.pops.get(pop.index())?;
        let chord = from.chord_squared(pop.vector);
        let key = if pool.biased {
            chord_ms(chord) - f64::from(pop.bias_ms) / rise
        } else {
            chord
        };
        (class(pop, cell) == Class::Open).then_some((key, member))
    }));
    if open.len() <= KEPT {
        return f32::INFINITY;
    }
    let (_, (edge, _), _) = open.select_nth_unstable_by(KEPT, |a, b| a.0.total_cmp(&b.0));
    let near = if pool.biased {
        *edge
    } else {
        chord_ms(*edge) - f64::from(pool.bias_ms) / rise
    };
    (near - MARGIN_MS) as f32
}
