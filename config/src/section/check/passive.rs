//! The passive part of `[check.NAME]`.

use crate::{PassiveCheck, SeriesMatch, section::load::read_series, walk::Table};

/// Keys that only passive checks have.
pub(super) const KEYS: [&str; 4] = ["errors", "requests", "max_ratio", "min_requests"];

pub(super) fn read_passive(table: &Table<'_>) -> PassiveCheck {
    let errors = table.required(
        "errors",
        "{ metric = \"http_requests_total\", labels = { code = \"5*\" } }",
    );
    let requests = table.required("requests", "{ metric = \"http_requests_total\" }");
    let series = |value: Option<crate::walk::Value<'_>>| {
        let inside = value.and_then(|v| v.table());
        let read = inside.and_then(|table| {
            let read = read_series(&table, "\"http_requests_total\"");
            table.close();
            read
        });
        read.unwrap_or_else(|| SeriesMatch {
            metric: String::new(),
            labels: Vec::new(),
        })
    };
    let (errors, requests) = (series(errors), series(requests));
    let max_ratio = table.get("max_ratio", "0.05");
    let max_ratio = max_ratio.and_then(|v| v.number(0.0..=0.99));
    let min_requests = table.get("min_requests", "20");
    let min_requests = min_requests.and_then(|v| v.integer(1..=1_000_000_000));
    PassiveCheck {
        errors,
        requests,
        max_ratio: max_ratio.unwrap_or(0.05),
        min_requests: min_requests.unwrap_or(20),
    }
}
