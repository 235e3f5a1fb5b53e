//! A small stand-in for the snapshot, so that sockets can be tested without zones.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use arc_swap::ArcSwap;
use meridian_config::{Chaos, Server, TcpLimits};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Bound, Handle, Listeners, Respond};
use crate::{
    abuse::{Gate, Kind, cookie::State},
    answer::{Meta, Outcome, Summary},
    metrics::{Block, Dropped, Labels, Metrics},
    query::DropReason,
};

/// Sends a query back as its own answer, with the bit QR set. A first octet of 0xff panics, a query
/// with QR set gets nothing, 0xfe in front gets a long answer.
#[derive(Debug, Default)]
pub(super) struct Echo {
    labels: Arc<Labels>,
    /// Told the name of the thread that frees it.
    freed: Option<mpsc::Sender<String>>,
}

impl Echo {
    /// One that tells who frees it.
    pub(super) fn traced(freed: mpsc::Sender<String>) -> Self {
        Self {
            labels: Arc::default(),
            freed: Some(freed),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        if let Some(freed) = &self.freed {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            let _ = freed.send(name);
        }
    }
}

impl Respond for Echo {
    fn respond(&self, query: &[u8], _meta: &Meta, out: &mut Vec<u8>) -> Outcome {
        match query {
            [0xff, ..] => panic!("a test asked for it"),
            [_, _, flags, ..] if query.len() >= 12 && flags & 0x80 == 0 => {}
            _ => return Outcome::Drop(DropReason::Response),
        }
        out.extend_from_slice(query);
        out[2] |= 0x80;
        if query[0] == 0xfe {
            out.resize(60_000, 0);
        }
        Outcome::Reply(Summary {
            rcode: 0,
            qtype: 1,
            ecs: false,
            steered: None,
            truncated: false,
            kind: Kind::Answer,
            imputed: 0,
            cookie: State::Absent,
        })
    }

    fn labels(&self) -> &Arc<Labels> {
        &self.labels
    }
}

/// A `[server]` table with small limits.
pub(super) fn config(listen: &[&str], workers: usize) -> Server {
    Server {
        listen: listen.iter().map(|a| a.parse().unwrap()).collect(),
        workers,
        nsid: None,
        state_directory: PathBuf::new(),
        user: None,
        chaos: Chaos {
            version: None,
            hostname: None,
        },
        tcp: TcpLimits {
            connections: 1024,
            per_client: 1024,
            idle_timeout: Duration::from_secs(10),
            in_flight: 64,
        },
    }
}

/// Running listeners over [`Echo`].
pub(super) struct Running {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) state: Arc<ArcSwap<Echo>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) handle: Handle,
    pub(super) shutdown: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

impl Running {
    pub(super) fn start(config: &Server) -> Self {
        Self::run(Listeners::bind(config).unwrap())
    }

    pub(super) fn run(bound: Bound) -> Self {
        let addresses = bound.addresses().to_vec();
        let metrics = Arc::new(Metrics::new());
        let handle = bound.handle();
        let gate = Arc::new(Gate::random());
        let shutdown = CancellationToken::new();
        let state = Arc::new(ArcSwap::from_pointee(Echo::default()));
        let task = tokio::spawn(bound.run(state.clone(), metrics.clone(), gate, shutdown.clone()));
        Self {
            addresses,
            state,
            metrics,
            handle,
            shutdown,
            task,
        }
    }

    /// How often this was counted so far, over all blocks.
    pub(super) fn dropped(&self, why: Dropped) -> u64 {
        let blocks: Vec<Arc<Block>> = self.metrics.blocks();
        blocks.iter().map(|block| block.dropped(why)).sum()
    }
}

/// A query of 12 octets or more with this number as its ID.
pub(super) fn query(id: u16) -> Vec<u8> {
    let mut query = vec![0; 12];
    query[..2].copy_from_slice(&id.to_be_bytes());
    query
}

/// Its answer.
pub(super) fn reply(id: u16) -> Vec<u8> {
    let mut reply = query(id);
    reply[2] |= 0x80;
    reply
}
