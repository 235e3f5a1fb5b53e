//! The line of the estimate: Theil–Sen over measured pairs, held to the default while they are few.

use super::types::Line;

/// Pairs that take part in a fit at most: bounds it to 80,000 slopes.
const MOST: usize = 400;
/// With so many pairs the fit counts for half.
const HALF: f64 = 30.0;
/// Pairs nearer to each other than this tell no slope, hundreds of kilometres.
const APART: f64 = 1.0;

/// Fits round trips (milliseconds) to distances (hundreds of kilometres); pairs that are not finite
/// must not be given. Half of the pairs may lie without the line following them (29 % for the slope).
// Milliseconds of one part in 10⁷ are enough; pairs are counted in the thousands.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn fit(mut pairs: Vec<(f64, f64)>) -> Line {
    let count = pairs.len();
    let default = Line::default();
    if count == 0 {
        return default;
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    // Evenly over the distances.
    let step = count.div_ceil(MOST);
    let pairs: Vec<(f64, f64)> = pairs.into_iter().step_by(step).collect();
    let mut slopes = Vec::new();
    for (at, one) in pairs.iter().enumerate() {
        for other in pairs.iter().skip(at + 1) {
            let apart = other.0 - one.0;
            if apart >= APART {
                slopes.push((other.1 - one.1) / apart);
            }
        }
    }
    let usual = f64::from(default.ms_per_100km);
    // Nothing is faster than light in a vacuum, nor the Internet so slow on the whole.
    let slope = median(slopes).unwrap_or(usual).clamp(0.67, 5.0);
    let trust = count as f64 / (count as f64 + HALF);
    let slope = usual + trust * (slope - usual);
    let rests = pairs.iter().map(|(x, y)| y - slope * x).collect();
    let usual = f64::from(default.intercept_ms);
    let intercept = median(rests).unwrap_or(usual).clamp(0.0, 100.0);
    Line {
        intercept_ms: (usual + trust * (intercept - usual)) as f32,
        ms_per_100km: slope as f32,
        pairs: u32::try_from(count).unwrap_or(u32::MAX),
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let (_, median, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    Some(*median)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on(intercept: f64, slope: f64, count: u32) -> Vec<(f64, f64)> {
        (0..count)
            .map(|n| f64::from(n * 37 % 120))
            .map(|x| (x, intercept + slope * x))
            .collect()
    }

    #[test]
    fn from_the_default_to_what_is_measured() {
        assert_eq!(fit(Vec::new()), Line::default());
        let few = fit(on(12.0, 2.0, 30));
        assert!((few.ms_per_100km - 1.75).abs() < 0.01, "{few:?}");
        let many = fit(on(12.0, 2.0, 20_000));
        assert!((many.ms_per_100km - 2.0).abs() < 0.01, "{many:?}");
        assert!((many.intercept_ms - 12.0).abs() < 0.1, "{many:?}");
        assert_eq!(many.pairs, 20_000);
    }

    #[test]
    fn a_fifth_of_lies_hardly_moves_it() {
        let mut pairs = on(10.0, 1.6, 4000);
        pairs.extend((0..1000).map(|n| (f64::from(n % 120), 9_000.0)));
        let line = fit(pairs);
        assert!((line.ms_per_100km - 1.6).abs() < 0.2, "{line:?}");
        assert!((line.intercept_ms - 10.0).abs() < 10.0, "{line:?}");
    }

    proptest! {
        #[test]
        fn always_a_line_that_rises(
            pairs in proptest::collection::vec((0.0..200.0f64, 0.05..10_000.0f64), 0..600),
        ) {
            let mut turned = pairs.clone();
            turned.reverse();
            let line = fit(pairs);
            prop_assert_eq!(line, fit(turned), "the order has no say");
            prop_assert!((0.6..=5.0).contains(&line.ms_per_100km), "{:?}", line);
            prop_assert!((0.0..=100.0).contains(&line.intercept_ms), "{:?}", line);
        }
    }
}
