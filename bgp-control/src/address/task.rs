//! The task that closes the gap between wanted and present addresses.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use meridian_config::ServiceInterface;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    AddressState,
    kernel::{Kernel, Refused, View, monitor},
    plan::{OwnLink, plan},
};

/// A look without any reason: against messages that the kernel dropped.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// Between attempts while the kernel refuses something.
const RETRY: Duration = Duration::from_secs(2);

/// Changes come in bursts: a link that goes down takes its addresses along.
const BURST: Duration = Duration::from_millis(5);

/// Looks in a row without a pause, while each finds something to do.
const LOOKS: usize = 4;

/// No interface has this index.
const NO_LINK: OwnLink = OwnLink {
    index: 0,
    made: false,
};

pub(super) async fn run(
    interface: ServiceInterface,
    mut wanted: watch::Receiver<BTreeSet<IpAddr>>,
    state: watch::Sender<Arc<AddressState>>,
    mut stop: oneshot::Receiver<oneshot::Sender<()>>,
) {
    let mut keeper = Keeper {
        name: match interface {
            ServiceInterface::None => None,
            ServiceInterface::Named(name) => Some(name),
        },
        added: BTreeSet::new(),
        kernel: None,
    };
    let mut changes = None;
    loop {
        if changes.is_none() {
            changes = monitor().ok();
        }
        let now = wanted.borrow_and_update().clone();
        let new = Arc::new(keeper.reconcile(&now).await);
        let pause = if changes.is_none() || new.problem.is_some() || new.is_incomplete() {
            RETRY
        } else {
            LOOK_ANYWAY
        };
        state.send_if_modified(|old| std::mem::replace(old, new.clone()) != new);
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            alive = changed(&mut changes) => {
                if !alive {
                    changes = None;
                }
                tokio::time::sleep(BURST).await;
            }
            () = tokio::time::sleep(pause) => {}
            done = &mut stop => {
                // A dropped handle is not an order: then the addresses stay.
                let Ok(done) = done else { return };
                keeper.remove_all().await;
                let _ = done.send(());
                return;
            }
        }
    }
}

async fn changed(changes: &mut Option<mpsc::Receiver<()>>) -> bool {
    match changes {
        Some(changes) => changes.recv().await.is_some(),
        None => std::future::pending().await,
    }
}

impl AddressState {
    fn is_incomplete(&self) -> bool {
        self.wanted.values().any(Result::is_err)
    }

    fn broken(wanted: &BTreeSet<IpAddr>, problem: String) -> Self {
        let state = |address: &IpAddr| (*address, Err(problem.clone()));
        Self {
            wanted: wanted.iter().map(state).collect(),
            problem: Some(problem),
            ..Self::default()
        }
    }
}

struct Keeper {
    name: Option<String>,
    /// Put there by this process; tells what is ours on kernels without marks.
    added: BTreeSet<IpAddr>,
    kernel: Option<Kernel>,
}

impl Keeper {
    async fn reconcile(&mut self, wanted: &BTreeSet<IpAddr>) -> AddressState {
        let result = match self.name.clone() {
            None => self.look_only(wanted).await,
            Some(name) => self.close_gap(&name, wanted).await,
        };
        result.unwrap_or_else(|problem| {
            self.kernel = None;
            AddressState::broken(wanted, problem)
        })
    }

    /// Hands off: the addresses are somebody else's business.
    async fn look_only(&mut self, wanted: &BTreeSet<IpAddr>) -> Result<AddressState, String> {
        let view = self.kernel()?.look(None).await;
        Ok(AddressState {
            wanted: wanted.iter().map(|address| (*address, Ok(()))).collect(),
            local: view.map(|view| view.local()).unwrap_or_default(),
            ..AddressState::default()
        })
    }

    async fn close_gap(
        &mut self,
        name: &str,
        wanted: &BTreeSet<IpAddr>,
    ) -> Result<AddressState, String> {
        let mut state = AddressState::default();
        for _ in 0..LOOKS {
            let (view, link) = self.link(name, !wanted.is_empty()).await?;
            let names = |index: u32| {
                let unnamed = || format!("interface {index}");
                view.names.get(&index).cloned().unwrap_or_else(unnamed)
            };
            let plan = plan(wanted, &view.found, link, &self.added, names);
            state = AddressState {
                wanted: plan.wanted,
                notes: plan.notes,
                problem: None,
                local: view.local(),
            };
            let mut failed = false;
            for address in plan.add.iter().copied() {
                match self.kernel()?.add(link.index, address).await {
                    Ok(()) => _ = self.added.insert(address),
                    Err(error) => {
                        failed = true;
                        state.wanted.insert(address, Err(error.to_string()));
                    }
                }
            }
            for found in &plan.remove {
                self.added.remove(&found.address);
                if let Err(error) = self.kernel()?.remove(found).await {
                    failed = true;
                    state.notes.push(error.to_string());
                }
            }
            if failed || (plan.add.is_empty() && plan.remove.is_empty()) {
                break;
            }
        }
        Ok(state)
    }

    /// The interface, made and raised if it is needed, and all that is on the machine.
    async fn link(&mut self, name: &str, needed: bool) -> Result<(View, OwnLink), String> {
        let text = |error: Refused| error.to_string();
        let kernel = self.kernel()?;
        let mut view = kernel.look(Some(name)).await.map_err(text)?;
        if view.link.is_none() && !needed {
            return Ok((view, NO_LINK));
        }
        if view.link.is_none() {
            kernel.make_link(name).await.map_err(|error| {
                format!("{error} (set interface = \"lo\" where the kernel has no dummy driver)")
            })?;
            view = kernel.look(Some(name)).await.map_err(text)?;
        }
        let (link, up) = view.link.ok_or_else(|| format!("{name} vanished"))?;
        if !up && needed {
            kernel.raise_link(link.index).await.map_err(text)?;
        }
        Ok((view, link))
    }

    async fn remove_all(&mut self) {
        let Some(name) = self.name.clone() else {
            return;
        };
        let _ = self.close_gap(&name, &BTreeSet::new()).await;
        let Ok((_, link)) = self.link(&name, false).await else {
            return;
        };
        if let (true, Ok(kernel)) = (link.made, self.kernel()) {
            let _ = kernel.remove_link(link.index).await;
        }
    }

    fn kernel(&mut self) -> Result<&Kernel, String> {
        if self.kernel.is_none() {
            let opened = Kernel::open().map_err(|error| format!("rtnetlink: {error}"))?;
            self.kernel = Some(opened);
        }
        self.kernel
            .as_ref()
            .ok_or_else(|| "rtnetlink is not open".to_owned())
    }
}
