//! Anycast against single PoPs: for whom a PoP's own address was better, and for how long.
//!
//! ```text
//! publication ─→ is a single PoP better by the margin now? ─→ one bit a window, for the last 24
//!                3 windows of them, or one a day ago and one now ─→ in force, until a day after the last
//! ```
//!
//! What is compared is the 25th percentile of the same clients: of a prefix where both columns were
//! measured for it, else of its cell.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use super::{types::Rules, window::Reading};

/// Windows that are remembered.
const REMEMBERED: u32 = 24;
/// Windows in which a PoP must have been better before it is preferred…
const NEEDED: u32 = 3;
/// … or it was so this long ago, and is so now: seconds.
const DAY_S: u32 = 86_400;
/// Share of the anycast figure that a PoP must be better by, whatever the margin.
const RATIO: f32 = 0.1;
/// Trust that both figures need, besides having been added to within a window.
const FRESH: f32 = 0.5;
/// Preferences that are kept at most: 10 MB.
pub(super) const MAX_HELD: usize = 200_000;

/// A pool with an anycast address, by names of columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Race {
    /// Column of the anycast address: [`anycast_column`](super::anycast_column).
    pub anycast: Arc<str>,
    /// Columns of the pool's PoPs.
    pub pops: Vec<Arc<str>>,
    /// By how much a PoP must be better, milliseconds; and by a tenth of what anycast takes.
    pub margin_ms: f32,
}

/// That a PoP's own address is, or was, better than anycast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preference {
    /// Column of the anycast address.
    pub anycast: u16,
    /// Column of the PoP.
    pub pop: u16,
    /// Windows of the last 24 in which it was better.
    pub windows: u32,
    /// Seconds since it was last seen to be better.
    pub age_s: u32,
    /// Whether it is to be followed.
    pub in_force: bool,
}

/// Whose preference: a cell's or a prefix's, and for which race.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subject {
    /// Column of the anycast address.
    pub(super) anycast: u16,
    pub(super) whose: Whose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    Cell(u32),
    /// Key of a prefix in column 0.
    Prefix(u64),
}

/// A preference over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Column of the PoP.
    pub(super) pop: u16,
    /// When it was first, and last, seen to be better.
    pub(super) first_s: u32,
    pub(super) last_s: u32,
    /// One bit for each of the last windows, the lowest for the window of `seen_s`.
    pub(super) windows: u32,
    /// When it was last looked at.
    pub(super) seen_s: u32,
    pub(super) in_force: bool,
}

/// A race by numbers of columns.
#[derive(Clone, Debug)]
pub(super) struct Entered {
    pub(super) anycast: u16,
    pub(super) pops: Vec<u16>,
    pub(super) margin_ms: f32,
}

impl Entered {
    /// The best PoP of those that are better by the margin; `None`: none is. The outer `None`: it cannot
    /// be told, for want of fresh figures.
    pub(super) fn winner(
        &self,
        before: Option<u16>,
        rules: &Rules,
        mut read: impl FnMut(u16) -> Option<Reading>,
    ) -> Option<Option<u16>> {
        let is_fresh = |one: &Reading| one.trust >= FRESH && one.age_s <= rules.window_s;
        let mut fresh = |column| read(column).filter(is_fresh);
        let anycast = fresh(self.anycast)?;
        let most = anycast.p25_ms - self.margin_ms.max(RATIO * anycast.p25_ms);
        let (mut any, mut best) = (false, None::<(u16, f32)>);
        for pop in &self.pops {
            let Some(reading) = fresh(*pop) else { continue };
            any = true;
            if reading.p25_ms >= most {
                continue;
            }
            // Who was preferred stays while it is good enough.
            if before == Some(*pop) {
                return Some(before);
            }
            let less = |(_, than): (u16, f32)| reading.p25_ms.total_cmp(&than) == Ordering::Less;
            if best.is_none_or(less) {
                best = Some((*pop, reading.p25_ms));
            }
        }
        any.then(|| best.map(|(pop, _)| pop))
    }
}

/// All preferences.
#[derive(Clone, Debug, Default)]
pub(super) struct Holdings(pub(super) BTreeMap<Subject, Held>);

impl Holdings {
    pub(super) fn pop(&self, subject: Subject) -> Option<u16> {
        self.0.get(&subject).map(|held| held.pop)
    }

    /// Notes what was found at `now_s`: who is better, or that nobody is.
    pub(super) fn note(
        &mut self,
        subject: Subject,
        winner: Option<u16>,
        now_s: u32,
        rules: &Rules,
    ) {
        let Some(held) = self.0.get_mut(&subject) else {
            if let Some(pop) = winner.filter(|_| self.0.len() < MAX_HELD) {
                self.0.insert(subject, Held::new(pop, now_s));
            }
            return;
        };
        held.pass(now_s, rules);
        match winner {
            Some(pop) if pop == held.pop => {
                held.windows |= 1;
                held.last_s = now_s;
                let proven = held.windows.count_ones() >= NEEDED;
                held.in_force |= proven || now_s.saturating_sub(held.first_s) >= DAY_S;
            }
            // Another one must prove itself first.
            Some(pop) if !held.in_force => *held = Held::new(pop, now_s),
            _ => held.windows &= !1,
        }
    }

    /// Lets time pass for everything; what is over goes. A day and a window are waited for the same hour
    /// of the next day, to know then that it was so a day ago.
    pub(super) fn pass(&mut self, now_s: u32, rules: &Rules) {
        let most = DAY_S.saturating_add(rules.window_s);
        self.0.retain(|_, held| {
            held.pass(now_s, rules);
            now_s - held.last_s <= most
        });
    }

    /// The preference of a cell or prefix at `now_s`.
    pub(super) fn get(&self, subject: Subject, now_s: u32) -> Option<Preference> {
        let held = self.0.get(&subject)?;
        Some(Preference {
            anycast: subject.anycast,
            pop: held.pop,
            windows: held.windows.count_ones(),
            age_s: now_s.saturating_sub(held.last_s),
            in_force: held.in_force,
        })
    }
}

impl Held {
    fn new(pop: u16, now_s: u32) -> Self {
        Self {
            pop,
            first_s: now_s,
            last_s: now_s,
            windows: 1,
            seen_s: now_s,
            in_force: false,
        }
    }

    fn pass(&mut self, now_s: u32, rules: &Rules) {
        let window = rules.window_s.max(1);
        let turned = (now_s / window).saturating_sub(self.seen_s / window);
        self.windows = self.windows.checked_shl(turned).unwrap_or(0) & ((1 << REMEMBERED) - 1);
        self.seen_s = now_s;
        // A clock that was ahead and has been set back.
        self.last_s = self.last_s.min(now_s);
        self.first_s = self.first_s.min(now_s);
        if now_s - self.last_s >= DAY_S {
            self.in_force = false;
            self.windows = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u32 = 3600;
    const NOW: u32 = 500_000 * HOUR;
    const ME: Subject = Subject {
        anycast: 9,
        whose: Whose::Cell(4),
    };

    fn reading(p25_ms: f32, trust: f32) -> Reading {
        Reading {
            p25_ms,
            between_ms: (p25_ms, p25_ms),
            trust,
            samples: 30,
            age_s: 0,
        }
    }

    #[test]
    fn who_wins() {
        let race = Entered {
            anycast: 9,
            pops: vec![1, 2, 3],
            margin_ms: 10.0,
        };
        let told = |before: Option<u16>, figures: &[(u16, f32)]| {
            race.winner(before, &Rules::default(), |column| {
                let found = figures.iter().find(|(one, _)| *one == column);
                found.map(|(_, ms)| reading(*ms, 1.0))
            })
        };
        assert_eq!(told(None, &[(1, 10.0)]), None, "anycast is not measured");
        assert_eq!(told(None, &[(9, 50.0)]), None, "no PoP is measured");
        assert_eq!(told(None, &[(9, 50.0), (1, 41.0)]), Some(None));
        assert_eq!(
            told(None, &[(9, 50.0), (1, 39.0), (2, 38.0)]),
            Some(Some(2))
        );
        assert_eq!(
            told(Some(1), &[(9, 50.0), (1, 39.0), (2, 38.0)]),
            Some(Some(1))
        );
        assert_eq!(
            told(Some(1), &[(9, 50.0), (1, 45.0), (2, 38.0)]),
            Some(Some(2))
        );
        assert_eq!(told(None, &[(9, 200.0), (1, 185.0)]), Some(None), "a tenth");
        let faint = race.winner(None, &Rules::default(), |_| Some(reading(9.0, 0.4)));
        assert_eq!(faint, None);
    }

    /// Winner by hour, and whether the preference is in force after it.
    fn run(hours: impl IntoIterator<Item = (u32, Option<u16>)>) -> Vec<bool> {
        let (mut all, rules) = (Holdings::default(), Rules::default());
        let step = |(hour, winner)| {
            all.pass(NOW + hour * HOUR, &rules);
            all.note(ME, winner, NOW + hour * HOUR, &rules);
            all.get(ME, NOW).is_some_and(|one| one.in_force)
        };
        hours.into_iter().map(step).collect()
    }

    #[test]
    fn three_windows_and_kept_for_a_day() {
        let wins = run((0..4).map(|hour| (hour, Some(1))));
        assert_eq!(wins, [false, false, true, true]);
        let often = run([(0, Some(1)), (0, Some(1)), (0, Some(1))]);
        assert_eq!(often, [false; 3], "one window is one");
        let with_gaps = run([(0, Some(1)), (1, None), (9, Some(1)), (20, Some(1))]);
        assert_eq!(with_gaps, [false, false, false, true]);
        let lost = run((0..40).map(|hour| (hour, Some(1).filter(|_| hour < 3))));
        let until = lost.iter().rposition(|in_force| *in_force);
        assert_eq!(until, Some(2 + 23), "a day after the third hour");
    }

    #[test]
    fn once_a_day_is_enough_from_the_second_day_on() {
        let daily = [(0, Some(1)), (12, None), (24, Some(1)), (30, None)];
        assert_eq!(run(daily), [false, false, true, true]);
        let late = [(0, Some(1)), (25, Some(1)), (49, Some(1))];
        assert_eq!(run(late), [false, true, true], "within the window after it");
        assert_eq!(run([(0, Some(1)), (23, Some(1))]), [false; 2], "not yet");
        assert_eq!(run([(0, Some(1)), (26, Some(1))]), [false; 2], "forgotten");
        let other = [(0, Some(1)), (12, Some(2)), (24, Some(1))];
        assert_eq!(run(other), [false; 3], "another one was better between");
    }

    #[test]
    fn another_pop_proves_itself() {
        let turns = run([
            (0, Some(1)),
            (1, Some(1)),
            (2, Some(2)),
            (3, Some(2)),
            (4, Some(2)),
        ]);
        assert_eq!(turns, [false, false, false, false, true]);
    }

    #[test]
    fn row_25_clocks_jump() {
        let (mut all, rules) = (Holdings::default(), Rules::default());
        for now in [u32::MAX - 5, 10, u32::MAX, 0, NOW] {
            all.note(ME, Some(1), now, &rules);
            all.pass(now, &rules);
        }
        assert_eq!(all.get(ME, NOW).map(|one| one.age_s), Some(0));
    }
}
