//! Probes against real servers on loopback, friendly and hostile ones.

#![allow(clippy::disallowed_methods)] // these probes run on the real network

mod kinds;
mod pages;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Instant,
};

use meridian_config::Config;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{CertificateFault, GroupKey, Prepared, ProtocolFault, Target, testing};

/// A deadline that no test reaches, however busy the machine is.
const AMPLE: Duration = Duration::from_secs(300);
/// For tests that wait for the deadline; long enough for a busy machine to reach the phase meant.
const SHORT: Duration = Duration::from_secs(1);

/// An address where connections are neither taken nor refused.
struct Hole {
    listener: TcpListener,
    _fillers: Vec<tokio::task::JoinHandle<std::io::Result<TcpStream>>>,
}

impl Hole {
    async fn at(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let fill = |_| tokio::spawn(TcpStream::connect(address));
        let fillers: Vec<_> = (0..8).map(fill).collect();
        // The fillers that did not fit keep retrying; the queue stays full.
        while fillers.iter().all(|filler| !filler.is_finished()) {
            tokio::task::yield_now().await;
        }
        Self {
            listener,
            _fillers: fillers,
        }
    }
}

fn job(address: SocketAddr, keys: &str, deadline: Duration) -> Job {
    let mut check = testing::check(keys);
    check.port = address.port();
    let group = GroupKey {
        pop: "fra".into(),
        check: check.name.clone(),
    };
    Job {
        id: TargetId(1),
        target: Arc::new(Target {
            group,
            address: address.ip(),
            place: 0,
            check: Arc::new(check),
        }),
        started: Instant::now(),
        deadline,
    }
}

/// One probe by a prober that keeps nothing.
async fn probe(address: SocketAddr, keys: &str, deadline: Duration) -> Outcome {
    NetworkProbe::new(0)
        .probe(&job(address, keys, deadline))
        .await
}

fn fail(reason: Reason) -> Outcome {
    Outcome::Fail { reason }
}

fn passed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Pass { .. })
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A server that lets `talk` have every connection.
async fn serve<F>(talk: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    address
}

/// Reads a request's head; `None` at the end of the connection.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// A server that answers every request on every connection with these octets.
async fn answering(response: &'static str) -> SocketAddr {
    serve(move |stream| answer_all(stream, response)).await
}

async fn answer_all(mut stream: impl AsyncRead + AsyncWrite + Unpin, response: &'static str) {
    while read_request(&mut stream).await.is_some() {
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nall well";

#[tokio::test]
async fn tcp_passes_and_is_refused() {
    let (_kept, address) = testing::keep_port([127, 0, 0, 1]);
    let listener = TcpListener::bind(address).await.unwrap();
    assert!(passed(
        &probe(address, "type = \"tcp\"\nport = 1", AMPLE).await
    ));
    drop(listener);
    let outcome = probe(address, "type = \"tcp\"\nport = 1", AMPLE).await;
    assert_eq!(outcome, fail(Reason::Refused));
}

#[tokio::test]
async fn tcp_times_out_where_the_queue_is_full() {
    let hole = Hole::at("127.0.0.1:0".parse().unwrap()).await;
    let address = hole.listener.local_addr().unwrap();
    let outcome = probe(address, "type = \"tcp\"\nport = 1", SHORT).await;
    assert_eq!(outcome, fail(Reason::Timeout(Phase::Connect)));
}

#[tokio::test]
async fn ipv6_endpoints_are_probed_too() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        eprintln!("SKIP no IPv6 on this machine's loopback");
        return;
    };
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let request = read_request(&mut stream).await.unwrap();
            assert!(
                request.contains(&format!("host: {address}\r\n")),
                "{request}"
            );
            let _ = stream.write_all(OK.as_bytes()).await;
        }
    });
    let outcome = probe(address, "type = \"http\"", AMPLE).await;
    assert!(passed(&outcome), "{outcome}");
}

#[tokio::test]
async fn http_status_is_judged_by_the_set() {
    let sorry = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let moved = "HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n";
    let both = "type = \"http\"\nstatus = [200, \"300-399\"]";
    for (response, keys, expected) in [
        (OK, "type = \"http\"", None),
        (sorry, "type = \"http\"", Some(Reason::Status(503))),
        (moved, "type = \"http\"", Some(Reason::Status(301))),
        (moved, both, None),
        (OK, both, None),
        (sorry, "type = \"http\"\nstatus = [503]", None),
    ] {
        let outcome = probe(answering(response).await, keys, AMPLE).await;
        match expected {
            Some(reason) => assert_eq!(outcome, fail(reason)),
            None => assert!(passed(&outcome), "{outcome}"),
        }
    }
}

#[tokio::test]
async fn the_request_is_what_the_check_says() {
    let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let address = serve(move |mut stream| {
        let sender = sender.clone();
        async move {
            let request = read_request(&mut stream).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .await
                .unwrap();
            sender.send(request).unwrap();
        }
    })
    .await;
    let keys = "type = \"http\"\nmethod = \"HEAD\"\npath = \"/a?b=c\"\nhost = \"www.example.com\"";
    assert!(passed(&probe(address, keys, AMPLE).await));
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("HEAD /a?b=c HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("host: www.example.com\r\n"), "{request}");
    assert!(
        request.contains("user-agent: meridian-health-prober/"),
        "{request}"
    );

    assert!(passed(&probe(address, "type = \"http\"", AMPLE).await));
    let request = requests.recv().await.unwrap();
    assert!(
        request.contains(&format!("host: {address}\r\n")),
        "{request}"
    );
}

#[tokio::test]
async fn the_body_must_contain_the_text_within_64_kib() {
    let keys = "type = \"http\"\nbody = \"well\"";
    assert!(passed(&probe(answering(OK).await, keys, AMPLE).await));
    let sick = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nall sick";
    assert_eq!(
        probe(answering(sick).await, keys, AMPLE).await,
        fail(Reason::BodyMismatch)
    );
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                   6\r\nall we\r\n2\r\nll\r\n0\r\n\r\n";
    assert!(passed(&probe(answering(chunked).await, keys, AMPLE).await));
    for (before, expected) in [(http::BODY_LIMIT - 4, true), (http::BODY_LIMIT - 3, false)] {
        let body = format!("{}well", "x".repeat(before));
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let outcome = probe(answering(response.leak()).await, keys, AMPLE).await;
        assert_eq!(passed(&outcome), expected, "{before}: {outcome}");
    }
}

#[tokio::test]
async fn a_pass_later_than_max_latency_is_too_slow() {
    let address = serve(|mut stream| async move {
        read_request(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        let _ = stream.write_all(OK.as_bytes()).await;
    })
    .await;
    let outcome = probe(address, "type = \"http\"\nmax_latency = \"10ms\"", AMPLE).await;
    assert!(
        matches!(
            outcome,
            Outcome::Fail {
                reason: Reason::TooSlow { .. }
            }
        ),
        "{outcome}"
    );
}

#[tokio::test]
async fn the_phase_of_a_timeout_is_named() {
    let silent = serve(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let outcome = probe(silent, "type = \"http\"", SHORT).await;
    assert_eq!(outcome, fail(Reason::Timeout(Phase::Headers)));
    let outcome = insecure(silent, SHORT).await;
    assert_eq!(outcome, fail(Reason::Timeout(Phase::Tls)));

    let cut = answering("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall well").await;
    let outcome = probe(cut, "type = \"http\"", SHORT).await;
    assert_eq!(outcome, fail(Reason::Timeout(Phase::Body)));
}

#[tokio::test]
async fn closed_and_reset_are_told_apart() {
    let closing = serve(|mut stream| async move {
        read_request(&mut stream).await;
    })
    .await;
    assert_eq!(
        probe(closing, "type = \"http\"", AMPLE).await,
        fail(Reason::Closed)
    );

    let resetting = serve(|mut stream| async move {
        read_request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    assert_eq!(
        probe(resetting, "type = \"http\"", AMPLE).await,
        fail(Reason::Reset)
    );

    let cut = serve(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(&OK.as_bytes()[..OK.len() - 1]).await;
    })
    .await;
    assert_eq!(
        probe(cut, "type = \"http\"", AMPLE).await,
        fail(Reason::Closed)
    );
}

#[tokio::test]
async fn hostile_servers_cost_bounded_time_and_memory() {
    let too_large = fail(Reason::Protocol(ProtocolFault::HeadersTooLarge));
    let not_http = fail(Reason::Protocol(ProtocolFault::NotHttp));
    let endless_line = endless("HTTP/1.1 200 OK\r\nX: ", "xxxxxxxxxxxxxxxx").await;
    assert_eq!(
        probe(endless_line, "type = \"http\"", AMPLE).await,
        too_large
    );
    let endless_headers = endless("HTTP/1.1 200 OK\r\n", "X: y\r\n").await;
    assert_eq!(
        probe(endless_headers, "type = \"http\"", AMPLE).await,
        too_large
    );
    let garbage = endless("\x01\x02garbage", "\x7f").await;
    assert_eq!(probe(garbage, "type = \"http\"", AMPLE).await, not_http);
    let banner = serve(|mut stream| async move {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await;
        read_request(&mut stream).await;
    })
    .await;
    assert_eq!(probe(banner, "type = \"http\"", AMPLE).await, not_http);
    let interim = endless("", "HTTP/1.1 102 Processing\r\n\r\n").await;
    let outcome = probe(interim, "type = \"http\"", SHORT).await;
    assert_eq!(outcome, fail(Reason::Timeout(Phase::Headers)));

    // An endless body of a good status: enough has been seen after 64 KiB.
    let endless_body = endless("HTTP/1.1 200 OK\r\n\r\n", "xxxxxxxxxxxxxxxxxxxx").await;
    assert!(passed(&probe(endless_body, "type = \"http\"", AMPLE).await));
    let keys = "type = \"http\"\nbody = \"well\"";
    assert_eq!(
        probe(endless_body, keys, AMPLE).await,
        fail(Reason::BodyMismatch)
    );
    let broken = answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    let outcome = probe(broken.await, "type = \"http\"", AMPLE).await;
    assert_eq!(outcome, fail(Reason::Protocol(ProtocolFault::Body)));
}

#[tokio::test]
async fn a_slow_drip_ends_with_the_deadline() {
    for (start, phase) in [
        ("HTTP/1.1 200 OK\r\nX: ", Phase::Headers),
        ("HTTP/1.1 200 OK\r\n\r\n", Phase::Body),
    ] {
        let address = serve(move |mut stream| async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(start.as_bytes()).await;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let outcome = probe(address, "type = \"http\"", SHORT).await;
        assert_eq!(outcome, fail(Reason::Timeout(phase)));
    }
}

/// Writes `start`, then `again` until the probe hangs up.
async fn endless(start: &'static str, again: &'static str) -> SocketAddr {
    serve(move |mut stream| async move {
        read_request(&mut stream).await;
        let again = again.repeat(100);
        let _ = stream.write_all(start.as_bytes()).await;
        while stream.write_all(again.as_bytes()).await.is_ok() {}
    })
    .await
}

/// A server that counts its connections and closes each after `requests` requests.
async fn counting(requests: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let address = serve(move |mut stream| {
        counter.fetch_add(1, SeqCst);
        async move {
            for _ in 0..requests {
                if read_request(&mut stream).await.is_none() {
                    return;
                }
                let _ = stream.write_all(OK.as_bytes()).await;
            }
        }
    })
    .await;
    (address, count)
}

#[tokio::test]
async fn a_connection_is_used_ten_times_and_then_made_anew() {
    let (address, connections) = counting(1000).await;
    let prober = NetworkProbe::new(1);
    let job = job(address, "type = \"http\"", AMPLE);
    for _ in 0..25 {
        assert!(passed(&prober.probe(&job).await));
    }
    assert_eq!(connections.load(SeqCst), 3);
    assert_eq!(prober.kept(), 1);
    prober.retain(&HashSet::new());
    assert_eq!(prober.kept(), 0);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_no_failure() {
    for requests in [1, 2, 3] {
        let (address, connections) = counting(requests).await;
        let prober = NetworkProbe::new(1);
        let job = job(address, "type = \"http\"", AMPLE);
        for _ in 0..6 {
            let outcome = prober.probe(&job).await;
            assert!(passed(&outcome), "{outcome}");
        }
        assert_eq!(connections.load(SeqCst), 6 / requests);
    }
}

#[tokio::test]
async fn a_good_bye_on_a_kept_connection_is_no_failure() {
    let address = serve(|mut stream| async move {
        read_request(&mut stream).await;
        let bye = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(format!("{OK}{bye}").as_bytes()).await;
    })
    .await;
    let prober = NetworkProbe::new(1);
    for _ in 0..3 {
        let outcome = prober.probe(&job(address, "type = \"http\"", AMPLE)).await;
        assert!(passed(&outcome), "{outcome}");
    }
}

#[tokio::test]
async fn no_more_connections_are_kept_than_allowed() {
    let (address, connections) = counting(1000).await;
    let prober = NetworkProbe::new(2);
    for id in 0..6 {
        let job = Job {
            id: TargetId(id % 3),
            ..job(address, "type = \"http\"", AMPLE)
        };
        assert!(passed(&prober.probe(&job).await));
    }
    assert_eq!(prober.kept(), 2);
    assert_eq!(connections.load(SeqCst), 4);
}

#[tokio::test]
async fn connection_close_is_obeyed() {
    let close = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let address = answering(close).await;
    let prober = NetworkProbe::new(1);
    assert!(passed(
        &prober.probe(&job(address, "type = \"http\"", AMPLE)).await
    ));
    assert_eq!(prober.kept(), 0);
}

/// A certificate authority and what it issues.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key)
    }
}

/// An https server that answers well under this certificate.
async fn https(issued: (String, KeyPair)) -> SocketAddr {
    https_answering(issued, OK).await
}

async fn https_answering(
    (certificate, key): (String, KeyPair),
    response: &'static str,
) -> SocketAddr {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                answer_all(stream, response).await;
            }
        }
    })
    .await
}

use rustls_pki_types::CertificateDer;

/// One probe by a fresh prober that has read the roots of its check.
async fn probe_https(address: SocketAddr, keys: &str, deadline: Duration) -> Outcome {
    let job = job(address, keys, deadline);
    let prober = NetworkProbe::new(0);
    prober.prepare(Prepared::read(&config_of(&job)).checks);
    prober.probe(&job).await
}

fn config_of(job: &Job) -> Config {
    let mut config = testing::config(&[("fra", 1)]);
    config.checks = vec![(*job.target.check).clone()];
    config
}

async fn insecure(address: SocketAddr, deadline: Duration) -> Outcome {
    probe_https(address, "type = \"https\"\ninsecure = true", deadline).await
}

fn trusting(ca: &Path) -> String {
    format!(
        "type = \"https\"\nserver_name = \"www.example.com\"\nca_file = {:?}",
        ca
    )
}

#[tokio::test]
async fn certificates_are_verified_and_their_fault_is_named() {
    let authority = Authority::new("authority");
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let stranger = Authority::new("stranger");
    let own_key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(["www.example.com".to_owned()]).unwrap();
    let self_signed = (own.self_signed(&own_key).unwrap().pem(), own_key);
    let expired = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 1);
    };
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(2090, 1, 1);
    let of_ca = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    };
    use CertificateFault::{
        Authority as OfAuthority, Expired, NotYetValid, UnknownIssuer, WrongName,
    };
    for (certificate, fault) in [
        (authority.issue("www.example.com", |_| {}), None),
        (authority.issue("www.example.com", expired), Some(Expired)),
        (authority.issue("www.example.com", early), Some(NotYetValid)),
        (authority.issue("www.example.net", |_| {}), Some(WrongName)),
        (
            stranger.issue("www.example.com", |_| {}),
            Some(UnknownIssuer),
        ),
        (self_signed, Some(UnknownIssuer)),
        (authority.issue("www.example.com", of_ca), Some(OfAuthority)),
    ] {
        let address = https(certificate).await;
        let outcome = probe_https(address, &trusting(&ca), AMPLE).await;
        match fault {
            None => assert!(passed(&outcome), "{outcome}"),
            Some(fault) => assert_eq!(outcome, fail(Reason::Certificate(fault))),
        }
        let outcome = insecure(address, AMPLE).await;
        assert!(passed(&outcome), "{outcome}");
    }
}

#[tokio::test]
async fn the_server_name_is_the_key_else_the_host_else_the_address() {
    let authority = Authority::new("authority");
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let by_name = https(authority.issue("www.example.com", |_| {})).await;
    let by_address = https(authority.issue("127.0.0.1", |_| {})).await;
    let base = format!("type = \"https\"\nca_file = {ca:?}");
    let host = format!("{base}\nhost = \"www.example.com:8443\"");
    assert!(passed(&probe_https(by_name, &host, AMPLE).await));
    assert!(passed(&probe_https(by_address, &base, AMPLE).await));
    let wrong = fail(Reason::Certificate(CertificateFault::WrongName));
    assert_eq!(probe_https(by_name, &base, AMPLE).await, wrong);
    assert_eq!(probe_https(by_address, &host, AMPLE).await, wrong);
}

#[tokio::test]
async fn roots_that_cannot_be_read_are_our_trouble_and_the_former_ones_stay() {
    let authority = Authority::new("authority");
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let address = https(authority.issue("www.example.com", |_| {})).await;
    let job = job(address, &trusting(&ca), AMPLE);
    let prober = NetworkProbe::new(0);
    prober.prepare(Prepared::read(&config_of(&job)).checks);
    assert_eq!(crate::validate(&config_of(&job)), Ok(()));
    std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\nhalf").unwrap();
    prober.prepare(Prepared::read(&config_of(&job)).checks);
    assert!(passed(&prober.probe(&job).await));

    let mistakes = crate::validate(&config_of(&job)).unwrap_err();
    assert_eq!(mistakes.0[0].key, "check.edge.ca_file");
    assert_eq!(mistakes.0[0].file, ca);
    let outcome = probe_https(address, &trusting(&ca), AMPLE).await;
    assert!(matches!(outcome, Outcome::Inconclusive { .. }), "{outcome}");
}

#[tokio::test]
async fn plain_text_on_a_tls_port_is_a_tls_failure() {
    let plain = serve(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read(&mut [0; 4096]).await;
    })
    .await;
    let outcome = insecure(plain, AMPLE).await;
    assert!(
        matches!(
            outcome,
            Outcome::Fail {
                reason: Reason::Tls(_)
            }
        ),
        "{outcome}"
    );
    let (address, _) = counting(0).await;
    let outcome = insecure(address, AMPLE).await;
    assert!(
        matches!(
            outcome,
            Outcome::Fail {
                reason: Reason::Closed | Reason::Reset
            }
        ),
        "{outcome}"
    );
}
