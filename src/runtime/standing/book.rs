//! What is learned of demand from samples of who asks: pure, in the time that is handed in.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use meridian_dns::{metrics::Asked, steer::Demand};
use meridian_geo_data::{CellKey, ClientMap, fold, latency::Latency};
use serde::{Deserialize, Serialize};

/// Seconds in which what was asked counts half.
const HALF_LIFE_S: f64 = 600.0;

/// Samples below which nothing is said of demand: too few to tell cells apart.
const ENOUGH: f64 = 500.0;

/// Fading counts of answers by cell, by exceptional prefix and by service.
#[derive(Debug, Default)]
pub(super) struct Book {
    clients: Option<Arc<ClientMap>>,
    latency: Option<Arc<Latency>>,
    cells: Vec<Count>,
    prefixes: BTreeMap<IpNet, f64>,
    /// Names of the services.
    names: Vec<Arc<str>>,
    services: Vec<f64>,
    /// Samples taken, fading alike.
    samples: f64,
    last_s: Option<f64>,
    /// Seconds of observation, fading alike.
    observed_s: f64,
}

/// Of one cell.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    answers: f64,
    /// An address that asked, cut to its /24 or /48.
    example: Option<IpAddr>,
}

/// What a book knows, by place and name: another process or other geo data can go on with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptDemand {
    cells: Vec<(CellKey, f64, Option<IpAddr>)>,
    prefixes: Vec<(IpNet, f64)>,
    services: Vec<(String, f64)>,
    samples: f64,
    observed_s: f64,
}

impl Book {
    /// Counts with this map of clients, these exceptional prefixes and these services from now on.
    /// Cells are known again by place and country, prefixes by themselves, services by name; what is
    /// not there any more is forgotten.
    pub(super) fn follow(
        &mut self,
        clients: &Arc<ClientMap>,
        latency: &Arc<Latency>,
        services: &[Arc<str>],
    ) {
        if !self.counts_by(clients) {
            let kept = self.keep().cells;
            self.clients = Some(clients.clone());
            self.cells = cells(clients, kept);
            self.latency = None;
        }
        let same = |old: &Arc<Latency>| Arc::ptr_eq(old, latency);
        if !self.latency.as_ref().is_some_and(same) {
            let before = std::mem::take(&mut self.prefixes);
            let prefixes = latency.exceptions().iter().map(|(prefix, _)| *prefix);
            self.prefixes = prefixes
                .map(|prefix| (prefix, before.get(&prefix).copied().unwrap_or(0.0)))
                .collect();
            self.latency = Some(latency.clone());
        }
        if *self.names != *services {
            let known: HashMap<&str, f64> = self.by_service().collect();
            let count = |name: &Arc<str>| known.get(&**name).copied().unwrap_or(0.0);
            self.services = services.iter().map(count).collect();
            self.names = services.to_vec();
        }
    }

    fn by_service(&self) -> impl Iterator<Item = (&str, f64)> {
        let names = self.names.iter().map(|name| &**name);
        names.zip(self.services.iter().copied())
    }

    /// What it knows as of its last [`take`](Self::take).
    pub(super) fn keep(&self) -> KeptDemand {
        let known = self.clients.iter().flat_map(|clients| clients.cells());
        let cells = known.zip(&self.cells);
        let asked = cells.filter(|(_, count)| count.answers > 0.0);
        KeptDemand {
            cells: asked
                .map(|(cell, count)| (cell.key(), count.answers, count.example))
                .collect(),
            prefixes: self.prefixes.iter().map(|(net, n)| (*net, *n)).collect(),
            services: self
                .by_service()
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
            samples: self.samples,
            observed_s: self.observed_s,
        }
    }

    /// A book that goes on with what another one kept at `then_s` of this one's clock.
    pub(super) fn restored(kept: KeptDemand, clients: &Arc<ClientMap>, then_s: f64) -> Self {
        let sane = |count: f64| count.max(0.0);
        let (names, services) = kept
            .services
            .into_iter()
            .unzip::<String, f64, Vec<_>, Vec<_>>();
        Self {
            cells: cells(clients, kept.cells),
            clients: Some(clients.clone()),
            latency: None,
            prefixes: kept.prefixes.into_iter().collect(),
            names: names.into_iter().map(Arc::from).collect(),
            services: services.into_iter().map(sane).collect(),
            samples: sane(kept.samples),
            last_s: Some(then_s),
            observed_s: sane(kept.observed_s),
        }
    }

    /// Whether it counts by the cells of this map.
    pub(super) fn counts_by(&self, clients: &Arc<ClientMap>) -> bool {
        let same = |old: &Arc<ClientMap>| Arc::ptr_eq(old, clients);
        self.clients.as_ref().is_some_and(same)
    }

    /// What was asked until `now_s`; older counts fade.
    pub(super) fn take(&mut self, now_s: f64, asked: &[Asked]) {
        let passed = self.last_s.map_or(0.0, |last| (now_s - last).max(0.0));
        self.last_s = Some(now_s);
        let kept = (-passed / HALF_LIFE_S).exp2();
        let cells = self.cells.iter_mut().map(|cell| &mut cell.answers);
        let counts = cells.chain(&mut self.services);
        for count in counts.chain(self.prefixes.values_mut()) {
            *count *= kept;
        }
        self.observed_s = self.observed_s * kept + passed;
        self.samples *= kept;
        for one in asked {
            self.add(one);
        }
    }

    fn add(&mut self, one: &Asked) {
        let Some(clients) = &self.clients else { return };
        let answers = f64::from(one.answers);
        self.samples += 1.0;
        if let Some(count) = self.services.get_mut(one.service.index()) {
            *count += answers;
        }
        let (_, judged) = fold(one.client);
        let Some(cell) = clients.place(clients.find(judged).place).0 else {
            return;
        };
        let Some(cell) = self.cells.get_mut(cell.0 as usize) else {
            return;
        };
        cell.example = Some(one.client);
        let exceptional = prefix(judged).and_then(|prefix| self.prefixes.get_mut(&prefix));
        match exceptional {
            Some(count) => *count += answers,
            None => cell.answers += answers,
        }
    }

    /// Samples behind what it knows, fading alike.
    pub(super) fn samples(&self) -> f64 {
        self.samples
    }

    /// Answers a second, lately; nothing while too little is known.
    pub(super) fn demand(&self) -> Arc<Demand> {
        if self.samples < ENOUGH {
            return Arc::default();
        }
        let rate = |count: &f64| self.rate(*count);
        let prefixes = self.prefixes.iter();
        Arc::new(Demand::new(
            self.cells.iter().map(|cell| rate(&cell.answers)).collect(),
            prefixes
                .map(|(prefix, count)| (*prefix, rate(count)))
                .collect(),
            self.services.iter().map(rate).collect(),
        ))
    }

    /// Every cell that asked lately: its number, an address in it, and its answers a second.
    pub(super) fn by_cell(&self) -> Vec<(usize, IpAddr, f32)> {
        let mut counts = self.cells.clone();
        if let Some(clients) = &self.clients {
            for (prefix, count) in &self.prefixes {
                let cell = clients.place(clients.find(prefix.addr()).place).0;
                if let Some(sum) = cell.and_then(|cell| counts.get_mut(cell.0 as usize)) {
                    sum.answers += count;
                }
            }
        }
        let cells = counts.iter().enumerate();
        let asked = cells.filter(|(_, count)| count.answers > 0.0);
        asked
            .filter_map(|(cell, count)| Some((cell, count.example?, self.rate(count.answers))))
            .collect()
    }

    // Rates are told in f32; the counts fade in f64.
    #[allow(clippy::cast_possible_truncation)]
    fn rate(&self, count: f64) -> f32 {
        (count / self.observed_s.max(1.0)) as f32
    }
}

/// Counts by cell of a map.
fn cells(clients: &ClientMap, kept: Vec<(CellKey, f64, Option<IpAddr>)>) -> Vec<Count> {
    let count = |(key, answers, example): (_, f64, _)| {
        let answers = answers.max(0.0);
        (key, Count { answers, example })
    };
    let known: HashMap<CellKey, Count> = kept.into_iter().map(count).collect();
    let of = |cell: &meridian_geo_data::Cell| known.get(&cell.key()).copied();
    let cells = clients.cells().iter();
    cells.map(|cell| of(cell).unwrap_or_default()).collect()
}

/// The prefix as which an address can be exceptional.
fn prefix(address: IpAddr) -> Option<IpNet> {
    let length = if address.is_ipv4() { 24 } else { 48 };
    IpNet::new(address, length).ok().map(|net| net.trunc())
}

#[cfg(test)]
mod tests {
    use meridian_config::Geo;
    use meridian_dns::types::ServiceId;
    use meridian_geo_data::{CellId, latency};

    use super::*;

    fn asked(client: &str, answers: f32) -> Asked {
        Asked {
            service: ServiceId(1),
            client: client.parse().unwrap(),
            answers,
        }
    }

    fn clients() -> Arc<ClientMap> {
        let geo = Geo {
            city: Vec::new(),
            asn: Vec::new(),
            networks: Vec::new(),
        };
        Arc::new(ClientMap::open(&geo).unwrap())
    }

    fn services(count: usize) -> Vec<Arc<str>> {
        (0..count)
            .map(|n| format!("s{n}.example.").into())
            .collect()
    }

    fn cell(clients: &ClientMap, address: &str) -> CellId {
        let found = clients.find(address.parse().unwrap());
        clients.place(found.place).0.unwrap()
    }

    #[test]
    fn counts_become_rates_and_fade() {
        let (clients, latency) = (clients(), Arc::new(Latency::empty()));
        let mut book = Book::default();
        book.follow(&clients, &latency, &services(2));
        book.take(0.0, &[]);
        // Japan asks 30 times a second, Germany 10.
        let round: Vec<Asked> = (0..100)
            .flat_map(|_| [asked("133.11.0.0", 3.0), asked("134.60.1.0", 1.0)])
            .collect();
        for second in 1..=30 {
            book.take(f64::from(second) * 10.0, &round);
        }
        let demand = book.demand();
        let of = |address| demand.of_cell(cell(&clients, address));
        let (japan, germany) = (of("133.11.0.0"), of("134.60.1.0"));
        assert!(
            (japan - 30.0).abs() < 0.5 && (germany - 10.0).abs() < 0.2,
            "{japan} {germany}"
        );
        assert_eq!(demand.of_service(ServiceId(0)), 0.0);
        assert!((demand.of_service(ServiceId(1)) - 40.0).abs() < 1.0);
        // Japan falls silent: after a half-life it is down to half or less of what it was.
        let round: Vec<Asked> = (0..100).map(|_| asked("134.60.1.0", 1.0)).collect();
        for second in 31..=90 {
            book.take(f64::from(second) * 10.0, &round);
        }
        let demand = book.demand();
        let japan = demand.of_cell(cell(&clients, "133.11.0.0"));
        assert!(japan < 15.0 && japan > 3.0, "{japan}");
        let by_cell = book.by_cell();
        assert_eq!(by_cell.len(), 2);
        let example: IpAddr = "134.60.1.0".parse().unwrap();
        assert!(by_cell.iter().any(|(_, address, _)| *address == example));
    }

    #[test]
    fn few_samples_say_nothing() {
        let mut book = Book::default();
        book.follow(&clients(), &Arc::new(Latency::empty()), &services(1));
        book.take(0.0, &[]);
        book.take(10.0, &[asked("133.11.0.0", 4096.0)]);
        assert_eq!(*book.demand(), Demand::default());
    }

    #[test]
    fn an_exceptional_prefix_counts_by_itself() {
        let clients = clients();
        let exception: IpNet = "133.11.7.0/24".parse().unwrap();
        let latency = Arc::new(Latency::new(latency::Parts {
            exceptions: vec![(exception, Vec::new())],
            ..latency::Parts::default()
        }));
        let mut book = Book::default();
        book.follow(&clients, &latency, &services(2));
        book.take(0.0, &[]);
        let round: Vec<Asked> = (0..300)
            .flat_map(|_| [asked("133.11.7.0", 2.0), asked("133.11.8.0", 1.0)])
            .collect();
        book.take(10.0, &round);
        let demand = book.demand();
        let of_cell = demand.of_cell(cell(&clients, "133.11.7.0"));
        assert!((demand.of_prefix(exception) - 60.0).abs() < 0.5);
        assert!((of_cell - 30.0).abs() < 0.5, "{of_cell}");
        let told: f32 = book.by_cell().iter().map(|(.., rate)| rate).sum();
        assert!((told - 90.0).abs() < 0.5, "{told}");
    }

    #[test]
    fn what_was_learned_outlives_the_process_and_the_geo_data() {
        let (before, latency) = (clients(), Arc::new(Latency::empty()));
        let mut book = Book::default();
        book.follow(&before, &latency, &services(2));
        book.take(0.0, &[]);
        let round: Vec<Asked> = (0..600).map(|_| asked("133.11.0.0", 1.0)).collect();
        book.take(10.0, &round);
        let text = serde_json::to_string(&book.keep()).unwrap();
        let kept: KeptDemand = serde_json::from_str(&text).unwrap();
        // Cells are numbered anew, and services stand the other way round.
        let mut geo = Geo {
            city: Vec::new(),
            asn: Vec::new(),
            networks: Vec::new(),
        };
        geo.networks.push(meridian_config::GeoNetwork {
            prefix: "192.0.2.0/24".parse().unwrap(),
            location: Some(meridian_config::Coordinates {
                latitude: -80.0,
                longitude: 5.0,
            }),
            pop: None,
        });
        let after = Arc::new(ClientMap::open(&geo).unwrap());
        let turned: Vec<_> = services(2).into_iter().rev().collect();
        let mut restored = Book::restored(kept, &after, 100.0);
        restored.follow(&after, &latency, &turned);
        restored.take(100.0, &[]);
        book.follow(&after, &latency, &turned);
        for book in [&book, &restored] {
            let demand = book.demand();
            assert!((demand.of_cell(cell(&after, "133.11.0.0")) - 60.0).abs() < 0.1);
            assert_eq!(demand.of_service(ServiceId(1)), 0.0);
            assert!((demand.of_service(ServiceId(0)) - 60.0).abs() < 0.1);
            assert_eq!(book.by_cell().len(), 1);
        }
        // Time that passed meanwhile counts as time in which nobody was heard.
        restored.take(700.0, &[]);
        let late = restored.demand();
        assert_eq!(*late, Demand::default(), "too few samples are left");
    }
}
