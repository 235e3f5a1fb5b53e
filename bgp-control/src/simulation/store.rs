//! A permit store with the faults of a real one.

use bytes::Bytes;

use crate::permit::{CasError, Revision};

/// Randomness of the network, from one seed.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    /// splitmix64.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// One key with all that it ever held.
#[derive(Clone, Debug)]
pub(super) struct Store {
    history: Vec<Bytes>,
}

impl Store {
    pub(super) fn new() -> Self {
        Self {
            history: vec![Bytes::new()],
        }
    }

    /// Reads the key as it was `back` writes ago.
    pub(super) fn read(&self, back: usize) -> (Revision, Bytes) {
        let at = (self.history.len() - 1).saturating_sub(back);
        (Revision(at as u64), self.history[at].clone())
    }

    pub(super) fn cas(&mut self, expected: Revision, value: Bytes) -> Result<Revision, CasError> {
        if expected.0 != self.history.len() as u64 - 1 {
            return Err(CasError::Conflict);
        }
        self.history.push(value);
        Ok(Revision(self.history.len() as u64 - 1))
    }
}
