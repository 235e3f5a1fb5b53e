//! What the fuzz targets share: one fixed snapshot, and what every reply must satisfy.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, LazyLock},
};

use hickory_proto::op::Message;
use meridian_dns::{
    answer::{Meta, Outcome, Transport, respond},
    query::{self, Parsed},
    snapshot::Snapshot,
    steer::{Standing, View},
    types::UnixTime,
};
use meridian_geo_data::ClientMap;
use meridian_health_prober::HealthSnapshot;

/// The zone that is asked: every kind of answer there is.
const ZONE: &str = include_str!("../world/example.com.zone");
/// Services in it, steered by the bundled country database.
const CONFIG: &str = include_str!("../world/meridian.toml");

/// The one snapshot that all queries see.
pub static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("example.com.zone"), ZONE).expect("a zone file");
    let path = folder.path().join("meridian.toml");
    fs::write(&path, CONFIG).expect("a configuration");
    let config = meridian_config::load(&path).unwrap_or_else(|told| panic!("{told}"));
    let clients = ClientMap::open(&config.geo).unwrap_or_else(|told| panic!("{told}"));
    let built = meridian_dns::build::build(&config, Arc::new(clients))
        .unwrap_or_else(|told| panic!("{told}"));
    let view = View::new(
        &built.steering,
        Arc::new(Standing::none()),
        Arc::new(HealthSnapshot::default()),
    );
    Snapshot {
        generation: 1,
        zones: built.zones,
        steering: built.steering,
        view: Arc::new(view),
        identity: built.identity,
    }
});

/// Asks, and judges the reply; `None` when there is none.
pub fn ask(message: &[u8], transport: Transport, out: &mut Vec<u8>) -> Option<Message> {
    let source = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4711);
    let meta = Meta {
        source,
        transport,
        now: UnixTime(1_700_000_000),
    };
    match respond(&SNAPSHOT, message, &meta, out) {
        Outcome::Drop(_) => {
            assert!(
                out.is_empty(),
                "something is sent though nothing is answered"
            );
            None
        }
        Outcome::Reply(summary) => {
            let reply = judge(message, transport, out);
            assert_eq!(summary.truncated, reply.metadata.truncation);
            Some(reply)
        }
    }
}

fn judge(message: &[u8], transport: Transport, reply: &[u8]) -> Message {
    let decoded = Message::from_vec(&decodable(message, reply)).unwrap_or_else(|error| {
        panic!("the reply cannot be decoded: {error}\n{message:02x?}\n{reply:02x?}")
    });
    assert_eq!(reply[..2], message[..2], "ID");
    assert!(reply[2] & 0x80 != 0, "QR");
    assert_eq!((reply[2] ^ message[2]) & 0x78, 0, "OPCODE");
    let edns = match query::parse(message) {
        Parsed::Query(query) => Some(query.edns.is_some()),
        _ => None,
    };
    let most = match (transport, edns) {
        // RFC 1035 §4.2.1
        (Transport::Udp, Some(false)) => 512,
        (Transport::Udp, _) => 1232,
        (Transport::Tcp, _) => 65_535,
    };
    assert!(
        reply.len() <= most,
        "{} octets over {transport:?}",
        reply.len()
    );
    if let Some(edns) = edns {
        // RFC 6891 §7: an OPT record in the reply exactly when there is one in the query.
        assert_eq!(decoded.edns.is_some(), edns, "OPT");
    }
    if transport == Transport::Tcp {
        assert!(!decoded.metadata.truncation, "TC over TCP");
    }
    decoded
}

/// Decodes a reply, or fails.
pub fn decode(reply: &[u8]) -> Message {
    Message::from_vec(reply).unwrap_or_else(|error| panic!("{error}: {reply:02x?}"))
}

/// The reply in a form that the decoder takes: it knows no address family 0, which is what
/// `dig +subnet=0` sends and is sent back.
fn decodable(message: &[u8], reply: &[u8]) -> Vec<u8> {
    const OPTION: [u8; 8] = [0, 8, 0, 4, 0, 0, 0, 0];
    let mut reply = reply.to_vec();
    let family = match query::parse(message) {
        Parsed::Query(query) => query.edns.and_then(|edns| edns.ecs).map(|ecs| ecs.family),
        _ => None,
    };
    if family == Some(0)
        && let Some(at) = reply.windows(8).rposition(|window| window == OPTION)
    {
        reply[at + 5] = 1;
    }
    reply
}
