//! Medians with their range, and ratios within a round.

use crate::{rounds::Sample, servers::Subject};

/// Median, lowest and highest of some measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// Median; of an even number the mean of the middle two.
    pub(crate) median: f64,
    /// Lowest.
    pub(crate) low: f64,
    /// Highest.
    pub(crate) high: f64,
}

impl Spread {
    /// `None` for no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, low, high })
    }
}

/// A ratio of processor time per answer that the project promises.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    /// Measured.
    pub(crate) ours: Subject,
    /// Compared with.
    pub(crate) theirs: Subject,
    /// At most.
    pub(crate) limit: f64,
}

/// The promised ratios.
pub(crate) const GOALS: [Goal; 8] = [
    goal(Subject::Meridian, Subject::Echo, 1.06),
    goal(Subject::Meridian, Subject::Gdnsd, 0.90),
    goal(Subject::Meridian, Subject::Knot, 0.65),
    goal(Subject::Meridian, Subject::PowerDns, 0.18),
    goal(Subject::MeridianStatic, Subject::Nsd, 0.85),
    goal(Subject::MeridianCookie, Subject::Meridian, 1.06),
    goal(Subject::MeridianCookie, Subject::GdnsdCookie, 0.90),
    goal(Subject::MeridianTcp, Subject::KnotTcp, 0.90),
];

/// Others used more of a core than this, or the rounds differ by more: the row is no figure.
const NOISE: (f64, f64) = (0.10, 0.15);

/// Whether the measurements of a subject were disturbed.
pub(crate) fn is_noisy(samples: &[Sample], subject: Subject, rate: Option<u32>) -> bool {
    let others = spread(samples, subject, rate, |s| s.others);
    let cpu = spread(samples, subject, rate, |s| s.cpu_ns);
    others.is_some_and(|others| others.median > NOISE.0)
        || cpu.is_some_and(|cpu| cpu.high - cpu.low > NOISE.1 * cpu.median)
}

const fn goal(ours: Subject, theirs: Subject, limit: f64) -> Goal {
    Goal {
        ours,
        theirs,
        limit,
    }
}

/// A quantity over all rounds.
pub(crate) fn spread(
    samples: &[Sample],
    subject: Subject,
    rate: Option<u32>,
    quantity: impl Fn(&Sample) -> f64,
) -> Option<Spread> {
    let chosen = samples
        .iter()
        .filter(|sample| sample.subject == subject && sample.rate == rate);
    Spread::of(chosen.map(quantity))
}

/// Processor time per answer of one subject over that of another, round by round, closed loop.
pub(crate) fn ratio(samples: &[Sample], ours: Subject, theirs: Subject) -> Option<Spread> {
    let closed = |subject, round| {
        samples
            .iter()
            .find(|s| s.subject == subject && s.round == round && s.rate.is_none())
            .map(|s| s.cpu_ns)
            .filter(|cpu| *cpu > 0.0)
    };
    let rounds = samples.iter().map(|s| s.round).max()?;
    Spread::of((0..=rounds).filter_map(|round| Some(closed(ours, round)? / closed(theirs, round)?)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::latency::Percentiles;

    /// A measurement with these numbers.
    pub(crate) fn sample(subject: Subject, round: u32, rate: Option<u32>, cpu_ns: f64) -> Sample {
        Sample {
            subject,
            round,
            rate,
            answers_per_second: 1e9 / cpu_ns,
            cpu_ns,
            busy: 1.0,
            others: 0.01,
            resident: 10 << 20,
            latency: Percentiles {
                p50: 20_000,
                p99: 60_000,
                p999: 200_000,
            },
            sent: 1000,
            lost: 0,
            wrong: 0,
            late: 0,
        }
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(of(&[]), None);
        let odd = of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!([odd.low, odd.median, odd.high], [1.0, 2.0, 3.0]);
        assert!((of(&[4.0, 1.0, 3.0, 2.0]).unwrap().median - 2.5).abs() < 1e-9);
    }

    #[test]
    fn a_disturbed_row_is_told() {
        let row = |cpu: [f64; 3], others| {
            let of = |(round, cpu)| Sample {
                others,
                ..sample(Subject::Nsd, round, None, cpu)
            };
            (0..).zip(cpu).map(of).collect::<Vec<_>>()
        };
        let noisy = |samples: Vec<_>| is_noisy(&samples, Subject::Nsd, None);
        assert!(!noisy(row([100.0, 105.0, 110.0], 0.02)));
        assert!(noisy(row([100.0, 105.0, 120.0], 0.02)));
        assert!(noisy(row([100.0, 100.0, 100.0], 0.3)));
    }

    #[test]
    fn ratios_compare_within_a_round() {
        // The machine was twice as slow in round 1.
        let samples = [
            sample(Subject::Meridian, 0, None, 1600.0),
            sample(Subject::Gdnsd, 0, None, 2000.0),
            sample(Subject::Meridian, 1, None, 3200.0),
            sample(Subject::Gdnsd, 1, None, 4000.0),
            sample(Subject::Meridian, 2, None, 9.0),
            sample(Subject::Gdnsd, 1, Some(50_000), 1.0),
        ];
        let seen = ratio(&samples, Subject::Meridian, Subject::Gdnsd).unwrap();
        assert!(
            (seen.low - 0.8).abs() < 1e-9 && (seen.high - 0.8).abs() < 1e-9,
            "{seen:?}"
        );
        assert_eq!(ratio(&samples, Subject::Meridian, Subject::Nsd), None);
    }
}
