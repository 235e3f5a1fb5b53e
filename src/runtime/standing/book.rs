//! What is learned of demand from samples of who asks: pure, in the time that is handed in.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use meridian_dns::{metrics::Asked, steer::Demand};
use meridian_geo_data::{ClientMap, fold, latency::Latency};

/// Seconds in which what was asked counts half.
const HALF_LIFE_S: f64 = 600.0;

/// Samples below which nothing is said of demand: too few to tell cells apart.
const ENOUGH: f64 = 500.0;

/// Fading counts of answers by cell, by exceptional prefix and by service.
#[derive(Debug, Default)]
pub(super) struct Book {
    clients: Option<Arc<ClientMap>>,
    latency: Option<Arc<Latency>>,
    cells: Vec<f64>,
    /// An address that asked from each cell, cut to its /24 or /48.
    examples: Vec<Option<IpAddr>>,
    prefixes: BTreeMap<IpNet, f64>,
    services: Vec<f64>,
    /// Samples taken, fading alike.
    samples: f64,
    last_s: Option<f64>,
    /// Seconds of observation, fading alike.
    observed_s: f64,
}

impl Book {
    /// Counts with this map of clients, these exceptional prefixes and so many services from now
    /// on. Where one of them is new, what it said before is forgotten.
    pub(super) fn follow(
        &mut self,
        clients: &Arc<ClientMap>,
        latency: &Arc<Latency>,
        services: usize,
    ) {
        if !self.counts_by(clients) {
            let cells = clients.cells().len();
            self.clients = Some(clients.clone());
            self.cells = vec![0.0; cells];
            self.examples = vec![None; cells];
            self.latency = None;
            (self.samples, self.observed_s) = (0.0, 0.0);
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
        if self.services.len() != services {
            self.services = vec![0.0; services];
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
        let counts = self.cells.iter_mut().chain(&mut self.services);
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
        let cell = cell.0 as usize;
        if let Some(example) = self.examples.get_mut(cell) {
            *example = Some(one.client);
        }
        let exceptional = prefix(judged).and_then(|prefix| self.prefixes.get_mut(&prefix));
        match exceptional {
            Some(count) => *count += answers,
            None => {
                if let Some(count) = self.cells.get_mut(cell) {
                    *count += answers;
                }
            }
        }
    }

    /// Answers a second, lately; nothing while too little is known.
    pub(super) fn demand(&self) -> Arc<Demand> {
        if self.samples < ENOUGH {
            return Arc::default();
        }
        let rate = |count: &f64| self.rate(*count);
        let prefixes = self.prefixes.iter();
        Arc::new(Demand::new(
            self.cells.iter().map(rate).collect(),
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
                    *sum += count;
                }
            }
        }
        let cells = counts.iter().zip(&self.examples).enumerate();
        let asked = cells.filter(|(_, (count, _))| **count > 0.0);
        asked
            .filter_map(|(cell, (count, example))| Some((cell, (*example)?, self.rate(*count))))
            .collect()
    }

    // Rates are told in f32; the counts fade in f64.
    #[allow(clippy::cast_possible_truncation)]
    fn rate(&self, count: f64) -> f32 {
        (count / self.observed_s.max(1.0)) as f32
    }
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

    fn cell(clients: &ClientMap, address: &str) -> CellId {
        let found = clients.find(address.parse().unwrap());
        clients.place(found.place).0.unwrap()
    }

    #[test]
    fn counts_become_rates_and_fade() {
        let (clients, latency) = (clients(), Arc::new(Latency::empty()));
        let mut book = Book::default();
        book.follow(&clients, &latency, 2);
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
        book.follow(&clients(), &Arc::new(Latency::empty()), 1);
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
        book.follow(&clients, &latency, 2);
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
}
