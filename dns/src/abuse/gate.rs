//! Response rate limiting: how many replies of a kind go to one client prefix in a second.
//!
//! ```text
//! prefix, kind, imputed name ── keyed hash → 4 cells in 2 cache lines
//!     level = the lowest of the four;  level + cost > 1 s → limited
//!     cells below level + cost are raised to it
//! ```
//!
//! A cell holds the moment at which everything charged to it will have been paid off: it drains by
//! itself, so there is nothing to sweep, to evict or to expire, and the memory is what it was at the
//! start whatever comes in. It is a count-min sketch with conservative update whose counts decay.
//!
//! * **Never too lenient.** An account's four cells are each at least as high as the account would be
//!   alone, so no client gets more than its rate. (Two workers that charge one cell in the same few
//!   nanoseconds may lose one of the charges.)
//! * **Rarely too strict.** An account is taken for another only where all four of its cells were
//!   raised by others. Which cells those are depends on a key that nobody outside knows: a flood from
//!   spoofed prefixes cannot be aimed at a client, and one prefix raises four cells however much it
//!   sends.
//! * **No lock, no allocation**: relaxed loads and stores.

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use siphasher::sip::SipHasher13;

use super::{
    cookie::State,
    limits::{Limits, Prefix, SECOND},
};
use crate::answer::Summary;

/// Cells of a line.
const CELLS: usize = 8;
/// Lines looked at to tell how full the table is.
const SAMPLE: usize = 1024;
/// In place of a kind for the account of all kinds of a prefix.
const ALL_KINDS: u64 = 0xff;

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; CELLS]);

/// What happens to a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is sent.
    Send,
    /// It is sent without data and with TC set, so that a client that is there comes by TCP.
    Slip,
    /// It is not sent.
    Drop,
}

/// The accounts of every client, shared by all workers.
#[derive(Debug)]
pub struct Gate {
    hasher: SipHasher13,
    start: Instant,
    /// Made when limits are first put in force; its size stays until the process ends.
    lines: OnceLock<Box<[Line]>>,
}

impl Gate {
    /// A gate whose time starts at `start`. `key` must not be guessable.
    pub fn new(key: [u8; 16], start: Instant) -> Self {
        Self {
            hasher: SipHasher13::new_with_key(&key),
            start,
            lines: OnceLock::new(),
        }
    }

    /// A gate with a random key, whose time starts now. Without randomness to be had the key is no secret, and a flood could
    /// be aimed at a client; everything else holds.
    #[allow(clippy::disallowed_methods)] // the origin of its time, nothing is decided by it
    pub fn random() -> Self {
        let mut key = [0; 16];
        if getrandom::fill(&mut key).is_err() {
            tracing::warn!("no randomness: rate limits can be foreseen");
        }
        Self::new(key, Instant::now())
    }

    /// Makes the table for these limits, if they limit anything and there is none yet. Until then
    /// nothing is limited. Not for the packet path.
    pub fn prepare(&self, limits: &Limits) {
        if !limits.is_off() {
            self.lines.get_or_init(|| {
                let lines = (limits.table_size / CELLS).next_power_of_two();
                (0..lines).map(|_| Line::default()).collect()
            });
        }
    }

    /// When its time starts.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// A place at the gate for one worker.
    pub fn seat(self: &Arc<Self>) -> Seat {
        Seat {
            gate: self.clone(),
            limited: 0,
        }
    }

    /// Share of cells that are too high to let a reply pass, 0 to 1: how likely it is that a client is
    /// limited for what others did is somewhat more than the fourth power of it. Looks at a sample.
    pub fn fullness(&self, now: Instant) -> f64 {
        let Some(lines) = self.lines.get() else {
            return 0.0;
        };
        let now = self.nanoseconds(now);
        let step = (lines.len() / SAMPLE).max(1);
        let cells = lines.iter().step_by(step).flat_map(|line| &line.0);
        let (mut full, mut all) = (0_u32, 0_u32);
        for cell in cells {
            all += 1;
            full += u32::from(cell.load(Relaxed).saturating_sub(now) > SECOND);
        }
        f64::from(full) / f64::from(all.max(1))
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX / 2)
    }

    /// Charges a reply to its account; whether it is over its rate.
    #[inline]
    fn charge(&self, key: u64, cost: u64, window: u64, now: u64) -> bool {
        let Some(cells) = self.cells(key) else {
            return false;
        };
        let levels = cells.map(|cell| cell.load(Relaxed));
        let paid = levels.into_iter().fold(u64::MAX, u64::min).max(now);
        let limited = paid - now + cost > SECOND;
        // Who keeps on asking stays limited, as rate limits of other servers have it; but debts end.
        let raised = (paid + cost).min(now + SECOND + window);
        for (cell, level) in cells.into_iter().zip(levels) {
            if level < raised {
                cell.store(raised, Relaxed);
            }
        }
        limited
    }

    #[inline]
    fn cells(&self, key: u64) -> Option<[&AtomicU64; 4]> {
        let lines = self.lines.get()?;
        let mask = lines.len() - 1;
        let low = usize::try_from(key & 0xff_ffff).ok()?;
        let high = usize::try_from((key >> 24) & 0xff_ffff).ok()?;
        let (one, two) = (&lines.get(low & mask)?.0, &lines.get(high & mask)?.0);
        let place = |shift: u32| usize::from((key >> shift) as u8 % CELLS as u8);
        // The second cell of a line is another one than the first.
        let other = |first: usize, shift: u32| {
            (first + 1 + usize::from((key >> shift) as u8 % (CELLS as u8 - 1))) % CELLS
        };
        let (a, b) = (place(48), place(51));
        Some([
            one.get(a)?,
            one.get(other(a, 54))?,
            two.get(b)?,
            two.get(other(b, 56))?,
        ])
    }

    #[inline]
    fn key(&self, prefix: Prefix, kind: u64, imputed: u64) -> u64 {
        match prefix {
            Prefix::V4(prefix) => {
                let mut words = [0; 16];
                let (front, back) = words.split_at_mut(8);
                front.copy_from_slice(&(u64::from(prefix) << 32 | kind).to_le_bytes());
                back.copy_from_slice(&imputed.to_le_bytes());
                self.hasher.hash(&words)
            }
            Prefix::V6(prefix) => {
                let mut words = [0; 32];
                let (front, back) = words.split_at_mut(16);
                front.copy_from_slice(&prefix.to_le_bytes());
                let (middle, last) = back.split_at_mut(8);
                middle.copy_from_slice(&kind.to_le_bytes());
                last.copy_from_slice(&imputed.to_le_bytes());
                self.hasher.hash(&words)
            }
        }
    }

    /// Whether a reply is over a rate of its prefix.
    #[inline]
    fn is_limited(&self, limits: &Limits, source: IpAddr, summary: &Summary, now: u64) -> bool {
        let prefix = limits.prefix(source);
        let mut limited = false;
        let cost = limits.cost(summary.kind);
        if cost != 0 {
            let key = self.key(prefix, summary.kind as u64, summary.imputed);
            limited |= self.charge(key, cost, limits.window, now);
        }
        if limits.cost_of_all != 0 {
            let key = self.key(prefix, ALL_KINDS, 0);
            limited |= self.charge(key, limits.cost_of_all, limits.window, now);
        }
        limited
    }
}

/// One worker's place at the gate.
#[derive(Debug)]
pub struct Seat {
    gate: Arc<Gate>,
    /// Limited replies so far: what the choice between slip and drop is drawn from.
    limited: u64,
}

impl Seat {
    /// The gate that it is at.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Judges a reply over UDP to `source`, the address that the query came from. A verdict other
    /// than [`Verdict::Send`] is to be counted, and followed if [`Limits::is_enforced`].
    #[inline]
    pub fn judge(
        &mut self,
        limits: &Limits,
        source: IpAddr,
        summary: &Summary,
        now: Instant,
    ) -> Verdict {
        // A valid cookie shows that the client receives what is sent to its address: no victim.
        if limits.is_off() || summary.cookie == State::Valid {
            return Verdict::Send;
        }
        let now = self.gate.nanoseconds(now);
        if !self.gate.is_limited(limits, source, summary, now) || limits.exempts(source) {
            return Verdict::Send;
        }
        self.limited = self.limited.wrapping_add(1);
        // Drawn, not counted off: of two floods in step one could get every slip.
        let drawn = self.gate.key(Prefix::V4(0), ALL_KINDS + 1, self.limited);
        if limits.slip != 0 && drawn.is_multiple_of(limits.slip) {
            Verdict::Slip
        } else {
            Verdict::Drop
        }
    }
}
