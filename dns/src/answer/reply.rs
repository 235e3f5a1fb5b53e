//! From a parsed query to a finished reply: what is refused, what is looked up, and how large the
//! reply may be.

use arrayvec::ArrayVec;

use super::{
    Meta, Steered, Summary, Transport,
    chaos::{self, ChaosReply},
    explain::{self, Told},
    opt::{Ede, Opt, UDP_SIZE},
    plan::{Ask, Authority, Plan, Steer},
    sections, tsig,
    writer::{Flags, Head, Section, Writer},
};
use crate::{
    abuse::{
        Kind,
        cookie::{self, Judged, Malformed},
    },
    client::Client,
    query::{CookieOnly, Edns, HEADER_LEN, Header, Query, Question, Refusal, Tsig},
    snapshot::{Identity, Snapshot},
    types::{class, rcode, rtype},
    zone::{LowerName, ZoneSet},
};

/// Largest UDP reply to a query without EDNS, in octets (RFC 1035 §2.3.4).
const UDP_MIN: usize = 512;
/// Largest message that the two octets of length over TCP can announce.
const TCP_MAX: usize = 65_535;

/// The parts of a snapshot that a reply is made from, steering aside.
pub(super) trait Data {
    fn zones(&self) -> &ZoneSet;
    fn identity(&self) -> &Identity;
}

impl Data for Snapshot {
    fn zones(&self) -> &ZoneSet {
        &self.zones
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// A reply without data.
struct Bare {
    rcode: u16,
    error: Option<Ede>,
}

impl Bare {
    fn new(rcode: u16, error: Option<Ede>) -> Self {
        Self { rcode, error }
    }
}

/// Replies to a message that could not be read as a query for one name.
pub(super) fn refuse(
    data: &impl Data,
    refusal: &Refusal<'_>,
    meta: &Meta,
    out: &mut Vec<u8>,
) -> Summary {
    let limit = limit(meta, refusal.edns.as_ref());
    let mut frame = Frame::new(&refusal.header, refusal.edns, limit, out);
    // Nothing of the client's options is repeated, for what they say may be the mistake, but a
    // cookie that could be read: a client that knows our cookie discards replies without one
    // (RFC 7873 §5.3).
    frame.opt = refusal.edns.map(|edns| Opt {
        rcode: refusal.rcode,
        dnssec_ok: edns.dnssec_ok,
        ecs: None,
        nsid: None,
        cookie: None,
        errors: ArrayVec::new(),
        explanation: None,
    });
    let judged = frame.judge(data.identity(), meta);
    frame.set_cookie(&judged.unwrap_or(cookie::ABSENT));
    frame.bare(refusal.question.as_ref(), &Bare::new(refusal.rcode, None))
}

/// Replies to a query without a question, which only asks for a cookie (RFC 7873 §5.4).
pub(super) fn cookie_only(
    data: &impl Data,
    only: &CookieOnly<'_>,
    meta: &Meta,
    out: &mut Vec<u8>,
) -> Summary {
    let limit = limit(meta, Some(&only.edns));
    let mut frame = Frame::new(&only.header, Some(only.edns), limit, out);
    frame.prepare(data.identity());
    let rcode = match frame.judge(data.identity(), meta) {
        // "the response SHALL have the RCODE BADCOOKIE if the Server Cookie sent with the query was
        // invalid and the RCODE NOERROR if it was valid", or if there was none.
        Ok(judged) if judged.state != cookie::State::Absent => {
            frame.set_cookie(&judged);
            if judged.state == cookie::State::Invalid {
                rcode::BADCOOKIE
            } else {
                rcode::NOERROR
            }
        }
        // For a server without cookies it is a query without a question.
        _ => rcode::FORMERR,
    };
    frame.bare(None, &Bare::new(rcode, None))
}

/// Replies to a query.
pub(super) fn answer(
    data: &impl Data,
    steer: &impl Steer,
    query: &Query<'_>,
    meta: &Meta,
    out: &mut Vec<u8>,
) -> Summary {
    let limit = limit(meta, query.edns.as_ref());
    let mut frame = Frame::new(&query.header, query.edns, limit, out);
    frame.prepare(data.identity());
    // RFC 7873 §5.2.2: a malformed option is a format error.
    let Ok(judged) = frame.judge(data.identity(), meta) else {
        let refusal = Refusal {
            header: query.header,
            question: Some(query.question),
            edns: query.edns,
            rcode: rcode::FORMERR,
        };
        return refuse(data, &refusal, meta, frame.out);
    };
    frame.set_cookie(&judged);
    // RFC 7873 §5.2.3 leaves three ways to treat a client that does not know our cookie: silence,
    // BADCOOKIE, or an answer. TCP has shown by its handshake what a cookie would.
    if meta.transport == Transport::Udp && data.identity().cookies.refuses(judged.state) {
        return frame.bare(Some(&query.question), &Bare::new(rcode::BADCOOKIE, None));
    }
    if let Some(signature) = &query.tsig {
        return frame.bad_key(&query.question, signature);
    }
    let question = &query.question;
    let Some(lower) = LowerName::from_wire(question.name) else {
        return frame.bare(Some(question), &Bare::new(rcode::FORMERR, None));
    };
    if let Some(bare) = refused_type(question.qtype) {
        return frame.bare(Some(question), &bare);
    }
    match question.qclass {
        class::IN => {}
        class::CH => {
            let reply = chaos::reply(&data.identity().chaos, lower.as_wire(), question.qtype);
            return frame.chaos(question, &reply);
        }
        // There are no zones in any other class, so none that could be authoritative; ANY as a
        // class would mean "all of them" (RFC 1035 §3.2.5).
        _ => return frame.bare(Some(question), &NOT_AUTHORITATIVE),
    }
    if matches!(question.qtype, rtype::AXFR | rtype::IXFR) {
        let bare = refused_transfer(data.zones(), &lower, question.qtype);
        return frame.bare(Some(question), &bare);
    }
    let ask = Ask {
        zones: data.zones(),
        qname: question.name,
        qtype: question.qtype,
        client: Client::of(frame.ecs().as_ref(), meta.source.ip()),
        steer,
    };
    frame.looked_up(question, data.identity(), &ask, lower, meta)
}

const NOT_AUTHORITATIVE: Bare = Bare {
    rcode: rcode::REFUSED,
    error: Some(Ede::NotAuthoritative),
};

/// Transfers are something we know and do not allow to anyone: REFUSED (RFC 5936 §2.2.1), which
/// tells a secondary more than NOTIMP would.
fn refused_transfer(zones: &ZoneSet, name: &LowerName, qtype: u16) -> Bare {
    match zones.find(name, qtype) {
        Some(_) => Bare::new(rcode::REFUSED, Some(Ede::Prohibited)),
        None => NOT_AUTHORITATIVE,
    }
}

/// Types that can be asked for but not answered.
fn refused_type(qtype: u16) -> Option<Bare> {
    match qtype {
        // Records of a message, not of a zone (RFC 6891 §6.1.1, RFC 8945 §4.2, RFC 2930 §2).
        rtype::OPT | rtype::TSIG | rtype::TKEY => Some(Bare::new(rcode::FORMERR, None)),
        // RFC 9824: a question for NXNAME, which only marks denials, is answered FORMERR.
        rtype::NXNAME => Some(Bare::new(rcode::FORMERR, Some(Ede::InvalidQueryType))),
        // RFC 1035 §3.2.3 calls MAILA obsolete, and MAILB never came to be used.
        rtype::MAILA | rtype::MAILB => Some(Bare::new(rcode::NOTIMP, None)),
        _ => None,
    }
}

/// Most octets that the reply may have. RFC 6891 §6.2.3: "Values lower than 512 MUST be treated as
/// equal to 512."
fn limit(meta: &Meta, edns: Option<&Edns<'_>>) -> usize {
    match (meta.transport, edns) {
        (Transport::Tcp, _) => TCP_MAX,
        (Transport::Udp, None) => UDP_MIN,
        (Transport::Udp, Some(edns)) => usize::from(edns.udp_size.min(UDP_SIZE)).max(UDP_MIN),
    }
}

/// What all replies have in common.
struct Frame<'a, 'o> {
    header: &'a Header,
    edns: Option<Edns<'a>>,
    limit: usize,
    out: &'o mut Vec<u8>,
    opt: Option<Opt<'a>>,
    cookie: cookie::State,
}

impl<'a, 'o> Frame<'a, 'o> {
    fn new(header: &'a Header, edns: Option<Edns<'a>>, limit: usize, out: &'o mut Vec<u8>) -> Self {
        Self {
            header,
            edns,
            limit,
            out,
            opt: None,
            cookie: cookie::State::Absent,
        }
    }

    /// Judges the cookie by the address that the packet came from.
    fn judge(&self, identity: &Identity, meta: &Meta) -> Result<Judged, Malformed> {
        let option = self.edns.and_then(|edns| edns.cookie);
        identity.cookies.judge(option, meta.source.ip(), meta.now)
    }

    fn set_cookie(&mut self, judged: &Judged) {
        self.cookie = judged.state;
        if let Some(opt) = &mut self.opt {
            opt.cookie = judged.reply;
        }
    }

    fn ecs(&self) -> Option<crate::query::Ecs> {
        self.edns.and_then(|edns| edns.ecs)
    }

    /// An OPT record when the query has one (RFC 6891 §7): ECS and NSID only when asked for.
    fn prepare(&mut self, identity: &'a Identity) {
        self.opt = self.edns.map(|edns| Opt {
            rcode: 0,
            dnssec_ok: edns.dnssec_ok,
            ecs: edns.ecs.map(|ecs| (ecs, 0)),
            nsid: identity.nsid.as_deref().filter(|_| edns.nsid),
            cookie: None,
            errors: identity.stale.then_some(Ede::Stale).into_iter().collect(),
            explanation: None,
        });
    }

    fn error(&mut self, error: Option<Ede>) {
        if let (Some(opt), Some(error)) = (&mut self.opt, error) {
            let _ = opt.errors.try_push(error);
        }
    }

    /// Header, question and OPT; no data.
    fn bare(mut self, question: Option<&Question<'_>>, bare: &Bare) -> Summary {
        self.error(bare.error);
        self.open(question, bare.rcode).close(false, false)
    }

    /// The unsigned reply to a query that is signed with a key nobody here knows.
    fn bad_key(self, question: &Question<'_>, signature: &Tsig<'_>) -> Summary {
        let record = tsig::bad_key(signature);
        let mut open = self.open(Some(question), rcode::NOTAUTH);
        // Names of keys and algorithms may be long. Where the record does not fit, TC tells the
        // client to come over TCP for it (RFC 8945 §5.3).
        let fits = open.writer.len() + record.len() <= open.writer.limit();
        if fits {
            open.tsig = Some(record);
        }
        open.close(false, !fits)
    }

    fn chaos(self, question: &Question<'_>, reply: &ChaosReply) -> Summary {
        let rdata = match reply {
            ChaosReply::Refused => {
                return self.bare(Some(question), &Bare::new(rcode::REFUSED, None));
            }
            ChaosReply::NoData => None,
            ChaosReply::Txt(rdata) => Some(rdata),
        };
        let head = Head {
            owner: question.name,
            rtype: rtype::TXT,
            class: class::CH,
            ttl: 0,
        };
        let mut open = self.open(Some(question), rcode::NOERROR);
        let full = open.writer.rrset(Section::Answer, &head, rdata).is_err();
        open.close(true, full)
    }

    /// The reasons of an answer as TXT records. They may differ from one address to the next, so the
    /// scope is all that the client told of itself; nobody keeps them anyway.
    fn told(mut self, question: &Question<'_>, told: &Told) -> Summary {
        if let Some(opt) = &mut self.opt
            && let Some((ecs, scope)) = &mut opt.ecs
        {
            *scope = ecs.source;
        }
        let head = Head {
            owner: question.name,
            rtype: rtype::TXT,
            class: class::IN,
            ttl: 0,
        };
        let mut open = self.open(Some(question), rcode::NOERROR);
        let full = match &told.records {
            Some(records) => open.writer.rrset(Section::Answer, &head, records).is_err(),
            None => true,
        };
        let summary = open.close(true, full);
        Summary {
            imputed: told.imputed,
            ..summary
        }
    }

    /// What the zones have.
    fn looked_up(
        mut self,
        question: &Question<'_>,
        identity: &Identity,
        ask: &Ask<'_, impl Steer>,
        lower: LowerName,
        meta: &Meta,
    ) -> Summary {
        // By the address that the packet came from, never by what it says of its client.
        let listed = identity.explain.lists(meta.source.ip());
        if listed && let Some(told) = explain::told(ask, &lower, meta.transport, self.limit) {
            return self.told(question, &told);
        }
        match ask.plan(lower) {
            Some(plan) => {
                if listed {
                    self.explain(ask, &plan, meta.transport);
                }
                self.planned(question, &plan)
            }
            None => self.bare(Some(question), &NOT_AUTHORITATIVE),
        }
    }

    /// Adds the reasons of a steered answer, where they are asked for and there is room.
    fn explain(&mut self, ask: &Ask<'_, impl Steer>, plan: &Plan<'_>, transport: Transport) {
        let asked = self.edns.is_some_and(|edns| edns.explain);
        if let (true, Some(choice), Some(opt)) = (asked, &plan.steered, &mut self.opt)
            && self.limit >= usize::from(UDP_SIZE)
        {
            opt.explanation = explain::sentence(ask, choice, transport);
        }
    }

    fn planned(mut self, question: &Question<'_>, plan: &Plan<'_>) -> Summary {
        self.error(plan.error);
        if let Some(opt) = &mut self.opt
            && let Some((ecs, scope)) = &mut opt.ecs
        {
            // RFC 7871 §7.1.2: with SOURCE PREFIX-LENGTH 0 nothing of the client's address is to be
            // used, so the answer was not made from it.
            *scope = if ecs.source == 0 { 0 } else { plan.scope };
        }
        let mut open = self.open(Some(question), plan.rcode);
        let truncated = sections::write(&mut open.writer, plan);
        let summary = open.close(plan.authoritative, truncated);
        Summary {
            steered: plan.steered.as_ref().map(|choice| Steered {
                service: choice.service,
                pop: choice.decision.pop,
                reason: choice.decision.reason,
                level: choice.decision.level,
                client: choice.client,
            }),
            kind: kind(plan),
            imputed: plan.imputed,
            ..summary
        }
    }

    /// Writes the question and keeps room for the OPT record.
    fn open(self, question: Option<&Question<'_>>, rcode: u16) -> Open<'a, 'o> {
        let ecs = self.ecs().is_some();
        let question_len = question.map_or(0, |question| question.octets.len());
        let room = self.limit.saturating_sub(HEADER_LEN + question_len);
        let opt = self.opt.map(|opt| Opt { rcode, ..opt }.encode(room));
        let kept = opt.as_ref().map_or(0, Vec::len);
        let mut writer = Writer::new(self.out, self.limit.saturating_sub(kept));
        if let Some(question) = question {
            writer.question(question.name, question.qtype, question.qclass);
        }
        Open {
            writer,
            header: self.header,
            opt,
            tsig: None,
            summary: Summary {
                rcode,
                qtype: question.map_or(0, |question| question.qtype),
                ecs,
                steered: None,
                truncated: false,
                kind: if rcode == rcode::NOERROR {
                    Kind::Answer
                } else {
                    Kind::Error
                },
                imputed: 0,
                cookie: self.cookie,
            },
        }
    }
}

/// What kind of reply a plan makes.
fn kind(plan: &Plan<'_>) -> Kind {
    match (plan.rcode, &plan.authority) {
        (rcode::NXDOMAIN, _) => Kind::NxDomain,
        (rcode::NOERROR, _) if !plan.answer.is_empty() => Kind::Answer,
        (rcode::NOERROR, Authority::Referral { .. }) => Kind::Referral,
        (rcode::NOERROR, _) => Kind::NoData,
        _ => Kind::Error,
    }
}

/// A reply that sections can be written into.
struct Open<'a, 'o> {
    writer: Writer<'o>,
    header: &'a Header,
    opt: Option<Vec<u8>>,
    tsig: Option<Vec<u8>>,
    summary: Summary,
}

impl Open<'_, '_> {
    /// Appends OPT and TSIG (which stands last, RFC 8945 §5.1) and fills in the header.
    fn close(mut self, authoritative: bool, truncated: bool) -> Summary {
        for record in [self.opt, self.tsig].into_iter().flatten() {
            self.writer.reserved(&record);
        }
        let flags = Flags {
            authoritative,
            truncated,
            rcode: self.summary.rcode,
        };
        self.writer.finish(self.header, flags);
        Summary {
            truncated,
            ..self.summary
        }
    }
}
