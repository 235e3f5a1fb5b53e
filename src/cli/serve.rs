//! `meridian serve`: the server, its signals, and what systemd is told.

use meridian_config::{Log, LogFormat};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, args::Serve, live::Live};
use crate::runtime::{Cause, Runtime, logging};

/// Runs until told to stop.
pub(crate) fn run(args: &Serve) -> Result<(), Failure> {
    // Read for the log's sake; the runtime reads it again and judges it.
    let config = meridian_config::load(&args.config).ok();
    let default = Log {
        format: LogFormat::Text,
        level: "info".to_owned(),
    };
    crate::runtime::privileges::keep_to_ourselves();
    // Another file may stand there when an upgrade is asked for.
    let _ = crate::runtime::upgrade::program();
    let log = config.as_ref().map_or(&default, |config| &config.log);
    let _log = logging::start(log, crate::render::Style::stderr().color());
    super::threads()?.block_on(async {
        let mut signals = Signals::new()?;
        let live = tokio::select! {
            live = Live::start(&args.config, config.as_ref()) => live?,
            () = signals.stop() => return Ok(()),
        };
        tracing::info!(admin = %live.admin, "ready");
        tell(&[NotifyState::Ready]);
        wait(&live, &mut signals).await;
        match live.runtime.successor() {
            // From here on systemd listens to the new process, and stops with it.
            Some(pid) => tell(&[NotifyState::MainPid(pid)]),
            None => tell(&[NotifyState::Stopping]),
        }
        live.stop().await;
        Ok(())
    })
}

/// Signals that a server listens to.
pub(crate) struct Signals {
    hangup: Signal,
    upgrade: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// SIGHUP
    Reload,
    /// SIGUSR2
    Upgrade,
    /// SIGTERM, SIGINT
    Stop,
}

impl Signals {
    /// Listens from now on: a signal that comes while the server starts is not lost.
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::Start);
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            upgrade: listen(SignalKind::user_defined2())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Ends when a signal asks to stop.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.upgrade.recv() => Asked::Upgrade,
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
        }
    }
}

/// Ends when the server shall stop.
async fn wait(live: &Live, signals: &mut Signals) {
    loop {
        let asked = tokio::select! {
            asked = signals.next() => asked,
            () = live.runtime.stopping() => return,
            () = live.runtime.replaced() => return,
        };
        match asked {
            Asked::Stop => return,
            // A task of its own, so that SIGTERM need not wait for a long reload.
            Asked::Reload => drop(tokio::spawn(reload(live.runtime.clone()))),
            Asked::Upgrade => {
                let runtime = live.runtime.clone();
                // What went wrong is in the log, in the events and in `status`.
                drop(tokio::spawn(
                    async move { runtime.upgrade("SIGUSR2").await },
                ));
            }
        }
    }
}

async fn reload(runtime: Runtime) {
    // sd_notify(3): with Type=notify-reload both fields stand in one message.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
    // What was wrong is in the log, in the events and in `status`.
    let _ = runtime.reload(Cause::Signal).await;
    tell(&[NotifyState::Ready]);
}

/// Tells systemd; without its socket nothing happens.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}
