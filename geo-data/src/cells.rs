//! Locations become cells: squares of about 25 km within one country. Clients of one cell are
//! steered alike, so a service ranks its PoPs once per cell instead of once per city.

use std::collections::HashMap;

use meridian_config::Coordinates;

use crate::{Cell, CellId, distance::KM_PER_DEGREE};

/// Side of a cell, kilometres. No client is farther than half its diagonal (17.7 km) from the
/// centre by which it is steered.
pub(crate) const CELL_KM: f64 = 25.0;

/// Degrees of latitude of one row of cells.
const ROW_DEGREES: f64 = CELL_KM / KM_PER_DEGREE;

/// Country and continent of a location.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Area {
    pub(crate) country: Option<[u8; 2]>,
    pub(crate) continent: Option<[u8; 2]>,
}

/// What makes two locations the same cell. Country and continent are part of it, so that a fence
/// never cuts through a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Square(Area, u32, u32),
    /// Country centroids and operator networks: exactly here, in bits of latitude and longitude.
    Point(Area, u64, u64),
}

/// Gives every distinct square and point an index, in order of first use.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    all: Vec<Cell>,
    ids: HashMap<Key, CellId>,
}

impl Cells {
    /// The cell of the square around `place`.
    pub(crate) fn square(&mut self, place: Coordinates, area: Area) -> CellId {
        let (row, column, center) = square_of(place);
        self.intern(Key::Square(area, row, column), center, area)
    }

    /// A cell with exactly `place` as its centre.
    pub(crate) fn point(&mut self, place: Coordinates, area: Area) -> CellId {
        let key = Key::Point(area, place.latitude.to_bits(), place.longitude.to_bits());
        self.intern(key, place, area)
    }

    /// All cells; [`CellId`] is the index.
    pub(crate) fn finish(self) -> Vec<Cell> {
        self.all
    }

    fn intern(&mut self, key: Key, center: Coordinates, area: Area) -> CellId {
        let all = &mut self.all;
        *self.ids.entry(key).or_insert_with(|| {
            // A grid of 25 km has under a million squares on Earth, times a few countries each.
            let id = CellId(u32::try_from(all.len()).unwrap_or(u32::MAX));
            all.push(Cell {
                center,
                country: area.country,
                continent: area.continent,
            });
            id
        })
    }
}

/// Row, column and centre of the square with `place`. Rows are `ROW_DEGREES` high; a row has as
/// many columns as squares of that size fit around its parallel nearest to the equator.
// The counts are small and positive: at most 801 rows of at most 1602 columns.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn square_of(place: Coordinates) -> (u32, u32, Coordinates) {
    let rows = (180.0 / ROW_DEGREES).ceil();
    let height = 180.0 / rows;
    let row = ((place.latitude + 90.0) / height)
        .floor()
        .clamp(0.0, rows - 1.0);
    let (south, north) = (row * height - 90.0, (row + 1.0) * height - 90.0);
    let widest = if south <= 0.0 && north >= 0.0 {
        0.0
    } else {
        south.abs().min(north.abs())
    };
    let columns = (360.0 * widest.to_radians().cos() / ROW_DEGREES)
        .ceil()
        .max(1.0);
    let width = 360.0 / columns;
    let column = ((place.longitude + 180.0) / width)
        .floor()
        .clamp(0.0, columns - 1.0);
    let center = Coordinates {
        latitude: f64::midpoint(south, north),
        longitude: (column + 0.5) * width - 180.0,
    };
    (row as u32, column as u32, center)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::distance::haversine_km;

    fn at(latitude: f64, longitude: f64) -> Coordinates {
        Coordinates {
            latitude,
            longitude,
        }
    }

    #[test]
    fn neighbours_share_a_cell_but_not_across_a_border() {
        let mut cells = Cells::default();
        let area = |code: &[u8; 2]| Area {
            country: Some(*code),
            continent: Some(*b"EU"),
        };
        let basel = cells.square(at(47.56, 7.59), area(b"CH"));
        assert_eq!(cells.square(at(47.561, 7.591), area(b"CH")), basel);
        assert_ne!(cells.square(at(47.561, 7.591), area(b"FR")), basel);
        assert_ne!(cells.square(at(48.2, 7.59), area(b"CH")), basel);
        assert_eq!(cells.finish().len(), 3);
    }

    proptest! {
        #[test]
        fn the_centre_is_near(lat in -90.0..=90.0f64, lon in -180.0..=180.0f64) {
            let place = at(lat, lon);
            let (_, _, center) = square_of(place);
            let km = haversine_km(place, center);
            prop_assert!(km <= CELL_KM * 0.7072, "{km} km");
        }

        #[test]
        fn the_centre_is_in_its_own_cell(lat in -90.0..=90.0f64, lon in -180.0..=180.0f64) {
            let (row, column, center) = square_of(at(lat, lon));
            let (again_row, again_column, _) = square_of(center);
            prop_assert_eq!((row, column), (again_row, again_column));
        }
    }
}
