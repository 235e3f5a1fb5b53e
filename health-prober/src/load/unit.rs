//! What a source counts: values of one may stand for another only where that is the same.

use meridian_config::{LabelMatch, LoadKind, LoadSource, StubField};

/// Whether a value of one may stand for the other until that has been read.
pub(super) fn same_unit(one: &LoadSource, other: &LoadSource) -> bool {
    what(&one.kind) == what(&other.kind)
}

/// In words, as it is shown and kept.
pub(super) fn what(kind: &LoadKind) -> String {
    match kind {
        LoadKind::Prometheus {
            series, rate, sum, ..
        } => {
            let label = |l: &LabelMatch| {
                let star = if l.prefix { "*" } else { "" };
                format!("{}=\"{}{star}\"", l.name, l.value)
            };
            let labels: Vec<_> = series.labels.iter().map(label).collect();
            let mut text = series.metric.clone();
            if !labels.is_empty() {
                text = format!("{text}{{{}}}", labels.join(","));
            }
            if rate.is_some() {
                text = format!("rate({text})");
            }
            if *sum {
                text = format!("sum({text})");
            }
            text
        }
        LoadKind::StubStatus { field, .. } => {
            let text = format!("{field:?}").to_lowercase();
            match field {
                StubField::Requests => format!("rate({text})"),
                _ => text,
            }
        }
        LoadKind::Push => "pushed".to_owned(),
    }
}
