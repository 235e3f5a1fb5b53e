//! Our speaker inside a namespace, driven from the test's thread.

use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use meridian_bgp_control::{
    Attributes, Desired,
    session::{Inherited, PeerEvent, PeerStatus, Speaker, SpeakerSettings},
};
use nix::sched::{CloneFlags, setns};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{broadcast, watch},
};

use super::Bed;
use crate::{PATIENCE, eventually};

/// A speaker with its own runtime, whose threads live in the namespace.
pub struct Host {
    runtime: Runtime,
    speaker: Option<Arc<Speaker>>,
    routes: watch::Sender<Arc<Vec<Desired>>>,
    status: watch::Receiver<Arc<Vec<PeerStatus>>>,
    events: broadcast::Receiver<PeerEvent>,
    served: Arc<AtomicBool>,
    seen: Vec<PeerEvent>,
}

impl Host {
    /// Starts a speaker in the host's namespace of `bed`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(bed: &Bed, settings: SpeakerSettings) -> Self {
        Self::with(bed, settings, Vec::new())
    }

    /// The same with inherited sessions.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with(bed: &Bed, settings: SpeakerSettings, inherited: Vec<Inherited>) -> Self {
        let namespace =
            File::open(format!("/var/run/netns/{}", bed.host())).expect("the namespace");
        let enter = move || setns(&namespace, CloneFlags::CLONE_NEWNET).expect("permission");
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(enter)
            .build()
            .expect("a runtime");
        let routes = watch::Sender::new(Arc::default());
        let served = Arc::new(AtomicBool::new(true));
        let (feed, pulse) = (routes.subscribe(), Arc::clone(&served));
        let starting = runtime.spawn(async move {
            let pulse = Arc::new(move || pulse.load(Ordering::Relaxed));
            Speaker::start(settings, feed, pulse, inherited)
        });
        let speaker = runtime
            .block_on(starting)
            .expect("no panic")
            .expect("a speaker");
        Self {
            status: speaker.status(),
            events: speaker.events(),
            speaker: Some(Arc::new(speaker)),
            runtime,
            routes,
            served,
            seen: Vec::new(),
        }
    }

    /// Takes new settings.
    ///
    /// # Panics
    /// When they are refused.
    pub fn reload(&self, settings: SpeakerSettings) {
        let speaker = Arc::clone(self.speaker.as_ref().expect("it runs"));
        let reloading = self.runtime.spawn(async move { speaker.reload(settings) });
        let result = self.runtime.block_on(reloading).expect("no panic");
        result.expect("good settings");
    }

    fn take(&mut self) -> Speaker {
        let speaker = self.speaker.take().expect("it runs");
        Arc::into_inner(speaker).expect("nobody else has it")
    }

    /// Wants these routes, next hops being our addresses.
    pub fn desire(&self, routes: &[(&str, Attributes)]) {
        let desired = routes.iter().map(|(prefix, attributes)| Desired {
            prefix: prefix.parse().expect("a prefix"),
            next_hop: if prefix.contains(':') {
                super::HOST_V6
            } else {
                super::HOST_V4
            }
            .parse()
            .expect("an address"),
            attributes: Some(attributes.clone()),
            reason: "test".to_owned(),
        });
        self.routes.send_replace(Arc::new(desired.collect()));
    }

    /// Whether DNS counts as served.
    pub fn serve(&self, served: bool) {
        self.served.store(served, Ordering::Relaxed);
    }

    /// The status of a peer.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn status(&self, peer: &str) -> PeerStatus {
        let all = self.status.borrow();
        all.iter()
            .find(|one| one.name == peer)
            .expect("a configured peer")
            .clone()
    }

    /// Waits until `check` finds the peer's status right.
    ///
    /// # Panics
    /// When that does not come.
    pub fn wait(&self, peer: &str, what: &str, check: impl Fn(&PeerStatus) -> bool) {
        let text = format!("{peer}: {what}");
        eventually(&text, PATIENCE, || {
            let status = self.status(peer);
            check(&status).then_some(())
        });
    }

    /// What happened so far.
    pub fn events(&mut self) -> &[PeerEvent] {
        while let Ok(event) = self.events.try_recv() {
            self.seen.push(event);
        }
        &self.seen
    }

    /// Ends it in order.
    pub fn shutdown(mut self, text: &str) {
        let speaker = self.take();
        self.runtime.block_on(speaker.shutdown(text));
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }

    /// Ends it without closing its sessions.
    pub fn hand_over(mut self) -> Vec<Inherited> {
        let speaker = self.take();
        let handed = self.runtime.block_on(speaker.hand_over());
        handed.into_iter().map(Inherited::from).collect()
    }
}
