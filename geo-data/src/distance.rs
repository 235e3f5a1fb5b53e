//! Distances on the sphere.

use meridian_config::Coordinates;

/// Mean Earth radius (IUGG), kilometres.
pub const EARTH_RADIUS_KM: f64 = 6371.0088;

/// Length of one degree along a great circle, kilometres.
pub const KM_PER_DEGREE: f64 = EARTH_RADIUS_KM * std::f64::consts::PI / 180.0;

/// Great-circle distance in kilometres (haversine formula). Off by at most 0.6 % from the
/// ellipsoid; total: always finite for finite arguments.
pub fn haversine_km(a: Coordinates, b: Coordinates) -> f64 {
    let (lat_a, lat_b) = (a.latitude.to_radians(), b.latitude.to_radians());
    let half_lat = (lat_b - lat_a) / 2.0;
    let half_lon = (b.longitude - a.longitude).to_radians() / 2.0;
    let h = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
    // Rounding may carry `h` a hair past 1 for antipodes.
    2.0 * EARTH_RADIUS_KM * h.clamp(0.0, 1.0).sqrt().asin()
}

/// Indices and distances (km) of `places`, nearest first; equal distances keep their order.
pub fn nearest(from: Coordinates, places: &[Coordinates]) -> Vec<(usize, f64)> {
    let mut all: Vec<(usize, f64)> = places
        .iter()
        .enumerate()
        .map(|(index, place)| (index, haversine_km(from, *place)))
        .collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1));
    all
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
    fn known_distances() {
        let paris = at(48.8566, 2.3522);
        let london = at(51.5074, -0.1278);
        let new_york = at(40.7128, -74.0060);
        let tokyo = at(35.6762, 139.6503);
        let sydney = at(-33.8688, 151.2093);
        let table = [
            (paris, london, 343.6),
            (london, new_york, 5570.2),
            (new_york, tokyo, 10_848.8),
            (tokyo, sydney, 7822.7),
            (at(0.0, 179.5), at(0.0, -179.5), 111.2),
            (at(90.0, 0.0), at(-90.0, 0.0), 20_015.1),
            (at(0.0, 0.0), at(0.0, 180.0), 20_015.1),
            (paris, paris, 0.0),
        ];
        for (a, b, km) in table {
            let got = haversine_km(a, b);
            assert!((got - km).abs() <= 2.0 + km * 0.001, "{got} ≠ {km}");
        }
    }

    #[test]
    fn nearest_first() {
        let order = nearest(
            at(48.9, 2.4),
            &[at(40.7, -74.0), at(50.1, 8.7), at(35.7, 139.7)],
        );
        let order: Vec<usize> = order.into_iter().map(|(index, _)| index).collect();
        assert_eq!(order, [1, 0, 2]);
    }

    proptest! {
        #[test]
        fn symmetric_and_bounded(
            a in (-90.0..=90.0f64, -180.0..=180.0f64), b in (-90.0..=90.0f64, -180.0..=180.0f64),
        ) {
            let (a, b) = (at(a.0, a.1), at(b.0, b.1));
            let km = haversine_km(a, b);
            prop_assert!((0.0..=20_016.0).contains(&km));
            prop_assert!((km - haversine_km(b, a)).abs() < 1e-6);
        }
    }
}
