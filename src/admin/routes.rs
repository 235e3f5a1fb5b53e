//! The routes. Each is documented in `openapi.json`; a test compares the two.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Request, State, rejection::BytesRejection},
    http::{Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post, put},
};
use ipnet::IpNet;
use meridian_config::{Family, Name};
use prometheus::{Encoder, TEXT_FORMAT, TextEncoder};
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Control, ControlError,
    access::Who,
    connection::Line,
    dashboard, events, latency, load, openapi,
    reply::{Params, Refusal, from_json, nearest, whole},
    site,
};

/// Largest request body.
const BODY_LIMIT: usize = 64 << 10;

/// Time for a request, its body included, until the head of the answer.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// The same for an upgrade: the new server reads everything and waits for its first verdicts.
const UPGRADE_TIME: Duration = Duration::from_secs(75);

/// Longest drain; an operator who means forever leaves `for` out.
const LONGEST_DRAIN: Duration = Duration::from_secs(366 * 86_400);

/// What every handler sees.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) control: Arc<dyn Control>,
    pub(super) stop: CancellationToken,
    pub(super) followers: Arc<Semaphore>,
}

/// Where an upgrade is asked for.
const UPGRADE: &str = "/api/v1/upgrade";

type Table = [(&'static str, MethodRouter<Shared>)];

/// Every path with its methods.
fn table() -> Box<Table> {
    Box::new([
        ("/", get(dashboard::page)),
        ("/dashboard.css", get(dashboard::style)),
        ("/dashboard.js", get(dashboard::script)),
        ("/dashboard.svg", get(dashboard::map)),
        ("/healthz", get(healthz)),
        ("/readyz", get(readyz)),
        ("/metrics", get(metrics)),
        ("/api/v1/status", get(status)),
        ("/api/v1/pops", get(pops)),
        ("/api/v1/pops/{pop}", get(pop)),
        ("/api/v1/pops/{pop}/drain", put(drain).delete(undrain)),
        ("/api/v1/pops/{pop}/load", put(load::push)),
        ("/api/v1/latency", post(latency::latency)),
        ("/api/v1/explain", get(explain)),
        ("/api/v1/demand", get(demand)),
        ("/api/v1/events", get(events::events)),
        ("/api/v1/reload", post(reload)),
        ("/api/v1/announcements", get(site::announcements)),
        (
            "/api/v1/blackholes",
            post(site::blackhole).delete(site::end_blackhole),
        ),
        (UPGRADE, post(site::upgrade)),
        ("/api/v1/openapi.json", get(openapi::document)),
    ])
}

/// The whole router with its guards.
pub(super) fn router(control: Arc<dyn Control>, stop: CancellationToken) -> Router {
    let shared = Shared {
        control,
        stop,
        followers: Arc::new(Semaphore::new(events::FOLLOWERS)),
    };
    let mut router = Router::new();
    for (path, methods) in table() {
        router = router.route(path, methods);
    }
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(guard))
        .with_state(shared)
}

/// Access, time, and the log of writes: who did what, and whether it was done.
async fn guard(Extension(line): Extension<Line>, mut request: Request, next: Next) -> Response {
    let who = match line.judge(request.uri(), request.headers()) {
        Ok(who) => who,
        Err(refusal) => {
            tracing::debug!(address = %line.peer.address, path = request.uri().path(), error = refusal.error, "admin: refused");
            return with_challenge(refusal);
        }
    };
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    request.extensions_mut().insert(who.clone());
    let limit = match path == UPGRADE {
        true => UPGRADE_TIME,
        false => REQUEST_TIME,
    };
    let answer = match timeout(limit, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => {
            let error = format!("the request took longer than {} s", limit.as_secs());
            let help = "a reload, drain or upgrade that has begun goes on: see `meridian events`";
            Refusal::new(StatusCode::REQUEST_TIMEOUT, error, help).into_response()
        }
    };
    if method != Method::GET && method != Method::HEAD {
        let status = answer.status().as_u16();
        // What comes every few seconds would hide the rest.
        if status < 400 && is_report(&path) {
            tracing::debug!(who = who.0, %method, path, status, "admin: write");
        } else {
            tracing::info!(who = who.0, %method, path, status, "admin: write");
        }
    }
    answer
}

/// Measurements that are brought, over and over.
fn is_report(path: &str) -> bool {
    path == "/api/v1/latency" || (path.starts_with("/api/v1/pops/") && path.ends_with("/load"))
}

fn with_challenge(refusal: Refusal) -> Response {
    let unauthorized = refusal.status == StatusCode::UNAUTHORIZED;
    let mut answer = refusal.into_response();
    if unauthorized {
        // RFC 9110 §11.6.1: "A server generating a 401 response MUST send a WWW-Authenticate
        // header field containing at least one challenge".
        let challenge = header::HeaderValue::from_static("Bearer realm=\"meridian\"");
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    answer
}

async fn healthz(params: Params) -> Result<&'static str, Refusal> {
    params.only(&[])?;
    Ok("ok\n")
}

async fn readyz(State(shared): State<Shared>, params: Params) -> Result<&'static str, Refusal> {
    params.only(&[])?;
    if shared.control.is_ready() {
        return Ok("ready\n");
    }
    let error = "not answering queries yet";
    Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error, ""))
}

async fn metrics(State(shared): State<Shared>, params: Params) -> Result<Response, Refusal> {
    params.only(&[])?;
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&shared.control.metrics(), &mut text)
        .map_err(|e| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string(), ""))?;
    Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}

async fn status(State(shared): State<Shared>, params: Params) -> Result<Response, Refusal> {
    params.only(&[])?;
    Ok(Json(shared.control.status()).into_response())
}

async fn pops(State(shared): State<Shared>, params: Params) -> Result<Response, Refusal> {
    params.only(&[])?;
    Ok(Json(shared.control.status().pops).into_response())
}

async fn pop(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, Refusal> {
    params.only(&[])?;
    let pops = shared.control.status().pops;
    match pops.iter().find(|pop| pop.name == name) {
        Some(pop) => Ok(Json(pop).into_response()),
        None => Err(unknown_pop(&shared, &name)),
    }
}

/// Body of `PUT /api/v1/pops/{pop}/drain`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct DrainBody {
    reason: Option<String>,
    #[serde(rename = "for")]
    duration: Option<String>,
}

async fn drain(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Extension(who): Extension<Who>,
    params: Params,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    params.only(&[])?;
    let (reason, duration) = read_drain(&whole(body)?)?;
    let until = shared
        .control
        .drain(&name, reason.clone(), duration, &who.0)
        .await
        .map_err(|error| refused(&shared, error))?;
    let answer = json!({ "pop": name, "drained": true, "reason": reason, "until": until });
    Ok(Json(answer).into_response())
}

fn read_drain(body: &[u8]) -> Result<(String, Option<Duration>), Refusal> {
    let help = r#"send {"reason": "switch upgrade", "for": "2h"}; both may be left out"#;
    let body: DrainBody = match body {
        [] => DrainBody::default(),
        _ => from_json(body, help)?,
    };
    if let Some(reason) = body
        .reason
        .as_deref()
        .filter(|r| r.trim().is_empty() || r.len() > 512)
    {
        let error = match reason.len() {
            0..=512 => "reason is blank",
            _ => "reason is longer than 512 octets",
        };
        return Err(Refusal::bad(error, help));
    }
    let duration = match body.duration.as_deref() {
        None => None,
        Some(text) => match humantime::parse_duration(text) {
            Ok(time) if !time.is_zero() && time <= LONGEST_DRAIN => Some(time),
            _ => {
                let error = format!("for: {text:?} is not a time between 1s and 366 days");
                return Err(Refusal::bad(error, help));
            }
        },
    };
    Ok((body.reason.unwrap_or_default(), duration))
}

async fn undrain(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Extension(who): Extension<Who>,
    params: Params,
) -> Result<Response, Refusal> {
    params.only(&[])?;
    shared
        .control
        .undrain(&name, &who.0)
        .await
        .map_err(|error| refused(&shared, error))?;
    Ok(Json(json!({ "pop": name, "drained": false })).into_response())
}

pub(super) fn refused(shared: &Shared, error: ControlError) -> Refusal {
    match error {
        ControlError::UnknownPop(name) => unknown_pop(shared, &name),
        ControlError::NotDrained(name) => {
            let help = "`meridian status` shows the overrides in force";
            Refusal::new(StatusCode::CONFLICT, format!("{name} is not drained"), help)
        }
        ControlError::NotTaken(why) => Refusal::new(StatusCode::CONFLICT, why, "nothing changed"),
        ControlError::NotKept(why) => {
            let help = "nothing changed; is server.state_directory writable?";
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why, help)
        }
    }
}

fn unknown_pop(shared: &Shared, name: &str) -> Refusal {
    let pops = shared.control.status().pops;
    let help = nearest(name, pops.iter().map(|pop| pop.name.as_str()));
    Refusal::unknown(format!("no PoP is called {name:?}"), help)
}

async fn demand(State(shared): State<Shared>, params: Params) -> Result<Response, Refusal> {
    params.only(&[])?;
    Ok(Json(shared.control.demand()).into_response())
}

async fn explain(State(shared): State<Shared>, params: Params) -> Result<Response, Refusal> {
    let params = params.only(&["name", "type", "client"])?;
    let name = params.required("name", "such as name=www.example.com")?;
    let client = params.required("client", "such as client=203.0.113.0/24")?;
    let owner: Name = name
        .parse()
        .map_err(|e| Refusal::bad(format!("name {name:?}: {e}"), ""))?;
    let family = match params.get("type").unwrap_or("A") {
        t if t.eq_ignore_ascii_case("A") => Family::V4,
        t if t.eq_ignore_ascii_case("AAAA") => Family::V6,
        t => {
            return Err(Refusal::bad(
                format!("type {t:?} is not steered"),
                "A or AAAA",
            ));
        }
    };
    let client = client
        .parse::<IpNet>()
        .or_else(|_| client.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| Refusal::bad(format!("client {client:?}"), "an address or a prefix"))?;
    match shared.control.explain(&owner, family, client.trunc()) {
        Ok(explanation) => Ok(Json(explanation).into_response()),
        Err(why) => {
            let services = shared.control.status().services;
            let wanted = owner.to_string();
            let help = nearest(&wanted, services.iter().map(|s| s.name.as_str()));
            let error = format!("{wanted} is not a service of this server: {why}");
            Err(Refusal::unknown(error, help))
        }
    }
}

async fn reload(
    State(shared): State<Shared>,
    Extension(who): Extension<Who>,
    params: Params,
) -> Result<Response, Refusal> {
    params.only(&[])?;
    match shared.control.reload(who.0).await {
        Ok(reloaded) => Ok(Json(reloaded).into_response()),
        Err(mistakes) => {
            let body = json!({
                "error": "the new state was refused; the old one stays in force",
                "help": mistakes.to_string(),
            });
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response())
        }
    }
}

async fn unknown_path() -> Refusal {
    Refusal::unknown(
        "nothing is here",
        "paths are listed in /api/v1/openapi.json",
    )
}

async fn wrong_method() -> Refusal {
    let error = "this path does not take that method";
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        error,
        "methods are listed in /api/v1/openapi.json",
    )
}

#[cfg(test)]
pub(super) fn paths() -> Vec<&'static str> {
    table().iter().map(|(path, _)| *path).collect()
}
