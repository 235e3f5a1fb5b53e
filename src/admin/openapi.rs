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

    use super::*;

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
