//! The DNS plane. The way of a query:
//!
//! ```text
//! listen → query → client → zone → steer → answer
//! ```
//!
//! * `listen` reads datagrams and frames, and sends what comes back;
//! * `query` parses the header, the question and EDNS (bounds first, total);
//! * `client` turns ECS or the source address into the client prefix;
//! * `zone` finds the RRset, the cut, the wildcard or the service (RFC 1034 §4.3.2);
//! * `steer` picks the PoP of a service for that client from the current view;
//! * `answer` writes the reply (compression, size limit, TC, EDNS options);
//! * `fast` does all of this in place for what resolvers ask nearly always;
//! * `abuse` judges cookies and holds rates.
//!
//! One query sees one [`snapshot::Snapshot`].

pub mod abuse;
pub mod answer;
pub mod build;
pub mod client;
pub mod fast;
pub mod listen;
pub mod metrics;
pub mod query;
pub mod snapshot;
pub mod steer;
pub mod types;
pub mod zone;
