//! Two network namespaces and a link.

use std::process::Command;

use super::{HOST_V4, HOST_V6, ROUTER_V4, ROUTER_V6};

/// Two namespaces, removed when dropped.
#[derive(Debug)]
pub struct Bed {
    host: String,
    router: String,
}

impl Bed {
    /// Makes them. `None`, told on stderr, where namespaces are not permitted.
    ///
    /// # Panics
    /// With `MERIDIAN_REQUIRE_PEERS=1` where namespaces are not permitted.
    pub fn new(test: &str) -> Option<Self> {
        let stem = format!("mer-{}-{test}", std::process::id());
        let bed = Self {
            host: format!("{stem}-h"),
            router: format!("{stem}-r"),
        };
        if !ip(&format!("netns add {}", bed.host)) {
            let required = std::env::var("MERIDIAN_REQUIRE_PEERS").is_ok_and(|v| v == "1");
            assert!(!required, "network namespaces need root");
            eprintln!("SKIP network namespaces need root");
            return None;
        }
        assert!(
            ip(&format!("netns add {}", bed.router)),
            "a second namespace"
        );
        let (h, r) = (&bed.host, &bed.router);
        for command in [
            format!("link add veth-h netns {h} type veth peer name veth-r netns {r}"),
            format!("-n {h} link set lo up"),
            format!("-n {r} link set lo up"),
            format!("-n {h} addr add {HOST_V4}/24 dev veth-h"),
            format!("-n {r} addr add {ROUTER_V4}/24 dev veth-r"),
            format!("-n {h} addr add {HOST_V6}/64 dev veth-h nodad"),
            format!("-n {r} addr add {ROUTER_V6}/64 dev veth-r nodad"),
            format!("-n {h} link set veth-h up"),
            format!("-n {r} link set veth-r up"),
        ] {
            assert!(ip(&command), "ip {command}");
        }
        Some(bed)
    }

    /// Name of our namespace.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Name of the router's namespace.
    pub fn router(&self) -> &str {
        &self.router
    }

    /// A command in the router's namespace.
    pub fn in_router(&self, program: &str) -> Command {
        inside(&self.router, program)
    }

    /// A command in our namespace.
    pub fn in_host(&self, program: &str) -> Command {
        inside(&self.host, program)
    }

    /// Makes packets of both directions vanish without a sign, or lets them through again.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn blackhole(&self, on: bool) {
        let ends = [
            (&self.host, "veth-h", ROUTER_V4, ROUTER_V6),
            (&self.router, "veth-r", HOST_V4, HOST_V6),
        ];
        for (namespace, link, v4, v6) in ends {
            for address in [v4, v6] {
                let done = if on {
                    // A neighbour that does not exist.
                    ip(&format!(
                        "-n {namespace} neigh replace {address} lladdr 02:00:00:00:00:99 nud permanent dev {link}"
                    ))
                } else {
                    ip(&format!("-n {namespace} neigh del {address} dev {link}"))
                };
                assert!(done, "neighbour {address}");
            }
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for name in [&self.host, &self.router] {
            ip(&format!("netns del {name}"));
        }
    }
}

fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    output.is_ok_and(|output| output.status.success())
}
