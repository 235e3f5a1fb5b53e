//! The lookup algorithm (RFC 1034 §4.3.2, RFC 4592 §3.3.1, RFC 6672 §3.2) for one name in one
//! zone.
//!
//! A hit costs one probe. A miss looks for the closest encloser by halving: every ancestor of a
//! name that exists is in the table (empty non-terminals are), so at most 7 probes find the longest
//! suffix that exists, and one more the wildcard. Nothing depends on the size of the zone.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use super::{
    lower::LowerName,
    tree::{Cover, NodeId, Rrset, Zone},
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

impl Zone {
    /// Looks up a name at or below the apex.
    pub fn lookup(&self, name: &LowerName, qtype: u16) -> Lookup<'_> {
        if let Some(id) = self.node_id(name.as_wire()) {
            return self.at_existing(id, qtype);
        }
        let Some((encloser, id)) = self.closest_encloser(name) else {
            return Lookup::NxDomain;
        };
        let Some(node) = self.node(id) else {
            return Lookup::NxDomain;
        };
        match node.cover {
            Cover::Cut(cut) => return self.referral(cut),
            Cover::Dname(dname) => return self.dname(dname),
            Cover::Open if node.has_dname => return self.dname(id),
            Cover::Open => {}
        }
        // RFC 4592 §3.3.1: only the wildcard right below the closest encloser can be the source of
        // synthesis; where it does not exist there is none, and no other one is looked for.
        let source = node
            .wildcard_child
            .then(|| LowerName::concat(b"\x01*", name.suffix(encloser)))
            .flatten()
            .and_then(|wildcard| self.node_id(wildcard.as_wire()));
        source.map_or(Lookup::NxDomain, |id| self.at_existing(id, qtype))
    }

    /// The name that a reply about `name` is put down to, lower-cased wire form: of all the names that
    /// are answered from one place it is that place, so that made-up names below it are counted as
    /// one. It is the wildcard, the cut or the DNAME; for a name that does not exist the apex; for
    /// any other the name itself.
    pub fn imputed(&self, name: &LowerName) -> &[u8] {
        let apex = self.name_of(self.apex_node);
        if let Some(id) = self.node_id(name.as_wire()) {
            return self.covering(id).unwrap_or(apex);
        }
        let Some((encloser, id)) = self.closest_encloser(name) else {
            return apex;
        };
        let node = self.node(id);
        if node.is_some_and(|node| node.cover != Cover::Open || node.has_dname) {
            return self.covering(id).unwrap_or(apex);
        }
        node.is_some_and(|node| node.wildcard_child)
            .then(|| LowerName::concat(b"\x01*", name.suffix(encloser)))
            .flatten()
            .and_then(|wildcard| self.covering(self.node_id(wildcard.as_wire())?))
            .unwrap_or(apex)
    }

    /// The cut or DNAME over a name that exists, else the name itself.
    fn covering(&self, id: NodeId) -> Option<&[u8]> {
        Some(match self.node(id)?.cover {
            Cover::Open => self.name_of(id),
            Cover::Cut(over) | Cover::Dname(over) => self.name_of(over),
        })
    }

    /// The longest existing suffix of a name that does not exist itself: how many labels it
    /// leaves out, and its node.
    fn closest_encloser(&self, name: &LowerName) -> Option<(usize, NodeId)> {
        // Existence is monotone: with `skip` labels left out a suffix exists for every skip from
        // some point on, and the apex (all of them left out) does.
        let mut missing = 0;
        let mut skip = self.depth_below_apex(name);
        let mut found = self.apex_node;
        while skip - missing > 1 {
            let middle = missing + (skip - missing) / 2;
            match self.node_id(name.suffix(middle)) {
                Some(id) => (skip, found) = (middle, id),
                None => missing = middle,
            }
        }
        (skip > 0).then_some((skip, found))
    }

    fn at_existing(&self, id: NodeId, qtype: u16) -> Lookup<'_> {
        let Some(node) = self.node(id) else {
            return Lookup::NxDomain;
        };
        match node.cover {
            Cover::Open => {}
            // RFC 4035 §3.1.4.1: the DS RRset is the one that the parent's side of a cut answers
            // with authority, without a referral.
            Cover::Cut(cut) if cut == id && qtype == rtype::DS => {
                return self.rrset(id, qtype).map_or(Lookup::NoData, Lookup::Answer);
            }
            Cover::Cut(cut) => return self.referral(cut),
            // RFC 6672 §2.3, §2.4: names below a DNAME are redirected, its owner is not.
            Cover::Dname(dname) => return self.dname(dname),
        }
        match (node.service, qtype) {
            (Some(service), rtype::A | rtype::AAAA | rtype::ANY) => Lookup::Service(service),
            (_, rtype::ANY) => self.any(id),
            _ => self
                .rrset(id, qtype)
                .map(Lookup::Answer)
                .or_else(|| self.rrset(id, rtype::CNAME).map(Lookup::Cname))
                .unwrap_or(Lookup::NoData),
        }
    }

    /// RFC 8482 §4: "A DNS responder that receives an ANY query MAY decline to provide a
    /// conventional ANY response or MAY instead send a response with a single RRset (or a larger
    /// subset of available RRsets) in the answer section." Ours is the RRset of the lowest type:
    /// real data, and the same one every time.
    fn any(&self, id: NodeId) -> Lookup<'_> {
        let entries = self.rrsets_of(id);
        let entry = entries.iter().find(|entry| entry.rtype != rtype::RRSIG);
        entry
            .and_then(|entry| self.view(entry))
            .map_or(Lookup::NoData, Lookup::Answer)
    }

    fn referral(&self, cut: NodeId) -> Lookup<'_> {
        let owner = self.name_of(cut);
        let ns = self.rrset(cut, rtype::NS);
        ns.map_or(Lookup::NxDomain, |ns| Lookup::Referral { owner, ns })
    }

    fn dname(&self, id: NodeId) -> Lookup<'_> {
        let owner = self.name_of(id);
        let rrset = self.rrset(id, rtype::DNAME);
        rrset.map_or(Lookup::NxDomain, |rrset| Lookup::Dname { owner, rrset })
    }
}
