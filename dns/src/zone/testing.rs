//! Zones for tests, from short lines: `OWNER [TTL] TYPE DATA`, names relative to the apex unless
//! they end with a dot. Deliberately not the master file reader: tests of lookup and answers
//! should not hang on it.

use std::sync::Arc;

use meridian_config::Name;

use super::{PlaceError, ServiceId, Zone, ZoneBuilder};
use crate::types::rtype;

/// Reads lines into a builder.
pub(crate) fn builder(apex: &str, lines: &str) -> ZoneBuilder {
    let apex: Name = apex.parse().unwrap();
    let mut builder = ZoneBuilder::new(&apex);
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_ascii_whitespace().peekable();
        let owner = name(words.next().unwrap(), &apex);
        let ttl = words.next_if(|word| word.parse::<u32>().is_ok());
        let ttl = ttl.map_or(300, |ttl| ttl.parse().unwrap());
        let rtype = rtype::parse_type(words.next().unwrap()).unwrap();
        let words: Vec<&str> = words.collect();
        builder
            .add(&owner, rtype, ttl, &rdata(rtype, &words, &apex))
            .unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    builder
}

/// A zone of these lines; SOA (TTL 3600, MINIMUM 60) and NS are added.
pub(crate) fn zone(apex: &str, lines: &str) -> Arc<Zone> {
    zone_with(apex, lines, &[]).unwrap()
}

/// The same with services, numbered in order.
pub(crate) fn zone_with(
    apex: &str,
    lines: &str,
    services: &[&str],
) -> Result<Arc<Zone>, PlaceError> {
    let head = "@ 3600 SOA ns.nic.test. root.nic.test. 1 2 3 4 60\n@ NS ns.nic.test.\n";
    let mut builder = builder(apex, &[head, lines].concat());
    let apex: Name = apex.parse().unwrap();
    for (number, service) in (0..).zip(services) {
        builder.place(&name(service, &apex), ServiceId(number))?;
    }
    Ok(Arc::new(builder.finish().unwrap()))
}

fn name(text: &str, apex: &Name) -> Name {
    Name::parse(text, apex).unwrap()
}

fn rdata(rtype: u16, words: &[&str], apex: &Name) -> Vec<u8> {
    let wire = |word: &str| name(word, apex).as_wire().to_vec();
    let short = |word: &str| word.parse::<u16>().unwrap().to_be_bytes().to_vec();
    let long = |word: &str| word.parse::<u32>().unwrap().to_be_bytes().to_vec();
    match (rtype, words) {
        (rtype::A, [address]) => {
            let address: std::net::Ipv4Addr = address.parse().unwrap();
            address.octets().to_vec()
        }
        (rtype::AAAA, [address]) => {
            let address: std::net::Ipv6Addr = address.parse().unwrap();
            address.octets().to_vec()
        }
        (rtype::NS | rtype::CNAME | rtype::DNAME | rtype::PTR, [target]) => wire(target),
        (rtype::MX, [preference, target]) => [short(preference), wire(target)].concat(),
        (rtype::SRV, [a, b, c, target]) => [short(a), short(b), short(c), wire(target)].concat(),
        (rtype::SOA, [mname, rname, numbers @ ..]) => {
            let mut octets = [wire(mname), wire(rname)].concat();
            octets.extend(numbers.iter().flat_map(|number| long(number)));
            octets
        }
        (rtype::TXT, words) => words
            .iter()
            .flat_map(|word| {
                let length = u8::try_from(word.len()).unwrap();
                std::iter::once(length).chain(word.bytes())
            })
            .collect(),
        (_, words) => words.concat().into_bytes(),
    }
}
