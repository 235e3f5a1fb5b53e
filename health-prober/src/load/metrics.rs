//! What Prometheus sees of loads.

use std::sync::Arc;

use prometheus::{
    core::{Collector, Desc},
    proto::MetricFamily,
};
use tokio::sync::watch;

use super::Shared;
use crate::{
    Loads,
    metrics::{Family, counter, family, gauge},
};

const RATIO: Family = (
    "meridian_pop_load_ratio",
    "Load of the PoP as a share of its capacity, which shrinks with its endpoints; absent while unknown.",
    &["pop"],
);
const AGE: Family = (
    "meridian_pop_load_age_seconds",
    "Time since the load was read or pushed; absent before the first.",
    &["pop"],
);
const READINGS: Family = (
    "meridian_load_readings_total",
    "Readings of the PoP's load source that ended, by outcome: read, or why not.",
    &["pop", "outcome"],
);

/// Collects every series of loads.
pub(crate) struct LoadCollector {
    shared: Arc<Shared>,
    loads: watch::Receiver<Arc<Loads>>,
    families: Vec<Desc>,
}

impl LoadCollector {
    /// A collector over these counters and loads.
    ///
    /// # Errors
    /// Never in practice: the names are constants.
    pub(crate) fn new(
        shared: Arc<Shared>,
        loads: watch::Receiver<Arc<Loads>>,
    ) -> Result<Self, prometheus::Error> {
        let families = [RATIO, AGE, READINGS]
            .into_iter()
            .map(|(name, help, labels)| {
                let labels = labels.iter().map(ToString::to_string).collect();
                Desc::new(name.into(), help.into(), labels, Default::default())
            });
        Ok(Self {
            shared,
            loads,
            families: families.collect::<Result<_, _>>()?,
        })
    }
}

impl Collector for LoadCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.families.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let loads = self.loads.borrow().clone();
        let ratios = loads
            .iter()
            .filter_map(|(pop, load)| Some(gauge(&[pop], RATIO, load.ratio?)));
        // By the clock that never jumps: a wall clock that is set makes no source fresh or silent.
        let ages = self.shared.ages();
        let ages = ages
            .iter()
            .map(|(pop, age)| gauge(&[pop], AGE, age.as_secs_f64()));
        let mut readings = Vec::new();
        for (pop, counts) in self.shared.readings() {
            for (outcome, count) in counts {
                readings.push(counter(&[&pop, outcome], READINGS, count));
            }
        }
        let mut families = vec![
            family(RATIO, ratios.collect()),
            family(AGE, ages.collect()),
            family(READINGS, readings),
        ];
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}
