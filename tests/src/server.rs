//! `meridian serve` under test, on loopback and ports of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{PATIENCE, Running, eventually, free_port, http, meridian, scratch};

/// What a test wants of its server.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Lines for the `[server]` table, beside `listen` and `state_directory`.
    pub server: String,
    /// Everything after `[server]` and `[admin]`; file names are relative to the folder.
    pub config: String,
    /// More files in the folder: name and text.
    pub files: Vec<(String, String)>,
    /// Rearranges the folder before the server starts.
    pub arrange: Option<fn(&Path)>,
    /// A command that gets the server's command line as its last arguments.
    pub through: Vec<String>,
}

impl ServerOptions {
    /// A configuration body (everything but `[server]` and `[admin]`) and nothing else.
    pub fn new(config: impl Into<String>) -> Self {
        Self {
            config: config.into(),
            ..Self::default()
        }
    }

    /// Adds a file to the server's folder.
    #[must_use]
    pub fn file(mut self, name: &str, text: impl Into<String>) -> Self {
        self.files.push((name.to_owned(), text.into()));
        self
    }
}

/// A running `meridian serve` in a folder of its own, removed when dropped.
#[derive(Debug)]
pub struct Server {
    /// DNS, UDP and TCP, on 127.0.0.1.
    pub dns: SocketAddr,
    /// Admin API, on 127.0.0.1.
    pub admin: SocketAddr,
    /// The process.
    pub process: Running,
    options: ServerOptions,
    folder: TempDir,
    _state: Option<TempDir>,
}

impl Server {
    /// Starts it and waits until `/readyz` says 200.
    ///
    /// # Panics
    /// When it does not become ready within [`PATIENCE`].
    pub fn start(options: ServerOptions) -> Self {
        let mut server = Self::spawn(options);
        server.wait_ready();
        server
    }

    /// Starts it without waiting.
    ///
    /// # Panics
    /// When its folder cannot be written.
    pub fn spawn(options: ServerOptions) -> Self {
        let folder = scratch();
        let dns = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let text = config_text(&options, dns, admin, &folder.path().join("state"));
        write(&folder.path().join("meridian.toml"), &text);
        let state = state_in_memory(folder.path());
        for (name, text) in &options.files {
            write(&folder.path().join(name), text);
        }
        if let Some(arrange) = options.arrange {
            arrange(folder.path());
        }
        let process = launch(&options, &folder.path().join("meridian.toml"));
        Self {
            dns,
            admin,
            process,
            options,
            folder,
            _state: state,
        }
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Panics
    /// When it ends or does not become ready within [`PATIENCE`].
    pub fn wait_ready(&mut self) {
        let (admin, process) = (self.admin, &mut self.process);
        eventually("meridian is ready", PATIENCE, || {
            if let Some(status) = process.exit_status() {
                panic!("meridian ended: {status}\n{}", process.log());
            }
            let ready = http::get(admin, "/readyz").is_ok_and(|r| r.status == 200);
            ready.then_some(())
        });
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("meridian.toml")
    }

    /// The whole text of the configuration with another body, for reloads.
    pub fn config_with(&self, body: &str) -> String {
        let mut options = self.options.clone();
        options.config = body.to_owned();
        config_text(
            &options,
            self.dns,
            self.admin,
            &self.folder.path().join("state"),
        )
    }

    /// Starts it again on the same folder and ports, after it has ended.
    pub fn start_again(&mut self) {
        self.process = launch(&self.options, &self.config_path());
        self.wait_ready();
    }

    /// The text of `/metrics`.
    ///
    /// # Panics
    /// When it cannot be fetched.
    pub fn metrics(&self) -> String {
        http::get(self.admin, "/metrics").expect("metrics").body
    }

    /// Runs another `meridian` command against this server's admin API and returns its output.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn command(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(meridian())
            .args(arguments)
            .args(["--admin", &format!("http://{}", self.admin)])
            .output()
            .expect("meridian runs")
    }
}

/// A link `state` to a folder in memory, where there is room for one. What a server keeps it writes down to
/// the disk; a disk that others keep busy takes a minute for that, which is longer than a request to the
/// admin API may take.
///
/// # Panics
/// When the folder has something of that name.
pub fn state_in_memory(folder: &Path) -> Option<TempDir> {
    let mut builder = tempfile::Builder::new();
    let state = builder.prefix("meridian-test-").tempdir_in("/dev/shm");
    let state = state.ok()?;
    std::os::unix::fs::symlink(state.path(), folder.join("state")).expect("a link");
    Some(state)
}

fn config_text(
    options: &ServerOptions,
    dns: SocketAddr,
    admin: SocketAddr,
    state: &Path,
) -> String {
    format!(
        "[server]\nlisten = [\"{dns}\"]\nstate_directory = \"{}\"\n{}\n\n\
         [admin]\nlisten = \"{admin}\"\n\n{}",
        state.display(),
        options.server,
        options.config
    )
}

fn launch(options: &ServerOptions, config: &Path) -> Running {
    let mut command = match options.through.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(meridian());
            command
        }
        None => Command::new(meridian()),
    };
    command.arg("serve").arg("--config").arg(config);
    if let Some(folder) = config.parent() {
        // As systemd does for `StateDirectory=`.
        command.env("STATE_DIRECTORY", folder.join("state"));
    }
    Running::start("meridian", &mut command)
}

fn write(path: &Path, text: &str) {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    std::fs::write(path, text).expect("a file");
}
