//! Any octets as a geo database: refused with a reason, or read so that every lookup holds over the
//! prefix it names. Seeds: small databases of the schemas of MaxMind and ip-location-db.

#![no_main]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::LazyLock,
};

use libfuzzer_sys::fuzz_target;
use meridian_config::Geo;
use meridian_geo_data::{ClientMap, Located};
use tempfile::TempDir;

/// The file that is written and read anew each time.
static FILE: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("city.mmdb");
    (folder, path)
});

fuzz_target!(|octets: &[u8]| {
    let path = FILE.1.clone();
    fs::write(&path, octets).expect("the file is written");
    let geo = Geo {
        city: vec![path.clone()],
        asn: Vec::new(),
        networks: Vec::new(),
    };
    match ClientMap::open(&geo) {
        Ok(map) => probe(&map, octets),
        Err(found) => {
            assert!(!found.is_empty(), "refused without a reason");
            assert!(
                found
                    .0
                    .iter()
                    .all(|one| one.file == path && !one.help.is_empty())
            );
        }
    }
    let asn = Geo {
        city: Vec::new(),
        asn: vec![path],
        networks: Vec::new(),
    };
    // The bundled database would take long each time.
    if octets.len() % 64 == 0 {
        let _ = ClientMap::open(&asn);
    }
});

fn probe(map: &ClientMap, octets: &[u8]) {
    let fixed = [0, 0x0a00_0001, 0xc000_0201, u32::MAX].map(Ipv4Addr::from_bits);
    let wide = octets.chunks_exact(16).take(8).map(|chunk| {
        let octets: [u8; 16] = chunk.try_into().expect("16 octets");
        IpAddr::from(Ipv6Addr::from(octets))
    });
    for address in fixed.into_iter().map(IpAddr::from).chain(wide) {
        let located = map.locate(address);
        assert!(
            located
                .cell
                .is_none_or(|id| map.cells().len() > id.0 as usize)
        );
        let (first, last) = ends(address, &located);
        assert_eq!(map.locate(first), located, "{first}");
        assert_eq!(map.locate(last), located, "{last}");
        assert_eq!(map.describe(address).cell, located.cell);
    }
}

/// First and last address of the prefix that is judged alike.
fn ends(address: IpAddr, located: &Located) -> (IpAddr, IpAddr) {
    let len = u32::from(located.prefix_len);
    match address {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(len).unwrap_or(0);
            let bits = v4.to_bits();
            (
                Ipv4Addr::from_bits(bits & !host).into(),
                Ipv4Addr::from_bits(bits | host).into(),
            )
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(len).unwrap_or(0);
            let bits = v6.to_bits();
            (
                Ipv6Addr::from_bits(bits & !host).into(),
                Ipv6Addr::from_bits(bits | host).into(),
            )
        }
    }
}
