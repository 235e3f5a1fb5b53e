//! The benchmark: Meridian beside other authoritative servers, on this machine's loopback.
//!
//! ```text
//! cli → session: world (geo database) → servers (child processes) → rounds (A B C … A B C …)
//!     → load (query → net → pending → latency), proc (processor time, memory)
//!     → summary (medians, ratios) → report (text, Markdown), chart (SVG)
//! ```
//!
//! `tests/bench/run` builds and starts it; `docs/benchmarks.md` says how to read what it prints.

mod chart;
mod cli;
mod clock;
mod echo;
mod error;
mod latency;
mod load;
mod machine;
mod net;
mod pending;
mod proc;
mod query;
mod report;
mod rounds;
mod scaling;
mod servers;
mod session;
mod summary;
mod world;

use std::{net::IpAddr, process::ExitCode, time::Duration};

use clap::Parser;

use crate::{
    cli::{Cli, Command},
    error::BenchError,
    load::{Pace, Plan},
    net::Transport,
    query::{Queries, Traffic},
};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(options) => session::run(&options)
            .map(|folder| println!("written: {}/results.{{txt,md,svg,csv}}", folder.display())),
        Command::Load(options) => generate(&options),
        Command::Echo(options) => local(options.listen.ip().to_owned().into()).and_then(|()| {
            echo::run(options.listen).map_err(BenchError::system("the echo's socket"))
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `bench load`
fn generate(options: &cli::Load) -> Result<(), BenchError> {
    local(options.server.ip().to_owned().into())?;
    if let Some(core) = options.core {
        session::pin_to(core);
    }
    let window = options.shape.window.into();
    let plan = Plan {
        pace: options
            .rate
            .map_or(Pace::Closed { window }, |rate| Pace::Open {
                rate: rate.into(),
            }),
        time: Duration::from_secs_f64(options.seconds),
        timeout: Duration::from_secs(1),
        count: options.count.unwrap_or(u64::MAX),
        sockets: options.shape.sockets.into(),
        transport: if options.tcp {
            Transport::Tcp
        } else {
            Transport::Udp
        },
        yields: false,
        records: true,
    };
    let traffic = Traffic {
        ecs: !options.no_ecs,
        cookie: options.cookie,
    };
    let mut queries = Queries::new(traffic, &options.names, options.shape.seed);
    let seen = load::run(options.server, &plan, &mut queries)
        .map_err(BenchError::system("opening the generator's sockets"))?;
    let latency = seen.latencies.percentiles();
    let us = |ns: u64| ns as f64 / 1e3;
    println!(
        "sent {}, answered {}, lost {}, unanswered {}, wrong rcode {}, malformed {}, unexpected {}",
        seen.sent,
        seen.answered,
        seen.lost,
        seen.unanswered,
        seen.wrong_rcode,
        seen.malformed,
        seen.unexpected
    );
    println!(
        "{:.0} answers/s, p50 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs, sent late {}",
        seen.rate(),
        us(latency.p50),
        us(latency.p99),
        us(latency.p999),
        seen.late
    );
    Ok(())
}

/// All traffic stays on this machine.
fn local(address: IpAddr) -> Result<(), BenchError> {
    if address.is_loopback() {
        Ok(())
    } else {
        Err(BenchError::NotLoopback(address))
    }
}
