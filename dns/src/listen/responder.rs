//! The responder of one UDP worker: snapshot, filter of sources, fast path, else slow path, counters.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    sync::{Arc, mpsc},
    time::Instant,
};

use arc_swap::{ArcSwap, Cache};

use super::{
    Fast, Respond, is_answerable,
    packet::{Arrival, Handled, Responder, Slot},
    udp::{Count, IDLE, Old},
    wall_clock,
};
use crate::{
    abuse::{Seat, Verdict, slip},
    answer::{Meta, Outcome, Summary, Transport},
    metrics::{Dropped, Metrics, Tally},
    types::UnixTime,
};

/// What one worker answers with.
pub(super) struct Worker<S> {
    state: Cache<Arc<ArcSwap<S>>, Arc<S>>,
    /// The snapshot of this batch. The last one is handed to `old` when another takes its place, so
    /// that it is never freed here.
    snapshot: Arc<S>,
    old: mpsc::Sender<Old>,
    tally: Tally,
    /// A reply of the slow path, before it is copied into its slot.
    out: Vec<u8>,
    seat: Seat,
    /// When the batch began.
    since: Instant,
    /// The wall clock, and when it was looked at.
    wall: (UnixTime, Instant),
    /// Replies of the batch.
    replies: u64,
}

impl<S: Respond> Worker<S> {
    /// Answers from `state`.
    #[allow(clippy::disallowed_methods)] // replaced at the first batch
    pub(super) fn new(
        state: Arc<ArcSwap<S>>,
        metrics: &Metrics,
        seat: Seat,
        old: mpsc::Sender<Old>,
    ) -> Self {
        let (snapshot, now) = (state.load_full(), Instant::now());
        Self {
            tally: metrics.tally(snapshot.labels()),
            state: Cache::new(state),
            snapshot,
            old,
            out: Vec::with_capacity(4096),
            seat,
            since: now,
            wall: (wall_clock(), now),
            replies: 0,
        }
    }
}

impl<S> Worker<S> {
    fn meta(&self, arrival: &Arrival) -> Meta {
        Meta {
            source: arrival.source,
            transport: Transport::Udp,
            now: self.wall.0,
        }
    }
}

impl<S: Respond> Worker<S> {
    /// Counts the reply in `buf[..len]`, unless rate limits have it dropped; its length after what they
    /// left of it.
    #[inline]
    fn send(
        &mut self,
        arrival: &Arrival,
        summary: &Summary,
        buf: &mut [u8],
        len: usize,
    ) -> Option<usize> {
        let limits = self.snapshot.limits();
        let source = arrival.source.ip();
        let mut kept = len;
        match self.seat.judge(limits, source, summary, self.since) {
            Verdict::Send => {}
            verdict => {
                self.tally.limited(summary.kind, verdict);
                if limits.is_enforced() {
                    if verdict == Verdict::Drop {
                        self.tally.count_drop(Dropped::RateLimit, 1);
                        return None;
                    }
                    kept = slip::cut(buf, len);
                }
            }
        }
        self.tally.record(Transport::Udp, summary);
        self.replies += 1;
        Some(kept)
    }
}

impl<S: Respond> Responder for Worker<S> {
    fn begin_batch(&mut self, now: Instant) {
        self.since = now;
        // It tells seconds: no need to look every time.
        if now.saturating_duration_since(self.wall.1) >= IDLE {
            self.wall = (wall_clock(), now);
        }
        let newest = self.state.load();
        if !Arc::ptr_eq(newest, &self.snapshot) {
            let counted = self.tally.follow(newest.labels());
            let answered = std::mem::replace(&mut self.snapshot, newest.clone());
            for old in counted.into_iter().chain([answered as Old]) {
                // Fails only when that thread could not be started.
                let _ = self.old.send(old);
            }
        }
    }

    fn ahead<'q>(&mut self, queries: impl Iterator<Item = &'q [u8]>) {
        self.snapshot.ahead(queries);
    }

    fn answer(&mut self, arrival: &Arrival, slot: Slot<'_>) -> Handled {
        if !is_answerable(arrival.source) {
            self.tally.count_drop(Dropped::BadSource, 1);
            return Handled::Drop;
        }
        let meta = self.meta(arrival);
        match self.snapshot.fast(&meta, slot.buf, slot.len) {
            Fast::Reply { len, summary } => {
                let sent = self.send(arrival, &summary, slot.buf, len);
                sent.map_or(Handled::Drop, Handled::Reply)
            }
            Fast::Drop(reason) => {
                self.tally.count_drop(reason.into(), 1);
                Handled::Drop
            }
            Fast::Slow => Handled::Slow,
        }
    }

    fn answer_slow(&mut self, arrival: &Arrival, slot: Slot<'_>) -> Option<usize> {
        let meta = self.meta(arrival);
        let query = slot.buf.get(..slot.len).unwrap_or_default();
        self.out.clear();
        match self.snapshot.respond(query, &meta, &mut self.out) {
            Outcome::Reply(summary) => {
                // Never longer: the slow path keeps to the limit of UDP itself.
                slot.buf
                    .get_mut(..self.out.len())?
                    .copy_from_slice(&self.out);
                self.send(arrival, &summary, slot.buf, self.out.len())
            }
            Outcome::Drop(reason) => {
                self.tally.count_drop(reason.into(), 1);
                None
            }
        }
    }

    fn end_batch(&mut self, now: Instant) {
        let took = now.saturating_duration_since(self.since);
        self.tally.took(took, std::mem::take(&mut self.replies));
    }
}

impl<S> Count for Worker<S> {
    fn dropped(&mut self, why: Dropped, count: u64) {
        self.tally.count_drop(why, count);
    }
}
