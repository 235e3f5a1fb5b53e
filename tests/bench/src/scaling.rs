//! One worker and two, as far as a machine with two cores can show it.
//!
//! The generator has no core of its own here: each core carries one worker and one generator that
//! yields while it waits. So one core does half of what two cores do, and if workers share nothing,
//! two of them answer twice as much at the same processor time per answer.

use std::{net::SocketAddrV4, time::Duration};

use crate::{
    clock::Clock,
    error::BenchError,
    load::{self, Pace, Plan},
    net::Transport,
    proc,
    query::Queries,
    rounds::{self, Extent},
    servers::{self, Server, Stage, Subject},
    session::pin_to,
    summary::Spread,
};

/// What was seen of so many workers.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    /// How many.
    pub(crate) count: usize,
    /// Answers a second, a round each.
    pub(crate) rates: Vec<f64>,
    /// Processor time of the server per answer, ns, a round each.
    pub(crate) cpu_ns: Vec<f64>,
}

/// Answers a second of the second over the first, within each round.
pub(crate) fn gain(seen: &[Workers]) -> Option<Spread> {
    let [one, two] = seen else { return None };
    Spread::of(one.rates.iter().zip(&two.rates).map(|(one, two)| two / one))
}

/// Measures one worker on the last of `cores`, and two on both.
///
/// # Errors
/// When the server does not start, or the generator gets no sockets.
pub(crate) fn run(
    cores: [usize; 2],
    stage: &Stage<'_>,
    extent: &Extent,
) -> Result<Vec<Workers>, BenchError> {
    let mut runs = Vec::new();
    for cores in [vec![cores[1]], cores.to_vec()] {
        let list: Vec<_> = cores.iter().map(ToString::to_string).collect();
        let mut server = servers::start_workers(cores.len(), &list.join(","), stage)?;
        rounds::wait_ready(&mut server, Subject::Meridian)?;
        let seen = Workers {
            count: cores.len(),
            rates: Vec::new(),
            cpu_ns: Vec::new(),
        };
        runs.push((server, cores, seen));
    }
    for round in 0..extent.rounds {
        for (server, cores, seen) in &mut runs {
            let (rate, cpu_ns) = measure(server, cores, extent, round)?;
            seen.rates.push(rate);
            seen.cpu_ns.push(cpu_ns);
        }
    }
    Ok(runs.into_iter().map(|(_, _, seen)| seen).collect())
}

fn measure(
    server: &Server,
    cores: &[usize],
    extent: &Extent,
    round: u32,
) -> Result<(f64, f64), BenchError> {
    ask(server.address, cores, extent, extent.time / 5, round)?;
    let pids = server.child.pids();
    let (before, clock) = (proc::processor_time(&pids), Clock::new());
    let answers = ask(server.address, cores, extent, extent.time, round)?;
    let used = proc::processor_time(&pids).saturating_sub(before);
    let rate = answers as f64 / clock.elapsed().as_secs_f64().max(1e-9);
    Ok((rate, used.as_nanos() as f64 / answers.max(1) as f64))
}

/// One generator on each core; the answers of all.
fn ask(
    server: SocketAddrV4,
    cores: &[usize],
    extent: &Extent,
    time: Duration,
    round: u32,
) -> Result<u64, BenchError> {
    let plan = Plan {
        pace: Pace::Closed {
            window: extent.window,
        },
        time,
        timeout: Duration::from_millis(200),
        count: u64::MAX,
        sockets: extent.sockets,
        transport: Transport::Udp,
        yields: true,
        records: true,
    };
    let generate = |core: usize| {
        pin_to(core);
        let seed = extent.seed ^ (u64::from(round) << 32 | (core as u64) << 48);
        let subject = Subject::Meridian;
        let mut queries = Queries::new(subject.traffic(), &subject.names(), seed);
        load::run(server, &plan, &mut queries)
    };
    let seen = std::thread::scope(|scope| {
        let threads: Vec<_> = cores
            .iter()
            .map(|core| scope.spawn(move || generate(*core)))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(seen) => seen,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    });
    let seen = seen.map_err(BenchError::system("opening the generator's sockets"))?;
    Ok(seen.iter().map(|outcome| outcome.answered).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gain_compares_within_a_round() {
        let workers = |count, rates: &[f64]| Workers {
            count,
            rates: rates.to_vec(),
            cpu_ns: Vec::new(),
        };
        let seen = gain(&[workers(1, &[100.0, 50.0]), workers(2, &[190.0, 95.0])]).unwrap();
        assert!((seen.low - 1.9).abs() < 1e-9 && (seen.high - 1.9).abs() < 1e-9);
        assert_eq!(gain(&[workers(1, &[1.0])]), None);
    }
}
