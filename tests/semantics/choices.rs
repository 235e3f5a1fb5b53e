//! Where Meridian answers differently on purpose, each with its reason. A choice takes from both
//! replies what it is about; what remains must be equal.

use crate::{
    generate::{Generated, Query},
    message::{Message, Rrset},
};

/// What is being compared.
pub(crate) struct Case<'a> {
    pub(crate) peer: &'static str,
    pub(crate) query: &'a Query,
    pub(crate) zones: &'a [Generated],
}

impl Case<'_> {
    /// The apex of the nearest zone of a name.
    fn zone_of(&self, name: &str) -> Option<&str> {
        let apexes = || self.zones.iter().map(|zone| zone.apex.as_str());
        let at = |name: &str| apexes().find(|apex| *apex == name);
        at(name).or_else(|| crate::generate::ancestors(name).find_map(at))
    }
}

impl Case<'_> {
    /// Whether no zone has this name, but one has a cut above it.
    fn is_synthesised_below_a_cut(&self, name: &str) -> bool {
        let Some(apex) = self.zone_of(name) else {
            return false;
        };
        let Some(zone) = self.zones.iter().find(|zone| zone.apex == apex) else {
            return false;
        };
        let known = zone.owners.iter().any(|owner| owner == name);
        let is_cut = |above: &str| zone.cuts.iter().any(|cut| cut == above);
        !known && crate::generate::ancestors(name).any(is_cut)
    }
}

/// One difference on purpose.
pub(crate) struct Choice {
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
    /// Changes ours or theirs when the choice is about this difference.
    pub(crate) applies: fn(&Case<'_>, &mut Message, &mut Message),
}

/// All of them, in the order in which they are applied.
pub(crate) const ALL: &[Choice] = &[
    Choice {
        name: "aliases-end-at-the-zone",
        reason: "the chain stays in the zone of the question; the other zone's servers answer for it",
        applies: without_other_zones,
    },
    Choice {
        name: "any-is-one-rrset",
        reason: "RFC 8482 §4.1: one RRset, ours of the lowest type; NSD gives the SOA at an apex",
        applies: |case, ours, theirs| {
            let both = !ours.answer.is_empty() && !theirs.answer.is_empty();
            if case.query.rtype == 255 && both {
                theirs.tc = false;
                only_codes(ours, theirs);
            }
        },
    },
    Choice {
        name: "chains-are-bounded",
        reason: "a chain ends where a DNAME feeds itself, else after 16 aliases; NSD's ends where it \
                 passes the same DNAME twice, Knot's after some more",
        applies: |_, ours, theirs| {
            let aliases = |reply: &Message| {
                let mut types = reply.answer.iter().map(|rrset| rrset.rtype);
                types.all(|rtype| matches!(rtype, 5 | 39))
            };
            let short = ours.answer.len().min(theirs.answer.len());
            let same = ours.answer.get(..short) == theirs.answer.get(..short);
            if same && aliases(ours) && aliases(theirs) && is_cut_short(ours) {
                ours.tc = false;
                theirs.tc = false;
                only_codes(ours, theirs);
            }
        },
    },
    Choice {
        name: "ns-with-answers",
        reason: "RFC 1034 §4.3.2 asks for no NS beside an answer; it would enlarge every reply",
        applies: without_apex_ns,
    },
    Choice {
        name: "no-synthesis-below-cuts",
        reason: "a wildcard below a cut is not ours to expand (RFC 4592 §3.3.1 is about the zone's \
                 own data), so it gives no glue",
        applies: |case, _, theirs| {
            theirs
                .additional
                .retain(|rrset| !case.is_synthesised_below_a_cut(&rrset.owner));
        },
    },
    Choice {
        name: "addresses-go-along",
        reason: "RFC 1034 §4.3.2 step 6 is optional; as Knot, we add what wildcards give (NSD does \
                 under a wrong owner) and skip only what does not fit, where NSD stops",
        applies: with_optional_addresses,
    },
    Choice {
        name: "glue-sets-tc",
        reason: "RFC 9471 §3.1: glue of in-domain name servers that does not fit sets TC",
        applies: |_, ours, theirs| {
            if is_referral(ours) && is_referral(theirs) && ours.tc && !theirs.tc {
                theirs.tc = true;
            }
        },
    },
    Choice {
        name: "other-glue-never-sets-tc",
        reason: "RFC 9471 §3.2: addresses of name servers outside the cut may be left out",
        applies: |_, ours, theirs| {
            if is_referral(ours) && is_referral(theirs) && !ours.tc && theirs.tc {
                theirs.tc = false;
                theirs.additional.clear();
                ours.additional.clear();
            }
        },
    },
    Choice {
        name: "truncated",
        reason: "RFC 2181 §9: what stands in a truncated reply is not used, so only TC is compared",
        applies: |_, ours, theirs| {
            if ours.tc && theirs.tc {
                only_codes(ours, theirs);
            }
        },
    },
];

fn only_codes(ours: &mut Message, theirs: &mut Message) {
    for reply in [ours, theirs] {
        reply.answer.clear();
        reply.authority.clear();
        reply.additional.clear();
    }
}

/// Takes from theirs what follows an alias to another zone that is hosted too.
fn without_other_zones(case: &Case<'_>, ours: &mut Message, theirs: &mut Message) {
    let Some(last) = ours.answer.last().filter(|rrset| rrset.rtype == 5) else {
        return;
    };
    let target = last.rdata.first().map_or("", String::as_str);
    let home = case.zone_of(&case.query.name);
    // DS at the apex of a zone stands on the parent's side.
    let at_parent = case.query.rtype == 43 && home == Some(target);
    let leaves = at_parent || case.zone_of(target) != home;
    if case.query.rtype != 5 && leaves && theirs.answer.starts_with(&ours.answer) {
        theirs.answer.truncate(ours.answer.len());
        theirs.authority.clone_from(&ours.authority);
        theirs.additional.clone_from(&ours.additional);
        theirs.rcode = ours.rcode;
        theirs.tc = ours.tc;
    }
}

/// Adds to NSD's reply the optional addresses that it left out.
fn with_optional_addresses(case: &Case<'_>, ours: &mut Message, theirs: &mut Message) {
    if case.peer != "nsd" {
        return;
    }
    let sections = ours.answer.iter().chain(&ours.authority);
    let targets: Vec<String> = sections.flat_map(Rrset::targets).collect();
    if ours.aa {
        theirs
            .additional
            .retain(|rrset| targets.contains(&rrset.owner));
    }
    let cut = ours.authority.iter().find(|rrset| rrset.rtype == 2);
    let required = |rrset: &Rrset| {
        let below = |cut: &Rrset| format!(".{}", rrset.owner).ends_with(&format!(".{}", cut.owner));
        cut.is_some_and(below)
    };
    let mut missing = ours.additional.difference(&theirs.additional);
    if theirs.additional.is_subset(&ours.additional) && !missing.any(required) {
        theirs.additional.clone_from(&ours.additional);
    }
}

/// Whether our chain ended by its bounds.
fn is_cut_short(ours: &Message) -> bool {
    let cnames = ours.answer.iter().filter(|rrset| rrset.rtype == 5).count();
    let feeds_itself = |rrset: &Rrset| {
        let suffix = format!(".{}", rrset.owner);
        rrset.rtype == 39
            && rrset
                .rdata
                .iter()
                .any(|to| *to == rrset.owner || to.ends_with(&suffix))
    };
    ours.tc || cnames >= 16 || ours.answer.iter().any(feeds_itself)
}

/// Whether a reply refers to other servers, perhaps after a chain of aliases.
fn is_referral(reply: &Message) -> bool {
    let chain_only = reply.answer.last().is_none_or(|rrset| rrset.rtype == 5);
    chain_only && reply.authority.iter().any(|rrset| rrset.rtype == 2)
}

/// Takes the NS RRset of the apex from an answer of theirs, and the addresses that only it
/// brought along.
fn without_apex_ns(case: &Case<'_>, ours: &mut Message, theirs: &mut Message) {
    if case.peer != "nsd" || ours.answer.is_empty() || !ours.authority.is_empty() {
        return;
    }
    let is_apex_ns =
        |rrset: &Rrset| rrset.rtype == 2 && case.zones.iter().any(|z| z.apex == rrset.owner);
    let Some(ns) = theirs
        .authority
        .iter()
        .find(|rrset| is_apex_ns(rrset))
        .cloned()
    else {
        return;
    };
    theirs.authority.remove(&ns);
    theirs
        .additional
        .retain(|rrset| ours.additional.contains(rrset) || !ns.rdata.contains(&rrset.owner));
}
