//! `PUT /api/v1/pops/{pop}/load`: a load that somebody counts elsewhere.

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    response::{IntoResponse, Response},
};
use meridian_health_prober::Level;
use serde::Deserialize;
use serde_json::json;

use super::{
    access::Who,
    reply::{Params, Refusal, from_json, whole},
    routes::{Shared, refused},
};

const HELP: &str = r#"send {"value": 5300} in the unit of the PoP's capacity, or {"ratio": 0.53}"#;

/// Loads beyond this are mistakes of unit.
const GREATEST: f64 = 1e15;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Body {
    value: Option<f64>,
    ratio: Option<f64>,
}

pub(super) async fn push(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Extension(who): Extension<Who>,
    params: Params,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    params.only(&[])?;
    let level = read(&whole(body)?)?;
    let load = shared
        .control
        .push_load(&name, level, &who.0)
        .map_err(|error| refused(&shared, error))?;
    Ok(Json(json!({ "pop": name, "load": load })).into_response())
}

fn read(body: &[u8]) -> Result<Level, Refusal> {
    let body: Body = from_json(body, HELP)?;
    let (level, number) = match (body.value, body.ratio) {
        (Some(value), None) => (Level::Value(value), value),
        (None, Some(ratio)) => (Level::Ratio(ratio), ratio),
        (Some(_), Some(_)) => {
            return Err(Refusal::bad("value and ratio stand side by side", HELP));
        }
        (None, None) => return Err(Refusal::bad("neither value nor ratio is given", HELP)),
    };
    if (0.0..=GREATEST).contains(&number) {
        return Ok(level);
    }
    let number = if number > GREATEST {
        format!("{number:e}")
    } else {
        number.to_string()
    };
    let error = format!("{number} is no load: it must lie from 0 to 1e15");
    Err(Refusal::bad(error, HELP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_4_nothing_is_guessed() {
        let right = |body: &str| read(body.as_bytes()).ok();
        assert_eq!(right(r#"{"value": 5300}"#), Some(Level::Value(5300.0)));
        assert_eq!(right(r#"{"ratio": 1.5}"#), Some(Level::Ratio(1.5)));
        for (body, part) in [
            ("", "the body is empty"),
            ("nonsense", "this is no JSON"),
            ("[]", "expected an object"),
            ("3", "expected an object"),
            ("{}", "neither"),
            (r#"{"value": null}"#, "neither"),
            (r#"{"value": 1, "ratio": 0.1}"#, "side by side"),
            (r#"{"value": -1}"#, "-1 is no load"),
            (r#"{"value": 1e300}"#, "1e300 is no load"),
            (r#"{"value": 1e999}"#, "out of range"),
            (r#"{"value": "5"}"#, "expected a number at column 13"),
            (r#"{"values": 5}"#, "unknown field"),
            (r#"{"value": NaN}"#, "expected"),
        ] {
            let refusal = read(body.as_bytes()).unwrap_err();
            assert!(refusal.error.contains(part), "{body}: {}", refusal.error);
        }
    }
}
