//! The demo's edges: six small HTTP servers that can be killed and broken.
//!
//! ```text
//! up ──POST /fail──→ failing (503, reachable) ──POST /heal──→ up
//! up or failing ──script──→ dead (refuses connections) ──script──→ up
//! ```

use std::{convert::Infallible, io, net::SocketAddr};

use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Bytes, server::conn::http1, service};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::places::{PLACES, Place};

/// How an edge behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Answers 200.
    Up,
    /// Answers 503.
    Failing,
    /// Refuses connections.
    Dead,
}

/// One edge; it ends when this is dropped.
pub(super) struct Edge {
    place: Place,
    state: watch::Sender<State>,
}

/// Why the edges cannot run.
#[derive(Debug, thiserror::Error)]
#[error("the edge of {pop} cannot listen on {address}: {source}")]
pub(super) struct EdgeError {
    pop: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// Starts all edges on one port; for port 0 the kernel chooses it.
pub(super) async fn start(port: u16) -> Result<(Vec<Edge>, u16), EdgeError> {
    let mut listeners = Vec::new();
    let mut chosen = port;
    for place in &PLACES {
        let address = SocketAddr::from((place.address, chosen));
        let failed = |source| EdgeError {
            pop: place.pop,
            address,
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        chosen = listener.local_addr().map_err(failed)?.port();
        listeners.push((*place, listener));
    }
    let edges = listeners.into_iter().map(|(place, listener)| {
        let (state, changes) = watch::channel(State::Up);
        tokio::spawn(run(place, listener, state.clone(), changes));
        Edge { place, state }
    });
    Ok((edges.collect(), chosen))
}

impl Edge {
    /// Its PoP.
    pub(super) fn pop(&self) -> &'static str {
        self.place.pop
    }

    /// Changes how it behaves.
    pub(super) fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    /// How it behaves now, and from now on.
    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }
}

async fn run(
    place: Place,
    first: TcpListener,
    state: watch::Sender<State>,
    mut changes: watch::Receiver<State>,
) {
    let Ok(address) = first.local_addr() else {
        return;
    };
    let mut listener = Some(first);
    loop {
        let now = *changes.borrow_and_update();
        if now == State::Dead {
            // Dropping it makes the kernel refuse connections.
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            Some(stream) = accept(listener.as_ref()) => {
                tokio::spawn(serve(place, stream, state.clone(), changes.clone()));
            }
        }
    }
}

/// The next connection; never without a listener.
async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn serve(
    place: Place,
    stream: TcpStream,
    state: watch::Sender<State>,
    mut changes: watch::Receiver<State>,
) {
    let answer = service::service_fn(|request: Request<_>| {
        let reply = reply(place, &request, &state);
        async { Ok::<_, Infallible>(reply) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        _ = connection => {}
        // A dead edge drops its open connections too.
        _ = changes.wait_for(|state| *state == State::Dead) => {}
    }
}

fn reply<B>(
    place: Place,
    request: &Request<B>,
    state: &watch::Sender<State>,
) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::POST, "/fail") => {
            state.send_replace(State::Failing);
            (
                StatusCode::OK,
                format!("{} answers 503 from now on\n", place.pop),
            )
        }
        (&Method::POST, "/heal") => {
            state.send_replace(State::Up);
            (StatusCode::OK, format!("{} is well again\n", place.pop))
        }
        _ if *state.borrow() != State::Up => {
            let text = format!("{} is broken\n", place.pop);
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
        (&Method::GET | &Method::HEAD, _) => {
            let text = format!("hello from {}, {}\n", place.pop, place.city);
            (StatusCode::OK, text)
        }
        _ => (
            StatusCode::METHOD_NOT_ALLOWED,
            "GET, POST /fail, POST /heal\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
