//! `[[bgp.announce]]`

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};
use toml::de::DeValue;

use crate::{
    Announce, AnnounceHealth, BgpPeer, DrainSettings, Family, PopId, Server,
    duration::write_duration,
    names::Names,
    text::quote,
    walk::{At, Table, Value},
};

/// Most prefixes of one site: each has a counter of its own in every worker.
const PREFIXES_LIMIT: usize = 64;

/// Most service addresses of one prefix.
const ADDRESSES_LIMIT: usize = 16;

/// Most communities of either kind on one route.
const COMMUNITIES_LIMIT: usize = 32;

/// Networks that no route of a service may cover or lie in, and why.
const NO_SERVICE: [(&str, &str); 9] = [
    ("0.0.0.0/8", "this network (RFC 1122)"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/127", "unspecified or loopback"),
    ("::ffff:0:0/96", "IPv4 inside IPv6"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
];

/// What a prefix refers to.
pub(super) struct World<'w, 'a> {
    pub(super) peers: &'w [BgpPeer],
    pub(super) pops: &'w Names<'a>,
    pub(super) server: &'w Server,
}

/// Reads the announced prefixes.
pub(super) fn read_announcements<'a>(
    tables: Vec<Table<'a>>,
    world: &World<'_, 'a>,
) -> Vec<Announce> {
    if let Some(table) = tables.get(PREFIXES_LIMIT) {
        let message = format!("this is prefix number {}", PREFIXES_LIMIT + 1);
        let help = format!("a site announces at most {PREFIXES_LIMIT} prefixes");
        table.at.mistake(message, help);
    }
    let mut first = HashMap::new();
    let one = |table| read_one(table, world, &mut first);
    tables.into_iter().map(one).collect()
}

fn read_one<'a>(
    table: Table<'a>,
    world: &World<'_, 'a>,
    first: &mut HashMap<IpNet, At<'a>>,
) -> Announce {
    let value = table.required("prefix", "\"192.0.2.53/32\"");
    let prefix = value.as_ref().and_then(|v| read_prefix(v, first));
    let health = table.get("health", "\"self\"");
    let health = health.and_then(|v| read_health(&v, world.pops));
    let addresses = table.get("addresses", "[\"192.0.2.53\"]");
    let addresses = match (addresses, prefix) {
        (Some(value), Some(prefix)) => read_addresses(&value, prefix),
        (None, Some(prefix)) if prefix.prefix_len() == prefix.max_prefix_len() => {
            vec![prefix.addr()]
        }
        (None, Some(prefix)) => {
            if let Some(value) = &value {
                value.mistake(
                    format!("{prefix} holds many addresses, and nothing says which ones serve"),
                    "add for example `addresses = [\"192.0.2.53\"]`",
                );
            }
            Vec::new()
        }
        (_, None) => Vec::new(),
    };
    if let Some(value) = &value {
        judge_listen(value, &addresses, world.server);
    }
    let next_hop = table.get("next_hop", "\"10.99.0.2\"");
    let next_hop_read = match (&next_hop, prefix) {
        (Some(value), Some(prefix)) => read_next_hop(value, prefix),
        _ => None,
    };
    if let (Some(value), Some(prefix), None) = (&value, prefix, &next_hop) {
        judge_default_next_hop(value, prefix, world.peers);
    }
    let med = table.get("med", "0").and_then(|v| v.integer(0..=u32::MAX));
    let communities = table.get("communities", "[\"64512:100\"]");
    let large = table.get("large_communities", "[\"64512:1:100\"]");
    let drain = table.get("drain", "{ prepend = 3, min_time = \"10s\" }");
    let announce = Announce {
        prefix: prefix.unwrap_or(IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0))),
        addresses,
        next_hop: next_hop_read,
        med: med.unwrap_or(0),
        communities: read_set(communities, community),
        large_communities: read_set(large, large_community),
        health: health.unwrap_or(AnnounceHealth::SelfProbe),
        drain: drain
            .and_then(|v| v.table())
            .map(read_drain)
            .unwrap_or_default(),
    };
    table.close();
    announce
}

fn read_prefix<'a>(value: &Value<'a>, first: &mut HashMap<IpNet, At<'a>>) -> Option<IpNet> {
    let prefix = value.network(true)?;
    if prefix.prefix_len() == 0 {
        value.mistake(
            format!("{prefix} is the default route, which this server never announces"),
            "write the prefix of the service addresses",
        );
        return None;
    }
    for (network, why) in NO_SERVICE {
        let network: IpNet = network.parse().ok()?;
        if network.contains(&prefix) || prefix.contains(&network) {
            value.mistake(
                format!("{prefix} touches {network}: {why}"),
                "write a prefix that clients can reach",
            );
            return None;
        }
    }
    if let Some(earlier) = first.get(&prefix) {
        value.mistake(
            format!("{prefix} is announced twice"),
            format!("remove one of them; the first stands at {}", earlier.line()),
        );
    } else {
        first.insert(prefix, value.at.clone());
    }
    Some(prefix)
}

fn read_health<'a>(value: &Value<'a>, pops: &Names<'a>) -> Option<AnnounceHealth> {
    if let DeValue::String(text) = value.inner
        && text == "self"
    {
        return Some(AnnounceHealth::SelfProbe);
    }
    pops.find(value).map(PopId).map(AnnounceHealth::Pop)
}

fn read_addresses(value: &Value<'_>, prefix: IpNet) -> Vec<IpAddr> {
    let Some(entries) = value.list() else {
        return Vec::new();
    };
    if entries.is_empty() {
        value.mistake(
            "`addresses` is empty: nothing would serve behind this prefix",
            value.remedy(),
        );
    }
    if entries.len() > ADDRESSES_LIMIT {
        let message = format!("a prefix has at most {ADDRESSES_LIMIT} service addresses");
        value.mistake(message, "announce it as several prefixes");
    }
    let mut all = Vec::new();
    for entry in entries {
        let Some(address) = entry.address() else {
            continue;
        };
        if !prefix.contains(&address) {
            entry.mistake(
                format!("{address} does not lie in {prefix}"),
                "write an address of this prefix",
            );
        } else if all.contains(&address) {
            let message = format!("{address} stands twice in `addresses`");
            entry.mistake(message, "remove one of them");
        }
        all.push(address);
    }
    all
}

/// A service address without a socket would answer nobody.
fn judge_listen(value: &Value<'_>, addresses: &[IpAddr], server: &Server) {
    let covered = |address: &IpAddr| {
        server.listen.iter().any(|listen| {
            let whole = listen.ip().is_unspecified();
            listen.ip() == *address || (whole && listen.is_ipv4() == address.is_ipv4())
        })
    };
    // An empty list is already reported.
    if let Some(address) = addresses.iter().find(|a| !covered(a))
        && !server.listen.is_empty()
    {
        value.mistake(
            format!("nothing in `server.listen` covers the service address {address}"),
            format!("add {address} with a port to `server.listen`, or an unspecified address"),
        );
    }
}

fn read_next_hop(value: &Value<'_>, prefix: IpNet) -> Option<IpAddr> {
    let address = value.unicast_address()?;
    if Family::of(address) != Family::of(prefix.addr()) {
        let family = if prefix.addr().is_ipv4() { 4 } else { 6 };
        value.mistake(
            format!("the next hop {address} is of another family than {prefix}"),
            format!("write this server's IPv{family} address on the link to the peers"),
        );
        return None;
    }
    if prefix.contains(&address) {
        value.mistake(
            format!("the next hop {address} lies in {prefix} itself"),
            "write this server's own address on the link to the peers",
        );
        return None;
    }
    Some(address)
}

/// Without `next_hop` the session's local address is sent, which must be of the prefix' family.
fn judge_default_next_hop(value: &Value<'_>, prefix: IpNet, peers: &[BgpPeer]) {
    let family = Family::of(prefix.addr());
    let other = |peer: &&BgpPeer| {
        let known = !peer.address.is_unspecified();
        known && Family::of(peer.address) != family
    };
    if let Some(peer) = peers.iter().find(other) {
        value.mistake(
            format!(
                "{prefix} has no next hop for the session with {}, which is of the other family",
                quote(&peer.name)
            ),
            "add `next_hop`: this server's address of the prefix' family on the link to the peer",
        );
    }
}

fn read_set<T: Ord>(value: Option<Value<'_>>, read: impl Fn(&Value<'_>) -> Option<T>) -> Vec<T> {
    let Some(value) = value else {
        return Vec::new();
    };
    let entries = value.list().unwrap_or_default();
    if entries.len() > COMMUNITIES_LIMIT {
        let message = format!("a route has at most {COMMUNITIES_LIMIT} `{}`", value.name);
        value.mistake(message, "remove some of them");
    }
    let mut all: Vec<T> = entries.iter().filter_map(read).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn community(value: &Value<'_>) -> Option<(u16, u16)> {
    let text = value.text()?;
    let parts: Option<Vec<u16>> = text.split(':').map(|part| part.parse().ok()).collect();
    let Some([high, low]) = parts.as_deref() else {
        let message = format!("{} is no community: two numbers up to 65535", quote(text));
        value.mistake(message, value.remedy());
        return None;
    };
    let why = match (high, low) {
        (65535, 0) => "GRACEFUL_SHUTDOWN, which a drain sets (RFC 8326)",
        (65535, 666) => "BLACKHOLE, which only an operator's command sets (RFC 7999)",
        (65535, 6 | 7) => "about stale routes (RFC 9494), which this server never leaves behind",
        _ => return Some((*high, *low)),
    };
    value.mistake(format!("{text} is {why}"), "remove it");
    None
}

fn large_community(value: &Value<'_>) -> Option<(u32, u32, u32)> {
    let text = value.text()?;
    let parts: Option<Vec<u32>> = text.split(':').map(|part| part.parse().ok()).collect();
    if let Some([global, one, two]) = parts.as_deref() {
        return Some((*global, *one, *two));
    }
    let message = format!("{} is no large community: three numbers", quote(text));
    value.mistake(message, value.remedy());
    None
}

fn read_drain(table: Table<'_>) -> DrainSettings {
    let default = DrainSettings::default();
    let hour = Duration::from_secs(3600);
    let prepend = table.get("prepend", "3").and_then(|v| v.integer(0..=16));
    let med = table
        .get("med", "100")
        .and_then(|v| v.integer(0..=u32::MAX));
    let min_time = table.get("min_time", "\"10s\"");
    let min_time = min_time.and_then(|v| v.duration(Duration::ZERO..=hour));
    let min_time = min_time.unwrap_or(default.min_time);
    let max_time = table.get("max_time", "\"60s\"");
    let most = max_time
        .as_ref()
        .and_then(|v| v.duration(Duration::ZERO..=24 * hour));
    if let (Some(value), Some(most)) = (max_time, most)
        && most < min_time
    {
        let min_time = write_duration(min_time);
        value.mistake(
            format!("`max_time` is shorter than `min_time`, which is {min_time}"),
            "raise it, or shorten `min_time`",
        );
    }
    let quiet = table
        .get("quiet", "1")
        .and_then(|v| v.number(0.0..=1_000_000_000.0));
    let linger = table.get("linger", "\"10m\"");
    let linger = linger.and_then(|v| v.duration(Duration::ZERO..=24 * hour));
    table.close();
    DrainSettings {
        prepend: prepend
            .and_then(|p| u8::try_from(p).ok())
            .unwrap_or(default.prepend),
        med: med.unwrap_or(default.med),
        min_time,
        max_time: most.unwrap_or(default.max_time.max(2 * min_time)),
        quiet: quiet.unwrap_or(default.quiet),
        linger: linger.unwrap_or(default.linger),
    }
}
