//! Service addresses on an interface of this machine.
//!
//! ```text
//! wanted (watch) → task → kernel: look at everything → plan (pure): add, remove, leave alone
//!                   ↑        │                            └→ kernel: do it → AddressState (watch)
//!                   └────────┴ monitor: something changed → look at everything again
//! ```
//!
//! # Rules
//! 1. Look first; touch only what is absent or ours. Ours is what carries our mark
//!    (`IFA_PROTO` 0x47, kernel 5.18 and later) or was added by this process.
//! 2. Somebody else's address on our interface is used as it is and never removed; on another
//!    interface it is a conflict, reported and untouched.
//! 3. After a crash the marks tell what is ours: it stays, or goes if nobody wants it.
//! 4. IPv6 without duplicate address detection: binding would fail for seconds.
//! 5. The kernel's messages are only a reason to look again, so a lost one costs nothing but time.

mod kernel;
mod plan;
mod task;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use meridian_config::ServiceInterface;
use tokio::sync::{oneshot, watch};

/// What is true of the addresses; latest wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressState {
    /// Every wanted address: there, or why not.
    pub wanted: BTreeMap<IpAddr, Result<(), String>>,
    /// Worth an operator's look: somebody else's addresses, conflicts.
    pub notes: Vec<String>,
    /// Why the interface cannot be used at all.
    pub problem: Option<String>,
    /// All addresses of this machine: what a next hop may be.
    pub local: BTreeSet<IpAddr>,
}

/// Keeps the wanted addresses on the interface. Dropping it leaves them there.
#[derive(Debug)]
pub struct Addresses {
    state: watch::Receiver<Arc<AddressState>>,
    stop: oneshot::Sender<oneshot::Sender<()>>,
}

impl Addresses {
    /// Starts the task. Call it inside a tokio runtime. With [`ServiceInterface::None`] nothing is
    /// ever touched, and every wanted address counts as there.
    pub fn start(interface: ServiceInterface, wanted: watch::Receiver<BTreeSet<IpAddr>>) -> Self {
        let (sender, state) = watch::channel(Arc::default());
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(task::run(interface, wanted, sender, stopped));
        Self { state, stop }
    }

    /// The state; its first value, before anything was looked at, is empty.
    pub fn state(&self) -> watch::Receiver<Arc<AddressState>> {
        self.state.clone()
    }

    /// Takes off everything that is ours, and the interface if we made it. The last step of a
    /// shutdown.
    pub async fn remove_all(self) {
        let (done, removed) = oneshot::channel();
        if self.stop.send(done).is_ok() {
            let _ = removed.await;
        }
    }
}
