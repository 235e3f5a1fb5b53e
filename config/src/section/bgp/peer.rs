//! `[[bgp.peer]]`

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use super::{as_number, auth::read_auth};
use crate::{
    BgpBfd, BgpPeer, Family,
    text::quote,
    walk::{At, Table, Value},
};

/// Most peers of one site.
const PEERS_LIMIT: usize = 64;

/// Reads the peers; `deaf` when no port is listened on.
pub(super) fn read_peers(tables: Vec<Table<'_>>, local_as: u32, deaf: bool) -> Vec<BgpPeer> {
    if let Some(table) = tables.get(PEERS_LIMIT) {
        let message = format!("this is peer number {}", PEERS_LIMIT + 1);
        let help = format!("a site has at most {PEERS_LIMIT} peers");
        table.at.mistake(message, help);
    }
    let mut names = HashMap::new();
    let mut addresses = HashMap::new();
    let one = |table| read_peer(table, local_as, deaf, &mut names, &mut addresses);
    tables.into_iter().map(one).collect()
}

fn read_peer<'a>(
    table: Table<'a>,
    local_as: u32,
    deaf: bool,
    names: &mut HashMap<&'a str, At<'a>>,
    addresses: &mut HashMap<IpAddr, At<'a>>,
) -> BgpPeer {
    let name = table.required("name", "\"tor1\"");
    let name = name.and_then(|v| once(&v, v.name()?, "peers named", names));
    let address = table.required("address", "\"10.99.0.1\"");
    let address = address.and_then(|v| once(&v, session_address(&v)?, "peers at", addresses));
    let port = table.get("port", "179").and_then(|v| v.integer(1..=65535));
    let local_address = table.get("local_address", "\"10.99.0.2\"");
    let local_address = local_address.and_then(|v| read_local_address(&v, address));
    let remote_as = table.required("remote_as", "64500");
    let remote_as = remote_as.and_then(|v| as_number(&v)).unwrap_or(local_as);
    let passive = table.get("passive", "true");
    let waits = passive.as_ref().and_then(Value::boolean) == Some(true);
    if let (Some(passive), true, true) = (passive, waits, deaf) {
        passive.mistake(
            "the peer is to open the session, but `bgp.listen_port` is 0",
            "set `listen_port`, or remove `passive`",
        );
    }
    let auth = read_auth(&table);
    let gtsm = table.get("gtsm", "true");
    let peer = BgpPeer {
        name: name.unwrap_or_default().to_owned(),
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        port: port.and_then(|p| u16::try_from(p).ok()).unwrap_or(179),
        local_address,
        remote_as,
        passive: waits,
        auth,
        gtsm: gtsm.and_then(|v| v.boolean()) == Some(true),
        bfd: read_bfd(&table),
    };
    table.close();
    peer
}

/// The value, when none of the earlier ones equals it.
fn once<'a, T: std::hash::Hash + Eq + Copy + std::fmt::Display>(
    value: &Value<'a>,
    key: T,
    what: &str,
    earlier: &mut HashMap<T, At<'a>>,
) -> Option<T> {
    if let Some(first) = earlier.get(&key) {
        value.mistake(
            format!("there are two {what} {}", quote(&key.to_string())),
            format!("change one of them; the first stands at {}", first.line()),
        );
    } else {
        earlier.insert(key, value.at.clone());
    }
    Some(key)
}

/// An address that a session can have at either end.
fn session_address(value: &Value<'_>) -> Option<IpAddr> {
    let address = value.address()?;
    let link_local = matches!(address, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80);
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let why = if address.is_unspecified() {
        "the unspecified address"
    } else if address.is_multicast() || broadcast {
        "no address of one host"
    } else if link_local {
        "a link-local address"
    } else if mapped {
        "an IPv4 address inside an IPv6 address"
    } else {
        return Some(address);
    };
    value.mistake(
        format!("{address} is {why}"),
        "write an address that the other end is configured with",
    );
    None
}

fn read_local_address(value: &Value<'_>, peer: Option<IpAddr>) -> Option<IpAddr> {
    let address = session_address(value)?;
    if let Some(peer) = peer
        && Family::of(peer) != Family::of(address)
    {
        value.mistake(
            format!("{address} and the peer's {peer} are of different families"),
            "write an address of the peer's family",
        );
        return None;
    }
    if peer == Some(address) {
        value.mistake(
            format!("{address} is the peer's address"),
            "write this server's own address",
        );
        return None;
    }
    Some(address)
}

fn read_bfd(table: &Table<'_>) -> Option<BgpBfd> {
    let value = table.get("bfd", "{ interval = \"300ms\", multiplier = 3 }")?;
    let table = value.table()?;
    let range = Duration::from_millis(10)..=Duration::from_secs(60);
    let interval = table.get("interval", "\"300ms\"");
    let interval = interval.and_then(|v| v.duration(range));
    let multiplier = table.get("multiplier", "3");
    // RFC 5880 §6.8.1: "bfd.DetectMult … MUST be a nonzero integer"; 1 falls at one lost packet.
    let multiplier = multiplier.and_then(|v| v.integer(1..=50));
    table.close();
    Some(BgpBfd {
        interval: interval.unwrap_or(Duration::from_millis(300)),
        multiplier: multiplier.and_then(|m| u8::try_from(m).ok()).unwrap_or(3),
    })
}
