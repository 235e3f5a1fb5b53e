//! Which country a place lies in, by its nearest town: for operator networks, which name a place
//! only, so that fences hold for them too.

use meridian_config::Coordinates;

use crate::{
    bundled::Input,
    distance::{KM_PER_DEGREE, haversine_km},
};

/// Written by `bundled/make`, which describes it.
const PACKED: &[u8] = include_bytes!("../bundled/places.bin");

/// Unpacked, the file may not be larger than this.
const MAX_PLAIN_OCTETS: usize = 4 << 20;

/// Farther from any town lies open sea, or a desert that no client calls from.
const MAX_KM: f64 = 300.0;

/// Towns, from south to north.
#[derive(Debug, Default)]
pub(crate) struct Places(Vec<Town>);

#[derive(Clone, Copy, Debug)]
struct Town {
    at: Coordinates,
    country: [u8; 2],
}

impl Places {
    /// Unpacks the file; no town at all when it is damaged.
    pub(crate) fn read() -> Self {
        Self(unpack(PACKED).unwrap_or_default())
    }

    /// The country of the nearest town.
    pub(crate) fn country(&self, at: Coordinates) -> Option<[u8; 2]> {
        let north = self
            .0
            .partition_point(|town| town.at.latitude < at.latitude);
        let mut best: (f64, Option<[u8; 2]>) = (MAX_KM, None);
        // To both sides, until the difference of latitude alone is too far.
        let (south_of, north_of) = self.0.split_at(north);
        visit(south_of.iter().rev(), at, &mut best);
        visit(north_of.iter(), at, &mut best);
        best.1
    }
}

fn visit<'a>(
    towns: impl Iterator<Item = &'a Town>,
    at: Coordinates,
    best: &mut (f64, Option<[u8; 2]>),
) {
    for town in towns {
        if (town.at.latitude - at.latitude).abs() * KM_PER_DEGREE >= best.0 {
            return;
        }
        let km = haversine_km(town.at, at);
        if km < best.0 {
            *best = (km, Some(town.country));
        }
    }
}

fn unpack(packed: &[u8]) -> Option<Vec<Town>> {
    let plain =
        miniz_oxide::inflate::decompress_to_vec_with_limit(packed, MAX_PLAIN_OCTETS).ok()?;
    let mut input = Input(&plain);
    if input.take(4)? != b"MGP1" {
        return None;
    }
    let codes = input.codes()?;
    let count = usize::try_from(u32::from_le_bytes(input.array()?)).ok()?;
    let mut latitudes = Input(input.take(count.checked_mul(2)?)?);
    let mut longitudes = Input(input.take(count.checked_mul(2)?)?);
    let countries = input.take(count)?;
    let degrees = |hundredths: i32| f64::from(hundredths) / 100.0;
    let mut latitude = -9000_i32;
    countries
        .iter()
        .map(|index| {
            latitude += i32::from(i16::from_le_bytes(latitudes.array()?));
            let longitude = i16::from_le_bytes(longitudes.array()?).into();
            let at = Coordinates {
                latitude: degrees(latitude),
                longitude: degrees(longitude),
            };
            Some(Town {
                at,
                country: *codes.get(usize::from(*index))?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(latitude: f64, longitude: f64) -> Coordinates {
        Coordinates {
            latitude,
            longitude,
        }
    }

    #[test]
    fn countries_of_places() {
        let places = Places::read();
        assert!(places.0.len() > 50_000);
        let table = [
            (52.52, 13.40, Some(b"DE")),
            (48.85, 2.35, Some(b"FR")),
            (35.68, 139.69, Some(b"JP")),
            (40.71, -74.01, Some(b"US")),
            (-33.87, 151.21, Some(b"AU")),
            (-23.55, -46.63, Some(b"BR")),
            (64.15, -21.94, Some(b"IS")),
            (1.35, 103.82, Some(b"SG")),
            (-17.0, 179.5, Some(b"FJ")),
            (0.0, -30.0, None),
            (90.0, 0.0, None),
            (-90.0, 0.0, None),
        ];
        for (latitude, longitude, country) in table {
            assert_eq!(
                places.country(at(latitude, longitude)),
                country.copied(),
                "{latitude} {longitude}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_nearest_of_all(latitude in -90.0..=90.0f64, longitude in -180.0..=180.0f64) {
            let places = Places::read();
            let here = at(latitude, longitude);
            let by_distance = |a: &&Town, b: &&Town| {
                haversine_km(a.at, here).total_cmp(&haversine_km(b.at, here))
            };
            let nearest = places.0.iter().min_by(by_distance).unwrap();
            let expect = (haversine_km(nearest.at, here) < MAX_KM).then_some(nearest.country);
            prop_assert_eq!(places.country(here), expect);
        }
    }
}
