//! RFC 7606, a case for each section that says what to do.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::codec::{self, Message, Treatment};

const NEXT_HOP: &[u8] = &[0x40, 3, 4, 10, 99, 0, 1];
const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfb, 0xf4];
const ROUTE: &[u8] = &[24, 192, 0, 2];

/// An UPDATE from its parts, with lengths that may lie.
fn update(attributes: &[&[u8]], nlri: &[u8]) -> Bytes {
    let attributes = attributes.concat();
    framed(0, &[], attributes.len(), &attributes, nlri)
}

fn framed(
    withdrawn_length: u16,
    withdrawn: &[u8],
    length: usize,
    attributes: &[u8],
    nlri: &[u8],
) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u16(withdrawn_length);
    body.put_slice(withdrawn);
    body.put_u16(u16::try_from(length).unwrap());
    body.put_slice(attributes);
    body.put_slice(nlri);
    let mut message = BytesMut::new();
    message.put_bytes(0xff, 16);
    message.put_u16(u16::try_from(body.len() + 19).unwrap());
    message.put_u8(2);
    message.put_slice(&body);
    message.freeze()
}

#[derive(Debug, PartialEq)]
enum Expect {
    Ignored(u64),
    Discarded(u64),
    Withdraw,
    Reset(u8, u8),
}

fn judge(octets: &Bytes, external: bool) -> Expect {
    match codec::take_message(&mut BytesMut::from(&octets[..])) {
        Ok(Some((Message::Update(update), _))) => match codec::treatment(&update, true, external) {
            Treatment::Ignored { prefixes } => Expect::Ignored(prefixes),
            Treatment::Discarded { prefixes, .. } => Expect::Discarded(prefixes),
            Treatment::TreatedAsWithdraw => Expect::Withdraw,
            Treatment::Reset(said) => Expect::Reset(said.code.as_u8(), said.subcode),
        },
        Err(error) => {
            let (code, subcode, _) = error.to_notification();
            Expect::Reset(code.as_u8(), subcode)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
#[allow(clippy::too_many_lines)] // One table.
fn table_by_section() {
    use Expect::{Discarded, Ignored, Reset, Withdraw};
    let mp_reach: &[u8] = &[
        0x80, 14, 25, 0, 2, 1, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 24,
        0x20, 1, 0xd,
    ];
    let good = &[ORIGIN, PATH, NEXT_HOP];
    let with = |more: &[u8]| update(&[ORIGIN, PATH, NEXT_HOP, more], ROUTE);
    let cases: Vec<(&str, Bytes, bool, Expect)> = vec![
        (
            "RFC 4271: well formed",
            update(good, ROUTE),
            true,
            Ignored(1),
        ),
        (
            "RFC 4724 §2: End-of-RIB",
            update(&[], &[]),
            true,
            Ignored(0),
        ),
        (
            "§3 (c): well-known attribute with the Optional bit",
            update(&[&[0xc0, 1, 1, 0], PATH, NEXT_HOP], ROUTE),
            true,
            Withdraw,
        ),
        (
            "§3 (d): ORIGIN is missing",
            update(&[PATH, NEXT_HOP], ROUTE),
            true,
            Withdraw,
        ),
        (
            "§3 (d): NEXT_HOP is missing",
            update(&[ORIGIN, PATH], ROUTE),
            true,
            Withdraw,
        ),
        (
            "§3 (g): an attribute twice, the first counts",
            update(&[ORIGIN, ORIGIN, PATH, NEXT_HOP], ROUTE),
            true,
            Discarded(1),
        ),
        (
            "§3 (g): MP_REACH_NLRI twice",
            update(&[mp_reach, mp_reach, ORIGIN, PATH], &[]),
            true,
            Withdraw,
        ),
        (
            "§3 (h): the strongest of two",
            with(&[0xc0, 7, 1, 0, 0x80, 4, 1, 9]),
            true,
            Withdraw,
        ),
        (
            "§4: an attribute runs over the end",
            framed(0, &[], 5, &[0x40, 1, 9, 0, 0], ROUTE),
            true,
            Withdraw,
        ),
        (
            "§4: lengths exceed the message",
            framed(0, &[], 400, &[], ROUTE),
            true,
            Reset(3, 1),
        ),
        (
            "§4: withdrawn length exceeds the message",
            framed(400, &[], 0, &[], &[]),
            true,
            Reset(3, 1),
        ),
        (
            "§5.3: NLRI longer than 32 bits",
            update(good, &[33, 192, 0, 2, 1, 1]),
            true,
            Reset(3, 10),
        ),
        (
            "§5.3: NLRI cut short",
            update(good, &[24, 192]),
            true,
            Reset(3, 10),
        ),
        (
            "§7.1: ORIGIN of two octets",
            update(&[&[0x40, 1, 2, 0, 0], PATH, NEXT_HOP], ROUTE),
            true,
            Withdraw,
        ),
        (
            "§7.1: ORIGIN 9",
            update(&[&[0x40, 1, 1, 9], PATH, NEXT_HOP], ROUTE),
            true,
            Withdraw,
        ),
        (
            "§7.2: AS_PATH with an empty segment",
            update(&[ORIGIN, &[0x40, 2, 2, 2, 0], NEXT_HOP], ROUTE),
            true,
            Withdraw,
        ),
        (
            "§7.2: AS_PATH with an unknown segment",
            update(&[ORIGIN, &[0x40, 2, 6, 9, 1, 0, 0, 0, 1], NEXT_HOP], ROUTE),
            true,
            Withdraw,
        ),
        (
            "§7.2: AS_PATH cut short",
            update(&[ORIGIN, &[0x40, 2, 3, 2, 1, 0], NEXT_HOP], ROUTE),
            true,
            Withdraw,
        ),
        (
            "§7.3: NEXT_HOP of three octets",
            update(&[ORIGIN, PATH, &[0x40, 3, 3, 10, 0, 0]], ROUTE),
            true,
            Withdraw,
        ),
        (
            "§7.4: MULTI_EXIT_DISC of three octets",
            with(&[0x80, 4, 3, 0, 0, 0]),
            true,
            Withdraw,
        ),
        (
            "§7.5: LOCAL_PREF malformed, external",
            with(&[0x40, 5, 1, 0]),
            true,
            Discarded(1),
        ),
        (
            "§7.5: LOCAL_PREF malformed, internal",
            with(&[0x40, 5, 1, 0]),
            false,
            Withdraw,
        ),
        (
            "§7.6: ATOMIC_AGGREGATE with a value",
            with(&[0x40, 6, 1, 0]),
            true,
            Discarded(1),
        ),
        (
            "§7.7: AGGREGATOR of five octets",
            with(&[0xc0, 7, 5, 0, 0, 0, 0, 0]),
            true,
            Discarded(1),
        ),
        (
            "§7.8: COMMUNITIES of three octets",
            with(&[0xc0, 8, 3, 0, 0, 0]),
            true,
            Withdraw,
        ),
        (
            "§7.9: ORIGINATOR_ID malformed, external",
            with(&[0x80, 9, 1, 0]),
            true,
            Discarded(1),
        ),
        (
            "§7.9: ORIGINATOR_ID malformed, internal",
            with(&[0x80, 9, 1, 0]),
            false,
            Withdraw,
        ),
        (
            "§7.10: CLUSTER_LIST malformed, external",
            with(&[0x80, 10, 3, 0, 0, 0]),
            true,
            Discarded(1),
        ),
        (
            "§7.10: CLUSTER_LIST malformed, internal",
            with(&[0x80, 10, 3, 0, 0, 0]),
            false,
            Withdraw,
        ),
        (
            "§7.11: MP_REACH_NLRI well formed",
            update(&[mp_reach, ORIGIN, PATH], &[]),
            true,
            Ignored(1),
        ),
        (
            "§7.11: MP_REACH_NLRI malformed: family disabled",
            update(&[&[0x80, 14, 3, 0, 2, 1], ORIGIN, PATH], &[]),
            true,
            Withdraw,
        ),
        (
            "§7.12: MP_UNREACH_NLRI malformed: family disabled",
            update(&[&[0x80, 15, 2, 0, 2]], &[]),
            true,
            Withdraw,
        ),
        (
            "§7.14: EXTENDED COMMUNITIES of seven octets",
            with(&[0xc0, 16, 7, 0, 0, 0, 0, 0, 0, 0]),
            true,
            Withdraw,
        ),
        (
            "§7.15: IPv6 extended communities of three octets",
            with(&[0xc0, 25, 3, 0, 0, 0]),
            true,
            Withdraw,
        ),
        (
            "RFC 8092 §6: large communities of eleven octets",
            with(&[0xc0, 32, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            true,
            Withdraw,
        ),
        (
            "RFC 4271 §6.3: an unknown well-known attribute",
            with(&[0x40, 99, 0]),
            true,
            Withdraw,
        ),
        (
            "RFC 4271 §9: an unknown optional attribute",
            with(&[0xc0, 99, 1, 0]),
            true,
            Ignored(1),
        ),
    ];
    let mut wrong = Vec::new();
    for (section, octets, external, expected) in cases {
        let got = judge(&octets, external);
        if got != expected {
            wrong.push(format!("{section}: {got:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
