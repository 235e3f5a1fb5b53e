//! The command line: names, options and the help texts that a newcomer reads first.

use std::{net::IpAddr, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use super::values::{addition, duration, moment, positive, prefix, share, weight};
use crate::plan::Addition;

/// The configuration file that is read when none is named.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/meridian/meridian.toml";

/// The admin address that is asked when none is named.
pub(crate) const DEFAULT_ADMIN: &str = "http://127.0.0.1:9153";

const OVERVIEW: &str = "\
An authoritative GeoDNS server: a zone's NS records are delegated to it, and it answers each query
with the best healthy PoP (point of presence) for that client.

Words: a service is a name whose answer is steered; a pool is the PoPs that may answer it; an
endpoint is an address handed out; a verdict is up, down or unknown, after several probes.";

const FIRST_STEPS: &str = "\
First steps:
  meridian demo                              see a failover, nothing to install or configure
  meridian check --config meridian.toml      every mistake in your files, all at once
  meridian serve --config meridian.toml      answer queries
  meridian explain www.example.com --client 203.0.113.0/24
                                             why that client gets that answer

Exit codes: 0 done, 1 the thing asked for failed, 2 wrong usage.";

/// Everything the command line can say.
#[derive(Debug, Parser)]
#[command(name = "meridian", version, about = "Authoritative GeoDNS server", long_about = OVERVIEW,
          after_help = FIRST_STEPS, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a failover on this machine: six small edges, a zone, a server; nothing to configure
    Demo(Demo),
    /// Run the server
    Serve(Serve),
    /// Read everything the server would read and print every mistake
    Check(Check),
    /// Show why a client gets the answer it gets
    Explain(Explain),
    /// Show what a change would do: shares and loads of PoPs, who moves, what each failure does
    Plan(Box<Plan>),
    /// Show PoPs, endpoints, verdicts with their reasons, and overrides
    Status(Status),
    /// Take a PoP out of new answers until `undrain`
    Drain(Drain),
    /// Give a drained PoP back
    Undrain(Undrain),
    /// Show what is announced over BGP, to whom, and why not
    Announcements(Announcements),
    /// Ask the peers to discard traffic to one of our hosts for a while (RFC 7999)
    Blackhole(Blackhole),
    /// End a blackhole early
    Unblackhole(Unblackhole),
    /// Hand the running server over to the binary that stands in its place, without a pause
    Upgrade(Upgrade),
    /// Show verdict changes, failovers, announcements, reloads and overrides
    Events(Events),
    /// Ask the geo data
    #[command(subcommand, arg_required_else_help = true)]
    Geo(Geo),
}

/// How to reach a running server.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// Admin address of the running server
    #[arg(long, value_name = "URL", default_value = DEFAULT_ADMIN)]
    pub(crate) admin: String,
    /// File with the bearer token, for a server that asks for one
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// PEM certificates to trust for an https URL instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// What every reading command takes.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Print JSON for scripts instead of text for people
    #[arg(long)]
    pub(crate) json: bool,
}

const DEMO_HELP: &str = "\
Examples:
  meridian demo
  meridian demo --fail fra@10s --heal fra@30s
  meridian demo --listen 127.0.0.1:5355 --admin 127.0.0.1:9154

While it runs, in another terminal:
  dig @127.0.0.1 -p 5353 www.demo.example A +subnet=133.11.0.0/24
  curl -X POST http://127.0.0.11:8053/fail      (fra now answers 503; /heal mends it)
  meridian status

Needs 127.0.0.11 to 127.0.0.16, which every Linux machine has.";

/// `meridian demo`
#[derive(Args, Debug)]
#[command(after_help = DEMO_HELP)]
pub(crate) struct Demo {
    /// Where DNS answers, UDP and TCP (port 0: any free one)
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5353")]
    pub(crate) listen: SocketAddr,
    /// Where metrics and API answer (port 0: any free one)
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9153")]
    pub(crate) admin: SocketAddr,
    /// Port of the six edges on 127.0.0.11 to 127.0.0.16 (0: any free one)
    #[arg(long, value_name = "PORT", default_value_t = 8053)]
    pub(crate) edge_port: u16,
    /// Kill an edge after a while, such as fra@10s; may be given several times
    #[arg(long, value_name = "POP@TIME", value_parser = moment)]
    pub(crate) fail: Vec<Moment>,
    /// Bring an edge back after a while, such as fra@30s; may be given several times
    #[arg(long, value_name = "POP@TIME", value_parser = moment)]
    pub(crate) heal: Vec<Moment>,
    /// End by itself after this long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
}

/// A point of the demo's script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Name of the PoP.
    pub(crate) pop: String,
    /// Time since the demo became ready.
    pub(crate) at: Duration,
}

const SERVE_HELP: &str = "\
Signals: SIGHUP reads the files again (all or nothing), SIGTERM and SIGINT finish what was asked
and end with exit code 0. Under systemd use Type=notify-reload.

The files are also read again when one of them changes, and by POST /api/v1/reload.";

/// `meridian serve`
#[derive(Args, Debug)]
#[command(after_help = SERVE_HELP)]
pub(crate) struct Serve {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(crate) config: PathBuf,
}

const CHECK_HELP: &str = "\
Reads the configuration with everything it names (included files, zones, geo data), resolves every
reference and runs the [[test]] tables. Nothing is listened on and nothing is sent.

Exit code 0: a server would start with it. 1: it would not, and here is why.";

/// `meridian check`
#[derive(Args, Debug)]
#[command(after_help = CHECK_HELP)]
pub(crate) struct Check {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) output: Output,
}

const EXPLAIN_HELP: &str = "\
Examples:
  meridian explain www.example.com --client 133.11.0.0/24
  meridian explain www.example.com --type AAAA --client 2001:db8::1
  meridian explain www.example.com --client 133.11.0.0/24 --config meridian.toml

Without --config the running server is asked, so health and overrides count. With --config only
the files are read, and every PoP is taken as usable.";

/// `meridian explain`
#[derive(Args, Debug)]
#[command(after_help = EXPLAIN_HELP)]
pub(crate) struct Explain {
    /// Name of the service, such as www.example.com
    pub(crate) name: String,
    /// Record type asked for
    #[arg(
        long = "type",
        value_name = "TYPE",
        default_value = "A",
        ignore_case = true
    )]
    pub(crate) rtype: AddressType,
    /// The client: an address, or a prefix as in the EDNS client subnet option
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = prefix)]
    pub(crate) client: IpNet,
    /// Work from this file instead of asking the running server
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// The types that a service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AddressType {
    /// IPv4
    #[value(name = "A")]
    A,
    /// IPv6
    #[value(name = "AAAA")]
    Aaaa,
}

impl AddressType {
    /// The mnemonic of the record type.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
        }
    }
}

const PLAN_HELP: &str = "\
Examples:
  meridian plan --config meridian.toml
  meridian plan --config meridian.toml --drain fra --svg fra.svg
  meridian plan --config meridian.toml --add name=ber,lat=52.5,lon=13.4,capacity=8000
  meridian plan --config meridian.toml --traffic queries.txt --total 50000
  meridian plan --config old.toml --compare new.toml --max-moved 5%
  meridian plan --config meridian.toml --from-server --state /var/lib/meridian --fail fra

Without --traffic and --from-server every /24 of the geo data counts alike (with --type AAAA every
/48). A traffic file has a line for each client prefix: the prefix, blanks, an amount (1200, 3.5k,
12Mbit). Loads need a capacity and the whole demand in its unit: --total, else the sum of a traffic
file, or what the PoPs of the server carry; else two fifths of all capacity are assumed.

Exit code 0: done. 1: --max-moved is exceeded, or a file or server cannot be used. 2: wrong usage.";

/// `meridian plan`
#[derive(Args, Debug)]
#[command(after_help = PLAN_HELP)]
pub(crate) struct Plan {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(crate) config: PathBuf,
    /// Drain this PoP; may be given several times
    #[arg(long, value_name = "POP")]
    pub(crate) drain: Vec<String>,
    /// Take this PoP as down; may be given several times
    #[arg(long, value_name = "POP")]
    pub(crate) fail: Vec<String>,
    /// Add a PoP to the pools of the planned services: name=…,lat=…,lon=…[,weight=…][,capacity=…]
    #[arg(long, value_name = "POP", value_parser = addition)]
    pub(crate) add: Vec<Addition>,
    /// Give a PoP another weight, such as fra=50; may be given several times
    #[arg(long, value_name = "POP=N", value_parser = weight)]
    pub(crate) weight: Vec<(String, u32)>,
    /// Take the demand from this file
    #[arg(long, value_name = "FILE", conflicts_with = "from_server")]
    pub(crate) traffic: Option<PathBuf>,
    /// Take the demand from what a running server has counted
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = DEFAULT_ADMIN)]
    pub(crate) from_server: Option<String>,
    /// File with the bearer token, for a server that asks for one
    #[arg(long, value_name = "FILE", requires = "from_server")]
    pub(crate) token_file: Option<PathBuf>,
    /// PEM certificates to trust for an https URL instead of the system's
    #[arg(long, value_name = "FILE", requires = "from_server")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Reckon with the latency that a server has kept in its state directory
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// The whole demand in the unit of `capacity`
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) total: Option<f64>,
    /// Only this service, such as www.example.com; otherwise all, each with the same demand
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Record type asked for
    #[arg(
        long = "type",
        value_name = "TYPE",
        default_value = "A",
        ignore_case = true
    )]
    pub(crate) rtype: AddressType,
    /// Draw a world map of the state after the change
    #[arg(long, value_name = "OUT")]
    pub(crate) svg: Option<PathBuf>,
    /// Compare with another configuration: it is the state after the change
    #[arg(long, value_name = "OTHER")]
    pub(crate) compare: Option<PathBuf>,
    /// Exit with code 1 when more clients than this move, such as 5%
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) max_moved: Option<f64>,
    #[command(flatten)]
    pub(crate) output: Output,
}

const STATUS_HELP: &str = "\
Examples:
  meridian status
  meridian status --json | jq '.pops[] | select(.state != \"up\")'
  meridian status --admin https://ns1.example.com:9153 --token-file admin.token";

/// `meridian status`
#[derive(Args, Debug)]
#[command(after_help = STATUS_HELP)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

const DRAIN_HELP: &str = "\
Examples:
  meridian drain fra --reason 'switch upgrade' --for 2h
  meridian undrain fra

A drain survives a restart. It beats the verdict: a drained PoP gets no new clients however well
it is, until undrain or the end of --for. Resolvers keep the old answer for its TTL.";

/// `meridian drain`
#[derive(Args, Debug)]
#[command(after_help = DRAIN_HELP)]
pub(crate) struct Drain {
    /// Name of the PoP
    pub(crate) pop: String,
    /// Why, for whoever looks at `status` tonight
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// End the drain by itself after this long, such as 30m or 2h
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `meridian undrain`
#[derive(Args, Debug)]
pub(crate) struct Undrain {
    /// Name of the PoP
    pub(crate) pop: String,
    #[command(flatten)]
    pub(crate) target: Target,
}

const ANNOUNCEMENTS_HELP: &str = "\
Stages: warmup (healthy, waiting), up (announced), draining (announced, but less attractive),
lingering (withdrawn, still serving), withdrawn, pinned (unhealthy, but announced, because nobody
else would be left), suppressed (flapped too often).

Examples:
  meridian announcements --explain
  meridian announcements --json | jq '.prefixes[] | {prefix, stage, waits_for}'";

/// `meridian announcements`
#[derive(Args, Debug)]
#[command(after_help = ANNOUNCEMENTS_HELP)]
pub(crate) struct Announcements {
    /// Also show what each prefix waits for, what is sent, and why something is not
    #[arg(long)]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `meridian blackhole`
#[derive(Args, Debug)]
pub(crate) struct Blackhole {
    /// A host inside an announced prefix, such as 192.0.2.53
    #[arg(value_parser = prefix)]
    pub(crate) prefix: IpNet,
    /// How long, such as 30m; it ends by itself
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Why, for whoever looks tonight
    #[arg(long)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `meridian unblackhole`
#[derive(Args, Debug)]
pub(crate) struct Unblackhole {
    /// The host
    #[arg(value_parser = prefix)]
    pub(crate) prefix: IpNet,
    #[command(flatten)]
    pub(crate) target: Target,
}

const UPGRADE_HELP: &str = "\
Put the new binary where the old one stands (rename it over the old file), then run this, or send
SIGUSR2. The new server reads the configuration, asks itself, and takes over sockets and BGP
sessions; when it cannot, the old one goes on as if nothing had been asked.";

/// `meridian upgrade`
#[derive(Args, Debug)]
#[command(after_help = UPGRADE_HELP)]
pub(crate) struct Upgrade {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

const EVENTS_HELP: &str = "\
Examples:
  meridian events                 the last 1000 at most, oldest first
  meridian events --follow        the same, then what happens from now on";

/// `meridian events`
#[derive(Args, Debug)]
#[command(after_help = EVENTS_HELP)]
pub(crate) struct Events {
    /// Stay, and print what happens as it happens
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `meridian geo`
#[derive(Debug, Subcommand)]
pub(crate) enum Geo {
    /// Where an address is, which data says so, and which PoPs are nearest
    Lookup(Lookup),
}

const LOOKUP_HELP: &str = "\
Examples:
  meridian geo lookup 133.11.0.1
  meridian geo lookup 2001:db8::1 --config meridian.toml

Without --config the bundled country database answers. With it, the file's databases, its operator
networks and its PoPs do.";

/// `meridian geo lookup`
#[derive(Args, Debug)]
#[command(after_help = LOOKUP_HELP)]
pub(crate) struct Lookup {
    /// IPv4 or IPv6 address
    pub(crate) address: IpAddr,
    /// Configuration file whose geo data and PoPs to use
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
    }

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_contract_parses() {
        for line in [
            "meridian demo --fail fra@10s --heal fra@30s --duration 40s",
            "meridian serve --config a.toml",
            "meridian serve",
            "meridian check --config a.toml --json",
            "meridian explain www.example.com --client 192.0.2.1",
            "meridian explain www.example.com --type aaaa --client 2001:db8::/32 --config f --json",
            "meridian status --json --admin https://a:1 --token-file t --ca-file c",
            "meridian drain fra --reason why --for 2h",
            "meridian undrain fra --admin http://127.0.0.1:1",
            "meridian events --follow --json",
            "meridian geo lookup 192.0.2.1 --json",
            "meridian announcements --explain --json",
            "meridian blackhole 192.0.2.53 --for 1h --reason attack",
            "meridian unblackhole 192.0.2.53/32",
            "meridian upgrade --json",
            "meridian plan --config a --drain fra --drain iad --fail nrt --traffic t --svg o",
            "meridian plan --add name=ber,lat=52.5,lon=-13,weight=5,capacity=8e3 --weight fra=50",
            "meridian plan --compare b.toml --max-moved 5% --service www.example.com --json",
            "meridian plan --from-server --total 1000 --state /var/lib/meridian",
            "meridian plan --from-server http://a:1 --token-file t --ca-file c --type aaaa",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn wrong_usage_is_refused_with_code_2() {
        for line in [
            "meridian plan --traffic a --from-server",
            "meridian plan --weight fra",
            "meridian plan --max-moved 101%",
            "meridian plan --max-moved five",
            "meridian plan --total 0",
            "meridian plan --add name=ber",
            "meridian plan --add name=BER,lat=1,lon=1",
            "meridian plan --add name=ber,lat=91,lon=1",
            "meridian plan --add name=ber,lat=1,lon=1,wait=3",
            "meridian plan --token-file t",
            "meridian explain www.example.com",
            "meridian explain www.example.com --client 192.0.2.0/33",
            "meridian explain www.example.com --client 192.0.2.1 --type MX",
            "meridian drain",
            "meridian drain fra --for 2",
            "meridian demo --fail fra",
            "meridian demo --fail @3s",
            "meridian geo lookup nonsense",
            "meridian serve --json",
            "meridian blackhole 192.0.2.53 --reason attack",
            "meridian blackhole --for 1h --reason attack",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        let shown = parse("meridian --help").unwrap_err();
        assert_eq!(shown.kind(), ErrorKind::DisplayHelp);
        assert_eq!(shown.exit_code(), 0);
    }
}
