//! What a router makes of our octets, read with a second codec (netgauze-bgp-pkt).

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use netgauze_bgp_pkt::{
    BgpMessage,
    path_attribute::{AsPath, MpReach, MpUnreach, PathAttributeValue},
    update::BgpUpdateMessage,
    wire::deserializer::BgpParsingContext,
};
use netgauze_parse_utils::{reader::SliceReader, traits::ParseFromWithOneInput};

/// A route as the router sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) next_hop: IpAddr,
    pub(super) path: Vec<u32>,
    pub(super) med: u32,
    pub(super) local_preference: Option<u32>,
    pub(super) communities: Vec<(u16, u16)>,
    pub(super) large_communities: Vec<(u32, u32, u32)>,
}

/// A router that believes everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Router {
    pub(super) table: BTreeMap<IpNet, Seen>,
    pub(super) ends_of_rib: usize,
    pub(super) keepalives: usize,
    pub(super) notifications: usize,
}

impl Router {
    /// Reads whole messages.
    pub(super) fn read(&mut self, mut octets: &[u8], four_octet_as: bool) {
        let mut context = BgpParsingContext::default();
        context.set_asn4(four_octet_as);
        while !octets.is_empty() {
            let length = usize::from(u16::from_be_bytes([octets[16], octets[17]]));
            assert!(length <= 4096, "{length}");
            let (message, rest) = octets.split_at(length);
            let parsed = BgpMessage::parse(&mut SliceReader::new(message), &mut context);
            match parsed.unwrap_or_else(|error| panic!("{error:?}: {message:02x?}")) {
                BgpMessage::Update(update) => self.update(&update),
                BgpMessage::KeepAlive => self.keepalives += 1,
                BgpMessage::Notification(_) => self.notifications += 1,
                BgpMessage::Open(_) | BgpMessage::RouteRefresh(_) => {}
            }
            octets = rest;
        }
    }

    fn update(&mut self, update: &BgpUpdateMessage) {
        if update.end_of_rib().is_some() {
            self.ends_of_rib += 1;
            return;
        }
        for gone in update.withdraw_routes() {
            self.table.remove(&net(gone.network()));
        }
        let mut seen = Seen {
            next_hop: IpAddr::from([0, 0, 0, 0]),
            path: Vec::new(),
            med: 0,
            local_preference: None,
            communities: Vec::new(),
            large_communities: Vec::new(),
        };
        let mut prefixes: Vec<IpNet> = update.nlri().iter().map(|one| net(one.network())).collect();
        for (position, attribute) in update.path_attributes().iter().enumerate() {
            let is_first = position == 0;
            self.attribute(attribute.value(), is_first, &mut seen, &mut prefixes);
        }
        self.table
            .extend(prefixes.into_iter().map(|prefix| (prefix, seen.clone())));
    }

    fn attribute(
        &mut self,
        value: &PathAttributeValue,
        is_first: bool,
        seen: &mut Seen,
        prefixes: &mut Vec<IpNet>,
    ) {
        match value {
            PathAttributeValue::AsPath(path) => seen.path = numbers(path),
            PathAttributeValue::As4Path(path) => {
                let all = path
                    .segments()
                    .iter()
                    .flat_map(|one| one.as_numbers().iter().copied());
                seen.path = all.collect();
            }
            PathAttributeValue::NextHop(hop) => seen.next_hop = hop.next_hop().into(),
            PathAttributeValue::MultiExitDiscriminator(med) => seen.med = med.metric(),
            PathAttributeValue::LocalPreference(value) => {
                seen.local_preference = Some(value.metric());
            }
            PathAttributeValue::Communities(list) => {
                let all = list.communities().iter();
                seen.communities = all
                    .map(|one| (one.collection_asn(), one.collection_value()))
                    .collect();
            }
            PathAttributeValue::LargeCommunities(list) => {
                let all = list.communities().iter();
                seen.large_communities = all
                    .map(|one| (one.global_admin(), one.local_data1(), one.local_data2()))
                    .collect();
            }
            PathAttributeValue::MpReach(reach) => {
                assert!(is_first, "RFC 7606 §5.1: MP_REACH_NLRI comes first");
                match reach {
                    MpReach::Ipv4Unicast { next_hop, nlri, .. } => {
                        seen.next_hop = *next_hop;
                        prefixes.extend(nlri.iter().map(|one| net(one.network())));
                    }
                    MpReach::Ipv6Unicast {
                        next_hop_global,
                        nlri,
                        ..
                    } => {
                        seen.next_hop = (*next_hop_global).into();
                        prefixes.extend(nlri.iter().map(|one| net6(one.network())));
                    }
                    other => panic!("{other:?}"),
                }
            }
            PathAttributeValue::MpUnreach(MpUnreach::Ipv6Unicast { nlri }) => {
                for gone in nlri.iter() {
                    self.table.remove(&net6(gone.network()));
                }
            }
            PathAttributeValue::Origin(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn numbers(path: &AsPath) -> Vec<u32> {
    match path {
        AsPath::As2PathSegments(segments) => {
            let all = segments
                .iter()
                .flat_map(|one| one.as_numbers().iter().copied());
            all.map(u32::from).collect()
        }
        AsPath::As4PathSegments(segments) => segments
            .iter()
            .flat_map(|one| one.as_numbers().iter().copied())
            .collect(),
    }
}

fn net(network: netgauze_bgp_pkt::nlri::Ipv4Unicast) -> IpNet {
    network.address().into()
}

fn net6(network: netgauze_bgp_pkt::nlri::Ipv6Unicast) -> IpNet {
    network.address().into()
}
