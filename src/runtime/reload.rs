//! Reload: the whole new state is built and checked beside the old one, then swapped; a bad one
//! changes nothing.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use meridian_config::{Config, Diagnostic, Diagnostics};
use meridian_health_prober::{HealthSnapshot, Prepared};
use serde::Serialize;

use super::{
    Runtime, describe,
    events::{EventKind, NewEvent},
    load::{self, CLOCK_STEP, Loaded},
    monotonic,
    watch::{Known, Refused, Signature, Watched},
};

/// Time that the prober gets to lay its verdicts out for a new configuration. It takes
/// milliseconds, or longer on a machine that is very busy: clients must not be sent to what is known to be
/// down then. Without it a reload would wait for ever on a prober that has died.
const CARRY_OVER: Duration = Duration::from_secs(10);

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
    /// Zone files that differ from the state in force, because they were refused.
    pub(super) refused: Refused,
    /// The whole was refused: a change of zones alone is no way round that.
    pub(super) whole_refused: bool,
}

impl Looked {
    /// What the watcher compares with.
    pub(super) fn known(&self) -> Known {
        Known {
            signature: self.signature.clone(),
            refused: self.refused.clone(),
        }
    }
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
                looked.also = self.files_of_refused(before.clone(), &mistakes).await;
                // A file that nobody watched before may have come or changed since it was read.
                let now = self.watched(&looked.also).signature();
                looked.signature = now.since(&seen).doubting(began);
                looked.refused = refused_zones(before, began).await;
                looked.whole_refused = true;
                return Err(mistakes);
            }
        };
        *looked = Looked {
            signature: next.seen.clone(),
            ..Looked::default()
        };
        let needs_restart = needs_restart(&self.0.booted, &next.config);
        self.put_in_force(next.clone(), &cause, &needs_restart)
            .await;
        self.keep_last_good(next.clone());
        Ok(Reloaded {
            generation: self.snapshot().generation,
            needs_restart,
            geo_broken: next.geo_broken.clone(),
        })
    }

    /// Reads zone files again that have changed, come or gone, and puts the zones in force.
    ///
    /// # Errors
    /// Every mistake found; the old state answers on.
    pub(super) async fn reload_zones(&self, mut paths: Vec<PathBuf>) -> Result<(), Diagnostics> {
        let mut looked = self.0.reload.lock().await;
        let (before, _) = self.0.publisher.inputs();
        if looked.whole_refused || before.last_good {
            drop(looked);
            return self.reload(Cause::FileChange).await.map(drop);
        }
        // What was refused with others may be right with these.
        paths.extend(looked.refused.paths().cloned());
        paths.sort_unstable();
        paths.dedup();
        let began = SystemTime::from(Timestamp::now()) - CLOCK_STEP;
        match self.load_zones(before.clone(), paths.clone()).await {
            Ok(next) => {
                looked.refused = Refused::default();
                self.put_zones_in_force(&before, Arc::new(next), &paths);
                Ok(())
            }
            Err(mistakes) => {
                self.refuse(&Cause::FileChange, &mistakes);
                looked.refused = Refused::now(paths, since_epoch(began));
                Err(mistakes)
            }
        }
    }

    fn put_zones_in_force(&self, before: &Loaded, next: Arc<Loaded>, paths: &[PathBuf]) {
        let inner = &self.0;
        let same = Arc::ptr_eq(&before.built.zones, &next.built.zones);
        let refused = self.condition(|condition| {
            condition.refused_at = None;
            condition.refused.take()
        });
        if same {
            // Touched, or mended back: only how the files look is new.
            inner.publisher.looked(next.clone());
        } else {
            inner.publisher.zones(next.clone(), &self.teller());
        }
        if !same || refused.is_some() {
            let geo_broken = next.geo_broken.is_some();
            inner
                .metrics
                .loaded(next.at, next.clients.databases(), geo_broken);
            let message = format!("reloaded (a file changed): {}", listed(paths));
            self.record(NewEvent::new(EventKind::Reload, message));
        }
        self.keep_last_good(next);
    }

    async fn load_zones(
        &self,
        before: Arc<Loaded>,
        paths: Vec<PathBuf>,
    ) -> Result<Loaded, Diagnostics> {
        let work = move || load::load_zones(&before, &paths, Timestamp::now());
        let result = tokio::task::spawn_blocking(work).await;
        result.unwrap_or_else(|_| Err(self.failed_inside()))
    }

    fn failed_inside(&self) -> Diagnostics {
        Diagnostic::of_file(
            &self.0.config_path,
            "reading the configuration failed inside Meridian",
            "please report this with the file; the old configuration stays in force",
        )
        .into()
    }

    /// What is watched: the files of the state in force, and `also` others.
    pub(super) fn watched(&self, also: &[PathBuf]) -> Watched {
        let mut watched = self.0.publisher.inputs().0.watched();
        watched.files.extend_from_slice(also);
        watched
    }

    async fn files_of_refused(&self, before: Arc<Loaded>, mistakes: &Diagnostics) -> Vec<PathBuf> {
        let (path, mistakes) = (self.0.config_path.clone(), mistakes.clone());
        let work = move || load::files_of_refused(&path, &before, &mistakes);
        tokio::task::spawn_blocking(work).await.unwrap_or_default()
    }

    async fn load_again(&self, before: Arc<Loaded>) -> Result<Loaded, Diagnostics> {
        let path = self.0.config_path.clone();
        let last_good = self.0.last_good.clone();
        let work = move || load::load(&path, Some(&before), Some(&last_good), Timestamp::now());
        let result = tokio::task::spawn_blocking(work).await;
        // A panic while reading files must not take the server down.
        result.unwrap_or_else(|_| Err(self.failed_inside()))
    }

    async fn put_in_force(&self, next: Arc<Loaded>, cause: &Cause, needs_restart: &[&str]) {
        let inner = &self.0;
        inner
            .metrics
            .know_pops(next.config.pops.iter().map(|p| p.name.as_str()));
        // First: what is measured must be laid out for other cells when they come into force.
        if let Some(measure) = self.0.measure.get() {
            let (config, clients) = (next.config.clone(), next.clients.clone());
            measure.reload(config, clients).await;
        }
        self.swap(next.clone()).await;
        inner.metrics.shift_bounds(&next.config);
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
        // Before it is our turn: verdicts must not wait for files.
        let config = next.config.clone();
        let prepared = tokio::task::spawn_blocking(move || Prepared::read(&config)).await;
        // Nor for a tick, which what follows would wait for.
        let _no_tick = self.0.moving.ticking.lock().await;
        let _turn = self.0.publishing.lock().await;
        let mut health = self.0.prober.subscribe();
        let config = next.config.clone();
        let before = health.borrow_and_update().generation;
        self.0.prober.reload(config, prepared.unwrap_or_default());
        let groups = describe::groups(&next.config);
        // Groups of the same names may have other endpoints: those of before do not count.
        let knows_all = |known: &Arc<HealthSnapshot>| {
            known.generation > before && groups.iter().all(|group| known.groups.contains_key(group))
        };
        let waiting = tokio::time::timeout(CARRY_OVER, health.wait_for(knows_all));
        let in_time = matches!(waiting.await, Ok(Ok(_)));
        if !in_time {
            tracing::warn!("the prober is slow to take over; new targets count as usable");
        }
        let newest = health.borrow().clone();
        let standing = self.carried_over(next.clone(), newest.clone()).await;
        self.0
            .publisher
            .loaded(next, newest, standing, &self.teller());
        self.0.moving.wake();
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
    pub(super) fn keep_last_good(&self, loaded: Arc<Loaded>) {
        // A database that is itself a copy must not replace the copy of the real one.
        if loaded.last_good || loaded.geo_broken.is_some() {
            return;
        }
        let runtime = self.clone();
        self.0.tasks.spawn_blocking(move || {
            let is_newest = || Arc::ptr_eq(&runtime.0.publisher.inputs().0, &loaded);
            let kept = runtime
                .0
                .last_good
                .save(&runtime.0.config_path, &loaded, is_newest);
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

/// The zone files that differ from those of the state in force, as they look now.
pub(super) async fn refused_zones(before: Arc<Loaded>, began: SystemTime) -> Refused {
    let work = move || {
        let disk = meridian_dns::zone::master::Disk::default();
        Refused::now(before.built.files.differing(&disk), since_epoch(began))
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

fn since_epoch(time: SystemTime) -> Duration {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

/// Files in words, the first few by name.
fn listed(paths: &[PathBuf]) -> String {
    const NAMED: usize = 3;
    let named = paths.iter().take(NAMED);
    let mut text: Vec<String> = named.map(|path| path.display().to_string()).collect();
    if paths.len() > NAMED {
        text.push(format!("{} more", paths.len() - NAMED));
    }
    text.join(", ")
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
