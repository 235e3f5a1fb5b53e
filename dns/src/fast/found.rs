//! What the zones have for a question, as pieces that only need to be copied.

use meridian_config::Family;
use xxhash_rust::xxh3::xxh3_64;

use super::read::Asked;
use crate::{
    abuse::Kind,
    answer::template::Template,
    types::{ServiceId, rcode, rtype},
    zone::{
        LowerName, Spot, Zone, ZoneSet,
        image::{self, Node, Place, Stored},
    },
};

/// A reply in pieces.
pub(super) struct Found<'z> {
    pub(super) rcode: u16,
    pub(super) kind: Kind,
    /// Hash of the name that the reply is put down to.
    pub(super) imputed: u64,
    /// What comes first, with how far its pointers move.
    pub(super) template: Option<(Template<'z>, usize)>,
    /// What follows.
    pub(super) tail: Tail<'z>,
    /// Place in the reply of the name that owns the tail.
    pub(super) owner: u16,
}

/// Records that stand at the end of the answer section.
pub(super) enum Tail<'z> {
    Nothing,
    Static(Stored<'z>),
    Steered(ServiceId, Family),
}

/// The place of the question's name in every message.
const QUESTION: u16 = 12;

/// `None` where the slow path has to look.
pub(super) fn find<'z>(zones: &'z ZoneSet, asked: &Asked<'_>) -> Option<Found<'z>> {
    let ask = Ask {
        zones,
        name: asked.name,
        qtype: asked.qtype,
    };
    match zones.seek(asked.name)? {
        Spot::At(zone, node) => {
            if let Some(cut) = node.cut() {
                return ask.referral(zone, cut);
            }
            // DS stands on the other side of a cut (RFC 4035 §3.1.4.1).
            let is_apex_ds = node.is_apex() && asked.qtype == rtype::DS;
            if node.redirected().is_some() || is_apex_ds {
                return None;
            }
            ask.at(zone, &node, false)
        }
        Spot::Below(zone, encloser) => {
            if let Some(cut) = encloser.cut() {
                return ask.referral(zone, cut);
            }
            if encloser.redirected().is_some() || encloser.has_dname() {
                return None;
            }
            match encloser.wildcard() {
                Some(source) => ask.at(zone, &zone.node(source)?, true),
                None => {
                    let apex = zone.apex_node()?;
                    ask.negative(zone, None, rcode::NXDOMAIN, apex.name())
                }
            }
        }
    }
}

struct Ask<'a, 'z> {
    zones: &'z ZoneSet,
    name: &'a LowerName,
    qtype: u16,
}

impl<'z> Ask<'_, 'z> {
    /// An open name, or the wildcard that answers for it.
    fn at(&self, zone: &'z Zone, node: &Node<'z>, wild: bool) -> Option<Found<'z>> {
        let found = Found {
            rcode: rcode::NOERROR,
            kind: Kind::Answer,
            imputed: xxh3_64(node.name()),
            template: None,
            tail: Tail::Nothing,
            owner: QUESTION,
        };
        if let Some(tail) = self.addresses(node) {
            return Some(Found { tail, ..found });
        }
        if let Some(stored) = node.stored(self.qtype) {
            return match stored.kind {
                image::Kind::Plain => Some(Found {
                    tail: Tail::Static(stored),
                    ..found
                }),
                image::Kind::Compiled(place) => Some(Found {
                    template: Some(self.template(zone, place, wild)?),
                    ..found
                }),
            };
        }
        match node.stored(rtype::CNAME) {
            Some(alias) => self.alias(zone, &alias, wild, found),
            None => self.negative(zone, node.negative(), rcode::NOERROR, node.name()),
        }
    }

    fn addresses(&self, node: &Node<'z>) -> Option<Tail<'z>> {
        let family = match self.qtype {
            rtype::A => Family::V4,
            rtype::AAAA => Family::V6,
            _ => return None,
        };
        node.service().map(|service| Tail::Steered(service, family))
    }

    /// A CNAME, and what its target has when that is in the same zone.
    fn alias(
        &self,
        zone: &'z Zone,
        alias: &Stored<'z>,
        wild: bool,
        found: Found<'z>,
    ) -> Option<Found<'z>> {
        let image::Kind::Compiled(place) = alias.kind else {
            return None;
        };
        let (template, by) = self.template(zone, place, wild)?;
        let Some(onward) = template.onward else {
            return Some(Found {
                template: Some((template, by)),
                ..found
            });
        };
        if self.qtype == rtype::DS || !(self.zones.is_flat() || self.stays(zone, alias)) {
            return None;
        }
        let found = Found {
            template: Some((template, by)),
            owner: onward.target_at.checked_add(u16::try_from(by).ok()?)?,
            ..found
        };
        let target = match onward.node {
            0 => None,
            place => Some(zone.node(place)?),
        };
        if let Some(target) = target {
            if let Some(tail) = self.addresses(&target) {
                return Some(Found { tail, ..found });
            }
            if let Some(stored) = target.stored(self.qtype) {
                let plain = stored.kind == image::Kind::Plain;
                return plain.then_some(Found {
                    tail: Tail::Static(stored),
                    ..found
                });
            }
        }
        let negative = onward.negative()?;
        let does_not_exist = negative.rcode == rcode::NXDOMAIN;
        Some(Found {
            rcode: negative.rcode,
            kind: if does_not_exist {
                Kind::NxDomain
            } else {
                Kind::Answer
            },
            template: Some((negative, by)),
            ..found
        })
    }

    /// Whether the target of a CNAME is answered by the same zone.
    fn stays(&self, zone: &Zone, alias: &Stored<'_>) -> bool {
        let record = image::records(alias.records).next();
        let target = record.and_then(|record| LowerName::from_wire(record.get(12..)?));
        let there = target.and_then(|target| self.zones.find(&target, self.qtype));
        there.is_some_and(|other| other.is_same(zone))
    }

    fn negative(
        &self,
        zone: &'z Zone,
        own: Option<Place>,
        rcode: u16,
        imputed: &[u8],
    ) -> Option<Found<'z>> {
        // A wildcard has no negative answer of its own that would fit the names that it matches.
        let place = own.filter(|_| self.name.as_wire() == imputed);
        let place = place.unwrap_or_else(|| zone.negative());
        Some(Found {
            rcode,
            kind: if rcode == rcode::NXDOMAIN {
                Kind::NxDomain
            } else {
                Kind::NoData
            },
            imputed: xxh3_64(imputed),
            template: Some(self.template(zone, place, false)?),
            tail: Tail::Nothing,
            owner: QUESTION,
        })
    }

    fn referral(&self, zone: &'z Zone, cut: Place) -> Option<Found<'z>> {
        let cut = zone.node(cut)?;
        let is_cut = self.name.as_wire() == cut.name();
        if is_cut && self.qtype == rtype::DS {
            return None;
        }
        let image::Kind::Compiled(place) = cut.stored(rtype::NS)?.kind else {
            return None;
        };
        Some(Found {
            rcode: rcode::NOERROR,
            kind: Kind::Referral,
            imputed: xxh3_64(cut.name()),
            template: Some(self.template(zone, place, false)?),
            tail: Tail::Nothing,
            owner: QUESTION,
        })
    }

    /// The template at a place, with how much longer the question is than its base.
    fn template(&self, zone: &'z Zone, place: Place, wild: bool) -> Option<(Template<'z>, usize)> {
        if place == 0 {
            return None;
        }
        let template = Template::read(zone.octets_at(place))?;
        let by = self.name.as_wire().len().checked_sub(template.base_len)?;
        // What stands in front of the labels that the base shares with every name it is used for:
        // of a wildcard's base that is the asterisk.
        let front = if wild { by + 2 } else { by };
        let label = self.name.label_before(front);
        (!template.avoids(label)).then_some((template, by))
    }
}
