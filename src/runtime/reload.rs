//! Reload: the whole new state is built and checked beside the old one, then swapped; a bad one
//! changes nothing.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use meridian_config::{Config, Diagnostic, Diagnostics};
use meridian_health_prober::HealthSnapshot;
use serde::Serialize;

use super::{
    Runtime, describe,
    events::{EventKind, NewEvent},
    load::{self, Loaded},
    monotonic,
    watch::{Signature, Watched},
};

/// Time that the prober gets to lay its verdicts out for a new configuration. It takes
/// milliseconds; without it a reload would wait for ever on a prober that has died.
const CARRY_OVER: Duration = Duration::from_secs(1);

/// What asked for a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGHUP.
    Signal,
    /// `POST /api/v1/reload`, by whom.
    Api(String),
    /// A named file changed.
    FileChange,
}

/// File systems stamp with a clock that may be this far behind (a tick of the kernel at 100 Hz,
/// doubled).
const CLOCK_STEP: Duration = Duration::from_millis(20);

impl Cause {
    fn describe(&self) -> String {
        match self {
            Self::Signal => "SIGHUP".to_owned(),
            Self::Api(who) => format!("API, {who}"),
            Self::FileChange => "a file changed".to_owned(),
        }
    }
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Number of the snapshot now in force.
    pub generation: u64,
    /// Keys that differ from what the server was started with; they take effect at the next start.
    pub needs_restart: Vec<&'static str>,
    /// Why an older copy of a geo database is used, if so.
    pub geo_broken: Option<String>,
}

/// How the files looked at the newest attempt to load them.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// Before they were read.
    pub(super) signature: Signature,
    /// Files beyond those of the state in force, when the attempt was refused: mending one of them
    /// may mend the whole.
    pub(super) also: Vec<PathBuf>,
}

impl Runtime {
    /// Loads the files again and puts them in force.
    ///
    /// # Errors
    /// Every mistake found; the old state answers on.
    pub async fn reload(&self, cause: Cause) -> Result<Reloaded, Diagnostics> {
        let mut looked = self.0.reload.lock().await;
        let (before, _) = self.0.publisher.inputs();
        // Taken before reading, so that a change while reading is seen afterwards.
        let seen = self.watched(&looked.also).signature();
        let began = SystemTime::from(Timestamp::now()) - CLOCK_STEP;
        let next = match self.load_again(before.clone()).await {
            Ok(next) => Arc::new(next),
            Err(mistakes) => {
                self.refuse(&cause, &mistakes);
                looked.also = self.files_of_refused(&mistakes).await;
                // A file that nobody watched before may have come or changed since it was read.
                let now = self.watched(&looked.also).signature();
                looked.signature = now.since(&seen).doubting(began);
                return Err(mistakes);
            }
        };
        *looked = Looked {
            signature: next.seen.clone(),
            also: Vec::new(),
        };
        let needs_restart = needs_restart(&self.0.booted, &next.config);
        self.put_in_force(next.clone(), &cause, &needs_restart)
            .await;
        self.keep_last_good(next.clone(), next.seen.clone());
        Ok(Reloaded {
            generation: self.snapshot().generation,
            needs_restart,
            geo_broken: next.geo_broken.clone(),
        })
    }

    /// What is watched: the files of the state in force, and `also` others.
    pub(super) fn watched(&self, also: &[PathBuf]) -> Watched {
        let mut watched = self.0.publisher.inputs().0.watched();
        watched.files.extend_from_slice(also);
        watched
    }

    async fn files_of_refused(&self, mistakes: &Diagnostics) -> Vec<PathBuf> {
        let (path, mistakes) = (self.0.config_path.clone(), mistakes.clone());
        let work = move || load::files_of_refused(&path, &mistakes);
        tokio::task::spawn_blocking(work).await.unwrap_or_default()
    }

    async fn load_again(&self, before: Arc<Loaded>) -> Result<Loaded, Diagnostics> {
        let path = self.0.config_path.clone();
        let last_good = self.0.last_good.clone();
        let work = move || load::load(&path, Some(&before), Some(&last_good), Timestamp::now());
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            // A panic while reading files must not take the server down.
            Err(_) => Err(Diagnostic::of_file(
                &self.0.config_path,
                "reading the configuration failed inside Meridian",
                "please report this with the file; the old configuration stays in force",
            )
            .into()),
        }
    }

    async fn put_in_force(&self, next: Arc<Loaded>, cause: &Cause, needs_restart: &[&str]) {
        let inner = &self.0;
        inner
            .metrics
            .know_pops(next.config.pops.iter().map(|p| p.name.as_str()));
        self.swap(next.clone()).await;
        inner
            .metrics
            .loaded(next.at, next.clients.databases(), next.geo_broken.is_some());
        self.condition(|condition| (condition.refused, condition.refused_at) = (None, None));
        if let Some(site) = self.0.site.get() {
            site.reload(next.config.clone());
        }
        let mut message = format!("reloaded ({})", cause.describe());
        if !needs_restart.is_empty() {
            message.push_str("; changed but in force only after a restart: ");
            message.push_str(&needs_restart.join(", "));
        }
        self.record(NewEvent::new(EventKind::Reload, message));
        self.tell_broken_geo(&next);
    }

    pub(super) fn tell_broken_geo(&self, loaded: &Loaded) {
        if let Some(why) = &loaded.geo_broken {
            let message = format!("geo data cannot be read, an older copy is used: {why}");
            self.record(NewEvent::new(EventKind::Alarm, message));
        }
    }

    /// The prober goes first: what it knows under an old name of a check or a PoP it carries over
    /// to the new one, and until then a group without a verdict would count as usable.
    async fn swap(&self, next: Arc<Loaded>) {
        let _turn = self.0.publishing.lock().await;
        let mut health = self.0.prober.subscribe();
        self.0.prober.reload(next.config.clone());
        let groups = describe::groups(&next.config);
        let knows_all = |known: &Arc<HealthSnapshot>| {
            groups.iter().all(|group| known.groups.contains_key(group))
        };
        let waiting = tokio::time::timeout(CARRY_OVER, health.wait_for(knows_all));
        let in_time = matches!(waiting.await, Ok(Ok(_)));
        if !in_time {
            tracing::warn!("the prober is slow to take over; new targets count as usable");
        }
        let newest = health.borrow().clone();
        self.0.publisher.loaded(next, newest, &self.teller());
    }

    fn refuse(&self, cause: &Cause, mistakes: &Diagnostics) {
        self.0.metrics.refused();
        let why = mistakes.to_string();
        let message = format!(
            "reload refused ({}), nothing changed: {why}",
            cause.describe()
        );
        let now = monotonic();
        self.condition(|condition| {
            condition.refused = Some(why);
            condition.refused_at.get_or_insert(now);
        });
        self.record(NewEvent::new(EventKind::ReloadRefused, message));
    }

    /// Copies the files of a state in the background; a copy that cannot be kept is an alarm, not
    /// a reason to refuse the state.
    pub(super) fn keep_last_good(&self, loaded: Arc<Loaded>, read: Signature) {
        // A database that is itself a copy must not replace the copy of the real one.
        if loaded.last_good || loaded.geo_broken.is_some() {
            return;
        }
        let runtime = self.clone();
        self.0.tasks.spawn_blocking(move || {
            let files = load::files_to_keep(&loaded);
            // A newer state, or files that have changed since, make this copy pointless.
            let is_valid = || {
                Arc::ptr_eq(&runtime.0.publisher.inputs().0, &loaded)
                    && loaded.watched().signature() == read
            };
            let kept = runtime
                .0
                .last_good
                .save(&runtime.0.config_path, &files, is_valid);
            let problem = kept
                .err()
                .map(|error| format!("the last good state could not be kept: {error}"));
            runtime.condition(|condition| condition.not_kept.clone_from(&problem));
            if let Some(problem) = problem {
                runtime.record(NewEvent::new(EventKind::Alarm, problem));
            }
        });
    }
}

/// Keys that take effect only at the next start, where they differ from those at the last one.
fn needs_restart(before: &Config, after: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    let mut differs = |key, differs| {
        if differs {
            keys.push(key);
        }
    };
    differs("server.listen", before.server.listen != after.server.listen);
    differs(
        "server.workers",
        before.server.workers != after.server.workers,
    );
    differs(
        "server.state_directory",
        before.server.state_directory != after.server.state_directory,
    );
    differs("server.user", before.server.user != after.server.user);
    differs("server.tcp", before.server.tcp != after.server.tcp);
    // Its token and certificates are read again at every reload.
    differs("admin.listen", before.admin.listen != after.admin.listen);
    differs("log", before.log != after.log);
    differs("bgp", before.bgp.is_some() != after.bgp.is_some());
    let interface = |config: &Config| config.bgp.as_ref().map(|bgp| bgp.interface.clone());
    if before.bgp.is_some() && after.bgp.is_some() {
        differs("bgp.interface", interface(before) != interface(after));
    }
    keys
}
