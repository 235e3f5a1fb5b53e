//! No answer is lost or wrong while zones are reloaded and verdicts flip under load.
//!
//! Two things change all the time: the generation of a zone, written into every record of an RRset,
//! and whether the first PoP of a service is in use. Each change has a moment before which nobody
//! can have seen it, and one after which everybody must: what a client was told is right when it was
//! in force at some moment while its query was on its way. Every answer is checked like that.
//!
//! `MERIDIAN_CHURN=long` makes 100 reloads and 1,000 flips; without it there are a tenth of them.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hickory_proto::{op::Message, rr::RData};
use meridian_tests::{PATIENCE, Server, ServerOptions, dns, http};

const FRA: &str = "192.0.2.1";
const IAD: &str = "198.51.100.1";

const CONFIG: &str = r#"
[steering]
policy = "failover"

[[pop]]
name = "fra"
latitude = 50.03
longitude = 8.57
endpoints = ["192.0.2.1"]

[[pop]]
name = "iad"
latitude = 38.94
longitude = -77.46
endpoints = ["198.51.100.1"]

[[pool]]
name = "edge"
pops = ["fra", "iad"]

[[zone]]
name = "b.example"
file = "zones/b.example.zone"

[[zone.service]]
name = "www"
pool = "edge"
"#;

/// Records of one RRset in which the generation stands.
const RECORDS: usize = 8;

fn zone(generation: u64) -> String {
    let records: String = (0..RECORDS)
        .map(|n| format!("gen TXT \"{n}\" \"{generation}\"\n"))
        .collect();
    format!("$TTL 60\n@ SOA ns root {generation} 2 3 4 60\n@ NS ns\nns A 192.0.2.53\n{records}")
}

/// Values that one thing had, each with the moment before which nobody can have seen it and the
/// moment after which nobody may see the one before it.
struct History<T> {
    values: Mutex<Vec<(T, Instant, Option<Instant>)>>,
}

#[allow(clippy::disallowed_methods)] // real servers, real time
impl<T: Clone + PartialEq + std::fmt::Debug> History<T> {
    fn new(first: T) -> Self {
        let now = Instant::now();
        Self {
            values: Mutex::new(vec![(first, now, Some(now))]),
        }
    }

    /// Before a change is asked for.
    fn begins(&self, value: T) {
        let mut values = self.values.lock().unwrap();
        values.push((value, Instant::now(), None));
    }

    /// After the change has been seen.
    fn is_seen(&self) {
        let mut values = self.values.lock().unwrap();
        values.last_mut().unwrap().2 = Some(Instant::now());
    }

    /// Whether a value was in force at some moment between two.
    fn allows(&self, value: &T, sent: Instant, received: Instant) -> bool {
        let values = self.values.lock().unwrap();
        let ends = values.iter().skip(1).map(|(.., seen)| *seen);
        let ends = ends.chain([None]);
        let mut spans = values.iter().zip(ends);
        spans.any(|(one, end): (&(T, Instant, _), Option<Instant>)| {
            one.0 == *value && one.1 <= received && end.is_none_or(|end| end >= sent)
        })
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // any moments in this order will do
fn a_value_is_right_from_its_begin_until_the_next_is_seen() {
    let history = History::new(1);
    let first = Instant::now();
    assert!(history.allows(&1, first, first) && !history.allows(&2, first, first));
    history.begins(2);
    let between = Instant::now();
    assert!(history.allows(&1, between, between) && history.allows(&2, between, between));
    assert!(!history.allows(&2, first, first), "not before its begin");
    history.is_seen();
    let after = Instant::now();
    assert!(!history.allows(&1, after, after) && history.allows(&2, after, after));
    assert!(history.allows(&1, between, after), "it was on its way");
}

/// What the clients and those who change things share.
struct World {
    server: SocketAddr,
    generation: History<u64>,
    address: History<IpAddr>,
    stop: AtomicBool,
    asked: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl World {
    fn blame(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap();
        if wrong.len() < 20 {
            wrong.push(what);
        }
    }

    /// Asks both questions in turn, and judges each answer.
    #[allow(clippy::disallowed_methods)] // real servers, real time
    fn ask(&self, over_tcp: bool) {
        let questions = [
            dns::question("gen.a.example", "TXT"),
            dns::question("www.b.example", "A"),
        ]
        .map(|question| question.edns(1232).patiently());
        for question in questions.iter().cycle() {
            if self.stop.load(Relaxed) {
                return;
            }
            let sent = Instant::now();
            let reply = match over_tcp {
                true => question.tcp(self.server),
                false => question.udp(self.server),
            };
            let received = Instant::now();
            self.asked.fetch_add(1, Relaxed);
            match reply {
                Ok(reply) => self.judge(&reply, sent, received),
                Err(error) => self.blame(format!("lost: {error}")),
            }
        }
    }

    fn judge(&self, reply: &Message, sent: Instant, received: Instant) {
        if let [address] = dns::addresses(reply)[..] {
            if !self.address.allows(&address, sent, received) {
                self.blame(format!("{address} was not in force"));
            }
            return;
        }
        match generations(reply)[..] {
            [generation] if reply.answers.len() == RECORDS => {
                if !self.generation.allows(&generation, sent, received) {
                    self.blame(format!("generation {generation} was not in force"));
                }
            }
            _ => self.blame(format!("neither one address nor one generation: {reply:?}")),
        }
    }

    /// Waits until an answer shows a change.
    #[allow(clippy::disallowed_methods)] // real servers, real time
    fn until(&self, name: &str, rtype: &str, shows: impl Fn(&Message) -> bool) {
        let question = dns::question(name, rtype).edns(1232);
        let begun = Instant::now();
        while !question.udp(self.server).is_ok_and(|reply| shows(&reply)) {
            assert!(begun.elapsed() < PATIENCE, "{name} never changed");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Changes a zone: noticed by itself in every other turn, told by the API in the others.
    fn reload(&self, admin: SocketAddr, folder: &Path, times: u64) {
        for generation in 2..times + 2 {
            self.generation.begins(generation);
            let next = folder.join("zones/.next");
            std::fs::write(&next, zone(generation)).unwrap();
            std::fs::rename(next, folder.join("zones/a.example.zone")).unwrap();
            if generation % 2 == 0 {
                let reply = http::request(admin, "POST", "/api/v1/reload", "").unwrap();
                assert_eq!(reply.status, 200, "{}", reply.body);
            }
            self.until("gen.a.example", "TXT", |reply| {
                generations(reply) == [generation]
            });
            self.generation.is_seen();
        }
    }

    /// Takes the first PoP out and back in.
    fn flip(&self, admin: SocketAddr, times: u64) {
        let path = "/api/v1/pops/fra/drain";
        for turn in 0..times {
            let (method, body, address) = match turn % 2 {
                0 => ("PUT", "{\"reason\":\"churn\"}", IAD),
                _ => ("DELETE", "", FRA),
            };
            let address: IpAddr = address.parse().unwrap();
            self.address.begins(address);
            let reply = http::request(admin, method, path, body).unwrap();
            assert!((200..300).contains(&reply.status), "{}", reply.body);
            self.until("www.b.example", "A", |reply| {
                dns::addresses(reply) == [address]
            });
            self.address.is_seen();
        }
    }
}

/// The generations in an answer: one, when it is of one piece.
fn generations(reply: &Message) -> Vec<u64> {
    let texts = reply
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::TXT(txt) => {
                let text = txt.txt_data.last()?;
                std::str::from_utf8(text).ok()?.parse().ok()
            }
            _ => None,
        });
    texts.collect::<BTreeSet<u64>>().into_iter().collect()
}

#[test]
fn no_answer_is_lost_or_wrong_while_everything_changes() {
    let long = std::env::var("MERIDIAN_CHURN").is_ok_and(|form| form == "long");
    let (reloads, flips) = if long { (100, 1000) } else { (10, 100) };
    let options = ServerOptions {
        arrange: Some(|folder| {
            let config = std::fs::read_to_string(folder.join("meridian.toml")).unwrap();
            let text = format!("zone_folders = [\"zones\"]\n{config}");
            std::fs::write(folder.join("meridian.toml"), text).unwrap();
        }),
        ..ServerOptions::new(CONFIG)
    };
    let other = "$TTL 60\n@ SOA ns root 1 2 3 4 60\n@ NS ns\nns A 192.0.2.53\n";
    let server = Server::start(
        options
            .file("zones/a.example.zone", zone(1))
            .file("zones/b.example.zone", other),
    );
    let world = World {
        server: server.dns,
        generation: History::new(1),
        address: History::new(FRA.parse().unwrap()),
        stop: AtomicBool::new(false),
        asked: AtomicU64::new(0),
        wrong: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for over_tcp in [false, false, false, true] {
            let world = &world;
            scope.spawn(move || world.ask(over_tcp));
        }
        let reloading = scope.spawn(|| world.reload(server.admin, server.folder(), reloads));
        let flipping = scope.spawn(|| world.flip(server.admin, flips));
        let ends = [reloading.join(), flipping.join()];
        world.stop.store(true, Relaxed);
        assert!(ends.iter().all(Result::is_ok), "a change did not come");
    });
    let (asked, wrong) = (world.asked.load(Relaxed), world.wrong.into_inner().unwrap());
    assert!(wrong.is_empty(), "of {asked} answers: {wrong:#?}");
    assert!(asked > reloads + flips, "hardly any load: {asked}");
    eprintln!("{asked} answers during {reloads} reloads and {flips} flips: none lost, none wrong");
}
