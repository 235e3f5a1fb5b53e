//! Round trips of one row within the sliding window, in a fixed number of octets.
//!
//! The window has two halves: the one that is being filled, and the one before. Of each half at most
//! `KEEP` round trips are kept, a uniform choice of all that came (reservoir sampling, with a number
//! drawn from the row, the time and the count instead of chance).

use super::types::{RTT_MAX_MS, RTT_MIN_MS, Refused, Reporter, Rules};

/// One row: `KEEP` round trips a half, and `SEEN` × 32 marks of reporters heard in this half.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window<const KEEP: usize, const SEEN: usize> {
    pub(super) seen: [u32; SEEN],
    /// When the newest came, seconds since the epoch.
    pub(super) last_s: u32,
    /// Halves that lie between the current one and the one before.
    pub(super) gap: u16,
    /// How many came: in the current half, in the one before.
    pub(super) counts: [u16; 2],
    pub(super) codes: [[u16; KEEP]; 2],
}

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    /// 25th percentile, milliseconds.
    pub(super) p25_ms: f32,
    /// Between these it is with nine chances in ten, for all that so few samples tell.
    pub(super) between_ms: (f32, f32),
    /// How far to believe it: 1 with enough fresh samples, toward 0 as they age.
    pub(super) trust: f32,
    pub(super) samples: u32,
    pub(super) age_s: u32,
}

impl<const KEEP: usize, const SEEN: usize> Window<KEEP, SEEN> {
    pub(super) const EMPTY: Self = Self {
        seen: [0; SEEN],
        last_s: 0,
        gap: 0,
        counts: [0; 2],
        codes: [[0; KEEP]; 2],
    };

    /// Samples of one caller that count in a half: a cell has the usual 20 at once, a prefix after two.
    const VOICE: usize = if SEEN > 1 { 20 } else { 10 };

    /// Sets a mark; false when it was set.
    fn mark(&mut self, mark: usize) -> bool {
        let bit = 1 << (mark % 32);
        let word = self.seen.get_mut(mark / 32);
        word.is_some_and(|word| {
            let free = *word & bit == 0;
            *word |= bit;
            free
        })
    }

    /// Adds a round trip. `row` tells rows apart where numbers are drawn.
    pub(super) fn add(
        &mut self,
        (now_s, rules): (u32, &Rules),
        row: u64,
        code: u16,
        reporter: Reporter,
    ) -> Result<(), Refused> {
        let heard_s = self.last_s;
        let slice = self.turn(now_s, rules);
        let drawn = |who: u64| mix(who ^ mix(row ^ u64::from(slice)));
        let may = match reporter {
            Reporter::Own => true,
            Reporter::Other(who) => self.mark(below(drawn(who), SEEN * 32)),
            Reporter::Caller(who) => {
                let (first, marks) = (below(drawn(who), SEEN * 32), SEEN * 32);
                // An odd step meets each of a power of two once.
                let step = (drawn(who) & 0xffff) as usize | 1;
                let own = (0..Self::VOICE).map(|nth| (first + nth * step) % marks);
                own.into_iter().any(|mark| self.mark(mark))
            }
        };
        if !may {
            // What is not counted makes nothing newer. A new half refuses nobody, so this is still the same.
            self.last_s = heard_s;
            return Err(Refused::Repeated);
        }
        let [count, _] = &mut self.counts;
        let [codes, _] = &mut self.codes;
        let drawn = mix(row ^ u64::from(*count) << 48 ^ u64::from(now_s));
        let at = match usize::from(*count) {
            free if free < KEEP => free,
            before => below(drawn, before + 1),
        };
        *count = count.saturating_add(1);
        if let Some(kept) = codes.get_mut(at) {
            *kept = code;
        }
        Ok(())
    }

    /// Samples in the current half.
    pub(super) fn current(&self) -> u16 {
        self.counts[0]
    }

    /// What the row says now; `None`: too few samples, or too old.
    pub(super) fn read(&self, now_s: u32, rules: &Rules) -> Option<Reading> {
        let samples = self.counts.iter().map(|count| u32::from(*count)).sum();
        if samples < u32::from(rules.min_samples) {
            return None;
        }
        let fades = self.fades(now_s, rules);
        let mut all = [(0_u16, 0_f32); 128];
        let (mut len, mut whole, mut squares) = (0, 0.0_f32, 0.0_f32);
        for ((codes, count), fade) in self.codes.iter().zip(self.counts).zip(fades) {
            let kept = usize::from(count).min(KEEP);
            if kept == 0 {
                continue;
            }
            let weight = f32::from(count) * fade / kept as f32;
            for code in codes.iter().take(kept) {
                if let Some(slot) = all.get_mut(len) {
                    *slot = (*code, weight);
                    len += 1;
                    whole += weight;
                    squares += weight * weight;
                }
            }
        }
        // However many there were, no more than are needed speak for how fresh it is.
        let needed = rules.min_samples.max(1);
        let newer = self.counts[0].min(needed);
        let older = self.counts[1].min(needed - newer);
        let trust = (fades[0] * f32::from(newer) + fades[1] * f32::from(older)) / f32::from(needed);
        if trust < FAINT || whole <= 0.0 {
            return None;
        }
        let all = all.get_mut(..len)?;
        all.sort_unstable_by_key(|(code, _)| *code);
        let quantile = |share: f32| ms_of(rank(all, share * whole));
        // A quantile's standard error, in shares of the distribution: √(q(1−q)/n); 1.645 of it either way.
        let off = 1.645 * (0.1875 * squares).sqrt() / whole;
        Some(Reading {
            p25_ms: quantile(0.25),
            between_ms: (quantile(0.25 - off), quantile(0.25 + off)),
            trust: trust.min(1.0),
            samples,
            age_s: now_s.saturating_sub(self.last_s),
        })
    }

    /// Whether it is too old to say anything ever again.
    pub(super) fn is_gone(&self, now_s: u32, rules: &Rules) -> bool {
        self.fades(now_s, rules)[0] < FAINT
    }

    /// Opens the half that `now_s` is in, and gives its number.
    fn turn(&mut self, now_s: u32, rules: &Rules) -> u32 {
        let half = half_s(rules);
        let (slice, last) = (now_s / half, self.last_s / half);
        if self.last_s > now_s.saturating_add(rules.window_s) {
            // The clock was far ahead and has been set back: nothing kept has a time.
            *self = Self::EMPTY;
        } else if slice > last && self.counts[0] > 0 {
            self.gap = u16::try_from(slice - last).unwrap_or(u16::MAX);
            self.counts = [0, self.counts[0]];
            self.codes[1] = self.codes[0];
            self.seen = [0; SEEN];
        }
        self.last_s = self.last_s.max(now_s);
        self.last_s / half
    }

    /// How much of their weight the samples of each half still have.
    fn fades(&self, now_s: u32, rules: &Rules) -> [f32; 2] {
        let half = half_s(rules);
        let ended = (self.last_s / half)
            .saturating_sub(u32::from(self.gap))
            .saturating_add(1)
            .saturating_mul(half);
        let fade = |age: u32| {
            let beyond = age.saturating_sub(half);
            (-(beyond as f32) / rules.fade_s.max(1) as f32).exp2()
        };
        let age = |since: u32| now_s.saturating_sub(since);
        [fade(age(self.last_s)), fade(age(ended))]
    }
}

/// Below this trust a row says nothing.
const FAINT: f32 = 0.05;

/// Seconds of half a window.
pub(super) fn half_s(rules: &Rules) -> u32 {
    (rules.window_s / 2).max(1)
}

/// A round trip as a number: 65,536 steps of 0.019 % each. `None`: impossible.
// In range after the check; the truncation is meant.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn code_of(rtt_ms: f32) -> Option<u16> {
    if !(RTT_MIN_MS..=RTT_MAX_MS).contains(&rtt_ms) {
        return None;
    }
    let share = (f64::from(rtt_ms) / f64::from(RTT_MIN_MS)).ln() / octaves();
    Some((share * 65_535.0).round().clamp(0.0, 65_535.0) as u16)
}

/// The round trip of a number, milliseconds.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn ms_of(code: u16) -> f32 {
    (f64::from(RTT_MIN_MS) * (f64::from(code) / 65_535.0 * octaves()).exp()) as f32
}

fn octaves() -> f64 {
    (f64::from(RTT_MAX_MS) / f64::from(RTT_MIN_MS)).ln()
}

/// The first of the sorted at which their weights come to `weight`.
fn rank(sorted: &[(u16, f32)], weight: f32) -> u16 {
    let mut sum = 0.0;
    for (code, own) in sorted {
        sum += own;
        // A hair less, for sums of equal weights that were rounded.
        if sum >= weight * 0.9999 {
            return *code;
        }
    }
    sorted.last().map_or(0, |(code, _)| *code)
}

/// The finalizer of SplitMix64.
pub(super) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number below `end` (at most 2³²) from a drawn one.
// The upper half times `end` fits; what is left after the shift is below `end`.
#[allow(clippy::cast_possible_truncation)]
fn below(drawn: u64, end: usize) -> usize {
    (((drawn >> 32) * end as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Small = Window<15, 1>;

    fn filled(samples: &[(u32, f32, Reporter)]) -> Small {
        let mut window = Small::EMPTY;
        for (at, ms, who) in samples {
            let _ = window.add((*at, &Rules::default()), 7, code_of(*ms).unwrap(), *who);
        }
        window
    }

    fn p25(window: &Small, now_s: u32) -> Option<f32> {
        Some(window.read(now_s, &Rules::default())?.p25_ms)
    }

    #[test]
    fn codes_are_fine_and_total() {
        for ms in [0.05, 0.3, 1.0, 12.5, 100.0, 9999.0, 10_000.0_f32] {
            let back = ms_of(code_of(ms).unwrap());
            assert!((back - ms).abs() <= ms * 0.0002, "{ms} {back}");
        }
        for bad in [0.0, -1.0, 0.04, 10_001.0, f32::NAN, f32::INFINITY] {
            assert_eq!(code_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_constant_is_read_as_it_is_after_twenty() {
        let mut samples = vec![(1_000_000, 12.5, Reporter::Own); 19];
        assert_eq!(p25(&filled(&samples), 1_000_000), None);
        samples.push(samples[0]);
        let got = p25(&filled(&samples), 1_000_000).unwrap();
        assert!((got - 12.5).abs() < 0.01, "{got}");
    }

    #[test]
    fn the_window_slides_and_fades() {
        let at = 3_600_000;
        let mut samples = vec![(at, 50.0, Reporter::Own); 100];
        samples.extend([(at + 1800, 20.0, Reporter::Own); 100]);
        let got = p25(&filled(&samples), at + 1800).unwrap();
        assert!((got - 20.0).abs() < 0.01, "{got}");
        // Another half on, only 20 ms is left.
        samples.extend([(at + 3600, 20.0, Reporter::Own); 10]);
        let window = filled(&samples);
        let read = window.read(at + 3600, &Rules::default()).unwrap();
        assert_eq!((read.samples, read.trust), (110, 1.0));
        assert!((read.between_ms.1 - 20.0).abs() < 0.01);
        let trust = |hours: u32| {
            let now = at + 3600 + hours * 3600;
            window.read(now, &Rules::default()).map(|one| one.trust)
        };
        // A half-life of six hours after the half that the newest came in, however many there are.
        let many = filled(&vec![(at, 50.0, Reporter::Own); 1000]);
        let after = |hours: u32| {
            let now = at + 1800 + hours * 3600;
            many.read(now, &Rules::default()).map(|one| one.trust)
        };
        let near = |hours, trust: f32| (after(hours).unwrap() - trust).abs() < 1e-3;
        assert!(near(0, 1.0) && near(6, 0.5) && near(12, 0.25) && near(24, 0.0625));
        assert_eq!(after(26), None);
        assert_eq!(trust(0), Some(1.0));
        assert!(trust(20).unwrap() < 1.0 && trust(20) > trust(24));
        assert_eq!(trust(24 * 7), None);
        assert!(window.is_gone(at + 86_400 * 10, &Rules::default()));
    }

    #[test]
    fn who_is_refused_makes_nothing_newer() {
        let at = 1_800_000;
        let all: Vec<_> = (0..1000)
            .map(|who| (at, 50.0, Reporter::Other(who)))
            .collect();
        let mut window = filled(&all);
        let (read, rules) = (window.read(at, &Rules::default()), Rules::default());
        for who in 0..1000 {
            let refused = window.add(
                (at + 900, &rules),
                7,
                code_of(9.0).unwrap(),
                Reporter::Other(who),
            );
            assert_eq!(refused, Err(Refused::Repeated));
        }
        assert_eq!((read.unwrap().samples, window.last_s), (32, at));
    }

    #[test]
    fn row_25_a_clock_set_back_starts_anew() {
        let far = u32::MAX - 10;
        let mut samples = vec![(far, 50.0, Reporter::Own); 30];
        samples.extend([(1_000_000, 20.0, Reporter::Own); 30]);
        let got = p25(&filled(&samples), 1_000_000).unwrap();
        assert!((got - 20.0).abs() < 0.01, "{got}");
        let mut back = vec![(1_000_100, 50.0, Reporter::Own); 30];
        back.extend([(1_000_000, 50.0, Reporter::Own); 30]);
        assert!(p25(&filled(&back), 1_000_000).is_some());
    }

    #[test]
    fn a_long_half_is_sampled_evenly() {
        let (rules, end) = (Rules::default(), 1_801_500);
        let (mut sum, mut inside) = (0.0, 0);
        for row in 0..400 {
            let mut window = Small::EMPTY;
            for n in 0..3000_u32 {
                // Even over 10 … 110: the 25th percentile is 35.
                let code = code_of(10.0 + (n * 7919 % 1000) as f32 / 10.0).unwrap();
                let clock = (1_800_000 + n / 2, &rules);
                window.add(clock, row, code, Reporter::Own).unwrap();
            }
            let read = window.read(end, &rules).unwrap();
            sum += read.p25_ms;
            let (low, high) = read.between_ms;
            inside += u32::from((low..=high).contains(&35.0));
        }
        let mean = sum / 400.0;
        assert!((31.0..39.0).contains(&mean), "{mean}");
        assert!(inside >= 320, "{inside} of 400");
    }

    proptest! {
        /// Whatever one reporter says, and how often: the 25th percentile stays between two
        /// percentiles of what the others said.
        #[test]
        fn one_reporter_moves_a_row_within_bounds(
            honest in proptest::collection::vec((0..1800_u32, 5.0..200.0f32, any::<u32>()), 9..15),
            lies in proptest::collection::vec((0..3600_u32, prop_oneof![Just(0.05f32), Just(10_000.0), 1.0..500.0f32]), 1..60),
            first: bool,
        ) {
            let start = 1_800_000;
            let mut all: Vec<_> = honest
                .iter()
                .flat_map(|(at, ms, who)| [(start + at, *ms, Reporter::Other(u64::from(*who))), (start + 1800 + at, *ms, Reporter::Other(u64::from(*who)))])
                .chain(lies.iter().map(|(at, ms)| (start + at, *ms, Reporter::Other(u64::MAX))))
                .collect();
            all.sort_by_key(|(at, _, who)| (*at, (*who == Reporter::Other(u64::MAX)) != first));
            let mut window = Small::EMPTY;
            let mut counted = Vec::new();
            for (at, ms, who) in all {
                let taken = window.add((at, &Rules::default()), 7, code_of(ms).unwrap(), who);
                if taken.is_ok() && who != Reporter::Other(u64::MAX) {
                    counted.push(ms);
                }
            }
            // Few enough for every one to be kept, so that the bound can be told from outside.
            prop_assert!(window.counts.iter().all(|count| *count <= 15));
            let Some(read) = window.read(start + 3599, &Rules::default()) else {
                return Ok(());
            };
            counted.sort_by(f32::total_cmp);
            prop_assert!(counted.len() >= 18, "a liar makes no row: {}", counted.len());
            let at = |share: f32| counted[((share * counted.len() as f32).ceil() as usize).clamp(1, counted.len()) - 1];
            prop_assert!(read.p25_ms >= at(0.15) * 0.999, "{} {}", read.p25_ms, at(0.15));
            prop_assert!(read.p25_ms <= at(0.30) * 1.001, "{} {}", read.p25_ms, at(0.30));
        }
    }
}
