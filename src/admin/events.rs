//! `GET /api/v1/events`: what happened, as a stream (server-sent events) or as a list.
//!
//! A follower that reconnects with `Last-Event-ID`, or that fell behind, is given what it missed
//! from the kept events, so that it sees every event once and in order.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio_util::sync::CancellationToken;

use super::{
    connection::Line,
    reply::{Params, Refusal},
    routes::Shared,
};
use crate::runtime::events::Event;

/// Followers at once; each holds a connection open.
pub(super) const FOLLOWERS: usize = 32;

/// A comment this often keeps middleboxes from closing a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn events(
    State(shared): State<Shared>,
    Extension(line): Extension<Line>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    let params = params.only(&["follow"])?;
    match params.get("follow").unwrap_or("true") {
        "true" => {}
        "false" => return Ok(Json(shared.control.events().recent()).into_response()),
        other => {
            let error = format!("follow={other:?}");
            return Err(Refusal::bad(error, "true (default) or false"));
        }
    }
    let last = last_seen(&headers)?;
    let Ok(permit) = std::sync::Arc::clone(&shared.followers).try_acquire_owned() else {
        let error = "too many follow the events already";
        let help = "ask with follow=false";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error, help));
    };
    let stream = follow(shared, line.retired(), last, permit);
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(stream).keep_alive(keep_alive).into_response())
}

/// Where the follower stands: the id it saw last, or nothing: only what is new.
fn last_seen(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(Refusal::bad("Last-Event-ID is not a number", "0: all")),
    }
}

/// State of one follower.
struct Follower {
    shared: Shared,
    /// Cancelled when it has to show anew who it is.
    retired: CancellationToken,
    last: u64,
    queue: VecDeque<Event>,
    live: broadcast::Receiver<Event>,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// Subscribes; queues the kept events after `last`.
    fn catch_up(&mut self) {
        let (kept, live) = self.shared.control.events().follow();
        let last = self.last;
        self.queue
            .extend(kept.into_iter().filter(|event| event.id > last));
        self.live = live;
    }

    /// The next event; `None` when the server stops, or no longer knows the follower.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                self.last = event.id;
                return Some(event);
            }
            let stop = self.shared.stop.clone();
            let received = tokio::select! {
                () = stop.cancelled() => return None,
                () = self.retired.cancelled() => return None,
                received = self.live.recv() => received,
            };
            match received {
                Ok(event) if event.id > self.last => self.queue.push_back(event),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => self.catch_up(),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

fn follow(
    shared: Shared,
    retired: CancellationToken,
    last: Option<u64>,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let (kept, live) = shared.control.events().follow();
    let newest = kept.last().map_or(0, |event| event.id);
    let last = match last {
        None => newest,
        // Ids start anew with the process: what was seen belongs to an earlier one.
        Some(last) if last > newest => 0,
        Some(last) => last,
    };
    let follower = Follower {
        shared,
        retired,
        last,
        queue: kept.into_iter().filter(|event| event.id > last).collect(),
        live,
        _permit: permit,
    };
    stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        // JSON has no raw line breaks, so that no message can forge another event.
        let data = serde_json::to_string(&event).unwrap_or_default();
        let out = sse::Event::default()
            .id(event.id.to_string())
            .event(event.kind.as_str())
            .data(data);
        Some((Ok(out), follower))
    })
}
