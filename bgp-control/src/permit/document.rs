//! What stands in the store under the key of one prefix: an entry for each site.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Format written and read. Another one is left alone.
const VERSION: u32 = 1;

/// Longest document read, octets.
const MAX_OCTETS: usize = 256 * 1024;

/// The value of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Document {
    version: u32,
    pub(crate) sites: Vec<Entry>,
}

/// One site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) site: String,
    /// A number drawn at every start of the site's process.
    pub(crate) incarnation: u64,
    /// Rises with every write of the incarnation: who sees it change knows that the site lives.
    pub(crate) nonce: u64,
    pub(crate) role: Role,
}

/// What a site says it does with the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Peers hold its route.
    Announcing,
    /// Automation keeps it withdrawn: the entry is the permit.
    Withdrawn,
}

/// Why a document cannot be used. It is never overwritten then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the document of {0} octets is too long")]
    TooLong(usize),
    #[error("the document has version {0}, ours is 1")]
    Version(u32),
    #[error("the document is damaged: {0}")]
    Damaged(String),
}

impl Document {
    pub(crate) fn new() -> Self {
        Self {
            version: VERSION,
            sites: Vec::new(),
        }
    }

    /// Reads a document; no octets are an empty one.
    pub(crate) fn read(octets: &[u8]) -> Result<Self, Unreadable> {
        if octets.is_empty() {
            return Ok(Self::new());
        }
        if octets.len() > MAX_OCTETS {
            return Err(Unreadable::TooLong(octets.len()));
        }
        let read: Self = serde_json::from_slice(octets)
            .map_err(|error| Unreadable::Damaged(error.to_string()))?;
        if read.version != VERSION {
            return Err(Unreadable::Version(read.version));
        }
        Ok(read)
    }

    pub(crate) fn write(&self) -> Bytes {
        // Strings and numbers only: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    pub(crate) fn entry(&self, site: &str) -> Option<&Entry> {
        self.sites.iter().find(|entry| entry.site == site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_is_read() {
        let mut document = Document::new();
        document.sites.push(Entry {
            site: "fra".into(),
            incarnation: u64::MAX,
            nonce: 7,
            role: Role::Withdrawn,
        });
        assert_eq!(Document::read(&document.write()).unwrap(), document);
        assert_eq!(Document::read(b"").unwrap(), Document::new());
    }

    #[test]
    fn others_documents_are_refused() {
        for (text, message) in [
            (
                r#"{"version":2,"sites":[]}"#,
                "the document has version 2, ours is 1",
            ),
            (
                "[",
                "the document is damaged: EOF while parsing a list at line 1 column 1",
            ),
        ] {
            let error = Document::read(text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
