//! The controller's settings from the checked configuration.

use meridian_config::{Announce, AnnounceHealth, Bgp, PopId};

use crate::{Attributes, Drain, Site};

use super::{Health, PrefixSettings, Settings, Timing};

impl Settings {
    /// Settings from `[bgp]`. `pop` gives the name of a PoP; `shared_store` says whether the sites
    /// share a permit store.
    pub fn from_config(bgp: &Bgp, shared_store: bool, pop: impl Fn(PopId) -> String) -> Self {
        let site = Site {
            last_resort: bgp.last_resort,
            min_sites: bgp.min_sites,
        };
        let timing = Timing {
            startup_delay: bgp.startup_delay,
            hold_down: bgp.hold_down,
            hold_down_max: bgp.hold_down_max,
            rise: bgp.self_probe.rise,
            fall: bgp.self_probe.fall,
            ..Timing::default()
        };
        Self {
            shared_store,
            dry_run: bgp.dry_run,
            timing,
            announce: bgp.announce.iter().map(|a| prefix(a, &pop)).collect(),
            ..Self::new(site)
        }
    }
}

fn prefix(announce: &Announce, pop: impl Fn(PopId) -> String) -> PrefixSettings {
    PrefixSettings {
        prefix: announce.prefix,
        next_hop: announce.next_hop,
        attributes: Attributes {
            med: announce.med,
            prepend: 0,
            communities: announce.communities.clone(),
            large_communities: announce.large_communities.clone(),
        },
        health: match announce.health {
            AnnounceHealth::SelfProbe => Health::Own,
            AnnounceHealth::Pop(id) => Health::Pop(pop(id)),
        },
        addresses: announce.addresses.clone(),
        drain: Drain {
            prepend: announce.drain.prepend,
            med: announce.drain.med,
            min_time: announce.drain.min_time,
            linger: announce.drain.linger,
        },
        drain_max: announce.drain.max_time,
        quiet_rate: announce.drain.quiet,
    }
}
