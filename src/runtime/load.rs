//! From files to everything that a snapshot is made of: all or nothing.
//!
//! ```text
//! config::load → geo (reused, opened, or the last good copy) → dns::build → steering tests
//! ```
//!
//! Zones are read as far as they have changed, see [`meridian_dns::build`]; a change of zone files
//! alone leaves everything else as it is.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use meridian_config::{Config, Diagnostics, Geo, LoadPage};
use meridian_dns::{
    build::{self, Before, Built, Means},
    snapshot::Identity,
    zone::master::{Disk, Texts},
};
use meridian_geo_data::ClientMap;

use super::{
    last_good::{LastGood, Restored},
    watch::{Signature, Watched},
};

/// File systems stamp with a clock that may be this far behind (a tick of the kernel at 100 Hz,
/// doubled).
pub(super) const CLOCK_STEP: Duration = Duration::from_millis(20);

/// Most zone files of a refused configuration that are looked at: mending one shows at once.
const NEW_ZONES: usize = 10_000;

/// One whole, checked state.
pub struct Loaded {
    /// The configuration.
    pub config: Arc<Config>,
    /// Location data.
    pub clients: Arc<ClientMap>,
    /// Zones, steering and identity.
    pub built: Built,
    /// When it was loaded.
    pub at: Timestamp,
    /// It was built from the last good copies because the files could not be used.
    pub last_good: bool,
    /// Why an older copy of a geo database is used, if so.
    pub geo_broken: Option<String>,
    /// How the watched files looked, as far as it is certain that they looked so when they were
    /// read.
    pub seen: Signature,
    /// How the geo files looked when they were read.
    geo_signature: Signature,
    /// The files read stand below this folder of copies.
    copies: Option<PathBuf>,
}

impl Loaded {
    /// Files whose change means a reload.
    pub fn watched(&self) -> Watched {
        let mut files = named(&self.config);
        if let Some(root) = &self.copies {
            // What an operator mends are the originals.
            for file in &mut files {
                if let Ok(rest) = file.strip_prefix(root) {
                    *file = Path::new("/").join(rest);
                }
            }
        }
        Watched {
            files,
            patterns: self.config.include_patterns.clone(),
            zones: Some(self.built.files.clone()),
        }
    }
}

/// Loads from the files as they are now.
///
/// `before` is the state in force: its geo databases are used again when their files have not
/// changed. `last_good` supplies copies of geo databases that have become unreadable.
///
/// # Errors
/// Every mistake found; nothing has been changed.
pub fn load(
    path: &Path,
    before: Option<&Loaded>,
    last_good: Option<&LastGood>,
    at: Timestamp,
) -> Result<Loaded, Diagnostics> {
    let mut watched = before.map(Loaded::watched).unwrap_or_default();
    watched.files.push(path.to_owned());
    let first = watched.signature();
    let config = meridian_config::load(path)?;
    // Files that are new are looked at before they are read, too.
    watched.files = named(&config);
    let looks = watched.signature().since(&first);
    let opened = open_clients(&config, before, last_good);
    let disk = disk(at);
    let before = before.filter(|before| before.copies.is_none());
    let sources = Sources {
        texts: &disk,
        // The others answer queries meanwhile.
        workers: match before {
            Some(_) => (cores() - 1).max(1),
            None => cores(),
        },
        copies: None,
    };
    // Mistakes in zones are worth telling together with those in geo data.
    match opened {
        Ok(opened) => {
            let loaded = finish(config, opened, at, before, &sources)?;
            // What only reading told of, such as an included file, is doubted by the clock.
            let last = loaded.watched().signature().doubting(at.into());
            let seen = last.since(&looks);
            Ok(Loaded { seen, ..loaded })
        }
        Err(mut mistakes) => {
            if let Ok(clients) = ClientMap::open(&without_databases(&config.geo)) {
                let built = build::build(&config, Arc::new(clients));
                mistakes.extend(built.err().unwrap_or_default());
            }
            Err(config.blame(mistakes))
        }
    }
}

/// Reads zone files again that have changed, come or gone; everything else is as in `before`.
///
/// # Errors
/// Every mistake found; nothing has been changed.
pub fn load_zones(
    before: &Loaded,
    paths: &[PathBuf],
    at: Timestamp,
) -> Result<Loaded, Diagnostics> {
    let means = Means {
        texts: &disk(at),
        workers: (cores() - 1).max(1),
    };
    let built = build::with_files(&before.config, &before.built, paths, means)
        .map_err(|mistakes| before.config.blame(mistakes))?;
    Ok(Loaded {
        config: before.config.clone(),
        clients: before.clients.clone(),
        built,
        at,
        last_good: before.last_good,
        geo_broken: before.geo_broken.clone(),
        seen: before.seen.clone(),
        geo_signature: before.geo_signature.clone(),
        copies: before.copies.clone(),
    })
}

/// Loads from the last good copies.
///
/// # Errors
/// When they do not make a whole state (they did once: a newer version of the program may refuse
/// what an older one accepted).
pub fn load_last_good(restored: &Restored, at: Timestamp) -> Result<Loaded, Diagnostics> {
    let config = meridian_config::load_below(&restored.config, &restored.root)?;
    let clients = ClientMap::open(&config.geo)?.called(|copy| restored.original_of(copy));
    let opened = Opened {
        clients: Arc::new(clients),
        broken: None,
        signature: Signature::default(),
    };
    let sources = Sources {
        texts: restored,
        workers: cores(),
        copies: Some(restored.root.clone()),
    };
    let loaded = finish(config, opened, at, None, &sources)?;
    let seen = loaded.watched().signature().doubting(at.into());
    Ok(Loaded { seen, ..loaded })
}

/// The operator's files. Those that changed just now are doubted: file systems stamp with a clock
/// that may be this far behind (a tick of the kernel at 100 Hz, doubled).
fn disk(at: Timestamp) -> Disk {
    let since = SystemTime::from(at).duration_since(SystemTime::UNIX_EPOCH);
    Disk {
        doubt: Some(since.unwrap_or_default().saturating_sub(CLOCK_STEP)),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Where zones are read from.
struct Sources<'a> {
    texts: &'a dyn Texts,
    workers: usize,
    /// The folder that the files of the configuration stand below, when they are copies.
    copies: Option<PathBuf>,
}

/// Files that a state would be made from that was refused, beside zone files of the state in
/// force: those that its configuration names, and those with mistakes. Their change is worth
/// another look.
pub fn files_of_refused(path: &Path, before: &Loaded, mistakes: &Diagnostics) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = mistakes.0.iter().map(|one| one.file.clone()).collect();
    if let Ok(config) = meridian_config::load(path) {
        files.extend(named(&config));
        let zones = config.zones.iter().map(|zone| &zone.file);
        let new = zones.filter(|file| !before.built.files.concerns(file));
        files.extend(new.take(NEW_ZONES).cloned());
        files.extend(config.zone_folders.iter().map(|folder| folder.path.clone()));
    }
    files.sort_unstable();
    files.dedup();
    files
}

/// Every file that the last good copy must hold, beside the zones.
pub fn files_to_keep(loaded: &Loaded) -> Vec<PathBuf> {
    let mut files = loaded.watched().files;
    let secrets = secret_files(&loaded.config);
    files.retain(|file| !secrets.contains(file));
    files.sort_unstable();
    files.dedup();
    files
}

struct Opened {
    clients: Arc<ClientMap>,
    broken: Option<String>,
    signature: Signature,
}

fn finish(
    config: Config,
    opened: Opened,
    at: Timestamp,
    before: Option<&Loaded>,
    sources: &Sources<'_>,
) -> Result<Loaded, Diagnostics> {
    let copies = sources.copies.clone();
    let mut mistakes = meridian_health_prober::validate(&config)
        .err()
        .unwrap_or_default();
    let before = before.map(|before| Before {
        config: &before.config,
        built: &before.built,
    });
    let means = Means {
        texts: sources.texts,
        workers: sources.workers,
    };
    let mut built = match build::rebuild(&config, opened.clients.clone(), before, means) {
        Ok(built) => built,
        Err(more) => {
            mistakes.extend(more);
            return Err(config.blame(mistakes));
        }
    };
    mistakes.extend(meridian_dns::answer::run_tests(
        &config,
        &built.zones,
        &built.steering,
    ));
    // The last good state passed once; answering beats exactness now.
    if !mistakes.is_empty() && copies.is_none() {
        return Err(config.blame(mistakes));
    }
    if copies.is_some() {
        let identity = Identity {
            stale: true,
            ..(*built.identity).clone()
        };
        built.identity = Arc::new(identity);
    }
    Ok(Loaded {
        config: Arc::new(config),
        clients: opened.clients,
        built,
        at,
        last_good: copies.is_some(),
        copies,
        geo_broken: opened.broken,
        geo_signature: opened.signature,
        seen: Signature::default(),
    })
}

fn open_clients(
    config: &Config,
    before: Option<&Loaded>,
    last_good: Option<&LastGood>,
) -> Result<Opened, Diagnostics> {
    let watched = Watched {
        files: geo_files(&config.geo),
        ..Watched::default()
    };
    // Taken before reading: a change while reading shows at the next look.
    let signature = watched.signature();
    if let Some(before) = before
        && before.config.geo == config.geo
        && before.geo_signature == signature
    {
        return Ok(Opened {
            clients: before.clients.clone(),
            broken: before.geo_broken.clone(),
            signature,
        });
    }
    let mistakes = match ClientMap::open(&config.geo) {
        Ok(clients) => {
            return Ok(Opened {
                clients: Arc::new(clients),
                broken: None,
                signature,
            });
        }
        Err(mistakes) => mistakes,
    };
    // The databases in force, when they are the same ones; else their last good copies.
    let in_force = before.filter(|before| before.config.geo == config.geo);
    let clients = match in_force {
        Some(before) => before.clients.clone(),
        None => {
            let copies = last_good.and_then(|l| l.restore().ok().flatten());
            let opened = copies.and_then(|copies| {
                let clients = ClientMap::open(&copied(&config.geo, &copies)).ok()?;
                Some(clients.called(|copy| copies.original_of(copy)))
            });
            Arc::new(opened.ok_or_else(|| mistakes.clone())?)
        }
    };
    Ok(Opened {
        clients,
        broken: Some(mistakes.to_string()),
        signature,
    })
}

fn geo_files(geo: &Geo) -> Vec<PathBuf> {
    geo.city.iter().chain(&geo.asn).cloned().collect()
}

/// The files of the configuration, and those that it names and that a reload reads again, beside
/// the zones.
fn named(config: &Config) -> Vec<PathBuf> {
    let mut files = config.files.clone();
    files.extend(geo_files(&config.geo));
    let authorities = config.checks.iter().filter_map(|check| check.ca_file());
    files.extend(authorities.cloned());
    files.extend(load_pages(config).filter_map(LoadPage::ca_file).cloned());
    files.extend(secret_files(config));
    files
}

/// Files with secrets: their change means a reload, but no copy of them is kept.
fn secret_files(config: &Config) -> Vec<PathBuf> {
    let cookies = config.cookies.secrets.iter().map(|file| &file.path);
    let logins = load_pages(config).filter_map(|page| Some(page.login.as_ref()?.file()));
    let token = config.admin.token_file.iter();
    let tls = config.admin.tls.iter();
    let tls = tls.flat_map(|tls| {
        [
            Some(&tls.certificate),
            Some(&tls.key),
            tls.client_ca.as_ref(),
        ]
    });
    let files = cookies.chain(logins).chain(token).chain(tls.flatten());
    files.cloned().collect()
}

/// The pages that loads are read from.
fn load_pages(config: &Config) -> impl Iterator<Item = &LoadPage> {
    let sources = config.pops.iter().filter_map(|pop| pop.load.as_ref());
    sources.filter_map(|source| source.kind.page())
}

fn copied(geo: &Geo, copies: &Restored) -> Geo {
    let copy = |files: &[PathBuf]| files.iter().map(|f| copies.path_of(f)).collect();
    Geo {
        city: copy(&geo.city),
        asn: copy(&geo.asn),
        networks: geo.networks.clone(),
    }
}

fn without_databases(geo: &Geo) -> Geo {
    Geo {
        city: Vec::new(),
        asn: Vec::new(),
        networks: geo.networks.clone(),
    }
}
