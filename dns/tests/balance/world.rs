//! Random worlds: PoPs, cells of clients, and resolvers that keep answers.

use meridian_dns::steer::balance::{Market, Offer, Part, Parts, Price, Rules, WHOLE, share};

/// Seconds of a tick.
pub(crate) const TICK_S: usize = 10;
/// PoPs that a cell is offered, the nearest ones.
const NEAR: usize = 48;
/// Part of all clients that may move to a better PoP in a tick.
const MOST_MOVED: f64 = 0.05;
/// Weights of the score: distance, latency, load.
const WEIGHTS: (f64, f64, f64) = (0.3, 0.4, 0.3);

/// SplitMix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`.
    pub(crate) fn real(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn whole(&mut self, low: usize, high: usize) -> usize {
        low + (self.bits() % (high - low + 1) as u64) as usize
    }

    /// About normal, mean 0, deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.real(0.0, 1.0)).sum::<f64>() - 6.0
    }
}

#[derive(Clone, Copy)]
struct Place {
    latitude: f64,
    longitude: f64,
}

impl Place {
    fn near(self, dice: &mut Dice, spread: f64) -> Self {
        Self {
            latitude: (self.latitude + spread * dice.normal()).clamp(-80.0, 80.0),
            longitude: self.longitude + spread * dice.normal(),
        }
    }

    fn km(self, other: Self) -> f64 {
        let (a, b) = (self.latitude.to_radians(), other.latitude.to_radians());
        let turn = (other.longitude - self.longitude).to_radians();
        let h = ((b - a) / 2.0).sin().powi(2) + a.cos() * b.cos() * (turn / 2.0).sin().powi(2);
        2.0 * 6371.0 * h.sqrt().min(1.0).asin()
    }
}

#[derive(Clone)]
pub(crate) struct Pop {
    pub(crate) capacity: f64,
    pub(crate) weight: f32,
    pub(crate) usable: bool,
    pub(crate) known: bool,
    pub(crate) ramp_s: f32,
    place: Place,
}

/// A group of resolvers with one TTL: each cohort asks anew once a TTL, one a tick.
#[derive(Clone)]
struct Resolvers {
    part: f64,
    cohorts: Vec<Parts>,
}

#[derive(Clone)]
pub(crate) struct Cell {
    pub(crate) demand: f64,
    /// What the counters believe of it.
    pub(crate) counted: f64,
    /// PoP and score without its price, ms; the nearest first.
    pub(crate) near: Vec<(u16, f32)>,
    pub(crate) parts: Parts,
    pub(crate) region: usize,
    resolvers: Vec<Resolvers>,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) pops: Vec<Pop>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) rules: Rules,
    pub(crate) target: f64,
    pub(crate) noise: f64,
}

/// What a cell would like.
struct Move {
    at: usize,
    /// ms
    gain: f32,
    parts: Parts,
}

/// What a world is drawn from.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) pops: usize,
    pub(crate) cells: usize,
    /// Demand ÷ (target × capacity), in all.
    pub(crate) filled: f64,
}

impl World {
    pub(crate) fn new(dice: &mut Dice, size: Size) -> Self {
        let metros: Vec<Place> = (0..(size.pops / 2).clamp(4, 60))
            .map(|_| Place {
                latitude: dice.real(-40.0, 60.0),
                longitude: dice.real(-180.0, 180.0),
            })
            .collect();
        let pick = |dice: &mut Dice| dice.whole(0, metros.len() - 1);
        let by_weight = dice.real(0.0, 1.0) < 0.5;
        let mut pops: Vec<Pop> = (0..size.pops)
            .map(|_| Pop {
                capacity: 0.0,
                weight: 100.0,
                usable: true,
                known: true,
                ramp_s: 0.0,
                place: metros[pick(dice)].near(dice, 2.0),
            })
            .collect();
        let mut cells = Vec::new();
        for _ in 0..size.cells {
            let region = pick(dice);
            let place = metros[region].near(dice, 4.0);
            cells.push(cell(dice, place, region, &pops));
        }
        place_capacity(dice, &mut pops, &mut cells, size.filled);
        if by_weight {
            let mean = pops.iter().map(|pop| pop.capacity).sum::<f64>() / size.pops as f64;
            for pop in &mut pops {
                pop.weight = (100.0 * pop.capacity / mean) as f32;
            }
        }
        Self {
            pops,
            cells,
            rules: Rules::new(5.0),
            target: 0.7,
            noise: dice.real(0.0, 0.05),
        }
    }

    /// The same where nothing is left to guess: exact counts and readings, no answers kept, and room up
    /// to the target for a controller that aims at `aim` of it.
    pub(crate) fn known(&self, aim: f64) -> Self {
        let mut known = self.clone();
        known.noise = 0.0;
        known.target /= aim;
        for cell in &mut known.cells {
            cell.counted = cell.demand;
            for group in &mut cell.resolvers {
                group.cohorts.truncate(1);
            }
        }
        known
    }

    /// What a cell is offered at these prices.
    fn offers(&self, cell: &Cell, prices: &[f32], published: &[Price]) -> Vec<Offer> {
        let mut offers: Vec<Offer> = cell
            .near
            .iter()
            .map(|(member, score)| {
                let at = usize::from(*member);
                let (pop, price) = (&self.pops[at], published.get(at).unwrap_or(&Price::NEUTRAL));
                Offer {
                    member: *member,
                    score_ms: score + WEIGHTS.2 as f32 * prices[at],
                    weight: pop.weight * price.free,
                    ramp: price.ramp,
                    usable: pop.usable,
                }
            })
            .collect();
        offers.sort_by(|a, b| a.score_ms.total_cmp(&b.score_ms));
        offers
    }

    /// What the counters would have, if all clients obeyed these prices.
    pub(crate) fn modelled(&self, prices: &[f32], published: &[Price]) -> Vec<f32> {
        let mut demand = vec![0.0_f64; self.pops.len()];
        for cell in &self.cells {
            let offers = self.offers(cell, prices, published);
            for part in share(&offers, &cell.parts, &self.rules) {
                demand[usize::from(part.member)] += cell.counted * of(part);
            }
        }
        demand.iter().map(|one| *one as f32).collect()
    }

    /// The rows of that.
    pub(crate) fn market(&self, prices: &[f32], published: &[Price]) -> Market {
        let mut market = Market::new(self.pops.len());
        let law = (&self.rules, WEIGHTS.2 as f32);
        for cell in &self.cells {
            let offers = self.offers(cell, prices, published);
            market.add(cell.counted as f32, law, (&offers, &cell.parts), prices);
        }
        market
    }

    /// Demand of each PoP as the counters would have it, if all clients obeyed what is decided.
    pub(crate) fn counted(&self) -> Vec<f32> {
        let mut demand = vec![0.0_f64; self.pops.len()];
        for cell in &self.cells {
            for part in &cell.parts {
                demand[usize::from(part.member)] += cell.counted * of(*part);
            }
        }
        demand.iter().map(|one| *one as f32).collect()
    }

    /// Decides anew for all cells; the part of all clients that move. Where more than 5 % would move
    /// to a better PoP those go who gain most, as in a standing; whoever lost their PoP goes at once.
    pub(crate) fn decide(&mut self, published: &[Price]) -> f64 {
        let prices: Vec<f32> = published.iter().map(|price| price.price_ms).collect();
        let all: f64 = self.cells.iter().map(|cell| cell.demand).sum();
        let mut moves: Vec<Move> = Vec::new();
        let (mut moved, mut chosen) = (0.0, 0.0);
        for at in 0..self.cells.len() {
            let cell = &self.cells[at];
            let offers = self.offers(cell, &prices, published);
            let parts = share(&offers, &cell.parts, &self.rules);
            let mass = cell.demand * differ(&cell.parts, &parts) / all;
            let mut had = cell.parts.iter().map(|part| usize::from(part.member));
            if had.any(|member| !self.pops[member].usable) || mass == 0.0 {
                moved += mass;
                self.cells[at].parts = parts;
                continue;
            }
            chosen += mass;
            let gain = mean(&offers, &cell.parts) - mean(&offers, &parts);
            moves.push(Move { at, gain, parts });
        }
        if chosen > MOST_MOVED {
            moves.sort_by(|a, b| b.gain.total_cmp(&a.gain));
        }
        let mut left = MOST_MOVED;
        for one in moves {
            let cell = &mut self.cells[one.at];
            let (parts, differs) = partly(&cell.parts, &one.parts, left * all / cell.demand);
            let mass = cell.demand * differs / all;
            left = (left - mass).max(0.0);
            moved += mass;
            cell.parts = parts;
        }
        moved
    }

    /// One tick of the resolvers: whose turn it is asks anew.
    pub(crate) fn ask(&mut self, tick: usize) {
        for cell in &mut self.cells {
            for group in &mut cell.resolvers {
                let turn = tick % group.cohorts.len();
                group.cohorts[turn] = cell.parts.clone();
            }
        }
    }

    /// Fills all resolvers with what is decided now.
    pub(crate) fn fill(&mut self) {
        for cell in &mut self.cells {
            for group in &mut cell.resolvers {
                group.cohorts.fill(cell.parts.clone());
            }
        }
    }

    /// Load ÷ capacity of each PoP, as it truly is: resolvers decide.
    pub(crate) fn loads(&self) -> Vec<f64> {
        let mut demand = vec![0.0; self.pops.len()];
        for cell in &self.cells {
            for group in &cell.resolvers {
                let each = cell.demand * group.part / group.cohorts.len() as f64;
                for part in group.cohorts.iter().flatten() {
                    demand[usize::from(part.member)] += each * of(*part);
                }
            }
        }
        let both = demand.iter().zip(&self.pops);
        both.map(|(demand, pop)| demand / pop.capacity).collect()
    }

    /// Mean score without prices of where the clients truly are, ms.
    pub(crate) fn latency(&self) -> f64 {
        let (mut sum, mut all) = (0.0, 0.0);
        for cell in &self.cells {
            let cost = |member: u16| cell.near.iter().find(|near| near.0 == member);
            for group in &cell.resolvers {
                let each = cell.demand * group.part / group.cohorts.len() as f64;
                for part in group.cohorts.iter().flatten() {
                    let score = cost(part.member).map_or(0.0, |near| f64::from(near.1));
                    sum += each * of(*part) * score;
                }
            }
            all += cell.demand;
        }
        sum / all
    }

    /// A PoP and those nearest to it.
    pub(crate) fn neighbours(&self, pop: usize, count: usize) -> Vec<usize> {
        let from = self.pops[pop].place;
        let mut all: Vec<usize> = (0..self.pops.len()).collect();
        let far = |at: &usize| from.km(self.pops[*at].place);
        all.sort_by(|a, b| far(a).total_cmp(&far(b)));
        all.truncate(count);
        all
    }

    /// Demand ÷ (target × capacity of the usable), in all.
    pub(crate) fn filled(&self) -> f64 {
        let demand: f64 = self.cells.iter().map(|cell| cell.demand).sum();
        let usable = self.pops.iter().filter(|pop| pop.usable);
        demand / (self.target * usable.map(|pop| pop.capacity).sum::<f64>())
    }

    /// The region with the most clients.
    pub(crate) fn largest_region(&self) -> usize {
        let regions = self.cells.iter().map(|cell| cell.region).max().unwrap_or(0);
        let of = |region: usize| {
            let cells = self.cells.iter().filter(|cell| cell.region == region);
            cells.map(|cell| cell.demand).sum::<f64>()
        };
        (0..=regions)
            .max_by(|a, b| of(*a).total_cmp(&of(*b)))
            .unwrap_or(0)
    }
}

fn of(part: Part) -> f64 {
    f64::from(part.parts) / f64::from(WHOLE)
}

/// Mean score of a cell under its shares, ms.
fn mean(offers: &[Offer], parts: &Parts) -> f32 {
    let score = |part: &Part| {
        let found = offers.iter().find(|offer| offer.member == part.member);
        found.map_or(0.0, |offer| offer.score_ms) * of(*part) as f32
    };
    parts.iter().map(score).sum()
}

/// So much of the way from one to the other that no more than a part of the clients move; and that part.
fn partly(from: &Parts, to: &Parts, most: f64) -> (Parts, f64) {
    let whole = differ(from, to);
    if whole <= most {
        return (to.clone(), whole);
    }
    let cuts = (1..=(most / whole * 64.0) as u32).rev();
    let tried = cuts.map(|cuts| mixed(from, to, cuts));
    let mut tried = tried.map(|parts| (differ(from, &parts), parts));
    let found = tried.find(|(differs, _)| *differs <= most);
    found.map_or((from.clone(), 0.0), |(differs, parts)| (parts, differs))
}

/// Sixty-fourths of the way from one to the other.
fn mixed(from: &Parts, to: &Parts, cuts: u32) -> Parts {
    let share = |row: &Parts, member: u16| {
        let found = row.iter().find(|part| part.member == member);
        found.map_or(0, |part| u32::from(part.parts))
    };
    // Those that were there first; of the new ones as many as fit.
    let mut row = from.clone();
    for part in to {
        if share(from, part.member) == 0 {
            let _ = row.try_push(*part);
        }
    }
    for one in &mut row {
        let parts = share(from, one.member) * (64 - cuts) + share(to, one.member) * cuts;
        one.parts = (parts / 64) as u16;
    }
    let sum: u32 = row.iter().map(|one| u32::from(one.parts)).sum();
    row[0].parts += u16::try_from(u32::from(WHOLE) - sum).unwrap();
    row.retain(|one| one.parts > 0);
    row
}

/// Part of the clients for whom two shares differ.
fn differ(a: &Parts, b: &Parts) -> f64 {
    let before = |member: u16| a.iter().find(|part| part.member == member);
    let gained = b.iter().map(|part| {
        let before = before(part.member).map_or(0, |part| part.parts);
        f64::from(part.parts.saturating_sub(before)) / f64::from(WHOLE)
    });
    if a.is_empty() { 0.0 } else { gained.sum() }
}

fn cell(dice: &mut Dice, place: Place, region: usize, pops: &[Pop]) -> Cell {
    let stretch = |dice: &mut Dice| dice.real(1.1, 1.9);
    let mut near: Vec<(u16, f32)> = pops
        .iter()
        .enumerate()
        .map(|(at, pop)| {
            let fibre = place.km(pop.place) / 100.0;
            let latency = fibre * stretch(dice) + dice.real(1.0, 6.0);
            (at as u16, (WEIGHTS.0 * fibre + WEIGHTS.1 * latency) as f32)
        })
        .collect();
    near.sort_by(|a, b| a.1.total_cmp(&b.1));
    near.truncate(NEAR);
    // Pareto: a few cells hold much of all demand.
    let demand = dice.real(0.0, 1.0).max(1e-3).powf(-1.0 / 1.15);
    let groups = 3;
    let resolvers = (0..groups)
        .map(|_| Resolvers {
            part: 1.0 / f64::from(groups),
            cohorts: vec![Parts::new(); dice.whole(3, 30)],
        })
        .collect();
    Cell {
        demand,
        counted: demand * (0.2 * dice.normal()).exp(),
        near,
        parts: Parts::new(),
        region,
        resolvers,
    }
}

/// Capacity grows where the clients are, though not exactly; no cell is larger than twice the
/// capacity nearest to it.
fn place_capacity(dice: &mut Dice, pops: &mut [Pop], cells: &mut [Cell], filled: f64) {
    let all: f64 = cells.iter().map(|cell| cell.demand).sum();
    let least = all / pops.len() as f64 / 4.0;
    let mut near = vec![least; pops.len()];
    for cell in cells.iter() {
        // Operators build in the middle of several cells: the nearest three.
        for (member, _) in cell.near.iter().take(3) {
            near[usize::from(*member)] += cell.demand / 3.0;
        }
    }
    for (pop, near) in pops.iter_mut().zip(near) {
        pop.capacity = near * dice.real(0.5, 1.5);
    }
    for cell in cells.iter_mut() {
        let here = pops[usize::from(cell.near[0].0)].capacity;
        let most = 2.0 * here;
        if cell.demand > most {
            cell.counted *= most / cell.demand;
            cell.demand = most;
        }
    }
    let all: f64 = cells.iter().map(|cell| cell.demand).sum();
    let capacity: f64 = pops.iter().map(|pop| pop.capacity).sum();
    let scale = all / (filled * 0.7 * capacity);
    pops.iter_mut().for_each(|pop| pop.capacity *= scale);
}
