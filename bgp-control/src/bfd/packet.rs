//! BFD control packets on the wire (RFC 5880 §4.1), without authentication.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Octets of a packet without authentication section.
pub(super) const LENGTH: usize = 24;
/// RFC 5880 §4.1: "The version number of the protocol. This document defines protocol version 1."
const VERSION: u8 = 1;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// Session state as told on the wire (RFC 5880 §4.1, Sta).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Held down by its operator.
    AdminDown,
    /// No session.
    Down,
    /// The other side is heard, but does not hear us yet.
    Init,
    /// Both sides hear each other.
    Up,
}

impl State {
    fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::AdminDown => 0,
            Self::Down => 1,
            Self::Init => 2,
            Self::Up => 3,
        }
    }
}

/// Why a session last left Up (RFC 5880 §4.1, Diag).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Diagnostic(pub u8);

impl Diagnostic {
    /// Nothing happened yet.
    pub const NONE: Self = Self(0);
    /// Nothing was heard for the detection time.
    pub const TIME_EXPIRED: Self = Self(1);
    /// The other side said that it is down.
    pub const NEIGHBOR_DOWN: Self = Self(3);
    /// An operator's act.
    pub const ADMIN_DOWN: Self = Self(7);
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbour signalled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            other => return write!(f, "diagnostic {other}"),
        };
        f.write_str(text)
    }
}

/// A control packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender last left Up.
    pub diagnostic: Diagnostic,
    /// State of the sender.
    pub state: State,
    /// The sender wants an answer with F at once.
    pub poll: bool,
    /// The answer to P.
    pub final_: bool,
    /// The sender wants us to be quiet while the session is up (RFC 5880 §6.6).
    pub demand: bool,
    /// Detect Mult of the sender, at least 1.
    pub multiplier: u8,
    /// Discriminator of the sender, not 0.
    pub mine: u32,
    /// Our discriminator as the sender knows it; 0: not yet.
    pub yours: u32,
    /// Shortest interval in which the sender would like to send.
    pub desired_min_tx: Duration,
    /// Shortest interval in which the sender can receive; zero: send nothing periodically.
    pub required_min_rx: Duration,
}

/// Why a packet is discarded (RFC 5880 §6.8.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Discard {
    /// Shorter than its own Length field, or than the fixed part.
    #[error("too short")]
    Short,
    /// Another version of the protocol.
    #[error("version is not 1")]
    Version,
    /// Detect Mult is zero.
    #[error("Detect Mult is zero")]
    Multiplier,
    /// The multipoint bit is set.
    #[error("multipoint bit is set")]
    Multipoint,
    /// My Discriminator is zero.
    #[error("My Discriminator is zero")]
    Discriminator,
    /// Your Discriminator is zero in a state in which the sender must know it.
    #[error("Your Discriminator is zero in this state")]
    Unpaired,
    /// Authenticated; no authentication is in use here.
    #[error("authenticated, but no authentication is in use")]
    Authenticated,
}

impl Packet {
    /// Reads the payload of one datagram, in the order of checks of RFC 5880 §6.8.6.
    ///
    /// # Errors
    /// The first check that fails: the packet must be discarded.
    pub fn decode(payload: &[u8]) -> Result<Self, Discard> {
        let fixed: &[u8; LENGTH] = payload.first_chunk().ok_or(Discard::Short)?;
        let [first, flags, multiplier, length, rest @ ..] = *fixed;
        // "If the version number is not correct (1), the packet MUST be discarded."
        if first >> 5 != VERSION {
            return Err(Discard::Version);
        }
        // "If the Length field is less than the minimum correct value (24 if the A bit is clear, or
        // 26 if the A bit is set), the packet MUST be discarded. If the Length field is greater than
        // the payload of the encapsulating protocol, the packet MUST be discarded."
        let authenticated = flags & AUTHENTICATION != 0;
        let least = if authenticated { LENGTH + 2 } else { LENGTH };
        if !(least..=payload.len()).contains(&usize::from(length)) {
            return Err(Discard::Short);
        }
        if multiplier == 0 {
            return Err(Discard::Multiplier);
        }
        if flags & MULTIPOINT != 0 {
            return Err(Discard::Multipoint);
        }
        let mut words = rest.chunks_exact(4).map(|word| {
            word.first_chunk()
                .map_or(0, |octets| u32::from_be_bytes(*octets))
        });
        let mut word = || words.next().unwrap_or_default();
        let (mine, yours, desired, required) = (word(), word(), word(), word());
        if mine == 0 {
            return Err(Discard::Discriminator);
        }
        let state = State::from_bits(flags >> 6);
        // "If the Your Discriminator field is zero and the State field is not Down or AdminDown, the
        // packet MUST be discarded."
        if yours == 0 && matches!(state, State::Init | State::Up) {
            return Err(Discard::Unpaired);
        }
        if authenticated {
            return Err(Discard::Authenticated);
        }
        Ok(Self {
            diagnostic: Diagnostic(first & 0x1f),
            state,
            poll: flags & POLL != 0,
            final_: flags & FINAL != 0,
            demand: flags & DEMAND != 0,
            multiplier,
            mine,
            yours,
            desired_min_tx: Duration::from_micros(desired.into()),
            required_min_rx: Duration::from_micros(required.into()),
        })
    }

    /// The payload of one datagram.
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut out = [0; LENGTH];
        let flags = self.state.bits() << 6
            | if self.poll { POLL } else { 0 }
            | if self.final_ { FINAL } else { 0 }
            | if self.demand { DEMAND } else { 0 };
        let head = [
            VERSION << 5 | self.diagnostic.0 & 0x1f,
            flags,
            self.multiplier,
            LENGTH as u8,
        ];
        // No echo function: Required Min Echo RX Interval is zero (RFC 5880 §4.1).
        let words = [
            self.mine,
            self.yours,
            micros(self.desired_min_tx),
            micros(self.required_min_rx),
            0,
        ];
        let octets = head
            .into_iter()
            .chain(words.into_iter().flat_map(u32::to_be_bytes));
        for (place, octet) in out.iter_mut().zip(octets) {
            *place = octet;
        }
        out
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Packet {
        Packet {
            diagnostic: Diagnostic::TIME_EXPIRED,
            state: State::Init,
            poll: true,
            final_: false,
            demand: false,
            multiplier: 3,
            mine: 0x0102_0304,
            yours: 0x0506_0708,
            desired_min_tx: Duration::from_secs(1),
            required_min_rx: Duration::from_millis(300),
        }
    }

    #[test]
    fn section_4_1_octets() {
        let octets = sample().encode();
        assert_eq!(
            octets,
            [
                0x21, 0xa0, 3, 24, 1, 2, 3, 4, 5, 6, 7, 8, 0x00, 0x0f, 0x42, 0x40, 0x00, 0x04,
                0x93, 0xe0, 0, 0, 0, 0
            ]
        );
        assert_eq!(Packet::decode(&octets), Ok(sample()));
    }

    #[test]
    fn section_6_8_6_discards() {
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut octets = sample().encode().to_vec();
            change(&mut octets);
            Packet::decode(&octets).unwrap_err()
        };
        assert_eq!(with(&|o| o.truncate(23)), Discard::Short);
        assert_eq!(with(&|o| o[0] = 0x41), Discard::Version);
        assert_eq!(with(&|o| o[3] = 23), Discard::Short);
        assert_eq!(with(&|o| o[3] = 25), Discard::Short, "beyond the payload");
        assert_eq!(
            with(&|o| o[1] |= AUTHENTICATION),
            Discard::Short,
            "26 with A"
        );
        assert_eq!(with(&|o| o[2] = 0), Discard::Multiplier);
        assert_eq!(with(&|o| o[1] |= MULTIPOINT), Discard::Multipoint);
        assert_eq!(with(&|o| o[4..8].fill(0)), Discard::Discriminator);
        assert_eq!(with(&|o| o[8..12].fill(0)), Discard::Unpaired);
        let authenticated = |o: &mut Vec<u8>| {
            o.extend([1, 2]);
            o[1] |= AUTHENTICATION;
            o[3] = 26;
        };
        assert_eq!(with(&authenticated), Discard::Authenticated);
    }

    #[test]
    fn a_longer_payload_is_read_up_to_its_length() {
        let mut octets = sample().encode().to_vec();
        octets.extend([0xff; 40]);
        assert_eq!(Packet::decode(&octets), Ok(sample()));
    }

    proptest! {
        #[test]
        fn what_is_decoded_is_encoded_alike(octets in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(packet) = Packet::decode(&octets) {
                prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
            }
        }
    }
}
