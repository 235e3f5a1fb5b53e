//! What 10,000 targets cost: starts them on 127.0.0.x, probes them every 5 s, and prints the CPU
//! time and the sockets of the prober alone.
//!
//! ```text
//! cargo run --release -p meridian-health-prober --example scale -- [TARGETS] [SECONDS] [tcp|http|https]
//! ```
//!
//! The targets live in a child process, so that their own cost is not counted.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use meridian_health_prober::{Prober, Verdict};
use rustls_pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// Endpoints of a PoP.
const PER_POP: usize = 50;
/// Server name of https targets.
const NAME: &str = "edge.example";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().unwrap_or_else(|| "10000".into());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if first == "--serve" {
        runtime.block_on(serve(arguments.next().map(Into::into)));
        return;
    }
    let number = |text: String| text.parse().expect("a number");
    let targets = number(first);
    let seconds = number(arguments.next().unwrap_or_else(|| "20".into()));
    let kind = arguments.next().unwrap_or_else(|| "http".into());
    runtime.block_on(measure(targets, Duration::from_secs(seconds as u64), &kind));
}

/// The targets: one listener for all of 127.0.0.0/8. Over TLS where there is a path; the
/// certificate to trust is written to it.
async fn serve(ca: Option<PathBuf>) {
    let tls = ca.map(|path| acceptor(&path));
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    println!("{}", address.port());
    std::io::stdout().flush().expect("a reader");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        match tls.clone() {
            None => tokio::spawn(answer(stream)),
            Some(tls) => tokio::spawn(async move {
                if let Ok(stream) = tls.accept(stream).await {
                    answer(stream).await;
                }
            }),
        };
    }
}

fn acceptor(ca: &Path) -> TlsAcceptor {
    let issued = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    fs::write(ca, issued.cert.pem()).expect("a file");
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            let builder = builder.with_no_client_auth();
            builder.with_single_cert(vec![issued.cert.der().clone()], key)
        });
    TlsAcceptor::from(Arc::new(config.expect("a server configuration")))
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut request).await {
        let whole = request[..length].ends_with(b"\r\n\r\n");
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
        if whole && stream.write_all(response).await.is_err() {
            return;
        }
    }
}

/// The targets' process, ended with this one.
struct Targets {
    child: Child,
    port: u16,
}

impl Targets {
    fn start(ca: Option<&Path>) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .arg("--serve")
            .args(ca)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child process");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("a line");
        Self {
            child,
            port: line.trim().parse().expect("a port"),
        }
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(clippy::disallowed_methods)] // it measures
async fn measure(count: usize, duration: Duration, kind: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let ca = directory.path().join("ca.pem");
    let targets = Targets::start((kind == "https").then_some(ca.as_path()));
    let path = directory.path().join("meridian.toml");
    fs::write(directory.path().join("zone"), "").expect("a file");
    fs::write(&path, configuration(count, targets.port, kind)).expect("a file");
    let config = match meridian_config::load(&path) {
        Ok(config) => Arc::new(config),
        Err(mistakes) => panic!("{}", mistakes.render(false)),
    };
    let prober = Prober::start(config, Default::default());
    let start = Instant::now();
    let snapshots = prober.subscribe();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (cpu, begun) = (cpu_seconds(), Instant::now());
    println!("{count} {kind} targets every 5 s; the first 6 s took {cpu:.2} s of CPU");
    let mut most = 0;
    while begun.elapsed() < duration {
        tokio::time::sleep(Duration::from_millis(500)).await;
        most = most.max(sockets());
    }
    let share = (cpu_seconds() - cpu) / begun.elapsed().as_secs_f64();
    let snapshot = snapshots.borrow().clone();
    let endpoints = snapshot.groups.values().flat_map(|pop| &pop.endpoints);
    let up = endpoints
        .filter(|endpoint| endpoint.verdict == Verdict::Up)
        .count();
    println!("then for {:.0} s:", begun.elapsed().as_secs_f64());
    println!("  CPU            {:.1} % of one core", share * 100.0);
    println!("  sockets        {most} at most");
    println!("  resident       {} MiB", resident_mib());
    println!("  up             {up} of {count}");
    println!(
        "  snapshots      {} in {:.0} s",
        snapshot.generation,
        start.elapsed().as_secs_f64()
    );
    for line in counters(&prober) {
        println!("  {line}");
    }
    prober.shutdown().await;
}

fn configuration(count: usize, port: u16, kind: &str) -> String {
    let tls = match kind {
        "https" => format!("server_name = \"{NAME}\"\nca_file = \"ca.pem\"\n"),
        _ => String::new(),
    };
    let mut text = format!(
        "[check.edge]\ntype = \"{kind}\"\nport = {port}\n{tls}[[zone]]\nname = \"example.com\"\nfile = \"zone\"\n"
    );
    let mut names = Vec::new();
    for (n, first) in (0..count).step_by(PER_POP).enumerate() {
        let last = (first + PER_POP).min(count);
        let addresses: Vec<String> = (first..last)
            .map(|i| {
                format!(
                    "\"127.{}.{}.{}\"",
                    1 + i / 62_500,
                    i / 250 % 250,
                    1 + i % 250
                )
            })
            .collect();
        text.push_str(&format!(
            "[[pop]]\nname = \"pop{n}\"\nlatitude = 0\nlongitude = 0\nendpoints = [{}]\n",
            addresses.join(", ")
        ));
        names.push(format!("\"pop{n}\""));
    }
    text.push_str(&format!(
        "[[pool]]\nname = \"edge\"\ncheck = \"edge\"\npops = [{}]\n",
        names.join(", ")
    ));
    text
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(") ").next().unwrap_or("");
    let ticks: f64 = after_name
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<f64>().unwrap_or(0.0))
        .sum();
    ticks / 100.0
}

fn sockets() -> usize {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return 0;
    };
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

fn resident_mib() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|p| p.parse().ok())
        .unwrap_or(0);
    (pages * 4096) >> 20
}

/// The prober's own totals.
fn counters(prober: &Prober) -> Vec<String> {
    let registry = prometheus::Registry::new();
    prober.register(&registry).expect("a fresh registry");
    let mut lines = Vec::new();
    for family in registry.gather() {
        if family.name().ends_with("_total") {
            let mut by_outcome = std::collections::BTreeMap::<String, f64>::new();
            for metric in family.get_metric() {
                let label = metric.get_label().iter().find(|l| l.name() == "outcome");
                let outcome = label.map(|l| l.value().to_owned()).unwrap_or_default();
                *by_outcome.entry(outcome).or_default() += metric.get_counter().get_value();
            }
            for (outcome, count) in by_outcome {
                lines.push(format!("{} {outcome} {count}", family.name()));
            }
        }
    }
    lines
}
