//! The types of check other than HTTP and plain TCP.

use std::{
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{Name, RData, Record, rdata::A},
};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UdpSocket;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_tls_check_looks_at_the_handshake_and_at_the_days_left() {
    let authority = Authority::new("roots");
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let ending = authority.issue("edge.example", |params| {
        params.not_after = (SystemTime::now() + 10 * DAY + DAY / 2).into();
    });
    let address = https(ending).await;
    let keys = |more: &str| {
        let trust = format!("ca_file = {ca:?}\nserver_name = \"edge.example\"");
        format!("type = \"tls\"\n{trust}\n{more}")
    };
    assert!(passed(&probe_https(address, &keys(""), AMPLE).await));
    assert!(passed(
        &probe_https(address, &keys("min_days = 10"), AMPLE).await
    ));
    assert_eq!(
        probe_https(address, &keys("min_days = 11"), AMPLE).await,
        fail(Reason::Expiring {
            days: 10,
            least: 11
        })
    );
    let other = keys("").replace("edge.example", "other.example");
    assert_eq!(
        probe_https(address, &other, AMPLE).await,
        fail(Reason::Certificate(CertificateFault::WrongName))
    );
}

#[tokio::test]
async fn the_end_of_a_certificate_is_known_whatever_the_check_says_of_it() {
    let authority = Authority::new("roots");
    let end = SystemTime::now() + 10 * DAY;
    let ending = authority.issue("edge.example", |params| params.not_after = end.into());
    let address = https(ending).await;
    for keys in [
        "type = \"tls\"\ninsecure = true\nmin_days = 20",
        "type = \"https\"\ninsecure = true\nstatus = 599",
    ] {
        let job = job(address, keys, AMPLE);
        let prober = NetworkProbe::new(0);
        prober.prepare(Prepared::read(&config_of(&job)).checks);
        assert!(!passed(&prober.probe(&job).await));
        let known = prober.certificates().all();
        let expect = end
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        assert_eq!(known.len(), 1);
        assert!(known[0].ends.abs_diff(expect) <= 1);
        assert_eq!(known[0].group, job.target.group);
        prober.retain(&std::collections::HashSet::new());
        assert_eq!(prober.certificates().all(), []);
    }
}

/// What speaks HTTP/2 runs in tasks of its own, which a probe that gives up must not leave behind.
#[tokio::test]
async fn nothing_is_left_of_a_probe_over_http2_that_is_never_answered() {
    for keys in ["type = \"http\"\nhttp2 = true", "type = \"grpc\"\nport = 1"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_to_end(&mut Vec::new()).await
        });
        let job = job(address, keys, SHORT);
        let outcome = NetworkProbe::new(0).probe(&job).await;
        let silent = |phase| outcome == fail(Reason::Timeout(phase));
        assert!(
            silent(Phase::Headers) || silent(Phase::Answer),
            "{outcome:?}"
        );
        let closed = tokio::time::timeout(Duration::from_secs(60), target).await;
        assert!(closed.is_ok(), "{keys}: the connection is still open");
    }
}

/// A DNS server on both transports that lets `change` have every answer; `None` stays silent.
async fn dns(change: impl Fn(&mut Message) -> Option<()> + Send + Clone + 'static) -> SocketAddr {
    let reply = move |octets: &[u8]| {
        let mut message = Message::from_vec(octets).unwrap();
        message.metadata.message_type = MessageType::Response;
        change(&mut message)?;
        message.to_vec().ok()
    };
    let (udp, tcp, address) = both().await;
    let over_tcp = reply.clone();
    tokio::spawn(async move {
        let mut octets = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut octets).await {
            if let Some(answer) = reply(&octets[..length]) {
                udp.send_to(&answer, from).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut octets = vec![0; length.into()];
            stream.read_exact(&mut octets).await.unwrap();
            if let Some(answer) = over_tcp(&octets) {
                stream
                    .write_u16(answer.len().try_into().unwrap())
                    .await
                    .unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    });
    address
}

/// A socket of each transport on one port.
async fn both() -> (UdpSocket, TcpListener, SocketAddr) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = udp.local_addr().unwrap();
        // Another test may have the port for TCP.
        if let Ok(tcp) = TcpListener::bind(address).await {
            return (udp, tcp, address);
        }
    }
}

fn with_address(message: &mut Message) -> Option<()> {
    let name = Name::from_ascii("www.example.com.").unwrap();
    let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 7)));
    message.add_answer(Record::from_rdata(name, 60, data));
    Some(())
}

#[tokio::test]
async fn a_dns_check_wants_its_rcode_and_its_address() {
    let good = dns(with_address).await;
    let broken = dns(|message| {
        message.metadata.response_code = ResponseCode::ServFail;
        Some(())
    })
    .await;
    let cases = [
        (good, "", None),
        (good, "answer = \"192.0.2.7\"", None),
        (good, "answer = \"192.0.2.8\"", Some(Reason::AnswerMismatch)),
        (good, "rcode = \"NXDOMAIN\"", Some(Reason::Rcode(0))),
        (broken, "", Some(Reason::Rcode(2))),
        (broken, "rcode = \"SERVFAIL\"", None),
    ];
    for (address, more, expected) in cases {
        for transport in ["udp", "tcp"] {
            let keys = format!(
                "type = \"dns\"\nquery = \"www.example.com\"\ntransport = \"{transport}\"\n{more}"
            );
            let outcome = probe(address, &keys, AMPLE).await;
            match &expected {
                None => assert!(passed(&outcome), "{transport} {more}: {outcome}"),
                Some(reason) => assert_eq!(outcome, fail(reason.clone()), "{transport} {more}"),
            }
        }
    }
}

#[tokio::test]
async fn a_long_answer_over_tcp_is_read_to_its_end() {
    let long = |message: &mut Message| {
        (0..600).try_for_each(|_| with_address(message))?;
        let name = Name::from_ascii("www.example.com.").unwrap();
        let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 99)));
        message.add_answer(Record::from_rdata(name, 60, data));
        Some(())
    };
    let keys =
        "type = \"dns\"\nquery = \"www.example.com\"\ntransport = \"tcp\"\nanswer = \"192.0.2.99\"";
    let outcome = probe(dns(long).await, keys, AMPLE).await;
    assert!(passed(&outcome), "{outcome}");
}

#[tokio::test]
async fn a_dns_answer_to_another_question_is_none() {
    let liar = dns(|message| {
        message.metadata.id ^= 1;
        Some(())
    })
    .await;
    let keys = "type = \"dns\"\nquery = \"www.example.com\"";
    assert_eq!(
        probe(liar, keys, SHORT).await,
        fail(Reason::Timeout(Phase::Answer)),
        "a stray datagram does not decide, the time does"
    );
    let tcp = format!("{keys}\ntransport = \"tcp\"");
    assert_eq!(
        probe(liar, &tcp, AMPLE).await,
        fail(Reason::Protocol(ProtocolFault::NotDns))
    );
    // Nobody else gets its port, and it hears one other only: the kernel refuses what we send.
    let deaf = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    deaf.connect("127.0.0.2:9").await.unwrap();
    let closed = deaf.local_addr().unwrap();
    assert_eq!(probe(closed, keys, AMPLE).await, fail(Reason::Refused));
}

#[tokio::test]
async fn an_echo_request_is_answered_on_loopback() {
    for address in ["127.0.0.1:1", "[::1]:1"] {
        match probe(address.parse().unwrap(), "type = \"icmp\"", AMPLE).await {
            Outcome::Pass { .. } => {}
            // The group of this process may not send any: then it says nothing of the target.
            Outcome::Inconclusive {
                reason: LocalReason::NoPing,
            } => eprintln!("SKIP icmp: net.ipv4.ping_group_range does not hold this group"),
            // No IPv6 here.
            Outcome::Inconclusive { .. } if address.starts_with('[') => {}
            other => panic!("{address}: {other}"),
        }
    }
}

/// A program in shell.
fn script(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("check");
    // Written elsewhere and renamed: a file open for writing cannot be run (ETXTBSY), and another
    // test of this process may just be starting a program.
    let draft = folder.path().join("draft");
    std::fs::write(&draft, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&draft, &path).unwrap();
    path
}

async fn run(text: &str, deadline: Duration) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = script(&folder, text);
    let keys =
        format!("type = \"exec\"\ncommand = [\"/bin/sh\", {path:?}, \"{{address}}\", \"{{pop}}\"]");
    probe("127.0.0.1:80".parse().unwrap(), &keys, deadline).await
}

#[tokio::test]
async fn an_exit_status_decides_as_monitoring_plugins_mean_it() {
    assert!(passed(&run("exit 0", AMPLE).await));
    assert!(passed(&run("echo WARNING - slow; exit 1", AMPLE).await));
    let critical = Reason::Exit {
        code: Some(2),
        text: "CRITICAL - no answer".into(),
    };
    let text = "echo 'CRITICAL - no answer'; echo more; exit 2";
    assert_eq!(run(text, AMPLE).await, fail(critical));
    let unknown = LocalReason::ProgramUnknown("what?".into());
    assert_eq!(
        run("echo what?; exit 3", AMPLE).await,
        Outcome::Inconclusive { reason: unknown }
    );
    let killed = Reason::Exit {
        code: None,
        text: String::new(),
    };
    assert_eq!(run("kill -9 $$", AMPLE).await, fail(killed));
}

#[tokio::test]
async fn a_program_gets_its_arguments_and_a_clean_environment() {
    let text = "[ \"$1 $2\" = '127.0.0.1 fra' ] && [ \"$MERIDIAN_POP\" = fra ] \
                && [ -z \"$CARGO_MANIFEST_DIR$HOME\" ] && exit 0; env; exit 2";
    let outcome = run(text, AMPLE).await;
    assert!(passed(&outcome), "{outcome}");
}

#[tokio::test]
async fn a_program_that_writes_without_end_or_does_not_end_is_stopped_with_its_children() {
    let flood = "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done";
    assert_eq!(
        run(flood, SHORT).await,
        fail(Reason::Timeout(Phase::Answer))
    );
    let many = "f() { [ $1 = 0 ] || { f $(($1 - 1)) & f $(($1 - 1)) & }; sleep 1000; }; f 5";
    assert_eq!(run(many, SHORT).await, fail(Reason::Timeout(Phase::Answer)));
}

/// Waits until no process but zombies has the number; a test that hangs is stopped by its runner.
async fn gone(noted: &std::path::Path) {
    let pid = std::fs::read_to_string(noted).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    let lives = || std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z "));
    while lives() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_program_has_its_say_when_it_ends_and_what_it_leaves_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let noted = folder.path().join("pid");
    // With its output held open by the child, and without.
    for quiet in ["", ">/dev/null"] {
        let text = format!("sleep 1000 {quiet} & echo $! > {noted:?}; echo left one; exit 0");
        assert!(passed(&run(&text, AMPLE).await), "{quiet}");
        gone(&noted).await;
    }
    // A child in a session of its own holds the output open: it is out of reach, and not waited for.
    let text = format!(
        "setsid sleep 1000 & echo $! > {noted:?}; until grep -q ^sleep /proc/$!/cmdline; do :; done; echo bad; exit 2"
    );
    let critical = Reason::Exit {
        code: Some(2),
        text: "bad".into(),
    };
    assert_eq!(run(&text, AMPLE).await, fail(critical));
    let pid = std::fs::read_to_string(&noted).unwrap();
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_program_that_is_not_there_says_nothing_of_the_target() {
    let keys = "type = \"exec\"\ncommand = [\"/nonexistent/check\"]";
    let outcome = probe("127.0.0.1:80".parse().unwrap(), keys, AMPLE).await;
    let reason = LocalReason::Program(std::io::ErrorKind::NotFound);
    assert_eq!(outcome, Outcome::Inconclusive { reason });
}

/// A gRPC health server: the body of its answer and the trailers.
async fn health(body: &'static [u8], status: &'static str) -> SocketAddr {
    let answer = move |request: Request<Incoming>| async move {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        let asked = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(asked.as_ref(), b"\0\0\0\0\x06\x0a\x04edge");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        let body = Full::new(Bytes::from_static(body)).with_trailers(async { Some(Ok(trailers)) });
        Ok::<_, std::convert::Infallible>(Response::new(body))
    };
    serve(move |stream| async move {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service_fn(answer))
            .await;
    })
    .await
}

#[tokio::test]
async fn a_grpc_check_wants_serving() {
    let keys = "type = \"grpc\"\nport = 1\nservice = \"edge\"";
    let serving: &[u8] = b"\0\0\0\0\x02\x08\x01";
    assert!(passed(
        &probe(health(serving, "0").await, keys, AMPLE).await
    ));
    let cases: [(&[u8], &str, Reason); 4] = [
        (b"\0\0\0\0\x02\x08\x02", "0", Reason::NotServing(2)),
        (b"\0\0\0\0\0", "0", Reason::NotServing(0)),
        (b"", "5", Reason::Grpc(5)),
        (
            b"\0\0\0\0\x09\x08",
            "0",
            Reason::Protocol(ProtocolFault::NotGrpc),
        ),
    ];
    for (body, status, reason) in cases {
        let outcome = probe(health(body, status).await, keys, AMPLE).await;
        assert_eq!(outcome, fail(reason));
    }
    let plain = answering(OK).await;
    let outcome = probe(plain, keys, SHORT).await;
    assert!(matches!(outcome, Outcome::Fail { .. }), "{outcome}");
}

/// An HTTP/2 server for one body on every path; the status is the path's.
async fn two(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static) {
    let answer = |request: Request<Incoming>| async move {
        assert_eq!(request.version(), hyper::Version::HTTP_2);
        let status = request
            .uri()
            .path()
            .trim_start_matches('/')
            .parse()
            .unwrap_or(200);
        let body = Full::new(Bytes::from_static(b"all is well"));
        Ok::<_, std::convert::Infallible>(Response::builder().status(status).body(body).unwrap())
    };
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await;
}

#[tokio::test]
async fn http2_by_prior_knowledge() {
    let address = serve(two).await;
    let check = |more: &str| format!("type = \"http\"\nhttp2 = true\n{more}");
    assert!(passed(
        &probe(address, &check("body = \"well\""), AMPLE).await
    ));
    let wrong = probe(address, &check("path = \"/503\""), AMPLE).await;
    assert_eq!(wrong, fail(Reason::Status(503)));
    let wrong = probe(address, &check("body = \"ill\""), AMPLE).await;
    assert_eq!(wrong, fail(Reason::BodyMismatch));
    // A server that knows only HTTP/1.1 is not asked in that.
    let old = serve(|stream| answer_all(stream, OK)).await;
    let outcome = probe(old, &check(""), AMPLE).await;
    assert!(!passed(&outcome), "{outcome}");
}

#[tokio::test]
async fn http2_over_tls_is_agreed_on_by_alpn() {
    let authority = Authority::new("roots");
    let server = |alpn: &[&[u8]]| {
        let (certificate, key) = authority.issue("edge.example", |_| {});
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        serve(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    two(stream).await;
                }
            }
        })
    };
    let keys = "type = \"https\"\ninsecure = true\nhttp2 = true";
    let agreed = server(&[b"h2", b"http/1.1"]).await;
    assert!(passed(&probe_https(agreed, keys, AMPLE).await));
    let silent = server(&[]).await;
    assert_eq!(
        probe_https(silent, keys, AMPLE).await,
        fail(Reason::Protocol(ProtocolFault::NotHttp2))
    );
    let old = server(&[b"http/1.1"]).await;
    let outcome = probe_https(old, keys, AMPLE).await;
    assert!(
        matches!(
            outcome,
            Outcome::Fail {
                reason: Reason::Tls(_)
            }
        ),
        "{outcome}"
    );
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, stream];
    frame.extend(payload);
    frame
}

/// Answers one request and closes at once, as a proxy that takes one request a connection, or drains.
async fn answers_and_goes(mut stream: TcpStream, body: &'static [u8], trailers: &'static [u8]) {
    let settings = frame(4, 0, 0, &[]);
    stream.write_all(&settings).await.unwrap();
    let mut heard = Vec::new();
    // The preface of 24 octets, then frames: the first with headers is the request.
    loop {
        heard.push(stream.read_u8().await.unwrap());
        let mut at = 24;
        let whole = loop {
            let Some(head) = heard.get(at..at + 9) else {
                break false;
            };
            at += 9 + usize::from(head[2]) + (usize::from(head[1]) << 8);
            if head[3] == 1 {
                break heard.len() >= at;
            }
        };
        if whole {
            break;
        }
    }
    let last = u8::from(trailers.is_empty());
    // `:status: 200` is number 8 of the static table of HPACK.
    let mut said = frame(1, 4, 1, &[0x88]);
    said.extend(frame(0, last, 1, body));
    if last == 0 {
        said.extend(frame(1, 5, 1, trailers));
    }
    // The last stream that was answered, NO_ERROR.
    said.extend(frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    stream.write_all(&said).await.unwrap();
    stream.shutdown().await.unwrap();
    let _ = stream.read_to_end(&mut heard).await;
}

#[tokio::test]
async fn a_target_that_answers_and_goes_away_has_answered() {
    let page = serve(|stream| answers_and_goes(stream, b"all is well", b"")).await;
    for _ in 0..20 {
        let outcome = probe(
            page,
            "type = \"http\"\nhttp2 = true\nbody = \"well\"",
            AMPLE,
        )
        .await;
        assert!(passed(&outcome), "{outcome}");
    }
    let health = serve(|stream| {
        let status: &[u8] = b"\x00\x0bgrpc-status\x010";
        answers_and_goes(stream, b"\0\0\0\0\x02\x08\x01", status)
    })
    .await;
    for _ in 0..20 {
        let outcome = probe(health, "type = \"grpc\"\nport = 1", AMPLE).await;
        assert!(passed(&outcome), "{outcome}");
    }
    // What goes away without an answer has given none.
    let silent = serve(|mut stream| async move {
        let gone = frame(7, 0, 0, &[0; 8]);
        let _ = stream
            .write_all(&[frame(4, 0, 0, &[]), gone].concat())
            .await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let outcome = probe(silent, "type = \"http\"\nhttp2 = true", AMPLE).await;
    assert!(matches!(outcome, Outcome::Fail { .. }), "{outcome}");
}
