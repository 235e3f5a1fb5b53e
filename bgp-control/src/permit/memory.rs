//! A permit store within one process: what the sites of a test share.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};

use super::{CasError, PermitStore, ReadError, Revision};

/// Keys and values in memory, the same for every site that has the same one.
#[derive(Debug, Default)]
pub struct MemoryStore {
    keys: Mutex<BTreeMap<String, (Revision, Bytes)>>,
}

impl PermitStore for MemoryStore {
    fn read_leader(&self, key: &str) -> BoxFuture<'_, Result<(Revision, Bytes), ReadError>> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let value = keys.get(key).cloned().unwrap_or_default();
        std::future::ready(Ok(value)).boxed()
    }

    fn cas(
        &self,
        key: &str,
        expected: Revision,
        value: Bytes,
    ) -> BoxFuture<'_, Result<Revision, CasError>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = keys.entry(key.to_owned()).or_default();
        let result = if entry.0 == expected {
            *entry = (Revision(expected.0 + 1), value);
            Ok(entry.0)
        } else {
            Err(CasError::Conflict)
        };
        std::future::ready(result).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_only_over_what_was_read() {
        let store = MemoryStore::default();
        let cas = |expected, value: &'static str| {
            store
                .cas(
                    "k",
                    Revision(expected),
                    Bytes::from_static(value.as_bytes()),
                )
                .now_or_never()
                .unwrap()
        };
        assert_eq!(cas(1, "x"), Err(CasError::Conflict));
        assert_eq!(cas(0, "a"), Ok(Revision(1)));
        assert_eq!(cas(0, "b"), Err(CasError::Conflict));
        assert_eq!(cas(1, "c"), Ok(Revision(2)));
        let read = store.read_leader("k").now_or_never().unwrap();
        assert_eq!(read, Ok((Revision(2), Bytes::from_static(b"c"))));
    }
}
