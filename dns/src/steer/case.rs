//! One question to steering with everything looked up that it needs.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use meridian_config::{Family, PopId};

use super::{
    Steering, View,
    block::Block,
    hash::bid,
    steering::{Pool, Pop, Roster, Service, Tested},
    view::State,
};
use crate::{client::Client, types::ServiceId};

/// One question with everything looked up that it needs.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) steering: &'a Steering,
    pub(super) view: &'a View,
    pub(super) service: &'a Service,
    pub(super) pool: &'a Pool,
    pub(super) roster: &'a Roster,
    pub(super) client: Client,
    pub(super) family: Family,
    pub(super) block: Block,
    octets: [u8; 16],
    /// Place of the pinned PoP in the pool's list.
    pub(super) pinned: Option<u16>,
}

/// Which PoPs a step lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Usable, with a usable endpoint of the family.
    Usable,
    /// Not drained; every endpoint of the family.
    NotDrained,
    /// Every endpoint of the family.
    Nothing,
}

impl<'a> Case<'a> {
    pub(super) fn new(
        steering: &'a Steering,
        view: &'a View,
        service: ServiceId,
        client: &Client,
        family: Family,
    ) -> Option<Self> {
        let service = steering.service(service)?;
        let pool = steering.pools.get(service.pool.index())?;
        let roster = steering.rosters.get(service.roster)?;
        let block = Block::of(&steering.clients, client.address, service.scope_max);
        let place = |pop: PopId| pool.members.iter().position(|member| *member == pop);
        let pinned = block.located.pinned.and_then(place);
        Some(Self {
            steering,
            view,
            service,
            pool,
            roster,
            client: *client,
            family,
            block,
            octets: block.octets(),
            pinned: pinned.and_then(|at| u16::try_from(at).ok()),
        })
    }

    /// The bid of a PoP for the client's block.
    pub(super) fn bid(&self, member: u16) -> f64 {
        let lot = self.pool.lots.get(usize::from(member));
        lot.map_or(0.0, |lot| bid(&self.octets, lot.seed, lot.weight))
    }

    /// Whether a PoP takes part at its place in the order: not the pinned one, which went before.
    pub(super) fn is_candidate(&self, member: u16) -> bool {
        self.pinned != Some(member) && self.has_family(member)
    }

    pub(super) fn has_family(&self, member: u16) -> bool {
        let lot = self.pool.lots.get(usize::from(member));
        lot.is_some_and(|lot| lot.has(self.family))
    }

    /// Whether a PoP that has the family meets the need.
    pub(super) fn admits(&self, member: u16, need: Need) -> bool {
        let state = self.state(member);
        match need {
            Need::Usable => state.answers(self.family),
            Need::NotDrained => !state.drained,
            Need::Nothing => true,
        }
    }

    pub(super) fn state(&self, member: u16) -> State {
        let tested = self.roster.tested.get(usize::from(member));
        tested
            .map(|tested| self.view.state(*tested))
            .unwrap_or_default()
    }

    pub(super) fn tested(&self, member: u16) -> Option<&'a Tested> {
        let tested = self.roster.tested.get(usize::from(member))?;
        self.steering.tested.get(*tested as usize)
    }

    pub(super) fn pop(&self, member: u16) -> Option<&'a Pop> {
        self.steering.member(self.pool, member)
    }

    pub(super) fn pop_id(&self, member: u16) -> Option<PopId> {
        self.pool.members.get(usize::from(member)).copied()
    }
}
