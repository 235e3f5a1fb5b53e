//! Routers of other makes: BIRD, FRR, GoBGP.

use std::{fmt::Write, fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use super::{Bed, HOST_AS, HOST_V4, HOST_V6, ROUTER_AS, ROUTER_V4, ROUTER_V6};
use crate::{Running, peer, scratch};

/// The make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BIRD 2.
    Bird,
    /// FRRouting.
    Frr,
    /// GoBGP.
    Gobgp,
}

/// How sessions are protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Not at all.
    Plain,
    /// TCP-MD5 with this password.
    Md5(String),
    /// TTL security.
    Gtsm,
}

/// Which session a route came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The IPv4 session, which carries both families; we dial it.
    V4,
    /// The IPv6 session, which carries IPv6; the router dials it.
    V6,
}

/// What the router is told.
#[derive(Clone, Debug)]
pub struct RouterOptions {
    /// The make.
    pub kind: Kind,
    /// Protection of both sessions.
    pub guard: Guard,
    /// The AS number that it expects of us.
    pub expects_as: u32,
    /// Hold time, seconds.
    pub hold: u32,
    /// BFD on the IPv4 session, milliseconds × 3; BIRD only.
    pub bfd: Option<u32>,
    /// So many static routes are sent to us; BIRD only.
    pub exports: u32,
}

/// A running router. Its files live as long as it does.
#[derive(Debug)]
pub struct Router {
    options: RouterOptions,
    namespace: String,
    folder: TempDir,
    running: Vec<Running>,
}

/// A route as the router shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// Numbers in its AS_PATH.
    pub path_length: usize,
    /// Its MULTI_EXIT_DISC.
    pub med: u32,
    /// GRACEFUL_SHUTDOWN is among its communities.
    pub graceful_shutdown: bool,
    /// Its next hop.
    pub next_hop: String,
}

impl RouterOptions {
    /// A router of that make with everything as in the other beds.
    pub fn new(kind: Kind, guard: Guard) -> Self {
        Self {
            kind,
            guard,
            expects_as: HOST_AS,
            hold: 9,
            bfd: None,
            exports: 0,
        }
    }
}

impl Router {
    /// Starts it in the bed's second namespace; `None` when it is not installed.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(bed: &Bed, options: RouterOptions) -> Option<Self> {
        let programs: &[&str] = match options.kind {
            Kind::Bird => &["bird", "birdc"],
            Kind::Frr => &["vtysh"],
            Kind::Gobgp => &["gobgpd", "gobgp"],
        };
        for program in programs {
            peer(program)?;
        }
        let folder = scratch();
        // FRR gives up root.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("own folder");
        let mut router = Self {
            options,
            namespace: bed.router().to_owned(),
            folder,
            running: Vec::new(),
        };
        router.restart(bed);
        Some(router)
    }

    /// Starts it, after killing what runs.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self, bed: &Bed) {
        self.kill();
        let config = self.folder.path().join("router.conf");
        fs::write(&config, self.config()).expect("a configuration");
        match self.options.kind {
            Kind::Bird => self.run(
                bed,
                "bird",
                &["-f", "-c", "router.conf", "-s", "ctl", "-P", "pid"],
            ),
            Kind::Frr => {
                let zebra = [
                    "-f",
                    "/dev/null",
                    "-i",
                    "z.pid",
                    "-z",
                    "zserv.api",
                    "--vty_socket",
                    ".",
                    "-P",
                    "0",
                ];
                self.run(bed, "/usr/lib/frr/zebra", &zebra);
                let api = self.folder.path().join("zserv.api");
                crate::eventually("zebra listens", crate::PATIENCE, || {
                    api.exists().then_some(())
                });
                let bgpd = [
                    "-f",
                    "router.conf",
                    "-i",
                    "b.pid",
                    "-z",
                    "zserv.api",
                    "--vty_socket",
                    ".",
                    "-P",
                    "0",
                    "-p",
                    "179",
                    "--log",
                    "file:bgpd.log",
                    "--log-level",
                    "debugging",
                ];
                self.run(bed, "/usr/lib/frr/bgpd", &bgpd);
            }
            Kind::Gobgp => {
                self.run(
                    bed,
                    "gobgpd",
                    &[
                        "-f",
                        "router.conf",
                        "--api-hosts",
                        "127.0.0.1:50051",
                        "-l",
                        "debug",
                    ],
                );
            }
        }
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.running.clear();
    }

    /// Where its files are; BIRD's control socket is `ctl`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process numbers.
    pub fn pids(&self) -> Vec<u32> {
        self.running.iter().map(Running::pid).collect()
    }

    /// Everything it wrote.
    pub fn log(&self) -> String {
        let read =
            |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        let outputs: String = self.running.iter().map(Running::log).collect();
        read("bird.log") + &read("bgpd.log") + &outputs
    }

    /// The route to `prefix` that came over a session.
    pub fn route(&self, prefix: &str, via: Via) -> Option<RouteView> {
        match self.options.kind {
            Kind::Bird => {
                let protocol = if via == Via::V4 { "host4" } else { "host6" };
                bird_route(&self.ask(
                    "birdc",
                    &[
                        "-s",
                        "ctl",
                        &format!("show route {prefix} all protocol {protocol}"),
                    ],
                ))
            }
            Kind::Frr => {
                let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
                let command = format!("show bgp {family} unicast {prefix} json");
                frr_route(
                    &self.ask("vtysh", &["--vty_socket", ".", "-c", &command]),
                    neighbor(via),
                )
            }
            Kind::Gobgp => {
                let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
                let said = self.ask(
                    "gobgp",
                    &[
                        "-u",
                        "127.0.0.1",
                        "-p",
                        "50051",
                        "-j",
                        "global",
                        "rib",
                        prefix,
                        "-a",
                        family,
                    ],
                );
                gobgp_route(&said, neighbor(via))
            }
        }
    }

    fn run(&mut self, bed: &Bed, program: &str, arguments: &[&str]) {
        let mut command = bed.in_router(program);
        command.args(arguments).current_dir(self.folder.path());
        self.running.push(Running::start(program, &mut command));
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace, program])
            .args(arguments);
        let output = command.current_dir(self.folder.path()).output();
        output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default()
    }

    fn config(&self) -> String {
        match self.options.kind {
            Kind::Bird => bird_config(&self.options, self.folder.path()),
            Kind::Frr => frr_config(&self.options),
            Kind::Gobgp => gobgp_config(&self.options),
        }
    }
}

fn neighbor(via: Via) -> &'static str {
    match via {
        Via::V4 => HOST_V4,
        Via::V6 => HOST_V6,
    }
}

fn bird_config(options: &RouterOptions, folder: &Path) -> String {
    let guard = match &options.guard {
        Guard::Plain => String::new(),
        Guard::Md5(password) => format!("password \"{password}\";"),
        Guard::Gtsm => "ttl security on;".to_owned(),
    };
    let (hold, keep) = (options.hold, options.hold / 3);
    let expects = options.expects_as;
    let common = format!(
        "{guard} hold time {hold}; keepalive time {keep}; error wait time 1,2; connect delay time 1; connect retry time 1;"
    );
    let mut text = format!(
        "log \"{}\" all;\nrouter id {ROUTER_V4};\nprotocol device {{}}\n",
        folder.join("bird.log").display()
    );
    let bfd = match options.bfd {
        Some(millis) => {
            let _ = writeln!(
                text,
                "protocol bfd {{ accept direct; interface \"*\" {{ min rx interval {millis} ms; min tx interval {millis} ms; multiplier 3; }}; }}"
            );
            "bfd on;"
        }
        None => "",
    };
    let export = if options.exports > 0 { "all" } else { "none" };
    if options.exports > 0 {
        text.push_str("protocol static { ipv4;\n");
        for n in 0..options.exports {
            let _ = writeln!(text, "route 11.{}.{}.0/24 blackhole;", n / 256, n % 256);
        }
        text.push_str("}\n");
    }
    let _ = write!(
        text,
        "protocol bgp host4 {{ local {ROUTER_V4} as {ROUTER_AS}; neighbor {HOST_V4} as {expects}; passive on; {common} {bfd}
  ipv4 {{ import all; export {export}; }}; ipv6 {{ import all; export none; }}; }}
protocol bgp host6 {{ local {ROUTER_V6} as {ROUTER_AS}; neighbor {HOST_V6} as {expects}; {common}
  ipv6 {{ import all; export none; }}; }}\n"
    );
    text
}

fn frr_config(options: &RouterOptions) -> String {
    let (hold, keep) = (options.hold, options.hold / 3);
    let mut text = format!(
        "debug bgp neighbor-events\nrouter bgp {ROUTER_AS}\n bgp router-id {ROUTER_V4}\n no bgp default ipv4-unicast\n no bgp ebgp-requires-policy\n"
    );
    for (address, passive) in [(HOST_V4, true), (HOST_V6, false)] {
        let _ = writeln!(text, " neighbor {address} remote-as {}", options.expects_as);
        let _ = writeln!(
            text,
            " neighbor {address} timers {keep} {hold}\n neighbor {address} timers connect 1"
        );
        match &options.guard {
            Guard::Plain => {}
            Guard::Md5(password) => {
                let _ = writeln!(text, " neighbor {address} password {password}");
            }
            Guard::Gtsm => {
                let _ = writeln!(text, " neighbor {address} ttl-security hops 1");
            }
        }
        if passive {
            let _ = writeln!(text, " neighbor {address} passive");
        }
    }
    let _ = write!(
        text,
        " address-family ipv4 unicast\n  neighbor {HOST_V4} activate\n exit-address-family\n address-family ipv6 unicast\n  neighbor {HOST_V4} activate\n  neighbor {HOST_V6} activate\n exit-address-family\n"
    );
    text
}

fn gobgp_config(options: &RouterOptions) -> String {
    let (hold, keep) = (options.hold, options.hold / 3);
    let mut text = format!(
        "[global.config]\nas = {ROUTER_AS}\nrouter-id = \"{ROUTER_V4}\"\nport = 179\nlocal-address-list = [\"{ROUTER_V4}\", \"{ROUTER_V6}\"]\n"
    );
    for (address, passive, families) in [
        (HOST_V4, true, &["ipv4-unicast", "ipv6-unicast"][..]),
        (HOST_V6, false, &["ipv6-unicast"]),
    ] {
        let _ = write!(
            text,
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{address}\"\npeer-as = {}\n",
            options.expects_as
        );
        if let Guard::Md5(password) = &options.guard {
            let _ = writeln!(text, "auth-password = \"{password}\"");
        }
        let _ = write!(
            text,
            "[neighbors.transport.config]\npassive-mode = {passive}\n[neighbors.timers.config]\nhold-time = {hold}\nkeepalive-interval = {keep}\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n"
        );
        if options.guard == Guard::Gtsm {
            text.push_str("[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n");
        }
        for family in families {
            let _ = write!(
                text,
                "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{family}\"\n"
            );
        }
    }
    text
}

fn bird_route(said: &str) -> Option<RouteView> {
    let value = |key: &str| {
        let line = said
            .lines()
            .map(str::trim)
            .find_map(|line| line.strip_prefix(key));
        line.map(|rest| rest.trim().to_owned())
    };
    let path = value("BGP.as_path:")?;
    Some(RouteView {
        path_length: path.split_whitespace().count(),
        med: value("BGP.med:")
            .and_then(|med| med.parse().ok())
            .unwrap_or_default(),
        graceful_shutdown: value("BGP.community:").is_some_and(|list| list.contains("(65535,0)")),
        next_hop: value("BGP.next_hop:")?.split(' ').next()?.to_owned(),
    })
}

fn frr_route(said: &str, neighbor: &str) -> Option<RouteView> {
    let json: Value = serde_json::from_str(said).ok()?;
    let paths = json.get("paths")?.as_array()?;
    let path = paths
        .iter()
        .find(|path| path["peer"]["peerId"] == neighbor)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(RouteView {
        path_length: text(&path["aspath"]["string"]).split_whitespace().count(),
        med: path["metric"]
            .as_u64()
            .and_then(|med| u32::try_from(med).ok())
            .unwrap_or_default(),
        graceful_shutdown: text(&path["community"]["string"]).contains("graceful-shutdown"),
        next_hop: text(&path["nexthops"][0]["ip"]),
    })
}

fn gobgp_route(said: &str, neighbor: &str) -> Option<RouteView> {
    let json: Value = serde_json::from_str(said).ok()?;
    let paths: Vec<&Value> = match &json {
        Value::Array(paths) => paths.iter().collect(),
        Value::Object(by_prefix) => by_prefix
            .values()
            .filter_map(Value::as_array)
            .flatten()
            .collect(),
        _ => return None,
    };
    let path = paths
        .into_iter()
        .find(|path| path["neighbor-ip"] == neighbor)?;
    let attributes = path["attrs"].as_array()?;
    let of_type = |kind: u64| {
        attributes
            .iter()
            .find(|attribute| attribute["type"] == kind)
    };
    let segments = of_type(2)?["as_paths"].as_array()?;
    let numbers = segments
        .iter()
        .filter_map(|segment| segment["asns"].as_array());
    let hop = of_type(3)
        .or_else(|| of_type(14))
        .map(|attribute| attribute["nexthop"].clone());
    Some(RouteView {
        path_length: numbers.map(Vec::len).sum(),
        med: of_type(4)
            .and_then(|one| one["metric"].as_u64())
            .and_then(|med| u32::try_from(med).ok())
            .unwrap_or_default(),
        graceful_shutdown: of_type(8)
            .and_then(|one| one["communities"].as_array())
            .is_some_and(|list| list.contains(&Value::from(0xffff_0000_u64))),
        next_hop: hop
            .and_then(|hop| hop.as_str().map(str::to_owned))
            .unwrap_or_default(),
    })
}
