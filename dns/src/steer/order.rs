//! Orders the PoPs of a pool for a cell.
//!
//! In a large pool only the nearest few matter: they are picked by a distance that is cheap to
//! compute and safe to compare with a margin, and only they are scored and sorted. Where that
//! cannot be shown to give the beginning of the whole order, the whole order is computed.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::cmp::Ordering;

use meridian_config::{Coordinates, Policy};
use meridian_geo_data::{Cell, CellId, distance::EARTH_RADIUS_KM, latency::Line};

use super::{
    KM_PER_MS, Steering,
    ranking::{Best, Class, FURTHER, Ranked, Ranking},
    steering::{Pool, Pop, Profile, Service, is_inside},
};

/// PoPs that are scored in a large pool. Few in tests, where pools are small.
const NEAR: usize = if cfg!(test) { 6 } else { 64 };
/// By how much the cheap distance and the real score may differ, milliseconds: a hundred metres,
/// far above what rounding does to either.
const MARGIN_MS: f64 = 0.001;

impl Steering {
    /// The best PoPs of a service's pool for clients in `cell`.
    pub(super) fn best(&self, service: &Service, cell: Option<CellId>) -> Option<Best<'_>> {
        let profile = self.profiles.get(service.profile)?;
        let pool = self.pools.get(profile.pool.index())?;
        match cell {
            Some(cell) if !is_of_everyone(profile, pool) => {
                let make = || self.cut(profile, pool, cell);
                Some(profile.slots.get(cell, &self.used, make))
            }
            _ => Some(Best::Kept(&pool.configured)),
        }
    }

    /// The beginning of the order of a service's pool for clients in `cell`, as far as it is kept.
    pub(super) fn order(&self, service: &Service, cell: Option<CellId>) -> Option<Ranking<'_>> {
        let pool = self.pools.get(service.pool.index())?;
        let best = self.best(service, cell)?;
        let complete = best.len() == pool.members.len();
        Some(Ranking::new(best, complete))
    }

    /// As much of the order as is kept where the beginning did not suffice.
    #[cold]
    pub(super) fn further(&self, service: &Service, cell: Option<CellId>) -> Option<Ranking<'_>> {
        let profile = self.profiles.get(service.profile)?;
        let pool = self.pools.get(profile.pool.index())?;
        let cell = cell.filter(|_| !is_of_everyone(profile, pool))?;
        let make = || {
            let all = self.all(profile, pool, cell);
            all.get(..FURTHER.min(all.len())).unwrap_or(&[]).into()
        };
        let further = profile.further.get(cell, &self.used, make);
        let complete = further.len() == pool.members.len();
        Some(Ranking::new(further, complete))
    }

    /// The whole order of a service's pool for clients in `cell`.
    pub(super) fn whole_order(
        &self,
        service: &Service,
        cell: Option<CellId>,
    ) -> Option<Ranking<'_>> {
        let profile = self.profiles.get(service.profile)?;
        let pool = self.pools.get(profile.pool.index())?;
        let whole = match cell {
            Some(cell) => Best::Made(self.all(profile, pool, cell).into()),
            None => Best::Kept(&pool.configured),
        };
        Some(Ranking::new(whole, true))
    }

    /// The part of the order that is worth keeping.
    fn cut(&self, profile: &Profile, pool: &Pool, cell: CellId) -> Box<[Ranked]> {
        let share = profile.slots.share;
        if let Some(near) = self.near(profile, pool, cell) {
            let keep = share.of(&near);
            // With the last of them in it, it might go on behind.
            if keep < near.len() {
                return near.get(..keep).unwrap_or(&[]).into();
            }
        }
        let all = self.all(profile, pool, cell);
        let keep = share.of(&all);
        all.get(..keep).unwrap_or(&[]).into()
    }

    /// Orders all PoPs of a pool for a cell; scores tie by name, so that the order of the
    /// configuration has no say in policy `score`.
    fn all(&self, profile: &Profile, pool: &Pool, cell: CellId) -> Vec<Ranked> {
        let cell = self.cell(cell);
        let from = Vector::to(cell.center);
        let members = (0_u16..).take(pool.members.len());
        let mut all: Vec<Ranked> = members
            .filter_map(|member| self.rank(profile, pool, (cell, from), member))
            .collect();
        match profile.policy {
            Policy::Failover => all.sort_by_key(|one| one.class),
            Policy::Score => all.sort_by(|a, b| self.compare(pool, a, b)),
        }
        all
    }

    /// The beginning of the order in a large pool; `None`: it cannot be told this way.
    fn near(&self, profile: &Profile, pool: &Pool, cell: CellId) -> Option<Vec<Ranked>> {
        if profile.policy != Policy::Score || pool.members.len() <= NEAR {
            return None;
        }
        let cell = self.cell(cell);
        let from = Vector::to(cell.center);
        let slope = slope(profile);
        let mut open: Vec<(f64, u16)> = Vec::with_capacity(pool.members.len());
        for (member, pop) in (0_u16..).zip(&pool.members) {
            let Some(pop) = self.pops.get(pop.index()) else {
                continue;
            };
            if class(pop, cell) != Class::Open {
                continue;
            }
            let chord = from.chord_squared(pop.vector);
            let key = if pool.biased {
                slope.at(chord) - f64::from(pop.bias_ms)
            } else {
                chord
            };
            open.push((key, member));
        }
        if open.len() <= NEAR {
            return None;
        }
        let (_, (edge, _), _) = open.select_nth_unstable_by(NEAR, |a, b| a.0.total_cmp(&b.0));
        let edge = if pool.biased {
            *edge
        } else {
            slope.at(*edge) - f64::from(pool.bias_ms)
        };
        let near = open.iter().take(NEAR);
        let mut near: Vec<Ranked> = near
            .filter_map(|(_, member)| self.rank(profile, pool, (cell, from), *member))
            .filter(|one| f64::from(one.score) < edge - slope.margin())
            .collect();
        near.sort_by(|a, b| self.compare(pool, a, b));
        Some(near)
    }

    fn rank(
        &self,
        profile: &Profile,
        pool: &Pool,
        (cell, from): (&Cell, Vector),
        member: u16,
    ) -> Option<Ranked> {
        let pop = self.member(pool, member)?;
        Some(Ranked {
            score: pop.terms(from, &Line::default()).score(&profile.weights),
            member,
            class: class(pop, cell),
        })
    }

    fn compare(&self, pool: &Pool, a: &Ranked, b: &Ranked) -> Ordering {
        let name = |one: &Ranked| self.member(pool, one.member).map(|pop| &pop.name);
        let by_score = || a.score.total_cmp(&b.score);
        a.class
            .cmp(&b.class)
            .then_with(by_score)
            .then_with(|| name(a).cmp(&name(b)))
    }

    pub(super) fn cell(&self, cell: CellId) -> &Cell {
        self.clients
            .cells()
            .get(cell.0 as usize)
            .unwrap_or(&NOWHERE)
    }
}

/// Failover without fences has one order for everyone.
fn is_of_everyone(profile: &Profile, pool: &Pool) -> bool {
    profile.policy == Policy::Failover && !pool.fenced
}

#[inline]
pub(super) fn class(pop: &Pop, cell: &Cell) -> Class {
    let inside = pop.fence.is_open() || is_inside(&pop.fence, cell.country, cell.continent);
    Class::of(inside, pop.weight.0)
}

/// The score of PoPs of which nothing is measured rises with the distance, along a line.
struct Slope {
    start: f64,
    rise: f64,
}

fn slope(profile: &Profile) -> Slope {
    let (weights, line) = (&profile.weights, Line::default());
    Slope {
        start: weights.latency * f64::from(line.intercept_ms),
        rise: weights.distance + weights.latency * f64::from(line.ms_per_100km),
    }
}

impl Slope {
    /// The score, but for the bias, that belongs to the square of a chord.
    fn at(&self, chord: f64) -> f64 {
        self.start + self.rise * chord_ms(chord)
    }

    fn margin(&self) -> f64 {
        MARGIN_MS * self.rise.max(1.0)
    }
}

/// A place as a point on the unit sphere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vector([f64; 3]);

impl Vector {
    pub(super) fn to(place: Coordinates) -> Self {
        let (sin_lat, cos_lat) = place.latitude.to_radians().sin_cos();
        let (sin_lon, cos_lon) = place.longitude.to_radians().sin_cos();
        Self([cos_lat * cos_lon, cos_lat * sin_lon, sin_lat])
    }

    /// Square of the straight distance; rises with the distance over ground.
    #[inline]
    pub(super) fn chord_squared(self, other: Self) -> f64 {
        let (Self([a, b, c]), Self([x, y, z])) = (self, other);
        (a - x).powi(2) + (b - y).powi(2) + (c - z).powi(2)
    }
}

/// A distance term that the real one is not below: that of the straight line through the Earth.
// Rounding is far below the hundred metres that are taken off.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn shortest_ms(from: Vector, to: Vector) -> f32 {
    let chord = from.chord_squared(to).sqrt();
    ((EARTH_RADIUS_KM * chord / KM_PER_MS - MARGIN_MS) as f32).max(0.0)
}

/// The distance term that belongs to the square of a chord, milliseconds.
pub(super) fn chord_ms(squared: f64) -> f64 {
    let half = (squared.sqrt() / 2.0).min(1.0);
    2.0 * EARTH_RADIUS_KM * half.asin() / KM_PER_MS
}

/// Stands in for a cell that does not exist.
const NOWHERE: Cell = Cell {
    center: Coordinates {
        latitude: 0.0,
        longitude: 0.0,
    },
    country: None,
    continent: None,
};
