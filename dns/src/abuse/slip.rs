//! The reply that a limited client gets in place of the answer: header and question with TC set, so
//! that a client that is really there asks again by TCP. It holds no data: whoever is flooded by it
//! gets hardly more octets than were sent in its name.

use crate::query::HEADER_LEN;

/// OPTION-CODE of DNS cookies (RFC 7873 §4).
const COOKIE: [u8; 2] = [0, 10];
/// TYPE of OPT (RFC 6891 §6.1.1).
const OPT: [u8; 2] = [0, 41];
/// Octets of an OPT record before its options: root, type, class, TTL, length.
const OPT_FIXED: usize = 11;

/// Cuts the reply in `buf[..len]` down in place; its new length. Of the OPT record the fixed part
/// and the cookie stay: with it the client is known the next time.
///
/// A reply that is not well-formed, which this server does not write, becomes a bare header.
pub fn cut(buf: &mut [u8], len: usize) -> usize {
    let Some(reply) = buf.get_mut(..len) else {
        return 0;
    };
    let question_end = question_end(reply);
    let opt = question_end.and_then(|at| find_opt(reply, at));
    let Some(header) = reply.first_chunk_mut::<HEADER_LEN>() else {
        return 0;
    };
    let [_, _, flags, _, _, questions, _, _, _, _, _, additional] = header;
    // TC, and no AA: nothing is said with authority (RFC 1035 §4.1.1).
    *flags = (*flags | 0x02) & !0x04;
    *questions = u8::from(question_end.is_some_and(|end| end > HEADER_LEN));
    *additional = u8::from(opt.is_some());
    if let Some(counts) = reply.get_mut(6..11) {
        counts.fill(0);
    }
    let end = question_end.unwrap_or(HEADER_LEN);
    opt.map_or(end, |at| keep_opt(reply, at, end).unwrap_or(end))
}

/// Where the sections begin.
fn question_end(reply: &[u8]) -> Option<usize> {
    match reply.get(4..6)? {
        [0, 0] => Some(HEADER_LEN),
        [0, 1] => {
            let end = skip_name(reply, HEADER_LEN)? + 4;
            (end <= reply.len()).then_some(end)
        }
        _ => None,
    }
}

/// Where the OPT record stands, if there is one.
fn find_opt(reply: &[u8], mut at: usize) -> Option<usize> {
    let count = |at: usize| {
        let octets = reply.get(at..)?.first_chunk::<2>()?;
        Some(u32::from(u16::from_be_bytes(*octets)))
    };
    for _ in 0..count(6)? + count(8)? + count(10)? {
        let fields = skip_name(reply, at)?;
        if fields == at + 1 && reply.get(fields..fields + 2)? == OPT {
            return Some(at);
        }
        at = fields + 10 + usize::try_from(count(fields + 8)?).ok()?;
    }
    None
}

/// Where a name ends; a pointer ends it.
fn skip_name(octets: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *octets.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

/// Moves the OPT record at `from` to `to`, with the cookie and no other option; where it ends.
fn keep_opt(reply: &mut [u8], from: usize, to: usize) -> Option<usize> {
    let cookie = find_cookie(reply.get(from..)?);
    reply.copy_within(from..from + OPT_FIXED, to);
    let mut end = to + OPT_FIXED;
    if let Some((start, length)) = cookie {
        let start = from + start;
        reply.copy_within(start..start + length, end);
        end += length;
    }
    let length = u16::try_from(end - to - OPT_FIXED).ok()?;
    let field = reply.get_mut(to + 9..to + OPT_FIXED)?;
    field.copy_from_slice(&length.to_be_bytes());
    Some(end)
}

/// Start and length of the cookie option, its head included, in an OPT record.
fn find_cookie(record: &[u8]) -> Option<(usize, usize)> {
    let length = record.get(9..)?.first_chunk::<2>()?;
    let end = OPT_FIXED + usize::from(u16::from_be_bytes(*length));
    let mut at = OPT_FIXED;
    while at < end {
        let head = record.get(at..)?.first_chunk::<4>()?;
        let [code @ .., _, _] = head;
        let [_, _, length @ ..] = head;
        let whole = 4 + usize::from(u16::from_be_bytes(*length));
        if *code == COOKIE {
            return (at + whole <= record.len()).then_some((at, whole));
        }
        at += whole;
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use hickory_proto::op::Message;
    use proptest::prelude::*;

    use super::*;

    const HEAD: [u8; 12] = [0xab, 0xcd, 0x85, 0, 0, 1, 0, 1, 0, 0, 0, 1];
    const QUESTION: &[u8] = b"\x03www\x07example\0\0\x01\0\x01";
    const RECORD: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\xc0\0\x02\x01";

    fn opt(options: &[u8]) -> Vec<u8> {
        let mut record = vec![0, 0, 41, 4, 208, 0, 0, 0x80, 0];
        record.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
        record.extend(options);
        record
    }

    fn cut_of(reply: &[u8]) -> Vec<u8> {
        let mut buf = reply.to_vec();
        let len = cut(&mut buf, reply.len());
        buf.truncate(len);
        buf
    }

    #[test]
    fn header_question_and_cookie_are_left() {
        let cookie = [&[0, 10, 0, 24][..], &[7; 24]].concat();
        let ecs = [0, 8, 0, 7, 0, 1, 24, 20, 192, 0, 2];
        let nsid = [0, 3, 0, 4, b'f', b'r', b'a', b'1'];
        let kept = opt(&cookie);
        let rows = [
            (
                opt(&[&nsid[..], &ecs, &cookie, &[0, 15, 0, 2, 0, 0]].concat()),
                kept.clone(),
            ),
            (opt(&cookie), kept),
            (opt(&nsid), opt(&[])),
            (opt(&[]), opt(&[])),
        ];
        for (before, after) in rows {
            let reply = [&HEAD[..], QUESTION, RECORD, &before].concat();
            let mut expected = [&HEAD[..], QUESTION, &after].concat();
            // QR and TC, no AA; one question, one additional record.
            expected[2..12].copy_from_slice(&[0x83, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
            assert_eq!(cut_of(&reply), expected);
            let read = Message::from_vec(&cut_of(&reply)).unwrap();
            assert!(read.metadata.truncation && read.answers.is_empty());
        }
    }

    #[test]
    fn without_opt_and_without_a_question() {
        let mut reply = [&HEAD[..], QUESTION, RECORD].concat();
        reply[11] = 0;
        let short = cut_of(&reply);
        assert_eq!(short.len(), HEADER_LEN + QUESTION.len());
        assert_eq!(short[2..12], [0x83, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        let mut bare = HEAD;
        bare[4..].fill(0);
        assert_eq!(cut_of(&bare)[2..], [0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    proptest! {
        /// Any octets: no panic, never longer, and what comes out is read as a message again when what
        /// went in was one.
        #[test]
        fn total(reply: Vec<u8>) {
            prop_assert!(cut_of(&reply).len() <= reply.len());
        }

        #[test]
        fn total_after_a_header(counts: [u8; 4], tail: Vec<u8>) {
            let mut reply = vec![0, 1, 0x84, 0];
            for count in counts {
                reply.extend([0, count % 3]);
            }
            reply.extend(tail);
            let short = cut_of(&reply);
            prop_assert!(short.len() <= reply.len() && short.len() >= HEADER_LEN);
            prop_assert_eq!(short[2] & 0x86, 0x82);
            if Message::from_vec(&reply).is_ok() {
                prop_assert!(Message::from_vec(&short).is_ok());
            }
        }
    }
}
