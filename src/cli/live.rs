//! A whole server in this process, as `serve` and `demo` run it: runtime and admin listener.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use ipnet::IpNet;
use jiff::Timestamp;
use meridian_config::{Admin, Config, Diagnostics, Family, Name};
use meridian_dns::answer::NotSteered;
use meridian_geo_data::latency::{Reporter, Sample};
use meridian_health_prober::{Level, Loads};
use prometheus::proto::MetricFamily;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::{
    admin::{AdminError, Boxed, Control, ControlError, Refresh, Secrets, Server},
    runtime::{
        Cause, Options, OverrideError, Runtime, StartError, describe,
        events::{EventKind, EventLog},
        last_good::LastGood,
        measure::{NotTaken, Outcomes},
        site::state::Announcements,
        standing::DemandReport,
        status::{LoadStatus, Status},
    },
};

/// A running server.
pub(crate) struct Live {
    /// The server itself.
    pub(crate) runtime: Runtime,
    /// Where the admin API answers.
    pub(crate) admin: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Live {
    /// Starts from a configuration file. `config` is what was read of it for the log, if it could
    /// be read.
    pub(crate) async fn start(path: &Path, config: Option<&Config>) -> Result<Self, Failure> {
        // Before the runtime gives up its privileges.
        let secrets = config.map(|c| Secrets::read(&c.admin));
        let has_served = config.is_none_or(|c| has_served(path, c));
        if let Some(Err(error)) = secrets.as_ref().filter(|_| !has_served) {
            return Err(Failure::Message(error.to_string()));
        }
        let options = Options {
            config: path.to_owned(),
            state_directory: None,
        };
        let (runtime, listener) = Runtime::start(options).await?;
        let secrets = secrets.unwrap_or_else(|| Secrets::read(&runtime.config().admin));
        // Answers that were given before this start must not wait for a token or a certificate.
        let secrets = secrets.unwrap_or_else(|error| {
            runtime.admin_trouble(Some(format!(
                "the admin listener lets nobody in until its files are mended and reloaded: {error}"
            )));
            Secrets::nobody()
        });
        let server = Server::new(listener, secrets)?;
        let (admin, stop) = (server.address(), CancellationToken::new());
        tokio::spawn(renew(runtime.clone(), server.refresher(), stop.clone()));
        let control = Arc::new(Handle(runtime.clone()));
        let task = tokio::spawn(server.run(control, stop.clone()));
        Ok(Self {
            runtime,
            admin,
            stop,
            task,
        })
    }

    /// Stops answering, then the admin listener, so that its followers see the last event.
    pub(crate) async fn stop(self) {
        // A successor answers on the same admin address: two must not for long.
        if self.runtime.successor().is_some() {
            self.stop.cancel();
        }
        self.runtime.shutdown().await;
        self.stop.cancel();
        let _ = self.task.await;
    }
}

/// Whether a server with this configuration file was answering before.
fn has_served(path: &Path, config: &Config) -> bool {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let last_good = LastGood::new(&config.server.state_directory);
    matches!(last_good.restore(), Ok(Some(restored)) if restored.config == path)
}

/// After each reload the token and the certificates are read again.
async fn renew(runtime: Runtime, refresh: Refresh, stop: CancellationToken) {
    let (_, mut events) = runtime.events().follow();
    let mut before: Admin = runtime.config().admin.clone();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.recv() => event,
        };
        let reloaded = match event {
            Ok(event) => event.kind == EventKind::Reload,
            Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => true,
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        };
        if !reloaded {
            continue;
        }
        let admin = runtime.config().admin.clone();
        if admin.listen != before.listen {
            tracing::warn!(old = %before.listen, new = %admin.listen, "admin.listen changed: takes effect at the next start");
        }
        // Judged by the address that is really listened on.
        let admin = Admin {
            listen: before.listen,
            ..admin
        };
        let (refresh, wanted) = (refresh.clone(), admin.clone());
        match blocking(move || refresh.refresh(&wanted)).await {
            Ok(()) => {
                before = admin;
                runtime.admin_trouble(None);
            }
            Err(error) => runtime.admin_trouble(Some(format!(
                "the old token and certificates of the admin listener stay in force: {error}"
            ))),
        }
    }
}

/// The runtime as the admin API sees it.
struct Handle(Runtime);

impl Control for Handle {
    fn status(&self) -> Status {
        self.0.status()
    }

    fn events(&self) -> &EventLog {
        self.0.events()
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    fn metrics(&self) -> Vec<MetricFamily> {
        self.0.metrics()
    }

    fn explain(
        &self,
        name: &Name,
        family: Family,
        client: IpNet,
    ) -> Result<serde_json::Value, NotSteered> {
        let (zones, steering, view) = self.0.newest_view();
        let told = super::explain::explain(&zones, &steering, &view, name, family, client)?;
        Ok(with_readings(told, &self.0.loads()))
    }

    fn demand(&self) -> DemandReport {
        self.0.demand()
    }

    fn drain(
        &self,
        pop: &str,
        reason: String,
        duration: Option<Duration>,
        who: &str,
    ) -> Boxed<'_, Result<Option<Timestamp>, ControlError>> {
        let (runtime, pop, who) = (self.0.clone(), pop.to_owned(), who.to_owned());
        blocking(move || {
            let set = runtime.drain(&pop, reason, duration, &who)?;
            Ok(set.until.and_then(describe::timestamp))
        })
    }

    fn undrain(&self, pop: &str, who: &str) -> Boxed<'_, Result<(), ControlError>> {
        let (runtime, pop, who) = (self.0.clone(), pop.to_owned(), who.to_owned());
        blocking(move || {
            runtime.undrain(&pop, &who).map_err(|error| {
                let known = runtime.config().pop_by_name(&pop).is_some();
                match error {
                    OverrideError::NotDrained(name) if !known => ControlError::UnknownPop(name),
                    other => other.into(),
                }
            })
        })
    }

    fn push_load(&self, pop: &str, level: Level, who: &str) -> Result<LoadStatus, ControlError> {
        if self.0.config().pop_by_name(pop).is_none() {
            return Err(ControlError::UnknownPop(pop.to_owned()));
        }
        let load = self.0.push_load(pop, level, who);
        load.map_err(|error| ControlError::NotTaken(error.to_string()))
    }

    fn announcements(&self) -> Arc<Announcements> {
        self.0.announcements()
    }

    fn blackhole(
        &self,
        prefix: IpNet,
        wanted: Option<(Duration, String)>,
        who: String,
    ) -> Boxed<'_, Result<(), String>> {
        Box::pin(async move { self.0.blackhole(prefix, wanted, &who).await })
    }

    fn caller(&self, party: &str) -> Reporter {
        self.0.caller(party)
    }

    fn take_round_trips<'a>(&'a self, who: &'a str, samples: Vec<Sample>) -> Boxed<'a, Outcomes> {
        Box::pin(self.0.take_round_trips(who, samples))
    }

    fn refuse_round_trip(&self, why: &NotTaken) {
        self.0.refuse_round_trip(why);
    }

    fn upgrade(&self, who: String) -> Boxed<'_, Result<serde_json::Value, String>> {
        // A task of its own, as for a reload.
        let runtime = self.0.clone();
        let task = tokio::spawn(async move { runtime.upgrade(&who).await });
        Box::pin(async move {
            let upgraded = task
                .await
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
                .map_err(|error| error.to_string())?;
            Ok(serde_json::to_value(upgraded).unwrap_or_default())
        })
    }

    fn reload(&self, who: String) -> Boxed<'_, Result<serde_json::Value, Diagnostics>> {
        // A task of its own: a client that goes away, or the limit on a request's time, must not
        // stop a reload half-way.
        let runtime = self.0.clone();
        let task = tokio::spawn(async move { runtime.reload(Cause::Api(who)).await });
        Box::pin(async move {
            let reloaded = task
                .await
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            Ok(serde_json::to_value(reloaded).unwrap_or_default())
        })
    }
}

/// Work that waits for the disk, away from the threads that probe and publish. It goes on to its end,
/// even if whoever asked goes away.
fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Boxed<'static, T> {
    let task = tokio::task::spawn_blocking(work);
    Box::pin(async move {
        let done = task.await;
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    })
}

/// Lays the readings of this moment beside the prices that loads have led to.
fn with_readings(mut told: serde_json::Value, loads: &Loads) -> serde_json::Value {
    let candidates = told.get_mut("candidates").and_then(|c| c.as_array_mut());
    for candidate in candidates.into_iter().flatten() {
        let load = candidate
            .get("pop")
            .and_then(|pop| loads.get(pop.as_str()?));
        let reading = load.and_then(|load| serde_json::to_value(describe::load(load)).ok());
        let shown = candidate.get_mut("load").and_then(|l| l.as_object_mut());
        if let (Some(shown), Some(reading)) = (shown, reading) {
            shown.insert("reading".to_owned(), reading);
        }
    }
    told
}

impl From<OverrideError> for ControlError {
    fn from(error: OverrideError) -> Self {
        match error {
            OverrideError::NoSuchPop(name, _) => Self::UnknownPop(name),
            OverrideError::NotDrained(name) => Self::NotDrained(name),
            OverrideError::NotKept(_) => Self::NotKept(error.to_string()),
            OverrideError::HandedOver => Self::NotTaken(error.to_string()),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(mistakes) => Self::Mistakes(mistakes),
            other => Self::Message(other.to_string()),
        }
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        Self::Message(error.to_string())
    }
}
