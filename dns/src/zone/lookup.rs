//! The lookup algorithm (RFC 1034 §4.3.2, RFC 4592 §3.3.1, RFC 6672 §3.2) for one name in one
//! zone.
//!
//! Over all zones ([`ZoneSet::lookup`]) a hit costs one probe. A miss looks for the closest
//! encloser: every ancestor of a name that exists is in the index (empty non-terminals are), so a
//! few probes find the longest suffix that exists; the cut, the DNAME and the wildcard that matter
//! there are linked. Nothing depends on the size of a zone or on the number of zones.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use super::{
    image::{Node, Place, Rrset, Zone},
    lower::LowerName,
    set::{Spot, ZoneSet},
};
use crate::types::{ServiceId, rtype};

/// What a zone has for a name and a type. The owner of `Answer`, `Cname` and `Service` is the
/// name that was asked for, also when a wildcard matched.
#[derive(Clone, Copy, Debug)]
pub enum Lookup<'z> {
    /// The RRset asked for (for ANY: one of the owner's).
    Answer(Rrset<'z>),
    /// The owner is steered and an address (or ANY) was asked for.
    Service(ServiceId),
    /// The owner is an alias.
    Cname(Rrset<'z>),
    /// A DNAME above the name.
    Dname {
        /// Owner of the DNAME, lower-cased wire form.
        owner: &'z [u8],
        /// The DNAME.
        rrset: Rrset<'z>,
    },
    /// The name is at or below a zone cut.
    Referral {
        /// The cut, lower-cased wire form.
        owner: &'z [u8],
        /// Its NS RRset.
        ns: Rrset<'z>,
    },
    /// The name exists, the type does not.
    NoData,
    /// The name does not exist.
    NxDomain,
}

/// What all zones together have for a name and a type.
#[derive(Clone, Copy, Debug)]
pub struct Found<'z> {
    /// The zone that answers.
    pub zone: &'z Zone,
    /// What it has.
    pub lookup: Lookup<'z>,
    /// The name that a reply is put down to, lower-cased wire form: of all the names that are
    /// answered from one place it is that place, so that made-up names below it are counted as
    /// one. It is the wildcard, the cut or the DNAME; for a name that does not exist the apex; for
    /// any other the name itself.
    pub imputed: &'z [u8],
}

impl ZoneSet {
    /// Looks a name up; `None` outside all zones.
    pub fn lookup(&self, name: &LowerName, qtype: u16) -> Option<Found<'_>> {
        match self.seek(name)? {
            // The other side of a cut may answer.
            Spot::At(_, node) if qtype == rtype::DS && node.is_apex() => {
                let zone = self.find(name, qtype)?;
                let there = zone.find(name.as_wire());
                Some(Found {
                    zone,
                    lookup: zone.lookup(name, qtype),
                    imputed: match there {
                        Some(node) => zone.imputed(&node),
                        None => zone.imputed_below(&zone.encloser(name)?),
                    },
                })
            }
            Spot::At(zone, node) => Some(Found {
                zone,
                lookup: zone.at_existing(&node, qtype),
                imputed: zone.imputed(&node),
            }),
            Spot::Below(zone, node) => Some(Found {
                zone,
                lookup: zone.below(&node, qtype),
                imputed: zone.imputed_below(&node),
            }),
        }
    }
}

impl Zone {
    /// Looks up a name at or below the apex in this zone alone.
    pub fn lookup(&self, name: &LowerName, qtype: u16) -> Lookup<'_> {
        if let Some(node) = self.find(name.as_wire()) {
            return self.at_existing(&node, qtype);
        }
        let encloser = self.encloser(name);
        encloser.map_or(Lookup::NxDomain, |node| self.below(&node, qtype))
    }

    /// The longest suffix of a name that exists in this zone, where the name itself does not.
    fn encloser(&self, name: &LowerName) -> Option<Node<'_>> {
        let most = name.labels().saturating_sub(self.apex_labels());
        (1..=most).find_map(|skip| self.find(name.suffix(skip)))
    }

    /// [`Found::imputed`] for a name that exists.
    pub(crate) fn imputed<'z>(&'z self, node: &Node<'z>) -> &'z [u8] {
        let cover = node.cut().or_else(|| node.redirected());
        let cover = cover.and_then(|place| self.node(place));
        cover.map_or(node.name(), |cover| cover.name())
    }

    /// The same for a name that does not exist and has this closest encloser.
    pub(crate) fn imputed_below<'z>(&'z self, encloser: &Node<'z>) -> &'z [u8] {
        if !encloser.is_open() || encloser.has_dname() {
            return self.imputed(encloser);
        }
        let source = encloser.wildcard().and_then(|place| self.node(place));
        let source = source.or_else(|| self.apex_node());
        source.map_or(&[0], |node| self.imputed(&node))
    }

    /// What a name gets that does not exist and has this closest encloser.
    fn below<'z>(&'z self, encloser: &Node<'z>, qtype: u16) -> Lookup<'z> {
        if let Some(cut) = encloser.cut() {
            return self.referral(cut);
        }
        if let Some(dname) = encloser.redirected() {
            return self.dname(dname);
        }
        if encloser.has_dname() {
            return redirect(encloser);
        }
        // RFC 4592 §3.3.1: only the wildcard right below the closest encloser can be the source of
        // synthesis; where it does not exist there is none, and no other one is looked for.
        let source = encloser.wildcard().and_then(|place| self.node(place));
        source.map_or(Lookup::NxDomain, |node| self.at_existing(&node, qtype))
    }

    fn at_existing<'z>(&'z self, node: &Node<'z>, qtype: u16) -> Lookup<'z> {
        if let Some(cut) = node.cut() {
            let is_cut = self.node(cut).is_some_and(|cut| cut.name() == node.name());
            // RFC 4035 §3.1.4.1: the DS RRset is the one that the parent's side of a cut answers
            // with authority, without a referral.
            if is_cut && qtype == rtype::DS {
                return node.rrset(qtype).map_or(Lookup::NoData, Lookup::Answer);
            }
            return self.referral(cut);
        }
        // RFC 6672 §2.3, §2.4: names below a DNAME are redirected, its owner is not.
        if let Some(dname) = node.redirected() {
            return self.dname(dname);
        }
        match (node.service(), qtype) {
            (Some(service), rtype::A | rtype::AAAA | rtype::ANY) => Lookup::Service(service),
            (_, rtype::ANY) => any(node),
            _ => node
                .rrset(qtype)
                .map(Lookup::Answer)
                .or_else(|| node.rrset(rtype::CNAME).map(Lookup::Cname))
                .unwrap_or(Lookup::NoData),
        }
    }

    fn referral(&self, cut: Place) -> Lookup<'_> {
        let cut = self.node(cut);
        let found = cut.and_then(|cut| Some((cut.name(), cut.rrset(rtype::NS)?)));
        found.map_or(Lookup::NxDomain, |(owner, ns)| Lookup::Referral {
            owner,
            ns,
        })
    }

    fn dname(&self, place: Place) -> Lookup<'_> {
        self.node(place)
            .map_or(Lookup::NxDomain, |node| redirect(&node))
    }
}

fn redirect<'z>(node: &Node<'z>) -> Lookup<'z> {
    let owner = node.name();
    let rrset = node.rrset(rtype::DNAME);
    rrset.map_or(Lookup::NxDomain, |rrset| Lookup::Dname { owner, rrset })
}

/// RFC 8482 §4: "A DNS responder that receives an ANY query MAY decline to provide a conventional
/// ANY response or MAY instead send a response with a single RRset (or a larger subset of
/// available RRsets) in the answer section." Ours is the RRset of the lowest type: real data, and
/// the same one every time.
fn any<'z>(node: &Node<'z>) -> Lookup<'z> {
    let mut rrsets = node.all().map(|(_, rrset)| rrset);
    let found = rrsets.find(|rrset| rrset.rtype != rtype::RRSIG);
    found.map_or(Lookup::NoData, Lookup::Answer)
}
