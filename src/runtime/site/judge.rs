//! The question that the server asks itself, and whether a reply is right. Pure.

use meridian_config::Name;
use meridian_dns::snapshot::Snapshot;

/// Zones that take turns in being asked for.
const TURNS: usize = 64;

const TYPE_SOA: u16 = 6;
const TYPE_OPT: u16 = 41;
/// OPTION-CODE of NSID (RFC 5001 §2.3).
const OPTION_NSID: u16 = 3;

/// What a right reply says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// Whose SOA is asked for.
    pub(super) zone: Name,
    /// The serial in force; `None`: any.
    pub(super) serial: Option<u32>,
    /// The name server identifier; `None`: none is configured.
    pub(super) nsid: Option<Vec<u8>>,
}

/// Why a reply is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// It cannot be read, or does not belong to the question.
    #[error("the reply cannot be read")]
    Garbled,
    /// RCODE is not NOERROR.
    #[error("the reply has RCODE {0}")]
    Rcode(u8),
    /// The AA bit is missing.
    #[error("the reply is not authoritative")]
    NotAuthoritative,
    /// No SOA of the zone.
    #[error("the reply holds no SOA of {0}")]
    NoSoa(Name),
    /// An older or newer zone than the one in force.
    #[error("the reply has serial {found} of {zone}, in force is {expected}")]
    Serial {
        /// The zone.
        zone: Name,
        /// In the reply.
        found: u32,
        /// In force.
        expected: u32,
    },
    /// The answer is another server's.
    #[error("another server answered: NSID {}, not ours", nsid_text(.0))]
    Nsid(Option<Vec<u8>>),
}

impl Expected {
    /// What the zone whose turn it is should say; `None` when there is no zone.
    pub(super) fn of(snapshot: &Snapshot, turn: usize) -> Option<Self> {
        let zones = snapshot.zones.len().min(TURNS);
        let zone = snapshot.zones.iter().nth(turn.checked_rem(zones)?)?;
        Some(Self {
            zone: zone.apex().clone(),
            serial: zone.soa().and_then(|soa| serial(soa.first()?)),
            nsid: snapshot.identity.nsid.as_deref().map(<[u8]>::to_vec),
        })
    }

    /// The same question with what another snapshot says.
    pub(super) fn again(&self, snapshot: &Snapshot) -> Option<Self> {
        let mut zones = snapshot.zones.iter().take(TURNS);
        let zone = zones.find(|zone| zone.apex() == self.zone)?;
        Some(Self {
            serial: zone.soa().and_then(|soa| serial(soa.first()?)),
            nsid: snapshot.identity.nsid.as_deref().map(<[u8]>::to_vec),
            zone: self.zone.clone(),
        })
    }

    /// The query: SOA, EDNS with NSID.
    pub(super) fn query(&self, id: u16) -> Vec<u8> {
        let mut query = Vec::with_capacity(64);
        query.extend(id.to_be_bytes());
        // Flags 0; one question, one additional record.
        query.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        query.extend(self.zone.as_wire());
        query.extend([0, 6, 0, 1]);
        // RFC 6891 §6.1.2, with an empty NSID option (RFC 5001 §2.1).
        query.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 4, 0, 3, 0, 0]);
        query
    }

    /// Judges the reply to [`Self::query`] with this identifier.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn judge(&self, id: u16, reply: &[u8]) -> Result<(), Fault> {
        let found = Found::read(reply, &self.zone).ok_or(Fault::Garbled)?;
        if found.id != id || !found.is_reply {
            return Err(Fault::Garbled);
        }
        // Whose answer it is tells more than what is wrong with it.
        if self.nsid.is_some() && found.nsid != self.nsid {
            return Err(Fault::Nsid(found.nsid));
        }
        if found.rcode != 0 {
            return Err(Fault::Rcode(found.rcode));
        }
        if !found.is_authoritative {
            return Err(Fault::NotAuthoritative);
        }
        let serial = found
            .serial
            .ok_or_else(|| Fault::NoSoa(self.zone.clone()))?;
        match self.serial {
            Some(expected) if expected != serial => Err(Fault::Serial {
                zone: self.zone.clone(),
                found: serial,
                expected,
            }),
            _ => Ok(()),
        }
    }
}

/// SERIAL of an SOA's RDATA: five 32-bit numbers stand at its end (RFC 1035 §3.3.13).
fn serial(rdata: &[u8]) -> Option<u32> {
    let numbers = rdata.last_chunk::<20>()?;
    Some(u32::from_be_bytes(*numbers.first_chunk::<4>()?))
}

fn nsid_text(nsid: &Option<Vec<u8>>) -> String {
    match nsid {
        Some(nsid) => format!("\"{}\"", nsid.escape_ascii()),
        None => "is missing".to_owned(),
    }
}

/// What counts of a reply.
struct Found {
    id: u16,
    is_reply: bool,
    is_authoritative: bool,
    rcode: u8,
    serial: Option<u32>,
    nsid: Option<Vec<u8>>,
}

impl Found {
    fn read(reply: &[u8], zone: &Name) -> Option<Self> {
        let mut cursor = Cursor {
            octets: reply,
            at: 0,
        };
        let id = cursor.u16()?;
        let [high, low] = cursor.u16()?.to_be_bytes();
        let questions = cursor.u16()?;
        let answers = cursor.u16()?;
        let others = cursor.u16()?;
        let additional = cursor.u16()?;
        for _ in 0..questions {
            cursor.name()?;
            cursor.take(4)?;
        }
        let mut found = Self {
            id,
            is_reply: high & 0x80 != 0,
            is_authoritative: high & 0x04 != 0,
            rcode: low & 0x0f,
            serial: None,
            nsid: None,
        };
        let total = u32::from(answers) + u32::from(others) + u32::from(additional);
        for number in 0..total {
            let owner = cursor.name()?;
            let rtype = cursor.u16()?;
            cursor.take(6)?;
            let length = cursor.u16()?;
            let rdata = cursor.take(usize::from(length))?;
            if rtype == TYPE_OPT {
                found.nsid = option(rdata, OPTION_NSID);
            } else if number < u32::from(answers)
                && rtype == TYPE_SOA
                && owner.eq_ignore_ascii_case(zone.as_wire())
            {
                found.serial = serial(rdata);
            }
        }
        Some(found)
    }
}

fn option(rdata: &[u8], wanted: u16) -> Option<Vec<u8>> {
    let mut cursor = Cursor {
        octets: rdata,
        at: 0,
    };
    loop {
        let code = cursor.u16()?;
        let length = cursor.u16()?;
        let data = cursor.take(usize::from(length))?;
        if code == wanted {
            return Some(data.to_vec());
        }
    }
}

struct Cursor<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.octets.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let octets = self.take(2)?;
        Some(u16::from_be_bytes(octets.try_into().ok()?))
    }

    /// A name, uncompressed. Every pointer must lead backwards (RFC 1035 §4.1.4: "a prior
    /// occurrence"), so that no reply leads in a circle.
    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let mut at = self.at;
        let mut lowest = at;
        let mut jumped = false;
        loop {
            let length = *self.octets.get(at)?;
            if length >= 0xc0 {
                let low = *self.octets.get(at + 1)?;
                let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                if !jumped {
                    self.at = at + 2;
                    jumped = true;
                }
                if target >= lowest {
                    return None;
                }
                lowest = target;
                at = target;
                continue;
            }
            let end = at + 1 + usize::from(length);
            name.extend(self.octets.get(at..end)?);
            at = end;
            if length == 0 || name.len() > 255 {
                break;
            }
        }
        if !jumped {
            self.at = at;
        }
        (name.len() <= 255).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expected() -> Expected {
        Expected {
            zone: "example.com".parse().unwrap(),
            serial: Some(7),
            nsid: Some(b"fra1".to_vec()),
        }
    }

    /// A right reply: header, question, SOA with a compressed owner, OPT with NSID.
    fn reply(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut reply = vec![0, 42, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 1];
        reply.extend(b"\x07EXAMPLE\x03com\0\0\x06\0\x01");
        reply.extend(b"\xc0\x0c\0\x06\0\x01\0\0\0\x3c\0\x16\0\0");
        for number in [7_u32, 1, 2, 3, 4] {
            reply.extend(number.to_be_bytes());
        }
        reply.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x08\0\x03\0\x04fra1");
        change(&mut reply);
        reply
    }

    #[test]
    fn the_query_is_as_expected() {
        let query = expected().query(0x1234);
        assert_eq!(&query[..12], b"\x12\x34\0\0\0\x01\0\0\0\0\0\x01");
        assert_eq!(&query[12..29], b"\x07example\x03com\0\0\x06\0\x01");
    }

    #[test]
    fn replies_table() {
        type Table = [(&'static str, Vec<u8>, Result<(), Fault>)];
        let other = b"iad1".to_vec();
        let zone: Name = "example.com".parse().unwrap();
        let cases: &Table = &[
            ("right", reply(|_| {}), Ok(())),
            ("empty", Vec::new(), Err(Fault::Garbled)),
            ("other id", reply(|r| r[1] = 43), Err(Fault::Garbled)),
            ("a query", reply(|r| r[2] = 0x04), Err(Fault::Garbled)),
            ("SERVFAIL", reply(|r| r[3] = 2), Err(Fault::Rcode(2))),
            (
                "no AA",
                reply(|r| r[2] = 0x80),
                Err(Fault::NotAuthoritative),
            ),
            (
                "another site",
                reply(|r| {
                    let at = r.len() - 4;
                    r[at..].copy_from_slice(b"iad1");
                }),
                Err(Fault::Nsid(Some(other))),
            ),
            (
                "no OPT",
                reply(|r| {
                    r[11] = 0;
                    r.truncate(r.len() - 19);
                }),
                Err(Fault::Nsid(None)),
            ),
            (
                "no answer",
                reply(|r| {
                    r[7] = 0;
                    r[9] = 1;
                }),
                Err(Fault::NoSoa(zone.clone())),
            ),
            (
                "an old zone",
                reply(|r| r[12 + 17 + 12 + 2 + 3] = 6),
                Err(Fault::Serial {
                    zone,
                    found: 6,
                    expected: 7,
                }),
            ),
        ];
        for (name, reply, expected_result) in cases {
            assert_eq!(&expected().judge(42, reply), expected_result, "{name}");
        }
        let any = Expected {
            nsid: None,
            serial: None,
            ..expected()
        };
        assert_eq!(any.judge(42, &reply(|r| r[45] = 6)), Ok(()));
    }

    #[test]
    fn faults_are_sentences() {
        let text = Fault::Nsid(Some(b"iad1".to_vec())).to_string();
        assert_eq!(text, "another server answered: NSID \"iad1\", not ours");
    }

    proptest! {
        #[test]
        fn any_reply_is_total(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = expected().judge(42, &octets);
        }

        #[test]
        fn any_damage_is_total(at in 0_usize..80, octet: u8, cut in 0_usize..80) {
            let damaged = reply(|r| {
                if let Some(place) = r.get_mut(at) {
                    *place = octet;
                }
                r.truncate(r.len().saturating_sub(cut));
            });
            let _ = expected().judge(42, &damaged);
        }
    }
}
