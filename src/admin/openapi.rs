//! `GET /api/v1/openapi.json`: the description of the API, written by hand and compared with the
//! routes by a test.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

use super::reply::{Params, Refusal};

const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn document(params: Params) -> Result<Response, Refusal> {
    params.only(&[])?;
    Ok(([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;
    use meridian_health_prober::LoadState;
    use serde_json::Value;

    use super::*;
    use crate::runtime::status::{
        AnomalyStatus, CheckStatus, ConfigStatus, EndpointStatus, GeoStatus, LoadStatus,
        OverrideStatus, PopState, PopStatus, ServiceStatus, Status,
    };

    #[test]
    fn every_path_is_documented_and_every_documented_path_exists() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let documented: BTreeSet<&str> = document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let routed: BTreeSet<&str> = super::super::routes::paths().into_iter().collect();
        assert_eq!(documented, routed);
        let page = include_str!("../../docs/api.md");
        for path in documented {
            let start = format!(" {path}");
            let shown = page.match_indices(&start).any(|(at, _)| {
                let next = page[at + start.len()..].chars().next();
                matches!(next, Some('`' | '?'))
            });
            assert!(shown, "docs/api.md does not list {path}");
        }
    }

    /// Every key of a value stands in its schema.
    fn is_described(document: &Value, schema: &Value, value: &Value, at: &str) {
        let reference = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#'));
        if let Some(reference) = reference {
            let schema = document.pointer(reference).unwrap();
            return is_described(document, schema, value, at);
        }
        match value {
            Value::Object(keys) => {
                for (key, value) in keys {
                    let at = format!("{at}.{key}");
                    let schema = &schema["properties"][key];
                    assert!(!schema.is_null(), "{at} is not described");
                    is_described(document, schema, value, &at);
                }
            }
            Value::Array(items) => {
                for item in items {
                    is_described(document, &schema["items"], item, at);
                }
            }
            _ => {}
        }
    }

    fn pop() -> PopStatus {
        let time = Timestamp::UNIX_EPOCH;
        let (check, reason, up) = (|| "edge".to_owned(), || "pass".to_owned(), "up".to_owned());
        let one = CheckStatus {
            check: check(),
            verdict: up.clone(),
            reason: reason(),
            since: Some(time),
            rtt_ms: Some(1.0),
        };
        let endpoint = EndpointStatus {
            address: [192, 0, 2, 1].into(),
            check: Some(check()),
            verdict: up.clone(),
            reason: reason(),
            since: Some(time),
            rtt_ms: Some(1.0),
            checks: vec![one],
        };
        let load = LoadStatus {
            state: LoadState::Fresh,
            ratio: Some(0.5),
            value: Some(5.0),
            capacity: Some(10.0),
            what: "active".to_owned(),
            source: "push".to_owned(),
            at: Some(time),
            problem: Some("silent".to_owned()),
        };
        let drain = OverrideStatus {
            kind: "drain".to_owned(),
            reason: String::new(),
            since: time,
            until: Some(time),
        };
        PopStatus {
            name: "fra".to_owned(),
            latitude: 50.0,
            longitude: 8.0,
            weight: 100,
            state: PopState::Drained,
            verdict: up,
            reason: reason(),
            since: Some(time),
            override_: Some(drain),
            pools: vec![check()],
            load: Some(load),
            endpoints: vec![endpoint],
        }
    }

    fn status() -> Status {
        let time = Timestamp::UNIX_EPOCH;
        Status {
            version: "1".to_owned(),
            started: time,
            generation: 1,
            config: ConfigStatus {
                file: String::new(),
                loaded: time,
                last_reload_successful: false,
                refused: Some(String::new()),
                last_good: true,
            },
            pops: vec![pop()],
            services: vec![ServiceStatus {
                name: "www.".to_owned(),
                pool: "edge".to_owned(),
                level: 0,
                shift_bound_s: Some(39.0),
                shift_last_s: Some(32.0),
            }],
            geo: vec![GeoStatus {
                file: "bundled".to_owned(),
                database_type: String::new(),
                level: "country".to_owned(),
                built: time,
            }],
            announcements: None,
            alarms: vec![String::new()],
            anomalies: vec![AnomalyStatus {
                kind: "share".to_owned(),
                subject: "fra".to_owned(),
                since: time,
                factor: 4.0,
                message: String::new(),
            }],
        }
    }

    #[test]
    fn everything_that_status_tells_is_described() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let schema = &document["components"]["schemas"]["Status"];
        let told = serde_json::to_value(status()).unwrap();
        is_described(&document, schema, &told, "status");
    }

    #[test]
    fn every_way_to_be_refused_is_told() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        for (path, operations) in document["paths"].as_object().unwrap() {
            let open = ["/healthz", "/readyz"].contains(&path.as_str());
            let codes: &[&str] = match open {
                true => &["400"],
                false => &["400", "401", "403", "408"],
            };
            for (method, operation) in operations.as_object().unwrap() {
                let responses = operation["responses"].as_object();
                for code in codes {
                    let told = responses.is_some_and(|told| told.contains_key(*code));
                    assert!(told, "{method} {path} does not tell of {code}");
                }
            }
        }
    }

    #[test]
    fn references_lead_somewhere_and_the_version_is_ours() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        for reference in DOCUMENT.split("\"$ref\": \"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
