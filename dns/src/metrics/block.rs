//! The counters of one worker.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    any::Any,
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};

use super::{
    Dropped, Labels,
    demand::Samples,
    tables::{BOUNDS_NS, QTYPES, RCODES, bucket_index, qtype_index, rcode_index},
};
use crate::{
    abuse::{Kind, Verdict, cookie::State},
    answer::{Steered, Summary, Transport},
    steer::Reason,
};

/// Transports, as indices.
pub(super) const TRANSPORTS: [&str; 2] = ["udp", "tcp"];
const REASONS: usize = Reason::ALL.len();
const QUERIES: usize = TRANSPORTS.len() * QTYPES.len() * RCODES.len();

/// Answers of one service with one PoP, by reason.
pub(super) type Reasons = [AtomicU64; REASONS];
/// Service name, then PoP name (empty: no PoP).
pub(super) type AnswerKey = (Arc<str>, Arc<str>);

/// The counters of one worker, on cache lines that nobody else writes.
#[derive(Debug)]
#[repr(align(128))]
pub struct Block {
    queries: [AtomicU64; QUERIES],
    durations: [AtomicU64; BOUNDS_NS.len() + 1],
    duration_sum_ns: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
    ecs: AtomicU64,
    cookies: [AtomicU64; State::ALL.len()],
    /// Replies over their rate, by kind: to be sent truncated, to be dropped.
    limited: [[AtomicU64; 2]; Kind::ALL.len()],
    table: ArcSwap<Table>,
    answers: Mutex<BTreeMap<AnswerKey, Arc<Reasons>>>,
    samples: Samples,
}

/// Counters of steered answers by the indices of one configuration: a row for each service, a cell for
/// each of its PoPs. A row is made, and a cell looked up by name, when it is first needed: whoever goes
/// over to another configuration has queries waiting.
#[derive(Debug, Default)]
struct Table {
    labels: Arc<Labels>,
    rows: Box<[OnceLock<Row>]>,
}

type Row = Box<[OnceLock<Arc<Reasons>>]>;

/// Answers that a scrape takes while a worker may have to wait for it.
const AT_ONCE: usize = 256;

impl Default for Block {
    fn default() -> Self {
        Self {
            queries: [const { AtomicU64::new(0) }; QUERIES],
            durations: Default::default(),
            duration_sum_ns: AtomicU64::new(0),
            dropped: Default::default(),
            ecs: AtomicU64::new(0),
            cookies: Default::default(),
            limited: Default::default(),
            table: ArcSwap::default(),
            answers: Mutex::default(),
            samples: Samples::default(),
        }
    }
}

impl Block {
    /// Begins a batch of queries that all see the configuration named by `labels`.
    pub fn batch(&self, labels: &Arc<Labels>) -> Batch<'_> {
        let mut table = self.table.load();
        if !Arc::ptr_eq(&table.labels, labels) {
            // Once a reload.
            self.table.store(Arc::new(Table::new(labels.clone())));
            table = self.table.load();
        }
        Batch { block: self, table }
    }

    /// Counts something that got no answer.
    pub fn count_drop(&self, why: Dropped) {
        if let Some(counter) = self.dropped.get(why as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// How often this happened so far.
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped
            .get(why as usize)
            .map_or(0, |counter| counter.load(Relaxed))
    }

    /// Queries answered so far over this transport, QTYPE and RCODE index.
    pub(super) fn queries(&self, transport: usize, qtype: usize, rcode: usize) -> u64 {
        self.queries
            .get(query_index(transport, qtype, rcode))
            .map_or(0, |counter| counter.load(Relaxed))
    }

    pub(super) fn durations(&self) -> (Vec<u64>, u64) {
        let counts = self.durations.iter().map(|c| c.load(Relaxed)).collect();
        (counts, self.duration_sum_ns.load(Relaxed))
    }

    pub(super) fn ecs(&self) -> u64 {
        self.ecs.load(Relaxed)
    }

    /// Queries so far with a cookie of this worth.
    pub(super) fn cookies(&self, state: State) -> u64 {
        let counter = self.cookies.get(state as usize);
        counter.map_or(0, |counter| counter.load(Relaxed))
    }

    /// Replies of a kind so far that were over their rate: sent truncated, dropped.
    pub(super) fn limited(&self, kind: Kind) -> [u64; 2] {
        let counters = self.limited.get(kind as usize);
        counters.map_or([0; 2], |[slip, drop]| {
            [slip.load(Relaxed), drop.load(Relaxed)]
        })
    }

    pub(super) fn samples(&self) -> &Samples {
        &self.samples
    }

    pub(super) fn answers(&self) -> Vec<(AnswerKey, Arc<Reasons>)> {
        let mut all: Vec<(AnswerKey, Arc<Reasons>)> = Vec::new();
        loop {
            let after = all.last().map(|(key, _)| key.clone());
            let from = after.as_ref().map_or(Unbounded, Excluded);
            let before = all.len();
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            let some = answers.range((from, Unbounded)).take(AT_ONCE);
            all.extend(some.map(|(key, counts)| (key.clone(), counts.clone())));
            drop(answers);
            if all.len() < before + AT_ONCE {
                return all;
            }
        }
    }

    /// Forgets the answers of services and PoPs that `keep` refuses.
    pub(super) fn retain(&self, keep: impl Fn(&AnswerKey) -> bool) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|key, _| keep(key));
    }

    #[inline]
    fn record(
        &self,
        table: &Table,
        transport: Transport,
        summary: &Summary,
        add: impl Fn(&AtomicU64, u64),
    ) {
        let transport = match transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
        };
        let (qtype, rcode) = (qtype_index(summary.qtype), rcode_index(summary.rcode));
        if let Some(counter) = self.queries.get(query_index(transport, qtype, rcode)) {
            add(counter, 1);
        }
        if summary.ecs {
            add(&self.ecs, 1);
        }
        if summary.cookie != State::Absent
            && let Some(counter) = self.cookies.get(summary.cookie as usize)
        {
            add(counter, 1);
        }
        if let Some(steered) = &summary.steered {
            if let Some(counter) = self.steered(table, steered) {
                add(counter, 1);
            }
            self.samples.record(steered.service, steered.client, add);
        }
    }

    #[inline]
    fn took(&self, took: Duration, answers: u64, add: impl Fn(&AtomicU64, u64)) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(counter) = self.durations.get(bucket_index(nanoseconds / answers)) {
            add(counter, answers);
        }
        add(&self.duration_sum_ns, nanoseconds);
    }

    #[inline]
    fn steered<'a>(&self, table: &'a Table, steered: &Steered) -> Option<&'a AtomicU64> {
        let pops = table.labels.pops.len();
        // A table of other labels than the snapshot's can only come from two batches of one block
        // around a reload: that answer goes uncounted rather than to a wrong name.
        let row = table.rows.get(steered.service.index())?;
        let pop = steered.pop.map_or(pops, |pop| pop.index().min(pops));
        let known = row.get().and_then(|row| row.get(pop)?.get());
        let reasons = known.or_else(|| self.first(table, steered.service.index(), pop))?;
        reasons.get(steered.reason as usize)
    }

    /// The cell of a service and a PoP that nobody has asked for yet. Who is faster keeps nobody waiting: it
    /// is the same one.
    #[cold]
    fn first<'a>(&self, table: &'a Table, service: usize, pop: usize) -> Option<&'a Arc<Reasons>> {
        let labels = &table.labels;
        let row = table.rows.get(service)?;
        if row.get().is_none() {
            let cells = std::iter::repeat_with(OnceLock::new);
            let _ = row.set(cells.take(labels.pops.len() + 1).collect());
        }
        let cell = row.get()?.get(pop)?;
        if cell.get().is_none() {
            let pop = labels.pops.get(pop).cloned().unwrap_or_default();
            let _ = cell.set(self.cell((labels.services.get(service)?.clone(), pop)));
        }
        cell.get()
    }

    fn cell(&self, key: AnswerKey) -> Arc<Reasons> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.entry(key).or_default().clone()
    }
}

/// A few queries that see one configuration, counted in a block that several threads write.
#[derive(Debug)]
pub struct Batch<'a> {
    block: &'a Block,
    table: Guard<Arc<Table>>,
}

impl Batch<'_> {
    /// Counts an answer.
    pub fn record(&self, transport: Transport, summary: &Summary) {
        self.block
            .record(&self.table, transport, summary, add_among_others);
    }

    /// Counts the time that so many answers took together; each counts with the mean.
    pub fn took(&self, took: Duration, answers: u64) {
        if answers > 0 {
            self.block.took(took, answers, add_among_others);
        }
    }

    /// Counts something that got no answer.
    pub fn count_drop(&self, why: Dropped) {
        self.block.count_drop(why);
    }
}

/// A block with the one thread that writes it: an addition is a load and a store, several times
/// cheaper than one that other threads may cut in on.
#[derive(Debug)]
pub struct Tally {
    block: Arc<Block>,
    table: Arc<Table>,
}

impl Tally {
    pub(super) fn new(block: Arc<Block>, labels: &Arc<Labels>) -> Self {
        let table = Arc::new(Table::new(labels.clone()));
        Self { block, table }
    }

    /// From now on queries see the configuration named by `labels`. What was needed for the one before is
    /// given back, to be freed where nobody waits.
    pub fn follow(&mut self, labels: &Arc<Labels>) -> Option<Arc<dyn Any + Send + Sync>> {
        if Arc::ptr_eq(&self.table.labels, labels) {
            return None;
        }
        let table = Arc::new(Table::new(labels.clone()));
        let before = std::mem::replace(&mut self.table, table);
        Some(before)
    }

    /// Counts an answer.
    pub fn record(&mut self, transport: Transport, summary: &Summary) {
        self.block
            .record(&self.table, transport, summary, add_alone);
    }

    /// Counts the time that so many answers took together; each counts with the mean.
    pub fn took(&mut self, took: Duration, answers: u64) {
        if answers > 0 {
            self.block.took(took, answers, add_alone);
        }
    }

    /// Counts a reply over its rate.
    pub fn limited(&mut self, kind: Kind, verdict: Verdict) {
        let Some([slip, drop]) = self.block.limited.get(kind as usize) else {
            return;
        };
        match verdict {
            Verdict::Send => {}
            Verdict::Slip => add_alone(slip, 1),
            Verdict::Drop => add_alone(drop, 1),
        }
    }

    /// Counts something that got no answer, so often.
    pub fn count_drop(&mut self, why: Dropped, count: u64) {
        if let Some(counter) = self.block.dropped.get(why as usize) {
            add_alone(counter, count);
        }
    }
}

fn add_among_others(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Relaxed);
}

fn add_alone(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

impl Table {
    fn new(labels: Arc<Labels>) -> Self {
        let rows = std::iter::repeat_with(OnceLock::new).take(labels.services.len());
        Self {
            rows: rows.collect(),
            labels,
        }
    }
}

fn query_index(transport: usize, qtype: usize, rcode: usize) -> usize {
    (transport * QTYPES.len() + qtype) * RCODES.len() + rcode
}
