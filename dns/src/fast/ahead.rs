//! A look at a whole batch before it is answered.
//!
//! The tables of the geo data are far larger than the processor's caches, and a random client is in
//! none of them: the answer then waits for memory, longer than for anything else here. The same goes
//! for a name out of millions. Asked for together, the clients and names of a batch are waited for at
//! the same time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;
use meridian_geo_data::fold;

use crate::{query::HEADER_LEN, snapshot::Snapshot, types::rtype};

/// Clients looked at together; a batch holds no more.
const MOST: usize = 64;
/// Octets of an OPT record before its options (RFC 6891 §6.1.2).
const OPT_LEN: usize = 11;
/// OPTION-CODE of EDNS Client Subnet (RFC 7871 §6).
const ECS: u16 = 8;

/// Has the processor's caches hold what these queries will need. Wrong guesses cost time, nothing else.
pub fn ahead<'q>(snapshot: &Snapshot, queries: impl Iterator<Item = &'q [u8]>) {
    let queries: ArrayVec<&[u8], MOST> = queries.take(MOST).collect();
    let names = queries.iter().filter_map(|query| query.get(HEADER_LEN..));
    snapshot.zones.expect(names);
    let mut v4 = ArrayVec::<u32, MOST>::new();
    let mut v6 = ArrayVec::<u128, MOST>::new();
    for client in queries.into_iter().filter_map(subnet) {
        // Neither is ever full: there are no more clients than that.
        let _ = match client {
            IpAddr::V4(client) => v4.try_push(client.to_bits()).is_ok(),
            IpAddr::V6(client) => v6.try_push(client.to_bits()).is_ok(),
        };
    }
    snapshot.steering.clients().expect(&v4, &v6);
}

/// The client subnet of a query of the usual form: one question, then OPT. Nothing is checked.
fn subnet(query: &[u8]) -> Option<IpAddr> {
    let mut rest = query.get(HEADER_LEN..)?;
    while let Some((&length @ 1.., behind)) = rest.split_first() {
        rest = behind.get(usize::from(length)..)?;
    }
    // The root label, QTYPE and QCLASS.
    let (opt, mut options) = rest.get(5..)?.split_first_chunk::<OPT_LEN>()?;
    let [0, high, low, ..] = *opt else {
        return None;
    };
    if u16::from_be_bytes([high, low]) != rtype::OPT {
        return None;
    }
    loop {
        let (head, data) = options.split_first_chunk::<4>()?;
        let [code_high, code_low, length_high, length_low] = *head;
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        if u16::from_be_bytes([code_high, code_low]) == ECS {
            return address(data.get(..length)?);
        }
        options = data.get(length..)?;
    }
}

fn address(option: &[u8]) -> Option<IpAddr> {
    let (&[_, family, _, _], given) = option.split_first_chunk::<4>()?;
    match family {
        1 => Some(Ipv4Addr::from(padded(given)?).into()),
        2 => Some(fold(Ipv6Addr::from(padded(given)?).into()).1),
        _ => None,
    }
}

/// With zeros behind (RFC 7871 §6: "padded with 0 bits to pad to the end of the last octet needed").
fn padded<const N: usize>(given: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    out.get_mut(..given.len())?.copy_from_slice(given);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(options: &[u8]) -> Vec<u8> {
        let mut query = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        query.extend(b"\x03www\x07example\x00\x00\x01\x00\x01");
        query.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, options.len() as u8]);
        query.extend(options);
        query
    }

    #[test]
    fn the_subnet_is_found_behind_other_options() {
        for (options, expect) in [
            (&[0, 8, 0, 7, 0, 1, 24, 0, 203, 0, 113][..], "203.0.113.0"),
            (
                &[0, 10, 0, 1, 9, 0, 8, 0, 7, 0, 1, 24, 0, 203, 0, 113],
                "203.0.113.0",
            ),
            (&[0, 8, 0, 8, 0, 2, 32, 0, 0x20, 1, 0xd, 0xb8], "2001:db8::"),
            // An IPv4 address inside an IPv6 one is judged as what it is.
            (
                &[0, 8, 0, 10, 0, 2, 48, 0, 0x20, 2, 203, 0, 113, 1],
                "203.0.113.1",
            ),
        ] {
            assert_eq!(subnet(&query(options)), Some(expect.parse().unwrap()));
        }
    }

    #[test]
    fn anything_is_looked_at_without_harm() {
        let whole = query(&[0, 8, 0, 7, 0, 1, 24, 0, 203, 0, 113]);
        for length in 0..whole.len() {
            assert_eq!(subnet(&whole[..length]), None);
        }
        for bad in [
            &[0, 8, 0, 3, 0, 1, 24][..],
            &[0, 8, 0, 9, 0, 1, 24, 0, 1, 2, 3, 4, 5],
            &[0, 8, 0, 5, 0, 3, 24, 0, 1],
            &[0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(subnet(&query(bad)), None);
        }
        assert_eq!(subnet(&[0xff; 300]), None);
    }
}
