//! DNS cookies (RFC 7873) with interoperable server cookies (RFC 9018): a client that returns a
//! cookie of ours receives packets at the address it sends from.
//!
//! ```text
//! option ── Cookie::read ──┬ malformed: FORMERR (RFC 7873 §5.2.2)
//!                          └ Cookie ── Secrets::check ── Verdict ── 24 octets of the reply
//! ```
//!
//! Pure: the time is an argument. The server cookie of version 1 is
//!
//! ```text
//! 1 | 0 0 0 | timestamp (4) | SipHash-2-4(secret, client cookie | version … timestamp | address)
//! ```
//!
//! so every server with the same secret takes the cookies of every other (RFC 9018 §4), and nothing
//! is remembered of any client.

use std::{fmt, net::IpAddr, sync::OnceLock};

use arrayvec::ArrayVec;
use meridian_config as config;
use siphasher::sip::SipHasher24;

use crate::types::UnixTime;

/// Octets of a client cookie (RFC 7873 §4).
pub const CLIENT_LEN: usize = 8;
/// Octets of a server cookie of version 1 (RFC 9018 §4).
pub const SERVER_LEN: usize = 16;
/// Octets of the option's data in every reply.
pub const REPLY_LEN: usize = CLIENT_LEN + SERVER_LEN;
/// Most secrets in force at once: the current one, the one before and the one to come.
pub const SECRETS_MAX: usize = 3;

/// RFC 9018 §4: Version.
const VERSION: u8 = 1;
/// RFC 9018 §4.3: "DNS servers SHOULD allow Cookies within a 1-hour period in the past". Seconds.
const MAX_AGE: i32 = 3600;
/// RFC 9018 §4.3: "and a 5-minute period into the future to allow operation of low-volume clients
/// and some limited time skew between the DNS servers in the anycast set". Seconds.
const MAX_LEAD: i32 = 300;
/// RFC 9018 §4.3: "a DNS server SHOULD generate a new Server Cookie at least if the received Server
/// Cookie from the client is more than half an hour old". Seconds.
const RENEW_AGE: i32 = 1800;

/// A COOKIE option has a length that no cookie has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a COOKIE option has 8 or 16 to 40 octets")]
pub struct Malformed;

/// The COOKIE option of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Chosen by the client, repeated in the reply.
    pub client: [u8; CLIENT_LEN],
    server: Server,
}

/// The server's half of the option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Absent,
    /// Not made by any server of RFC 9018.
    Foreign,
    /// Long enough for one of version 1.
    Sent([u8; SERVER_LEN]),
}

impl Cookie {
    /// Reads the data of a COOKIE option.
    ///
    /// # Errors
    /// RFC 7873 §5.2.2: "valid cookie lengths are 8 and 16 to 40 inclusive"; any other length is a
    /// FORMERR.
    pub fn read(option: &[u8]) -> Result<Self, Malformed> {
        let (client, server) = option.split_first_chunk().ok_or(Malformed)?;
        let server = match server.len() {
            0 => Server::Absent,
            SERVER_LEN => server
                .first_chunk()
                .map_or(Server::Foreign, |sent| Server::Sent(*sent)),
            8..=32 => Server::Foreign,
            _ => return Err(Malformed),
        };
        Ok(Self {
            client: *client,
            server,
        })
    }
}

/// What a query's cookie is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No COOKIE option, or cookies are off.
    Absent,
    /// A client cookie only: a client that has not asked before.
    ClientOnly,
    /// A server cookie that is not ours, too old, or made for another address.
    Invalid,
    /// Ours: the client receives at its address.
    Valid,
}

impl State {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 4] = [Self::Absent, Self::ClientOnly, Self::Invalid, Self::Valid];

    /// The value of the metric label `state`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::ClientOnly => "client_only",
            Self::Invalid => "invalid",
            Self::Valid => "valid",
        }
    }
}

/// A cookie that was judged, with what the reply carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What it is worth.
    pub state: State,
    /// Data of the reply's COOKIE option; `None` when the query had none.
    pub reply: Option<[u8; REPLY_LEN]>,
}

/// A query without cookies, or a server without them.
pub const ABSENT: Judged = Judged {
    state: State::Absent,
    reply: None,
};

/// How this server treats cookies.
#[derive(Clone, Debug, PartialEq)]
pub struct Cookies {
    secrets: Option<Secrets>,
    require: bool,
}

impl Cookies {
    /// Cookies are ignored, as a server that does not know them does.
    pub const OFF: Self = Self {
        secrets: None,
        require: false,
    };

    /// Cookies are answered. With `require`, a client that sends one but does not know ours yet is
    /// told BADCOOKIE over UDP in place of an answer.
    pub fn on(secrets: Secrets, require: bool) -> Self {
        Self {
            secrets: Some(secrets),
            require,
        }
    }

    /// Judges the COOKIE option of a query that came from `source` (the address of the packet).
    ///
    /// # Errors
    /// The option is malformed: FORMERR.
    #[inline]
    pub fn judge(
        &self,
        option: Option<&[u8]>,
        source: IpAddr,
        now: UnixTime,
    ) -> Result<Judged, Malformed> {
        match (&self.secrets, option) {
            (Some(secrets), Some(option)) => {
                Cookie::read(option).map(|cookie| secrets.judge(&cookie, source, now))
            }
            _ => Ok(ABSENT),
        }
    }

    /// Whether a query over UDP with a cookie of this worth is answered BADCOOKIE. A query without
    /// any cookie never is: its sender would not understand (RFC 7873 §5.2.1).
    #[inline]
    pub fn refuses(&self, state: State) -> bool {
        self.require && matches!(state, State::ClientOnly | State::Invalid)
    }
}

impl From<&config::Cookies> for Cookies {
    /// Without secrets of the operator's a random one is taken, so that a last good state whose secret
    /// file has gone still answers cookies.
    fn from(config: &config::Cookies) -> Self {
        if !config.enabled {
            return Self::OFF;
        }
        let keys = config.secrets.as_ref().map(|file| &file.secrets[..]);
        let mut secrets = keys
            .unwrap_or_default()
            .iter()
            .map(|secret| Secret::new(secret.0));
        let current = secrets.next().or_else(Secret::of_this_process);
        current.map_or(Self::OFF, |current| {
            Self::on(Secrets::new(current, secrets), config.require)
        })
    }
}

/// The key of server cookies: 128 bits, shared by every server of an anycast set.
#[derive(Clone)]
pub struct Secret {
    key: [u8; 16],
    hasher: SipHasher24,
}

impl Secret {
    /// A secret of the operator's.
    pub fn new(key: [u8; 16]) -> Self {
        Self {
            key,
            hasher: SipHasher24::new_with_key(&key),
        }
    }

    /// A random one, the same for as long as this process lives, so that a reload does not
    /// invalidate the cookies of every client. `None` when the system has no randomness to give.
    pub fn of_this_process() -> Option<Self> {
        static KEY: OnceLock<Option<[u8; 16]>> = OnceLock::new();
        let key = KEY.get_or_init(|| {
            let mut key = [0; 16];
            getrandom::fill(&mut key).ok().map(|()| key)
        });
        key.map(Self::new)
    }

    /// The hash of version 1 over `head`, the eight octets before it.
    fn hash(&self, client: [u8; CLIENT_LEN], head: [u8; 8], source: IpAddr) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h] = client;
        let [i, j, k, l, m, n, o, p] = head;
        let hash = match source.to_canonical() {
            IpAddr::V4(address) => {
                let [q, r, s, t] = address.octets();
                let input = [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t];
                self.hasher.hash(&input)
            }
            IpAddr::V6(address) => {
                let mut input = [0; 32];
                let (cookies, octets) = input.split_at_mut(16);
                cookies.copy_from_slice(&[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]);
                octets.copy_from_slice(&address.octets());
                self.hasher.hash(&input)
            }
        };
        hash.to_le_bytes()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl fmt::Debug for Secret {
    /// Never the key: debug output ends in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The secrets in force. The first one makes cookies, all of them verify: how secrets roll over
/// without a client noticing (RFC 9018 §5).
#[derive(Clone, Debug, PartialEq)]
pub struct Secrets {
    current: Secret,
    others: ArrayVec<Secret, { SECRETS_MAX - 1 }>,
}

impl Secrets {
    /// The current secret, and others whose cookies are taken too. Those beyond
    /// [`SECRETS_MAX`] are left out.
    pub fn new(current: Secret, others: impl IntoIterator<Item = Secret>) -> Self {
        Self {
            current,
            others: others.into_iter().take(SECRETS_MAX - 1).collect(),
        }
    }

    /// A new server cookie.
    pub fn make(
        &self,
        client: [u8; CLIENT_LEN],
        source: IpAddr,
        now: UnixTime,
    ) -> [u8; SERVER_LEN] {
        let [t0, t1, t2, t3] = now.0.to_be_bytes();
        let head = [VERSION, 0, 0, 0, t0, t1, t2, t3];
        join(head, self.current.hash(client, head, source))
    }

    /// Judges a cookie, and makes the one of the reply.
    #[inline]
    pub fn judge(&self, cookie: &Cookie, source: IpAddr, now: UnixTime) -> Judged {
        let (state, server) = match (cookie.server, self.check(cookie, source, now)) {
            (Server::Sent(sent), Verdict::Keep) => (State::Valid, sent),
            (_, verdict) => {
                let state = match verdict {
                    Verdict::Absent => State::ClientOnly,
                    Verdict::Invalid => State::Invalid,
                    Verdict::Keep | Verdict::Renew => State::Valid,
                };
                (state, self.make(cookie.client, source, now))
            }
        };
        let mut reply = [0; REPLY_LEN];
        let (front, back) = reply.split_at_mut(CLIENT_LEN);
        front.copy_from_slice(&cookie.client);
        back.copy_from_slice(&server);
        Judged {
            state,
            reply: Some(reply),
        }
    }

    fn check(&self, cookie: &Cookie, source: IpAddr, now: UnixTime) -> Verdict {
        let sent = match cookie.server {
            Server::Absent => return Verdict::Absent,
            Server::Foreign => return Verdict::Invalid,
            Server::Sent(sent) => sent,
        };
        let (head, hash) = split(sent);
        let [version, _, _, _, t0, t1, t2, t3] = head;
        let age = now.since(UnixTime(u32::from_be_bytes([t0, t1, t2, t3])));
        if version != VERSION || !(-MAX_LEAD..=MAX_AGE).contains(&age) {
            return Verdict::Invalid;
        }
        // Whole words are compared, so the time taken tells nothing about a guess. The reserved
        // octets count as they were received (RFC 9018 §4.2).
        if self.current.hash(cookie.client, head, source) == hash {
            return if age > RENEW_AGE {
                Verdict::Renew
            } else {
                Verdict::Keep
            };
        }
        let known = |secret: &Secret| secret.hash(cookie.client, head, source) == hash;
        if self.others.iter().any(known) {
            Verdict::Renew
        } else {
            Verdict::Invalid
        }
    }
}

/// What a server cookie is worth, and whether the client gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Absent,
    Invalid,
    Keep,
    Renew,
}

fn join(head: [u8; 8], hash: [u8; 8]) -> [u8; SERVER_LEN] {
    let mut whole = [0; SERVER_LEN];
    let (front, back) = whole.split_at_mut(8);
    front.copy_from_slice(&head);
    back.copy_from_slice(&hash);
    whole
}

fn split(whole: [u8; SERVER_LEN]) -> ([u8; 8], [u8; 8]) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = whole;
    ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        let octets: Vec<u8> = (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect();
        octets.try_into().unwrap()
    }

    fn secrets(all: &[&str]) -> Secrets {
        let mut all = all.iter().map(|key| Secret::new(hex(key)));
        Secrets::new(all.next().unwrap(), all)
    }

    fn judge(secrets: &Secrets, option: &[u8], source: &str, now: u32) -> Judged {
        let cookie = Cookie::read(option).unwrap();
        secrets.judge(&cookie, source.parse().unwrap(), UnixTime(now))
    }

    const FIRST: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const ROLLED: [&str; 2] = [
        "445536bcd2513298075a5d379663c962",
        "dd3bdf9344b678b185a6f5cb60fca715",
    ];
    const V6: &str = "2001:db8:220:1:59de:d0f4:8769:82b8";

    #[test]
    fn rfc_9018_appendix_a() {
        let one = secrets(&[FIRST]);
        let two = secrets(&ROLLED);
        let a1 = hex::<24>("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        type Row<'a> = (&'a Secrets, &'a [u8], &'a str, u32, State, [u8; 24]);
        let rows: [Row<'_>; 4] = [
            // A.1 Learning a new server cookie
            (
                &one,
                &a1[..8],
                "198.51.100.100",
                1_559_731_985,
                State::ClientOnly,
                a1,
            ),
            // A.2 The same client learning a renewed one (40 minutes later)
            (
                &one,
                &a1,
                "198.51.100.100",
                1_559_734_385,
                State::Valid,
                hex("2464c4abcf10c957010000005cf7a871d4a564a1442aca77"),
            ),
            // A.3 Another client learning a renewed one: its cookie is nearly two hours old
            (
                &one,
                &hex::<24>("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5"),
                "203.0.113.203",
                1_559_734_700,
                State::Invalid,
                hex("fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e"),
            ),
            // A.4 IPv6 query with rolled-over secret
            (
                &two,
                &hex::<24>("22681ab97d52c298010000005cf7c57926556bd0934c72f8"),
                V6,
                1_559_741_961,
                State::Valid,
                hex("22681ab97d52c298010000005cf7c609a6bb79d16625507a"),
            ),
        ];
        for (secrets, option, source, now, state, reply) in rows {
            let judged = judge(secrets, option, source, now);
            assert_eq!(judged.state, state, "{source} at {now}");
            assert_eq!(judged.reply, Some(reply), "{source} at {now}");
        }
    }

    /// RFC 9018 §4.2: reserved octets are set to zero when a cookie is made, and hashed as they
    /// came when it is verified.
    #[test]
    fn rfc_9018_4_2_reserved_octets_count_as_received() {
        let option = hex::<24>("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        let judged = judge(&secrets(&[FIRST]), &option, "203.0.113.203", 1_559_728_000);
        let kept = Judged {
            state: State::Valid,
            reply: Some(option),
        };
        assert_eq!(judged, kept);
    }

    #[test]
    fn rfc_7873_5_2_2_lengths() {
        for length in 0..100 {
            let valid = length == 8 || (16..=40).contains(&length);
            assert_eq!(Cookie::read(&vec![7; length]).is_ok(), valid, "{length}");
        }
    }

    #[test]
    fn rfc_9018_4_3_the_window_at_its_edges_across_2106() {
        let secrets = secrets(&[FIRST]);
        let source = "192.0.2.1".parse().unwrap();
        for made in [0, 5, 1_700_000_000, i32::MAX as u32, u32::MAX - 5, u32::MAX] {
            let server = secrets.make([1; 8], source, UnixTime(made));
            let option = [&[1; 8][..], &server].concat();
            let rows = [
                (-301, State::Invalid, false),
                (-300, State::Valid, true),
                (0, State::Valid, true),
                (1800, State::Valid, true),
                (1801, State::Valid, false),
                (3600, State::Valid, false),
                (3601, State::Invalid, false),
                (i32::MAX, State::Invalid, false),
                (i32::MIN, State::Invalid, false),
            ];
            for (age, state, kept) in rows {
                let now = made.wrapping_add_signed(age);
                let judged = judge(&secrets, &option, "192.0.2.1", now);
                assert_eq!(judged.state, state, "{made} {age}");
                assert_eq!(judged.reply.unwrap()[8..] == server, kept, "{made} {age}");
                assert_eq!(judged.reply.unwrap()[..8], [1; 8]);
            }
        }
    }

    #[test]
    fn rfc_9018_5_a_rollover_in_three_steps_loses_no_client() {
        let (old, new) = (FIRST, ROLLED[0]);
        let stages = [&[old][..], &[old, new], &[new, old], &[new]];
        let source: IpAddr = V6.parse().unwrap();
        // Servers of an anycast set are one stage apart at most, either way.
        for (a, b) in [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3)] {
            for (maker, checker) in [(a, b), (b, a)] {
                let server = secrets(stages[maker]).make([9; 8], source, UnixTime(1000));
                let option = [&[9; 8][..], &server].concat();
                let judged = judge(&secrets(stages[checker]), &option, V6, 1001);
                assert_eq!(judged.state, State::Valid, "{maker} {checker}");
            }
        }
        let server = secrets(stages[0]).make([9; 8], source, UnixTime(1000));
        let option = [&[9; 8][..], &server].concat();
        let judged = judge(&secrets(stages[3]), &option, V6, 1001);
        assert_eq!(judged.state, State::Invalid);
    }

    #[test]
    fn off_knows_no_cookie_and_refuses_nothing() {
        let source = "192.0.2.1".parse().unwrap();
        for option in [None, Some(&[0; 8][..]), Some(&[0; 9][..])] {
            assert_eq!(Cookies::OFF.judge(option, source, UnixTime(1)), Ok(ABSENT));
        }
        let required = Cookies::on(secrets(&[FIRST]), true);
        for state in State::ALL {
            assert!(!Cookies::OFF.refuses(state));
            let refused = matches!(state, State::ClientOnly | State::Invalid);
            assert_eq!(required.refuses(state), refused);
        }
        assert_eq!(
            required.judge(Some(&[0; 9]), source, UnixTime(1)),
            Err(Malformed)
        );
    }

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?}", Cookies::on(secrets(&ROLLED), false));
        assert!(
            !shown.contains("68") && shown.contains("Secret(…)"),
            "{shown}"
        );
        assert_eq!(Secret::of_this_process(), Secret::of_this_process());
    }

    proptest! {
        /// Only the very octets, from the very address, are taken: no bit may differ.
        #[test]
        fn a_changed_bit_or_address_is_refused(
            client: [u8; 8], now: u32, age in 0..1800_u32, v4: u32, other: u32, bit in 0..192_usize,
        ) {
            prop_assume!(v4 != other);
            let secrets = secrets(&ROLLED);
            let (v4, other) = (IpAddr::V4(v4.into()), IpAddr::V4(other.into()));
            let made = UnixTime(now.wrapping_sub(age));
            let server = secrets.make(client, v4, made);
            let mut option = [&client[..], &server].concat();
            let cookie = Cookie::read(&option).unwrap();
            prop_assert_eq!(secrets.judge(&cookie, v4, UnixTime(now)).state, State::Valid);
            let elsewhere = secrets.judge(&cookie, other, UnixTime(now));
            prop_assert_eq!(elsewhere.state, State::Invalid);
            option[bit / 8] ^= 1 << (bit % 8);
            let cookie = Cookie::read(&option).unwrap();
            prop_assert_eq!(secrets.judge(&cookie, v4, UnixTime(now)).state, State::Invalid);
        }

        /// Every reply holds a cookie that is valid when it comes back.
        #[test]
        fn what_is_given_out_is_taken_back(option in prop::collection::vec(any::<u8>(), 0..44), now: u32, v6: u128) {
            let secrets = secrets(&ROLLED);
            let source = IpAddr::V6(v6.into());
            if let Ok(cookie) = Cookie::read(&option) {
                let reply = secrets.judge(&cookie, source, UnixTime(now)).reply.unwrap();
                let again = secrets.judge(&Cookie::read(&reply).unwrap(), source, UnixTime(now));
                prop_assert_eq!(again, Judged { state: State::Valid, reply: Some(reply) });
            }
        }

        /// An IPv4 client is the same one however the socket writes its address.
        #[test]
        fn a_mapped_address_is_the_ipv4_address(client: [u8; 8], now: u32, v4: u32) {
            let secrets = secrets(&[FIRST]);
            let address = std::net::Ipv4Addr::from(v4);
            let plain = secrets.make(client, address.into(), UnixTime(now));
            let mapped = secrets.make(client, address.to_ipv6_mapped().into(), UnixTime(now));
            prop_assert_eq!(plain, mapped);
        }
    }
}
