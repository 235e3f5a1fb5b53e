//! The lease of one prefix at one site: sans-IO.
//!
//! # How two sites cannot both take the last announcement
//! All sites of a prefix write to one document by compare-and-swap. A site that announces writes
//! its entry again and again with a new nonce. A site that wants to withdraw reads the document
//! from the leader, counts the others, and writes its entry as withdrawn; whoever wrote in between
//! makes that write fail. So every permit was granted by somebody who saw all the others.
//!
//! # What counts
//! 1. Another site announces if its entry says so and its nonce has changed since our last write
//!    that was answered: that write proves that the older nonce still stood then, so the site
//!    lived later, and that write is no longer ago than [`Timing::fresh`]. A read proves nothing of
//!    the kind: a leader that has been cut off may show what is long outdated, and the first look at
//!    an old write would pass for a sign of life.
//! 2. Another site holds a permit until its nonce has not changed for TTL + margin since we first
//!    saw it. By then it has announced again, if it runs at all: see 3.
//! 3. Our permit holds until `t0 + TTL − margin`, with `t0` taken before the write was sent. At
//!    that moment the controller announces again by itself, whether or not anything runs here.
//!    No clock is compared with another; rates may differ by 1 %.
//! 4. A write without an answer counts as not done. If it was done, others see us withdrawn
//!    although we announce, which only makes them more careful.
//! 5. A document older than one that we have seen is not believed. Only when nothing newer has
//!    come for TTL + margin has the store truly gone back; then all knowledge starts anew.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::Permit;

use super::{
    CasError, Claim, ReadError, Revision,
    document::{Document, Entry, Role},
};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name of the server, unlike every other server's that announces the prefix.
    pub site: String,
    /// A random number, drawn at every start.
    pub incarnation: u64,
}

/// What a permit requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Other sites that must be announcing; at least 1 is required always.
    pub min_sites: u32,
    /// Sites that may hold a permit at a time.
    pub max_concurrent: u32,
}

/// Intervals of the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Lifetime of a permit that nobody renews.
    pub ttl: Duration,
    /// Taken off on our side and added on the others'.
    pub margin: Duration,
    /// Between two writes of an entry.
    pub renew: Duration,
    /// Between two questions while refused.
    pub ask: Duration,
    /// Between two attempts while the store does not answer.
    pub retry: Duration,
    /// A sign of life older than this does not count.
    pub fresh: Duration,
    /// An operation of the store without an answer for so long counts as failed.
    pub patience: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(30),
            margin: Duration::from_secs(3),
            renew: Duration::from_secs(8),
            ask: Duration::from_secs(2),
            retry: Duration::from_secs(1),
            fresh: Duration::from_secs(30),
            patience: Duration::from_secs(2),
        }
    }
}

/// Something the lease is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseInput {
    /// What the controller claims from now on.
    Claim(Claim),
    /// The read has ended.
    Read(Result<(Revision, Bytes), ReadError>),
    /// The compare-and-swap has ended.
    Cas(Result<Revision, CasError>),
    /// Time has passed.
    Tick,
}

/// Something for the keeper to do. At most one store operation is under way at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAction {
    /// Read the document from the leader.
    Read,
    /// Write it.
    Cas {
        /// The revision that was read.
        expected: Revision,
        /// The document.
        value: Bytes,
    },
    /// Tell the controller.
    Answer {
        /// The answer.
        permit: Permit,
        /// A held permit ends here.
        until: Instant,
    },
}

#[derive(Clone, Debug)]
struct Seen {
    incarnation: u64,
    nonce: u64,
    /// When we first saw this nonce.
    since: Instant,
    /// A moment at which it certainly had yet to write this nonce: it lived later than that.
    alive: Option<Instant>,
}

#[derive(Clone, Debug)]
enum Flight {
    None,
    Reading,
    Writing {
        t0: Instant,
        role: Option<Role>,
        others: u32,
    },
}

/// The lease of one prefix.
#[derive(Clone, Debug)]
pub struct Lease {
    identity: Identity,
    rules: Rules,
    timing: Timing,
    claim: Claim,
    nonce: u64,
    seen: BTreeMap<String, Seen>,
    revision: Revision,
    /// When our last write that was answered was sent: what it was based on was current then.
    proved: Option<Instant>,
    /// Since when the store shows older documents only.
    behind: Option<Instant>,
    flight: Flight,
    due: Instant,
    written: Option<Instant>,
    held_until: Option<Instant>,
    conflicts: u32,
}

impl Lease {
    /// A lease that claims nothing.
    pub fn new(identity: Identity, rules: Rules, timing: Timing, now: Instant) -> Self {
        Self {
            identity,
            rules,
            timing,
            claim: Claim::default(),
            nonce: 0,
            seen: BTreeMap::new(),
            revision: Revision(0),
            proved: None,
            behind: None,
            flight: Flight::None,
            due: now,
            written: None,
            held_until: None,
            conflicts: 0,
        }
    }

    /// When a [`LeaseInput::Tick`] is due; `None` while an operation is under way.
    pub fn next_deadline(&self) -> Option<Instant> {
        matches!(self.flight, Flight::None).then_some(self.due)
    }

    /// Takes in one input.
    pub fn step(&mut self, now: Instant, input: LeaseInput) -> Vec<LeaseAction> {
        let mut out = Vec::new();
        match input {
            LeaseInput::Claim(claim) if claim != self.claim => {
                self.claim = claim;
                self.due = now;
            }
            LeaseInput::Claim(_) | LeaseInput::Tick => {}
            LeaseInput::Read(result) => {
                if matches!(self.flight, Flight::Reading) {
                    self.flight = Flight::None;
                    self.read(now, result, &mut out);
                }
            }
            LeaseInput::Cas(result) => {
                let flight = std::mem::replace(&mut self.flight, Flight::None);
                match flight {
                    Flight::Writing { t0, role, others } => {
                        self.wrote(now, t0, role, others, result, &mut out);
                    }
                    other => self.flight = other,
                }
            }
        }
        if matches!(self.flight, Flight::None) && now >= self.due {
            self.flight = Flight::Reading;
            out.push(LeaseAction::Read);
        }
        out
    }

    fn read(
        &mut self,
        now: Instant,
        result: Result<(Revision, Bytes), ReadError>,
        out: &mut Vec<LeaseAction>,
    ) {
        let Ok((revision, octets)) = result else {
            return self.failed(now, out);
        };
        let Ok(document) = Document::read(&octets) else {
            return self.failed(now, out);
        };
        if !self.believes(now, revision) {
            return self.failed(now, out);
        }
        self.look(now, revision, &document);
        let (role, permit) = self.decide(now, &document);
        if let Some(permit) = permit.filter(|p| !matches!(p, Permit::Held { .. })) {
            self.held_until = None;
            out.push(LeaseAction::Answer { permit, until: now });
        }
        let refused = permit.is_some_and(|p| !matches!(p, Permit::Held { .. }));
        if self.is_written(now, role, &document) {
            let wait = if refused {
                self.timing.ask
            } else {
                self.timing.renew
            };
            let renewal = self.written.map_or(now + wait, |at| at + self.timing.renew);
            self.due = (now + wait).min(renewal.max(now));
            return;
        }
        let others = match permit {
            Some(Permit::Held { others }) => others,
            _ => 0,
        };
        self.flight = Flight::Writing {
            t0: now,
            role,
            others,
        };
        out.push(LeaseAction::Cas {
            expected: revision,
            value: self.document(now, document, role).write(),
        });
    }

    /// Rule 5.
    fn believes(&mut self, now: Instant, revision: Revision) -> bool {
        if revision >= self.revision {
            self.behind = None;
            return true;
        }
        let behind = *self.behind.get_or_insert(now);
        if now.saturating_duration_since(behind) < self.timing.ttl + self.timing.margin {
            return false;
        }
        self.seen.clear();
        self.proved = None;
        self.behind = None;
        true
    }

    /// Notes who has written since our last write.
    fn look(&mut self, now: Instant, revision: Revision, document: &Document) {
        self.revision = revision;
        let mut seen = BTreeMap::new();
        for entry in &document.sites {
            let before = self.seen.remove(&entry.site);
            let same =
                before.filter(|b| (b.incarnation, b.nonce) == (entry.incarnation, entry.nonce));
            let new = Seen {
                incarnation: entry.incarnation,
                nonce: entry.nonce,
                since: now,
                alive: self.proved,
            };
            seen.insert(entry.site.clone(), same.unwrap_or(new));
        }
        self.seen = seen;
    }

    /// What to write, and what to say to a claim for a permit.
    fn decide(&self, now: Instant, document: &Document) -> (Option<Role>, Option<Permit>) {
        let announcing = self.claim.announced.then_some(Role::Announcing);
        if !self.claim.withdraw {
            return (announcing, None);
        }
        let foreign = || {
            document
                .sites
                .iter()
                .filter(|e| e.site != self.identity.site)
        };
        let fresh = |e: &&Entry| e.role == Role::Announcing && self.is_fresh(now, e);
        let live = |e: &&Entry| e.role == Role::Withdrawn && !self.has_expired(now, e);
        let others = count(foreign().filter(fresh));
        let withdrawn = count(foreign().filter(live));
        let Rules {
            min_sites,
            max_concurrent,
        } = self.rules;
        if others < min_sites.max(1) {
            return (announcing, Some(Permit::Denied { others }));
        }
        if withdrawn >= max_concurrent {
            let permit = Permit::TooManyAtOnce {
                withdrawn,
                max_concurrent,
            };
            return (announcing, Some(permit));
        }
        (Some(Role::Withdrawn), Some(Permit::Held { others }))
    }

    /// Rule 1.
    fn is_fresh(&self, now: Instant, entry: &Entry) -> bool {
        let alive = self.seen.get(&entry.site).and_then(|seen| seen.alive);
        alive.is_some_and(|at| now.saturating_duration_since(at) <= self.timing.fresh)
    }

    /// Rule 2.
    fn has_expired(&self, now: Instant, entry: &Entry) -> bool {
        let limit = self.timing.ttl + self.timing.margin;
        let seen = self.seen.get(&entry.site);
        seen.is_some_and(|seen| now.saturating_duration_since(seen.since) >= limit)
    }

    /// Whether the document says already what it should, and not too long ago.
    fn is_written(&self, now: Instant, role: Option<Role>, document: &Document) -> bool {
        let own = document.entry(&self.identity.site);
        let Some(role) = role else {
            return own.is_none();
        };
        let current = own.is_some_and(|own| {
            own.incarnation == self.identity.incarnation
                && own.nonce == self.nonce
                && own.role == role
        });
        let recent = self.written.is_some_and(|at| now < at + self.timing.renew);
        // A permit counts only from a write of our own, answered.
        let granted = role == Role::Announcing || self.held_until.is_some();
        current && recent && granted
    }

    /// The document with our entry, without those that are long dead.
    fn document(&mut self, now: Instant, mut document: Document, role: Option<Role>) -> Document {
        let dead = (self.timing.ttl + self.timing.margin) * 10;
        document.sites.retain(|entry| {
            let seen = self.seen.get(&entry.site);
            let age = seen.map_or(Duration::ZERO, |s| now.saturating_duration_since(s.since));
            entry.site != self.identity.site && age < dead
        });
        self.nonce += 1;
        document.sites.extend(role.map(|role| Entry {
            site: self.identity.site.clone(),
            incarnation: self.identity.incarnation,
            nonce: self.nonce,
            role,
        }));
        document
    }

    fn wrote(
        &mut self,
        now: Instant,
        t0: Instant,
        role: Option<Role>,
        others: u32,
        result: Result<Revision, CasError>,
        out: &mut Vec<LeaseAction>,
    ) {
        match result {
            Ok(revision) => {
                self.revision = self.revision.max(revision);
                self.conflicts = 0;
                self.written = Some(t0);
                self.proved = Some(t0);
                self.due = t0 + self.timing.renew;
                self.held_until = None;
                let until = t0 + self.timing.ttl.saturating_sub(self.timing.margin);
                if role == Some(Role::Withdrawn) && now < until {
                    self.held_until = Some(until);
                    let permit = Permit::Held { others };
                    out.push(LeaseAction::Answer { permit, until });
                }
                // The claim may have changed while the write was under way.
                let claimed = match role {
                    Some(Role::Withdrawn) => self.claim.withdraw,
                    Some(Role::Announcing) => self.claim.announced && !self.claim.withdraw,
                    None => self.claim == Claim::default(),
                };
                if !claimed {
                    self.due = self.due.min(now + self.timing.ask);
                }
            }
            // Rule 4.
            Err(CasError::Ambiguous(_)) => self.failed(now, out),
            Err(CasError::Conflict) => {
                self.conflicts = (self.conflicts + 1).min(7);
                self.due = now + self.back_off();
            }
        }
    }

    /// The store did not answer. A permit that still holds is not touched.
    fn failed(&mut self, now: Instant, out: &mut Vec<LeaseAction>) {
        self.due = now + self.timing.retry;
        if self.held_until.is_some_and(|until| now < until) {
            return;
        }
        self.held_until = None;
        if self.claim.withdraw {
            let permit = Permit::Unavailable;
            out.push(LeaseAction::Answer { permit, until: now });
        }
    }

    /// Sites that collide spread out: 0 to 2 ms after the first conflict, up to 256 ms later.
    fn back_off(&self) -> Duration {
        let mixed = (self.identity.incarnation ^ self.nonce.rotate_left(32))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            >> 32;
        let span = 1_000_u64 << (self.conflicts + 1);
        Duration::from_micros(mixed % span)
    }
}

fn count<'a>(entries: impl Iterator<Item = &'a Entry>) -> u32 {
    u32::try_from(entries.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the store holds when `b` wrote last with this nonce, beside our own entry.
    fn told(revision: u64, nonce: u64, ours: u64) -> LeaseInput {
        let entry = |site: &str, nonce| Entry {
            site: site.to_owned(),
            incarnation: 1,
            nonce,
            role: Role::Announcing,
        };
        let mut document = Document::new();
        document.sites = vec![entry("a", ours), entry("b", nonce)];
        LeaseInput::Read(Ok((Revision(revision), document.write())))
    }

    fn answers(actions: &[LeaseAction]) -> Vec<Permit> {
        let answer = |action: &LeaseAction| match action {
            LeaseAction::Answer { permit, .. } => Some(*permit),
            _ => None,
        };
        actions.iter().filter_map(answer).collect()
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // any instant serves as the start of simulated time
    fn rule_1_a_stale_read_and_then_a_newer_one_are_no_sign_of_life() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let identity = Identity {
            site: "a".into(),
            incarnation: 1,
        };
        let rules = Rules {
            min_sites: 1,
            max_concurrent: 1,
        };
        let mut lease = Lease::new(identity, rules, Timing::default(), start);
        let mut claim = Claim {
            announced: true,
            withdraw: false,
        };
        lease.step(at(0), LeaseInput::Claim(claim));
        lease.step(at(0), told(1, 1, 0));
        lease.step(at(0), LeaseInput::Cas(Ok(Revision(2))));
        // `b` lives and is seen to: a permit would be given.
        lease.step(at(8), LeaseInput::Tick);
        lease.step(at(8), told(3, 2, 1));
        lease.step(at(8), LeaseInput::Cas(Ok(Revision(4))));
        // Then it dies, and the store cannot be reached for a minute. What it wrote last is first shown
        // by a replica that is behind, then by the leader.
        claim.withdraw = true;
        lease.step(at(68), LeaseInput::Claim(claim));
        let behind = lease.step(at(68), told(5, 3, 2));
        assert_eq!(answers(&behind), [Permit::Denied { others: 0 }]);
        lease.step(at(68), LeaseInput::Cas(Err(CasError::Conflict)));
        lease.step(at(70), LeaseInput::Tick);
        let leader = lease.step(at(70), told(6, 4, 2));
        assert_eq!(answers(&leader), [Permit::Denied { others: 0 }]);
    }
}
