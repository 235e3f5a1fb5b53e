//! One DNS conversation over TCP without the socket: framing, bounds and deadlines.
//!
//! ```text
//! received → input ── answer_ready ── output → unsent → wrote
//! ```
//!
//! What is bounded: a frame is at most 65,535 octets, and the input never holds more than one frame
//! and what came with it; answers that wait to be sent are bounded in number (`in_flight`) and in
//! octets. At a bound nothing more is read, so a client that does not read its answers is slowed
//! down by TCP itself.
//!
//! What is timed: a connection without a query (idle), a frame that does not become whole, answers
//! that are not taken. Each clock runs from where its wait began; trickled octets do not wind it up
//! again.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Octets in front of a message that give its length (RFC 1035 §4.2.2).
const PREFIX: usize = 2;
/// A DNS header (RFC 1035 §4.1.1); nothing shorter is a message.
const HEADER: usize = 12;
/// The next query is answered only while fewer octets than this wait to be sent.
const OUTPUT: usize = 64 * 1024;
/// The input is not read beyond this.
const INPUT: usize = PREFIX + u16::MAX as usize;
/// Buffers larger than this are given back when they are empty and were not filled.
const KEEP: usize = 4096;
/// The same for what was sent: some hundred answers.
const KEEP_OUTPUT: usize = 16 * 1024;
/// Room to receive into once a client has filled less than this.
const PLENTY: usize = 32 * 1024;

/// Limits of one conversation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Without a query, with half a frame, or with answers not taken, for this long: closed.
    pub(super) timeout: Duration,
    /// Answers that may wait to be sent.
    pub(super) in_flight: usize,
}

/// What a deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// Nothing was asked.
    Idle,
    /// A frame did not become whole.
    HalfFrame,
    /// Answers were not taken.
    SlowReader,
    /// The time to finish is over.
    Finish,
}

/// State of one conversation.
#[derive(Debug)]
pub(super) struct Stream {
    limits: Limits,
    input: Vec<u8>,
    /// The last octets received filled all the room there was: more are on their way.
    filled: bool,
    output: Vec<u8>,
    /// Octets of `output` that are already written.
    written: usize,
    /// Octets taken by the kernel, and queued, since the beginning.
    sent: u64,
    queued: u64,
    /// Value of `queued` after each answer that waits.
    ends: VecDeque<u64>,
    idle_since: Instant,
    /// When the first octet of the incomplete frame at the head of the input came.
    frame_since: Option<Instant>,
    /// Everything queued up to here must be sent by then.
    promise: Option<(Instant, u64)>,
    /// The peer sends nothing more.
    peer_ended: bool,
    /// Nothing more will be read.
    ended: bool,
    /// Nothing more will be answered.
    broken: bool,
    finish_by: Option<Instant>,
}

impl Stream {
    /// A conversation that begins `now`.
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            input: Vec::new(),
            filled: false,
            output: Vec::new(),
            written: 0,
            sent: 0,
            queued: 0,
            ends: VecDeque::new(),
            idle_since: now,
            frame_since: None,
            promise: None,
            peer_ended: false,
            ended: false,
            broken: false,
            finish_by: None,
        }
    }

    /// The buffer to receive into, with room for at least one octet.
    pub(super) fn input(&mut self) -> &mut Vec<u8> {
        self.input.reserve(if self.filled { PLENTY } else { KEEP });
        &mut self.input
    }

    /// Whether more should be read.
    pub(super) fn wants_read(&self) -> bool {
        !self.ended && !self.broken && self.has_room() && self.input.len() < INPUT
    }

    /// Answers the whole frames that have come, in order, as far as the bounds allow. `answer` appends
    /// the answer to the buffer it is given, or says `false` when there is none: then the peer does
    /// not speak DNS, and the conversation ends after what is queued.
    ///
    /// Gives the number of queries taken.
    pub(super) fn answer_ready(
        &mut self,
        now: Instant,
        mut answer: impl FnMut(&[u8], &mut Vec<u8>) -> bool,
    ) -> usize {
        self.filled = self.input.len() == self.input.capacity() && !self.input.is_empty();
        let mut input = std::mem::take(&mut self.input);
        let mut taken = 0;
        let mut rest = input.as_slice();
        while self.has_room() && !self.broken {
            let Some((frame, behind)) = split_frame(rest) else {
                break;
            };
            rest = behind;
            taken += 1;
            if frame.len() < HEADER || !self.queue(now, |out| answer(frame, out)) {
                self.broken = true;
            }
        }
        let consumed = input.len() - rest.len();
        input.drain(..consumed);
        if input.is_empty() && input.capacity() > KEEP && !self.filled {
            input = Vec::new();
        }
        self.input = input;
        if taken > 0 {
            self.idle_since = now;
            self.frame_since = None;
        }
        if self.input.is_empty() {
            self.frame_since = None;
        } else {
            self.frame_since.get_or_insert(now);
        }
        taken
    }

    /// Whether [`Self::answer_ready`] would take a query that has come already, without anything
    /// more being read or written.
    pub(super) fn has_ready(&self) -> bool {
        !self.broken && self.has_room() && split_frame(&self.input).is_some()
    }

    /// What waits to be written.
    pub(super) fn unsent(&self) -> &[u8] {
        self.output.get(self.written..).unwrap_or_default()
    }

    /// The kernel took this many octets of [`Self::unsent`].
    pub(super) fn wrote(&mut self, octets: usize, now: Instant) {
        self.written += octets;
        self.sent += octets as u64;
        while self.ends.front().is_some_and(|&end| end <= self.sent) {
            self.ends.pop_front();
        }
        if self.written >= self.output.len() {
            self.output.clear();
            self.written = 0;
            if self.output.capacity() > KEEP_OUTPUT {
                self.output = Vec::new();
            }
            self.promise = None;
            self.idle_since = now;
        } else if self.promise.is_some_and(|(_, target)| self.sent >= target) {
            self.promise = Some((now + self.limits.timeout, self.queued));
        }
    }

    /// The peer will send nothing more.
    pub(super) fn end(&mut self) {
        self.peer_ended = true;
        self.ended = true;
    }

    /// Whether the peer has said that it sends nothing more.
    pub(super) fn has_peer_ended(&self) -> bool {
        self.peer_ended
    }

    /// Answer what has come, write it, and be done by `deadline`.
    pub(super) fn finish(&mut self, deadline: Instant) {
        self.ended = true;
        self.finish_by = Some(deadline);
    }

    /// Whether the connection may be closed: nothing waits to be sent and nothing will be.
    pub(super) fn is_done(&self) -> bool {
        let nothing_to_answer = self.broken || (self.ended && split_frame(&self.input).is_none());
        self.unsent().is_empty() && nothing_to_answer
    }

    /// Whether the conversation was cut off by a frame that is no DNS query.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// When the wait ends that is nearest to its end, and what that means.
    pub(super) fn deadline(&self) -> (Instant, Expiry) {
        let timeout = self.limits.timeout;
        let half = self
            .frame_since
            .filter(|_| self.wants_read())
            .map(|since| (since + timeout, Expiry::HalfFrame));
        let slow = self.promise.map(|(by, _)| (by, Expiry::SlowReader));
        let finish = self.finish_by.map(|by| (by, Expiry::Finish));
        [half, slow, finish]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
            .unwrap_or((self.idle_since + timeout, Expiry::Idle))
    }

    fn has_room(&self) -> bool {
        self.ends.len() < self.limits.in_flight.max(1) && self.unsent().len() < OUTPUT
    }

    fn queue(&mut self, now: Instant, answer: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        if self.written > 0 {
            self.output.drain(..self.written.min(self.output.len()));
            self.written = 0;
        }
        let before = self.output.len();
        self.output.extend_from_slice(&[0; PREFIX]);
        let answered = answer(&mut self.output);
        let length = self.output.len().saturating_sub(before + PREFIX);
        let prefix = self.output.get_mut(before..before + PREFIX);
        let (true, Ok(length), Some(prefix)) = (answered, u16::try_from(length), prefix) else {
            self.output.truncate(before);
            return false;
        };
        prefix.copy_from_slice(&length.to_be_bytes());
        self.queued += PREFIX as u64 + u64::from(length);
        self.ends.push_back(self.queued);
        let (timeout, queued) = (self.limits.timeout, self.queued);
        self.promise.get_or_insert((now + timeout, queued));
        true
    }
}

/// The first whole frame and what stands behind it.
fn split_frame(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (prefix, rest) = octets.split_first_chunk::<PREFIX>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*prefix)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        timeout: Duration::from_secs(10),
        in_flight: 4,
    };

    #[allow(clippy::disallowed_methods)] // any instant will do as the beginning
    fn start() -> Instant {
        Instant::now()
    }

    fn frame(octets: &[u8]) -> Vec<u8> {
        let length = u16::try_from(octets.len()).unwrap();
        [&length.to_be_bytes(), octets].concat()
    }

    fn query(number: u8) -> Vec<u8> {
        frame(&[number; HEADER])
    }

    fn echo(query: &[u8], reply: &mut Vec<u8>) -> bool {
        reply.extend_from_slice(query);
        true
    }

    fn run(stream: &mut Stream, now: Instant) -> usize {
        stream.answer_ready(now, echo)
    }

    #[test]
    fn frames_are_answered_in_order_whatever_the_pieces() {
        let now = start();
        let mut stream = Stream::new(LIMITS, now);
        for octet in [query(1), query(2)].concat() {
            stream.input().push(octet);
            run(&mut stream, now);
        }
        assert_eq!(stream.unsent(), [query(1), query(2)].concat());
    }

    #[test]
    fn at_the_bound_nothing_more_is_read_or_answered() {
        let now = start();
        let mut stream = Stream::new(LIMITS, now);
        let all: Vec<u8> = (0..6).flat_map(query).collect();
        stream.input().extend_from_slice(&all);
        assert_eq!(run(&mut stream, now), 4);
        assert!(!stream.wants_read() && !stream.has_ready());
        assert_eq!(run(&mut stream, now), 0);
        stream.wrote(query(0).len() * 2, now);
        assert!(stream.wants_read() && stream.has_ready());
        assert_eq!(run(&mut stream, now), 2);
        assert!(!stream.has_ready());
        assert_eq!(stream.unsent(), &all[query(0).len() * 2..]);
    }

    #[test]
    fn large_answers_are_bounded_in_octets() {
        let now = start();
        let limits = Limits {
            in_flight: 1000,
            ..LIMITS
        };
        let mut stream = Stream::new(limits, now);
        let all: Vec<u8> = (0..200).flat_map(query).collect();
        stream.input().extend_from_slice(&all);
        let large = |_: &[u8], reply: &mut Vec<u8>| {
            reply.resize(reply.len() + 60_000, 0);
            true
        };
        assert_eq!(stream.answer_ready(now, large), 2);
        assert!(stream.unsent().len() < 2 * OUTPUT);
    }

    #[test]
    fn an_answer_too_long_for_a_frame_ends_the_conversation() {
        let now = start();
        let mut stream = Stream::new(LIMITS, now);
        stream.input().extend([query(1), query(2)].concat());
        let answer = |asked: &[u8], reply: &mut Vec<u8>| {
            let length = if asked[0] == 1 { 20 } else { 1 << 16 };
            reply.resize(reply.len() + length, 7);
            true
        };
        assert_eq!(stream.answer_ready(now, answer), 2);
        assert!(stream.is_broken());
        assert_eq!(stream.unsent(), frame(&[7; 20]));
    }

    #[test]
    fn who_fills_the_room_gets_more() {
        let now = start();
        let mut stream = Stream::new(LIMITS, now);
        let room = stream.input().capacity();
        stream.input().resize(room, 0xff);
        run(&mut stream, now);
        assert!(stream.input().capacity() - room >= PLENTY);
    }

    #[test]
    fn what_is_no_query_ends_the_conversation_after_the_answers() {
        for bad in [frame(&[]), frame(&[0; HEADER - 1])] {
            let now = start();
            let mut stream = Stream::new(LIMITS, now);
            stream.input().extend([query(1), bad, query(2)].concat());
            run(&mut stream, now);
            assert!(stream.is_broken() && !stream.is_done() && !stream.wants_read());
            assert_eq!(stream.unsent(), query(1));
            stream.wrote(query(1).len(), now);
            assert!(stream.is_done());
        }
    }

    #[test]
    fn after_the_end_what_came_is_still_answered() {
        let now = start();
        let mut stream = Stream::new(LIMITS, now);
        stream.input().extend([query(1), vec![0]].concat());
        stream.end();
        assert!(!stream.is_done());
        run(&mut stream, now);
        stream.wrote(query(1).len(), now);
        assert!(stream.is_done());
    }

    #[test]
    fn clocks_are_not_wound_up_by_trickled_octets() {
        let begin = start();
        let second = Duration::from_secs(1);
        let mut stream = Stream::new(LIMITS, begin);
        assert_eq!(stream.deadline(), (begin + 10 * second, Expiry::Idle));
        for (seconds, octet) in (3..).zip([0, 12, 1, 1, 1]) {
            stream.input().push(octet);
            run(&mut stream, begin + seconds * second);
            assert_eq!(stream.deadline(), (begin + 13 * second, Expiry::HalfFrame));
        }
        stream.input().extend([1; 9]);
        run(&mut stream, begin + 9 * second);
        assert_eq!(stream.deadline(), (begin + 19 * second, Expiry::SlowReader));
        // One octet a second does not help a slow reader either.
        for seconds in 10..15 {
            stream.wrote(1, begin + seconds * second);
            assert_eq!(stream.deadline(), (begin + 19 * second, Expiry::SlowReader));
        }
        stream.wrote(9, begin + 15 * second);
        assert_eq!(stream.deadline(), (begin + 25 * second, Expiry::Idle));
        stream.finish(begin + 17 * second);
        assert_eq!(stream.deadline(), (begin + 17 * second, Expiry::Finish));
    }

    #[test]
    fn a_steady_reader_of_endless_answers_is_not_slow() {
        let begin = start();
        let mut now = begin;
        let mut stream = Stream::new(LIMITS, now);
        for _ in 0..100 {
            now += Duration::from_secs(4);
            stream.input().extend([query(1), query(2)].concat());
            run(&mut stream, now);
            // Two answers come, two go, and one always waits.
            let all_but_one = stream.unsent().len().saturating_sub(query(1).len());
            stream.wrote(all_but_one, now);
            assert!(stream.deadline().0 > now);
        }
    }

    proptest! {
        #[test]
        fn any_octets_in_any_pieces(pieces: Vec<Vec<u8>>, takes: Vec<u8>) {
            let now = start();
            let mut stream = Stream::new(LIMITS, now);
            let mut takes = takes.into_iter().cycle();
            for piece in pieces {
                if stream.wants_read() {
                    stream.input().extend_from_slice(&piece);
                }
                run(&mut stream, now);
                let take = usize::from(takes.next().unwrap_or(1)).min(stream.unsent().len());
                stream.wrote(take, now);
                prop_assert!(stream.ends.len() <= LIMITS.in_flight);
                prop_assert!(stream.unsent().len() < OUTPUT + INPUT);
                prop_assert!(stream.wants_read() || !stream.unsent().is_empty() || stream.broken
                    || split_frame(&stream.input).is_some());
            }
        }
    }
}
