//! Which service answers a name: what explaining one to an operator begins with.

use std::fmt;

use meridian_config::{Family, Name};
use thiserror::Error;

use super::plan::{Ask, Authority, Body, Plan, Steer};
use crate::{
    client::{Client, Origin},
    steer::{Decision, Level, Reason},
    types::{ServiceId, rcode, rtype},
    zone::{LowerName, ZoneSet},
};

/// The service whose addresses an answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The service.
    pub service: ServiceId,
    /// What the name is an alias of, step by step; empty where it is none.
    pub aliases: Vec<Name>,
}

/// Why no service answers a name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{why}", Via(.aliases))]
pub struct NotSteered {
    /// What the name is an alias of, step by step.
    pub aliases: Vec<Name>,
    /// What stands at the end.
    pub why: End,
}

/// Where a name leads that no service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum End {
    /// Outside all zones.
    #[error("no zone of this server holds it")]
    NoZone,
    /// The zone has no such name.
    #[error("its zone has no such name")]
    NoName,
    /// The zone has the name, but neither a service nor addresses of this family there.
    #[error("no service and no addresses of this family stand there")]
    NoData,
    /// Addresses from the zone file.
    #[error("its addresses stand in the zone file and are the same for everyone")]
    Static,
    /// Below a delegation.
    #[error("its zone delegates it to other name servers")]
    Delegated,
    /// An alias out of the zone, or one too many.
    #[error("the answer ends there, since another zone has that name or the chain has no end")]
    Elsewhere,
}

/// Follows a name as an answer of ours does, within its zone.
///
/// # Errors
/// Why no service stands at the end.
pub fn follow(zones: &ZoneSet, name: &Name, family: Family) -> Result<Followed, NotSteered> {
    let ask = Ask {
        zones,
        qname: name.as_wire(),
        qtype: match family {
            Family::V4 => rtype::A,
            Family::V6 => rtype::AAAA,
        },
        client: Client {
            address: [0, 0, 0, 0].into(),
            source_len: 0,
            origin: Origin::Source,
        },
        steer: &Undecided,
    };
    let plan = LowerName::from_wire(name.as_wire()).and_then(|lower| ask.plan(lower));
    let Some(plan) = plan else {
        return Err(NotSteered {
            aliases: Vec::new(),
            why: End::NoZone,
        });
    };
    let aliases: Vec<Name> = targets(&plan).collect();
    match &plan.steered {
        Some(choice) => Ok(Followed {
            service: choice.service,
            aliases,
        }),
        None => Err(NotSteered {
            aliases,
            why: end(&plan),
        }),
    }
}

/// What the aliases in an answer point to, in order.
pub(super) fn targets(plan: &Plan<'_>) -> impl Iterator<Item = Name> {
    let pieces = plan.answer.iter();
    pieces.filter_map(|piece| {
        let target = match &piece.body {
            Body::Static(rrset) if rrset.rtype == rtype::CNAME => rrset.first()?,
            Body::Synthesised { target, .. } => target.as_slice(),
            _ => return None,
        };
        Name::from_wire(target).ok()
    })
}

fn end(plan: &Plan<'_>) -> End {
    let last = plan.answer.last().map(|piece| &piece.body);
    let is_alias = |rtype: u16| matches!(rtype, rtype::CNAME | rtype::DNAME);
    match (&plan.authority, last) {
        (Authority::Referral { .. }, _) => End::Delegated,
        (Authority::Negative, _) if plan.rcode == rcode::NXDOMAIN => End::NoName,
        (Authority::Negative, _) => End::NoData,
        (Authority::Nothing, Some(Body::Static(rrset))) if !is_alias(rrset.rtype) => End::Static,
        (Authority::Nothing, _) => End::Elsewhere,
    }
}

/// Finds out which service it is, and no more.
struct Undecided;

impl Steer for Undecided {
    fn decide(&self, _: ServiceId, _: &Client, _: Family) -> Decision {
        Decision {
            addresses: Default::default(),
            pop: None,
            reason: Reason::NoAddressOfFamily,
            level: Level::ConfiguredOrder,
            ttl: 0,
            scope: 0,
        }
    }
}

struct Via<'a>(&'a [Name]);

impl fmt::Display for Via<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.last() {
            Some(target) => write!(f, "it is an alias of {target}; of that one: "),
            None => Ok(()),
        }
    }
}
