//! Where a place stands on the map: the Equal Earth projection (Šavrič, Patterson, Jenny, 2018), which
//! shows areas in their true proportions, around a meridian that cuts no land but Antarctica's.

use meridian_config::Coordinates;

/// Middle of the map, degrees; its edge runs through the Bering Strait.
pub(super) const CENTRAL: f64 = 11.0;

/// Coefficients of the polynomial.
const A: [f64; 4] = [1.340_264, -0.081_106, 0.000_893, 0.003_796];

/// Half of the width of the whole map, in the units of the projection.
pub(super) const HALF_WIDTH: f64 = 2.706_63;

/// Latitudes shown.
pub(super) const NORTH: f64 = 81.0;
/// Latitudes shown.
pub(super) const SOUTH: f64 = -57.0;

/// A map so many pixels wide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Projection {
    scale: f64,
    top: f64,
    left: f64,
    above: f64,
}

impl Projection {
    /// Of this width, its upper left corner at `left`, `above`.
    pub(super) fn new(width: f64, left: f64, above: f64) -> Self {
        Self {
            scale: width / (2.0 * HALF_WIDTH),
            top: northing(NORTH),
            left,
            above,
        }
    }

    /// Height in pixels.
    pub(super) fn height(&self) -> f64 {
        (self.top - northing(SOUTH)) * self.scale
    }

    /// Pixels from left and top.
    pub(super) fn place(&self, at: Coordinates) -> (f64, f64) {
        self.place_at(at.latitude, wrap(at.longitude - CENTRAL))
    }

    /// The same, `beyond` degrees east of the middle, without wrapping around.
    pub(super) fn place_at(&self, latitude: f64, beyond: f64) -> (f64, f64) {
        let theta = theta(latitude);
        let (t2, t6) = (theta * theta, theta.powi(6));
        let [a1, a2, a3, a4] = A;
        let slope = 9.0 * a4 * t6 * t2 + 7.0 * a3 * t6 + 3.0 * a2 * t2 + a1;
        let x = 2.0 * 3_f64.sqrt() * beyond.to_radians() * theta.cos() / (3.0 * slope);
        (
            self.left + (x + HALF_WIDTH) * self.scale,
            self.above + (self.top - northing(latitude)) * self.scale,
        )
    }
}

fn theta(latitude: f64) -> f64 {
    (3_f64.sqrt() / 2.0 * latitude.to_radians().sin()).asin()
}

fn northing(latitude: f64) -> f64 {
    let theta = theta(latitude);
    let (t2, t6) = (theta * theta, theta.powi(6));
    let [a1, a2, a3, a4] = A;
    theta * (a4 * t6 * t2 + a3 * t6 + a2 * t2 + a1)
}

/// Degrees between -180 and 180.
pub(super) fn wrap(degrees: f64) -> f64 {
    (degrees + 180.0).rem_euclid(360.0) - 180.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_points() {
        let map = Projection::new(2.0 * HALF_WIDTH, -HALF_WIDTH, 0.0);
        let near = |(x, y): (f64, f64), (wx, wy): (f64, f64)| {
            assert!((x - wx).abs() < 1e-3 && (y - wy).abs() < 1e-3, "{x} {y}");
        };
        let top = northing(NORTH);
        near(map.place_at(0.0, 0.0), (0.0, top));
        near(map.place_at(0.0, 180.0), (HALF_WIDTH, top));
        near(map.place_at(90.0, 0.0), (0.0, top - 1.317_36));
        assert!((wrap(191.0) + 169.0).abs() < 1e-9 && (wrap(-190.0) - 170.0).abs() < 1e-9);
    }

    /// What the projection is for: equal areas stay equal.
    #[test]
    fn areas_keep_their_proportions() {
        let map = Projection::new(1600.0, 0.0, 0.0);
        let area = |south: f64, north: f64| {
            let steps = 200;
            let step = (north - south) / f64::from(steps);
            (0..steps)
                .map(|at| {
                    let latitude = south + (f64::from(at) + 0.5) * step;
                    let (west, y) = map.place_at(latitude - step / 2.0, 20.0);
                    let (east, upper) = map.place_at(latitude + step / 2.0, 21.0);
                    let width = map.place_at(latitude, 21.0).0 - map.place_at(latitude, 20.0).0;
                    let _ = (west, east);
                    width * (y - upper)
                })
                .sum::<f64>()
        };
        let true_area =
            |south: f64, north: f64| north.to_radians().sin() - south.to_radians().sin();
        let ratio = area(0.0, 10.0) / true_area(0.0, 10.0);
        for (south, north) in [(20.0, 30.0), (50.0, 60.0), (70.0, 80.0), (-50.0, -40.0)] {
            let here = area(south, north) / true_area(south, north);
            assert!((here / ratio - 1.0).abs() < 1e-3, "{south} {here} {ratio}");
        }
    }
}
