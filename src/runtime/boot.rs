//! From a path to a running server.
//!
//! ```text
//! load (or the last good state) → bind → become unprivileged → probe → publish → answer
//! ```

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use meridian_config::{Config, Diagnostics, read_file};
use meridian_dns::{
    abuse::Gate,
    listen::{Bound, ListenError, Listeners},
    metrics::{Collector, Metrics},
};
use meridian_health_prober::Prober;
use prometheus::Registry;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Condition, Inner, Runtime,
    events::{EventKind, EventLog, NewEvent},
    last_good::LastGood,
    limits,
    load::{self, Loaded},
    measure::{self, Measure, MeasureError},
    metrics::RuntimeMetrics,
    overrides,
    privileges::{self, PrivilegeError},
    publish::Publisher,
    reload::Looked,
    site::{self, Site, SiteMetrics},
    standing::{self, file},
    upgrade::Successor,
};

/// Largest configuration file that is searched for the state directory, octets.
const GUESSED_FROM: u64 = 8 << 20;

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Where to look for the last good state when the configuration cannot be read.
    pub state_directory: Option<PathBuf>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has mistakes and there is no last good state.
    #[error("{0}")]
    Config(Diagnostics),
    /// A DNS address could not be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The admin address could not be bound.
    #[error("admin.listen: cannot bind {address}: {source}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The state directory could not be made.
    #[error("server.state_directory: cannot create {path}: {source}; create it or name another")]
    State {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The user could not be changed.
    #[error(transparent)]
    User(#[from] PrivilegeError),
    /// The old server's offer cannot be read.
    #[error("the offer of the old server cannot be read: {0}")]
    Upgrade(std::io::Error),
    /// The old server goes on.
    #[error("this server does not take over: {0}")]
    TakeOver(String),
    /// No thread for announcements.
    #[error("announcements cannot be started: {0}")]
    Site(std::io::Error),
    /// Measuring latency cannot begin.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// Metrics clash: a mistake of ours.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

pub(super) async fn start(options: Options) -> Result<(Runtime, TcpListener), StartError> {
    let config_path = std::path::absolute(&options.config).unwrap_or(options.config.clone());
    let mut successor = Successor::from_environment().map_err(StartError::Upgrade)?;
    let started = boot(config_path, options, &mut successor).await;
    if let (Err(error), Some(successor)) = (&started, &successor) {
        successor.fail(&error.to_string());
    }
    let (runtime, bound, admin) = started?;
    runtime.recall().await;
    match successor {
        Some(successor) => {
            let taken = successor.take_over(&runtime, bound).await;
            taken.map_err(StartError::TakeOver)?;
        }
        None => runtime.answer(bound),
    }
    Ok((runtime, admin))
}

async fn boot(
    config_path: PathBuf,
    options: Options,
    successor: &mut Option<Successor>,
) -> Result<(Runtime, Bound, TcpListener), StartError> {
    let loading = Loading {
        path: config_path.clone(),
        state_directory: options.state_directory,
        // A successor that cannot use the files leaves the work to the server that runs.
        may_restore: successor.is_none(),
    };
    let (loaded, mistakes) = tokio::task::spawn_blocking(move || loading.load())
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        .map_err(StartError::Config)?;
    let loaded = Arc::new(loaded);
    let config = loaded.config.clone();
    create_state_directory(&config.server.state_directory)?;
    limits::raise_open_files();
    if let Some(bgp) = &config.bgp {
        site::prepare(bgp).await;
    }
    let bound = match successor {
        Some(successor) => successor.adopt(&config.server)?,
        None => Listeners::bind(&config.server)?,
    };
    let admin = match successor.as_mut().and_then(|s| s.admin(&config)) {
        Some(listener) => listener,
        None => bind_admin(config.admin.listen)?,
    };
    let opened = measure::open(&config.latency);
    if let Some(user) = &config.server.user {
        privileges::become_user(
            user,
            &config.server.state_directory,
            &privileges::needed(config.bgp.as_ref()),
        )?;
    }
    let sockets = Sockets {
        bound: &bound,
        admin: &admin,
        inherited: successor.is_some(),
    };
    let runtime = assemble(config_path, loaded, &sockets)?;
    measure(&runtime, opened)?;
    runtime.spawn_ticks();
    if let Some(mistakes) = mistakes {
        let message =
            format!("the configuration cannot be used, the last good state answers: {mistakes}");
        let now = super::monotonic();
        runtime.condition(|condition| {
            condition.refused = Some(mistakes.to_string());
            condition.refused_at = Some(now);
        });
        runtime.0.metrics.refused();
        runtime.record(NewEvent::new(EventKind::Alarm, message));
    }
    Ok((runtime, bound, admin))
}

struct Loading {
    path: PathBuf,
    state_directory: Option<PathBuf>,
    may_restore: bool,
}

impl Loading {
    /// The files as they are, else the last good state together with what is wrong.
    fn load(&self) -> Result<(Loaded, Option<Diagnostics>), Diagnostics> {
        let last_good = LastGood::new(&self.guess_state_directory());
        let now = Timestamp::now();
        let mistakes = match load::load(&self.path, None, Some(&last_good), now) {
            Ok(loaded) => return Ok((loaded, None)),
            Err(mistakes) if !self.may_restore => return Err(mistakes),
            Err(mistakes) => mistakes,
        };
        let restored = match last_good.restore() {
            // Another configuration file's state is not ours to serve.
            Ok(Some(restored)) if restored.config == self.path => restored,
            Ok(_) => return Err(mistakes),
            Err(error) => {
                tracing::error!(%error, "there is a last good state, but it cannot be used");
                return Err(mistakes);
            }
        };
        match load::load_last_good(&restored, now) {
            Ok(loaded) => Ok((loaded, Some(mistakes))),
            Err(error) => {
                tracing::error!(%error, "there is a last good state, but it cannot be used");
                Err(mistakes)
            }
        }
    }

    /// The key that names the state directory stands in the very file that may be unreadable: a
    /// plain search finds it in most files, then the service manager's word, then the default.
    fn guess_state_directory(&self) -> PathBuf {
        let named = || {
            let text = read_file(&self.path, GUESSED_FROM).ok()?;
            find_state_directory(&String::from_utf8_lossy(&text), &self.path)
        };
        let managed = || std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
        self.state_directory
            .clone()
            .or_else(named)
            .or_else(managed)
            .unwrap_or_else(|| PathBuf::from("/var/lib/meridian"))
    }
}

fn find_state_directory(text: &str, file: &Path) -> Option<PathBuf> {
    let line = text
        .lines()
        .find(|l| l.trim_start().starts_with("state_directory"))?;
    let value = line.split_once('=')?.1.trim().strip_prefix(['"', '\''])?;
    let value = &value[..value.find(['"', '\''])?];
    Some(file.parent()?.join(value))
}

fn create_state_directory(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(path)
        .map_err(|source| StartError::State {
            path: path.to_owned(),
            source,
        })
}

fn bind_admin(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bind = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|source| StartError::Admin { address, source })
}

/// Sockets that are open, and not yet read from.
struct Sockets<'a> {
    bound: &'a Bound,
    admin: &'a TcpListener,
    /// They are another process's too.
    inherited: bool,
}

impl Sockets<'_> {
    fn admin_copy(&self, address: SocketAddr) -> Result<TcpListener, StartError> {
        let copy = self.admin.try_clone();
        copy.map_err(|source| StartError::Admin { address, source })
    }
}

fn assemble(
    config_path: PathBuf,
    loaded: Arc<Loaded>,
    sockets: &Sockets<'_>,
) -> Result<Runtime, StartError> {
    let bound = sockets.bound;
    let config: Arc<Config> = loaded.config.clone();
    let registry = Registry::new();
    let metrics = RuntimeMetrics::new(&registry)?;
    let site_metrics = SiteMetrics::new(&registry)?;
    let state = &config.server.state_directory;
    let (store, broken) = overrides::Store::load(state.clone(), overrides::wall_clock());
    let prober = Prober::start(config.clone(), store.current());
    prober.register(&registry)?;
    let (remembered, forgotten) = remembered(&config, &prober);
    let health = prober.subscribe().borrow().clone();
    let gate = Arc::new(Gate::random());
    let publisher = Publisher::new(loaded.clone(), health, gate.clone());
    let dns_metrics = Arc::new(Metrics::new());
    let collector =
        Collector::of_snapshots(dns_metrics.clone(), publisher.current(), gate.clone())?;
    registry.register(Box::new(collector))?;
    first_metrics(&metrics, &loaded);
    metrics.overrides(&store.current());
    let runtime = Runtime(Arc::new(Inner {
        config_path,
        started: loaded.at,
        booted: config.clone(),
        addresses: bound.addresses().to_vec(),
        prober,
        overrides: store,
        last_good: LastGood::new(state),
        events: EventLog::default(),
        registry,
        metrics,
        reload: tokio::sync::Mutex::new(Looked {
            signature: loaded.seen.clone(),
            ..Looked::default()
        }),
        publishing: tokio::sync::Mutex::default(),
        condition: Mutex::new(Condition::default()),
        site: OnceLock::new(),
        measure: OnceLock::new(),
        dns: Arc::new(ArcSwap::from_pointee(bound.handle())),
        dns_metrics,
        gate,
        admin: sockets.admin_copy(config.admin.listen)?,
        anomalies: ArcSwap::default(),
        moving: standing::Moving::default(),
        upgrading: tokio::sync::Mutex::default(),
        successor: OnceLock::new(),
        replaced: CancellationToken::new(),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
        publisher,
    }));
    if let Some(remembered) = remembered {
        runtime.restore_standing(remembered);
    }
    runtime.spawn_tasks();
    announce(&runtime, site_metrics, sockets.inherited)?;
    if let Some(error) = broken {
        tell_lost_overrides(&runtime, &error.to_string());
    }
    if let Some(problem) = forgotten {
        runtime.record(NewEvent::new(EventKind::Alarm, problem));
    }
    tell_start(&runtime, loaded);
    Ok(runtime)
}

/// What the process before remembered of steering, and why it cannot be used. Loads go to the prober
/// at once: the first look at them must not find all PoPs unknown.
fn remembered(config: &Config, prober: &Prober) -> (Option<file::Kept>, Option<String>) {
    let state = &config.server.state_directory;
    let (mut kept, problem) = file::read(state, standing::wall_clock());
    if let Some(kept) = &mut kept {
        prober.restore_loads(std::mem::take(&mut kept.loads));
    }
    (kept, problem)
}

fn first_metrics(metrics: &RuntimeMetrics, loaded: &Loaded) {
    let pops = loaded.config.pops.iter();
    metrics.know_pops(pops.map(|pop| pop.name.as_str()));
    metrics.shift_bounds(&loaded.config);
    let geo_broken = loaded.geo_broken.is_some();
    metrics.loaded(loaded.at, loaded.clients.databases(), geo_broken);
    metrics.published(1, 0.0);
}

fn tell_start(runtime: &Runtime, loaded: Arc<Loaded>) {
    let addresses: Vec<_> = runtime
        .addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    let message = format!("answering on {}", addresses.join(", "));
    runtime.record(NewEvent::new(EventKind::Started, message));
    runtime.tell_broken_geo(&loaded);
    runtime.keep_last_good(loaded);
}

fn tell_lost_overrides(runtime: &Runtime, error: &str) {
    let problem = format!("the kept overrides cannot be used, none is in force: {error}");
    runtime.condition(|condition| condition.overrides_lost = Some(problem.clone()));
    runtime.record(NewEvent::new(EventKind::Alarm, problem));
}

/// Starts to measure latency. What it tells the runtime it tells weakly, or neither would ever end.
fn measure(runtime: &Runtime, opened: measure::Opened) -> Result<(), StartError> {
    let inner = &runtime.0;
    let weak = Arc::downgrade(inner);
    let parts = measure::Parts {
        config: inner.booted.clone(),
        clients: inner.publisher.inputs().0.clients.clone(),
        registry: &inner.registry,
        opened,
        tell: Arc::new(move |event| {
            if let Some(inner) = weak.upgrade() {
                Runtime(inner).record(event);
            }
        }),
        stop: inner.stop.clone(),
        tasks: &inner.tasks,
    };
    let _ = inner.measure.set(Measure::start(parts)?);
    Ok(())
}

/// Starts to announce, where that is configured. What it needs of the runtime it reaches weakly, or
/// neither would ever end.
fn announce(runtime: &Runtime, metrics: SiteMetrics, successor: bool) -> Result<(), StartError> {
    let inner = &runtime.0;
    let config = inner.booted.clone();
    let Some(bgp) = &config.bgp else {
        return Ok(());
    };
    let pop = config.pop(bgp.site).name.clone();
    let reach = {
        let weak = Arc::downgrade(inner);
        move || weak.upgrade().map(Runtime)
    };
    let parts = site::Parts {
        snapshot: inner.publisher.current(),
        listens: inner.addresses.clone(),
        dns: inner.dns.clone(),
        health: inner.prober.subscribe(),
        tell: {
            let reach = reach.clone();
            Arc::new(move |event| {
                if let Some(runtime) = reach() {
                    runtime.record(event);
                }
            })
        },
        exclude: {
            let reach = reach.clone();
            Arc::new(move |leaves: bool| {
                if let Some(runtime) = reach() {
                    let excluded = leaves.then(|| pop.clone());
                    runtime.0.publisher.exclude(excluded, &runtime.teller());
                    runtime.0.moving.wake();
                }
            })
        },
        stale: Arc::new(move |limit| reach().map_or(Ok(()), |runtime| runtime.stale(limit))),
        metrics,
        successor,
        config,
    };
    let site = Site::start(parts).map_err(StartError::Site)?;
    let _ = inner.site.set(site);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_is_found_in_a_broken_file() {
        let file = Path::new("/etc/meridian/meridian.toml");
        let text = "[server\nlisten = 5\n  state_directory = \"/srv/state\" # kept\n";
        assert_eq!(
            find_state_directory(text, file),
            Some(PathBuf::from("/srv/state"))
        );
        let relative = "state_directory='state'";
        let expected = Some(PathBuf::from("/etc/meridian/state"));
        assert_eq!(find_state_directory(relative, file), expected);
        assert_eq!(find_state_directory("state_directory = ", file), None);
        assert_eq!(find_state_directory("", file), None);
    }

    /// Nobody writes to it: who waits for that waits for ever.
    #[test]
    fn a_pipe_in_place_of_the_configuration_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meridian.toml");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let loading = Loading {
            path,
            state_directory: None,
            may_restore: false,
        };
        let guessed = loading.guess_state_directory();
        assert_ne!(guessed, folder.path());
        let Err(mistakes) = loading.load() else {
            panic!("it was read")
        };
        assert!(mistakes.to_string().contains("is no regular file"));
    }
}
