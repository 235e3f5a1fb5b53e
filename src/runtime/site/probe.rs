//! The self-probe: asks our own sockets on the service addresses, again and again.
//!
//! # Why
//! A process that is alive but does not answer must not hold a route (RIPE NCC, April 2024). Only a
//! query through the service address and the real sockets shows that it answers.
//!
//! # What passes
//! Every service address of the prefix × every port that covers it × UDP and TCP: a NOERROR,
//! authoritative SOA of a zone of ours, with the serial in force and with our NSID. Zones take turns.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use ipnet::IpNet;
use meridian_dns::snapshot::Snapshot;
use tokio::sync::{Notify, mpsc};

use super::{ask, judge::Expected};

/// What is asked, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The prefix that it is about.
    pub(super) prefix: IpNet,
    /// Service addresses with the ports that cover them.
    pub(super) sockets: Vec<SocketAddr>,
    /// From the end of one round to the beginning of the next.
    pub(super) interval: Duration,
    /// For one answer.
    pub(super) timeout: Duration,
}

/// How a round ended.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The prefix.
    pub(super) prefix: IpNet,
    /// The first failure, as a sentence.
    pub(super) result: Result<(), String>,
    /// Questions that were asked.
    pub(super) questions: u64,
}

/// A prefix under probe; dropping it ends the probe.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) plan: Plan,
    again: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Probe {
    /// Probes until dropped.
    pub(super) fn start(
        plan: Plan,
        snapshot: Arc<ArcSwap<Snapshot>>,
        outcomes: mpsc::Sender<Outcome>,
    ) -> Self {
        let again = Arc::new(Notify::new());
        let task = tokio::spawn(run(plan.clone(), snapshot, outcomes, again.clone()));
        Self { plan, again, task }
    }

    /// The next round begins at once.
    pub(super) fn again(&self) {
        self.again.notify_one();
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    plan: Plan,
    snapshot: Arc<ArcSwap<Snapshot>>,
    outcomes: mpsc::Sender<Outcome>,
    again: Arc<Notify>,
) {
    for turn in 0.. {
        let outcome = Outcome {
            prefix: plan.prefix,
            result: round(&plan.sockets, plan.timeout, &snapshot, turn).await,
            questions: 2 * plan.sockets.len() as u64,
        };
        if outcomes.send(outcome).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(plan.interval) => {}
            () = again.notified() => {}
        }
    }
}

/// One round. A publication while it runs is waited out once: the zones before and after it are
/// both right for a moment.
async fn round(
    sockets: &[SocketAddr],
    timeout: Duration,
    snapshot: &ArcSwap<Snapshot>,
    turn: usize,
) -> Result<(), String> {
    if sockets.is_empty() {
        return Err("no socket listens on the service address".to_owned());
    }
    let before = snapshot.load_full();
    let expected = Expected::of(&before, turn).ok_or("there is no zone to ask for")?;
    let result = all(sockets, &expected, turn, timeout).await;
    let after = snapshot.load_full();
    if result.is_ok() || Arc::ptr_eq(&before, &after) {
        return result;
    }
    match expected.again(&after) {
        Some(expected) => all(sockets, &expected, turn, timeout).await,
        None => Ok(()),
    }
}

/// One round over the DNS addresses as bound; the unspecified one is asked as loopback.
///
/// # Errors
/// The first failure.
pub(in crate::runtime) async fn ask_once(
    listens: &[SocketAddr],
    timeout: Duration,
    snapshot: &ArcSwap<Snapshot>,
    turn: usize,
) -> Result<(), String> {
    let reachable = |listen: &SocketAddr| match listen {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), v4.port())
        }
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), v6.port())
        }
        other => *other,
    };
    let sockets: Vec<_> = listens.iter().map(reachable).collect();
    round(&sockets, timeout, snapshot, turn).await
}

async fn all(
    sockets: &[SocketAddr],
    expected: &Expected,
    turn: usize,
    timeout: Duration,
) -> Result<(), String> {
    let [.., high, low] = turn.to_be_bytes();
    let id = u16::from_be_bytes([high, low]);
    let asked = sockets
        .iter()
        .map(|socket| ask::both(*socket, expected, id, timeout));
    join_all(asked).await.into_iter().collect()
}
