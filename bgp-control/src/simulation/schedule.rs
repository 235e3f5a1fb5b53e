//! What goes wrong, when: short to print, so that a shrunk failure reads as a story.

use std::fmt;

use proptest::prelude::*;

/// The sites and the store.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) sites: usize,
    pub(super) min_sites: u32,
    pub(super) max_concurrent: u32,
    /// Of everything random in the network.
    pub(super) seed: u64,
    /// Messages lost, of 100.
    pub(super) loss: u64,
    /// Reads that see an older document, of 100.
    pub(super) stale: u64,
    /// Messages that take up to 4 s, of 100.
    pub(super) late: u64,
    /// Each clock's rate, in thousandths off: at most 10 (1 %).
    pub(super) drift: Vec<i8>,
}

impl Setup {
    /// A store without faults of its own.
    pub(super) fn plain(sites: usize, min_sites: u32, max_concurrent: u32, seed: u64) -> Self {
        Self {
            sites,
            min_sites,
            max_concurrent,
            seed,
            loss: 0,
            stale: 0,
            late: 0,
            drift: vec![0; sites],
        }
    }
}

/// A fault and when it comes, in tenths of a second.
#[derive(Clone, Copy)]
pub(super) struct At(pub(super) u32, pub(super) Fault);

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} s {:?}", self.0 / 10, self.0 % 10, self.1)
    }
}

/// One fault. Sites are numbered; a number beyond the last one counts around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Fail(usize),
    Heal(usize),
    FailAll,
    HealAll,
    /// kill -9: routes are gone at once.
    Kill(usize),
    Start(usize),
    /// No way to the store.
    Cut(usize),
    Join(usize),
    CutAll,
    JoinAll,
    /// The store has no leader for so many seconds.
    Gap(u8),
    /// What keeps the permit hangs until the site is started again.
    Hang(usize),
    Drain(usize),
    Undrain(usize),
    HealEverything,
}

impl Fault {
    /// It takes an announcement away, and automation did not.
    pub(super) fn takes_a_site(self) -> bool {
        matches!(self, Self::Kill(_) | Self::Drain(_))
    }
}

pub(super) fn fault() -> impl Strategy<Value = Fault> {
    let site = || 0_usize..6;
    prop_oneof![
        6 => site().prop_map(Fault::Fail),
        3 => site().prop_map(Fault::Heal),
        2 => Just(Fault::FailAll),
        1 => Just(Fault::HealAll),
        2 => site().prop_map(Fault::Kill),
        2 => site().prop_map(Fault::Start),
        3 => site().prop_map(Fault::Cut),
        2 => site().prop_map(Fault::Join),
        1 => Just(Fault::CutAll),
        2 => Just(Fault::JoinAll),
        2 => (4_u8..10).prop_map(Fault::Gap),
        2 => site().prop_map(Fault::Hang),
        1 => site().prop_map(Fault::Drain),
        1 => site().prop_map(Fault::Undrain),
    ]
}

/// Faults within 90 s, in order of time.
pub(super) fn any_schedule(fault: impl Strategy<Value = Fault>) -> impl Strategy<Value = Vec<At>> {
    let at = (0_u32..900, fault).prop_map(|(at, fault)| At(at, fault));
    prop::collection::vec(at, 1..16).prop_map(|mut schedule| {
        schedule.sort_by_key(|at| at.0);
        schedule
    })
}

pub(super) fn any_setup() -> impl Strategy<Value = Setup> {
    let counts = (2_usize..7, 0_u32..4, 1_u32..5);
    let network = (0_u64..20, 0_u64..30, 0_u64..20);
    let drift = prop::collection::vec(-10_i8..=10, 6);
    (counts, network, drift, any::<u64>()).prop_map(
        |((sites, min_sites, max_concurrent), (loss, stale, late), drift, seed)| Setup {
            sites,
            min_sites,
            max_concurrent,
            seed,
            loss,
            stale,
            late,
            drift,
        },
    )
}
