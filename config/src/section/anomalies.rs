//! `[anomalies]`

use std::time::Duration;

use crate::{Anomalies, walk::Table};

const DAY: Duration = Duration::from_secs(86_400);

/// Reads `[anomalies]`.
pub(crate) fn read_anomalies(table: Option<Table<'_>>) -> Anomalies {
    let mut anomalies = Anomalies::default();
    let Some(table) = table else {
        return anomalies;
    };
    let number = |key, example, range| table.get(key, example).and_then(|v| v.number(range));
    if let Some(factor) = number("factor", "3", 1.5..=1000.0) {
        anomalies.factor = factor;
    }
    if let Some(queries) = number("queries", "10", 0.1..=1e9) {
        anomalies.queries = queries;
    }
    if let Some(drop) = number("health_drop", "0.2", 0.01..=1.0) {
        anomalies.health_drop = drop;
    }
    let age = table.get("geo_age", "\"60d\"");
    if let Some(age) = age.and_then(|v| v.duration(DAY..=DAY * 3650)) {
        anomalies.geo_age = age;
    }
    table.close();
    anomalies
}
