//! Permits: two sites can never both take the last announcement.
//!
//! ```text
//! controller ─ Claim → keeper (runner) → Lease (pure) → PermitStore: leader read, compare-and-swap
//!            ← Permit, until ─────────────────┘
//! ```

pub mod clock;
mod document;
mod keeper;
mod lease;
mod memory;

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use keeper::{Answer, Keeper};
pub use lease::{Identity, Lease, LeaseAction, LeaseInput, Rules, Timing};
pub use memory::MemoryStore;

/// What this site does with a prefix, to be told to the store truthfully.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Claim {
    /// At least one peer has been sent the route, and no operator is taking it away.
    pub announced: bool,
    /// Automation wants to withdraw it, or keeps it withdrawn: a permit is needed.
    pub withdraw: bool,
}

/// Revision of one key; 0 while the key does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A compare-and-swap that changed nothing for certain, or perhaps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CasError {
    /// The key has another revision: nothing changed.
    #[error("somebody else wrote first")]
    Conflict,
    /// It may have been written, now or later: no answer came, or the connection broke.
    #[error("no answer: {0}")]
    Ambiguous(String),
}

/// The store cannot be read now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the permit store cannot be read: {0}")]
pub struct ReadError(pub String);

/// A store that all sites share.
pub trait PermitStore: Send + Sync {
    /// Reads a key from the leader. A stale answer costs availability, never safety: every
    /// decision stands only if the compare-and-swap against its revision succeeds.
    fn read_leader(&self, key: &str) -> BoxFuture<'_, Result<(Revision, Bytes), ReadError>>;

    /// Writes a key if it still has the revision `expected` (0: if it does not exist).
    fn cas(
        &self,
        key: &str,
        expected: Revision,
        value: Bytes,
    ) -> BoxFuture<'_, Result<Revision, CasError>>;
}
