//! The command line.

use std::{net::SocketAddrV4, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::servers::Subject;

/// Meridian beside other authoritative servers, on this machine's loopback.
///
/// `tests/bench/run` installs the others, builds everything and calls `bench run`.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the servers, measure them, write tables and the chart
    Run(Run),
    /// Only the load generator, against a server that already runs on loopback
    Load(Load),
    /// Only the floor: send every datagram back
    Echo(Echo),
}

/// `bench run`
#[derive(Args, Clone, Debug)]
pub(crate) struct Run {
    /// Rounds; every server is measured once in each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Seconds of each measurement
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) seconds: Option<f64>,
    /// Fixed rates for latencies, queries a second
    #[arg(long, value_name = "N,N…", value_delimiter = ',')]
    pub(crate) rates: Option<Vec<u32>>,
    /// Only these: echo, meridian, gdnsd, knot, powerdns, meridian-static, nsd, meridian-cookie,
    /// gdnsd-cookie, meridian-tcp, knot-tcp, nsd-tcp
    #[arg(long, value_name = "NAME,NAME…", value_delimiter = ',', value_parser = subject)]
    pub(crate) only: Option<Vec<Subject>>,
    /// One short round on a small database: shows that everything works, measures nothing
    #[arg(long)]
    pub(crate) quick: bool,
    /// Networks of the made-up city database
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1000..=20_000_000))]
    pub(crate) networks: Option<u64>,
    /// City database to use instead of a made-up one; may be given once for each family
    #[arg(long, value_name = "FILE", conflicts_with = "networks")]
    pub(crate) mmdb: Vec<PathBuf>,
    /// The `meridian` to measure
    #[arg(long, value_name = "FILE", default_value = "target/release/meridian")]
    pub(crate) meridian: PathBuf,
    /// Folder for the results
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) shape: Shape,
    /// Core of the servers
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    pub(crate) server_core: usize,
    /// Core of the generator
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    pub(crate) generator_core: usize,
}

/// `bench load`
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// The server, on loopback
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) server: SocketAddrV4,
    /// Names to ask for, type A
    #[arg(
        long,
        value_name = "NAME,NAME…",
        value_delimiter = ',',
        required = true
    )]
    pub(crate) names: Vec<String>,
    /// Fixed rate, queries a second; without it as fast as the server answers
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<u32>,
    /// For how long
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    pub(crate) seconds: f64,
    /// At most so many queries
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Leave out the client subnet
    #[arg(long)]
    pub(crate) no_ecs: bool,
    /// Send a cookie
    #[arg(long)]
    pub(crate) cookie: bool,
    /// Over TCP, many queries on their way on each connection
    #[arg(long)]
    pub(crate) tcp: bool,
    #[command(flatten)]
    pub(crate) shape: Shape,
    /// Core of the generator; without it any
    #[arg(long, value_name = "CORE")]
    pub(crate) core: Option<usize>,
}

/// What the generator's traffic looks like.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Sockets
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) sockets: u16,
    /// Queries on their way on each socket when there is no fixed rate
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) window: u16,
    /// Where the random traffic and the made-up world start
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// `bench echo`
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Echo {
    /// Where
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: SocketAddrV4,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.05..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.05 to 3600 is needed".to_owned()),
    }
}

fn subject(text: &str) -> Result<Subject, String> {
    let found = Subject::ALL.into_iter().find(|s| s.key() == text);
    found.ok_or_else(|| {
        let known = Subject::ALL.map(Subject::key).join(", ");
        format!("there is no such server; there are {known}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["bench"].iter().chain(arguments))
    }

    #[test]
    fn servers_are_chosen_by_name() {
        let cli = parse(&["run", "--only", "echo,nsd", "--rates", "1,2"]).unwrap();
        let Command::Run(run) = cli.command else {
            panic!("it was `run`")
        };
        assert_eq!(run.only, Some(vec![Subject::Echo, Subject::Nsd]));
        assert_eq!(run.rates, Some(vec![1, 2]));
        assert!(parse(&["run", "--only", "bind"]).is_err());
        assert!(parse(&["run", "--seconds", "0"]).is_err());
        assert!(parse(&["run", "--networks", "5000", "--mmdb", "x"]).is_err());
    }
}
