//! Countries: their continents, and where their people live.
//!
//! The table is written by `bundled/make`; a country-level record stands for the
//! population-weighted centroid of its country, a continent-level record for that of its
//! continent.

use std::collections::HashMap;

use meridian_config::Coordinates;

/// `code TAB continent TAB latitude TAB longitude TAB population`, one line a country.
const TABLE: &str = include_str!("../bundled/countries.tsv");

/// One country.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Country {
    pub(crate) code: [u8; 2],
    pub(crate) continent: [u8; 2],
    pub(crate) centroid: Coordinates,
    population: f64,
}

/// All countries by code, all continents by code.
#[derive(Debug)]
pub(crate) struct Countries {
    countries: HashMap<[u8; 2], Country>,
    continents: HashMap<[u8; 2], Coordinates>,
}

impl Countries {
    /// Reads the table that is part of the program.
    pub(crate) fn bundled() -> Self {
        let countries: HashMap<_, _> = TABLE
            .lines()
            .filter_map(read_line)
            .map(|country| (country.code, country))
            .collect();
        let mut sums: HashMap<[u8; 2], [f64; 3]> = HashMap::new();
        for country in countries.values() {
            let sum = sums.entry(country.continent).or_default();
            for (total, part) in sum.iter_mut().zip(on_sphere(country.centroid)) {
                *total += part * country.population.max(1.0);
            }
        }
        let continents = sums
            .into_iter()
            .map(|(code, sum)| (code, off_sphere(sum)))
            .collect();
        Self {
            countries,
            continents,
        }
    }

    /// The country of an ISO 3166-1 alpha-2 code in upper case.
    pub(crate) fn get(&self, code: [u8; 2]) -> Option<&Country> {
        self.countries.get(&code)
    }

    /// Where the people of a continent live, on average.
    pub(crate) fn continent(&self, code: [u8; 2]) -> Option<Coordinates> {
        self.continents.get(&code).copied()
    }
}

fn read_line(line: &str) -> Option<Country> {
    let mut fields = line.split('\t');
    let mut code = || <[u8; 2]>::try_from(fields.next()?.as_bytes()).ok();
    let (code, continent) = (code()?, code()?);
    let mut number = || fields.next()?.parse::<f64>().ok();
    let centroid = Coordinates {
        latitude: number()?,
        longitude: number()?,
    };
    Some(Country {
        code,
        continent,
        centroid,
        population: number()?,
    })
}

/// A point of the unit sphere.
fn on_sphere(place: Coordinates) -> [f64; 3] {
    let (lat, lon) = (place.latitude.to_radians(), place.longitude.to_radians());
    [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()]
}

/// The place under a vector from the centre of the Earth.
fn off_sphere([x, y, z]: [f64; 3]) -> Coordinates {
    Coordinates {
        latitude: z.atan2(x.hypot(y)).to_degrees(),
        longitude: y.atan2(x).to_degrees(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::haversine_km;

    #[test]
    fn the_whole_table_is_read() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        let countries = Countries::bundled();
        assert_eq!(countries.countries.len(), lines);
        assert!(lines >= 245, "{lines}");
        for country in countries.countries.values() {
            assert!(country.code.iter().all(u8::is_ascii_uppercase));
            assert!(country.centroid.latitude.abs() <= 90.0);
            assert!(country.centroid.longitude.abs() <= 180.0);
        }
        let mut continents: Vec<_> = countries.continents.keys().copied().collect();
        continents.sort_unstable();
        assert_eq!(
            continents,
            [*b"AF", *b"AN", *b"AS", *b"EU", *b"NA", *b"OC", *b"SA"]
        );
    }

    #[test]
    fn people_live_where_they_should() {
        let countries = Countries::bundled();
        let table = [
            (b"DE", b"EU", 50.8, 9.3),
            (b"FR", b"EU", 47.2, 2.5),
            (b"US", b"NA", 37.0, -94.0),
            (b"JP", b"AS", 35.6, 137.7),
            (b"AU", b"OC", -33.0, 146.5),
            (b"BR", b"SA", -18.0, -46.5),
            (b"ZA", b"AF", -28.5, 27.0),
            (b"NZ", b"OC", -39.0, 174.5),
            // Where its people live, not where its land lies.
            (b"CA", b"NA", 47.0, -85.0),
            (b"EG", b"AF", 30.0, 31.2),
        ];
        for (code, continent, latitude, longitude) in table {
            let country = countries.get(*code).unwrap();
            assert_eq!(country.continent, *continent);
            let km = haversine_km(
                country.centroid,
                Coordinates {
                    latitude,
                    longitude,
                },
            );
            assert!(km < 350.0, "{}: {km} km off", String::from_utf8_lossy(code));
        }
    }
}
