//! The demo's six PoPs and the clients that are watched.

use std::net::Ipv4Addr;

/// One PoP of the demo.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) pop: &'static str,
    pub(super) city: &'static str,
    pub(super) latitude: f64,
    pub(super) longitude: f64,
    pub(super) address: Ipv4Addr,
}

const fn place(
    pop: &'static str,
    city: &'static str,
    latitude: f64,
    longitude: f64,
    last: u8,
) -> Place {
    Place {
        pop,
        city,
        latitude,
        longitude,
        address: Ipv4Addr::new(127, 0, 0, last),
    }
}

/// Named after the airports nearby.
pub(super) const PLACES: [Place; 6] = [
    place("fra", "Frankfurt", 50.03, 8.57, 11),
    place("iad", "Washington", 38.95, -77.45, 12),
    place("nrt", "Tokyo", 35.77, 140.39, 13),
    place("gru", "Sao Paulo", -23.43, -46.47, 14),
    place("syd", "Sydney", -33.95, 151.18, 15),
    place("jnb", "Johannesburg", -26.13, 28.23, 16),
];

/// A client that the demo watches: a university network in that city.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) city: &'static str,
    pub(super) network: Ipv4Addr,
    pub(super) length: u8,
    /// The PoP that answers it while all are up.
    pub(super) home: &'static str,
}

/// Networks of the universities of Tokyo, Paris and New York (Columbia).
pub(super) const SAMPLES: [Sample; 3] = [
    sample("Tokyo", Ipv4Addr::new(133, 11, 0, 0), "nrt"),
    sample("Paris", Ipv4Addr::new(134, 157, 0, 0), "fra"),
    sample("New York", Ipv4Addr::new(128, 59, 0, 0), "iad"),
];

const fn sample(city: &'static str, network: Ipv4Addr, home: &'static str) -> Sample {
    Sample {
        city,
        network,
        length: 24,
        home,
    }
}

/// The PoP behind an address.
pub(super) fn pop_of(address: Ipv4Addr) -> Option<&'static str> {
    let found = PLACES.iter().find(|place| place.address == address);
    found.map(|place| place.pop)
}
