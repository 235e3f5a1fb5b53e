//! What one query sees: immutable, swapped whole.

use std::sync::Arc;

use meridian_config::{Chaos, Config};

use crate::{
    abuse::{Limits, cookie::Cookies},
    answer::Listed,
    steer::{Steering, View},
    zone::ZoneSet,
};

/// Everything that an answer is made from. One query loads it once.
#[derive(Clone)]
pub struct Snapshot {
    /// Rises with every publication.
    pub generation: u64,
    /// Zones: change with a reload.
    pub zones: Arc<ZoneSet>,
    /// Services and their rankings: change with a reload.
    pub steering: Arc<Steering>,
    /// Health as steering sees it: changes with every verdict.
    pub view: Arc<View>,
    /// What the server says of itself.
    pub identity: Arc<Identity>,
}

/// What the server says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Name server identifier (RFC 5001), octets as sent.
    pub nsid: Option<Box<[u8]>>,
    /// Class CHAOS (RFC 4892).
    pub chaos: Chaos,
    /// The last good state is served because the configuration is unreadable: replies carry the
    /// extended error Stale Answer (RFC 8914 §4.4).
    pub stale: bool,
    /// Server cookies (RFC 7873).
    pub cookies: Cookies,
    /// Who may ask why an answer is what it is.
    pub explain: Listed,
    /// Rates of replies over UDP.
    pub limits: Limits,
}

impl From<&Config> for Identity {
    fn from(config: &Config) -> Self {
        let server = &config.server;
        Self {
            nsid: server.nsid.as_ref().map(|nsid| nsid.as_bytes().into()),
            chaos: server.chaos.clone(),
            stale: false,
            cookies: Cookies::from(&config.cookies),
            explain: Listed::from(&config.explain),
            limits: Limits::from(&config.rate_limit),
        }
    }
}
