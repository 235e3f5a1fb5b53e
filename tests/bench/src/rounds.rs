//! Rounds: every subject once, then every subject again, so that what drifts hits all alike.

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::Duration,
};

use crate::{
    clock::Clock,
    error::BenchError,
    latency::Percentiles,
    load::{self, Pace, Plan},
    net::Transport,
    proc,
    query::{LONGEST, Queries},
    servers::{Server, Subject},
};

/// How long a server may load its data.
const PATIENCE: Duration = Duration::from_secs(300);

/// Share of a server's highest rate up to which a fixed rate is a fair question.
const HEADROOM: f64 = 0.9;

/// After so long without an answer a query is lost.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Queries asked to compare answers.
const COMPARED: u64 = 400;

/// How much is measured.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    /// Rounds.
    pub(crate) rounds: u32,
    /// Time of each measurement.
    pub(crate) time: Duration,
    /// Fixed rates, queries a second.
    pub(crate) rates: Vec<u32>,
    /// Sockets of the generator.
    pub(crate) sockets: usize,
    /// Queries on their way on each socket in the closed loop.
    pub(crate) window: usize,
    /// Where the traffic starts.
    pub(crate) seed: u64,
}

/// One measurement of one subject.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Which.
    pub(crate) subject: Subject,
    /// Round, from 0.
    pub(crate) round: u32,
    /// Fixed rate, queries a second; `None`: closed loop.
    pub(crate) rate: Option<u32>,
    /// Answers a second.
    pub(crate) answers_per_second: f64,
    /// Processor time of the server per answer, ns.
    pub(crate) cpu_ns: f64,
    /// Share of a core that the server used.
    pub(crate) busy: f64,
    /// Share of a core that neither the server nor the generator used: others at work, the
    /// hypervisor included.
    pub(crate) others: f64,
    /// Resident memory of the server, octets.
    pub(crate) resident: u64,
    /// Latencies.
    pub(crate) latency: Percentiles,
    /// Queries sent.
    pub(crate) sent: u64,
    /// Queries without an answer.
    pub(crate) lost: u64,
    /// Answers with a wrong rcode, or without a record.
    pub(crate) wrong: u64,
    /// Queries that the generator sent late.
    pub(crate) late: u64,
}

/// Runs all rounds. `say` hears of each measurement.
///
/// # Errors
/// When the generator gets no sockets.
pub(crate) fn run(
    servers: &[Server],
    subjects: &[Subject],
    extent: &Extent,
    mut say: impl FnMut(&Sample),
) -> Result<Vec<Sample>, BenchError> {
    let mut samples = Vec::new();
    for round in 0..extent.rounds {
        for subject in subjects {
            let Some(server) = servers.iter().find(|s| s.subject == subject.server()) else {
                continue;
            };
            // The same traffic for everybody in a round, another in the next one.
            let seed = extent.seed.wrapping_add(u64::from(round) << 32);
            let mut queries = Queries::new(subject.traffic(), &subject.names(), seed);
            let mut visit = Visit {
                server,
                subject: *subject,
                round,
                extent,
                queries: &mut queries,
            };
            let closed = visit.measure(None)?;
            let most = closed.answers_per_second;
            say(&closed);
            samples.push(closed);
            // Over TCP a window is all there is: a late answer would only delay the next query.
            let rates = match subject.transport() {
                Transport::Udp => extent.rates.as_slice(),
                Transport::Tcp => &[],
            };
            for rate in rates {
                if f64::from(*rate) <= most * HEADROOM {
                    let sample = visit.measure(Some(*rate))?;
                    say(&sample);
                    samples.push(sample);
                }
            }
        }
    }
    Ok(samples)
}

struct Visit<'a> {
    server: &'a Server,
    subject: Subject,
    round: u32,
    extent: &'a Extent,
    queries: &'a mut Queries,
}

impl Visit<'_> {
    fn measure(&mut self, rate: Option<u32>) -> Result<Sample, BenchError> {
        let closed = Pace::Closed {
            window: self.extent.window,
        };
        let mut plan = Plan {
            pace: rate.map_or(closed, |rate| Pace::Open { rate: rate.into() }),
            time: self.extent.time / 5,
            timeout: TIMEOUT,
            count: u64::MAX,
            sockets: self.extent.sockets,
            transport: self.subject.transport(),
            yields: false,
            records: self.subject != Subject::Echo,
        };
        self.server.child.hold();
        // Caches and frequencies settle first.
        self.ask(&plan)?;
        plan.time = self.extent.time;
        let pids = self.server.child.pids();
        let ours = [std::process::id()];
        let (before, own, all) = (
            proc::processor_time(&pids),
            proc::processor_time(&ours),
            proc::machine_time(),
        );
        let clock = Clock::new();
        let seen = self.ask(&plan)?;
        let (used, took) = (
            proc::processor_time(&pids).saturating_sub(before),
            clock.elapsed(),
        );
        let own = proc::processor_time(&ours).saturating_sub(own);
        let others = proc::machine_time().saturating_sub(all + used + own);
        let replies = seen.answered + seen.wrong_rcode + seen.malformed;
        Ok(Sample {
            subject: self.subject,
            round: self.round,
            rate,
            answers_per_second: seen.rate(),
            cpu_ns: used.as_nanos() as f64 / replies.max(1) as f64,
            busy: used.as_secs_f64() / took.as_secs_f64().max(1e-9),
            others: others.as_secs_f64() / took.as_secs_f64().max(1e-9),
            resident: proc::resident(&pids),
            latency: seen.latencies.percentiles(),
            sent: seen.sent,
            lost: seen.lost + seen.unanswered,
            wrong: seen.wrong_rcode + seen.malformed,
            late: seen.late,
        })
    }

    fn ask(&mut self, plan: &Plan) -> Result<load::Outcome, BenchError> {
        load::run(self.server.address, plan, self.queries)
            .map_err(BenchError::system("opening the generator's sockets"))
    }
}

/// Waits until a server answers as it should.
///
/// # Errors
/// When it ends, or does not within five minutes.
pub(crate) fn wait_ready(server: &mut Server, subject: Subject) -> Result<(), BenchError> {
    let clock = Clock::new();
    let ask = socket(server.address)?;
    let mut queries = Queries::new(subject.traffic(), &subject.names(), 1);
    while clock.elapsed() < PATIENCE {
        let answer = one(&ask, &mut queries, 1);
        if answer.is_some_and(|a| a[3] & 15 == 0 && (subject == Subject::Echo || a[7] > 0)) {
            return Ok(());
        }
        if server.child.exit_status().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(BenchError::Silent {
        name: subject.label().to_owned(),
        log: server.child.last_words(),
    })
}

/// The addresses that a server answers some queries with, the same queries for every server.
///
/// # Errors
/// When the system gives no socket.
pub(crate) fn addresses(
    server: &Server,
    subject: Subject,
    seed: u64,
) -> Result<Vec<Option<Ipv4Addr>>, BenchError> {
    let socket = socket(server.address)?;
    let mut queries = Queries::new(subject.traffic(), &subject.names(), seed);
    let ask = |id| first_address(&one(&socket, &mut queries, id as u16)?);
    Ok((0..COMPARED).map(ask).collect())
}

/// Whether a server answers a client's cookie with one of its own (RFC 7873 §5.2.3). One that ignores
/// cookies does less work, and is no measure for one that does not.
///
/// # Errors
/// When the system gives no socket.
pub(crate) fn answers_cookies(server: &Server, subject: Subject) -> Result<bool, BenchError> {
    let socket = socket(server.address)?;
    let mut queries = Queries::new(subject.traffic(), &subject.names(), 1);
    let answer = one(&socket, &mut queries, 1).unwrap_or_default();
    // Option 10 with the client's 8 octets and at least 8 more.
    let found = |option: &[u8]| matches!(option, [0, 10, 0, 16..=40, ..]);
    Ok(answer.windows(4).any(found))
}

fn socket(server: SocketAddrV4) -> Result<UdpSocket, BenchError> {
    let open = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        Ok::<_, std::io::Error>(socket)
    };
    open().map_err(BenchError::system("opening a socket"))
}

fn one(socket: &UdpSocket, queries: &mut Queries, id: u16) -> Option<Vec<u8>> {
    let mut buffer = [0; LONGEST];
    let length = queries.write(id, &mut buffer);
    socket.send(&buffer[..length]).ok()?;
    loop {
        let length = socket.recv(&mut buffer).ok()?;
        if length >= 12 && buffer[..2] == id.to_be_bytes() {
            return Some(buffer[..length].to_vec());
        }
    }
}

/// The address in the first answer record.
fn first_address(message: &[u8]) -> Option<Ipv4Addr> {
    if message.get(7) == Some(&0) {
        return None;
    }
    let question = skip_name(message, 12)? + 4;
    let record = skip_name(message, question)?;
    let data = message.get(record + 8..record + 14)?;
    let (length, address) = data.split_first_chunk::<2>()?;
    (*length == [0, 4]).then(|| Ipv4Addr::new(address[0], address[1], address[2], address[3]))
}

/// Where what follows a name begins.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..64 => at += 1 + usize::from(length),
            _ => return Some(at + 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_of_an_answer_is_found() {
        let mut message = vec![0, 0, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0];
        message.extend(b"\x01a\x00\x00\x01\x00\x01");
        message.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 192, 0, 2, 7]);
        assert_eq!(first_address(&message), Some(Ipv4Addr::new(192, 0, 2, 7)));
        for length in 0..message.len() {
            assert_eq!(first_address(&message[..length]), None, "{length}");
        }
    }
}
