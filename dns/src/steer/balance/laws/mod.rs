//! Laws of the market and of clearing it, alone: in worlds of a few cells at random.
//!
//! Scores and prices lie on a grid that `f32` holds exactly, so that a score with a price taken
//! away and put back is the same, and worlds in which PoPs are equally good stay such.

mod clear;
mod market;
mod mend;

use proptest::prelude::*;

use super::{Market, Offer, Parts, Rules, WHOLE, share};

/// What a millisecond of a price adds to a score.
const WEIGHT: f32 = 0.25;

/// Cells between the same PoPs.
#[derive(Clone, Debug)]
struct World {
    pops: usize,
    cells: Vec<Cell>,
}

#[derive(Clone, Debug)]
struct Cell {
    demand: f32,
    rules: Rules,
    /// By PoP, scores free of prices.
    offers: Vec<Offer>,
    previous: Parts,
}

impl Cell {
    /// The offers at some prices, best first.
    fn at(&self, prices: &[f32]) -> Vec<Offer> {
        let priced = self.offers.iter().zip(prices);
        let mut offers: Vec<Offer> = priced
            .map(|(offer, price)| Offer {
                score_ms: offer.score_ms + WEIGHT * price,
                ..*offer
            })
            .collect();
        offers.sort_by(|a, b| a.score_ms.total_cmp(&b.score_ms));
        offers
    }
}

impl World {
    /// As it is gathered at these prices.
    fn market(&self, prices: &[f32]) -> Market {
        let mut market = Market::new(self.pops);
        for cell in &self.cells {
            let (offers, law) = (cell.at(prices), (&cell.rules, WEIGHT));
            market.add(cell.demand, law, (&offers, &cell.previous), prices);
        }
        market
    }

    /// What the law of sharing itself gives each PoP.
    fn shared(&self, prices: &[f32]) -> Vec<f64> {
        let mut demand = vec![0.0; self.pops];
        for cell in &self.cells {
            for part in share(&cell.at(prices), &cell.previous, &cell.rules) {
                demand[usize::from(part.member)] +=
                    f64::from(cell.demand) * f64::from(part.parts) / f64::from(WHOLE);
            }
        }
        demand
    }

    fn whole(&self) -> f64 {
        let cells = self.cells.iter();
        cells.map(|cell| f64::from(cell.demand)).sum()
    }

    /// The same without a memory of shares.
    fn without_previous(mut self) -> Self {
        for cell in &mut self.cells {
            cell.previous.clear();
        }
        self
    }
}

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Least tolerance, ms.
    tolerance: f32,
    /// Highest score, in parts of 64 of a millisecond.
    farthest: u16,
    /// Whether PoPs are down, grow, or have no weight.
    troubled: bool,
}

const ANY: Kind = Kind {
    tolerance: 0.0,
    farthest: 80 * 64,
    troubled: true,
};

/// A world, and some prices for it.
fn world(kind: Kind) -> impl Strategy<Value = (World, Vec<f32>)> {
    (2_usize..10, 1_usize..16)
        .prop_flat_map(move |(pops, cells)| {
            let pop = (prop::bool::weighted(0.85), 0_u16..100, ramp());
            (
                prop::collection::vec(pop, pops),
                prop::collection::vec(cell(kind, pops), cells),
                prices(pops),
            )
        })
        .prop_map(move |(pops, cells, prices)| {
            let known = |member: usize, score: u16, weight: u16| {
                let (usable, less, ramp) = pops[member];
                let weight = f32::from(weight);
                Offer {
                    member: u16::try_from(member).unwrap(),
                    score_ms: f32::from(score) / 64.0,
                    weight: match kind.troubled {
                        true => (weight - f32::from(less)).max(0.0),
                        false => weight,
                    },
                    ramp: if kind.troubled { ramp } else { 1.0 },
                    usable: usable || !kind.troubled,
                }
            };
            let cells = cells.into_iter().map(|raw| {
                let each = raw.offers.iter().enumerate();
                let offers = each.map(|(member, one)| known(member, one.0, one.1));
                let mut cell = Cell {
                    demand: raw.demand,
                    rules: Rules::new(raw.tolerance.max(kind.tolerance)),
                    offers: offers.collect(),
                    previous: Parts::new(),
                };
                if let Some(before) = raw.before {
                    cell.previous = share(&cell.at(&before), &[], &cell.rules);
                }
                cell
            });
            let world = World {
                pops: pops.len(),
                cells: cells.collect(),
            };
            (world, prices)
        })
}

/// What a cell is made of.
#[derive(Clone, Debug)]
struct Raw {
    demand: f32,
    tolerance: f32,
    /// Score in parts of 64 of a millisecond, weight.
    offers: Vec<(u16, u16)>,
    /// Prices at which it was shared before.
    before: Option<Vec<f32>>,
}

fn cell(kind: Kind, pops: usize) -> impl Strategy<Value = Raw> {
    let tolerance = prop_oneof![Just(0.0_f32), Just(1.0), Just(5.0), 0.0_f32..20.0];
    // A few hold much of all.
    let demand = prop_oneof![3 => 0.1_f32..2.0, 1 => 2.0_f32..60.0];
    let offer = (0..kind.farthest, 1_u16..200);
    let before = prop::option::weighted(0.6, prices(pops));
    let offers = prop::collection::vec(offer, pops);
    (demand, tolerance, offers, before).prop_map(|(demand, tolerance, offers, before)| Raw {
        demand,
        tolerance,
        offers,
        before,
    })
}

fn ramp() -> impl Strategy<Value = f32> {
    prop_oneof![4 => Just(1.0_f32), 1 => Just(0.02_f32), 1 => 0.02_f32..1.0]
}

/// Many PoPs without a price, as it is.
fn prices(pops: usize) -> impl Strategy<Value = Vec<f32>> {
    let price = prop_oneof![1 => Just(0.0_f32), 2 => grid(800)];
    prop::collection::vec(price, pops)
}

/// ms in parts of 16, below so many of them.
fn grid(most: u16) -> impl Strategy<Value = f32> + Clone {
    (0..most).prop_map(|sixteenths| f32::from(sixteenths) / 16.0)
}
