//! From a question to its answer: the choice kept for the place, its addresses, TTL and scope.
//! Pure and total; without locks, and without allocation unless the kept part of an order runs
//! out.
//!
//! ```text
//! block → place → choice, kept or made by the ladder → addresses, TTL → scope
//! ```
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{net::IpAddr, num::NonZeroU16};

use arrayvec::ArrayVec;
use meridian_config::Family;

use super::{
    Steering, View,
    block::Block,
    case::{Need, Setting},
    choice::{Choice, Choices, Kind},
    ladder::{ANYCAST, Picked},
    types::{Decision, Level, MAX_ANSWERS, Reason},
};
use crate::{
    client::{Client, Origin},
    types::ServiceId,
};

/// Chooses the addresses of `family` that `client` gets from `service`.
///
/// Never empty while the service's pool has an address of that family.
pub fn decide(
    steering: &Steering,
    view: &View,
    service: ServiceId,
    client: &Client,
    family: Family,
) -> Decision {
    // Filled in where it stands: moving that many addresses costs as much as finding them.
    let mut decision = Decision {
        addresses: ArrayVec::new(),
        pop: None,
        reason: Reason::NoAddressOfFamily,
        level: Level::LastResort,
        ttl: 0,
        scope: 0,
    };
    if let Some(setting) = Setting::new(steering, view, service, family) {
        let block = setting.block(client);
        setting.decide(&block, client.origin, &mut decision);
    }
    decision
}

impl Setting<'_> {
    /// The block that is judged for a client.
    pub(super) fn block(&self, client: &Client) -> Block {
        Block::of(
            &self.steering.clients,
            self.exceptions(),
            client.address,
            self.service.scope_max,
        )
    }

    /// Decides for everyone in `block`; `decision` must be without addresses.
    pub(super) fn decide(&self, block: &Block, origin: Origin, decision: &mut Decision) {
        let choices = self.choices();
        // Bids have no say in what is kept of a climb, so any block will do.
        let choice = choices.get(block.place, || self.at(block.place, 0).choice());
        decision.reason = choice.reason();
        decision.level = choice.level();
        decision.scope = self.scope(block, (choices, choice), origin);
        let falls = if choice.kind() == Some(Kind::Fixed) {
            decision.pop = choice.members().next().and_then(|pop| self.pop_id(pop));
            self.give(choice, &mut decision.addresses)
        } else {
            self.draw(block, choice, decision)
        };
        decision.ttl = self.ttl(falls, choice);
    }

    /// What is up to bids: the addresses, whose they are, and why. How soon one of them could leave
    /// answers.
    fn draw(&self, block: &Block, choice: Choice, decision: &mut Decision) -> Option<NonZeroU16> {
        let case = self.at(block.place, block.hash());
        let mut picked = Picked::default();
        let reason = case.draw(choice, &mut picked).unwrap_or_else(|| {
            let climbed = case.climb();
            picked = climbed.picked;
            climbed.reason
        });
        decision.reason = reason;
        decision.level = case.level(reason, picked.by_share);
        decision.pop = picked.first().and_then(|first| self.pop_id(first));
        decision.addresses.extend(picked.addresses.iter().copied());
        picked.falls
    }

    fn choices(&self) -> &Choices {
        self.view.choices(self.steering, self.service, self.family)
    }

    /// Seconds for which an answer may be kept: `ttl`, or less while what it rests on may change
    /// sooner, but never less than `ttl_min`. The same for everyone in the scope: it follows from the
    /// addresses, and from what the key of the choice holds.
    fn ttl(&self, falls: Option<NonZeroU16>, choice: Choice) -> u32 {
        let rise = choice.is_awaited().then(|| self.roll().rise).flatten();
        let soon = sooner(falls, rise);
        let (least, ttl) = (self.service.ttl_min, self.service.ttl);
        soon.map_or(ttl, |soon| self.view.left(soon).max(least).min(ttl))
    }

    /// The addresses of a fixed choice; how soon one of them could leave answers.
    fn give(&self, choice: Choice, to: &mut ArrayVec<IpAddr, MAX_ANSWERS>) -> Option<NonZeroU16> {
        let mut falls = None;
        match choice.need() {
            Some(need) => choice
                .members()
                .for_each(|member| _ = self.push(member, need, to, &mut falls)),
            None if choice.members().next() == Some(ANYCAST) => self.push_anycast(to),
            None => self.push_fallback(to),
        }
        falls
    }

    /// Adds the endpoints of one PoP, and says whether there were any to add. An address that two
    /// PoPs share is given once. `falls`: how soon one of those added could leave answers.
    pub(super) fn push(
        &self,
        member: u16,
        need: Need,
        to: &mut ArrayVec<IpAddr, MAX_ANSWERS>,
        falls: &mut Option<NonZeroU16>,
    ) -> bool {
        let (Some(pop), Some(tested)) = (self.pop(member), self.tested(member)) else {
            return false;
        };
        let before = to.len();
        for (index, address) in pop.endpoints.iter().enumerate() {
            let wanted = Family::of(*address) == self.family
                && (need != Need::Usable || self.view.endpoint(tested, index));
            if wanted && to.len() < self.limit() && !to.contains(address) {
                to.push(*address);
                if need == Need::Usable {
                    let fall = self.view.fall(tested, index);
                    *falls = sooner(*falls, fall);
                }
            }
        }
        to.len() > before
    }

    pub(super) fn push_fallback(&self, to: &mut ArrayVec<IpAddr, MAX_ANSWERS>) {
        for address in &self.pool.fallback {
            let wanted = Family::of(*address) == self.family;
            if wanted && to.len() < self.limit() && !to.contains(address) {
                to.push(*address);
            }
        }
    }

    pub(super) fn push_anycast(&self, to: &mut ArrayVec<IpAddr, MAX_ANSWERS>) {
        let all = self.pool.anycast.iter();
        let of_family = all.filter(|address| Family::of(**address) == self.family);
        to.extend(of_family.take(self.limit()).copied());
    }

    /// Most addresses in one answer.
    pub(super) fn limit(&self) -> usize {
        self.service.answers.clamp(1, MAX_ANSWERS)
    }

    /// The scope of the answer; see the module's text in `steer`.
    fn scope(&self, block: &Block, (choices, choice): (&Choices, Choice), origin: Origin) -> u8 {
        // RFC 7871 §7.3.1: what is cached "because of a query's SOURCE PREFIX-LENGTH of 0" is "only
        // … used for other /0 queries", so this scope tells nobody that the answer is for everyone.
        if origin == Origin::OptOut || self.is_for_all(choice.reason()) {
            return 0;
        }
        match choice.kind() {
            Some(Kind::Drawn) | None => block.scope_of_block(),
            Some(_) => block.scope_of(&self.steering.clients, self.widest(block, choices, choice)),
        }
    }

    /// The widest prefix over which the answer is the same.
    fn widest(&self, block: &Block, choices: &Choices, choice: Choice) -> Option<u8> {
        let make = |place| self.at(place, 0).choice();
        (block.is_joinable() && choice.key().is_some())
            .then(|| choices.widest(&self.steering.clients, block, make))
            .flatten()
    }

    /// Whether everyone gets this answer.
    fn is_for_all(&self, reason: Reason) -> bool {
        let nobody_has_any = || !self.view.any(self.service.roster, self.family);
        self.service.is_uniform(self.family)
            || (reason == Reason::LastResortFallback && nobody_has_any())
    }
}

/// The shorter of two times, where there are any.
fn sooner(one: Option<NonZeroU16>, other: Option<NonZeroU16>) -> Option<NonZeroU16> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
