//! `GET /`: a page that shows what the API says, for a browser on this machine (or one with a client
//! certificate). It has no data of its own, loads nothing from elsewhere, and changes nothing.

use std::{fmt::Write, sync::OnceLock};

use axum::{
    http::{HeaderName, header},
    response::{IntoResponse, Response},
};

use super::reply::{Params, Refusal};
use crate::plan::coastline;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Only what this server sends may run, and nobody may put the page into a frame of theirs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(super) async fn page(params: Params) -> Result<Response, Refusal> {
    send(params, "text/html; charset=utf-8", PAGE)
}

pub(super) async fn style(params: Params) -> Result<Response, Refusal> {
    send(params, "text/css; charset=utf-8", STYLE)
}

pub(super) async fn script(params: Params) -> Result<Response, Refusal> {
    send(params, "text/javascript; charset=utf-8", SCRIPT)
}

/// The coastlines, in degrees east and south.
pub(super) async fn map(params: Params) -> Result<Response, Refusal> {
    static MAP: OnceLock<String> = OnceLock::new();
    send(params, "image/svg+xml", MAP.get_or_init(coast))
}

fn send(params: Params, kind: &'static str, body: &'static str) -> Result<Response, Refusal> {
    params.only(&[])?;
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Another version of the server has another page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, body).into_response())
}

fn coast() -> String {
    let mut path = String::new();
    for ring in coastline() {
        let mut step = 'M';
        for point in ring {
            // Writing to a string does not fail.
            let _ = write!(path, "{step}{:.1} {:.1}", point.longitude, -point.latitude);
            step = 'L';
        }
        path.push('Z');
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-170 -80 360 140\">\
         <path fill=\"#8a9a8f\" fill-opacity=\".45\" fill-rule=\"evenodd\" d=\"{path}\"/></svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_finds_every_element_that_its_script_looks_for() {
        for part in SCRIPT.split("byId(\"").skip(1) {
            let id = part.split('"').next().unwrap();
            assert!(PAGE.contains(&format!("id=\"{id}\"")), "{id}");
        }
    }

    #[test]
    fn the_script_knows_every_kind_of_event() {
        let document: serde_json::Value =
            serde_json::from_str(include_str!("../openapi.json")).unwrap();
        let kinds = document.pointer("/components/schemas/Event/properties/kind/enum");
        let kinds = kinds.unwrap().as_array().unwrap();
        assert!(!kinds.is_empty());
        for kind in kinds {
            assert!(SCRIPT.contains(&kind.to_string()), "{kind}");
        }
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere_and_nothing_is_read_as_html() {
        for text in [PAGE, STYLE, SCRIPT] {
            let foreign = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!foreign.contains("://"), "{foreign}");
        }
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!SCRIPT.contains(way), "{way}");
        }
    }

    /// `page.test.js` says what is expected of it.
    #[test]
    fn the_script_misses_no_event() {
        let test = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/admin/dashboard/page.test.js"
        );
        match std::process::Command::new("node").arg(test).output() {
            Ok(run) => {
                let said = String::from_utf8_lossy(&run.stderr);
                assert!(run.status.success(), "{said}");
            }
            Err(error) => {
                assert!(
                    std::env::var_os("MERIDIAN_REQUIRE_PEERS").is_none(),
                    "node: {error}"
                );
                eprintln!("SKIP the script of the page: node: {error}");
            }
        }
    }

    #[test]
    fn the_coast_is_a_picture() {
        let picture = coast();
        assert!(picture.len() > 20_000 && picture.len() < 200_000);
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>"));
    }
}
