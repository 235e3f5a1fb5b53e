//! One tick of what moves with measurements: demand, prices, standing. Pure but for its own memory.

use std::sync::Arc;

use meridian_config::Config;
use meridian_dns::{
    metrics::Asked,
    steer::{
        Demand, Inputs, Standing, Steering,
        balance::{Balance, Model as _, Price, Prices},
    },
};
use meridian_geo_data::latency::Latency;
use meridian_health_prober::{HealthSnapshot, Loads};

use super::{
    book::Book,
    file::Kept,
    held::{Counts, Held},
    readings::readings,
};

/// ms by which a price changes at most in 10 s while nobody has been counted, or part of it.
const CAREFUL_MS: f32 = 25.0;
const CAREFUL_PART: f32 = 0.1;

/// What a tick is made of.
pub(super) struct Tick {
    /// Seconds on a clock that never goes back.
    pub(super) now_s: f64,
    /// The configuration in force.
    pub(super) config: Arc<Config>,
    /// Its services and pools.
    pub(super) steering: Arc<Steering>,
    /// Health as steering sees it.
    pub(super) health: Arc<HealthSnapshot>,
    /// The newest loads.
    pub(super) loads: Arc<Loads>,
    /// Measured round-trip times; `None`: not yet laid out for these cells.
    pub(super) latency: Option<Arc<Latency>>,
    /// Who asked since the tick before.
    pub(super) asked: Vec<Asked>,
}

/// What is remembered from tick to tick.
#[derive(Default)]
pub(super) struct Keeper {
    balance: Balance,
    book: Book,
    standing: Arc<Standing>,
    /// What the prices are numbered by.
    config: Option<Arc<Config>>,
    prices: Prices,
    held: Held,
    last_s: Option<f64>,
}

impl Keeper {
    /// The standing that follows.
    pub(super) fn step(&mut self, tick: &Tick) -> Arc<Standing> {
        self.renumber(&tick.config);
        let steering = &tick.steering;
        let latency = self.follow(steering, tick.latency.clone());
        self.book.take(tick.now_s, &tick.asked);
        let mut inputs = Inputs {
            demand: self.demand(tick.now_s, (steering, &tick.health), &latency),
            latency,
            prices: self.prices.clone(),
        };
        let readings = readings(&tick.config, &tick.health, &tick.loads);
        let mut model = self.standing.model(steering, &tick.health, &inputs);
        let mut prices = self.balance.step(tick.now_s, &readings, &mut model);
        drop(model);
        let passed = self.last_s.map_or(0.0, |last| tick.now_s - last);
        self.last_s = Some(tick.now_s);
        if inputs.demand.is_assumed() {
            prices = carefully(&self.prices, &prices, passed);
        }
        self.prices = prices.clone();
        inputs.prices = prices;
        self.standing = Arc::new(self.standing.next(steering, &tick.health, &inputs));
        self.standing.clone()
    }

    /// The standing of another configuration, from what is remembered: until its first tick.
    pub(super) fn carried_over(
        &mut self,
        config: &Arc<Config>,
        steering: &Steering,
        health: &HealthSnapshot,
        latency: Option<Arc<Latency>>,
    ) -> Arc<Standing> {
        self.renumber(config);
        let latency = self.follow(steering, latency);
        let inputs = Inputs {
            demand: self.demand(self.last_s.unwrap_or(0.0), (steering, health), &latency),
            latency,
            prices: self.prices.clone(),
        };
        self.standing = Arc::new(self.standing.next(steering, health, &inputs));
        self.standing.clone()
    }

    /// The demand of a tick, by what was counted until then.
    fn demand(
        &mut self,
        now_s: f64,
        (steering, health): (&Steering, &HealthSnapshot),
        latency: &Arc<Latency>,
    ) -> Arc<Demand> {
        let counts = Counts {
            demand: self.book.demand(),
            samples: self.book.samples(),
            clients: &steering.shared_clients(),
            services: &steering.labels().services,
        };
        let of_pops = |demand: &Arc<Demand>| {
            let inputs = Inputs {
                latency: latency.clone(),
                prices: self.prices.clone(),
                demand: demand.clone(),
            };
            self.standing.model(steering, health, &inputs).now()
        };
        self.held.next(now_s, counts, of_pops)
    }

    /// Counts by the cells, prefixes and services of a configuration from now on; the latency that holds
    /// for it. What was known of the same cells stays until there is newer.
    fn follow(&mut self, steering: &Steering, latency: Option<Arc<Latency>>) -> Arc<Latency> {
        let clients = steering.shared_clients();
        let before = || {
            let same = self.book.counts_by(&clients);
            same.then(|| self.standing.inputs().latency.clone())
        };
        let latency = latency.or_else(before).unwrap_or_default();
        let services = &steering.labels().services;
        self.book.follow(&clients, &latency, services);
        latency
    }

    /// All of it, for another process, at `now_s` of this one's clock; the rows are those of the standing.
    pub(super) fn keep(&self, now_s: f64) -> (Kept, Arc<Standing>) {
        let config = self.config.iter();
        let pops = config.flat_map(|config| &config.pops);
        let kept = Kept {
            at_s: now_s,
            pops: pops.map(|pop| pop.name.clone()).collect(),
            prices: self.prices.to_vec(),
            balance: self.balance.clone(),
            demand: self.book.keep(),
            demand_scale: self.held.scale(),
            ..Kept::default()
        };
        (kept, self.standing.clone())
    }

    /// Goes on with what another process kept at `then_s` of this one's clock. Gives its standing.
    pub(super) fn restore(
        &mut self,
        kept: Kept,
        config: &Arc<Config>,
        steering: &Steering,
        then_s: f64,
    ) -> Arc<Standing> {
        let old = |pop: usize| {
            let name = &config.pops.get(pop)?.name;
            kept.pops.iter().position(|one| one == name)
        };
        let balance = kept.balance.later(then_s - kept.at_s);
        self.balance = balance.renumbered(config.pops.len(), old);
        self.prices = renumbered(&kept.prices, config, old);
        self.config = Some(config.clone());
        let clients = steering.shared_clients();
        self.book = Book::restored(kept.demand, &clients, then_s);
        self.held = Held::restored(kept.demand_scale);
        self.last_s = Some(then_s);
        let inputs = Inputs {
            prices: self.prices.clone(),
            ..Inputs::default()
        };
        self.standing = Arc::new(Standing::restored(steering, &kept.rows, inputs));
        self.follow(steering, None);
        self.standing.clone()
    }

    /// The prices of the newest tick, by PoP of its configuration.
    pub(super) fn prices(&self) -> &Prices {
        &self.prices
    }

    /// What was learned of demand.
    pub(super) fn book(&self) -> &Book {
        &self.book
    }

    /// PoPs are known to the balance by number; a reload may number them anew.
    fn renumber(&mut self, config: &Arc<Config>) {
        let Some(before) = &self.config else {
            self.config = Some(config.clone());
            return;
        };
        if Arc::ptr_eq(before, config) {
            return;
        }
        let old = |pop: usize| {
            let name = &config.pops.get(pop)?.name;
            before.pop_by_name(name).map(meridian_config::PopId::index)
        };
        self.balance = self.balance.renumbered(config.pops.len(), old);
        self.prices = renumbered(&self.prices, config, old);
        self.config = Some(config.clone());
    }
}

/// The way to new prices, as far as a little knowledge allows: while nobody has been counted a price
/// changes no faster after a failure than at any other time.
// Seconds.
#[allow(clippy::cast_possible_truncation)]
fn carefully(before: &[Price], wanted: &[Price], passed: f64) -> Prices {
    let passed = (passed / 10.0).clamp(0.0, 1.0) as f32;
    let one = |(at, wanted): (usize, &Price)| {
        let before = before.get(at).map_or(0.0, |price| price.price_ms);
        let most = CAREFUL_MS.max(before * CAREFUL_PART) * passed;
        Price {
            price_ms: wanted.price_ms.clamp(before - most, before + most),
            ..*wanted
        }
    };
    wanted.iter().enumerate().map(one).collect()
}

/// Prices by PoP of a configuration; new ones are neutral.
pub(crate) fn renumbered(
    prices: &[Price],
    config: &Config,
    old: impl Fn(usize) -> Option<usize>,
) -> Prices {
    let price = |pop| old(pop).and_then(|old| prices.get(old).copied());
    let all = 0..config.pops.len();
    all.map(|pop| price(pop).unwrap_or(Price::NEUTRAL))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, net::IpAddr, time::SystemTime};

    use jiff::Timestamp;
    use meridian_config::{Family, PopId};
    use meridian_dns::{
        client::Client,
        steer::{View, decide},
        types::ServiceId,
    };
    use meridian_health_prober::{LoadState, Override, OverrideKind, PopLoad};

    use super::*;
    use crate::runtime::load::{self, Loaded};

    /// Three PoPs with a capacity of 100: `fra` and `ams` 4 ms apart, `iad` far away.
    fn world(folder: &tempfile::TempDir, names: &[&str]) -> Loaded {
        use std::fmt::Write as _;
        let zone =
            "$TTL 300\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.53\n";
        fs::write(folder.path().join("example.com.zone"), zone).unwrap();
        let mut text =
            String::from("[server]\nlisten = [\"127.0.0.1:0\"]\n[steering]\ntolerance = \"1ms\"\n");
        for name in names {
            let (number, latitude, longitude) = match *name {
                "fra" => (1, 50.0, 8.6),
                "ams" => (2, 52.4, 4.9),
                _ => (3, 39.0, -77.5),
            };
            write!(
                text,
                "[[pop]]\nname = \"{name}\"\nlatitude = {latitude}\nlongitude = {longitude}\n\
                 capacity = 100\nload = {{ push = true }}\nendpoints = [\"192.0.2.{number}\"]\n"
            )
            .unwrap();
        }
        write!(
            text,
            "[[pool]]\nname = \"edge\"\npops = {names:?}\n[[zone]]\nname = \"example.com\"\n\
             file = \"example.com.zone\"\n[[zone.service]]\nname = \"www\"\npool = \"edge\"\n"
        )
        .unwrap();
        let path = folder.path().join("meridian.toml");
        fs::write(&path, text).unwrap();
        load::load(&path, None, None, Timestamp::UNIX_EPOCH).unwrap()
    }

    fn loads(of: &[(&str, f64)]) -> Arc<Loads> {
        let load = |ratio| PopLoad {
            state: LoadState::Fresh,
            ratio: Some(ratio),
            value: Some(ratio * 100.0),
            capacity: Some(100.0),
            what: "value".into(),
            source: "push".into(),
            at: Some(SystemTime::UNIX_EPOCH),
            age: None,
            problem: None,
        };
        let all = of
            .iter()
            .map(|(pop, ratio)| ((*pop).to_owned(), load(*ratio)));
        Arc::new(all.collect())
    }

    fn tick(world: &Loaded, now_s: f64, loads: &Arc<Loads>) -> Tick {
        Tick {
            now_s,
            config: world.config.clone(),
            steering: world.built.steering.clone(),
            health: Arc::default(),
            loads: loads.clone(),
            latency: Some(Arc::new(Latency::empty())),
            asked: Vec::new(),
        }
    }

    fn drained(pop: &str) -> Arc<HealthSnapshot> {
        let drain = Override {
            kind: OverrideKind::Drain,
            reason: String::new(),
            since: SystemTime::UNIX_EPOCH,
            until: None,
        };
        Arc::new(HealthSnapshot {
            overrides: [(pop.to_owned(), drain)].into(),
            ..HealthSnapshot::default()
        })
    }

    /// Shares of Germany's clients, by name of the PoP.
    fn share(
        world: &Loaded,
        standing: &Arc<Standing>,
        health: &Arc<HealthSnapshot>,
        pop: &str,
    ) -> f64 {
        let steering = &world.built.steering;
        let view = View::new(steering, standing.clone(), health.clone());
        let wanted = world.config.pop_by_name(pop);
        let count = (0..4096_u32).filter(|n| {
            let address = IpAddr::from([91, (n >> 8) as u8 % 16, *n as u8, 0]);
            let client = Client::from_ecs(address, 24, address);
            let decision = decide(steering, &view, ServiceId(0), &client, Family::V4);
            decision.pop == wanted
        });
        count.count() as f64 / 4096.0
    }

    #[test]
    fn a_pop_over_its_target_loses_clients_step_by_step() {
        let folder = tempfile::tempdir().unwrap();
        let world = world(&folder, &["fra", "ams", "iad"]);
        let health = Arc::default();
        let mut keeper = Keeper::default();
        let calm = loads(&[("fra", 0.5), ("ams", 0.2), ("iad", 0.2)]);
        let first = keeper.step(&tick(&world, 0.0, &calm));
        let before = share(&world, &first, &health, "fra");
        assert!(before > 0.95, "Germany belongs to fra: {before}");
        let full = loads(&[("fra", 1.2), ("ams", 0.2), ("iad", 0.2)]);
        let mut last = before;
        for n in 1..60 {
            let standing = keeper.step(&tick(&world, f64::from(n) * 10.0, &full));
            let now = share(&world, &standing, &health, "fra");
            assert!(standing.moved().moved < 0.0501, "{:?}", standing.moved());
            last = now;
        }
        assert!(last < before / 2.0, "a tenth of an hour later: {last}");
        assert!(keeper.prices()[0].price_ms > 1.0);
        assert!(keeper.prices()[2].price_ms < 0.1, "{:?}", keeper.prices());
    }

    /// At the target prices stay, and shares settle.
    fn right() -> Arc<Loads> {
        loads(&[("fra", 0.7), ("ams", 0.2), ("iad", 0.2)])
    }

    /// After 40 ticks in which clients had to leave "fra".
    fn moved(world: &Loaded) -> (Keeper, Arc<Standing>) {
        let mut keeper = Keeper::default();
        let full = loads(&[("fra", 1.2), ("ams", 0.2), ("iad", 0.2)]);
        for n in 0..12 {
            keeper.step(&tick(world, f64::from(n) * 10.0, &full));
        }
        let right = right();
        let ticks = (12..40).map(|n| tick(world, f64::from(n) * 10.0, &right));
        let standing = ticks.map(|tick| keeper.step(&tick)).last().unwrap();
        (keeper, standing)
    }

    #[test]
    fn a_reload_that_numbers_pops_anew_moves_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let before = world(&folder, &["fra", "ams", "iad"]);
        let health = Arc::default();
        let (mut keeper, standing) = moved(&before);
        let ams = share(&before, &standing, &health, "ams");
        assert!(ams > 0.02, "some have moved: {ams}");
        let told = keeper.prices().clone();
        let after = world(&folder, &["iad", "ams", "fra"]);
        let standing = keeper.carried_over(&after.config, &after.built.steering, &health, None);
        let now = share(&after, &standing, &health, "ams");
        assert!((ams - now).abs() < 0.01, "{ams} {now}");
        let reversed: Vec<_> = keeper.prices().iter().rev().copied().collect();
        assert_eq!(reversed, *told, "each price stays with its PoP");
    }

    #[test]
    fn a_restart_moves_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let before = world(&folder, &["fra", "ams", "iad"]);
        let health = Arc::default();
        let (mut keeper, standing) = moved(&before);
        let ams = share(&before, &standing, &health, "ams");
        assert!(ams > 0.02, "some have moved: {ams}");
        let (mut kept, of) = keeper.keep(395.0);
        kept.rows = of.keep();
        let text = serde_json::to_string(&kept).unwrap();

        // The next process numbers PoPs anew, and its clock begins anew.
        let right = right();
        let after = world(&folder, &["iad", "ams", "fra"]);
        let kept = serde_json::from_str(&text).unwrap();
        let mut next = Keeper::default();
        let standing = next.restore(kept, &after.config, &after.built.steering, -20.0);
        let now = share(&after, &standing, &health, "ams");
        assert!((ams - now).abs() < 0.01, "{ams} {now}");
        let reversed: Vec<_> = next.prices().iter().rev().copied().collect();
        assert_eq!(reversed, **keeper.prices(), "each price stays with its PoP");
        let same = |keeper: &mut Keeper, world: &Loaded, at: f64| {
            let standing = keeper.step(&tick(world, at, &right));
            share(world, &standing, &health, "ams")
        };
        for n in 0..6 {
            let at = f64::from(n) * 10.0;
            let (old, new) = (
                same(&mut keeper, &before, 415.0 + at),
                same(&mut next, &after, at),
            );
            assert!((old - new).abs() < 0.02, "tick {n}: {old} {new}");
            assert!((ams - new).abs() < 0.05, "tick {n}: {ams} {new}");
        }
        // From nothing, all of them would have gone back at once.
        let standing = Keeper::default().step(&tick(&after, 0.0, &right));
        assert!(share(&after, &standing, &health, "ams") < 0.01);
    }

    #[test]
    fn while_nobody_is_counted_a_failure_changes_prices_no_faster_than_anything_else() {
        let folder = tempfile::tempdir().unwrap();
        let world = world(&folder, &["fra", "ams", "iad"]);
        let mut keeper = Keeper::default();
        let full = loads(&[("fra", 1.3), ("ams", 0.6), ("iad", 0.2)]);
        for n in 0..6 {
            keeper.step(&tick(&world, f64::from(n) * 10.0, &full));
        }
        let health = drained("ams");
        for n in 6..12 {
            let before = keeper.prices()[0].price_ms;
            let mut next = tick(&world, f64::from(n) * 10.0, &full);
            next.health = health.clone();
            let standing = keeper.step(&next);
            let by = keeper.prices()[0].price_ms - before;
            assert!((-25.0..=25.001).contains(&by), "tick {n}: {by}");
            assert_eq!(share(&world, &standing, &health, "ams"), 0.0);
        }
    }

    #[test]
    fn a_drained_pop_is_left_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let world = world(&folder, &["fra", "ams", "iad"]);
        let mut keeper = Keeper::default();
        let calm = loads(&[("fra", 0.5), ("ams", 0.2), ("iad", 0.2)]);
        keeper.step(&tick(&world, 0.0, &calm));
        let health = drained("fra");
        let mut next = tick(&world, 10.0, &calm);
        next.health = health.clone();
        let standing = keeper.step(&next);
        assert_eq!(share(&world, &standing, &health, "fra"), 0.0);
        assert!(share(&world, &standing, &health, "ams") > 0.9);
        assert_eq!(world.config.pop_by_name("fra"), Some(PopId(0)));
    }

    #[test]
    fn nothing_measured_is_no_standing() {
        let folder = tempfile::tempdir().unwrap();
        let world = world(&folder, &["fra", "iad"]);
        let mut keeper = Keeper::default();
        let standing = keeper.step(&tick(&world, 0.0, &Arc::default()));
        assert!(standing.is_none() && standing.octets() == 0);
    }
}
