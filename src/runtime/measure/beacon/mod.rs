//! The beacon: browsers measure and tell.
//!
//! ```text
//! GET  /beacon.js   the script, for pages of the operator
//! POST /beacon      what a browser measured: {"fra":12.3,"iad":90.1}
//! ```
//!
//! A listener of its own, away from the admin API: everybody reaches it. Everything that a peer can
//! make it hold is bounded: connections, request heads, bodies, time, and what one client may tell.

mod share;

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderMap, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use meridian_config::{Config, LatencyBeacon};
use meridian_geo_data::latency::{Sample, report};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};

use self::share::Shares;
use super::{
    Shared,
    intake::{Source, host},
    rates::Rates,
};
use crate::runtime::monotonic;

const SCRIPT: &str = include_str!("script.js");
/// Connections open at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 256;
/// Those of one client, unless it is a proxy that is named.
const PER_CLIENT: usize = 32;
/// For the head of a request, and for its body.
const PATIENCE: Duration = Duration::from_secs(10);
/// For one connection with all of its requests.
const LIFETIME: Duration = Duration::from_secs(60);
/// Clients whose rate is kept. A client is forgotten a minute after its last report.
const CLIENTS: usize = 65_536;
/// Time between attempts to get the address.
const AGAIN: Duration = Duration::from_secs(1);
/// Attempts before it is an alarm.
const ATTEMPTS: u32 = 5;
/// What alarms are about.
const ABOUT: &str = "latency.beacon.listen";

type Reply = Response<Full<Bytes>>;

/// Opens the socket, as long as the process may.
pub(super) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves where the newest configuration says so.
pub(super) async fn run(
    mut settings: watch::Receiver<Arc<Config>>,
    mut ready: Option<(SocketAddr, std::net::TcpListener)>,
    shared: Shared,
) {
    let mut failures = 0;
    let mut site: Option<Arc<Site>> = None;
    loop {
        let config = settings.borrow_and_update().clone();
        let Some(beacon) = &config.latency.beacon else {
            (ready, site) = (None, None);
            shared.alarms.set(ABOUT, None);
            if settings.changed().await.is_err() {
                return;
            }
            continue;
        };
        let site = site.get_or_insert_with(|| Arc::new(Site::new(shared.clone())));
        site.adapt(beacon, &config);
        let kept = ready.take().filter(|(at, _)| *at == beacon.listen);
        let opened = match kept {
            Some((_, listener)) => Ok(listener),
            None => bind(beacon.listen),
        };
        let opened = opened.and_then(|listener| {
            let copy = listener.try_clone()?;
            Ok((listener, TcpListener::from_std(copy)?))
        });
        let work = async {
            match opened {
                Ok((kept, listener)) => {
                    failures = 0;
                    shared.alarms.set(ABOUT, None);
                    ready = Some((beacon.listen, kept));
                    accept(&listener, site).await;
                }
                Err(error) => {
                    failures += 1;
                    if failures >= ATTEMPTS {
                        let problem = format!("{ABOUT}: cannot bind {}: {error}", beacon.listen);
                        shared.alarms.set(ABOUT, Some(problem));
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        tokio::select! {
            () = work => {}
            changed = settings.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Never ends.
async fn accept(listener: &TcpListener, site: &Arc<Site>) {
    loop {
        let Ok(permit) = site.room.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let peer = peer.ip().to_canonical();
                let share = site.shares.take(host(peer));
                // Closed at once, if it has its share already.
                if share.is_none() && !site.is_proxy(peer) {
                    continue;
                }
                let site = site.clone();
                tokio::spawn(async move {
                    let _ = timeout(LIFETIME, serve(stream, peer, &site)).await;
                    drop((permit, share));
                });
            }
            // Out of file descriptors, for instance: wait, or this loop would spin.
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

async fn serve(stream: TcpStream, peer: IpAddr, site: &Arc<Site>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let site = site.clone();
        async move { Ok::<_, Infallible>(site.answer(request, peer).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_headers(64)
        .max_buf_size(16 << 10);
    // An error is the end of the peer.
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// What answers.
struct Site {
    shared: Shared,
    settings: ArcSwap<Settings>,
    clients: Mutex<Rates<u64>>,
    room: Arc<Semaphore>,
    shares: Arc<Shares>,
}

#[derive(Default)]
struct Settings {
    /// Empty: all.
    origins: Vec<String>,
    proxies: Vec<IpNet>,
    names: Vec<Arc<str>>,
    script: Bytes,
}

impl Site {
    fn new(shared: Shared) -> Self {
        Self {
            shared,
            settings: ArcSwap::default(),
            clients: Mutex::new(Rates::new(0.0, 0.0, CLIENTS)),
            room: Arc::new(Semaphore::new(CONNECTIONS)),
            shares: Shares::new(PER_CLIENT),
        }
    }

    /// Whether others speak through it.
    fn is_proxy(&self, peer: IpAddr) -> bool {
        let settings = self.settings.load();
        settings.proxies.iter().any(|net| net.contains(&peer))
    }

    /// Takes another configuration over.
    fn adapt(&self, beacon: &LatencyBeacon, config: &Config) {
        let per_minute = f64::from(beacon.per_client);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.limit(per_minute / 60.0, per_minute, CLIENTS);
        drop(clients);
        let names = beacon.urls.iter().map(|(pop, _)| pop.name(config).into());
        self.settings.store(Arc::new(Settings {
            origins: beacon.origins.clone(),
            proxies: beacon.proxies.clone(),
            names: names.collect(),
            script: script(beacon, config).into(),
        }));
    }

    async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Reply {
        let settings = self.settings.load_full();
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut reply = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/beacon.js") => javascript(&settings),
            (&Method::OPTIONS, "/beacon") => status(StatusCode::NO_CONTENT),
            (&Method::POST, "/beacon") => match self.take(request, peer, &settings).await {
                Ok(()) => status(StatusCode::NO_CONTENT),
                Err((code, why)) => refusal(code, why),
            },
            (_, "/beacon.js" | "/beacon") => refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "GET /beacon.js, POST /beacon",
            ),
            _ => refusal(
                StatusCode::NOT_FOUND,
                "nothing is here: GET /beacon.js, POST /beacon",
            ),
        };
        allow(reply.headers_mut(), origin, &settings);
        reply
    }

    async fn take(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        settings: &Settings,
    ) -> Result<(), (StatusCode, &'static str)> {
        let headers = request.headers();
        if !is_ours(headers.get(header::ORIGIN), settings) {
            self.refuse("origin");
            let why = "the Origin of the page is not among latency.beacon.origins";
            return Err((StatusCode::FORBIDDEN, why));
        }
        let forwarded = headers.get_all("x-forwarded-for").into_iter();
        let forwarded = forwarded.map(|line| line.to_str().unwrap_or("?"));
        let forwarded: Vec<String> = forwarded.map(str::to_owned).collect();
        let lines = forwarded.iter().map(String::as_str);
        let Some(client) = report::client(peer, lines, &settings.proxies) else {
            self.refuse("client");
            let why = "X-Forwarded-For names no client: every address in it is one of latency.beacon.proxies, or none";
            return Err((StatusCode::BAD_REQUEST, why));
        };
        let body = Limited::new(request.into_body(), report::LONGEST).collect();
        let told = match timeout(PATIENCE, body).await {
            Ok(Ok(body)) => report::read(&body.to_bytes()),
            _ => None,
        };
        let Some(told) = told else {
            self.refuse("json");
            let why = "the body is no object of milliseconds by PoP, such as {\"fra\":12.3}, or over 2 KiB";
            return Err((StatusCode::BAD_REQUEST, why));
        };
        if self.count(client, told, settings) {
            return Ok(());
        }
        let why = "this client has told latency.beacon.per_client round trips in the last minute";
        Err((StatusCode::TOO_MANY_REQUESTS, why))
    }

    /// Whether something of it may count.
    fn count(&self, client: IpAddr, told: Vec<(String, f32)>, settings: &Settings) -> bool {
        let intake = &self.shared.intake;
        let key = intake.key(host(client));
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = clients.take(monotonic(), key, told.len());
        drop(clients);
        for _ in granted..told.len() {
            self.refuse("rate");
        }
        let mut samples = Vec::new();
        for (name, rtt_ms) in told.into_iter().take(granted) {
            match settings.names.iter().find(|known| ***known == *name) {
                Some(pop) => samples.push(Sample {
                    prefix: IpNet::from(client),
                    pop: pop.clone(),
                    rtt_ms,
                    reporter: intake.reporter(client),
                }),
                None => self.refuse("unknown_pop"),
            }
        }
        intake.offer(Source::Beacon, intake.key("beacon"), samples);
        granted > 0
    }

    fn refuse(&self, why: &str) {
        self.shared.intake.refuse(Source::Beacon, why);
    }
}

fn script(beacon: &LatencyBeacon, config: &Config) -> String {
    let named = beacon.urls.iter();
    let urls: serde_json::Map<String, serde_json::Value> = named
        .map(|(pop, url)| (pop.name(config), url.as_str().into()))
        .collect();
    let urls = serde_json::Value::Object(urls).to_string();
    let share = beacon.share.to_string();
    SCRIPT
        .replace("__SHARE__", &share)
        .replace("__URLS__", &urls)
}

/// What browsers never show, for those who try it by hand.
fn refusal(code: StatusCode, why: &'static str) -> Reply {
    let mut reply = status(code);
    *reply.body_mut() = Full::new(Bytes::from(format!("{why}\n")));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    reply.headers_mut().insert(header::CONTENT_TYPE, text);
    reply
}

fn status(code: StatusCode) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = code;
    let nothing = HeaderValue::from_static("no-store");
    reply.headers_mut().insert(header::CACHE_CONTROL, nothing);
    reply
}

fn javascript(settings: &Settings) -> Reply {
    let mut reply = Response::new(Full::new(settings.script.clone()));
    let headers = reply.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, "text/javascript; charset=utf-8");
    set(header::CACHE_CONTROL, "public, max-age=300");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // Pages with Cross-Origin-Embedder-Policy load nothing from elsewhere without it.
    set(
        header::HeaderName::from_static("cross-origin-resource-policy"),
        "cross-origin",
    );
    reply
}

/// Browsers name the page's origin in every POST to another one.
fn is_ours(origin: Option<&HeaderValue>, settings: &Settings) -> bool {
    let origin = origin.and_then(|origin| origin.to_str().ok());
    settings.origins.is_empty()
        || origin.is_some_and(|origin| settings.origins.iter().any(|known| known == origin))
}

/// The Fetch standard's CORS protocol: an origin that may send may also read the status.
fn allow(headers: &mut HeaderMap, origin: Option<HeaderValue>, settings: &Settings) {
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin.filter(|origin| is_ours(Some(origin), settings)) else {
        return;
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::ACCESS_CONTROL_ALLOW_METHODS, "POST");
    set(header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type");
    set(header::ACCESS_CONTROL_MAX_AGE, "86400");
}
