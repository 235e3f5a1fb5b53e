//! Service addresses on the interface, as inputs of the controller.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use meridian_bgp_control::address::{AddressState as Found, Addresses};
use meridian_config::{Bgp, ServiceInterface};
use tokio::sync::watch;

use super::state::AddressState;

/// Before the sockets are bound, addresses get so long to appear.
const PREPARE: Duration = Duration::from_secs(2);

/// A service address, and why it is not there if it is not.
pub(super) type Change = (IpAddr, Result<(), String>);

/// The interface and what is wanted on it.
pub(super) struct Interface {
    addresses: Option<Addresses>,
    wanted: watch::Sender<BTreeSet<IpAddr>>,
    found: watch::Receiver<Arc<Found>>,
    known: BTreeMap<IpAddr, Result<(), String>>,
}

impl Interface {
    /// Looks after the interface of this configuration.
    pub(super) fn open(bgp: &Bgp) -> Self {
        let wanted = watch::Sender::new(service_addresses(bgp));
        let addresses = Addresses::start(interface(bgp), wanted.subscribe());
        Self {
            found: addresses.state(),
            addresses: Some(addresses),
            wanted,
            known: BTreeMap::new(),
        }
    }

    /// Wants these addresses and no others.
    pub(super) fn want(&self, addresses: &BTreeSet<IpAddr>) {
        self.wanted.send_if_modified(|before| {
            let changed = before != addresses;
            if changed {
                before.clone_from(addresses);
            }
            changed
        });
    }

    /// Waits until something may have changed.
    pub(super) async fn changed(&mut self) {
        if self.found.changed().await.is_err() {
            // The task has ended: nothing will change.
            std::future::pending().await
        }
    }

    /// What has changed since the last look, and the addresses of this host.
    pub(super) fn look(&mut self) -> (Vec<Change>, Vec<IpAddr>) {
        let found = self.found.borrow_and_update().clone();
        let mut changes = Vec::new();
        for (address, state) in &found.wanted {
            let state = match &found.problem {
                Some(problem) => Err(problem.clone()),
                None => state.clone(),
            };
            if self.known.get(address) != Some(&state) {
                self.known.insert(*address, state.clone());
                changes.push((*address, state));
            }
        }
        self.known
            .retain(|address, _| found.wanted.contains_key(address));
        (changes, found.local.iter().copied().collect())
    }

    /// Every wanted address, as it is shown, and what an operator should look at.
    pub(super) fn show(&self) -> (Vec<AddressState>, Vec<String>) {
        let one = |(address, state): (&IpAddr, &Result<(), String>)| AddressState {
            address: *address,
            problem: state.clone().err(),
        };
        let found = self.found.borrow();
        (found.wanted.iter().map(one).collect(), found.notes.clone())
    }

    /// Why the interface cannot be used.
    pub(super) fn problem(&self) -> Option<String> {
        self.found.borrow().problem.clone()
    }

    /// Takes everything off that is ours.
    pub(super) async fn remove_all(&mut self) {
        if let Some(addresses) = self.addresses.take() {
            addresses.remove_all().await;
        }
    }
}

/// Puts the service addresses where they belong before the sockets are bound: one that is listened on
/// by its own name cannot be bound without it.
pub(in crate::runtime) async fn prepare(bgp: &Bgp) {
    let wanted = service_addresses(bgp);
    let (_sender, receiver) = watch::channel(wanted.clone());
    let addresses = Addresses::start(interface(bgp), receiver);
    let mut state = addresses.state();
    let settled = state.wait_for(|found| {
        found.problem.is_some() || wanted.iter().all(|one| found.wanted.contains_key(one))
    });
    if tokio::time::timeout(PREPARE, settled).await.is_err() {
        tracing::warn!("service addresses are slow to appear on the interface");
    }
}

/// In a dry run addresses are left alone, and count as being there: the self-probe tells.
fn interface(bgp: &Bgp) -> ServiceInterface {
    if bgp.dry_run {
        return ServiceInterface::None;
    }
    bgp.interface.clone()
}

fn service_addresses(bgp: &Bgp) -> BTreeSet<IpAddr> {
    let all = bgp.announce.iter().flat_map(|one| &one.addresses);
    all.copied().collect()
}
