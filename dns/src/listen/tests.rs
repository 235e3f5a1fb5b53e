//! The sockets, over loopback, with a stand-in for the snapshot.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    HearRoundTrips, Listeners, Respond, is_answerable,
    testing::{Echo, Running, config, query, reply},
};
use crate::metrics::Dropped;

/// Reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(180);

fn frame(octets: &[u8]) -> Vec<u8> {
    let length = u16::try_from(octets.len()).unwrap();
    [&length.to_be_bytes(), octets].concat()
}

async fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let read = async {
        let length = stream.read_u16().await?;
        let mut octets = vec![0; usize::from(length)];
        stream.read_exact(&mut octets).await?;
        Ok(octets)
    };
    timeout(PATIENCE, read).await.expect("a frame in time")
}

/// Waits until the server has closed.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("closed in time");
}

async fn ask(socket: &UdpSocket, server: SocketAddr, octets: &[u8]) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_535];
    for _ in 0..180 {
        socket.send_to(octets, server).await.unwrap();
        let wait = timeout(Duration::from_secs(1), socket.recv_from(&mut buffer));
        if let Ok(received) = wait.await {
            let (length, from) = received.unwrap();
            return (buffer[..length].to_vec(), from);
        }
    }
    panic!("no answer from {server}");
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, poll).await.expect(what);
}

#[test]
fn only_single_hosts_with_a_port_are_answered() {
    for (source, expect) in [
        ("192.0.2.1:53", true),
        ("[2001:db8::1]:1024", true),
        ("192.0.2.1:0", false),
        ("0.0.0.0:53", false),
        ("255.255.255.255:53", false),
        ("224.0.0.1:5353", false),
        ("[::]:53", false),
        ("[ff02::fb]:5353", false),
    ] {
        assert_eq!(is_answerable(source.parse().unwrap()), expect, "{source}");
    }
}

#[tokio::test]
async fn udp_answers_on_every_socket_and_survives_panics() {
    let server = Running::start(&config(&["127.0.0.1:0", "[::1]:0"], 2));
    for address in server.addresses.clone() {
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => "127.0.0.1:0".parse().unwrap(),
            SocketAddr::V6(_) => "[::1]:0".parse().unwrap(),
        };
        for id in 0..20 {
            // Another port each time, so that both workers get some.
            let socket = UdpSocket::bind(local).await.unwrap();
            socket.send_to(&[0xff; 20], address).await.unwrap();
            socket.send_to(b"", address).await.unwrap();
            socket.send_to(&reply(9), address).await.unwrap();
            assert_eq!(ask(&socket, address, &query(id)).await.0, reply(id));
        }
    }
    eventually("drops are counted", || {
        server.dropped(Dropped::Panic) == 40 && server.dropped(Dropped::Response) >= 40
    })
    .await;
}

/// Freeing a million zones takes long: whoever answers has others do it.
#[tokio::test]
async fn no_worker_frees_what_is_no_longer_in_force() {
    const SWAPS: u16 = 50;
    let server = Running::start(&config(&["127.0.0.1:0"], 1));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (freed, names) = mpsc::channel();
    let mut labels = Vec::new();
    for id in 0..=SWAPS {
        let next = Arc::new(Echo::traced(freed.clone()));
        labels.push(Arc::downgrade(next.labels()));
        server.state.store(next);
        // When it has answered, the worker uses this one.
        ask(&socket, server.addresses[0], &query(id)).await;
    }
    for _ in 0..SWAPS {
        let name = names.recv_timeout(PATIENCE).expect("it is freed");
        assert!(!name.starts_with("udp-"), "{name}");
    }
    // Neither does anybody keep what was counted for it.
    let kept = || labels.iter().filter(|one| one.strong_count() > 0).count();
    eventually("all but the last are freed", || kept() == 1).await;
}

#[tokio::test]
async fn a_wildcard_address_answers_from_the_one_that_was_asked() {
    let server = Running::start(&config(&["0.0.0.0:0"], 1));
    let port = server.addresses[0].port();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for host in ["127.0.0.1", "127.0.0.2", "127.3.2.1"] {
        let asked: SocketAddr = format!("{host}:{port}").parse().unwrap();
        let (answer, from) = ask(&socket, asked, &query(7)).await;
        assert_eq!((answer, from), (reply(7), asked));
    }
    let server = Running::start(&config(&["[::]:0"], 1));
    let asked = SocketAddr::new("::1".parse().unwrap(), server.addresses[0].port());
    let socket = UdpSocket::bind("[::1]:0").await.unwrap();
    assert_eq!(ask(&socket, asked, &query(7)).await.1, asked);
}

/// A client may hand the kernel many datagrams as one (GSO): each is a query of its own.
#[tokio::test]
async fn datagrams_that_come_as_one_are_answered_one_by_one() {
    let server = Running::start(&config(&["127.0.0.1:0"], 1));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    setsockopt(&socket, UdpGsoSegment, &12).unwrap();
    let all: Vec<u8> = (0..10).flat_map(query).collect();
    socket.send_to(&all, server.addresses[0]).await.unwrap();
    let mut buffer = [0; 100];
    for id in 0..10 {
        let received = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap();
        assert_eq!(buffer[..received.unwrap()], reply(id));
    }
}

#[tokio::test]
#[allow(clippy::disallowed_methods)] // what the workers did is told by the clock they read
async fn the_pulse_goes_on_while_idle_and_destinations_are_counted() {
    let server = Running::start(&config(&["127.0.0.1:0", "0.0.0.0:0", "[::]:0"], 2));
    let watched = ["127.0.0.0/31", "127.0.0.2/32", "::1/128"].map(|net| net.parse().unwrap());
    assert!(server.handle.destinations.watch(watched).is_empty());
    let asked = ["127.0.0.1", "127.0.0.1", "::1"];
    for (listen, host) in server.addresses.iter().zip(asked) {
        let host: std::net::IpAddr = host.parse().unwrap();
        let socket = UdpSocket::bind((host, 0)).await.unwrap();
        let to = SocketAddr::new(host, listen.port());
        for id in 0..5 {
            assert_eq!(ask(&socket, to, &query(id)).await.0, reply(id));
        }
    }
    // More than 5 when an answer was late and the query was sent again.
    let counts = watched.map(|net| server.handle.destinations.count(net));
    assert!(
        counts[0] >= 10 && counts[1] == 0 && counts[2] >= 5,
        "{counts:?}"
    );
    let start = std::time::Instant::now();
    let later = start + Duration::from_millis(500);
    eventually("every worker goes round while nothing comes", || {
        server.handle.pulse.quiet(later) < Duration::from_millis(300)
    })
    .await;
    server.shutdown.cancel();
    timeout(PATIENCE, server.task).await.unwrap().unwrap();
    let much_later = later + Duration::from_secs(3600);
    assert!(
        server
            .handle
            .pulse
            .stalled(much_later, Duration::from_secs(1))
    );
}

/// An upgrade: the successor has the sockets, the predecessor stops reading. Queries that come all the
/// time find one of the two.
#[tokio::test]
async fn a_handed_over_socket_loses_nothing() {
    let old = Running::start(&config(&["127.0.0.1:0"], 2));
    let address = old.addresses[0];
    let mut established = TcpStream::connect(address).await.unwrap();
    established.write_all(&frame(&query(1))).await.unwrap();
    assert_eq!(read_frame(&mut established).await.unwrap(), reply(1));
    let inherited = old.handle.sockets().unwrap();
    assert_eq!(inherited.len(), 3);
    let fds = inherited.into_iter().map(|(at, _, fd)| {
        assert_eq!(at, address);
        fd
    });
    // With one worker more or less every socket is read all the same.
    let listen = address.to_string();
    let bound = Listeners::adopt(&config(&[&listen], 1), fds.collect()).unwrap();
    let sockets: Vec<_> = clients_that_asked(address, 0).await;
    old.handle.hand_over();
    // Connected while nobody accepts.
    let mut waiting = TcpStream::connect(address).await.unwrap();
    waiting.write_all(&frame(&query(2))).await.unwrap();
    timeout(PATIENCE, old.task).await.unwrap().unwrap();
    let more = clients_that_asked(address, 100).await;
    let new = Running::run(bound);
    assert_eq!(new.addresses, [address]);
    for (id, socket) in sockets.into_iter().chain(more) {
        let mut buffer = [0; 100];
        let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap();
        assert_eq!(buffer[..length.unwrap()], reply(id));
    }
    assert_eq!(read_frame(&mut waiting).await.unwrap(), reply(2));
    // The old connection was finished.
    closed(&mut established).await;
    assert!(old.handle.sockets().unwrap().is_empty());
}

/// Clients of many ports that have just asked, with the ID they asked with.
async fn clients_that_asked(server: SocketAddr, first: u16) -> Vec<(u16, UdpSocket)> {
    let mut out = Vec::new();
    for id in first..first + 40 {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&query(id), server).await.unwrap();
        out.push((id, socket));
    }
    out
}

#[tokio::test]
async fn a_successor_opens_what_its_predecessor_did_not_have() {
    let old = Running::start(&config(&["127.0.0.1:0"], 1));
    let fds = || {
        let sockets = old.handle.sockets().unwrap().into_iter();
        sockets.map(|(_, _, fd)| fd).collect::<Vec<_>>()
    };
    let listen = old.addresses[0].to_string();
    let more = config(&[&listen, "127.0.0.2:0"], 3);
    let bound = Listeners::adopt(&more, fds()).unwrap();
    assert_eq!(bound.handle().sockets().unwrap().len(), 8);
    // A port left to the kernel is the port it was.
    let same = Listeners::adopt(&config(&["127.0.0.1:0"], 1), fds()).unwrap();
    assert_eq!(same.addresses(), old.addresses);
    // What is no socket is closed and harms nothing.
    let file = std::fs::File::open("/dev/null").unwrap().into();
    let bound = Listeners::adopt(&config(&["127.0.0.1:0"], 1), vec![file]).unwrap();
    assert_ne!(bound.addresses(), old.addresses);
}

#[tokio::test]
async fn a_client_that_went_away_harms_nobody() {
    let server = Running::start(&config(&["127.0.0.1:0"], 1));
    let address = server.addresses[0];
    for id in 0..50 {
        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        gone.send_to(&query(id), address).await.unwrap();
        drop(gone);
    }
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(ask(&socket, address, &query(1)).await.0, reply(1));
}

#[tokio::test]
async fn a_hundred_queries_in_one_write_are_answered_in_order() {
    let server = Running::start(&config(&["127.0.0.1:0"], 1));
    let mut stream = TcpStream::connect(server.addresses[0]).await.unwrap();
    let all: Vec<u8> = (0..100).flat_map(|id| frame(&query(id))).collect();
    stream.write_all(&all).await.unwrap();
    for id in 0..100 {
        assert_eq!(read_frame(&mut stream).await.unwrap(), reply(id));
    }
    // Half closed: what was asked is answered, then the server closes too.
    stream.write_all(&frame(&query(100))).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_frame(&mut stream).await.unwrap(), reply(100));
    closed(&mut stream).await;
}

#[tokio::test]
async fn far_more_queries_in_one_write_than_may_be_in_flight_are_all_answered() {
    let server = Running::start(&config(&["127.0.0.1:0"], 1));
    let mut stream = TcpStream::connect(server.addresses[0]).await.unwrap();
    let all: Vec<u8> = (0..2000).flat_map(|id| frame(&query(id))).collect();
    stream.write_all(&all).await.unwrap();
    for id in 0..2000 {
        assert_eq!(read_frame(&mut stream).await.unwrap(), reply(id));
    }
}

#[tokio::test]
async fn garbage_and_empty_frames_end_only_their_own_connection() {
    let server = Running::start(&config(&["127.0.0.1:0"], 1));
    let address = server.addresses[0];
    let mut good = TcpStream::connect(address).await.unwrap();
    let bad = [
        frame(b""),
        frame(&[0; 11]),
        frame(&reply(1)),
        frame(&[0xff; 40]),
        [frame(&query(3)), frame(b"")].concat(),
    ];
    for (number, octets) in bad.iter().enumerate() {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(octets).await.unwrap();
        if number == 4 {
            assert_eq!(read_frame(&mut stream).await.unwrap(), reply(3));
        }
        closed(&mut stream).await;
    }
    assert_eq!(server.dropped(Dropped::BadFrame), 5);
    assert_eq!(server.dropped(Dropped::Panic), 1);
    good.write_all(&frame(&query(1))).await.unwrap();
    assert_eq!(read_frame(&mut good).await.unwrap(), reply(1));
}

#[tokio::test]
async fn answers_arrive_although_the_client_goes_on_after_garbage() {
    let server = Running::start(&config(&["127.0.0.1:0"], 1));
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.addresses[0]).await.unwrap();
        let asked: Vec<u8> = (0..20).flat_map(|id| frame(&query(id))).collect();
        let rest = vec![0; 500_000];
        let all = [asked, frame(b"no"), rest].concat();
        stream.write_all(&all).await.unwrap();
        for id in 0..20 {
            assert_eq!(read_frame(&mut stream).await.unwrap(), reply(id));
        }
    }
}

/// A connection with a small receive buffer on which this was written before the server could accept it,
/// so that it has never been idle. Nothing of the server runs meanwhile.
fn with_first(server: SocketAddr, octets: &[u8]) -> TcpStream {
    use std::io::Write as _;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.into()).unwrap();
    let mut stream = std::net::TcpStream::from(socket);
    stream.write_all(octets).unwrap();
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(stream).unwrap()
}

#[tokio::test]
async fn idle_connections_and_half_frames_are_closed() {
    let mut config = config(&["127.0.0.1:0"], 1);
    config.tcp.idle_timeout = Duration::from_millis(100);
    let server = Running::start(&config);
    let mut idle = TcpStream::connect(server.addresses[0]).await.unwrap();
    let mut half = with_first(server.addresses[0], &frame(&query(1))[..7]);
    closed(&mut idle).await;
    closed(&mut half).await;
    eventually("the half frame is counted", || {
        server.dropped(Dropped::BadFrame) == 1
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_closed_and_holds_little() {
    let mut config = config(&["127.0.0.1:0"], 1);
    config.tcp.idle_timeout = Duration::from_millis(300);
    let server = Running::start(&config);
    // Answers of 60,000 octets each, far more of them than all buffers on the way hold.
    let mut long = query(0xfe00);
    long[0] = 0xfe;
    let mut slow = with_first(server.addresses[0], &frame(&long));
    let flood = async {
        loop {
            if slow.write_all(&frame(&long)).await.is_err() {
                break;
            }
        }
    };
    timeout(PATIENCE, flood).await.expect("the server hangs up");
    eventually("the slow reader is counted", || {
        server.dropped(Dropped::SlowReader) == 1
    })
    .await;
}

#[tokio::test]
async fn over_the_limit_the_silent_make_room() {
    let mut config = config(&["127.0.0.1:0", "127.0.0.1:0"], 1);
    config.tcp.connections = 4;
    let server = Running::start(&config);
    let [first, second] = server.addresses[..] else {
        panic!("two addresses")
    };
    let mut busy = TcpStream::connect(first).await.unwrap();
    busy.write_all(&frame(&query(1))).await.unwrap();
    assert_eq!(read_frame(&mut busy).await.unwrap(), reply(1));
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(second).await.unwrap());
    }
    // All addresses share the limit: of the twenty, three can be open.
    for stream in &mut silent[..17] {
        closed(stream).await;
    }
    assert_eq!(server.dropped(Dropped::ConnectionLimit), 17);
    busy.write_all(&frame(&query(2))).await.unwrap();
    assert_eq!(read_frame(&mut busy).await.unwrap(), reply(2));
}

#[tokio::test]
async fn a_client_with_too_many_connections_closes_its_own() {
    let mut config = config(&["127.0.0.1:0"], 1);
    config.tcp.per_client = 3;
    let server = Running::start(&config);
    let connect = async |from: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        socket.connect(server.addresses[0]).await.unwrap()
    };
    let mut quiet = connect("127.0.0.2").await;
    let mut greedy = Vec::new();
    for id in 0..10 {
        let mut stream = connect("127.0.0.3").await;
        stream.write_all(&frame(&query(id))).await.unwrap();
        assert_eq!(read_frame(&mut stream).await.unwrap(), reply(id));
        greedy.push(stream);
    }
    for stream in &mut greedy[..7] {
        closed(stream).await;
    }
    assert_eq!(server.dropped(Dropped::ConnectionLimit), 7);
    for stream in greedy[7..].iter_mut().chain([&mut quiet]) {
        stream.write_all(&frame(&query(1))).await.unwrap();
        assert_eq!(read_frame(stream).await.unwrap(), reply(1));
    }
}

/// Octets of memory that this process holds; nothing where the kernel does not say.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}

/// Fails when the memory of this process has grown by more than `most` octets since `before`.
fn assert_grown_at_most(most: u64, before: Option<u64>) {
    if let (Some(before), Some(now)) = (before, resident()) {
        let grown = now.saturating_sub(before);
        assert!(grown < most, "{grown} octets more than before");
    }
}

/// Whether this is a process in which nothing but this test runs: there its memory says something of it.
/// If not, the test has been run in one.
fn alone(test: &str) -> bool {
    const ALONE: &str = "MERIDIAN_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("listen::tests::{test}")]);
    let output = command.env(ALONE, "1").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    false
}

/// Row 19 of the failure classes: early closes, at every step of a conversation and from many clients.
#[tokio::test]
async fn row_19_a_hundred_thousand_early_closes() {
    if !alone("row_19_a_hundred_thousand_early_closes") {
        return;
    }
    let mut config = config(&["127.0.0.1:0"], 1);
    config.tcp.connections = 64;
    config.tcp.per_client = 8;
    let server = Running::start(&config);
    let address = server.addresses[0];
    let before = resident();
    for number in 0..100_000_u32 {
        let socket = TcpSocket::new_v4().unwrap();
        let from = std::net::Ipv4Addr::new(127, 1, 0, (number % 200) as u8 + 1);
        socket.bind(SocketAddr::new(from.into(), 0)).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        // A limit may close it at any time.
        let _ = match number % 5 {
            0 => Ok(()),
            1 => stream.write_all(&[0]).await,
            2 => stream.write_all(&frame(&query(1))).await,
            3 => stream.write_all(&frame(&query(1))[..9]).await,
            // More answers than are ever read.
            _ => stream.write_all(&frame(&query(1)).repeat(100)).await,
        };
        // Closed with a reset now and then instead of a farewell.
        if number % 3 > 0 {
            stream.set_zero_linger().unwrap();
        }
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&frame(&query(1))).await.unwrap();
    assert_eq!(read_frame(&mut stream).await.unwrap(), reply(1));
    assert_grown_at_most(64 << 20, before);
}

/// Row 19 of the failure classes: clients that ask for long answers and read none of them.
#[tokio::test]
async fn row_19_slow_readers_hold_little_and_keep_nobody_out() {
    if !alone("row_19_slow_readers_hold_little_and_keep_nobody_out") {
        return;
    }
    let mut config = config(&["127.0.0.1:0"], 1);
    config.tcp.connections = 200;
    config.tcp.per_client = 50;
    let server = Running::start(&config);
    let address = server.addresses[0];
    let before = resident();
    let mut long = query(0xfe00);
    long[0] = 0xfe;
    let asked = frame(&long).repeat(50);
    let mut slow = Vec::new();
    for number in 0..400_u32 {
        let socket = TcpSocket::new_v4().unwrap();
        let from = std::net::Ipv4Addr::new(127, 1, 0, (number % 8) as u8 + 1);
        socket.bind(SocketAddr::new(from.into(), 0)).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let _ = stream.write_all(&asked).await;
        slow.push(stream);
    }
    for id in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&frame(&query(id))).await.unwrap();
        assert_eq!(read_frame(&mut stream).await.unwrap(), reply(id));
    }
    // Each may hold an answer beyond the 64 KiB that wait to be sent.
    assert_grown_at_most(200 * 160 * 1024 + (32 << 20), before);
}

#[tokio::test]
async fn shutdown_answers_what_was_received() {
    let server = Running::start(&config(&["127.0.0.1:0"], 2));
    let address = server.addresses[0];
    let mut streams = Vec::new();
    for id in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&frame(&query(id))).await.unwrap();
        assert_eq!(read_frame(&mut stream).await.unwrap(), reply(id));
        streams.push(stream);
    }
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    udp.connect(address).await.unwrap();
    udp.writable().await.unwrap();
    // Nothing runs between these writes and the cancellation, so all of it waits in the kernel, and
    // the last connection is not even accepted.
    let late = std::net::TcpStream::connect(address).unwrap();
    late.set_nonblocking(true).unwrap();
    streams.push(TcpStream::from_std(late).unwrap());
    streams[20].writable().await.unwrap();
    for (id, stream) in (100..).zip(&mut streams) {
        stream.try_write(&frame(&query(id))).unwrap();
    }
    for id in 0..20 {
        udp.try_send(&query(id)).unwrap();
    }
    server.shutdown.cancel();
    for (id, stream) in (100..).zip(&mut streams) {
        assert_eq!(read_frame(stream).await.unwrap(), reply(id));
        closed(stream).await;
    }
    let mut buffer = [0; 100];
    for id in 0..20 {
        let length = timeout(PATIENCE, udp.recv(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(buffer[..length], reply(id));
    }
    timeout(PATIENCE, server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_does_not_wait_for_those_who_do_not_read() {
    let server = Running::start(&config(&["127.0.0.1:0"], 1));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = socket.connect(server.addresses[0]).await.unwrap();
    let mut long = query(1);
    long[0] = 0xfe;
    let flood = async {
        loop {
            slow.write_all(&frame(&long)).await.unwrap();
        }
    };
    let _ = timeout(Duration::from_millis(500), flood).await;
    server.shutdown.cancel();
    timeout(PATIENCE, server.task).await.unwrap().unwrap();
}

#[derive(Default)]
struct Heard(Mutex<Vec<(IpAddr, Duration)>>);

impl HearRoundTrips for Heard {
    fn wants(&self) -> bool {
        true
    }

    fn hear(&self, client: IpAddr, round_trip: Duration) {
        self.0.lock().unwrap().push((client, round_trip));
    }
}

#[tokio::test]
async fn the_round_trip_of_a_connection_that_asked_is_told_at_its_end() {
    let heard = Arc::new(Heard::default());
    let bound = Listeners::bind(&config(&["127.0.0.1:0"], 1)).unwrap();
    let server = Running::run(bound.telling_round_trips(heard.clone()));
    let at = server.addresses[0];
    // One that never asks, and one that does.
    drop(TcpStream::connect(at).await.unwrap());
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(&frame(&query(7))).await.unwrap();
    assert_eq!(read_frame(&mut stream).await.unwrap(), reply(7));
    drop(stream);
    eventually("the round trip is told", || {
        !heard.0.lock().unwrap().is_empty()
    })
    .await;
    let heard = heard.0.lock().unwrap().clone();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].0, IpAddr::from([127, 0, 0, 1]));
    assert!(!heard[0].1.is_zero());
}
