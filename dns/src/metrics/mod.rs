//! Counters of the query path.
//!
//! ```text
//! respond → Summary → Tally::record → Block (one per worker)  ─┐
//!                     Tally::record → Block …                  ├→ Collector, at scrape
//!                     Batch::record → Block (TCP, shared)     ─┘
//! ```
//!
//! A worker adds to atomics of its own block, so a query costs no lock, no allocation and no cache
//! line that another worker writes. Everything a query could choose is an index into a fixed table
//! before it is counted: an unknown QTYPE is `other`, and service and PoP names come from the
//! configuration. Nothing that a client sent ever becomes a label.
//!
//! Steered answers are counted by service, PoP and reason. The indices of the three belong to one
//! configuration; [`Labels`] names them. After a reload a block looks its counters up by name again,
//! once for each pair, so a service that stays keeps its counts whatever its new index is.

mod block;
mod collect;
mod demand;
mod tables;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
};

pub use block::{Batch, Block, Tally};
pub use collect::Collector;
pub use demand::Asked;
pub use tables::Dropped;

/// Names of the services and PoPs of one configuration, by [`ServiceId`](crate::types::ServiceId)
/// and [`PopId`](meridian_config::PopId).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Owner names of the services, in the presentation form of [`meridian_config::Name`].
    pub services: Vec<Arc<str>>,
    /// PoP names.
    pub pops: Vec<Arc<str>>,
}

/// Every block of this process.
#[derive(Debug, Default)]
pub struct Metrics {
    blocks: Mutex<Vec<Arc<Block>>>,
}

impl Metrics {
    /// No blocks yet; each worker asks for its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new block, counted from now on.
    pub fn block(&self) -> Arc<Block> {
        let block = Arc::new(Block::default());
        self.blocks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(block.clone());
        block
    }

    /// A new block with its only writer, which begins with the configuration named by `labels`.
    pub fn tally(&self, labels: &Arc<Labels>) -> Tally {
        Tally::new(self.block(), labels)
    }

    /// A sample of the clients of all steered answers since the last call. For one reader.
    pub fn demand(&self) -> Vec<Asked> {
        let mut all = Vec::new();
        for block in self.blocks() {
            block.samples().take(&mut all);
        }
        all
    }

    /// Steered answers so far by service and PoP; the PoP is empty for answers without one.
    pub fn answers(&self) -> BTreeMap<(Arc<str>, Arc<str>), u64> {
        let mut sums = BTreeMap::new();
        for block in self.blocks() {
            for (key, reasons) in block.answers() {
                let count: u64 = reasons.iter().map(|count| count.load(Relaxed)).sum();
                *sums.entry(key).or_default() += count;
            }
        }
        sums
    }

    pub(crate) fn blocks(&self) -> Vec<Arc<Block>> {
        self.blocks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
