//! Every transport gives the same answer: our UDP and TCP sockets, and hickory's server through the
//! adapter.

mod common;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use hickory_proto::{
    op::{Edns, Message, Query},
    rr::{
        Name, RecordType,
        rdata::opt::{ClientSubnet, EdnsOption},
    },
};
use hickory_server::Server;
use meridian_dns::{
    abuse::Gate,
    listen::{Listeners, hickory::Handler},
    metrics::{Collector, Metrics},
};
use prometheus::{Registry, TextEncoder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(180);

const QUESTIONS: [(&str, RecordType); 12] = [
    ("www.example.com.", RecordType::A),
    ("www.example.com.", RecordType::AAAA),
    ("www.example.com.", RecordType::MX),
    ("example.com.", RecordType::SOA),
    ("example.com.", RecordType::TXT),
    ("alias.example.com.", RecordType::A),
    ("x.y.wild.example.com.", RecordType::A),
    ("b.c.example.com.", RecordType::A),
    ("nothing.example.com.", RecordType::A),
    ("host.sub.example.com.", RecordType::A),
    ("svc.example.com.", RecordType::HTTPS),
    ("example.org.", RecordType::A),
];

fn question(name: &str, rtype: RecordType, ecs: bool) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), rtype));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    if ecs {
        let subnet = ClientSubnet::new("133.11.0.0".parse().unwrap(), 24, 0);
        edns.options_mut().insert(EdnsOption::Subnet(subnet));
    }
    message.set_edns(edns);
    message
}

async fn udp(server: SocketAddr, query: &Message) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket
        .send_to(&query.to_vec().unwrap(), server)
        .await
        .unwrap();
    let mut buffer = [0; 4096];
    let received = timeout(PATIENCE, socket.recv(&mut buffer)).await;
    Message::from_vec(&buffer[..received.unwrap().unwrap()]).unwrap()
}

async fn tcp(server: SocketAddr, query: &Message) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let octets = query.to_vec().unwrap();
    stream
        .write_u16(u16::try_from(octets.len()).unwrap())
        .await
        .unwrap();
    stream.write_all(&octets).await.unwrap();
    let reply = async {
        let length = stream.read_u16().await.unwrap();
        let mut reply = vec![0; usize::from(length)];
        stream.read_exact(&mut reply).await.unwrap();
        reply
    };
    Message::from_vec(&timeout(PATIENCE, reply).await.unwrap()).unwrap()
}

/// Everything a client reads, the EDNS payload size aside (hickory's server sets its own).
fn comparable(mut message: Message) -> Message {
    if let Some(edns) = &mut message.edns {
        edns.set_max_payload(512);
    }
    message
}

#[tokio::test]
async fn our_sockets_and_hickorys_server_answer_alike() {
    let (config, snapshot) = common::snapshot();
    let state = Arc::new(ArcSwap::from_pointee(snapshot));
    let metrics = Arc::new(Metrics::new());
    let gate = Arc::new(Gate::random());
    let bound = Listeners::bind(&config.server).unwrap();
    let ours = bound.addresses()[0];
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(bound.run(
        state.clone(),
        metrics.clone(),
        gate.clone(),
        shutdown.clone(),
    ));

    let mut server = Server::new(Handler::new(state.clone(), metrics.block()));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let theirs = (socket.local_addr().unwrap(), listener.local_addr().unwrap());
    server.register_socket(socket);
    server.register_listener(listener, PATIENCE, 4096);

    for (name, rtype) in QUESTIONS {
        for ecs in [false, true] {
            let query = question(name, rtype, ecs);
            let expect = comparable(udp(ours, &query).await);
            assert_eq!(comparable(tcp(ours, &query).await), expect, "{name}");
            assert_eq!(comparable(udp(theirs.0, &query).await), expect, "{name}");
            assert_eq!(comparable(tcp(theirs.1, &query).await), expect, "{name}");
        }
    }
    let steered = question("www.example.com.", RecordType::A, true);
    assert_eq!(udp(ours, &steered).await.answers.len(), 1);

    let registry = Registry::new();
    let collector = Collector::of_snapshots(metrics, state, gate).unwrap();
    registry.register(Box::new(collector)).unwrap();
    let text = TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    for part in [
        r#"meridian_steering_level{service="www.example.com."} 1"#,
        r#"meridian_queries_total{qtype="A",rcode="NXDOMAIN",transport="udp"}"#,
        r#"meridian_queries_total{qtype="A",rcode="REFUSED",transport="tcp"}"#,
        r#"service="www.example.com."}"#,
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("nothing.example.com"), "{text}");
    shutdown.cancel();
    timeout(PATIENCE, running).await.unwrap().unwrap();
    server.shutdown_gracefully().await.unwrap();
}
