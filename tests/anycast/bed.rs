//! Namespaces with sites, a router that runs BIRD, and a client; everything ends with the bed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use meridian_tests::{
    PATIENCE, Running, copy_program, eventually, meridian, peer, scratch, state_in_memory,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid},
};
use tempfile::TempDir;

/// The prefix that every site announces.
pub(crate) const PREFIX: &str = "192.0.2.53/32";

/// A network namespace with a name that no other test has.
pub(crate) struct Namespace {
    pub(crate) name: String,
}

impl Namespace {
    fn new(what: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let name = format!("meridian-{}-{number}-{what}", std::process::id());
        must(Command::new("ip").args(["netns", "add", &name]));
        let made = Self { name };
        made.ip("link set lo up");
        made
    }

    /// `ip` within it.
    pub(crate) fn ip(&self, words: &str) {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name]).args(words.split(' '));
        must(&mut command);
    }

    /// A command within it.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Moves the calling thread into the namespace of this name.
    pub(crate) fn enter(name: &str) {
        let file = fs::File::open(format!("/var/run/netns/{name}")).expect("a namespace");
        nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("root may enter");
    }

    /// The processes in it, all of them started by the test or by those.
    fn pids(&self) -> Vec<i32> {
        let listed = Command::new("ip")
            .args(["netns", "pids", &self.name])
            .output();
        let text = listed.map(|output| output.stdout).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().filter_map(|pid| pid.parse().ok()).collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A successor is nobody's child any more.
        for pid in self.pids() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

/// What a site is started with, beside what all have in common.
#[derive(Clone, Default)]
pub(crate) struct SiteOptions {
    /// More lines for `[bgp]`.
    pub(crate) bgp: String,
    /// More lines for the peer.
    pub(crate) peer: String,
    /// More lines for the announcement.
    pub(crate) announce: String,
}

/// One server as a site.
pub(crate) struct Site {
    pub(crate) space: Namespace,
    pub(crate) process: Running,
    pub(crate) folder: TempDir,
    number: usize,
    _state: Option<TempDir>,
}

impl Site {
    /// The binary of this site alone, so that a test may put another one in its place.
    pub(crate) fn binary(&self) -> PathBuf {
        self.folder.path().join("meridian")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("meridian.toml")
    }

    /// A command of the command line against this server.
    pub(crate) fn meridian(&self, words: &[&str]) -> Output {
        let mut command = self.space.command(&meridian());
        command.args(words).output().expect("meridian runs")
    }

    /// What `meridian announcements --json` says.
    pub(crate) fn announcements(&self) -> serde_json::Value {
        let output = self.meridian(&["announcements", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    pub(crate) fn wait_for_stage(&self, stage: &str) {
        eventually(&format!("stage {stage}"), PATIENCE, || {
            (self.announcements()["prefixes"][0]["stage"] == stage).then_some(())
        });
    }

    pub(crate) fn start_again(&mut self) {
        self.process = launch(&self.space, self.number, self.folder.path());
    }
}

/// A router, the sites behind it, and a client.
pub(crate) struct Bed {
    pub(crate) sites: Vec<Site>,
    pub(crate) client: Namespace,
    _bird: Running,
    _router: Namespace,
    folder: TempDir,
}

impl Bed {
    /// `None` after a line `SKIP …` when the machine cannot do it.
    ///
    /// # Panics
    /// When it cannot, and `MERIDIAN_REQUIRE_PEERS=1`.
    pub(crate) fn new(options: &[SiteOptions]) -> Option<Self> {
        let bird = peer("bird")?;
        peer("birdc")?;
        peer("ip")?;
        if !Uid::effective().is_root() {
            let required = std::env::var("MERIDIAN_REQUIRE_PEERS").is_ok_and(|v| v == "1");
            assert!(!required, "namespaces need root");
            eprintln!("SKIP namespaces need root");
            return None;
        }
        let folder = scratch();
        let (router, client) = (Namespace::new("r"), Namespace::new("c"));
        link(&router, "client", "10.98.0.1/24", &client, "10.98.0.2/24");
        client.ip("route add default via 10.98.0.1");
        must(
            router
                .command(Path::new("sysctl"))
                .args(["-q", "-w", "net.ipv4.ip_forward=1"]),
        );
        let spaces: Vec<Namespace> = (1..=options.len())
            .map(|number| {
                let space = Namespace::new(&format!("s{number}"));
                let (near, far) = (
                    format!("10.99.{number}.1/24"),
                    format!("10.99.{number}.2/24"),
                );
                link(&router, &format!("site{number}"), &near, &space, &far);
                space.ip(&format!("route add default via 10.99.{number}.1"));
                space
            })
            .collect();
        let conf = folder.path().join("bird.conf");
        fs::write(&conf, bird_config(options.len(), folder.path())).expect("a file");
        let mut command = router.command(&bird);
        command
            .args(["-f", "-c"])
            .arg(&conf)
            .arg("-s")
            .arg(folder.path().join("ctl"));
        let bird = Running::start("bird", &mut command);
        let sites = spaces
            .into_iter()
            .zip(options)
            .enumerate()
            .map(|(index, (space, options))| site(space, index + 1, options))
            .collect();
        Some(Self {
            sites,
            client,
            _bird: bird,
            _router: router,
            folder,
        })
    }

    /// What BIRD says.
    pub(crate) fn birdc(&self, words: &str) -> String {
        let output = Command::new(peer("birdc").expect("checked before"))
            .arg("-s")
            .arg(self.folder.path().join("ctl"))
            .args(words.split(' '))
            .output()
            .expect("birdc runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The routes to the prefix.
    pub(crate) fn routes(&self) -> String {
        self.birdc(&format!("show route for {PREFIX} all"))
    }

    pub(crate) fn wait_for_route(&self, part: &str) {
        eventually(&format!("a route with {part:?}"), PATIENCE, || {
            self.routes().contains(part).then_some(())
        });
    }

    pub(crate) fn wait_for_no_route(&self) {
        eventually("no route", PATIENCE, || {
            (!self.routes().contains("via ")).then_some(())
        });
    }

    pub(crate) fn bird_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("bird.log")).unwrap_or_default()
    }
}

/// Runs a command that must succeed.
fn must(command: &mut Command) {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

fn link(one: &Namespace, name: &str, address: &str, two: &Namespace, other: &str) {
    let (a, b) = (&one.name, &two.name);
    let words = format!("link add {name} netns {a} type veth peer name uplink netns {b}");
    must(Command::new("ip").args(words.split(' ')));
    one.ip(&format!("addr add {address} dev {name}"));
    one.ip(&format!("link set {name} up"));
    two.ip(&format!("addr add {other} dev uplink"));
    two.ip("link set uplink up");
}

fn bird_config(sites: usize, folder: &Path) -> String {
    let sessions: String = (1..=sites)
        .map(|n| {
            format!(
                "protocol bgp site{n} {{ local 10.99.{n}.1 as 64500; neighbor 10.99.{n}.2 as 64512;\n\
                 passive on; hold time 9; keepalive time 3; error wait time 1,5;\n\
                 connect delay time 1; bfd on;\n\
                 ipv4 {{ import all; export none; import table; }}; }}\n"
            )
        })
        .collect();
    format!(
        "log \"{}\" all;\nrouter id 10.98.0.1;\nprotocol device {{ scan time 1; }}\n\
         protocol kernel {{ merge paths on; ipv4 {{ import none; export all; }}; }}\n\
         protocol bfd {{ accept direct; interface \"*\" {{ min rx interval 100 ms; \
         min tx interval 100 ms; multiplier 3; }}; }}\n{sessions}",
        folder.join("bird.log").display()
    )
}

fn config(number: usize, options: &SiteOptions) -> String {
    format!(
        "[server]\nlisten = [\"0.0.0.0:53\"]\nworkers = 2\nnsid = \"s{number}\"\n\
         state_directory = \"state\"\n[admin]\nlisten = \"127.0.0.1:9153\"\n\
         [[pop]]\nname = \"fra\"\nlatitude = 50\nlongitude = 8\nendpoints = [\"192.0.2.10\"]\n\
         [[pool]]\nname = \"edge\"\npops = [\"fra\"]\n\
         [[zone]]\nname = \"example.com\"\nfile = \"example.zone\"\n\
         [[zone.service]]\nname = \"www\"\npool = \"edge\"\n\
         [bgp]\nsite = \"fra\"\nlocal_as = 64512\nrouter_id = \"10.99.{number}.2\"\n\
         startup_delay = \"0s\"\nhold_down = \"1s\"\n{}\n\
         [[bgp.peer]]\nname = \"tor\"\naddress = \"10.99.{number}.1\"\nremote_as = 64500\n\
         bfd = {{ interval = \"100ms\", multiplier = 3 }}\n{}\n\
         [[bgp.announce]]\nprefix = \"{PREFIX}\"\ncommunities = [\"64512:100\"]\n{}\n",
        options.bgp, options.peer, options.announce
    )
}

fn site(space: Namespace, number: usize, options: &SiteOptions) -> Site {
    let folder = scratch();
    copy_program(&meridian(), &folder.path().join("meridian"));
    fs::write(folder.path().join("meridian.toml"), config(number, options)).expect("a file");
    let zone = format!(
        "$ORIGIN example.com.\n$TTL 60\n@ SOA ns1 host 7 3600 600 86400 60\n@ NS ns1\n\
         ns1 A 192.0.2.53\nwho A 198.51.100.{number}\n"
    );
    fs::write(folder.path().join("example.zone"), zone).expect("a file");
    let state = state_in_memory(folder.path());
    let process = launch(&space, number, folder.path());
    Site {
        space,
        process,
        folder,
        number,
        _state: state,
    }
}

fn launch(space: &Namespace, number: usize, folder: &Path) -> Running {
    let mut command = space.command(&folder.join("meridian"));
    command
        .args(["serve", "--config"])
        .arg(folder.join("meridian.toml"));
    Running::start(&format!("site {number}"), &mut command)
}
