//! What happens, told as it happens: what breaks, what the prober finds, who moves where.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::{StreamExt, stream::SelectAll};
use tokio::{
    sync::{Notify, broadcast},
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    LOOK,
    ask::Resolver,
    edges::{Edge, State},
    files, now,
    places::{SAMPLES, pop_of},
};
use crate::{
    render::{Paint, Style, clean, print},
    runtime::{
        Runtime,
        events::{Event, EventKind},
    },
};

/// The teller.
pub(super) struct Story {
    server: SocketAddr,
    style: Style,
    start: Instant,
}

impl Story {
    /// The story starts now.
    pub(super) fn new(server: SocketAddr, style: Style) -> Self {
        Self {
            server,
            style,
            start: now(),
        }
    }

    /// Tells until the server stops. `begun` is notified once it is told where the clients are at first.
    pub(super) async fn tell(&self, runtime: &Runtime, edges: &[Edge], begun: &Notify) {
        let (_, mut events) = runtime.events().follow();
        let mut acts = watched(edges);
        let Ok(mut resolver) = Resolver::new(self.server).await else {
            return;
        };
        let mut seen: [Option<Ipv4Addr>; SAMPLES.len()] = [None; SAMPLES.len()];
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some((pop, state)) = acts.next() => self.act(pop, state),
                event = events.recv() => match event {
                    Ok(event) => self.event(&event),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                _ = looks.tick() => {
                    self.look(&mut resolver, &mut seen).await;
                    begun.notify_one();
                }
            }
        }
    }

    /// Asks for each sample client; tells what is new.
    async fn look(&self, resolver: &mut Resolver, seen: &mut [Option<Ipv4Addr>]) {
        let name = format!("www.{}", files::ZONE);
        for (sample, before) in SAMPLES.iter().zip(seen) {
            let Some(address) = resolver.ask(&name, sample).await else {
                continue;
            };
            if *before == Some(address) {
                continue;
            }
            let pop = pop_of(address).unwrap_or("?");
            let network = format!("{}/{}", sample.network, sample.length);
            let text = match before.and_then(pop_of) {
                None => format!(
                    "{:<8}  {network:<14}  is answered by {pop}, {address}",
                    sample.city
                ),
                Some(old) => {
                    format!(
                        "{:<8}  {network:<14}  {old} -> {pop}, {address}",
                        sample.city
                    )
                }
            };
            *before = Some(address);
            self.line("client", Paint::Bold, &text);
        }
    }

    fn act(&self, pop: &str, state: State) {
        let text = match state {
            State::Dead => format!("{pop} is killed: it refuses connections"),
            State::Failing => format!("{pop} is broken: it answers 503"),
            State::Up => format!("{pop} is mended"),
        };
        self.line("edge", Paint::Warn, &text);
    }

    fn event(&self, event: &Event) {
        let paint = match event.kind {
            EventKind::Alarm => Paint::Bad,
            EventKind::Started | EventKind::Stopping => return,
            // One endpoint a PoP here: the PoP's line says it all. Failovers: the clients' lines do.
            EventKind::Endpoint | EventKind::Failover => return,
            _ => Paint::Plain,
        };
        self.line(event.kind.as_str(), paint, &clean(&event.message));
    }

    fn line(&self, kind: &str, paint: Paint, text: &str) {
        let time = now().duration_since(self.start).as_secs_f64();
        let time = self.style.paint(Paint::Dim, &format!("{time:6.1}s"));
        let text = self.style.paint(paint, text);
        print(&format!("{time}  {kind:<8}  {text}\n"));
    }
}

type Acts = SelectAll<futures_util::stream::BoxStream<'static, (&'static str, State)>>;

/// Changes of any edge, whoever caused them.
fn watched(edges: &[Edge]) -> Acts {
    let mut acts = SelectAll::new();
    for edge in edges {
        let (pop, state) = (edge.pop(), edge.watch());
        let changes = futures_util::stream::unfold(state, |mut state| async move {
            state.changed().await.ok()?;
            let now = *state.borrow_and_update();
            Some((now, state))
        });
        acts.push(changes.map(move |state| (pop, state)).boxed());
    }
    acts
}
