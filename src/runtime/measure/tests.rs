//! Every source from its socket or file to what is published, and over a restart.

use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::Mutex,
};

use meridian_geo_data::latency::{Measured, Reporter};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{intake::Source, *};
use crate::runtime::events::NewEvent;

/// Reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(300);

/// A configuration below this folder with more keys in `[latency]`.
fn config(folder: &Path, latency: &str) -> Arc<Config> {
    let text = format!(
        r#"
[server]
state_directory = "."

[[pop]]
name = "fra"
latitude = 50.03
longitude = 8.57
endpoints = ["192.0.2.10"]

[[pop]]
name = "iad"
latitude = 38.95
longitude = -77.45
endpoints = ["192.0.2.20"]

[[pool]]
name = "edge"
pops = ["fra", "iad"]

[[zone]]
name = "example.com"
file = "example.com.zone"

[[geo.network]]
prefix = "127.0.0.0/24"
latitude = 52.5
longitude = 13.4

[[geo.network]]
prefix = "198.51.100.0/24"
latitude = 48.8
longitude = 2.3

[latency]
min_samples = 2
{latency}
"#
    );
    let config = meridian_config::parse(&text, &folder.join("meridian.toml"));
    Arc::new(config.unwrap_or_else(|mistakes| panic!("{mistakes}")))
}

struct Bed {
    measure: Measure,
    registry: Registry,
    syslog: Option<SocketAddr>,
    beacon: Option<SocketAddr>,
    told: Arc<Mutex<Vec<NewEvent>>>,
    stop: CancellationToken,
    config: Arc<Config>,
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Bed {
    fn start(config: Arc<Config>) -> Self {
        let opened = open(&config.latency);
        let syslog = opened.syslog.as_ref();
        let beacon = opened.beacon.as_ref();
        let told: Arc<Mutex<Vec<NewEvent>>> = Arc::default();
        let (registry, stop) = (Registry::new(), CancellationToken::new());
        let telling = told.clone();
        Self {
            syslog: syslog.map(|(_, socket)| socket.local_addr().unwrap()),
            beacon: beacon.map(|(_, socket)| socket.local_addr().unwrap()),
            measure: Measure::start(Parts {
                clients: Arc::new(ClientMap::open(&config.geo).unwrap()),
                config: config.clone(),
                registry: &registry,
                opened,
                tell: Arc::new(move |event| telling.lock().unwrap().push(event)),
                stop: stop.clone(),
                tasks: &TaskTracker::new(),
            })
            .unwrap(),
            registry,
            told,
            stop,
            config,
        }
    }

    fn counted(&self, source: Source, outcome: &str) -> f64 {
        let labels = [("source", source.as_str()), ("outcome", outcome)];
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|f| f.name() == "meridian_latency_samples_total");
        let metrics = family.unwrap().get_metric();
        let fits = |metric: &&prometheus::proto::Metric| {
            labels.iter().all(|(name, value)| {
                let mut pairs = metric.get_label().iter();
                pairs.any(|pair| pair.name() == *name && pair.value() == *value)
            })
        };
        let found = metrics.iter().find(fits);
        found.map_or(0.0, |metric| metric.get_counter().get_value())
    }

    async fn until(&self, source: Source, outcome: &str, count: f64) {
        let poll = async {
            while self.counted(source, outcome) < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let what = format!("{} {outcome} {count}", source.as_str());
        timeout(PATIENCE, poll).await.expect(&what);
        assert_eq!(self.counted(source, outcome), count, "{what}");
    }

    /// What is published of a client's cell to this PoP, once something is.
    async fn published(&self, client: &str, pop: &str) -> Measured {
        let mut published = self.measure.published();
        let wanted = published.wait_for(|published| {
            let column = published.latency.column(pop);
            let found = published.clients.find(client.parse().unwrap());
            let cell = published.clients.place(found.place).0.unwrap();
            let mut measured = published.latency.of_cell(cell).iter();
            measured.any(|one| Some(one.column) == column)
        });
        let published = timeout(PATIENCE, wanted).await.expect("published").unwrap();
        let found = published.clients.find(client.parse().unwrap());
        let cell = published.clients.place(found.place).0.unwrap();
        let column = published.latency.column(pop).unwrap();
        let mut measured = published.latency.of_cell(cell).iter();
        *measured.find(|one| one.column == column).unwrap()
    }
}

fn samples(pop: &str, ms: f32, count: usize) -> Vec<Sample> {
    let one = Sample {
        prefix: "198.51.100.7/32".parse().unwrap(),
        pop: pop.into(),
        rtt_ms: ms,
        reporter: Reporter::Own,
    };
    vec![one; count]
}

#[tokio::test]
async fn what_the_api_brings_is_published_and_kept_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::start(config(folder.path(), ""));
    let outcomes = bed.measure.ask("me", samples("fra", 30.0, 20)).await;
    assert!(outcomes.iter().all(Result::is_ok));
    let unknown = bed.measure.ask("me", samples("far", 30.0, 1)).await;
    assert_eq!(unknown[0].as_ref().unwrap_err().as_str(), "unknown_pop");
    let measured = bed.published("198.51.100.7", "fra").await;
    assert!((measured.p25_ms - 30.0).abs() < 3.0, "{measured:?}");
    bed.measure.finish(true).await;
    drop(bed);
    let bed = Bed::start(config(folder.path(), ""));
    let again = bed.published("198.51.100.7", "fra").await;
    assert_eq!(again.p25_ms, measured.p25_ms);
    bed.measure.finish(false).await;
    // A damaged file is an alarm, not the end.
    drop(bed);
    let file = folder.path().join("latency.bin");
    let half = fs::read(&file).unwrap();
    fs::write(&file, &half[..half.len() / 2]).unwrap();
    let bed = Bed::start(config(folder.path(), ""));
    assert!(bed.measure.ask("me", samples("fra", 30.0, 20)).await[0].is_ok());
    assert!(bed.measure.alarms()[0].contains("it begins anew"));
    assert_eq!(bed.told.lock().unwrap().len(), 1);
    assert!(folder.path().join("latency.bin.damaged").exists());
}

#[tokio::test]
async fn anycast_addresses_that_are_given_out_or_measured_have_a_column() {
    let folder = tempfile::tempdir().unwrap();
    let pool = "[[pool]]\nname = \"any\"\npops = [\"fra\"]\nanycast = [\"192.0.2.99\"]\n";
    let log = "[[latency.log]]\nfile = \"a.log\"\npop = \"anycast:edge\"\n";
    let bed = Bed::start(config(folder.path(), &format!("{log}{pool}")));
    for (pop, known) in [
        ("anycast:any", true),
        ("anycast:edge", true),
        ("anycast:fra", false),
    ] {
        let outcomes = bed.measure.ask("me", samples(pop, 30.0, 1)).await;
        assert_eq!(outcomes[0].is_ok(), known, "{pop}");
    }
}

#[tokio::test]
async fn other_geo_data_is_published_with_its_own_cells() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::start(config(folder.path(), ""));
    bed.measure.ask("me", samples("fra", 30.0, 20)).await;
    bed.published("198.51.100.7", "fra").await;
    let clients = Arc::new(ClientMap::open(&bed.config.geo).unwrap());
    let mut published = bed.measure.published();
    bed.measure
        .reload(bed.config.clone(), clients.clone())
        .await;
    let renewed = published.wait_for(|published| Arc::ptr_eq(&published.clients, &clients));
    timeout(PATIENCE, renewed).await.expect("renewed").unwrap();
    bed.published("198.51.100.7", "fra").await;
}

#[tokio::test]
async fn logs_are_followed_over_rotation_and_reload() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("a.log");
    let keys = "[[latency.log]]\nfile = \"a.log\"\npop = \"fra\"\n";
    fs::write(&log, "198.51.100.7 99999\n").unwrap();
    let bed = Bed::start(config(folder.path(), keys));
    let append = |text: &str| {
        let file = fs::OpenOptions::new().append(true).create(true).open(&log);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    };
    // What stands there already is old; until it is known that the file is looked at, lines are
    // written again and again.
    let seen = async {
        let mut host = 0_u8;
        while bed.counted(Source::Log, "taken") == 0.0 {
            host = host.wrapping_add(1);
            append(&format!("198.51.100.{host} 20000\n"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, seen).await.expect("followed");
    fs::rename(&log, folder.path().join("a.log.1")).unwrap();
    append("garbage\n127.0.0.1 - - \"GET / HTTP/1.1\" 200 rtt_us=15000\n198.51.100.1 -\n");
    bed.until(Source::Log, "rtt", 2.0).await;
    assert_eq!(bed.counted(Source::Log, "faster_than_light"), 0.0);
    // No log is named any more.
    let without = config(folder.path(), "");
    let clients = Arc::new(ClientMap::open(&without.geo).unwrap());
    bed.measure.reload(without, clients).await;
    let gone = async {
        let name = "meridian_latency_log_up";
        while bed.registry.gather().iter().any(|f| f.name() == name) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("let go");
}

#[tokio::test]
async fn row_17_datagrams_count_by_who_sends_them() {
    let folder = tempfile::tempdir().unwrap();
    let keys = |from: &str| {
        format!(
            "[latency.syslog]\nlisten = \"127.0.0.1:0\"\n\
             [[latency.syslog.sender]]\naddress = \"127.0.0.0/8\"\npop = \"fra\"\n\
             [[latency.syslog.sender]]\naddress = \"{from}\"\npop = \"iad\"\n"
        )
    };
    let bed = Bed::start(config(folder.path(), &keys("127.0.0.2")));
    let to = bed.syslog.unwrap();
    let from = |address: &str| UdpSocket::bind((address, 0)).unwrap();
    let (one, other) = (from("127.0.0.1"), from("127.0.0.2"));
    for host in 1..=20 {
        let line = format!("<190>Nov 21 05:00:00 edge nginx: 198.51.100.{host} 25000");
        one.send_to(line.as_bytes(), to).unwrap();
        let line = format!("<134>1 - - - - - - 198.51.100.{host} 95000");
        other.send_to(line.as_bytes(), to).unwrap();
    }
    one.send_to(&[0xff; 2000], to).unwrap();
    one.send_to(b"", to).unwrap();
    // Cut where we stop reading, what the client wrote would stand last.
    let wrote = "<190>nginx: 198.51.100.1 - - [x] \"GET / HTTP/1.1\" 200 0 \"-\" \"";
    let forged = " client=198.51.100.200 rtt_us=1000";
    let fill = "a".repeat(8192 - wrote.len() - forged.len());
    let cut = format!("{wrote}{fill}{forged}\" client=198.51.100.1 rtt_us=25000");
    assert_eq!(cut.find("=1000").map(|at| at + 5), Some(8192));
    one.send_to(cut.as_bytes(), to).unwrap();
    one.send_to(&[b'9'; 8192], to).unwrap();
    // Reporters are told apart by a few bits: now and then one is taken for another.
    let counted = || bed.counted(Source::Syslog, "taken") + bed.counted(Source::Syslog, "repeated");
    let all = async {
        while counted() < 40.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, all).await.expect("all are counted");
    assert!(bed.counted(Source::Syslog, "taken") >= 20.0);
    bed.until(Source::Syslog, "not_text", 1.0).await;
    bed.until(Source::Syslog, "empty", 1.0).await;
    bed.until(Source::Syslog, "rtt", 1.0).await;
    bed.until(Source::Syslog, "too_long", 1.0).await;
    let near = bed.published("198.51.100.7", "fra").await.p25_ms;
    let far = bed.published("198.51.100.7", "iad").await.p25_ms;
    assert!((near - 25.0).abs() < 3.0 && (far - 95.0).abs() < 8.0);
    // Who is not named is not heard.
    let strict = keys("127.0.0.2").replace("127.0.0.0/8", "127.0.0.9");
    let strict = config(folder.path(), &strict);
    let clients = Arc::new(ClientMap::open(&strict.geo).unwrap());
    bed.measure.reload(strict, clients).await;
    let refused = async {
        while bed.counted(Source::Syslog, "sender") == 0.0 {
            one.send_to(b"198.51.100.1 1000", to).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, refused).await.expect("refused");
}

const BEACON: &str = "[latency.beacon]\nlisten = \"127.0.0.1:0\"\n\
    origins = [\"https://www.example.com\"]\nshare = 0.25\nper_client = 3\nproxies = [\"127.0.0.1\"]\n\
    urls = { fra = \"https://fra.example.com/tiny\", iad = \"https://iad.example.com/tiny\" }\n";

async fn http(to: SocketAddr, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let length = body.len();
    let text =
        format!("{head}\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    let _ = stream.write_all(text.as_bytes()).await;
    let mut got = String::new();
    let read = stream.read_to_string(&mut got);
    let _ = timeout(PATIENCE, read).await.expect("an answer");
    got
}

#[tokio::test]
async fn browsers_load_the_script_and_tell() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::start(config(folder.path(), BEACON));
    let to = bed.beacon.unwrap();
    let script = http(to, "GET /beacon.js HTTP/1.1", "").await;
    assert!(script.starts_with("HTTP/1.1 200"), "{script}");
    assert!(script.contains("var share = 0.25;"));
    assert!(script.contains(r#"var urls = {"fra":"https://fra.example.com/tiny""#));
    assert!(!script.contains("__"));
    let post = |origin: &str, client: &str| {
        format!("POST /beacon HTTP/1.1\r\nOrigin: {origin}\r\nX-Forwarded-For: {client}")
    };
    let ours = "https://www.example.com";
    let told = http(to, &post(ours, "198.51.100.7"), r#"{"fra":25.5,"zzz":1}"#).await;
    assert!(told.starts_with("HTTP/1.1 204"), "{told}");
    assert!(told.contains("access-control-allow-origin: https://www.example.com"));
    bed.until(Source::Beacon, "taken", 1.0).await;
    bed.until(Source::Beacon, "unknown_pop", 1.0).await;
    for (head, body, status) in [
        (post(ours, "198.51.100.7"), "{\"fra\":", 400),
        (post(ours, "nobody"), "{\"fra\":1}", 400),
        (
            post("https://evil.example", "198.51.100.8"),
            "{\"fra\":1}",
            403,
        ),
        ("POST /beacon HTTP/1.1".to_owned(), "{\"fra\":1}", 403),
        ("GET /beacon HTTP/1.1".to_owned(), "", 405),
        ("GET / HTTP/1.1".to_owned(), "", 404),
        (
            format!("OPTIONS /beacon HTTP/1.1\r\nOrigin: {ours}"),
            "",
            204,
        ),
    ] {
        let got = http(to, &head, body).await;
        assert!(
            got.starts_with(&format!("HTTP/1.1 {status}")),
            "{head}: {got}"
        );
        let allowed = got.contains("access-control-allow-origin");
        assert_eq!(allowed, head.contains(ours), "{head}");
        let (_, said) = got.split_once("\r\n\r\n").unwrap();
        assert_eq!(said.is_empty(), status == 204, "{got}");
    }
    let large = " ".repeat(3000);
    let got = http(to, &post(ours, "198.51.100.9"), &large).await;
    assert!(got.is_empty() || got.starts_with("HTTP/1.1 400"), "{got}");
    // Two of three a minute are used.
    let more = r#"{"fra":26,"iad":100}"#;
    let got = http(to, &post(ours, "198.51.100.7"), more).await;
    assert!(got.starts_with("HTTP/1.1 204"), "{got}");
    let got = http(to, &post(ours, "198.51.100.7"), more).await;
    assert!(got.starts_with("HTTP/1.1 429"), "{got}");
    assert_eq!(bed.counted(Source::Beacon, "rate"), 3.0);
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_alarm_and_had_when_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let keys = format!(
        "[latency.syslog]\nlisten = \"{at}\"\n\
         [[latency.syslog.sender]]\naddress = \"127.0.0.1\"\npop = \"fra\"\n"
    );
    let bed = Bed::start(config(folder.path(), &keys));
    assert!(bed.syslog.is_none());
    let alarm = async {
        while bed.measure.alarms().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, alarm).await.expect("an alarm");
    assert!(bed.measure.alarms()[0].contains("cannot bind"));
    drop(taken);
    let heard = async {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        while bed.counted(Source::Syslog, "taken") == 0.0 {
            let _ = sender.send_to(b"198.51.100.1 20000", at);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, heard).await.expect("heard");
    assert!(bed.measure.alarms().is_empty());
}

#[tokio::test]
async fn own_connections_count_for_our_own_site() {
    let folder = tempfile::tempdir().unwrap();
    let keys = "[latency.resolvers]\nenabled = true\npop = \"fra\"\nevery = 2\n";
    let bed = Bed::start(config(folder.path(), keys));
    let resolvers = bed.measure.resolvers();
    let wanted = (0..10).filter(|_| resolvers.wants()).count();
    assert_eq!(wanted, 5);
    resolvers.hear("198.51.100.7".parse().unwrap(), Duration::from_millis(20));
    // The same again says nothing more.
    resolvers.hear("198.51.100.7".parse().unwrap(), Duration::from_millis(20));
    bed.until(Source::Resolver, "taken", 1.0).await;
    bed.until(Source::Resolver, "repeated", 1.0).await;
}
