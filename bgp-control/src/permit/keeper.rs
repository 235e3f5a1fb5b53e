//! Runs the leases against a store: one task a prefix.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::{BoxFuture, FutureExt};
use ipnet::IpNet;
use tokio::sync::{mpsc, watch};

use crate::Permit;

use super::{
    CasError, Claim, Identity, Lease, LeaseAction, LeaseInput, PermitStore, ReadError, Rules,
    Timing, clock,
};

/// An answer of the store, for [`Input::Permit`](crate::Input::Permit).
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The prefix.
    pub prefix: IpNet,
    /// The answer.
    pub permit: Permit,
    /// A held permit ends here, by [`clock::now`].
    pub until: Instant,
}

/// Keeps the claims of one site in the store. Dropping it stops all; entries then grow old.
#[derive(Debug)]
pub struct Keeper {
    shared: Shared,
    claims: Mutex<BTreeMap<IpNet, watch::Sender<Claim>>>,
}

#[derive(Clone)]
struct Shared {
    store: Arc<dyn PermitStore>,
    identity: Identity,
    rules: Rules,
    timing: Timing,
    answers: mpsc::Sender<Answer>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Keeper {
    /// A keeper without claims. Give it every prefix at once, so that it has seen the other sites
    /// when the first permit is needed.
    pub fn new(
        store: Arc<dyn PermitStore>,
        identity: Identity,
        rules: Rules,
        timing: Timing,
        answers: mpsc::Sender<Answer>,
    ) -> Self {
        let shared = Shared {
            store,
            identity,
            rules,
            timing,
            answers,
        };
        Self {
            shared,
            claims: Mutex::default(),
        }
    }

    /// Changes a claim; the first one of a prefix starts its task. Call it inside a tokio runtime.
    pub fn claim(&self, prefix: IpNet, claim: Claim) {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = claims.entry(prefix).or_insert_with(|| {
            let (sender, receiver) = watch::channel(claim);
            tokio::spawn(run(self.shared.clone(), prefix, receiver));
            sender
        });
        sender.send_if_modified(|old| std::mem::replace(old, claim) != claim);
    }
}

type Operation = BoxFuture<'static, LeaseInput>;

async fn run(shared: Shared, prefix: IpNet, mut claims: watch::Receiver<Claim>) {
    let start = clock::now();
    let mut lease = Lease::new(shared.identity.clone(), shared.rules, shared.timing, start);
    let mut operation: Option<Operation> = None;
    let mut input = LeaseInput::Claim(*claims.borrow_and_update());
    loop {
        for action in lease.step(clock::now(), input) {
            match action {
                LeaseAction::Answer { permit, until } => {
                    let answer = Answer {
                        prefix,
                        permit,
                        until,
                    };
                    if shared.answers.send(answer).await.is_err() {
                        return;
                    }
                }
                LeaseAction::Read => operation = Some(read(&shared, prefix)),
                LeaseAction::Cas { expected, value } => {
                    operation = Some(cas(&shared, prefix, expected, value));
                }
            }
        }
        let wait = lease.next_deadline().map_or(Duration::MAX, |at| {
            at.saturating_duration_since(clock::now())
        });
        input = tokio::select! {
            ended = pending_or(&mut operation) => {
                operation = None;
                ended
            }
            changed = claims.changed() => match changed {
                Ok(()) => LeaseInput::Claim(*claims.borrow_and_update()),
                Err(_) => return,
            },
            () = tokio::time::sleep(wait), if operation.is_none() => LeaseInput::Tick,
        };
    }
}

async fn pending_or(operation: &mut Option<Operation>) -> LeaseInput {
    match operation {
        Some(operation) => operation.await,
        None => std::future::pending().await,
    }
}

/// The key of a prefix: only letters, digits, dots, dashes and equal signs.
fn key(prefix: IpNet) -> String {
    let address = prefix.addr().to_string().replace(':', "-");
    format!("prefix.{address}={}", prefix.prefix_len())
}

fn read(shared: &Shared, prefix: IpNet) -> Operation {
    let (store, patience) = (shared.store.clone(), shared.timing.patience);
    async move {
        let read = tokio::time::timeout(patience, store.read_leader(&key(prefix))).await;
        LeaseInput::Read(read.unwrap_or_else(|_| Err(ReadError("no answer".to_owned()))))
    }
    .boxed()
}

fn cas(
    shared: &Shared,
    prefix: IpNet,
    expected: super::Revision,
    value: bytes::Bytes,
) -> Operation {
    let (store, patience) = (shared.store.clone(), shared.timing.patience);
    async move {
        let cas = tokio::time::timeout(patience, store.cas(&key(prefix), expected, value)).await;
        let late = || Err(CasError::Ambiguous("no answer".to_owned()));
        LeaseInput::Cas(cas.unwrap_or_else(|_| late()))
    }
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permit::MemoryStore;

    #[test]
    fn keys() {
        for (prefix, expected) in [
            ("192.0.2.53/32", "prefix.192.0.2.53=32"),
            ("2001:db8::/48", "prefix.2001-db8--=48"),
        ] {
            assert_eq!(key(prefix.parse().unwrap()), expected);
        }
    }

    /// Three sites share a store; two may withdraw, the third is refused.
    #[tokio::test]
    async fn three_sites_share_a_store() {
        let store = Arc::new(MemoryStore::default());
        let prefix: IpNet = "192.0.2.53/32".parse().unwrap();
        let rules = Rules {
            min_sites: 1,
            max_concurrent: 3,
        };
        let timing = Timing {
            renew: Duration::from_millis(20),
            ask: Duration::from_millis(20),
            ..Timing::default()
        };
        let announced = Claim {
            announced: true,
            withdraw: false,
        };
        let mut sites = Vec::new();
        for (number, site) in ["fra", "iad", "nrt"].into_iter().enumerate() {
            let (sender, answers) = mpsc::channel(16);
            let identity = Identity {
                site: site.to_owned(),
                incarnation: number as u64,
            };
            let keeper = Keeper::new(store.clone(), identity, rules, timing, sender);
            keeper.claim(prefix, announced);
            sites.push((keeper, answers));
        }
        for (keeper, _) in &sites {
            keeper.claim(
                prefix,
                Claim {
                    announced: true,
                    withdraw: true,
                },
            );
        }
        // More answers than the channel holds: the last one of each site is none of the first
        // rounds, when nobody had yet been seen to live.
        let mut last = Vec::new();
        for _ in 0..40 {
            last.clear();
            for (_, answers) in &mut sites {
                last.push(answers.recv().await.unwrap().permit);
            }
        }
        let held = last.iter().filter(|p| matches!(p, Permit::Held { .. }));
        assert_eq!(held.count(), 2, "{last:?}");
        assert!(last.contains(&Permit::Denied { others: 0 }), "{last:?}");
    }
}
