//! Why an answer is what it is, told by the DNS itself: as TXT records at `_explain.NAME`, and as
//! the text of an extended error (RFC 8914) beside the answer.
//!
//! Choices of ours:
//!
//! * Only for clients whose packets come from a listed network; for everyone else neither exists. A
//!   resolver that asks for a client is judged by its own address.
//! * The label stands in front of the service's name, so that TXT records there stay what they are. A
//!   zone that has the name itself answers from its data.
//! * In front of an alias (CNAME, DNAME) it explains the service at the end of the chain, as far as an
//!   answer of ours would follow it; where that ends elsewhere it says where.
//! * A TXT answer has TTL 0 and holds at most [`RECORD`] octets for each family; an extended error
//!   at most one character string. Neither repeats the client's address.
//! * Sources over UDP can be forged, and explaining a large pool takes time: above [`CANDIDATES`] PoPs
//!   TXT is told over TCP only (TC), and the extended error names just PoP and reason.

use std::{fmt::Write as _, net::IpAddr};

use ipnet::IpNet;
use meridian_config::Family;

use super::{
    Transport,
    follow::targets,
    plan::{Ask, Choice, Plan, Steer},
};
use crate::{
    steer::{Candidate, Explanation, Level, Reason},
    types::rtype,
    zone::{LowerName, Spot},
};

/// The label in front of a service's name, in wire form.
pub(crate) const LABEL: &[u8] = b"\x08_explain";
/// Most octets of one record's RDATA.
const RECORD: usize = 512;
/// Octets of a reply that are not RDATA of the records: header, type and class, the heads of two
/// records, OPT with its options.
const OVERHEAD: usize = 160;
/// Most octets of a character string (RFC 1035 §3.3), and of an extended error's text.
const STRING: usize = 255;
/// Most PoPs of a pool that is explained over UDP.
const CANDIDATES: usize = 64;
/// Most PoPs that one record tells of.
const SHOWN: usize = 4;

/// Who may ask for explanations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed(Box<[IpNet]>);

impl From<&meridian_config::Explain> for Listed {
    fn from(explain: &meridian_config::Explain) -> Self {
        Self(explain.clients.as_slice().into())
    }
}

impl Listed {
    /// Whether nobody may.
    pub(crate) fn is_off(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether packets from this address are answered with explanations.
    pub(crate) fn lists(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.0.iter().any(|net| net.contains(&source))
    }
}

/// What is answered at `_explain.NAME`.
pub(super) struct Told {
    /// RDATA of each record; `None`: over TCP only.
    pub(super) records: Option<Vec<Vec<u8>>>,
    /// Hash of the service's name, to which the reply is put down.
    pub(super) imputed: u64,
}

/// The TXT records for the name that is asked for; `None` where it is a name like any other.
pub(super) fn told<S: Steer>(
    ask: &Ask<'_, S>,
    name: &LowerName,
    transport: Transport,
    limit: usize,
) -> Option<Told> {
    let rest = name.as_wire().strip_prefix(LABEL)?;
    if ask.qtype != rtype::TXT || matches!(ask.zones.seek(name), Some(Spot::At(..))) {
        return None;
    }
    // What a question for the name without the label would be answered with.
    let inner = Ask {
        qname: rest,
        qtype: rtype::A,
        ..*ask
    };
    let plan = inner.plan(LowerName::from_wire(rest)?)?;
    let (imputed, alias) = (plan.imputed, alias(&plan));
    let Some(Choice { service, .. }) = plan.steered else {
        let records = Some(vec![strings(&[alias?])]);
        return Some(Told { records, imputed });
    };
    if transport == Transport::Udp && ask.steer.candidates(service) > CANDIDATES {
        let records = None;
        return Some(Told { records, imputed });
    }
    let explain = |family| ask.steer.explain(service, &ask.client, family);
    let (v4, v6) = (explain(Family::V4)?, explain(Family::V6)?);
    // Both families shall fit, so that nothing is cut where it need not be.
    let most = (limit.saturating_sub(name.as_wire().len() + OVERHEAD) / 2).min(RECORD);
    let mut records = Vec::new();
    if !v4.addresses.is_empty() || v6.addresses.is_empty() {
        records.push(rdata(&v4, alias.is_some(), most));
    }
    if !v6.addresses.is_empty() {
        records.push(rdata(&v6, alias.is_some(), most));
    }
    Some(Told {
        records: Some(records),
        imputed,
    })
}

/// Where the aliases of an answer lead; `None`: there are none in it.
fn alias(plan: &Plan<'_>) -> Option<String> {
    let target = targets(plan).last()?;
    Some(format!(
        "an alias of {target}, where this answer ends: no service stands there, or another zone has it"
    ))
}

/// RDATA of these strings.
fn strings(all: &[String]) -> Vec<u8> {
    let mut rdata = Vec::new();
    for one in all {
        push(&mut rdata, RECORD, one);
    }
    rdata
}

/// The reason of a steered answer in a sentence.
pub(super) fn sentence<S: Steer>(
    ask: &Ask<'_, S>,
    choice: &Choice,
    transport: Transport,
) -> Option<String> {
    let decision = &choice.decision;
    let brief = transport == Transport::Udp && ask.steer.candidates(choice.service) > CANDIDATES;
    let mut text = if brief {
        decision.reason.as_str().to_owned()
    } else {
        let told = ask
            .steer
            .explain(choice.service, &ask.client, choice.family)?;
        format!("{}; {}", decision.reason.as_str(), told.why)
    };
    let _ = write!(text, "; ttl {} s, scope /{}", decision.ttl, decision.scope);
    Some(clean(&text).to_owned())
}

/// One TXT record. `alias`: the service is at the end of a chain.
fn rdata(told: &Explanation, alias: bool, most: usize) -> Vec<u8> {
    let mut rdata = Vec::with_capacity(most);
    let chosen = match (&told.chosen, told.addresses.is_empty()) {
        (Some(pop), _) => pop,
        (None, false) if told.reason == Reason::Anycast => "the pool's address",
        (None, false) => "fallback",
        (None, true) => "no address",
    };
    let family = match told.family {
        Family::V4 => "A",
        Family::V6 => "AAAA",
    };
    let (reason, why) = (told.reason.as_str(), &told.why);
    let headline = format!("{family} {chosen}: {reason}; {why}");
    push(&mut rdata, most, &headline);
    if alias {
        let end = format!("an alias of {}, of which this is told", told.service);
        push(&mut rdata, most, &end);
    }
    push(&mut rdata, most, &terms_of_use(told));
    let chosen = told.candidates.iter().filter(|one| one.chosen);
    let others = told.candidates.iter().filter(|one| !one.chosen);
    for one in chosen.chain(others).take(SHOWN) {
        push(&mut rdata, most, &candidate(one));
    }
    rdata
}

fn terms_of_use(told: &Explanation) -> String {
    let level = match told.level {
        Level::Measured => "measured latency or load",
        Level::Geo => "distance",
        Level::ConfiguredOrder => "configured order",
        Level::LastResort => "last resort",
    };
    let lowered = match &told.ttl_why {
        Some(why) => format!(" ({why})"),
        None => String::new(),
    };
    let why = told
        .scope_why
        .trim_start_matches(|c: char| c.is_ascii_digit());
    let why = why.trim_start_matches(": ");
    format!(
        "by {level}; ttl {} s{lowered}; scope /{} ({why})",
        told.ttl, told.scope
    )
}

fn candidate(one: &Candidate) -> String {
    let health = match (one.drained, one.usable) {
        (true, _) => "drained",
        (false, true) => "usable",
        (false, false) => "down",
    };
    let mut text = format!("{} {health}", one.pop);
    if let (Some(score), Some(terms)) = (one.score_ms, &one.terms) {
        let _ = write!(
            text,
            ", {score:.1} ms (distance {}, latency {}, load {}, bias {})",
            ms(terms.distance_ms),
            ms(terms.latency_ms),
            ms(terms.load_ms),
            ms(terms.bias_ms),
        );
    }
    let _ = write!(text, ": {}", one.why);
    text
}

/// Milliseconds, or a dash for what is not known.
fn ms(value: impl Into<Option<f32>>) -> String {
    let value = value.into();
    value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"))
}

/// Appends a character string, where the record has room.
fn push(rdata: &mut Vec<u8>, most: usize, text: &str) {
    let text = clean(text);
    // The first one always, so that the record is one: shortened if need be.
    let room = most.saturating_sub(rdata.len() + 1);
    let text = match rdata.is_empty() {
        true => shorten(text, room),
        false if text.len() > room => return,
        false => text,
    };
    rdata.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    rdata.extend_from_slice(text.as_bytes());
}

/// Up to the first control character, at most [`STRING`] octets: what a PoP said of itself stands in
/// reasons.
fn clean(text: &str) -> &str {
    let end = text.find(char::is_control).unwrap_or(text.len());
    shorten(text.get(..end).unwrap_or_default(), STRING)
}

/// At most this many octets of it.
fn shorten(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
