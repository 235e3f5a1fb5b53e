//! `[bgp]` as the parts of the BGP plane want it. Pure.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use meridian_bgp_control::{Settings, bfd};
use meridian_config::{Announce, Bgp, BgpPeer, Config};

use super::probe::Plan;

/// Neighbours that BFD watches.
pub(super) fn neighbors(bgp: &Bgp) -> Vec<bfd::Neighbor> {
    if bgp.dry_run {
        return Vec::new();
    }
    let one = |peer: &BgpPeer| {
        let timing = peer.bfd?;
        Some(bfd::Neighbor {
            name: peer.name.clone(),
            address: peer.address,
            local: peer.local_address,
            timing: bfd::Timing {
                interval: timing.interval,
                multiplier: timing.multiplier,
            },
        })
    };
    bgp.peers.iter().filter_map(one).collect()
}

/// The controller's settings. No store that sites share exists yet.
pub(super) fn controller(config: &Config, bgp: &Bgp) -> Settings {
    Settings::from_config(bgp, false, |pop| config.pop(pop).name.clone())
}

/// What the self-probe asks.
pub(super) fn plans(bgp: &Bgp, listens: &[SocketAddr]) -> Vec<Plan> {
    let plan = |one: &Announce| Plan {
        prefix: one.prefix,
        sockets: one
            .addresses
            .iter()
            .flat_map(|a| sockets(listens, *a))
            .collect(),
        interval: bgp.self_probe.interval,
        timeout: bgp.self_probe.timeout,
    };
    bgp.announce.iter().map(plan).collect()
}

/// What an operator should know before relying on it, a line each.
pub fn notes(config: &Config) -> Vec<String> {
    let Some(bgp) = &config.bgp else {
        return Vec::new();
    };
    let mut notes = Vec::new();
    if bgp.min_sites > 1 && !bgp.last_resort {
        notes.push(format!(
            "bgp.min_sites = {} has no effect without a store shared with the other sites: nobody \
             counts them, and this site withdraws when it fails; let one site be last_resort",
            bgp.min_sites
        ));
    }
    if config.server.nsid.is_none() {
        notes.push(
            "server.nsid is not set: the self-probe cannot tell this server from another one that \
             answers on the same address"
                .to_owned(),
        );
    }
    let slow = |peer: &&BgpPeer| {
        peer.bfd.is_none() && (bgp.hold_time.is_zero() || bgp.hold_time > Duration::from_secs(9))
    };
    for peer in bgp.peers.iter().filter(slow) {
        notes.push(format!(
            "peer {} notices a server that hangs only after its hold time: shorten hold_time, or \
             set bfd",
            peer.name
        ));
    }
    notes
}

/// Addresses and ports on which our own sockets should answer for a service address.
fn sockets(listens: &[SocketAddr], address: IpAddr) -> Vec<SocketAddr> {
    let covers = |listen: &&SocketAddr| {
        let any = listen.ip().is_unspecified() && listen.is_ipv4() == address.is_ipv4();
        any || listen.ip() == address
    };
    let mut ports: Vec<u16> = listens.iter().filter(covers).map(|l| l.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
        .into_iter()
        .map(|port| SocketAddr::new(address, port))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("tor.key"), "secret").unwrap();
        meridian_config::load(&path).unwrap_or_else(|found| panic!("{}", found.render(false)))
    }

    const BASE: &str = r#"
        [server]
        listen = ["192.0.2.53:53", "[::]:53", "127.0.0.1:5300"]
        [[pop]]
        name = "fra"
        latitude = 50
        longitude = 8
        endpoints = ["192.0.2.10"]
        [[zone]]
        name = "example.com"
        file = "example.com.zone"
    "#;

    const BGP: &str = r#"
        [bgp]
        site = "fra"
        local_as = 64512
        router_id = "10.99.0.2"
        min_sites = 2
        [[bgp.peer]]
        name = "tor1"
        address = "10.99.0.1"
        remote_as = 64500
        password_file = "tor.key"
        bfd = {}
        [[bgp.announce]]
        prefix = "192.0.2.53/32"
        health = "fra"
        drain = { min_time = "20s", quiet = 5 }
    "#;

    #[test]
    fn what_is_configured_reaches_every_part() {
        let config = config(&format!("{BASE}{BGP}"));
        let bgp = config.bgp.as_ref().unwrap();
        assert_eq!(neighbors(bgp).len(), 1);
        let settings = controller(&config, bgp);
        assert!(!settings.shared_store);
        assert_eq!(settings.announce.len(), 1);
        let plan = &plans(bgp, &config.server.listen)[0];
        assert_eq!(plan.prefix, bgp.announce[0].prefix);
        assert_eq!(plan.sockets, ["192.0.2.53:53".parse().unwrap()]);
        let notes = notes(&config);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(
            notes[0].contains("min_sites = 2 has no effect"),
            "{notes:?}"
        );
    }

    #[test]
    fn sockets_that_cover_an_address() {
        let listens = [
            "192.0.2.53:53",
            "[::]:53",
            "127.0.0.1:5300",
            "192.0.2.53:54",
        ];
        let listens = listens.map(|l| l.parse().unwrap());
        let found = |address: &str| {
            let found = sockets(&listens, address.parse().unwrap());
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(found("192.0.2.53"), ["192.0.2.53:53", "192.0.2.53:54"]);
        assert_eq!(found("2001:db8::53"), ["[2001:db8::53]:53"]);
        assert!(found("198.51.100.53").is_empty());
    }
}
