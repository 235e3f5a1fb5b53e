//! Bounded reading of questions and records out of a message.

use super::{HEADER_LEN, Tsig};

/// The one question of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// QNAME in uncompressed wire form, root label included, case kept (0x20).
    pub name: &'a [u8],
    /// QTYPE
    pub qtype: u16,
    /// QCLASS
    pub qclass: u16,
    /// The whole question as it came, for the reply.
    pub octets: &'a [u8],
}

/// A record whose owner and length were checked, its RDATA not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// Owner as it stands in the message; it may end with a compression pointer.
    pub(super) owner: &'a [u8],
    pub(super) rtype: u16,
    pub(super) class: u16,
    pub(super) ttl: [u8; 4],
    pub(super) rdata: &'a [u8],
}

/// A cursor over a message.
pub(super) struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8], at: usize) -> Self {
        Self { message, at }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.message.len()
    }

    /// The question. Its name may not be compressed: nothing stands before it that a pointer
    /// could mean.
    pub(super) fn question(&mut self) -> Option<Question<'a>> {
        let start = self.at;
        let name = plain_name(self.message.get(start..)?)?;
        self.at += name.len();
        let qtype = self.u16()?;
        let qclass = self.u16()?;
        Some(Question {
            name,
            qtype,
            qclass,
            octets: self.message.get(start..self.at)?,
        })
    }

    /// The next record.
    pub(super) fn record(&mut self) -> Option<Record<'a>> {
        let owner = self.owner()?;
        let rtype = self.u16()?;
        let class = self.u16()?;
        let ttl = *self.take(4)?.first_chunk()?;
        let length = self.u16()?;
        let rdata = self.take(usize::from(length))?;
        Some(Record {
            owner,
            rtype,
            class,
            ttl,
            rdata,
        })
    }

    /// An owner name: labels that end with the root or with one pointer back into the message.
    /// The pointer is not followed, so there is nothing to loop over.
    fn owner(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        loop {
            let length = *self.take(1)?.first()?;
            match length {
                0 => break,
                1..=63 => {
                    self.take(usize::from(length))?;
                }
                192.. => {
                    let low = *self.take(1)?.first()?;
                    let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    // RFC 1035 §4.1.4: a pointer means "a prior occurance of the same name".
                    if target < HEADER_LEN || target >= start {
                        return None;
                    }
                    break;
                }
                // RFC 1035 §4.1.4: "The 10 and 01 combinations are reserved for future use."
                64..=191 => return None,
            }
            if self.at - start > 255 {
                return None;
            }
        }
        self.message.get(start..self.at)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().copied().map(u16::from_be_bytes)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.message.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }
}

/// The uncompressed name at the start of `octets`: at most 255 octets, labels of at most 63.
pub(super) fn plain_name(octets: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    loop {
        let length = *octets.get(at)?;
        if length > 63 {
            return None;
        }
        at += 1 + usize::from(length);
        if at > 255 {
            return None;
        }
        if length == 0 {
            return octets.get(..at);
        }
    }
}

impl<'a> Record<'a> {
    /// The parts of a TSIG record (RFC 8945 §4.2); `None` when they do not add up.
    pub(super) fn tsig(&self) -> Option<Tsig<'a>> {
        let key = plain_name(self.owner)?;
        let algorithm = plain_name(self.rdata)?;
        let rest = self.rdata.get(algorithm.len()..)?;
        let time_and_fudge = rest.get(..8)?;
        let mac_len = usize::from(u16_at(rest, 8)?);
        let after_mac = rest.get(10_usize.checked_add(mac_len)?..)?;
        let original_id = u16_at(after_mac, 0)?;
        let other_len = usize::from(u16_at(after_mac, 4)?);
        if after_mac.len() != 6 + other_len {
            return None;
        }
        Some(Tsig {
            key,
            algorithm,
            time_and_fudge,
            original_id,
        })
    }
}

/// Two octets at `at`, most significant first.
pub(super) fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    let pair = octets.get(at..at.checked_add(2)?)?;
    pair.first_chunk().copied().map(u16::from_be_bytes)
}
