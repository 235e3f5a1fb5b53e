//! What is usable right now: verdicts and overrides laid out for steering. Made anew at every
//! verdict flip, immutable, published whole.
//!
//! An override beats the verdict; an unknown verdict is usable; a pool without a check is always
//! usable.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    num::NonZeroU16,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use meridian_config::{Family, Policy, PopId};
use meridian_health_prober::{GroupKey, HealthSnapshot, Override, PopHealth};

use super::{
    Standing, Steering,
    choice::Choices,
    layout::{Layout, Roll, State},
    standing::Exceptions,
    steering::{Service, Tested},
    types::Level,
};
use crate::types::ServiceId;

/// Health as steering sees it. Belongs to the [`Steering`] that it was made for.
#[derive(Debug)]
pub struct View {
    layout: Layout,
    /// PoPs taken as down, whatever their verdict.
    down: Box<[PopId]>,
    /// Two for each plan, A and AAAA: made when first asked for.
    choices: Box<[OnceLock<Option<Choices>>]>,
    health: Arc<HealthSnapshot>,
    standing: Arc<Standing>,
    /// Seconds since `health` was made: what verdicts could flip in is so much less.
    age_s: AtomicU32,
    /// Whether any prefix is judged apart from its cell.
    exceptional: bool,
}

impl View {
    /// Lays `health` out for `steering`. Linear in the number of tested PoPs and endpoints.
    /// `standing` must have been made for the same steering.
    pub fn new(steering: &Steering, standing: Arc<Standing>, health: Arc<HealthSnapshot>) -> Self {
        Self::with_down(steering, standing, health, &[])
    }

    /// The same with some PoPs taken as down: for the operator's steering tests.
    pub fn with_down(
        steering: &Steering,
        standing: Arc<Standing>,
        health: Arc<HealthSnapshot>,
        down: &[PopId],
    ) -> Self {
        let layout = Layout::new(steering, &health, down);
        Self {
            layout,
            down: down.into(),
            choices: (0..steering.tables()).map(|_| OnceLock::new()).collect(),
            health,
            exceptional: standing.exceptional().0 > 0,
            standing,
            age_s: AtomicU32::new(0),
        }
    }

    /// Tells how long ago its health was made, so that TTLs which wait for a verdict shrink with the
    /// time that passes. Everything else stays as it is.
    pub fn grow_older(&self, age: Duration) {
        let seconds = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        self.age_s.store(seconds, Ordering::Relaxed);
    }

    /// Whether any verdict could flip soon: only then its age says anything.
    pub fn is_in_doubt(&self) -> bool {
        self.layout.is_in_doubt()
    }

    /// What is left of a time that was told when its health was made, in seconds.
    pub(super) fn left(&self, soon: NonZeroU16) -> u32 {
        u32::from(soon.get()).saturating_sub(self.age_s.load(Ordering::Relaxed))
    }

    /// Seconds since its health was made.
    pub(super) fn age_s(&self) -> u32 {
        self.age_s.load(Ordering::Relaxed)
    }

    /// What a service rests on: the value of its `steering_level`. Last resort as soon as one of
    /// the families that its PoPs have has nothing usable left.
    pub fn level(&self, steering: &Steering, service: ServiceId) -> Level {
        let Some(service) = steering.service(service) else {
            return Level::LastResort;
        };
        let pool = steering.pools.get(service.pool.index());
        let families = pool.map_or(&[][..], |p| &p.families);
        let preferred = self.standing.preferred(service.pool.index());
        let gone = |family: &Family| !self.any(service.roster, *family);
        let table = self.standing.table(service.stand);
        let measured = || table.is_some_and(|table| table.is_any_measured());
        match service.policy {
            _ if families.is_empty() || families.iter().any(gone) => Level::LastResort,
            _ if !preferred.is_empty() => Level::Measured,
            _ if pool.is_some_and(|pool| !pool.anycast.is_empty()) => Level::ConfiguredOrder,
            Policy::Failover => Level::ConfiguredOrder,
            Policy::Score if measured() => Level::Measured,
            Policy::Score => Level::Geo,
        }
    }

    /// Who serves whom at the moment.
    pub fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// Prefixes that the standing judges apart from their cell, if there are any.
    pub(super) fn exceptions(&self) -> Option<&Exceptions> {
        self.exceptional.then(|| self.standing.exceptions())
    }

    /// Whether both, made for the same steering, answer every query alike, but for a second of a TTL that
    /// waits for a verdict; what they tell of health may differ all the same. `passed`: from the making of
    /// this one's health to that of the other's.
    pub fn answers_like(&self, other: &Self, passed: Duration) -> bool {
        let same_standing = Arc::ptr_eq(&self.standing, &other.standing);
        let passed = u32::try_from(passed.as_secs()).unwrap_or(u32::MAX);
        same_standing && self.down == other.down && self.layout.answers_like(&other.layout, passed)
    }

    /// The health that this view was made from.
    pub fn health(&self) -> &HealthSnapshot {
        &self.health
    }

    /// Where choices for a service and family are kept, as far as the budget allows.
    pub(super) fn choices<'a>(
        &'a self,
        steering: &'a Steering,
        service: &Service,
        family: Family,
    ) -> &'a Choices {
        let at = service.plan * 2 + usize::from(family == Family::V6);
        let made = self.choices.get(at).and_then(|slot| {
            if slot.get().is_none() {
                // Not made in place: whoever comes at the same time would wait for that, and for as
                // long as the maker is off its processor. What is made twice is dropped.
                let _ = slot.set(self.new_choices(steering));
            }
            slot.get()
        });
        made.and_then(Option::as_ref).unwrap_or(&steering.unkept)
    }

    fn new_choices(&self, steering: &Steering) -> Option<Choices> {
        steering.new_choices(self.standing.further_places())
    }

    /// State of a tested PoP. One that this view does not know counts as usable.
    pub(super) fn state(&self, tested: u32) -> State {
        self.layout.state(tested)
    }

    /// Whether any PoP of a roster can be handed out for this family.
    pub(super) fn any(&self, roster: usize, family: Family) -> bool {
        self.roll(roster).any(family)
    }

    /// The health of a roster by place in the pool's list.
    pub(super) fn roll(&self, roster: usize) -> &Roll {
        self.layout.roll(roster)
    }

    /// Whether the verdict of an endpoint is usable.
    pub(super) fn endpoint(&self, tested: &Tested, endpoint: usize) -> bool {
        self.layout.endpoint(tested, endpoint)
    }

    /// How soon an endpoint that is usable could leave answers, in whole seconds.
    pub(super) fn fall(&self, tested: &Tested, endpoint: usize) -> Option<NonZeroU16> {
        self.layout.fall(tested, endpoint)
    }

    /// Whether the PoP is only taken as down.
    pub(super) fn is_taken_down(&self, pop: PopId) -> bool {
        self.down.contains(&pop)
    }

    /// What the prober says about a tested PoP.
    pub(super) fn group(&self, steering: &Steering, tested: &Tested) -> Option<&PopHealth> {
        let pop = steering.pop_name(tested.pop)?.to_owned();
        let check = tested.check.as_deref()?.to_owned();
        self.health.groups.get(&GroupKey { pop, check })
    }

    /// What the operator says about a PoP.
    pub(super) fn override_of(&self, steering: &Steering, pop: PopId) -> Option<&Override> {
        self.health.overrides.get(steering.pop_name(pop)?)
    }
}
