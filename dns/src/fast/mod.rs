//! The fast path: what resolvers ask nearly always, answered in place in the receive buffer, without
//! allocation or lock.
//!
//! ```text
//! read     header, one question in class IN, at most an OPT record     else Slow
//! found    one probe of the index: RRset, template, service, or none   else Slow
//! write    what follows the question, OPT, header
//! ```
//!
//! `ahead` looks at a whole batch first, so that its cache misses are waited for together.
//!
//! Every reply is octet for octet that of [`crate::answer::respond`]; the tests compare them.
//! [`Fast::Slow`] leaves the query as it was, and `respond` answers it: other opcodes and classes,
//! format errors, TSIG, ANY, DNAME, chains of more than one alias, names outside all zones, replies
//! that do not fit, what is refused for its cookie, and explanations.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod ahead;
mod found;
mod read;
mod write;

use crate::{
    abuse::cookie,
    answer::{Meta, Steered, Summary},
    client::Client,
    listen::Fast,
    snapshot::Snapshot,
    steer,
    zone::LowerName,
};
use found::Tail;
use write::{Body, Opt};

pub use ahead::ahead;

/// Answers the query in the first `len` octets of `slot`, in place.
pub fn answer(snapshot: &Snapshot, meta: &Meta, slot: &mut [u8], len: usize) -> Fast {
    match prepared(snapshot, meta, slot, len) {
        Some((len, summary)) => Fast::Reply { len, summary },
        None => Fast::Slow,
    }
}

/// The same out of place, for streams: the reply stands in `out`.
pub fn answer_into(
    snapshot: &Snapshot,
    meta: &Meta,
    query: &[u8],
    out: &mut Vec<u8>,
) -> Option<Summary> {
    out.clear();
    out.extend_from_slice(query);
    out.resize(query.len().max(LONGEST), 0);
    let (len, summary) = prepared(snapshot, meta, out, query.len())?;
    out.truncate(len);
    Some(summary)
}

/// Longest reply over a stream that is made fast, in octets.
const LONGEST: usize = 2048;

#[inline]
fn prepared(
    snapshot: &Snapshot,
    meta: &Meta,
    slot: &mut [u8],
    len: usize,
) -> Option<(usize, Summary)> {
    let query = slot.get(..len)?;
    let mut name = LowerName::root();
    let asked = read::read(query, meta.transport, &mut name)?;
    let identity = &*snapshot.identity;
    let judged = match asked.edns.and_then(|edns| edns.cookie) {
        None => cookie::ABSENT,
        Some(cookie) => judge(snapshot, meta, cookie)?,
    };
    if identity.stale {
        return None;
    }
    // Explanations are for few, and are written the slow way.
    if !identity.explain.is_off()
        && asked.may_be_explained()
        && identity.explain.lists(meta.source.ip())
    {
        return None;
    }
    let found = found::find(&snapshot.zones, &asked)?;
    let mut opt = asked.edns.map(|edns| Opt {
        dnssec_ok: edns.dnssec_ok,
        ecs: edns.ecs,
        scope: 0,
        nsid: identity.nsid.as_deref().filter(|_| edns.nsid),
        cookie: judged.reply,
        last_resort: false,
    });
    let mut summary = Summary {
        rcode: found.rcode,
        qtype: asked.qtype,
        ecs: opt.as_ref().is_some_and(|opt| opt.ecs.is_some()),
        steered: None,
        truncated: false,
        kind: found.kind,
        imputed: found.imputed,
        cookie: judged.state,
    };
    let question = asked.question;
    let length = if let Tail::Steered(service, family) = found.tail {
        let ecs = opt.as_ref().and_then(|opt| opt.ecs);
        let client = Client::of(ecs.as_ref(), meta.source.ip());
        let decision = steer::decide(&snapshot.steering, &snapshot.view, service, &client, family);
        if let Some(opt) = &mut opt {
            opt.scope = decision.scope;
            opt.last_resort = decision.reason.is_last_resort();
        }
        summary.steered = Some(Steered {
            service,
            pop: decision.pop,
            reason: decision.reason,
            level: decision.level,
            client: client.address,
        });
        let addresses = (decision.addresses.as_slice(), decision.ttl);
        let body = Body::new(&found, Some(addresses))?;
        body.write(slot, question, asked.limit, opt.as_ref())?
    } else {
        Body::new(&found, None)?.write(slot, question, asked.limit, opt.as_ref())?
    };
    Some((length, summary))
}

/// Judges a cookie; what is refused or malformed goes the slow way.
fn judge(snapshot: &Snapshot, meta: &Meta, option: &[u8]) -> Option<cookie::Judged> {
    let cookies = &snapshot.identity.cookies;
    let judged = cookies
        .judge(Some(option), meta.source.ip(), meta.now)
        .ok()?;
    (!cookies.refuses(judged.state)).then_some(judged)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
