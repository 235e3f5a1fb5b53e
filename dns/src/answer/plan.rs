//! What goes into a reply, found before anything is written: the chain of aliases, the RRset or
//! the steered addresses at its end, the authority, and where glue comes from.
//!
//! Choices of ours:
//!
//! * Aliases are followed inside the zone of the question only. What a CNAME points to in another
//!   zone is that zone's matter, hosted here or not; a resolver asks again, and what it gets then
//!   carries the right authority.
//! * A chain ends after [`MAX_CHAIN`] steps, at a name it has been at, or at a DNAME that leads
//!   below itself: the reply holds the chain so far with NOERROR, and the resolver, which has
//!   limits of its own, goes on from there.

use std::{borrow::Cow, net::IpAddr};

use arrayvec::ArrayVec;

use super::opt::Ede;
use crate::{
    client::Client,
    steer::{Decision, Explanation},
    types::{ServiceId, rcode, rtype},
    zone::{Lookup, LowerName, Rrset, Zone, ZoneSet},
};
use meridian_config::Family;
use xxhash_rust::xxh3::xxh3_64;

/// Most aliases (CNAME or DNAME steps) that one reply follows.
pub(super) const MAX_CHAIN: usize = 16;
/// Each step is at most a DNAME and a CNAME; one more for what stands at the end.
const MAX_PIECES: usize = 2 * MAX_CHAIN + 1;

/// Chooses the addresses of a service for the client of this query.
pub(super) trait Steer {
    /// The decision of `service` in one family.
    fn decide(&self, service: ServiceId, client: &Client, family: Family) -> Decision;
    /// The same with reasons; `None`: there is no such service, or nothing to be said.
    fn explain(&self, _: ServiceId, _: &Client, _: Family) -> Option<Explanation> {
        None
    }
    /// How many PoPs an explanation has to look at.
    fn candidates(&self, _: ServiceId) -> usize {
        0
    }
}

/// One RRset of the answer section.
pub(super) struct Piece<'z> {
    pub(super) owner: Cow<'z, [u8]>,
    pub(super) body: Body<'z>,
}

/// Where the records of a piece come from.
pub(super) enum Body<'z> {
    /// The zone.
    Static(Rrset<'z>),
    /// A DNAME: the CNAME that RFC 6672 §3.1 has us synthesise.
    Synthesised { ttl: u32, target: Vec<u8> },
    /// Steering: [`Plan::steered`].
    Steered,
}

/// The authority section.
pub(super) enum Authority<'z> {
    Nothing,
    /// SOA at the negative TTL.
    Negative,
    /// NS RRset of a cut, with glue.
    Referral {
        owner: &'z [u8],
        ns: Rrset<'z>,
    },
}

/// A reply before it is written.
pub(super) struct Plan<'z> {
    pub(super) zone: &'z Zone,
    pub(super) rcode: u16,
    pub(super) authoritative: bool,
    pub(super) answer: ArrayVec<Piece<'z>, MAX_PIECES>,
    pub(super) authority: Authority<'z>,
    pub(super) scope: u8,
    pub(super) error: Option<Ede>,
    pub(super) steered: Option<Choice>,
    /// Hash of the name that the reply is put down to ([`crate::zone::Found::imputed`]).
    pub(super) imputed: u64,
}

/// A decision, and for what it was taken.
pub(super) struct Choice {
    pub(super) service: ServiceId,
    pub(super) family: Family,
    pub(super) client: IpAddr,
    pub(super) decision: Decision,
}

/// What is asked, and by whom.
pub(super) struct Ask<'a, S> {
    pub(super) zones: &'a ZoneSet,
    pub(super) qname: &'a [u8],
    pub(super) qtype: u16,
    pub(super) client: Client,
    pub(super) steer: &'a S,
}

impl<'z, S: Steer> Ask<'z, S> {
    /// Finds the reply; `None` outside all zones.
    pub(super) fn plan(&self, lower: LowerName) -> Option<Plan<'z>> {
        let first = self.zones.lookup(&lower, self.qtype)?;
        let (zone, mut found) = (first.zone, first.lookup);
        let mut plan = Plan {
            zone,
            rcode: rcode::NOERROR,
            authoritative: true,
            answer: ArrayVec::new(),
            authority: Authority::Nothing,
            scope: 0,
            error: None,
            steered: None,
            imputed: xxh3_64(first.imputed),
        };
        let mut wire = Cow::Borrowed(self.qname);
        let mut name = lower;
        let mut visited: Vec<LowerName> = Vec::new();
        while let Some(target) = self.step(found, &wire, &mut plan) {
            visited.push(name);
            let Some(next) = LowerName::from_wire(&target) else {
                break;
            };
            if visited.iter().any(|seen| seen.as_wire() == next.as_wire()) {
                break;
            }
            match self.zones.lookup(&next, self.qtype) {
                Some(there) if there.zone.is_same(zone) && visited.len() < MAX_CHAIN => {
                    found = there.lookup;
                }
                _ => break,
            }
            (name, wire) = (next, target);
        }
        Some(plan)
    }

    /// Takes up what one name of the chain has; the next one when it is an alias.
    fn step(
        &self,
        found: Lookup<'z>,
        wire: &Cow<'z, [u8]>,
        plan: &mut Plan<'z>,
    ) -> Option<Cow<'z, [u8]>> {
        match found {
            Lookup::Answer(rrset) => plan.push(wire.clone(), Body::Static(rrset)),
            Lookup::Service(service) => self.steered(service, wire.clone(), plan),
            Lookup::Cname(rrset) => {
                plan.push(wire.clone(), Body::Static(rrset));
                return rrset.first().map(Cow::Borrowed);
            }
            Lookup::Dname { owner, rrset } => {
                return self
                    .redirect(owner, rrset, wire.clone(), plan)
                    .map(Cow::Owned);
            }
            Lookup::Referral { owner, ns } => {
                // RFC 1035 §4.1.1: AA "corresponds to the name which matches the query name, or
                // the first owner name in the answer section".
                plan.authoritative = !plan.answer.is_empty();
                plan.authority = Authority::Referral { owner, ns };
            }
            Lookup::NoData => plan.authority = Authority::Negative,
            Lookup::NxDomain => {
                // RFC 6604 §3: the response code is that of the last name of a chain.
                plan.rcode = rcode::NXDOMAIN;
                plan.authority = Authority::Negative;
            }
        }
        None
    }

    /// RFC 6672 §3.1: the DNAME, and a CNAME made from it with its TTL.
    fn redirect(
        &self,
        owner: &'z [u8],
        rrset: Rrset<'z>,
        wire: Cow<'z, [u8]>,
        plan: &mut Plan<'z>,
    ) -> Option<Vec<u8>> {
        plan.push(Cow::Borrowed(owner), Body::Static(rrset));
        let kept = wire.len().saturating_sub(owner.len());
        let (front, target) = (wire.get(..kept)?, rrset.first()?);
        // RFC 6672 §3.2: "If substitution of its <target> for its <owner> in QNAME would overflow
        // the legal size for a <domain-name>, set RCODE to YXDOMAIN [RFC2136] and exit".
        if front.len() + target.len() > 255 {
            plan.rcode = rcode::YXDOMAIN;
            return None;
        }
        let feeds_itself = LowerName::from_wire(target)?.is_at_or_below(owner);
        let target = [front, target].concat();
        let body = Body::Synthesised {
            ttl: rrset.ttl,
            target: target.clone(),
        };
        plan.push(wire, body);
        // A question for CNAME is answered by the CNAME, as at an alias of the zone file. A DNAME
        // that leads below itself would lengthen the name until it overflows.
        (self.qtype != rtype::CNAME && !feeds_itself).then_some(target)
    }

    fn steered(&self, service: ServiceId, wire: Cow<'z, [u8]>, plan: &mut Plan<'z>) {
        let (family, decision) = self.decide(service);
        plan.scope = decision.scope;
        if decision.reason.is_last_resort() {
            plan.error = Some(Ede::NoReachablePop);
        }
        if decision.addresses.is_empty() {
            plan.authority = Authority::Negative;
        } else {
            plan.push(wire, Body::Steered);
        }
        plan.steered = Some(Choice {
            service,
            family,
            client: self.client.address,
            decision,
        });
    }

    /// ANY at a service (RFC 8482 §4.1, one RRset): A, or AAAA where there is no A.
    fn decide(&self, service: ServiceId) -> (Family, Decision) {
        let decide = |family| (family, self.steer.decide(service, &self.client, family));
        match self.qtype {
            rtype::AAAA => decide(Family::V6),
            rtype::A => decide(Family::V4),
            _ => {
                let first = decide(Family::V4);
                if first.1.addresses.is_empty() {
                    decide(Family::V6)
                } else {
                    first
                }
            }
        }
    }
}

impl<'z> Plan<'z> {
    /// Appends to the answer section; a DNAME that a chain passes or asks for twice stands there
    /// once (RFC 2181 §5).
    fn push(&mut self, owner: Cow<'z, [u8]>, body: Body<'z>) {
        let is_dname = |body: &Body<'_>| matches!(body, Body::Static(r) if r.rtype == rtype::DNAME);
        let known =
            |piece: &Piece<'_>| is_dname(&piece.body) && piece.owner.eq_ignore_ascii_case(&owner);
        if is_dname(&body) && self.answer.iter().any(known) {
            return;
        }
        // There is room for every step of a chain; see MAX_PIECES.
        let _ = self.answer.try_push(Piece { owner, body });
    }
}
