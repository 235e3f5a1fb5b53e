//! The only file that names the BGP codec and state machine crates.
//!
//! They are pinned exactly in the workspace. Everything that goes in or out of them passes here:
//! framing, OPEN, UPDATE, NOTIFICATION and what RFC 7606 says of a malformed UPDATE.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use ipnet::IpNet;
pub(super) use rustbgpd_fsm::{
    Action, Event, NegotiatedSession, Session as Machine, SessionState as MachineState, TimerType,
};
use rustbgpd_fsm::{PeerConfig, negotiation};
use rustbgpd_wire::{
    Afi, AsPath, AsPathSegment, Capability, EncodeError, Ipv4NlriEntry, Ipv4Prefix,
    Ipv4UnicastMode, Ipv6Prefix, LargeCommunity, MAX_MESSAGE_LEN, MpReachNlri, MpUnreachNlri,
    NlriEntry, Origin, PathAttribute, Prefix, Safi, UpdateMessage, decode_message, encode_message,
    notification::{cease_subcode, description, encode_shutdown_communication},
    peek_message_length,
    validate::{ErrorDisposition, validate_update_attributes},
};
pub(super) use rustbgpd_wire::{
    DecodeError, Message, NotificationMessage, OpenMessage, RouteRefreshMessage,
    RouteRefreshSubtype,
};

use super::{
    Agreed,
    settings::{PeerSettings, SpeakerSettings},
};
use crate::Attributes;

/// Address families that are spoken; unicast always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }

    fn afi(self) -> Afi {
        match self {
            Self::V4 => Afi::Ipv4,
            Self::V6 => Afi::Ipv6,
        }
    }

    /// The family of a route refresh; `None`: one that we do not speak.
    pub(super) fn of_refresh(message: &RouteRefreshMessage) -> Option<Self> {
        if message.safi() != Some(Safi::Unicast) {
            return None;
        }
        Self::ALL
            .into_iter()
            .find(|family| Some(family.afi()) == message.afi())
    }
}

/// What is said with a route besides its prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announcement<'a> {
    pub(super) family: Family,
    pub(super) next_hop: IpAddr,
    pub(super) attributes: &'a Attributes,
    /// External: our AS number stands in the path and LOCAL_PREF is not sent.
    pub(super) external: bool,
    pub(super) local_as: u32,
    pub(super) four_octet_as: bool,
}

/// A machine for one connection that is open already.
pub(super) fn machine(local: &SpeakerSettings, peer: &PeerSettings) -> Machine {
    Machine::new(machine_settings(local, peer))
}

fn machine_settings(local: &SpeakerSettings, peer: &PeerSettings) -> PeerConfig {
    let mut config = PeerConfig::new(local.local_as, peer.remote_as, local.router_id);
    config.hold_time = local.hold_seconds();
    config.families = vec![(Afi::Ipv4, Safi::Unicast), (Afi::Ipv6, Safi::Unicast)];
    config.graceful_restart = false;
    config
}

/// The OPEN as it goes out. RFC 4724 (Graceful Restart) is never offered: with it a peer would
/// keep the routes of a dead server. Messages longer than 4,096 octets and the markers of RFC
/// 7313 are of no use to a speaker with a few routes, so they are not offered either.
pub(super) fn offered(mut open: OpenMessage) -> OpenMessage {
    open.capabilities.retain(|capability| {
        matches!(
            capability,
            Capability::MultiProtocol { .. }
                | Capability::RouteRefresh
                | Capability::ExtendedNextHop(_)
                | Capability::FourOctetAs { .. }
        )
    });
    open
}

/// Whether the machine will accept this OPEN.
pub(super) fn is_acceptable(
    open: &OpenMessage,
    local: &SpeakerSettings,
    peer: &PeerSettings,
) -> bool {
    negotiation::validate_open(open, &machine_settings(local, peer)).is_ok()
}

/// What was agreed, in our words.
pub(super) fn agreed(negotiated: &NegotiatedSession, local_address: IpAddr) -> Agreed {
    let unicast = |afi| {
        negotiated
            .negotiated_families
            .contains(&(afi, Safi::Unicast))
    };
    Agreed {
        local_address,
        peer_router_id: negotiated.peer_router_id,
        hold_time_seconds: negotiated.hold_time,
        ipv4_unicast: unicast(Afi::Ipv4),
        ipv6_unicast: unicast(Afi::Ipv6),
        extended_next_hop: negotiated
            .extended_nexthop_families
            .get(&(Afi::Ipv4, Safi::Unicast))
            == Some(&Afi::Ipv6),
        four_octet_as: negotiated.four_octet_as,
        route_refresh: negotiated.peer_route_refresh,
    }
}

/// Takes the next whole message off `buffer`, with its octets.
///
/// # Errors
/// The header or body is malformed; the connection has to end.
pub(super) fn take_message(buffer: &mut BytesMut) -> Result<Option<(Message, Bytes)>, DecodeError> {
    let Some(length) = peek_message_length(buffer, MAX_MESSAGE_LEN)? else {
        return Ok(None);
    };
    let length = usize::from(length);
    if buffer.len() < length {
        return Ok(None);
    }
    let octets = buffer.split_to(length).freeze();
    let mut rest = octets.clone();
    let message = decode_message(&mut rest, MAX_MESSAGE_LEN).map_err(as_header_error)?;
    Ok(Some((message, octets)))
}

/// RFC 4271 §6.1 and RFC 7313 §5: a length that does not fit the type is Bad Message Length.
fn as_header_error(error: DecodeError) -> DecodeError {
    match error {
        DecodeError::MalformedField { message_type, .. }
            if message_type != "UPDATE" && message_type != "OPEN" =>
        {
            DecodeError::Incomplete {
                needed: 0,
                available: 0,
            }
        }
        other => other,
    }
}

/// The octets of a message; empty when it cannot be encoded, which none of ours can fail to.
pub(super) fn octets(message: &Message) -> Bytes {
    encode_message(message)
        .map(BytesMut::freeze)
        .unwrap_or_default()
}

/// Reads an OPEN that was saved as octets.
pub(super) fn saved_open(octets: &[u8]) -> Option<OpenMessage> {
    match decode_message(&mut Bytes::copy_from_slice(octets), MAX_MESSAGE_LEN) {
        Ok(Message::Open(open)) => Some(open),
        _ => None,
    }
}

// ── UPDATE, out ──────────────────────────────────────────────────────

/// UPDATEs that announce `prefixes`, all of the family of `announcement`.
///
/// # Errors
/// The attributes alone do not fit a message of 4,096 octets.
pub(super) fn announce(
    announcement: &Announcement<'_>,
    prefixes: &[IpNet],
) -> Result<Vec<Bytes>, EncodeError> {
    in_pieces(prefixes, &|piece| announce_piece(announcement, piece))
}

/// UPDATEs that withdraw `prefixes`, all of `family`.
pub(super) fn withdraw(family: Family, prefixes: &[IpNet]) -> Vec<Bytes> {
    // Cannot fail: halving ends at one prefix, which always fits.
    in_pieces(prefixes, &|piece| withdraw_piece(family, piece)).unwrap_or_default()
}

/// End-of-RIB (RFC 4724 §2): an UPDATE without routes.
pub(super) fn end_of_rib(family: Family) -> Bytes {
    withdraw_piece(family, &[]).unwrap_or_default()
}

/// Halves until every piece fits a message.
fn in_pieces(
    prefixes: &[IpNet],
    encode: &dyn Fn(&[IpNet]) -> Result<Bytes, EncodeError>,
) -> Result<Vec<Bytes>, EncodeError> {
    match encode(prefixes) {
        Ok(message) => Ok(vec![message]),
        Err(_) if prefixes.len() > 1 => {
            let (left, right) = prefixes.split_at(prefixes.len() / 2);
            let mut pieces = in_pieces(left, encode)?;
            pieces.extend(in_pieces(right, encode)?);
            Ok(pieces)
        }
        Err(error) => Err(error),
    }
}

fn announce_piece(
    announcement: &Announcement<'_>,
    prefixes: &[IpNet],
) -> Result<Bytes, EncodeError> {
    let in_body = matches!(
        (announcement.family, announcement.next_hop),
        (Family::V4, IpAddr::V4(_))
    );
    let mut attributes = Vec::new();
    if !in_body {
        // RFC 7606 §5.1: "The MP_REACH_NLRI or MP_UNREACH_NLRI attribute (if present) SHALL be
        // encoded as the very first path attribute in an UPDATE message."
        attributes.push(mp_reach(announcement, prefixes));
    }
    attributes.extend(path_attributes(announcement));
    let body: Vec<_> = if in_body {
        body_entries(prefixes)
    } else {
        Vec::new()
    };
    let update = UpdateMessage::try_build(
        &body,
        &[],
        &attributes,
        announcement.four_octet_as,
        false,
        Ipv4UnicastMode::Body,
    )?;
    finish(update)
}

fn withdraw_piece(family: Family, prefixes: &[IpNet]) -> Result<Bytes, EncodeError> {
    let (body, attributes) = match family {
        Family::V4 => (body_entries(prefixes), Vec::new()),
        Family::V6 => (Vec::new(), vec![mp_unreach(family, prefixes)]),
    };
    let update =
        UpdateMessage::try_build(&[], &body, &attributes, true, false, Ipv4UnicastMode::Body)?;
    finish(update)
}

fn finish(update: UpdateMessage) -> Result<Bytes, EncodeError> {
    // The lengths inside are of 16 bits: more must not reach the encoder.
    if update.encoded_len() > usize::from(MAX_MESSAGE_LEN) {
        return Err(EncodeError::MessageTooLong {
            size: update.encoded_len(),
        });
    }
    encode_message(&Message::Update(update)).map(BytesMut::freeze)
}

/// The attributes of RFC 4271 §5.1, then communities.
fn path_attributes(announcement: &Announcement<'_>) -> Vec<PathAttribute> {
    let attributes = announcement.attributes;
    let mut list = vec![
        PathAttribute::Origin(Origin::Igp),
        PathAttribute::AsPath(as_path(announcement)),
    ];
    if let (Family::V4, IpAddr::V4(next_hop)) = (announcement.family, announcement.next_hop) {
        list.push(PathAttribute::NextHop(next_hop));
    }
    list.push(PathAttribute::Med(attributes.med));
    if !announcement.external {
        // RFC 4271 §5.1.5: LOCAL_PREF is sent to internal peers. RFC 8326 §4.2: "LOCAL_PREF
        // attribute value ... to a low value", recommended 0, while draining.
        let draining = attributes.communities.contains(&crate::GRACEFUL_SHUTDOWN);
        list.push(PathAttribute::LocalPref(if draining { 0 } else { 100 }));
    }
    let mut communities: Vec<_> = attributes
        .communities
        .iter()
        .map(|(high, low)| u32::from(*high) << 16 | u32::from(*low))
        .collect();
    communities.sort_unstable();
    communities.dedup();
    if !communities.is_empty() {
        list.push(PathAttribute::Communities(communities));
    }
    let mut large: Vec<_> = attributes.large_communities.clone();
    large.sort_unstable();
    large.dedup();
    if !large.is_empty() {
        let large = large
            .iter()
            .map(|(a, b, c)| LargeCommunity::new(*a, *b, *c));
        list.push(PathAttribute::LargeCommunities(large.collect()));
    }
    list
}

fn as_path(announcement: &Announcement<'_>) -> AsPath {
    // An internal peer would take our own number in the path for a loop.
    let length = if announcement.external {
        usize::from(announcement.attributes.prepend) + 1
    } else {
        0
    };
    let path = vec![announcement.local_as; length];
    // RFC 4271 §4.3: the length of a segment is one octet.
    let segments = path
        .chunks(255)
        .map(|piece| AsPathSegment::AsSequence(piece.to_vec()));
    AsPath {
        segments: segments.collect(),
    }
}

fn body_entries(prefixes: &[IpNet]) -> Vec<Ipv4NlriEntry> {
    let v4 = prefixes.iter().filter_map(|prefix| match prefix {
        IpNet::V4(net) => Some(Ipv4Prefix::new(net.network(), net.prefix_len())),
        IpNet::V6(_) => None,
    });
    v4.map(|prefix| Ipv4NlriEntry { path_id: 0, prefix })
        .collect()
}

fn mp_entries(prefixes: &[IpNet]) -> Vec<NlriEntry> {
    let wire = prefixes.iter().map(|prefix| match prefix {
        IpNet::V4(net) => Prefix::V4(Ipv4Prefix::new(net.network(), net.prefix_len())),
        IpNet::V6(net) => Prefix::V6(Ipv6Prefix::new(net.network(), net.prefix_len())),
    });
    wire.map(|prefix| NlriEntry { path_id: 0, prefix })
        .collect()
}

fn mp_reach(announcement: &Announcement<'_>, prefixes: &[IpNet]) -> PathAttribute {
    PathAttribute::MpReachNlri(Box::new(MpReachNlri {
        afi: announcement.family.afi(),
        safi: Safi::Unicast,
        next_hop: announcement.next_hop,
        link_local_next_hop: None,
        announced: mp_entries(prefixes),
        flowspec_announced: Vec::new(),
        evpn_announced: Vec::new(),
        bgpls_announced: Vec::new(),
        vpn_announced: Vec::new(),
        labeled_announced: Vec::new(),
        rtc_announced: Vec::new(),
    }))
}

fn mp_unreach(family: Family, prefixes: &[IpNet]) -> PathAttribute {
    PathAttribute::MpUnreachNlri(Box::new(MpUnreachNlri {
        afi: family.afi(),
        safi: Safi::Unicast,
        withdrawn: mp_entries(prefixes),
        flowspec_withdrawn: Vec::new(),
        evpn_withdrawn: Vec::new(),
        bgpls_withdrawn: Vec::new(),
        vpn_withdrawn: Vec::new(),
        labeled_withdrawn: Vec::new(),
        rtc_withdrawn: Vec::new(),
    }))
}

// ── UPDATE, in ───────────────────────────────────────────────────────

/// What RFC 7606 makes of a received UPDATE. Nothing of it is ever imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Well formed; so many prefixes were announced.
    Ignored { prefixes: u64 },
    /// Malformed attributes are dropped, the rest stands (§2, "attribute discard").
    Discarded { attributes: u64, prefixes: u64 },
    /// As though all its routes had been withdrawn (§2, "treat-as-withdraw").
    TreatedAsWithdraw,
    /// The session has to end (§2, "session reset").
    Reset(NotificationMessage),
}

/// Judges a received UPDATE.
///
/// Where RFC 7606 §7.11 asks for a reset "or AFI/SAFI disable" because multiprotocol routes
/// cannot be located, the family is taken as disabled: all received routes are ignored anyway, so
/// nothing is left that could go wrong, and our own routes need not suffer.
pub(super) fn treatment(update: &UpdateMessage, four_octet_as: bool, external: bool) -> Treatment {
    let parsed = match update.parse_revised_observed_with_error_context(
        four_octet_as,
        !external,
        false,
        &[],
    ) {
        Ok((parsed, _)) => parsed,
        Err(context) if matches!(context.type_code, Some(14 | 15)) => {
            return Treatment::TreatedAsWithdraw;
        }
        Err(context) => return Treatment::Reset(notification_of(&context.error)),
    };
    let multiprotocol = parsed
        .update
        .attributes
        .iter()
        .map(|attribute| match attribute {
            PathAttribute::MpReachNlri(reach) => reach.announced.len(),
            _ => 0,
        });
    let multiprotocol: usize = multiprotocol.sum();
    let in_body = parsed.update.announced.len();
    let prefixes = u64::try_from(in_body + multiprotocol).unwrap_or(u64::MAX);
    let mut worst = parsed.malformed.iter().map(|bad| bad.disposition).max();
    let valid = validate_update_attributes(
        &parsed.update.attributes,
        prefixes > 0,
        in_body > 0,
        external,
    );
    if let Err(error) = valid {
        worst = worst.max(Some(error.disposition));
    }
    match worst {
        None => Treatment::Ignored { prefixes },
        Some(ErrorDisposition::AttributeDiscard) => Treatment::Discarded {
            attributes: u64::try_from(parsed.malformed.len()).unwrap_or(u64::MAX),
            prefixes,
        },
        // A reset that concerns attributes only can be that of MP_REACH_NLRI or MP_UNREACH_NLRI.
        Some(ErrorDisposition::TreatAsWithdraw | ErrorDisposition::SessionReset) => {
            Treatment::TreatedAsWithdraw
        }
    }
}

fn notification_of(error: &DecodeError) -> NotificationMessage {
    let (code, subcode, data) = error.to_notification();
    NotificationMessage::new(code, subcode, data)
}

// ── NOTIFICATION ─────────────────────────────────────────────────────

/// Why we close a session (RFC 4486).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cease {
    /// Administrative Shutdown with text (RFC 9003).
    Shutdown(String),
    /// Administrative Reset with text (RFC 9003).
    Reset(String),
    /// Peer De-configured.
    Deconfigured,
    /// Other Configuration Change.
    ConfigurationChange,
    /// Connection Rejected.
    Rejected,
    /// Connection Collision Resolution.
    Collision,
}

impl Cease {
    pub(super) fn message(&self) -> NotificationMessage {
        let (subcode, data) = match self {
            Self::Shutdown(text) => (
                cease_subcode::ADMINISTRATIVE_SHUTDOWN,
                encode_shutdown_communication(text),
            ),
            Self::Reset(text) => (
                cease_subcode::ADMINISTRATIVE_RESET,
                encode_shutdown_communication(text),
            ),
            Self::Deconfigured => (cease_subcode::PEER_DECONFIGURED, Bytes::new()),
            Self::ConfigurationChange => (cease_subcode::OTHER_CONFIGURATION_CHANGE, Bytes::new()),
            Self::Rejected => (cease_subcode::CONNECTION_REJECTED, Bytes::new()),
            Self::Collision => (cease_subcode::CONNECTION_COLLISION_RESOLUTION, Bytes::new()),
        };
        NotificationMessage::new(rustbgpd_wire::NotificationCode::Cease, subcode, data)
    }
}

/// A NOTIFICATION in words, with the peer's own text escaped: it comes from outside and goes to
/// logs, JSON and terminals.
pub(super) fn describe(notification: &NotificationMessage) -> String {
    let (code, subcode) = (notification.code.as_u8(), notification.subcode);
    let (class, detail) = (
        notification.code.to_string(),
        description(notification.code, subcode),
    );
    let mut text = if detail.starts_with(&class) {
        format!("{detail} ({code}/{subcode})")
    } else {
        format!("{class}: {detail} ({code}/{subcode})")
    };
    match rustbgpd_wire::notification::extract_shutdown_communication(notification) {
        Ok(Some(said)) if !said.is_empty() => {
            text.push_str(&format!(": \"{}\"", said.escape_debug()));
        }
        Ok(_) => {}
        Err(error) => text.push_str(&format!(": {error}")),
    }
    text
}

/// Whether a received NOTIFICATION says that the AS numbers do not match, from either end.
pub(super) fn is_bad_peer_as(notification: &NotificationMessage) -> bool {
    (notification.code.as_u8(), notification.subcode) == (2, 2)
}

// ── Lint ─────────────────────────────────────────────────────────────

/// What a peer's OPEN tells of how it treats our routes after a loss.
pub(super) fn retention_warnings(negotiated: &NegotiatedSession) -> Vec<String> {
    let mut warnings = Vec::new();
    if negotiated.peer_gr_capable && negotiated.peer_restart_time > 0 {
        warnings.push(format!(
            "the peer speaks Graceful Restart (RFC 4724, {} s): it is not offered here, so the peer must drop our routes when the session ends; check that it is not told to keep them",
            negotiated.peer_restart_time
        ));
    }
    if negotiated.peer_llgr_capable {
        let longest = negotiated
            .peer_llgr_families
            .iter()
            .map(|family| family.stale_time)
            .max();
        warnings.push(format!(
            "the peer may keep stale routes for {} s (RFC 9494): a dead server's route could stay; switch long-lived graceful restart off for this session",
            longest.unwrap_or_default()
        ));
    }
    warnings
}
