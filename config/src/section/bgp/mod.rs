//! `[bgp]`

mod announce;
mod auth;
mod peer;

use std::{net::Ipv4Addr, time::Duration};

use self::{
    announce::{World, read_announcements},
    peer::read_peers,
};
use crate::{
    Announce, Bgp, BgpPeer, PopId, SelfProbe, Server, ServiceInterface,
    duration::write_duration,
    names::Names,
    text::quote,
    walk::{Table, Value},
};

/// Longest name of an interface, in octets (`IFNAMSIZ` holds one more for the end).
const INTERFACE_LIMIT: usize = 15;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Reads `[bgp]`, when it is there.
pub(crate) fn read_bgp<'a>(
    table: Option<Table<'a>>,
    pops: &Names<'a>,
    server: &Server,
) -> Option<Bgp> {
    let table = table?;
    let site = table
        .required("site", "\"fra\"")
        .and_then(|v| pops.find(&v));
    let local_as = table.required("local_as", "64512");
    let local_as = local_as.and_then(|v| as_number(&v)).unwrap_or(1);
    let router_id = table.required("router_id", "\"10.99.0.2\"");
    let router_id = router_id.and_then(|v| read_router_id(&v));
    let listen_port = table.get("listen_port", "179");
    let listen_port = listen_port
        .and_then(|v| v.integer(0..=65535))
        .unwrap_or(179);
    let interface = table.get("interface", "\"meridian0\"");
    let boolean = |key| table.get(key, "true").and_then(|v| v.boolean()) == Some(true);
    let count = |key, default| {
        let value = table.get(key, "2").and_then(|v| v.integer(1..=1000));
        value.unwrap_or(default)
    };
    let hold_time = table.get("hold_time", "\"9s\"");
    let times = read_times(&table);
    let self_probe = table.get(
        "self_probe",
        "{ interval = \"1s\", timeout = \"500ms\", rise = 3, fall = 2 }",
    );
    let peers = table.get("peer", "[]").map(|v| v.tables());
    let announce = table.get("announce", "[]").map(|v| v.tables());
    let bgp = Bgp {
        site: PopId(site.unwrap_or(0)),
        local_as,
        router_id: router_id.unwrap_or(Ipv4Addr::UNSPECIFIED),
        hold_time: hold_time
            .and_then(|v| read_hold_time(&v))
            .unwrap_or(9 * SECOND),
        listen_port: u16::try_from(listen_port).unwrap_or(179),
        interface: interface
            .and_then(|v| read_interface(&v))
            .unwrap_or(ServiceInterface::None),
        min_sites: count("min_sites", 1),
        max_concurrent: count("max_concurrent", 1),
        last_resort: boolean("last_resort"),
        startup_delay: times.startup_delay,
        hold_down: times.hold_down,
        hold_down_max: times.hold_down_max,
        stale_after: times.stale_after,
        dry_run: boolean("dry_run"),
        self_probe: self_probe
            .and_then(|v| v.table())
            .map(read_self_probe)
            .unwrap_or_default(),
        peers: read_peers(peers.unwrap_or_default(), local_as, listen_port == 0),
        announce: Vec::new(),
    };
    let announce = read_announcements(
        announce.unwrap_or_default(),
        &World {
            peers: &bgp.peers,
            pops,
            server,
        },
    );
    judge_presence(&table, &bgp.peers, &announce);
    table.close();
    Some(Bgp { announce, ..bgp })
}

struct Times {
    startup_delay: Duration,
    hold_down: Duration,
    hold_down_max: Duration,
    stale_after: Option<Duration>,
}

fn read_times(table: &Table<'_>) -> Times {
    let read = |key, example, low, high| {
        let value: Option<Value<'_>> = table.get(key, example);
        let time = value.as_ref().and_then(|v| v.duration(low..=high));
        (value, time)
    };
    let (_, startup_delay) = read("startup_delay", "\"10s\"", Duration::ZERO, HOUR);
    let (_, hold_down) = read("hold_down", "\"10s\"", Duration::ZERO, HOUR);
    let hold_down = hold_down.unwrap_or(10 * SECOND);
    let (value, most) = read("hold_down_max", "\"10m\"", Duration::ZERO, 24 * HOUR);
    if let (Some(value), Some(most)) = (value, most)
        && most < hold_down
    {
        let message = format!(
            "`hold_down_max` is shorter than `hold_down`, which is {}",
            write_duration(hold_down)
        );
        value.mistake(message, "raise it, or shorten `hold_down`");
    }
    let (_, stale_after) = read("stale_after", "\"1d\"", SECOND, 24 * 365 * HOUR);
    Times {
        startup_delay: startup_delay.unwrap_or(10 * SECOND),
        hold_down,
        hold_down_max: most.unwrap_or(600 * SECOND).max(hold_down),
        stale_after,
    }
}

/// An AS number that a session may have. RFC 7607: 0 must not be used; RFC 6793 §9: 23456 stands
/// for a number that does not fit; RFC 7300: the last of each size are reserved.
fn as_number(value: &Value<'_>) -> Option<u32> {
    let number = value.integer(0..=u32::MAX)?;
    if matches!(number, 0 | 23456 | 65535 | u32::MAX) {
        value.mistake(
            format!("{number} is a reserved AS number"),
            "write the number that your registry gave you, or a private one such as 64512",
        );
        return None;
    }
    Some(number)
}

fn read_router_id(value: &Value<'_>) -> Option<Ipv4Addr> {
    let text = value.text()?;
    match text.parse::<Ipv4Addr>() {
        Ok(id) if id.is_unspecified() => {
            // RFC 6286 §2.1: "a 4-octet, unsigned, non-zero integer".
            value.mistake("the router identifier is zero", value.remedy());
            None
        }
        Ok(id) => Some(id),
        Err(_) => {
            value.mistake(
                format!("{} is no router identifier", quote(text)),
                "it is written like an IPv4 address, also on a site with IPv6 alone",
            );
            None
        }
    }
}

/// RFC 4271 §4.2: "The Hold Time MUST be either zero or at least three seconds."
fn read_hold_time(value: &Value<'_>) -> Option<Duration> {
    let time = value.duration(Duration::ZERO..=Duration::from_secs(65535))?;
    if time.is_zero() || (time >= 3 * SECOND && time.subsec_nanos() == 0) {
        return Some(time);
    }
    let time = write_duration(time);
    value.mistake(
        format!("the hold time is {time}: it must be whole seconds, from 3 s on, or zero"),
        value.remedy(),
    );
    None
}

fn read_interface(value: &Value<'_>) -> Option<ServiceInterface> {
    let name = value.token(64)?;
    if name == "none" {
        return Some(ServiceInterface::None);
    }
    let refused = |c: char| c == '/' || c == ':' || c == '%';
    if name.len() > INTERFACE_LIMIT || name.contains(refused) || name == "." || name == ".." {
        let message = format!("{} is no name of an interface", quote(name));
        value.mistake(
            message,
            format!(
                "write at most {INTERFACE_LIMIT} characters without \"/\", \":\" and \"%\", or \
                 \"none\" to leave addresses alone"
            ),
        );
        return None;
    }
    Some(ServiceInterface::Named(name.to_owned()))
}

fn read_self_probe(table: Table<'_>) -> SelfProbe {
    let default = SelfProbe::default();
    let range = Duration::from_millis(100)..=60 * SECOND;
    let interval = table.get("interval", "\"1s\"");
    let interval = interval.and_then(|v| v.duration(range));
    let interval = interval.unwrap_or(default.interval);
    let value = table.get("timeout", "\"500ms\"");
    let range = Duration::from_millis(10)..=10 * SECOND;
    let timeout = value.as_ref().and_then(|v| v.duration(range));
    if let (Some(value), Some(timeout)) = (value, timeout)
        && timeout > interval
    {
        let interval = write_duration(interval);
        value.mistake(
            format!("`timeout` is longer than `interval`, which is {interval}"),
            "shorten it, so that one probe ends before the next",
        );
    }
    let count = |key, default| {
        let value = table.get(key, "3").and_then(|v| v.integer(1..=100));
        value.unwrap_or(default)
    };
    let probe = SelfProbe {
        interval,
        timeout: timeout.unwrap_or(default.timeout.min(interval)),
        rise: count("rise", default.rise),
        fall: count("fall", default.fall),
    };
    table.close();
    probe
}

/// A site without peers or prefixes would look as if it announced.
fn judge_presence(table: &Table<'_>, peers: &[BgpPeer], announce: &[Announce]) {
    if peers.is_empty() && table.peek("peer", "").is_none() {
        table.at.mistake(
            "no peer is configured: nobody would hear an announcement",
            "add a `[[bgp.peer]]` table",
        );
    } else if announce.is_empty() && table.peek("announce", "").is_none() {
        table.at.mistake(
            "no prefix is configured: there is nothing to announce",
            "add a `[[bgp.announce]]` table",
        );
    }
}
