//! Which rows stand for all where there are too many to look at each of them.
//!
//! A row is taken the more often the more clients it has, and counts as much more as others are left out. Rows
//! that are nearest to the same PoP stand for each other: so what each PoP may get is about what it is with
//! all rows, for small PoPs too, since half of the rows is divided evenly among the PoPs.

/// A row with the PoP that is nearest to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Counted {
    pub(super) nearest: u16,
    pub(super) demand: f32,
}

impl Counted {
    fn place(&self) -> usize {
        usize::from(self.nearest)
    }
}

/// How much demand a row of a sample stands for, and what was seen since the last one, by nearest PoP.
#[derive(Debug)]
pub(super) struct Sample {
    units: Vec<f64>,
    seen: Vec<f64>,
}

/// The rows of one PoP.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// How many there should be, and the demand of those that are still to be chosen from.
    wanted: f64,
    demand: f64,
}

impl Place {
    fn unit(&self) -> f64 {
        self.demand / self.wanted.max(1.0)
    }
}

impl Sample {
    /// About `most` of these rows; `None`: there are no more than that.
    pub(super) fn new(rows: impl Iterator<Item = Counted> + Clone, most: usize) -> Option<Self> {
        let some = || rows.clone().filter(|row| row.demand > 0.0);
        if some().count() <= most {
            return None;
        }
        let pops = some().map(|row| row.place() + 1).max().unwrap_or(0);
        let mut places = vec![Place::default(); pops];
        for row in some() {
            if let Some(place) = places.get_mut(row.place()) {
                place.demand += f64::from(row.demand);
            }
        }
        let whole: f64 = places.iter().map(|place| place.demand).sum();
        let used = places.iter().filter(|place| place.demand > 0.0).count();
        for place in &mut places {
            let part = place.demand / whole + 1.0 / small(used);
            place.wanted = small(most) / 2.0 * part;
        }
        // Rows that are in it anyhow leave more room for the others.
        let units: Vec<f64> = places.iter().map(Place::unit).collect();
        for row in some() {
            let both = places.get_mut(row.place()).zip(units.get(row.place()));
            if let Some((place, _)) = both.filter(|(_, unit)| f64::from(row.demand) >= **unit) {
                place.demand -= f64::from(row.demand);
                place.wanted -= 1.0;
            }
        }
        let units: Vec<f64> = places.iter().map(Place::unit).collect();
        // None is the first one whatever comes before it.
        let seen = units.iter().map(|unit| unit / 2.0).collect();
        Some(Self { units, seen })
    }

    /// What the next row stands for; `None`: it is left out. Rows come in the order in which they were given.
    // Demand is of that kind.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn next(&mut self, row: Counted) -> Option<f32> {
        let unit = self.units.get(row.place())?;
        let seen = self.seen.get_mut(row.place())?;
        let demand = f64::from(row.demand);
        if demand <= 0.0 {
            return None;
        }
        if demand >= *unit {
            return Some(row.demand);
        }
        *seen += demand;
        if *seen < *unit {
            return None;
        }
        *seen -= unit;
        Some(*unit as f32)
    }
}

// At most as many as there are rows.
#[allow(clippy::cast_precision_loss)]
fn small(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::steer::tests::seeded::seeded;

    /// Rows with what they stand for.
    type Taken = Vec<(Counted, f32)>;

    /// What is taken of some rows, and by PoP what one stands for at least.
    fn taken(rows: &[Counted], most: usize) -> Option<(Taken, Vec<f64>)> {
        let mut sample = Sample::new(rows.iter().copied(), most)?;
        let each = rows.iter();
        let taken = each.filter_map(|row| Some((*row, sample.next(*row)?)));
        Some((taken.collect(), sample.units))
    }

    fn of(rows: impl Iterator<Item = (Counted, f32)>, pop: u16) -> f64 {
        rows.filter(|(row, _)| row.nearest == pop)
            .map(|(_, demand)| f64::from(demand))
            .sum()
    }

    proptest! {
        #![proptest_config(seeded(256))]

        /// Whatever the rows are like: about as many as wanted, each PoP has what it had, but for what one
        /// row stands for, and those that are as large as that are in it as they are.
        #[test]
        fn a_sample_says_about_the_same_of_each_pop(
            rows in prop::collection::vec((0_u16..6, prop_oneof![
                4 => 0.0_f32..1.0,
                1 => 0.0_f32..100.0,
                1 => Just(0.0),
            ]), 1..2_000),
            most in 1_usize..1_000,
        ) {
            let counted = |(nearest, demand): (u16, f32)| Counted { nearest, demand };
            let rows: Vec<Counted> = rows.into_iter().map(counted).collect();
            let asked = rows.iter().filter(|row| row.demand > 0.0).count();
            let Some((taken, units)) = taken(&rows, most) else {
                prop_assert!(asked <= most, "{asked} of {most}");
                return Ok(());
            };
            prop_assert!(asked > most, "{asked} of {most}");
            // One more for each PoP, and one that its own sum leaves over.
            prop_assert!(taken.len() <= most + 2 * 6, "{} of {most}", taken.len());
            for pop in 0..6 {
                let all = of(rows.iter().map(|row| (*row, row.demand)), pop);
                let told = of(taken.iter().copied(), pop);
                let unit = units.get(usize::from(pop)).copied().unwrap_or(0.0);
                let within = unit + 1e-4 * all;
                prop_assert!((all - told).abs() <= within, "{pop}: {told} of {all}");
            }
            prop_assert!(taken.iter().all(|(row, told)| *told >= row.demand));
        }
    }

    #[test]
    fn few_rows_are_all_in_it_and_a_small_pop_has_many_of_many() {
        let row = |nearest, demand| Counted { nearest, demand };
        let few = vec![row(0, 1.0); 10];
        assert_eq!(taken(&few, 10), None);
        // Of two PoPs one has a hundredth of the clients.
        let mut many = vec![row(0, 1.0); 9_900];
        many.extend(vec![row(1, 0.1); 1_000]);
        let (taken, _) = taken(&many, 1_000).unwrap();
        let of_small = taken.iter().filter(|(row, _)| row.nearest == 1).count();
        // A quarter of them: half of the half that is divided evenly.
        assert!((230..=280).contains(&of_small), "{of_small}");
    }
}
