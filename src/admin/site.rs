//! The routes of announcements, and of handing the server over to another binary.

use std::time::Duration;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::json;

use super::{
    access::Who,
    reply::{Params, Refusal, from_json, whole},
    routes::Shared,
};

/// Body of `POST /api/v1/blackholes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct BlackholeBody {
    prefix: IpNet,
    /// Without an end a blackhole is forgotten.
    #[serde(rename = "for")]
    duration: String,
    reason: String,
}

pub(super) async fn announcements(
    State(shared): State<Shared>,
    params: Params,
) -> Result<Response, Refusal> {
    params.only(&[])?;
    Ok(Json(&*shared.control.announcements()).into_response())
}

pub(super) async fn blackhole(
    State(shared): State<Shared>,
    Extension(who): Extension<Who>,
    params: Params,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    params.only(&[])?;
    let help = r#"send {"prefix": "192.0.2.53/32", "for": "1h", "reason": "attack on …"}"#;
    let body: BlackholeBody = from_json(&whole(body)?, help)?;
    let lasts = read_time(&body.duration)
        .ok_or_else(|| Refusal::bad(format!("for: {:?} is not a time", body.duration), help))?;
    if body.reason.trim().is_empty() || body.reason.len() > 512 {
        let error = "reason is blank or longer than 512 octets";
        return Err(Refusal::bad(error, help));
    }
    let asked = shared
        .control
        .blackhole(body.prefix, Some((lasts, body.reason)), who.0);
    asked.await.map_err(refused)?;
    let answer = json!({ "prefix": body.prefix, "blackholed": true });
    Ok(Json(answer).into_response())
}

pub(super) async fn end_blackhole(
    State(shared): State<Shared>,
    Extension(who): Extension<Who>,
    params: Params,
) -> Result<Response, Refusal> {
    let params = params.only(&["prefix"])?;
    let prefix = params.required("prefix", "such as prefix=192.0.2.53/32")?;
    let prefix: IpNet = prefix
        .parse()
        .map_err(|_| Refusal::bad(format!("prefix {prefix:?}"), "a host as a prefix"))?;
    let asked = shared.control.blackhole(prefix, None, who.0);
    asked.await.map_err(refused)?;
    Ok(Json(json!({ "prefix": prefix, "blackholed": false })).into_response())
}

pub(super) async fn upgrade(
    State(shared): State<Shared>,
    Extension(who): Extension<Who>,
    params: Params,
) -> Result<Response, Refusal> {
    params.only(&[])?;
    let upgraded = shared.control.upgrade(who.0).await.map_err(refused)?;
    Ok(Json(upgraded).into_response())
}

fn read_time(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

fn refused(error: String) -> Refusal {
    let help = "nothing has changed; `meridian announcements --explain` shows what is announced";
    Refusal::new(StatusCode::CONFLICT, error, help)
}
