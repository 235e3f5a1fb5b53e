//! Verdicts and overrides laid out by what steering tells apart: PoPs under a check, endpoints, and
//! the list of a pool.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{iter, net::IpAddr, num::NonZeroU16, sync::LazyLock, time::Duration};

use meridian_config::{Family, PopId};
use meridian_health_prober::{
    EndpointHealth, GroupKey, HealthSnapshot, OverrideKind, PopHealth, Verdict, flips_in,
};

use super::{
    Steering,
    steering::{Roster, Tested},
};

/// Verdicts and overrides by what steering tells apart.
#[derive(Debug)]
pub(super) struct Layout {
    /// One for each tested PoP.
    states: Box<[State]>,
    /// One bit for each endpoint of each tested PoP: its verdict is usable.
    endpoints: Bits,
    /// Whole seconds for each of these bits: how soon the endpoint, or its whole PoP, could leave
    /// answers; 0: not soon. Empty while nothing contradicts any verdict.
    falls: Box<[u16]>,
    /// One for each roster.
    rolls: Box<[Roll]>,
}

impl Layout {
    pub(super) fn new(steering: &Steering, health: &HealthSnapshot, down: &[PopId]) -> Self {
        let mut states = vec![State::default(); steering.tested.len()];
        let mut endpoints = Bits::ones(steering.endpoint_bits());
        let mut falls = Falls::default();
        let drained = drained_pops(steering, health);
        // Both lists are sorted by PoP, then check: one walk along both instead of a search with
        // two allocated strings for each.
        let mut groups = health.groups.iter().peekable();
        for index in &steering.tested_by_name {
            let Some(tested) = steering.tested.get(*index as usize) else {
                continue;
            };
            let wanted = name_of(steering, tested);
            while groups.next_if(|(key, _)| name(key) < wanted).is_some() {}
            let found = groups.peek().filter(|(key, _)| name(key) == wanted);
            let is_drained = drained.get(tested.pop.index()).copied().unwrap_or(false);
            let state = judge(
                steering,
                tested,
                found.map(|(_, health)| *health),
                is_drained,
                down.contains(&tested.pop),
                &mut endpoints,
            );
            // What an operator holds down does not come back by itself.
            let health = found
                .map(|(_, health)| *health)
                .filter(|_| !is_drained && !down.contains(&tested.pop));
            let rise = health.and_then(|health| soon(steering, tested, health, state, &mut falls));
            let state = State { rise, ..state };
            if let Some(slot) = states.get_mut(*index as usize) {
                *slot = state;
            }
        }
        let rolls = steering.rosters.iter();
        let rolls = rolls.map(|roster| Roll::of(roster, &states)).collect();
        Self {
            states: states.into(),
            endpoints,
            falls: falls.0.into(),
            rolls,
        }
    }

    /// Whether any verdict could flip soon.
    pub(super) fn is_in_doubt(&self) -> bool {
        let rises = |state: &State| state.rise.is_some();
        !self.falls.is_empty() || self.states.iter().any(rises)
    }

    /// Whether both give the same answers, but for a second of a TTL; `passed` seconds lie between them.
    pub(super) fn answers_like(&self, other: &Self, passed: u32) -> bool {
        let endpoints = self.falls.len().max(other.falls.len());
        let mut both = self.times(endpoints).zip(other.times(endpoints));
        let same = |(mine, theirs): (u16, u16)| match (mine, theirs) {
            (0, 0) => true,
            (0, _) | (_, 0) => false,
            (mine, theirs) => {
                u32::from(theirs).abs_diff(u32::from(mine).saturating_sub(passed)) <= 1
            }
        };
        self.gives_like(other) && both.all(same)
    }

    /// Whether the same PoPs and endpoints can be handed out.
    fn gives_like(&self, other: &Self) -> bool {
        let same =
            |(a, b): (&State, &State)| State { rise: None, ..*a } == State { rise: None, ..*b };
        let states = self.states.len() == other.states.len()
            && self.states.iter().zip(&other.states).all(same);
        states && self.endpoints == other.endpoints
    }

    /// How soon anything could change, in a fixed order; 0: not soon.
    fn times(&self, endpoints: usize) -> impl Iterator<Item = u16> {
        let falls = self.falls.iter().copied().chain(iter::repeat(0));
        let rises = self.states.iter();
        let rises = rises.map(|state| state.rise.map_or(0, NonZeroU16::get));
        falls.take(endpoints).chain(rises)
    }

    /// State of a tested PoP. One that is not known counts as usable.
    #[inline]
    pub(super) fn state(&self, tested: u32) -> State {
        let unknown = State {
            usable: true,
            drained: false,
            v4: true,
            v6: true,
            rise: None,
        };
        let state = self.states.get(tested as usize);
        state.copied().unwrap_or(unknown)
    }

    /// The health of a roster by place in the pool's list.
    #[inline]
    pub(super) fn roll(&self, roster: usize) -> &Roll {
        self.rolls.get(roster).unwrap_or_else(|| &UNKNOWN)
    }

    /// Whether the verdict of an endpoint is usable.
    #[inline]
    pub(super) fn endpoint(&self, tested: &Tested, endpoint: usize) -> bool {
        self.endpoints.get(tested.first_bit + endpoint)
    }

    /// How soon an endpoint that is usable could leave answers, in whole seconds.
    #[inline]
    pub(super) fn fall(&self, tested: &Tested, endpoint: usize) -> Option<NonZeroU16> {
        let seconds = self.falls.get(tested.first_bit + endpoint)?;
        NonZeroU16::new(*seconds)
    }

    /// By place in the pool's list: whether a PoP can be handed out, in any family.
    pub(super) fn usable(&self, roster: usize) -> Vec<bool> {
        let roll = self.roll(roster);
        (0..roll.len)
            .map(|at| roll.v4.get(at) || roll.v6.get(at))
            .collect()
    }
}

/// The health of a roster by place in the pool's list, close together in memory. Follows from the
/// states.
#[derive(Debug)]
pub(super) struct Roll {
    /// PoPs in it.
    len: usize,
    /// Usable, with a usable IPv4 endpoint.
    v4: Bits,
    /// Usable, with a usable IPv6 endpoint.
    v6: Bits,
    /// By an operator.
    pub(super) drained: Bits,
    /// Whether any PoP can be handed out for a family: A, AAAA.
    any: [bool; 2],
    /// How soon the first PoP that is down could come back, in whole seconds.
    pub(super) rise: Option<NonZeroU16>,
}

/// Stands in for the roll of a roster that a view does not know: everyone is usable.
static UNKNOWN: LazyLock<Roll> = LazyLock::new(Roll::unknown);

impl Roll {
    fn of(roster: &Roster, states: &[State]) -> Self {
        let all = roster.tested.len();
        let mut roll = Self {
            len: all,
            v4: Bits::zeroes(all),
            v6: Bits::zeroes(all),
            drained: Bits::zeroes(all),
            any: [false; 2],
            rise: None,
        };
        for (at, tested) in roster.tested.iter().enumerate() {
            let state = states.get(*tested as usize).copied().unwrap_or_default();
            roll.v4.put(at, state.v4);
            roll.v6.put(at, state.v6);
            roll.drained.put(at, state.drained);
            roll.any = [roll.any[0] | state.v4, roll.any[1] | state.v6];
            roll.rise = roll.rise.into_iter().chain(state.rise).min();
        }
        roll
    }

    fn unknown() -> Self {
        Self {
            len: 0,
            v4: Bits::all(),
            v6: Bits::all(),
            drained: Bits::zeroes(usize::from(u16::MAX)),
            any: [true; 2],
            rise: None,
        }
    }

    /// Whether any PoP can be handed out for a family.
    #[inline]
    pub(super) fn any(&self, family: Family) -> bool {
        let [v4, v6] = self.any;
        if family == Family::V4 { v4 } else { v6 }
    }

    /// Who can be handed out for a family.
    #[inline]
    pub(super) fn answers(&self, family: Family) -> &Bits {
        if family == Family::V4 {
            &self.v4
        } else {
            &self.v6
        }
    }
}

/// What a PoP can do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Not drained, and its verdict is usable.
    pub(super) usable: bool,
    /// By an operator.
    pub(super) drained: bool,
    /// Usable, with a usable IPv4 endpoint.
    v4: bool,
    /// Usable, with a usable IPv6 endpoint.
    v6: bool,
    /// How soon it could be usable again, as a whole or for a family, in whole seconds.
    pub(super) rise: Option<NonZeroU16>,
}

/// Key of a group, borrowed, in the order of the map.
fn name(key: &GroupKey) -> (&str, Option<&str>) {
    (&key.pop, Some(&key.check))
}

/// The same of a tested PoP; without a check it sorts first and equals no group.
fn name_of<'a>(steering: &'a Steering, tested: &'a Tested) -> (&'a str, Option<&'a str>) {
    (
        steering.pop_name(tested.pop).unwrap_or(""),
        tested.check.as_deref(),
    )
}

/// By PoP index: whether an operator has drained it.
fn drained_pops(steering: &Steering, health: &HealthSnapshot) -> Vec<bool> {
    let is_drained = |name: &str| match health.overrides.get(name).map(|word| word.kind) {
        Some(OverrideKind::Drain) => true,
        None => false,
    };
    steering
        .pops
        .iter()
        .map(|pop| is_drained(&pop.name))
        .collect()
}

/// State of one tested PoP; notes its endpoints on the way.
fn judge(
    steering: &Steering,
    tested: &Tested,
    health: Option<&PopHealth>,
    drained: bool,
    down: bool,
    bits: &mut Bits,
) -> State {
    let addresses = steering
        .pops
        .get(tested.pop.index())
        .map_or(&[][..], |pop| &pop.endpoints);
    let (mut up, mut v4, mut v6) = (0_usize, false, false);
    for (index, address) in addresses.iter().enumerate() {
        let verdict = health.and_then(|health| endpoint(health, index, *address));
        if verdict.is_some_and(|one| !one.verdict.is_usable()) {
            bits.clear(tested.first_bit + index);
            continue;
        }
        up += 1;
        match Family::of(*address) {
            Family::V4 => v4 = true,
            Family::V6 => v6 = true,
        }
    }
    let verdict = health.map_or(Verdict::Unknown, |_| verdict(up, addresses.len(), tested));
    let usable = !drained && !down && verdict.is_usable();
    State {
        usable,
        drained,
        v4: usable && v4,
        v6: usable && v6,
        rise: None,
    }
}

/// How soon each endpoint could leave answers, by its bit.
#[derive(Default)]
struct Falls(Vec<u16>);

impl Falls {
    fn put(&mut self, at: usize, seconds: NonZeroU16) {
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        if let Some(slot) = self.0.get_mut(at) {
            *slot = seconds.get();
        }
    }
}

/// How soon a PoP could change what answers hold: notes when its endpoints could leave them, and
/// returns when it could come back, as a whole or for a family.
fn soon(
    steering: &Steering,
    tested: &Tested,
    health: &PopHealth,
    state: State,
    falls: &mut Falls,
) -> Option<NonZeroU16> {
    // Nearly always so.
    if health.endpoints.iter().all(|one| one.flips_in.is_none()) {
        return None;
    }
    let endpoints = health.endpoints.iter();
    let each = endpoints.map(|one| (one.verdict, one.flips_in));
    let whole = flips_in(each, tested.min_health);
    if !state.usable {
        return whole.map(whole_seconds);
    }
    let pop = steering.pops.get(tested.pop.index());
    for (index, address) in pop.iter().flat_map(|pop| pop.endpoints.iter().enumerate()) {
        let own = endpoint(health, index, *address).filter(|one| one.verdict.is_usable());
        let own = own.and_then(|one| one.flips_in);
        if let Some(first) = own.into_iter().chain(whole).min() {
            falls.put(tested.first_bit + index, whole_seconds(first));
        }
    }
    family_back(steering, tested, health, state).map(whole_seconds)
}

/// How soon a PoP that is usable could have an endpoint again of a family of which it has none now.
fn family_back(
    steering: &Steering,
    tested: &Tested,
    health: &PopHealth,
    state: State,
) -> Option<Duration> {
    let pop = steering.pops.get(tested.pop.index())?;
    let missing = pop.endpoints.iter().enumerate().filter(|(_, address)| {
        let has = match Family::of(**address) {
            Family::V4 => state.v4,
            Family::V6 => state.v6,
        };
        !has
    });
    missing
        .filter_map(|(index, address)| endpoint(health, index, *address)?.flips_in)
        .min()
}

/// Rounded up, at least 1.
fn whole_seconds(time: Duration) -> NonZeroU16 {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let seconds = u16::try_from(seconds).unwrap_or(u16::MAX);
    NonZeroU16::new(seconds).unwrap_or(NonZeroU16::MIN)
}

/// The verdict of a PoP under a service's own `min_health`; the prober publishes the one under
/// `[steering] min_health`, by the same rule.
// Numbers of endpoints are far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn verdict(usable: usize, all: usize, tested: &Tested) -> Verdict {
    let enough = usable > 0 && usable as f64 / all as f64 >= tested.min_health.0;
    if enough { Verdict::Up } else { Verdict::Down }
}

/// Health of an endpoint, by its place or, after a reload that moved it, by its address.
fn endpoint(health: &PopHealth, index: usize, address: IpAddr) -> Option<&EndpointHealth> {
    let here = health
        .endpoints
        .get(index)
        .filter(|one| one.address == address);
    here.or_else(|| health.endpoints.iter().find(|one| one.address == address))
}

/// A row of bits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bits(Box<[u64]>);

impl Bits {
    fn zeroes(bits: usize) -> Self {
        Self(vec![0; bits.div_ceil(64)].into())
    }

    /// All bits set, however many there are.
    fn all() -> Self {
        Self(Box::default())
    }

    fn put(&mut self, at: usize, bit: bool) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= u64::from(bit) << (at % 64);
        }
    }

    fn ones(bits: usize) -> Self {
        Self(vec![u64::MAX; bits.div_ceil(64)].into())
    }

    fn clear(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word &= !(1 << (at % 64));
        }
    }

    /// Those whose bit is set.
    pub(super) fn set(&self) -> Members<'_> {
        let bits = &self.0;
        Members { bits, but: false }
    }

    /// All but those whose bit is set.
    pub(super) fn unset(&self) -> Members<'_> {
        let bits = &self.0;
        Members { bits, but: true }
    }

    /// Whether the bit is set; one that does not exist is.
    #[inline]
    pub(super) fn get(&self, at: usize) -> bool {
        is_set(&self.0, at)
    }
}

#[inline]
fn is_set(bits: &[u64], at: usize) -> bool {
    bits.get(at / 64)
        .is_none_or(|word| word >> (at % 64) & 1 == 1)
}

/// Some of the PoPs of a list, by their places in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Members<'a> {
    bits: &'a [u64],
    /// Those whose bit is not set.
    but: bool,
}

impl Members<'_> {
    pub(super) const ALL: Self = Self {
        bits: &[],
        but: false,
    };

    #[inline]
    pub(super) fn has(&self, member: u16) -> bool {
        is_set(self.bits, usize::from(member)) != self.but
    }
}
