//! The BGP plane in the words of the admin API. Pure.

use std::time::SystemTime;

use ipnet::IpNet;
use meridian_bgp_control::{
    Attributes, BLACKHOLE, Desired, Explanation, Stage, bfd::Status as BfdStatus,
    session::PeerStatus,
};

use super::state::{PeerState, PrefixState, Route, SentRoute};

/// The name of a stage in JSON, metrics and on the terminal.
pub(in crate::runtime) fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Disabled => "disabled",
        Stage::Warmup => "warmup",
        Stage::Up => "up",
        Stage::Draining => "draining",
        Stage::Lingering => "lingering",
        Stage::Withdrawn => "withdrawn",
        Stage::Pinned => "pinned",
        Stage::Suppressed => "suppressed",
    }
}

/// Hosts that an operator has discarded.
pub(super) fn blackholes(desired: &[Desired]) -> Vec<IpNet> {
    let holes = desired.iter().filter(|route| {
        let attributes = route.attributes.as_ref();
        attributes.is_some_and(|a| a.communities.contains(&BLACKHOLE))
    });
    holes.map(|route| route.prefix).collect()
}

/// One prefix.
pub(super) fn prefix(
    explained: &Explanation,
    desired: Option<&Desired>,
    peers: &[PeerStatus],
    queries_per_second: Option<f64>,
    probe: Option<String>,
) -> PrefixState {
    let route = |desired: &Desired| Some(route(desired.next_hop, desired.attributes.as_ref()?));
    PrefixState {
        prefix: explained.prefix,
        stage: stage_name(explained.stage).to_owned(),
        stage_seconds: explained.stage_for.as_secs(),
        why: explained.why.clone(),
        waits_for: explained.waits_for.clone(),
        refusal: explained.refusal.clone(),
        next_change_seconds: explained.next_change.map(|time| time.as_secs_f64()),
        not_sent: explained.not_sent.clone(),
        desired: desired.and_then(route),
        sent: sent(explained.prefix, peers),
        queries_per_second,
        probe,
    }
}

fn sent(prefix: IpNet, peers: &[PeerStatus]) -> Vec<SentRoute> {
    let of = |peer: &PeerStatus| {
        let held = peer.routes.iter().find(|route| route.prefix == prefix)?;
        Some(SentRoute {
            peer: peer.name.clone(),
            route: route(held.next_hop, &held.attributes),
        })
    };
    peers.iter().filter_map(of).collect()
}

fn route(next_hop: std::net::IpAddr, attributes: &Attributes) -> Route {
    let plain = attributes
        .communities
        .iter()
        .map(|(a, b)| format!("{a}:{b}"));
    let large = attributes
        .large_communities
        .iter()
        .map(|(a, b, c)| format!("{a}:{b}:{c}"));
    Route {
        next_hop,
        med: attributes.med,
        prepend: attributes.prepend,
        communities: plain.chain(large).collect(),
    }
}

/// One peer.
pub(super) fn peer(status: &PeerStatus, bfd: &[BfdStatus], now: SystemTime) -> PeerState {
    let watched = bfd.iter().find(|one| one.name == status.name);
    let bfd = watched.map(|one| {
        let state = format!("{:?}", one.state).to_lowercase();
        match (&one.problem, one.diagnostic.as_str()) {
            (Some(problem), _) => format!("{state}: {problem}"),
            (None, "") => state,
            (None, diagnostic) => format!("{state}: {diagnostic}"),
        }
    });
    let refused = |route: &meridian_bgp_control::session::RefusedRoute| {
        format!("{}: {}", route.prefix, route.reason)
    };
    PeerState {
        name: status.name.clone(),
        address: status.address,
        remote_as: status.remote_as,
        state: status.state.as_str().to_owned(),
        state_seconds: now
            .duration_since(status.since)
            .map_or(0, |time| time.as_secs()),
        last_error: status.last_error.clone(),
        bfd,
        lint: status.lint.clone(),
        refused: status.refused.iter().map(refused).collect(),
        ignored: status.counters.prefixes_ignored,
    }
}
