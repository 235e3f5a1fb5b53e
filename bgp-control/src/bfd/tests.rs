//! Sessions against each other in simulated time, every transition by table, and the thread over
//! loopback.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;

const TIMING: Timing = Timing {
    interval: Duration::from_millis(300),
    multiplier: 3,
};
/// Fine enough for intervals of 300 ms less their jitter.
const STEP: Duration = Duration::from_millis(5);

fn start() -> Instant {
    #[allow(clippy::disallowed_methods)] // any point in time will do
    Instant::now()
}

fn heard(state: State) -> Packet {
    Packet {
        diagnostic: Diagnostic::NONE,
        state,
        poll: false,
        final_: false,
        demand: false,
        multiplier: 3,
        mine: 9,
        yours: 7,
        desired_min_tx: Duration::from_secs(1),
        required_min_rx: Duration::from_millis(300),
    }
}

/// A session in `state`.
fn session_in(state: State, now: Instant) -> Session {
    let mut session = Session::new(TIMING, 7, 1, now);
    match state {
        State::AdminDown => {
            session.set_admin_down(true, now);
        }
        State::Down => {}
        State::Init => {
            session.receive(&heard(State::Down), now);
        }
        State::Up => {
            session.receive(&heard(State::Init), now);
        }
    }
    assert_eq!(session.state(), state);
    session
}

#[test]
fn section_6_8_6_every_transition() {
    use State::{AdminDown, Down, Init, Up};
    let now = start();
    let table = [
        (AdminDown, AdminDown, AdminDown),
        (AdminDown, Down, AdminDown),
        (AdminDown, Init, AdminDown),
        (AdminDown, Up, AdminDown),
        (Down, AdminDown, Down),
        (Down, Down, Init),
        (Down, Init, Up),
        (Down, Up, Down),
        (Init, AdminDown, Down),
        (Init, Down, Init),
        (Init, Init, Up),
        (Init, Up, Up),
        (Up, AdminDown, Down),
        (Up, Down, Down),
        (Up, Init, Up),
        (Up, Up, Up),
    ];
    for (before, told, after) in table {
        let mut session = session_in(before, now);
        let change = session.receive(&heard(told), now);
        assert_eq!(session.state(), after, "{before:?} hears {told:?}");
        assert_eq!(
            change.is_some(),
            before != after,
            "{before:?} hears {told:?}"
        );
        if let Some(change) = change.filter(|change| change.to == Down) {
            assert_eq!(change.diagnostic, Diagnostic::NEIGHBOR_DOWN);
        }
    }
}

#[test]
fn rfc_5882_what_the_client_is_told() {
    let now = start();
    let mut up = session_in(State::Up, now);
    assert_eq!(up.liveness(), Liveness::Up);
    up.receive(&heard(State::AdminDown), now);
    assert_eq!(up.liveness(), Liveness::AdminDown, "no failure");
    let mut up = session_in(State::Up, now);
    up.receive(&heard(State::Down), now);
    assert_eq!(up.liveness(), Liveness::Failed);
    let mut up = session_in(State::Up, now);
    let silence = up.detection_time().unwrap();
    assert_eq!(up.advance(now + silence - STEP), None);
    let change = up.advance(now + silence).unwrap();
    assert_eq!(
        (change.to, change.diagnostic, change.liveness),
        (State::Down, Diagnostic::TIME_EXPIRED, Liveness::Failed)
    );
    assert_eq!(session_in(State::Init, now).liveness(), Liveness::Unknown);
    let mut own = session_in(State::Up, now);
    assert_eq!(
        own.set_admin_down(true, now).map(|change| change.liveness),
        Some(Liveness::AdminDown)
    );
}

#[test]
fn section_6_8_3_slow_until_up_and_a_poll_tells_the_change() {
    let now = start();
    let mut session = session_in(State::Init, now);
    let slow = session.transmit(now).unwrap();
    assert_eq!(
        (slow.desired_min_tx, slow.poll),
        (Duration::from_secs(1), false)
    );
    session.receive(&heard(State::Init), now);
    let quick = session.transmit(now).unwrap();
    assert_eq!((quick.desired_min_tx, quick.poll), (TIMING.interval, true));
    let mut answer = heard(State::Up);
    answer.final_ = true;
    session.receive(&answer, now);
    let later = now + TIMING.interval;
    assert!(
        !session.transmit(later).unwrap().poll,
        "F ended the sequence"
    );
}

#[test]
fn section_6_8_6_a_poll_is_answered_at_once_beside_the_schedule() {
    let now = start();
    let mut session = session_in(State::Up, now);
    session.transmit(now).unwrap();
    assert_eq!(session.transmit(now), None);
    let mut poll = heard(State::Up);
    poll.poll = true;
    session.receive(&poll, now);
    let answer = session.transmit(now).unwrap();
    assert!(answer.final_ && !answer.poll);
    assert_eq!(session.transmit(now), None);
}

#[test]
fn section_6_8_7_a_neighbour_may_ask_for_silence() {
    let now = start();
    let mut session = session_in(State::Up, now);
    let later = now + Duration::from_secs(2);
    let mut deaf = heard(State::Up);
    deaf.required_min_rx = Duration::ZERO;
    session.receive(&deaf, now);
    assert_eq!(session.transmit(later), None);
    let mut demanding = heard(State::Up);
    (demanding.demand, demanding.final_) = (true, true);
    session.receive(&demanding, now);
    assert_eq!(session.transmit(later), None, "demand mode");
    session.receive(&heard(State::Up), now);
    assert!(session.transmit(later).is_some());
}

#[test]
fn section_6_8_7_jitter_stays_between_its_bounds() {
    for (multiplier, most) in [(3, 1.0), (1, 0.9)] {
        let now = start();
        let mut session = Session::new(
            Timing {
                multiplier,
                ..TIMING
            },
            7,
            5,
            now,
        );
        session.receive(&heard(State::Init), now);
        let mut at = now;
        let mut spread: Vec<f64> = Vec::new();
        for _ in 0..500 {
            session.receive(&heard(State::Up), at);
            session.transmit(at).unwrap();
            let next = session.deadline().unwrap();
            spread.push((next - at).as_secs_f64() / TIMING.interval.as_secs_f64());
            at = next;
        }
        let (least, greatest) = (
            spread.iter().copied().fold(f64::MAX, f64::min),
            spread.iter().copied().fold(f64::MIN, f64::max),
        );
        assert!(
            least >= 0.749 && greatest <= most + 0.001,
            "{least} to {greatest}"
        );
        assert!(greatest - least > 0.1, "it varies");
    }
}

/// Two sessions with a link between that delivers at once, or not at all.
struct Pair {
    sides: [Session; 2],
    now: Instant,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let now = start();
        Self {
            sides: [
                Session::new(TIMING, 7, seed, now),
                Session::new(TIMING, 9, seed.rotate_left(32) ^ 0x5a5a, now),
            ],
            now,
        }
    }

    /// One step of time; `works[n]` tells whether what side n sends arrives.
    fn step(&mut self, works: [bool; 2]) {
        self.now += STEP;
        for from in [0, 1] {
            self.sides[from].advance(self.now);
            while let Some(packet) = self.sides[from].transmit(self.now) {
                let to = &mut self.sides[1 - from];
                let packet = Packet::decode(&packet.encode()).unwrap();
                if works[from] && (packet.yours == 0 || packet.yours == to.discriminator()) {
                    to.receive(&packet, self.now);
                }
            }
        }
    }

    fn run(&mut self, time: Duration, works: [bool; 2]) {
        for _ in 0..time.as_millis() / STEP.as_millis() {
            self.step(works);
        }
    }

    fn states(&self) -> [State; 2] {
        [self.sides[0].state(), self.sides[1].state()]
    }
}

#[test]
fn a_pair_comes_up_notices_a_broken_link_in_time_and_comes_back() {
    for works in [[false, false], [true, false], [false, true]] {
        let mut pair = Pair::new(3);
        pair.run(Duration::from_secs(3), [true, true]);
        assert_eq!(pair.states(), [State::Up; 2]);
        // The detection time, and one interval until the side that still hears is told.
        pair.run(TIMING.interval * 4 + STEP, works);
        assert_ne!(pair.sides[0].state(), State::Up);
        assert_ne!(pair.sides[1].state(), State::Up);
        pair.run(Duration::from_secs(5), [true, true]);
        assert_eq!(pair.states(), [State::Up; 2]);
    }
}

#[test]
fn a_session_that_moves_to_another_process_stays_up() {
    let mut pair = Pair::new(11);
    pair.run(Duration::from_secs(3), [true, true]);
    let text = serde_json::to_string(&pair.sides[0].portable(pair.now)).unwrap();
    let portable: Portable = serde_json::from_str(&text).unwrap();
    pair.now += Duration::from_millis(400);
    pair.sides[0] = Session::resume(&portable, 77, pair.now);
    for _ in 0..2000 {
        pair.step([true, true]);
        assert_eq!(pair.states(), [State::Up; 2]);
    }
}

proptest! {
    /// Whatever the link loses: neither side stays Up longer than the detection time after the last
    /// packet it got, and a link that works again brings both up.
    #[test]
    fn silence_ends_and_a_working_link_heals(
        seed: u64,
        phases in prop::collection::vec((any::<[bool; 2]>(), 1_u64..200), 0..12)
    ) {
        let mut pair = Pair::new(seed);
        for (works, steps) in phases {
            let deaf: Vec<usize> = [0, 1].into_iter().filter(|side| !works[1 - side]).collect();
            let mut silent = Duration::ZERO;
            for _ in 0..steps {
                pair.step(works);
                silent += STEP;
                for side in &deaf {
                    // Slow intervals of the time before Up may still count.
                    if silent > Duration::from_secs(1) * 3 + STEP {
                        prop_assert_ne!(pair.sides[*side].state(), State::Up);
                    }
                }
            }
        }
        pair.run(Duration::from_secs(8), [true, true]);
        prop_assert_eq!(pair.states(), [State::Up; 2]);
    }

    #[test]
    fn no_packet_breaks_a_session(payloads in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 24..30), 0..50)
    ) {
        let mut session = Session::new(TIMING, 7, 1, start());
        let mut now = start();
        for mut payload in payloads {
            payload[0] = 0x20;
            payload[3] = 24;
            if let Ok(packet) = Packet::decode(&payload) {
                session.receive(&packet, now);
            }
            now += Duration::from_millis(7);
            session.advance(now);
            for _ in 0..3 {
                session.transmit(now);
            }
            prop_assert_eq!(session.transmit(now), None, "bounded");
        }
    }
}

/// A thread on a loopback address that watches `other`.
struct Station {
    bfd: Bfd,
    served: Arc<AtomicBool>,
    changes: mpsc::Receiver<Change>,
}

/// Three seconds of silence end a session: a busy machine may keep a thread waiting for most of one.
fn neighbor(local: &str, other: &str) -> Neighbor {
    Neighbor {
        name: "peer".into(),
        address: other.parse().unwrap(),
        local: Some(local.parse().unwrap()),
        timing: Timing {
            interval: Duration::from_millis(100),
            multiplier: 30,
        },
    }
}

fn station(local: &str, other: &str, inherited: Option<HandedOver>) -> Station {
    let served = Arc::new(AtomicBool::new(true));
    let (tell, changes) = mpsc::channel();
    let pulse = served.clone();
    let bfd = Bfd::start(
        vec![neighbor(local, other)],
        inherited,
        Arc::new(move || pulse.load(Ordering::Relaxed)),
        u64::from(u32::from_be_bytes(*local.as_bytes().last_chunk().unwrap())),
        move |_, change| {
            let _ = tell.send(change);
        },
    )
    .unwrap();
    Station {
        bfd,
        served,
        changes,
    }
}

impl Station {
    fn until(&self, state: State) -> Change {
        loop {
            let change = self.changes.recv_timeout(Duration::from_secs(180)).unwrap();
            if change.to == state {
                return change;
            }
        }
    }
}

#[test]
fn the_thread_over_loopback_deadman_and_admin_down() {
    let (here, there) = ("127.78.1.1", "127.78.1.2");
    let (a, b) = (station(here, there, None), station(there, here, None));
    a.until(State::Up);
    b.until(State::Up);
    a.served.store(false, Ordering::Relaxed);
    let lost = b.until(State::Down);
    assert_eq!(lost.diagnostic, Diagnostic::TIME_EXPIRED, "deadman");
    assert_eq!(lost.liveness, Liveness::Failed);
    a.served.store(true, Ordering::Relaxed);
    b.until(State::Up);
    a.bfd.shutdown();
    assert_eq!(b.until(State::Down).liveness, Liveness::AdminDown);
}

#[test]
fn the_thread_hands_over_without_a_change() {
    let (here, there) = ("127.78.2.1", "127.78.2.2");
    let (a, b) = (station(here, there, None), station(there, here, None));
    a.until(State::Up);
    b.until(State::Up);
    let handed = a.bfd.hand_over().unwrap();
    let successor = station(here, there, Some(handed));
    successor.bfd.reload(vec![neighbor(here, there)]);
    successor.bfd.shutdown();
    let end = b.until(State::Down);
    assert_eq!(
        end.liveness,
        Liveness::AdminDown,
        "up until the successor left"
    );
}

#[test]
fn a_socket_that_cannot_be_had_is_told_in_the_status() {
    // Not an address of this host, so nothing can be bound to it.
    let lone = station("192.0.2.1", "192.0.2.2", None);
    let mut status = lone.bfd.status();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let seen = runtime
        .block_on(status.wait_for(|all| all.iter().any(|one| one.problem.is_some())))
        .unwrap()
        .clone();
    assert_eq!(
        (seen[0].state, seen[0].liveness),
        (State::Down, Liveness::Unknown)
    );
}
