//! Adj-RIB-Out: what a peer holds from us, and what to say so that it holds what is wanted.
//!
//! Pure: the difference between desired and sent, as UPDATEs. Nothing is queued: the difference
//! is taken when the connection can take more, so that changes in between coalesce and a slow
//! reader costs no memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bytes::Bytes;
use ipnet::IpNet;

use super::{
    InstalledRoute, RefusedRoute,
    codec::{self, Announcement, Family},
};
use crate::{Attributes, Desired};

/// BLACKHOLE (RFC 7999 §5): 65535:666.
const BLACKHOLE: (u16, u16) = (0xffff, 666);

/// What may be said to one peer, from both OPENs and the configuration.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) local_as: u32,
    pub(super) external: bool,
    pub(super) four_octet_as: bool,
    pub(super) ipv4: bool,
    pub(super) ipv6: bool,
    pub(super) extended_next_hop: bool,
    pub(super) local_address: IpAddr,
    pub(super) peer_address: IpAddr,
}

/// Why a wanted route does not go to a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("a default route is never announced")]
    DefaultRoute,
    #[error("not a configured prefix")]
    NotConfigured,
    #[error("the peer did not offer {0} unicast")]
    FamilyNotOffered(&'static str),
    #[error(
        "an IPv4 route with the IPv6 next hop {0} needs a peer that offers RFC 8950; set an IPv4 next_hop"
    )]
    ExtendedNextHop(IpAddr),
    #[error("an IPv6 route cannot have the IPv4 next hop {0}; set an IPv6 next_hop")]
    NextHopFamily(IpAddr),
    #[error("{0} cannot be a next hop")]
    NextHop(IpAddr),
    #[error("the next hop {0} is the peer itself")]
    NextHopIsPeer(IpAddr),
    #[error("its attributes do not fit a message of 4096 octets")]
    TooLong,
}

/// What the peer was told, and what it asked to hear again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AdjRibOut {
    sent: BTreeMap<IpNet, Sent>,
    again: BTreeSet<IpNet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    next_hop: IpAddr,
    attributes: Attributes,
}

/// The next things to say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Speech {
    pub(super) messages: Vec<Bytes>,
    pub(super) announced: Vec<IpNet>,
    pub(super) withdrawn: Vec<IpNet>,
    pub(super) refused: Vec<RefusedRoute>,
}

impl AdjRibOut {
    /// What a successor was told that the peer holds.
    pub(super) fn inherited(routes: &[InstalledRoute]) -> Self {
        let sent = routes.iter().map(|route| {
            let sent = Sent {
                next_hop: route.next_hop,
                attributes: route.attributes.clone(),
            };
            (route.prefix, sent)
        });
        Self {
            sent: sent.collect(),
            again: BTreeSet::new(),
        }
    }

    /// What the peer holds.
    pub(super) fn routes(&self) -> Vec<InstalledRoute> {
        let routes = self.sent.iter().map(|(prefix, sent)| InstalledRoute {
            prefix: *prefix,
            next_hop: sent.next_hop,
            attributes: sent.attributes.clone(),
        });
        routes.collect()
    }

    /// RFC 2918 §4: the peer wants to hear the routes of a family again.
    pub(super) fn refresh(&mut self, family: Family) {
        let of_family = self
            .sent
            .keys()
            .filter(|prefix| Family::of(prefix) == family);
        self.again.extend(of_family);
    }

    /// Says what brings the peer from what it holds to what is desired; from then on it counts
    /// as held. Withdrawals come first.
    pub(super) fn speak(
        &mut self,
        desired: &[Desired],
        allowed: &[IpNet],
        terms: &Terms,
    ) -> Speech {
        let mut speech = Speech::default();
        let wanted = self.wanted(desired, allowed, terms, &mut speech);
        let gone = self
            .sent
            .keys()
            .filter(|prefix| !wanted.contains_key(prefix));
        speech.withdrawn = gone.copied().collect();
        for family in Family::ALL {
            let of_family: Vec<_> = of(family, &speech.withdrawn).collect();
            if !of_family.is_empty() {
                speech.messages.extend(codec::withdraw(family, &of_family));
            }
        }
        for prefix in &speech.withdrawn {
            self.sent.remove(prefix);
        }
        for (family, sent, prefixes) in self.groups(&wanted) {
            let announcement = terms.announcement(family, &sent);
            match codec::announce(&announcement, &prefixes) {
                Ok(messages) => {
                    speech.messages.extend(messages);
                    speech.announced.extend(&prefixes);
                    self.sent
                        .extend(prefixes.into_iter().map(|prefix| (prefix, sent.clone())));
                }
                Err(_) => self.refuse_group(prefixes, &mut speech),
            }
        }
        self.again.clear();
        speech
    }

    /// What may be said of what is desired.
    fn wanted(
        &self,
        desired: &[Desired],
        allowed: &[IpNet],
        terms: &Terms,
        speech: &mut Speech,
    ) -> BTreeMap<IpNet, Sent> {
        let mut wanted = BTreeMap::new();
        for route in desired {
            let Some(attributes) = &route.attributes else {
                continue;
            };
            match terms.next_hop(route.prefix, route.next_hop, attributes, allowed) {
                Ok(next_hop) => {
                    let attributes = attributes.clone();
                    wanted.insert(
                        route.prefix.trunc(),
                        Sent {
                            next_hop,
                            attributes,
                        },
                    );
                }
                Err(refusal) => speech.refused.push(RefusedRoute {
                    prefix: route.prefix,
                    reason: refusal.to_string(),
                }),
            }
        }
        wanted
    }

    /// The changed routes, those with equal attributes together.
    fn groups(&self, wanted: &BTreeMap<IpNet, Sent>) -> Vec<(Family, Sent, Vec<IpNet>)> {
        let mut groups: Vec<(Family, Sent, Vec<IpNet>)> = Vec::new();
        let changed = wanted.iter().filter(|(prefix, sent)| {
            self.again.contains(prefix) || self.sent.get(prefix) != Some(sent)
        });
        for (prefix, sent) in changed {
            let family = Family::of(prefix);
            let group = groups
                .iter_mut()
                .find(|(f, s, _)| *f == family && s == sent);
            match group {
                Some((_, _, prefixes)) => prefixes.push(*prefix),
                None => groups.push((family, sent.clone(), vec![*prefix])),
            }
        }
        groups
    }

    /// Attributes that fit no message: what the peer holds of these prefixes is out of date, so it
    /// goes.
    fn refuse_group(&mut self, prefixes: Vec<IpNet>, speech: &mut Speech) {
        for prefix in prefixes {
            speech.refused.push(RefusedRoute {
                prefix,
                reason: Refusal::TooLong.to_string(),
            });
            if self.sent.remove(&prefix).is_some() {
                speech
                    .messages
                    .extend(codec::withdraw(Family::of(&prefix), &[prefix]));
                speech.withdrawn.push(prefix);
            }
        }
    }
}

fn of(family: Family, prefixes: &[IpNet]) -> impl Iterator<Item = IpNet> {
    prefixes
        .iter()
        .copied()
        .filter(move |prefix| Family::of(prefix) == family)
}

impl Terms {
    fn announcement<'a>(&self, family: Family, sent: &'a Sent) -> Announcement<'a> {
        Announcement {
            family,
            next_hop: sent.next_hop,
            attributes: &sent.attributes,
            external: self.external,
            local_as: self.local_as,
            four_octet_as: self.four_octet_as,
        }
    }

    /// Decides whether a route may go out, and with which next hop. An unspecified next hop
    /// stands for our address of the session.
    fn next_hop(
        &self,
        prefix: IpNet,
        next_hop: IpAddr,
        attributes: &Attributes,
        allowed: &[IpNet],
    ) -> Result<IpAddr, Refusal> {
        if prefix.prefix_len() == 0 {
            return Err(Refusal::DefaultRoute);
        }
        let prefix = prefix.trunc();
        let blackhole = attributes.communities.contains(&BLACKHOLE);
        if !allowed
            .iter()
            .any(|own| own.trunc() == prefix || blackhole && own.contains(&prefix))
        {
            return Err(Refusal::NotConfigured);
        }
        let next_hop = if next_hop.is_unspecified() {
            self.local_address
        } else {
            next_hop
        };
        match (Family::of(&prefix), next_hop) {
            (Family::V4, _) if !self.ipv4 => return Err(Refusal::FamilyNotOffered("IPv4")),
            (Family::V6, _) if !self.ipv6 => return Err(Refusal::FamilyNotOffered("IPv6")),
            (Family::V4, IpAddr::V6(_)) if !self.extended_next_hop => {
                return Err(Refusal::ExtendedNextHop(next_hop));
            }
            (Family::V6, IpAddr::V4(_)) => return Err(Refusal::NextHopFamily(next_hop)),
            _ => {}
        }
        // RFC 4271 §5.1.3: "A route originated by a BGP speaker SHALL NOT be advertised to a peer
        // using an address of that peer as NEXT_HOP."
        if next_hop == self.peer_address {
            return Err(Refusal::NextHopIsPeer(next_hop));
        }
        if !is_usable(next_hop) {
            return Err(Refusal::NextHop(next_hop));
        }
        Ok(next_hop)
    }
}

/// RFC 2545 §3: a link-local address never stands alone as next hop.
fn is_usable(next_hop: IpAddr) -> bool {
    let no_host = next_hop.is_unspecified() || next_hop.is_loopback() || next_hop.is_multicast();
    match next_hop {
        IpAddr::V4(v4) => !no_host && !v4.is_broadcast(),
        IpAddr::V6(v6) => !no_host && !v6.is_unicast_link_local() && v6.to_ipv4_mapped().is_none(),
    }
}
