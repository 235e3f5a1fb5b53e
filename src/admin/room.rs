//! Who may hold a connection: room for those who have shown who they are, and apart from it room for
//! those who have not yet.
//!
//! ```text
//! accept → stranger ── a request that needed leave and had it ──→ known (128)
//!             ├ 30 s without one ─────────────────────────────────→ no further request
//!             └ the room is full, or 32 of one host are here ─────→ the oldest leaves, after a second
//! ```
//!
//! So nobody who can connect, and no more than that, keeps operators out: strangers displace strangers,
//! first of all those of the host that has most, and some places only this machine gets.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::runtime::measure::host;

/// Connections of those who are known.
pub(super) const KNOWN: usize = 128;
/// Connections of all others.
pub(super) const STRANGERS: usize = 128;
/// Those of one other host.
const PER_HOST: usize = 32;
/// Places of strangers that only this machine gets.
const RESERVED: usize = 16;
/// Nobody is displaced before this time, in which to show who one is.
const GRACE: Duration = Duration::from_secs(1);

/// All connections of one listener.
#[derive(Default)]
pub(super) struct Room {
    inside: Mutex<Inside>,
    /// A stranger has left or become known.
    freed: Notify,
}

#[derive(Default)]
struct Inside {
    /// In the order in which they came.
    strangers: Vec<Stranger>,
    known: usize,
    next: u64,
}

struct Stranger {
    id: u64,
    host: IpAddr,
    since: Duration,
    leave: CancellationToken,
}

/// What becomes of somebody who comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Free,
    /// In the place of the stranger at this index.
    Displace(usize),
    Refuse,
    /// Not before this time, unless somebody leaves.
    Wait(Duration),
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Close the connection.
    Refused,
    /// Ask again then, or when somebody has left.
    Until(Duration),
}

/// One connection's place; it is free again when this is dropped.
pub(super) struct Seat {
    room: Arc<Room>,
    id: u64,
    known: Mutex<bool>,
    /// Cancelled when the connection has to end at once, for somebody else.
    pub(super) leave: CancellationToken,
}

impl Room {
    /// A place for a connection from `address`, which came at `now`.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, now: Duration) -> Result<Seat, Full> {
        let host = host(address);
        let mut inside = self.inside();
        match turn(&inside.strangers, host, now) {
            Turn::Free => {}
            Turn::Displace(index) => inside.strangers.remove(index).leave.cancel(),
            Turn::Refuse => return Err(Full::Refused),
            Turn::Wait(until) => return Err(Full::Until(until)),
        }
        inside.next += 1;
        let (id, leave) = (inside.next, CancellationToken::new());
        inside.strangers.push(Stranger {
            id,
            host,
            since: now,
            leave: leave.clone(),
        });
        Ok(Seat {
            room: self.clone(),
            id,
            known: Mutex::new(false),
            leave,
        })
    }

    /// When a stranger has left or become known since the last call.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Whoever sits here has shown who it is. Where there is no room for more of them it stays a stranger.
    pub(super) fn make_known(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inside = self.room.inside();
        if !*known && inside.known < KNOWN {
            let before = inside.strangers.len();
            inside.strangers.retain(|stranger| stranger.id != self.id);
            // Whoever has been displaced meanwhile takes no place.
            *known = inside.strangers.len() < before;
            inside.known += usize::from(*known);
            self.room.freed.notify_one();
        }
    }

    pub(super) fn is_known(&self) -> bool {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let known = self.is_known();
        let mut inside = self.room.inside();
        if known {
            inside.known -= 1;
        } else {
            inside.strangers.retain(|stranger| stranger.id != self.id);
        }
        self.room.freed.notify_one();
    }
}

/// # Rules
/// 1. Of one other host at most [`PER_HOST`] strangers are here: its own oldest leaves.
/// 2. When the room is full, the oldest of the host that has most leaves; other hosts never displace this
///    machine, and leave it [`RESERVED`] places.
/// 3. Nobody leaves within [`GRACE`]. Then somebody of another host is refused, so that the next in the
///    queue need not wait for it; somebody of this machine waits.
fn turn(strangers: &[Stranger], host: IpAddr, now: Duration) -> Turn {
    let here = host.is_loopback();
    let mut count: HashMap<IpAddr, usize> = HashMap::new();
    for stranger in strangers {
        *count.entry(stranger.host).or_default() += 1;
    }
    let own = count.get(&host).copied().unwrap_or(0);
    let room = if here {
        STRANGERS
    } else {
        STRANGERS - RESERVED
    };
    let from = if !here && own >= PER_HOST {
        Some(host)
    } else if strangers.len() < room {
        return Turn::Free;
    } else {
        // Of hosts with as many, the one whose stranger came first.
        let others = strangers.iter().map(|stranger| stranger.host).rev();
        let others = others.filter(|other| here || !other.is_loopback());
        others.max_by_key(|other| count.get(other).copied())
    };
    let oldest = strangers.iter().position(|one| Some(one.host) == from);
    let since = oldest
        .and_then(|index| strangers.get(index))
        .map(|s| s.since);
    match (oldest, since.map(|since| since + GRACE)) {
        (Some(index), Some(end)) if end <= now => Turn::Displace(index),
        (Some(_), Some(end)) if here => Turn::Wait(end),
        _ => Turn::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: &str = "127.0.0.1";
    const EARLY: Duration = Duration::from_secs(10);
    const LATE: Duration = Duration::from_secs(12);

    fn fill(room: &Arc<Room>, host: &str, count: usize) -> Vec<Seat> {
        let address = host.parse().unwrap();
        let seats = (0..count).map(|_| room.enter(address, EARLY).ok().unwrap());
        seats.collect()
    }

    fn gone(seats: &[Seat]) -> usize {
        seats.iter().filter(|s| s.leave.is_cancelled()).count()
    }

    #[test]
    fn a_host_displaces_its_own() {
        let room = Arc::<Room>::default();
        let crowd = fill(&room, "192.0.2.1", PER_HOST);
        let again = "192.0.2.1".parse().unwrap();
        assert_eq!(room.enter(again, EARLY).err(), Some(Full::Refused));
        let newer = room.enter(again, LATE).ok().unwrap();
        assert!(crowd[0].leave.is_cancelled() && gone(&crowd) == 1);
        assert!(!newer.leave.is_cancelled());
        // Others do not notice.
        fill(&room, "192.0.2.2", PER_HOST);
    }

    #[test]
    fn a_full_room_loses_the_oldest_of_the_host_that_has_most() {
        let room = Arc::<Room>::default();
        let one = fill(&room, "192.0.2.9", 1);
        let crowds = ["192.0.2.1", "192.0.2.2", "2001:db8::1"];
        let crowds = crowds.map(|host| fill(&room, host, PER_HOST));
        let rest = fill(&room, "192.0.2.3", STRANGERS - RESERVED - 3 * PER_HOST - 1);
        let operator = "198.51.100.1".parse().unwrap();
        assert_eq!(room.enter(operator, EARLY).err(), Some(Full::Refused));
        let _operator = room.enter(operator, LATE).ok().unwrap();
        assert!(crowds[0][0].leave.is_cancelled());
        let _second = room.enter(operator, LATE).ok().unwrap();
        assert!(crowds[1][0].leave.is_cancelled());
        assert_eq!(gone(&one) + gone(&rest) + gone(&crowds[2]), 0);
        // This machine has places of its own, then waits its turn.
        let here = fill(&room, HERE, RESERVED);
        let next = HERE.parse().unwrap();
        assert_eq!(
            room.enter(next, EARLY).err(),
            Some(Full::Until(EARLY + GRACE))
        );
        let _next = room.enter(next, LATE).ok().unwrap();
        assert!(crowds[2][0].leave.is_cancelled());
        assert_eq!(gone(&here), 0);
    }

    #[test]
    fn who_is_known_is_never_displaced() {
        let room = Arc::<Room>::default();
        let known = fill(&room, HERE, KNOWN);
        known.iter().for_each(Seat::make_known);
        let strangers = fill(&room, HERE, STRANGERS);
        // There is room for no more.
        strangers[0].make_known();
        assert!(!strangers[0].is_known());
        let newest = room.enter(HERE.parse().unwrap(), LATE).ok().unwrap();
        assert_eq!((gone(&known), gone(&strangers)), (0, 1));
        // Displaced, it comes too late.
        drop(known);
        strangers[0].make_known();
        assert!(!strangers[0].is_known());
        strangers[1].make_known();
        assert!(strangers[1].is_known());
        drop((newest, strangers));
        let inside = room.inside();
        assert_eq!((inside.known, inside.strangers.len()), (0, 0));
    }

    proptest! {
        #[test]
        fn the_room_is_bounded_and_counts_right(
            steps in prop::collection::vec((0_u8..12, 0_u64..400, 0_u8..4, any::<prop::sample::Index>()), 0..600),
        ) {
            let room = Arc::<Room>::default();
            let (mut now, mut seats) = (EARLY, Vec::new());
            for (who, passed, what, which) in steps {
                now += Duration::from_millis(passed);
                let address = IpAddr::from([if who < 2 { 127 } else { 192 }, 0, 2, who]);
                seats.extend(room.enter(address, now));
                if !seats.is_empty() {
                    let at = which.index(seats.len());
                    match what {
                        0 => drop(seats.swap_remove(at)),
                        1 => seats[at].make_known(),
                        _ => {}
                    }
                }
                // Who is displaced leaves at once.
                seats.retain(|seat: &Seat| !seat.leave.is_cancelled());
                let inside = room.inside();
                prop_assert!(inside.strangers.len() <= STRANGERS && inside.known <= KNOWN);
                prop_assert_eq!(seats.len(), inside.strangers.len() + inside.known);
                let most = |host: IpAddr| inside.strangers.iter().filter(|s| s.host == host).count();
                prop_assert!(address.is_loopback() || most(address) <= PER_HOST);
            }
        }
    }
}
