//! Who asks: a sample of the clients of steered answers, from which demand by place is learned.
//!
//! ```text
//! Block::record → Samples (ring of one worker) ─┐
//!                 Samples …                      ├→ Metrics::demand, every few seconds → who asked
//! ```
//!
//! A worker stores one word for every 2ⁿ-th steered answer; n is set by the reader so that a ring is
//! about half filled between two readings. An address leaves this module only as its /24 or /48.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use meridian_geo_data::fold;

use crate::types::ServiceId;

/// Samples of one worker between two readings: 32 KiB.
const SLOTS: usize = 4096;
/// Set for IPv6.
const IS_V6: u64 = 1 << 63;
/// Where the service stands, 15 bits.
const SERVICE_SHIFT: u32 = 48;
const SERVICE_MASK: u64 = 0x7fff;
/// The prefix: a /48, or a /24 in its low bits.
const PREFIX_MASK: u64 = (1 << SERVICE_SHIFT) - 1;

/// Clients of a service that asked since the reading before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asked {
    /// The service; numbers above 32,767 are counted as that.
    pub service: ServiceId,
    /// First address of their /24 or /48.
    pub client: IpAddr,
    /// How many answers this sample stands for.
    pub answers: f32,
}

/// The ring of one block.
#[derive(Debug)]
pub(super) struct Samples {
    slots: Box<[AtomicU64]>,
    /// Steered answers so far.
    seen: AtomicU64,
    /// Every 2^shift-th is kept. Written by the reader.
    shift: AtomicU32,
    /// `seen` at the reading before. Written by the reader.
    read: AtomicU64,
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            seen: AtomicU64::new(0),
            shift: AtomicU32::new(0),
            read: AtomicU64::new(0),
        }
    }
}

impl Samples {
    /// One steered answer. `add` counts.
    #[inline]
    pub(super) fn record(&self, service: ServiceId, client: IpAddr, add: impl Fn(&AtomicU64, u64)) {
        let number = self.seen.load(Relaxed);
        add(&self.seen, 1);
        let shift = self.shift.load(Relaxed);
        if number & !(u64::MAX << shift) == 0
            && let Some(slot) = self.slots.get(place(number, shift))
        {
            slot.store(pack(service, client), Relaxed);
        }
    }

    /// What was kept since the reading before. One reader at a time.
    pub(super) fn take(&self, to: &mut Vec<Asked>) {
        let (from, until) = (self.read.load(Relaxed), self.seen.load(Relaxed));
        let shift = self.shift.load(Relaxed);
        let answers = until.saturating_sub(from);
        // Numbers of the samples kept: multiples of the stride in from..until.
        let (first, end) = (from.div_ceil(1 << shift), until.div_ceil(1 << shift));
        let first = first.max(end.saturating_sub(SLOTS as u64));
        let kept = end - first;
        // Exact below 2^24 answers a reading; above it a rounding error.
        #[allow(clippy::cast_precision_loss)]
        let weight = answers as f32 / kept.max(1) as f32;
        for number in first..end {
            if let Some(slot) = self.slots.get(place(number, 0)) {
                to.push(unpack(slot.load(Relaxed), weight));
            }
        }
        self.read.store(until, Relaxed);
        self.shift.store(shift_for(answers), Relaxed);
    }
}

/// The stride, as a power of two, with which so many answers fill half a ring.
fn shift_for(answers: u64) -> u32 {
    let half = SLOTS as u64 / 2;
    (answers / half.max(1))
        .checked_ilog2()
        .map_or(0, |log| log + 1)
        .min(32)
}

/// The slot of an answer.
// Below SLOTS, so nothing is cut off.
#[allow(clippy::cast_possible_truncation)]
fn place(number: u64, shift: u32) -> usize {
    ((number >> shift) % SLOTS as u64) as usize
}

fn pack(service: ServiceId, client: IpAddr) -> u64 {
    let service = u64::from(service.0).min(SERVICE_MASK) << SERVICE_SHIFT;
    // An IPv6 address with an IPv4 address inside is judged by that, and often has it behind the /48.
    match fold(client).1 {
        IpAddr::V4(v4) => service | u64::from(v4.to_bits() >> 8),
        // The upper 48 of 128 bits.
        #[allow(clippy::cast_possible_truncation)]
        IpAddr::V6(v6) => IS_V6 | service | (v6.to_bits() >> 80) as u64,
    }
}

fn unpack(word: u64, answers: f32) -> Asked {
    let prefix = word & PREFIX_MASK;
    let client = if word & IS_V6 == 0 {
        // 24 bits were put in.
        #[allow(clippy::cast_possible_truncation)]
        IpAddr::V4(Ipv4Addr::from_bits((prefix as u32) << 8))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(u128::from(prefix) << 80))
    };
    // 15 bits.
    #[allow(clippy::cast_possible_truncation)]
    let service = ServiceId((word >> SERVICE_SHIFT & SERVICE_MASK) as u32);
    Asked {
        service,
        client,
        answers,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Relaxed);
    }

    fn ask(samples: &Samples, times: u64) {
        for n in 0..times {
            let client = Ipv4Addr::new(10, 0, (n % 4) as u8, 7).into();
            samples.record(ServiceId(3), client, add);
        }
    }

    fn read(samples: &Samples) -> Vec<Asked> {
        let mut all = Vec::new();
        samples.take(&mut all);
        all
    }

    #[test]
    fn few_are_all_kept_as_their_networks() {
        let samples = Samples::default();
        samples.record(ServiceId(1), "203.0.113.9".parse().unwrap(), add);
        samples.record(ServiceId(9), "2001:db8:1:2::3".parse().unwrap(), add);
        let asked = |service, client: &str| Asked {
            service: ServiceId(service),
            client: client.parse().unwrap(),
            answers: 1.0,
        };
        let expect = [asked(1, "203.0.113.0"), asked(9, "2001:db8:1::")];
        assert_eq!(read(&samples), expect);
        // Mapped, NAT64, 6to4, Teredo: as they are judged.
        for text in [
            "::ffff:203.0.113.9",
            "64:ff9b::203.0.113.9",
            "2002:cb00:7109::1",
            "2001::34ff:8ef6",
        ] {
            samples.record(ServiceId(1), text.parse().unwrap(), add);
            assert_eq!(read(&samples), [asked(1, "203.0.113.0")], "{text}");
        }
        assert_eq!(read(&samples), []);
    }

    #[test]
    fn many_are_sampled_and_stand_for_all() {
        let samples = Samples::default();
        ask(&samples, 100_000);
        let first = read(&samples);
        assert_eq!(first.len(), SLOTS, "the newest of them");
        for _ in 0..3 {
            ask(&samples, 100_000);
            let all = read(&samples);
            assert!(
                all.len() <= SLOTS / 2 && all.len() > SLOTS / 5,
                "{}",
                all.len()
            );
            let sum: f32 = all.iter().map(|one| one.answers).sum();
            assert!((sum - 100_000.0).abs() < 10.0, "{sum}");
        }
        ask(&samples, 10);
        assert!(read(&samples).len() <= 1, "the stride of before");
        ask(&samples, 10);
        assert_eq!(read(&samples).len(), 10);
    }

    proptest! {
        #[test]
        fn whatever_the_rates_a_reading_weighs_what_was_asked(
            rounds in proptest::collection::vec(0_u64..30_000, 1..6)
        ) {
            let samples = Samples::default();
            for times in rounds {
                ask(&samples, times);
                let shift = samples.shift.load(Relaxed);
                let all = read(&samples);
                let sum: f32 = all.iter().map(|one| one.answers).sum();
                if all.is_empty() {
                    prop_assert!(times < 1 << shift);
                } else {
                    prop_assert!((f64::from(sum) - times as f64).abs() < 5.0);
                }
                prop_assert!(all.iter().all(|one| one.service == ServiceId(3)));
            }
        }
    }
}
