//! Queries by the section of the RFC that they test.

use proptest::prelude::*;

use super::*;

/// A query for `a. A IN` with these additional records (raw).
fn query(arcount: u16, additional: &[u8]) -> Vec<u8> {
    let mut m = vec![0x12, 0x34, 0x01, 0x10, 0, 1, 0, 0, 0, 0];
    m.extend(arcount.to_be_bytes());
    m.extend([1, b'A', 0, 0, 1, 0, 1]);
    m.extend(additional);
    m
}

fn opt(version: u8, options: &[u8]) -> Vec<u8> {
    let mut m = vec![0, 0, 41, 0x10, 0, 0, version, 0x80, 0];
    m.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
    m.extend(options);
    m
}

fn option(code: u16, data: &[u8]) -> Vec<u8> {
    let mut m = code.to_be_bytes().to_vec();
    m.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    m.extend(data);
    m
}

fn rcode_of(message: &[u8]) -> Option<u16> {
    match parse(message) {
        Parsed::Query(_) | Parsed::CookieOnly(_) => Some(0),
        Parsed::Refuse(refusal) => Some(refusal.rcode),
        Parsed::Drop(_) => None,
    }
}

fn ecs_of(data: &[u8]) -> Result<Ecs, u16> {
    match parse(&query(1, &opt(0, &option(8, data)))) {
        Parsed::Query(q) => Ok(q.edns.unwrap().ecs.unwrap()),
        Parsed::Refuse(r) => {
            assert!(r.edns.is_some(), "a refusal of an EDNS query carries OPT");
            Err(r.rcode)
        }
        Parsed::Drop(_) | Parsed::CookieOnly(_) => panic!("no query"),
    }
}

#[test]
fn plain_query_is_read() {
    let message = query(0, &[]);
    let Parsed::Query(q) = parse(&message) else {
        panic!("not a query")
    };
    assert_eq!(q.header.id, 0x1234);
    assert!(q.header.recursion_desired && q.header.checking_disabled);
    assert_eq!(
        q.question.name, b"\x01A\0",
        "case is kept (draft-vixie-dnsext-dns0x20)"
    );
    assert_eq!((q.question.qtype, q.question.qclass), (1, 1));
    assert_eq!(q.edns, None);
}

#[test]
fn short_messages_and_responses_are_dropped() {
    let message = query(0, &[]);
    for length in 0..12 {
        assert_eq!(
            parse(&message[..length]),
            Parsed::Drop(DropReason::Short),
            "{length}"
        );
    }
    let mut response = message;
    response[2] |= 0x80;
    assert_eq!(parse(&response), Parsed::Drop(DropReason::Response));
}

#[test]
fn rfc_1035_4_1_1_other_opcodes_are_not_implemented() {
    for opcode in 1..=15_u8 {
        let mut message = query(0, &[]);
        message[2] = opcode << 3;
        assert_eq!(rcode_of(&message), Some(rcode::NOTIMP), "{opcode}");
        assert_eq!(
            rcode_of(&message[..12]),
            Some(rcode::NOTIMP),
            "{opcode} cut off"
        );
    }
}

#[test]
fn rfc_9619_one_question() {
    for count in [0, 2, 3, 255] {
        let mut message = query(0, &[]);
        message[5] = count;
        assert_eq!(rcode_of(&message), Some(rcode::FORMERR), "{count}");
    }
}

#[test]
fn rfc_6891_6_1_1_opt_is_seen_whatever_the_number_of_questions() {
    for count in [0_u8, 2, 3] {
        let mut message = vec![0x12, 0x34, 0, 0, 0, count, 0, 0, 0, 0, 0, 1];
        for _ in 0..count {
            message.extend([1, b'A', 0, 0, 1, 0, 1]);
        }
        message.extend(opt(0, &[]));
        let Parsed::Refuse(refusal) = parse(&message) else {
            panic!("not refused: {count}")
        };
        assert_eq!(refusal.rcode, rcode::FORMERR);
        assert!(refusal.edns.is_some() && refusal.question.is_none());
    }
}

#[test]
fn rfc_1035_4_1_4_no_pointers_in_the_question() {
    for name in [
        &[0xc0, 0x0c][..],
        &[1, b'a', 0xc0, 0x0c],
        &[0x40, 0],
        &[0x80, 0],
    ] {
        let mut message = query(0, &[]);
        message.truncate(12);
        message.extend(name);
        message.extend([0, 1, 0, 1]);
        assert_eq!(rcode_of(&message), Some(rcode::FORMERR), "{name:?}");
    }
}

#[test]
fn rfc_1035_2_3_4_names_end_at_255_octets() {
    for (last, expected) in [(61, 0), (62, rcode::FORMERR)] {
        let mut message = query(0, &[]);
        message.truncate(12);
        for length in [63, 63, 63, last] {
            message.push(length);
            message.extend(vec![b'x'; usize::from(length)]);
        }
        message.extend([0, 0, 1, 0, 1]);
        assert_eq!(rcode_of(&message), Some(expected), "{last}");
    }
}

#[test]
fn truncated_messages_and_trailing_octets_are_malformed() {
    let whole = query(1, &opt(0, &option(8, &[0, 1, 24, 0, 192, 0, 2])));
    assert_eq!(rcode_of(&whole), Some(0));
    for length in 12..whole.len() {
        assert_eq!(
            rcode_of(&whole[..length]),
            Some(rcode::FORMERR),
            "cut at {length}"
        );
    }
    let mut longer = whole;
    longer.push(0);
    assert_eq!(rcode_of(&longer), Some(rcode::FORMERR));
}

#[test]
fn rfc_6891_opt() {
    let one = opt(0, &[]);
    assert_eq!(rcode_of(&query(1, &one)), Some(0));
    // §6.1.1: anywhere in the additional section, after an A record with a compressed owner too.
    let mut two = vec![0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4];
    two.extend(&one);
    assert_eq!(rcode_of(&query(2, &two)), Some(0));
    // §6.1.1: two of them
    assert_eq!(
        rcode_of(&query(2, &[one.clone(), one.clone()].concat())),
        Some(rcode::FORMERR)
    );
    // §6.1.2: the owner is the root
    let named = [&[1, b'a'][..], &one].concat();
    assert_eq!(rcode_of(&query(1, &named)), Some(rcode::FORMERR));
    // §6.1.3
    for version in 1..=255 {
        assert_eq!(
            rcode_of(&query(1, &opt(version, &[9]))),
            Some(rcode::BADVERS)
        );
    }
    // an option that is longer than its record
    for options in [&[0, 3, 0][..], &[0, 3, 0, 1], &[0, 3, 255, 255, 1]] {
        assert_eq!(
            rcode_of(&query(1, &opt(0, options))),
            Some(rcode::FORMERR),
            "{options:?}"
        );
    }
    // in the answer section
    let mut message = query(0, &one);
    message[7] = 1;
    assert_eq!(rcode_of(&message), Some(rcode::FORMERR));
}

#[test]
fn rfc_7871_6_well_formed_client_subnets() {
    let cases: &[(&[u8], u16, u8, &str)] = &[
        (&[0, 1, 24, 0, 192, 0, 2], 1, 24, "192.0.2.0"),
        (&[0, 1, 32, 0, 192, 0, 2, 1], 1, 32, "192.0.2.1"),
        (&[0, 1, 9, 0, 10, 0x80], 1, 9, "10.128.0.0"),
        (&[0, 1, 0, 0], 1, 0, "0.0.0.0"),
        (
            &[0, 2, 56, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 7],
            2,
            56,
            "2001:db8:0:700::",
        ),
        (&[0, 2, 0, 0], 2, 0, "::"),
        (&[0, 0, 0, 0], 0, 0, "0.0.0.0"),
    ];
    for &(data, family, source, address) in cases {
        let address = address.parse().unwrap();
        let expected = Ecs {
            family,
            source,
            scope: 0,
            address,
        };
        assert_eq!(ecs_of(data), Ok(expected), "{data:?}");
    }
}

#[test]
fn rfc_7871_7_1_2_malformed_client_subnets() {
    let cases: &[&[u8]] = &[
        &[],
        &[0, 1, 24],
        &[0, 1, 24, 0],
        &[0, 1, 24, 0, 192, 0],             // an octet short
        &[0, 1, 24, 0, 192, 0, 2, 0],       // an octet too many
        &[0, 1, 24, 24, 192, 0, 2],         // scope in a query
        &[0, 1, 23, 0, 192, 0, 3],          // a bit beyond the prefix
        &[0, 1, 1, 0, 0xc0],                // the same in the first octet
        &[0, 1, 33, 0, 192, 0, 2, 1, 0x80], // longer than an address
        &[
            0, 2, 129, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0,
        ],
        &[0, 0, 1, 0, 0], // family 0 with a prefix
        &[0, 0, 0, 1],    // family 0 with a scope
        &[0, 3, 0, 0],    // unknown family
        &[0, 1, 0, 0, 0], // /0 with an octet
    ];
    for data in cases {
        assert_eq!(ecs_of(data), Err(rcode::FORMERR), "{data:?}");
    }
    let one = option(8, &[0, 1, 0, 0]);
    let twice = [one.clone(), one].concat();
    assert_eq!(
        rcode_of(&query(1, &opt(0, &twice))),
        Some(rcode::FORMERR),
        "two of them"
    );
}

#[test]
fn nsid_cookie_and_unknown_options() {
    let options = [
        option(65001, &[1, 2, 3]),
        option(3, &[]),
        option(10, &[1; 8]),
        option(10, &[2; 8]),
    ]
    .concat();
    let message = query(1, &opt(0, &options));
    let Parsed::Query(q) = parse(&message) else {
        panic!("not a query")
    };
    let edns = q.edns.unwrap();
    assert!(edns.nsid && edns.dnssec_ok);
    assert_eq!(edns.udp_size, 4096);
    assert_eq!(edns.cookie, Some(&[1; 8][..]));
}

#[test]
fn rfc_8945_5_1_tsig_stands_last_and_once() {
    let mut tsig = vec![1, b'k', 0, 0, 250, 0, 255, 0, 0, 0, 0];
    let rdata = [
        &[1, b'h', 0][..],
        &[0, 0, 1, 2, 3, 4, 1, 44],
        &[0, 2, 9, 9],
        &[0x12, 0x34, 0, 0, 0, 0],
    ]
    .concat();
    tsig.extend(u16::try_from(rdata.len()).unwrap().to_be_bytes());
    tsig.extend(&rdata);
    let message = query(1, &tsig);
    let Parsed::Query(q) = parse(&message) else {
        panic!("not a query")
    };
    let seen = q.tsig.unwrap();
    assert_eq!(
        (seen.key, seen.algorithm, seen.original_id),
        (&b"\x01k\0"[..], &b"\x01h\0"[..], 0x1234)
    );
    let then_opt = [tsig.clone(), opt(0, &[])].concat();
    assert_eq!(rcode_of(&query(2, &then_opt)), Some(rcode::FORMERR));
    let twice = [tsig.clone(), tsig.clone()].concat();
    assert_eq!(rcode_of(&query(2, &twice)), Some(rcode::FORMERR));
    tsig.truncate(tsig.len() - 1);
    let length = tsig[12] - 1;
    tsig[12] = length;
    assert_eq!(rcode_of(&query(1, &tsig)), Some(rcode::FORMERR));
}

proptest! {
    /// Row 9 of the failure classes: any octets are read without a panic.
    #[test]
    fn total(message: Vec<u8>) {
        let _ = parse(&message);
    }

    /// The same for octets that begin like a query.
    #[test]
    fn total_after_a_header(counts: [u8; 4], tail: Vec<u8>) {
        let mut message = vec![0, 1, 0, 0];
        for count in counts {
            message.extend([0, count % 4]);
        }
        message.extend(tail);
        let _ = parse(&message);
    }

    /// Every client subnet that is accepted has no bit set past its prefix.
    #[test]
    fn accepted_client_subnets_are_masked(data: Vec<u8>) {
        if let Ok(ecs) = ecs_of(&data) {
            let net = ipnet::IpNet::new(ecs.address, ecs.source).unwrap();
            prop_assert_eq!(net.network(), ecs.address);
        }
    }
}
