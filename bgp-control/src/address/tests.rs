//! Addresses in network namespaces that each test makes and removes.

use std::{collections::BTreeSet, net::IpAddr, process::Command, time::Duration};

use meridian_config::ServiceInterface;
use nix::sched::{CloneFlags, setns};
use tokio::sync::watch;

use super::{AddressState, Addresses};

struct Namespace(String);

impl Namespace {
    /// `None`, told on stderr, where namespaces are not permitted.
    fn new(test: &str) -> Option<Self> {
        let name = format!("meridian-{}-{test}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        if made.is_ok_and(|out| out.status.success()) {
            let namespace = Self(name);
            namespace.ip("link set lo up");
            return Some(namespace);
        }
        eprintln!("SKIP {test}: network namespaces are not permitted here");
        assert!(
            std::env::var_os("MERIDIAN_REQUIRE_PEERS").is_none(),
            "{test} was skipped"
        );
        None
    }

    fn ip(&self, arguments: &str) -> String {
        let mut command = Command::new("ip");
        command.args(["-n", &self.0]).args(arguments.split(' '));
        let out = command.output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(
            out.status.success(),
            "{arguments}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        text
    }

    /// Runs a test on a thread of its own inside the namespace.
    fn run<F: Future<Output = ()>>(&self, test: impl FnOnce() -> F + Send) {
        let file = std::fs::File::open(format!("/var/run/netns/{}", self.0)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(file, CloneFlags::CLONE_NEWNET).unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime.unwrap().block_on(test());
            });
            thread.join().unwrap();
        });
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

struct Bed {
    addresses: Addresses,
    wanted: watch::Sender<BTreeSet<IpAddr>>,
}

impl Bed {
    fn start(interface: &str, addresses: &[&str]) -> Self {
        let (wanted, receiver) = watch::channel(set(addresses));
        let interface = match interface {
            "none" => ServiceInterface::None,
            name => ServiceInterface::Named(name.to_owned()),
        };
        Self {
            addresses: Addresses::start(interface, receiver),
            wanted,
        }
    }

    async fn until(&self, what: &str, check: impl Fn(&AddressState) -> bool) -> AddressState {
        let mut state = self.addresses.state();
        let wait = state.wait_for(|state| check(state));
        match tokio::time::timeout(Duration::from_secs(180), wait).await {
            Ok(found) => (**found.unwrap()).clone(),
            Err(_) => panic!("{what}: {:?}", self.addresses.state().borrow()),
        }
    }

    async fn ready(&self) -> AddressState {
        self.until("all addresses there", |state| {
            !state.wanted.is_empty() && state.wanted.values().all(Result::is_ok)
        })
        .await
    }
}

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses.iter().map(|a| a.parse().unwrap()).collect()
}

const BOTH: [&str; 2] = ["192.0.2.53", "2001:db8::53"];

#[test]
fn added_with_our_mark_without_dad_and_removed_last() {
    let Some(namespace) = Namespace::new("added") else {
        return;
    };
    namespace.run(|| async {
        let bed = Bed::start("lo", &BOTH);
        let state = bed.ready().await;
        assert!(state.local.is_superset(&set(&BOTH)) && state.notes.is_empty());
        let shown = namespace.ip("-d addr show dev lo");
        assert!(shown.contains("192.0.2.53/32"), "{shown}");
        let six = shown
            .lines()
            .find(|line| line.contains("2001:db8::53/128"))
            .unwrap();
        assert!(
            six.contains("nodad") && six.contains("noprefixroute"),
            "{six}"
        );
        // It can be bound at once.
        std::net::UdpSocket::bind("[2001:db8::53]:0").unwrap();
        bed.addresses.remove_all().await;
        let shown = namespace.ip("addr show dev lo");
        assert!(
            !shown.contains("192.0.2.53") && !shown.contains("2001:db8::53"),
            "{shown}"
        );
        assert!(shown.contains("127.0.0.1/8"));
    });
}

#[test]
fn a_lost_address_comes_back() {
    let Some(namespace) = Namespace::new("lost") else {
        return;
    };
    namespace.run(|| async {
        let bed = Bed::start("lo", &BOTH);
        bed.ready().await;
        namespace.ip("addr del 192.0.2.53/32 dev lo");
        // The state may pass "absent" too quickly to be seen: look at the kernel.
        for _ in 0..18_000 {
            if namespace.ip("addr show dev lo").contains("192.0.2.53/32") {
                bed.ready().await;
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{}", namespace.ip("addr show dev lo"));
    });
}

#[test]
fn adopted_after_a_crash_and_removed_when_unwanted() {
    let Some(namespace) = Namespace::new("adopted") else {
        return;
    };
    namespace.run(|| async {
        let bed = Bed::start("lo", &BOTH);
        bed.ready().await;
        drop(bed);
        namespace.ip("addr add 198.51.100.1/32 dev lo");
        let bed = Bed::start("lo", &["192.0.2.53"]);
        let state = bed.ready().await;
        assert!(state.notes.is_empty(), "{state:?}");
        let gone = |state: &AddressState| !state.local.contains(&"2001:db8::53".parse().unwrap());
        bed.until("the unwanted one gone", gone).await;
        bed.addresses.remove_all().await;
        let shown = namespace.ip("addr show dev lo");
        assert!(!shown.contains("192.0.2.53"), "{shown}");
        assert!(
            shown.contains("198.51.100.1/32"),
            "somebody else's was touched: {shown}"
        );
    });
}

#[test]
fn conflicts_are_reported_and_untouched() {
    let Some(namespace) = Namespace::new("conflict") else {
        return;
    };
    namespace.ip("link add v0 type veth peer name v1");
    namespace.ip("addr add 192.0.2.53/24 dev v0");
    namespace.run(|| async {
        let bed = Bed::start("lo", &BOTH);
        let state = bed
            .until("a conflict", |state| !state.notes.is_empty())
            .await;
        let address: IpAddr = "192.0.2.53".parse().unwrap();
        assert_eq!(
            state.wanted[&address],
            Err("it is on v0 already, not put there by us: untouched".to_owned())
        );
        namespace.ip("addr del 192.0.2.53/24 dev v0");
        bed.ready().await;
        // Somebody else's on our own interface is used, and stays.
        bed.addresses.remove_all().await;
        namespace.ip("addr add 192.0.2.53/32 dev lo");
        let bed = Bed::start("lo", &["192.0.2.53"]);
        let state = bed.ready().await;
        assert_eq!(
            state.notes,
            ["192.0.2.53/32 on lo was not put there by us: used as it is, never removed"]
        );
        bed.wanted.send_replace(BTreeSet::new());
        bed.until("nothing wanted", |state| state.wanted.is_empty())
            .await;
        assert!(namespace.ip("addr show dev lo").contains("192.0.2.53/32"));
    });
}

#[test]
fn a_link_that_was_down_is_raised_and_gets_its_addresses_back() {
    let Some(namespace) = Namespace::new("down") else {
        return;
    };
    namespace.ip("link add v0 type veth peer name v1");
    namespace.run(|| async {
        let bed = Bed::start("v0", &BOTH);
        bed.ready().await;
        namespace.ip("link set v0 down");
        for _ in 0..18_000 {
            let shown = namespace.ip("addr show dev v0");
            if shown.contains(",UP") && shown.contains("2001:db8::53/128") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{}", namespace.ip("addr show dev v0"));
    });
}

#[test]
fn a_dummy_interface_is_made_and_removed_or_the_way_out_is_named() {
    let Some(namespace) = Namespace::new("dummy") else {
        return;
    };
    namespace.run(|| async {
        let bed = Bed::start("meridian0", &BOTH);
        let settled = |state: &AddressState| {
            state.problem.is_some() || state.wanted.values().all(Result::is_ok)
        };
        let state = bed
            .until("made or refused", |s| !s.wanted.is_empty() && settled(s))
            .await;
        if let Some(problem) = state.problem {
            eprintln!("SKIP making a dummy interface: {problem}");
            assert!(problem.contains("set interface = \"lo\""), "{problem}");
            return;
        }
        bed.addresses.remove_all().await;
        assert!(!namespace.ip("link show").contains("meridian0"));
    });
}

#[test]
fn none_is_hands_off() {
    let Some(namespace) = Namespace::new("none") else {
        return;
    };
    namespace.run(|| async {
        let bed = Bed::start("none", &BOTH);
        bed.ready().await;
        let shown = namespace.ip("addr show dev lo");
        assert!(
            !shown.contains("192.0.2.53") && !shown.contains("2001:db8::53"),
            "{shown}"
        );
    });
}
