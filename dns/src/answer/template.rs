//! What follows the question in a reply, written when the zone is built.
//!
//! A template is made by the same code that writes every reply, for a *base* name as the question:
//!
//! | template of | base | used for names |
//! |---|---|---|
//! | RRset with names that are compressed, or with additional addresses | its owner | the same |
//! | the same at a wildcard | the wildcard | that it matches |
//! | NS at a cut (referral) | the cut | at and below the cut |
//! | negative answer of a zone | the apex | that do not exist, or have no such type |
//!
//! For a longer name every pointer moves by the difference in length, as long as no name in the
//! template shares the longer name's labels below the base. Those that could share one have their
//! label right below the base in `avoid`; a question with one of these goes the slow way.

use arrayvec::ArrayVec;

use super::{
    compress::MOST,
    plan::{Authority, Body, Piece, Plan},
    sections,
    writer::{Writer, names_in},
};
use crate::{
    query::HEADER_LEN,
    types::{class, rcode, rtype},
    zone::{
        Lookup, LowerName, Rrset, Zone,
        image::{Node, Place, le32},
    },
};

pub(crate) use super::writer::name_len;

/// Longest template in octets; no UDP reply is longer.
const LONGEST: usize = 1232;
/// Octets before the pointers of a template.
const HEAD: usize = 22;
/// A question has at most 127 suffixes.
const MOST_NEW: usize = MOST - 127;
const AUTHORITATIVE: u8 = 1;
const ONWARD: u8 = 2;

/// Everything after the question of a reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Template<'z> {
    pub(crate) authoritative: bool,
    pub(crate) rcode: u16,
    /// Records: answer, authority, additional.
    pub(crate) counts: [u16; 3],
    /// Length of the name that it was made for.
    pub(crate) base_len: usize,
    /// Records in wire form.
    pub(crate) octets: &'z [u8],
    /// Set at a CNAME that leads to a name of the same zone.
    pub(crate) onward: Option<Onward<'z>>,
    /// Places of pointers in `octets`, two octets each.
    pointers: &'z [u8],
    /// Labels with their lengths.
    avoid: &'z [u8],
}

/// Where a CNAME leads in its own zone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Onward<'z> {
    /// Place of the target's name in the reply, for the name that the template was made for.
    pub(crate) target_at: u16,
    /// The node that answers for the target; 0 for none.
    pub(crate) node: Place,
    /// The template of CNAME and SOA, for types that the target does not have; may be empty.
    negative: &'z [u8],
}

impl<'z> Onward<'z> {
    /// The whole reply where the target does not exist or has no such type.
    pub(crate) fn negative(&self) -> Option<Template<'z>> {
        Template::read(self.negative)
    }
}

impl<'z> Template<'z> {
    /// The template at the start of `octets`.
    pub(crate) fn read(octets: &'z [u8]) -> Option<Self> {
        let (head, rest) = octets.split_first_chunk::<HEAD>()?;
        let field = |at: usize| head.get(at..at + 2).and_then(|two| two.first_chunk::<2>());
        let number = |at: usize| field(at).map(|two| u16::from_le_bytes(*two));
        let [flags, rcode, .., pointers, avoid, _, _, _, _, _, _, _, _] = *head;
        let (pointers, rest) = rest.split_at_checked(2 * usize::from(pointers))?;
        let (avoid, rest) = rest.split_at_checked(usize::from(avoid))?;
        let (records, rest) = rest.split_at_checked(usize::from(number(10)?))?;
        let onward = Onward {
            target_at: number(14)?,
            node: le32(head, 16),
            negative: rest.get(..usize::from(number(20)?))?,
        };
        Some(Self {
            authoritative: flags & AUTHORITATIVE != 0,
            rcode: rcode.into(),
            counts: [number(2)?, number(4)?, number(6)?],
            base_len: usize::from(number(8)?),
            octets: records,
            onward: (flags & ONWARD != 0).then_some(onward),
            pointers,
            avoid,
        })
    }

    /// Whether a question with this label (length in front) right below the base needs a reply of
    /// its own.
    pub(crate) fn avoids(&self, label: &[u8]) -> bool {
        let mut rest = self.avoid;
        while let Some(&length) = rest.first() {
            let end = (1 + usize::from(length)).min(rest.len());
            let (other, tail) = rest.split_at(end);
            if other == label {
                return true;
            }
            rest = tail;
        }
        false
    }

    /// Moves the pointers of a copy for a name that is longer by `by` octets.
    pub(crate) fn shift(&self, copy: &mut [u8], by: usize) {
        let Ok(by) = u16::try_from(by) else { return };
        for at in self.pointers.chunks_exact(2) {
            let at = at
                .first_chunk::<2>()
                .map_or(0, |two| usize::from(u16::from_le_bytes(*two)));
            if let Some(pointer) = copy
                .get_mut(at..)
                .and_then(|rest| rest.first_chunk_mut::<2>())
            {
                *pointer = u16::from_be_bytes(*pointer).wrapping_add(by).to_be_bytes();
            }
        }
    }
}

/// Whether the records of a type, with the name of the question as their owner, are a whole answer:
/// no name to compress, no addresses to add.
pub(crate) fn is_plain(rtype: u16) -> bool {
    let (_, names) = names_in(rtype);
    names == 0 && rtype != rtype::SRV
}

/// The template of an RRset that [`is_plain`] does not hold for; `None` where it is not worth one.
pub(crate) fn of_rrset(zone: &Zone, node: &Node<'_>, rrset: &Rrset<'_>) -> Option<Vec<u8>> {
    let owner = node.name();
    if let Some(cut) = node.cut() {
        let is_cut = zone.node(cut).is_some_and(|cut| cut.name() == owner);
        if !is_cut || rrset.rtype != rtype::NS {
            return None;
        }
        let authority = Authority::Referral { owner, ns: *rrset };
        let referral = Plan {
            authoritative: false,
            ..plan(zone, None, authority)
        };
        return Draft::of(&referral, owner, Use::Below)?.encode(None);
    }
    if !node.is_open() {
        return None;
    }
    let piece = Piece {
        owner: owner.into(),
        body: Body::Static(*rrset),
    };
    let positive = plan(zone, Some(piece), Authority::Nothing);
    let usage = if owner.starts_with(b"\x01*") {
        Use::Wildcard
    } else {
        Use::Exact
    };
    let draft = Draft::of(&positive, owner, usage)?;
    let target = match rrset.rtype {
        rtype::CNAME => Some(LowerName::from_wire(rrset.first()?)?),
        _ => None,
    };
    match target.filter(|target| zone.contains(target)) {
        Some(target) => {
            let lead = lead(zone, owner, (rrset, &target), &draft, usage)?;
            draft.encode(Some(lead))
        }
        None => draft.encode(None),
    }
}

/// The template of a negative answer anywhere in a zone.
pub(crate) fn negative_of(zone: &Zone) -> Option<Vec<u8>> {
    let apex = zone.apex_node()?;
    let negative = plan(zone, None, Authority::Negative);
    Draft::of(&negative, apex.name(), Use::Below)?.encode(None)
}

/// The template of the negative answer at one name.
pub(crate) fn own_negative(zone: &Zone, node: &Node<'_>) -> Option<Vec<u8>> {
    let negative = plan(zone, None, Authority::Negative);
    Draft::of(&negative, node.name(), Use::Exact)?.encode(None)
}

fn plan<'z>(zone: &'z Zone, piece: Option<Piece<'z>>, authority: Authority<'z>) -> Plan<'z> {
    Plan {
        zone,
        rcode: rcode::NOERROR,
        authoritative: true,
        answer: piece.into_iter().collect(),
        authority,
        scope: 0,
        error: None,
        steered: None,
        imputed: 0,
    }
}

/// Where a CNAME leads that stays in its zone.
struct Lead {
    target_at: u16,
    node: Place,
    negative: Vec<u8>,
}

fn lead(
    zone: &Zone,
    owner: &[u8],
    (cname, target): (&Rrset<'_>, &LowerName),
    draft: &Draft,
    usage: Use,
) -> Option<Lead> {
    // The root is never pointed to.
    if target.labels() == 0 {
        return None;
    }
    // The RDATA is a pointer, or labels that later names point to.
    let rdata = draft.octets.get(12..)?;
    let after_question = HEADER_LEN + owner.len() + 4;
    let target_at = match *rdata.first_chunk::<2>()? {
        [high @ 0xc0..=0xff, low] => u16::from_be_bytes([high & 0x3f, low]),
        _ => u16::try_from(after_question + 12).ok()?,
    };
    // No zone has data of type 0, which is reserved (RFC 6895 §3.1).
    let outcome = match zone.lookup(target, 0) {
        Lookup::NoData => Some(rcode::NOERROR),
        Lookup::NxDomain => Some(rcode::NXDOMAIN),
        _ => None,
    };
    let negative = outcome.and_then(|rcode| {
        let piece = Piece {
            owner: owner.into(),
            body: Body::Static(*cname),
        };
        let negative = Plan {
            rcode,
            ..plan(zone, Some(piece), Authority::Negative)
        };
        Draft::of(&negative, owner, usage)?.encode(None)
    });
    Some(Lead {
        target_at,
        node: answering(zone, target).unwrap_or(0),
        negative: negative.unwrap_or_default(),
    })
}

/// The node of a name, or of the wildcard that matches it.
fn answering(zone: &Zone, name: &LowerName) -> Option<Place> {
    let most = name.labels().saturating_sub(zone.apex_labels());
    let (skip, place) =
        (0..=most).find_map(|skip| Some((skip, zone.find_place(name.suffix(skip))?)))?;
    let node = zone.node(place)?;
    if !node.is_open() || (skip > 0 && node.has_dname()) {
        return None;
    }
    if skip == 0 {
        Some(place)
    } else {
        node.wildcard()
    }
}

/// How a template is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// For the base itself.
    Exact,
    /// For the names that the base, a wildcard, matches.
    Wildcard,
    /// For the base and every name below it.
    Below,
}

/// A template while it is made.
struct Draft {
    authoritative: bool,
    rcode: u16,
    counts: [u16; 3],
    base_len: usize,
    octets: Vec<u8>,
    pointers: Vec<u16>,
    avoid: Vec<u8>,
}

impl Draft {
    /// Writes the sections of a plan for the question `base`.
    fn of(plan: &Plan<'_>, base: &[u8], usage: Use) -> Option<Self> {
        let mut message = Vec::new();
        let mut writer = Writer::new(&mut message, usize::from(u16::MAX));
        writer.question(base, rtype::A, class::IN);
        let before = writer.suffixes();
        if sections::write(&mut writer, plan) || writer.suffixes() - before > MOST_NEW {
            return None;
        }
        let counts = writer.counts();
        let start = HEADER_LEN + base.len() + 4;
        let octets = message.get(start..)?.to_vec();
        let mut draft = Self {
            authoritative: plan.authoritative,
            rcode: plan.rcode,
            counts,
            base_len: base.len(),
            octets,
            pointers: Vec::new(),
            avoid: Vec::new(),
        };
        if usage != Use::Exact {
            draft.find_names(&message, start, base, usage)?;
        }
        (draft.octets.len() <= LONGEST).then_some(draft)
    }

    /// Notes the pointers that move and the labels to avoid.
    fn find_names(&mut self, message: &[u8], start: usize, base: &[u8], usage: Use) -> Option<()> {
        let shared = match usage {
            Use::Wildcard => base.get(2..)?,
            Use::Exact | Use::Below => base,
        };
        let answers = usize::from(*self.counts.first()?);
        let mut at = start;
        let mut number = 0;
        while at < message.len() {
            let owner = at;
            let mut names: ArrayVec<usize, 3> = ArrayVec::new();
            let fixed = skip_name(message, owner)?;
            let rtype = be16(message, fixed)?;
            let rdata = fixed + 10;
            let length = usize::from(be16(message, fixed + 8)?);
            // The owner in the answer of a wildcard is the question whatever its length.
            if usage != Use::Wildcard || number >= answers {
                names.push(owner);
            }
            let (before, count) = names_in(rtype);
            let mut next = rdata + before;
            for _ in 0..count {
                names.push(next);
                next = skip_name(message, next)?;
            }
            for name in names {
                self.note(message, name, start, shared, usage)?;
            }
            at = rdata + length;
            number += 1;
        }
        Some(())
    }

    fn note(
        &mut self,
        message: &[u8],
        at: usize,
        start: usize,
        shared: &[u8],
        usage: Use,
    ) -> Option<()> {
        if let Some(pointer) = pointer_in(message, at) {
            // What points to the wildcard itself would have to point to no name that is there.
            let target = be16(message, pointer)? & 0x3fff;
            if usage == Use::Wildcard && usize::from(target) < HEADER_LEN + 2 {
                return None;
            }
            self.pointers.push(u16::try_from(pointer - start).ok()?);
        }
        let name = LowerName::from_wire(&expand(message, at)?)?;
        let whole = name.as_wire();
        if whole.len() > shared.len() && name.is_at_or_below(shared) {
            let below = (0..name.labels()).rev().find(|skip| {
                let suffix = name.suffix(*skip);
                suffix.len() > shared.len()
            })?;
            let suffix = name.suffix(below);
            let label = suffix.get(..suffix.len() - shared.len())?;
            self.avoid.extend_from_slice(label);
        }
        Some(())
    }

    fn encode(self, onward: Option<Lead>) -> Option<Vec<u8>> {
        let set = |on: bool, flag: u8| if on { flag } else { 0 };
        let [an, ns, ar] = self.counts;
        let mut octets = vec![
            set(self.authoritative, AUTHORITATIVE) | set(onward.is_some(), ONWARD),
            u8::try_from(self.rcode).ok()?,
        ];
        let lead = onward.unwrap_or(Lead {
            target_at: 0,
            node: 0,
            negative: Vec::new(),
        });
        let base_len = u16::try_from(self.base_len).ok()?;
        let length = u16::try_from(self.octets.len()).ok()?;
        for field in [an, ns, ar, base_len, length] {
            octets.extend_from_slice(&field.to_le_bytes());
        }
        octets.push(u8::try_from(self.pointers.len()).ok()?);
        octets.push(u8::try_from(self.avoid.len()).ok()?);
        octets.extend_from_slice(&lead.target_at.to_le_bytes());
        octets.extend_from_slice(&lead.node.to_le_bytes());
        octets.extend_from_slice(&u16::try_from(lead.negative.len()).ok()?.to_le_bytes());
        for pointer in &self.pointers {
            octets.extend_from_slice(&pointer.to_le_bytes());
        }
        octets.extend_from_slice(&self.avoid);
        octets.extend_from_slice(&self.octets);
        octets.extend_from_slice(&lead.negative);
        Some(octets)
    }
}

/// Where the name at `at` ends.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            0xc0.. => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

/// The place of the pointer that ends the name at `at`.
fn pointer_in(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return None,
            0xc0.. => return Some(at),
            length => at += 1 + usize::from(length),
        }
    }
}

/// The name at `at`, its pointers followed; our own writer's, which lead backwards.
fn expand(message: &[u8], mut at: usize) -> Option<ArrayVec<u8, 255>> {
    let mut name = ArrayVec::new();
    loop {
        match *message.get(at)? {
            0 => {
                name.try_push(0).ok()?;
                return Some(name);
            }
            0xc0.. => {
                let target = usize::from(be16(message, at)? & 0x3fff);
                at = (target < at).then_some(target)?;
            }
            length => {
                let end = at + 1 + usize::from(length);
                name.try_extend_from_slice(message.get(at..end)?).ok()?;
                at = end;
            }
        }
    }
}

fn be16(octets: &[u8], at: usize) -> Option<u16> {
    let two = octets.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*two))
}
