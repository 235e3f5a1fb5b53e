//! `[bgp]` as the parts of the BGP plane want it. Pure.

use std::{net::IpAddr, time::Duration};

use meridian_bgp_control::{
    Attributes, Drain, Health, PrefixSettings, Settings, Site, Timing, bfd,
    session::{Auth, PeerSettings, Secret, SpeakerSettings},
};
use meridian_config::{
    Announce, AnnounceHealth, Bgp, BgpAuth, BgpPeer, Config, SecretFile,
};

/// What the speaker gets, and the peers that must stay closed with the reason.
pub(super) struct Sessions {
    pub(super) speaker: SpeakerSettings,
    pub(super) closed: Vec<(String, String)>,
}

/// Sessions with routers.
pub(super) fn sessions(bgp: &Bgp) -> Sessions {
    let mut speaker = SpeakerSettings::new(bgp.local_as, bgp.router_id);
    speaker.hold_time = bgp.hold_time;
    speaker.listen_port = bgp.listen_port;
    speaker.prefixes = bgp.announce.iter().map(|one| one.prefix).collect();
    speaker.dry_run = bgp.dry_run;
    speaker.relies_on_graceful_shutdown = bgp
        .announce
        .iter()
        .any(|one| one.drain.prepend == 0 && one.drain.med <= one.med);
    let mut closed = Vec::new();
    for peer in &bgp.peers {
        match session(peer) {
            Ok(settings) => speaker.peers.push(settings),
            Err(why) => closed.push((peer.name.clone(), why)),
        }
    }
    Sessions { speaker, closed }
}

fn session(peer: &BgpPeer) -> Result<PeerSettings, String> {
    let mut settings = PeerSettings::new(&peer.name, peer.address, peer.remote_as);
    settings.port = peer.port;
    settings.local_address = peer.local_address;
    settings.passive = peer.passive;
    settings.auth = auth(&peer.auth)?;
    settings.gtsm = peer.gtsm;
    settings.bfd = peer.bfd.is_some();
    Ok(settings)
}

/// A session that shall be authenticated never opens without its key.
fn auth(auth: &BgpAuth) -> Result<Auth, String> {
    match auth {
        BgpAuth::Open => Ok(Auth::None),
        BgpAuth::Md5(file) => Ok(Auth::Md5(secret(file)?)),
        BgpAuth::Ao {
            key,
            key_id,
        } => Ok(Auth::Ao {
            key_id: *key_id,
            key: secret(key)?,
        }),
    }
}

fn secret(file: &SecretFile) -> Result<Secret, String> {
    let octets = file.secret.as_ref().map(|secret| secret.0.clone());
    octets
        .and_then(Secret::new)
        .ok_or_else(|| format!("the key in {} could not be read", file.path.display()))
}

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

/// The controller's settings.
pub(super) fn controller(config: &Config, bgp: &Bgp) -> Settings {
    let mut settings = Settings::new(Site {
        last_resort: bgp.last_resort,
        min_sites: bgp.min_sites,
    });
    // No store that other sites share exists yet.
    settings.shared_store = false;
    settings.dry_run = bgp.dry_run;
    settings.timing = Timing {
        startup_delay: bgp.startup_delay,
        hold_down: bgp.hold_down,
        hold_down_max: bgp.hold_down_max,
        rise: bgp.self_probe.rise,
        fall: bgp.self_probe.fall,
        ..Timing::default()
    };
    settings.announce = bgp
        .announce
        .iter()
        .map(|one| prefix(config, bgp, one))
        .collect();
    settings
}

fn prefix(config: &Config, bgp: &Bgp, one: &Announce) -> PrefixSettings {
    let owned = bgp.interface != meridian_config::ServiceInterface::None;
    PrefixSettings {
        prefix: one.prefix,
        addresses: if owned { one.addresses.clone() } else { Vec::new() },
        next_hop: one.next_hop,
        attributes: Attributes {
            med: one.med,
            prepend: 0,
            communities: one.communities.clone(),
            large_communities: one.large_communities.clone(),
        },
        health: match one.health {
            AnnounceHealth::SelfProbe => Health::Own,
            AnnounceHealth::Pop(pop) => Health::Pop(config.pop(pop).name.clone()),
        },
        drain: Drain {
            prepend: one.drain.prepend,
            med: one.drain.med,
            min_time: one.drain.min_time,
            max_time: one.drain.max_time,
            quiet_rate: one.drain.quiet,
            linger: one.drain.linger,
        },
    }
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
pub(super) fn sockets(listens: &[std::net::SocketAddr], address: IpAddr) -> Vec<std::net::SocketAddr> {
    let covers = |listen: &&std::net::SocketAddr| {
        let any = listen.ip().is_unspecified() && listen.is_ipv4() == address.is_ipv4();
        any || listen.ip() == address
    };
    let mut ports: Vec<u16> = listens.iter().filter(covers).map(|l| l.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
        .into_iter()
        .map(|port| std::net::SocketAddr::new(address, port))
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
        let sessions = sessions(bgp);
        assert!(sessions.closed.is_empty());
        let peer = &sessions.speaker.peers[0];
        assert!(peer.bfd && matches!(peer.auth, Auth::Md5(_)));
        assert_eq!(sessions.speaker.prefixes, [bgp.announce[0].prefix]);
        assert_eq!(neighbors(bgp).len(), 1);
        let settings = controller(&config, bgp);
        assert_eq!(settings.announce[0].health, Health::Pop("fra".to_owned()));
        assert_eq!(settings.announce[0].drain.max_time, Duration::from_secs(60));
        // `interface = "none"`: addresses are not ours to put anywhere.
        assert!(settings.announce[0].addresses.is_empty());
        let notes = notes(&config);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("min_sites = 2 has no effect"), "{notes:?}");
    }

    #[test]
    fn a_session_without_its_key_stays_closed() {
        let mut config = config(&format!("{BASE}{BGP}"));
        let bgp = config.bgp.as_mut().unwrap();
        if let BgpAuth::Md5(file) = &mut bgp.peers[0].auth {
            file.secret = None;
        }
        let sessions = sessions(bgp);
        assert!(sessions.speaker.peers.is_empty());
        assert_eq!(sessions.closed[0].0, "tor1");
    }

    #[test]
    fn sockets_that_cover_an_address() {
        let listens = ["192.0.2.53:53", "[::]:53", "127.0.0.1:5300", "192.0.2.53:54"];
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
