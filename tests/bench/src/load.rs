//! The load generator: one thread, several sockets, so that `SO_REUSEPORT` has something to spread.
//!
//! * Closed loop: each socket keeps a window of queries on their way; the rate is the server's.
//! * Open loop: queries are due at a fixed rate, whether or not answers come; latencies count from
//!   the moment a query was due.
//!
//! It never sleeps: it has a core of its own (where it has not, see [`Plan::yields`]).

use std::{io, net::SocketAddrV4, time::Duration};

use crate::{
    clock::Clock,
    latency::Latencies,
    net::{BATCH, Batch, Transport},
    pending::Pending,
    query::Queries,
};

/// How often lost queries are looked for, ns.
const SWEEP_NS: u64 = 50_000_000;

/// A query that was sent later than this after it was due shows a generator at its limit, ns.
const LATE_NS: u64 = 100_000;

/// How queries follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// So many on their way on each socket.
    Closed {
        /// Queries per socket.
        window: usize,
    },
    /// So many a second, all sockets together.
    Open {
        /// Queries a second.
        rate: f64,
    },
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How queries follow each other.
    pub(crate) pace: Pace,
    /// For how long.
    pub(crate) time: Duration,
    /// After so long without an answer a query is lost.
    pub(crate) timeout: Duration,
    /// At most so many queries.
    pub(crate) count: u64,
    /// Sockets.
    pub(crate) sockets: usize,
    /// What kind.
    pub(crate) transport: Transport,
    /// Somebody else needs this core too: let them have it while no answer is there.
    pub(crate) yields: bool,
    /// Whether an answer must hold a record; an echo holds none.
    pub(crate) records: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Queries sent.
    pub(crate) sent: u64,
    /// Answers to them that were as they should be.
    pub(crate) answered: u64,
    /// Queries without an answer within the plan's timeout.
    pub(crate) lost: u64,
    /// Queries still without an answer at the end.
    pub(crate) unanswered: u64,
    /// Answers with another rcode than NOERROR.
    pub(crate) wrong_rcode: u64,
    /// Answers without a record, and datagrams that are no answer at all.
    pub(crate) malformed: u64,
    /// Answers nobody waited for (any more).
    pub(crate) unexpected: u64,
    /// Queries sent noticeably after they were due.
    pub(crate) late: u64,
    /// Time from the first query to the last, without waiting for the last answers.
    pub(crate) time: Duration,
    /// Answers that came in that time.
    pub(crate) in_time: u64,
    /// Latencies.
    pub(crate) latencies: Latencies,
}

impl Outcome {
    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.in_time as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// Asks `server` as planned.
///
/// # Errors
/// When the system gives no sockets.
pub(crate) fn run(server: SocketAddrV4, plan: &Plan, queries: &mut Queries) -> io::Result<Outcome> {
    let mut generator = Generator::new(server, plan, queries)?;
    match plan.pace {
        Pace::Closed { window } => generator.closed(window.clamp(1, 1024)),
        Pace::Open { rate } => generator.open(rate.max(1.0)),
    }
    generator.outcome.time = generator.clock.elapsed();
    generator.outcome.in_time = generator.outcome.answered;
    generator.drain();
    Ok(generator.outcome)
}

struct Lane {
    batch: Batch,
    pending: Pending,
    staged: usize,
}

struct Generator<'a> {
    lanes: Vec<Lane>,
    queries: &'a mut Queries,
    plan: Plan,
    outcome: Outcome,
    swept: u64,
    /// ns.
    timeout: u64,
    clock: Clock,
}

impl<'a> Generator<'a> {
    fn new(server: SocketAddrV4, plan: &Plan, queries: &'a mut Queries) -> io::Result<Self> {
        let size = match plan.pace {
            Pace::Closed { .. } => 1 << 11,
            Pace::Open { .. } => 1 << 16,
        };
        let lane = |_| {
            Ok(Lane {
                batch: Batch::connect(server, plan.transport)?,
                pending: Pending::new(size),
                staged: 0,
            })
        };
        Ok(Self {
            lanes: (0..plan.sockets.max(1))
                .map(lane)
                .collect::<io::Result<_>>()?,
            queries,
            plan: *plan,
            outcome: Outcome {
                sent: 0,
                answered: 0,
                lost: 0,
                unanswered: 0,
                wrong_rcode: 0,
                malformed: 0,
                unexpected: 0,
                late: 0,
                time: Duration::ZERO,
                in_time: 0,
                latencies: Latencies::new(),
            },
            swept: 0,
            timeout: plan.timeout.as_nanos() as u64,
            clock: Clock::new(),
        })
    }

    fn closed(&mut self, window: usize) {
        while self.goes_on() {
            if self.plan.yields {
                std::thread::yield_now();
            }
            for lane in 0..self.lanes.len() {
                self.receive(lane);
                let free = window.saturating_sub(self.lanes[lane].pending.outstanding());
                let left = self.plan.count - self.outcome.sent;
                // Half a window at once keeps batches large; a query more costs a system call.
                if free * 2 >= window || free >= BATCH {
                    let now = self.clock.now();
                    for _ in 0..free.min(BATCH).min(left as usize) {
                        self.stage(lane, now);
                    }
                    self.flush(lane);
                }
            }
            self.sweep();
        }
    }

    fn open(&mut self, rate: f64) {
        let lanes = self.lanes.len();
        let most = self
            .plan
            .count
            .min((self.plan.time.as_secs_f64() * rate) as u64);
        while self.outcome.sent < most && self.clock.elapsed() < self.plan.time + self.plan.time / 2
        {
            let now = self.clock.now();
            let due = ((now as f64 * 1e-9 * rate) as u64).min(most);
            // At most a batch a socket before looking for answers again.
            let due = due.min(self.outcome.sent + (lanes * BATCH) as u64);
            while self.outcome.sent < due {
                let at = (self.outcome.sent as f64 / rate * 1e9) as u64 + 1;
                self.outcome.late += u64::from(now > at + LATE_NS);
                self.stage((self.outcome.sent % lanes as u64) as usize, at);
            }
            for lane in 0..lanes {
                self.flush(lane);
                self.receive(lane);
            }
            self.sweep();
        }
    }

    fn goes_on(&self) -> bool {
        self.outcome.sent < self.plan.count && self.clock.elapsed() < self.plan.time
    }

    /// Prepares a query that was due at `due`, and counts it as sent.
    fn stage(&mut self, lane: usize, due: u64) {
        let Lane {
            batch,
            pending,
            staged,
        } = &mut self.lanes[lane];
        let (id, pushed) = pending.add(due);
        if pushed.is_some() {
            self.outcome.lost += 1;
            self.outcome.latencies.record(0, self.timeout);
        }
        batch.out_lengths[*staged] = self.queries.write(id, &mut batch.outbox[*staged]);
        *staged += 1;
        self.outcome.sent += 1;
        if *staged == BATCH {
            self.flush(lane);
        }
    }

    fn flush(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        let mut first = 0;
        // What the kernel refuses again and again stays without an answer and is counted as lost.
        for _ in 0..100 {
            if first == lane.staged {
                break;
            }
            first += lane.batch.send(first, lane.staged - first).unwrap_or(0);
        }
        lane.staged = 0;
    }

    fn receive(&mut self, lane: usize) {
        let Lane { batch, pending, .. } = &mut self.lanes[lane];
        // An error is the echo of an earlier datagram ("port unreachable"): that one is lost.
        let count = batch.poll().unwrap_or(0);
        if count == 0 {
            return;
        }
        let now = self.clock.now();
        for (message, length) in batch.inbox.iter().zip(batch.lengths).take(count) {
            let verdict = judge(&message[..length], self.plan.records);
            let due = match verdict {
                Verdict::Noise => None,
                _ => pending.take(u16::from_be_bytes([message[0], message[1]])),
            };
            let Some(due) = due else {
                self.outcome.unexpected += 1;
                continue;
            };
            match verdict {
                Verdict::Good => {
                    self.outcome.answered += 1;
                    self.outcome.latencies.record(due, now);
                }
                Verdict::Rcode => self.outcome.wrong_rcode += 1,
                Verdict::Malformed | Verdict::Noise => self.outcome.malformed += 1,
            }
        }
    }

    fn sweep(&mut self) {
        let now = self.clock.now();
        if now < self.swept + SWEEP_NS {
            return;
        }
        self.swept = now;
        for lane in &mut self.lanes {
            for _ in 0..lane.pending.expire(now.saturating_sub(self.timeout)) {
                self.outcome.lost += 1;
                self.outcome.latencies.record(0, self.timeout);
            }
        }
    }

    fn drain(&mut self) {
        let until = self.clock.now() + self.timeout;
        while self.clock.now() < until
            && self.lanes.iter().any(|lane| lane.pending.outstanding() > 0)
        {
            for lane in 0..self.lanes.len() {
                self.receive(lane);
            }
        }
        for lane in &mut self.lanes {
            for _ in 0..lane.pending.expire(u64::MAX) {
                self.outcome.unanswered += 1;
                self.outcome.latencies.record(0, self.timeout);
            }
        }
    }
}

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Rcode,
    Malformed,
    Noise,
}

fn judge(message: &[u8], records: bool) -> Verdict {
    let Some([_, _, flags, rcode, _, _, high, low, ..]) = message.get(..12) else {
        return Verdict::Noise;
    };
    if rcode & 0x0f != 0 {
        Verdict::Rcode
    } else if flags & 0x80 == 0 || records && [*high, *low] == [0, 0] {
        Verdict::Malformed
    } else {
        Verdict::Good
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, UdpSocket},
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::Relaxed},
        },
        thread::JoinHandle,
    };

    use super::*;
    use crate::query::Traffic;

    /// Answers with what `answer` makes of a query and its number; nothing means a lost answer.
    struct Fake {
        address: SocketAddrV4,
        stop: Arc<AtomicBool>,
        thread: Option<JoinHandle<()>>,
    }

    impl Fake {
        fn start(answer: impl Fn(u64, &mut [u8]) -> bool + Send + 'static) -> Self {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            let SocketAddr::V4(address) = socket.local_addr().unwrap() else {
                panic!("it was bound to IPv4")
            };
            let stop = Arc::new(AtomicBool::new(false));
            let stopped = stop.clone();
            let thread = std::thread::spawn(move || {
                let (mut buffer, mut number) = ([0; 512], 0);
                while !stopped.load(Relaxed) {
                    if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                        buffer[2] |= 0x80;
                        if answer(number, &mut buffer[..length]) {
                            socket.send_to(&buffer[..length], from).unwrap();
                        }
                        number += 1;
                    }
                }
            });
            Self {
                address,
                stop,
                thread: Some(thread),
            }
        }

        fn ask(&self, pace: Pace, count: u64, records: bool, timeout: u64) -> Outcome {
            let plan = Plan {
                pace,
                timeout: Duration::from_millis(timeout),
                time: Duration::from_secs(60),
                count,
                sockets: 3,
                transport: Transport::Udp,
                yields: false,
                records,
            };
            let traffic = Traffic {
                ecs: true,
                cookie: false,
            };
            let mut queries = Queries::new(traffic, &["a.example".to_owned()], 1);
            run(self.address, &plan, &mut queries).unwrap()
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            self.stop.store(true, Relaxed);
            if let Some(thread) = self.thread.take() {
                let _ = thread.join();
            }
        }
    }

    /// Queries that went wrong in any way.
    fn bad(seen: &Outcome) -> u64 {
        seen.lost + seen.unanswered + seen.wrong_rcode + seen.malformed
    }

    #[test]
    fn answers_are_judged() {
        let answer = |flags, rcode, count| [0, 1, flags, rcode, 0, 1, 0, count, 0, 0, 0, 0];
        assert_eq!(judge(&answer(0x84, 0, 1), true), Verdict::Good);
        assert_eq!(judge(&answer(0x84, 0, 0), true), Verdict::Malformed);
        assert_eq!(judge(&answer(0x80, 0, 0), false), Verdict::Good);
        assert_eq!(judge(&answer(0x04, 0, 1), true), Verdict::Malformed);
        assert_eq!(judge(&answer(0x84, 5, 0), true), Verdict::Rcode);
        assert_eq!(judge(&[0; 11], true), Verdict::Noise);
    }

    #[test]
    fn a_closed_loop_counts_every_query_once() {
        let fake = Fake::start(|number, query| {
            query[3] = u8::from(number % 10 == 3) * 2;
            query[7] = u8::from(number % 10 != 4);
            true
        });
        let seen = fake.ask(Pace::Closed { window: 4 }, 1000, true, 60_000);
        assert_eq!(seen.sent, 1000);
        assert_eq!(seen.answered + bad(&seen), 1000);
        assert_eq!(seen.wrong_rcode, 100);
        assert_eq!(seen.malformed, 100);
        assert_eq!(seen.unexpected, 0);
    }

    #[test]
    fn an_open_loop_notices_what_is_never_answered() {
        let fake = Fake::start(|number, _| number % 4 != 0);
        let seen = fake.ask(Pace::Open { rate: 5000.0 }, 400, false, 200);
        assert_eq!(seen.sent, 400);
        assert_eq!(seen.answered + bad(&seen), 400);
        assert!(seen.lost + seen.unanswered >= 100, "{seen:?}");
        assert!(seen.latencies.percentiles().p99 >= 199_000_000);
    }

    #[test]
    fn an_unreachable_server_ends_it_all_the_same() {
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = closed.local_addr().unwrap() else {
            panic!("it was bound to IPv4")
        };
        drop(closed);
        let plan = Plan {
            pace: Pace::Closed { window: 2 },
            timeout: Duration::from_millis(50),
            time: Duration::from_millis(100),
            count: 1000,
            sockets: 1,
            transport: Transport::Udp,
            yields: false,
            records: true,
        };
        let traffic = Traffic {
            ecs: false,
            cookie: false,
        };
        let mut queries = Queries::new(traffic, &["a.example".to_owned()], 1);
        let seen = run(address, &plan, &mut queries).unwrap();
        assert_eq!(seen.answered, 0);
        assert_eq!(bad(&seen), seen.sent);
    }
}
