//! Coastlines, from the file that `bundled/make` writes and describes.

use meridian_config::Coordinates;

/// Natural Earth's land at 1:50m, simplified.
const PACKED: &[u8] = include_bytes!("bundled/coast.bin");

/// Points of all rings together, far above what the file holds.
const MAX_POINTS: usize = 100_000;

/// Closed rings of land; holes among them are lakes. Empty should the file be damaged.
pub(crate) fn rings() -> Vec<Vec<Coordinates>> {
    unpack(PACKED).unwrap_or_default()
}

fn unpack(packed: &[u8]) -> Option<Vec<Vec<Coordinates>>> {
    let mut input = Input(packed.strip_prefix(b"MGL1")?);
    let count = input.u16()?;
    let mut points = 0;
    let rings = (0..count).map(|_| {
        let len = input.u16()?;
        points += usize::from(len);
        if points > MAX_POINTS {
            return None;
        }
        let (mut longitude, mut latitude) = (0_i32, 0_i32);
        let ring = (0..len).map(|_| {
            longitude = longitude.checked_add(input.number()?)?;
            latitude = latitude.checked_add(input.number()?)?;
            Some(Coordinates {
                latitude: f64::from(latitude) / 100.0,
                longitude: f64::from(longitude) / 100.0,
            })
        });
        ring.collect()
    });
    rings.collect()
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.octet()?, self.octet()?]))
    }

    /// A zigzag LEB128 number of at most 21 bits.
    fn number(&mut self) -> Option<i32> {
        let mut number = 0_u32;
        for shift in [0, 7, 14] {
            let octet = self.octet()?;
            number |= u32::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                let half = i32::try_from(number >> 1).ok()?;
                return Some(if number & 1 == 0 { half } else { -half - 1 });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Even-odd rule.
    fn is_land(latitude: f64, longitude: f64) -> bool {
        let crosses = |a: &Coordinates, b: &Coordinates| {
            let between = (a.latitude > latitude) != (b.latitude > latitude);
            let at = (latitude - a.latitude) / (b.latitude - a.latitude);
            between && longitude < a.longitude + at * (b.longitude - a.longitude)
        };
        let crossings = rings()
            .iter()
            .map(|ring| {
                let next = ring.iter().cycle().skip(1);
                ring.iter().zip(next).filter(|(a, b)| crosses(a, b)).count()
            })
            .sum::<usize>();
        crossings % 2 == 1
    }

    #[test]
    fn land_is_where_it_is() {
        assert!(PACKED.len() < 100_000);
        assert!(rings().len() > 100);
        for (latitude, longitude, land) in [
            (48.0, 9.0, true),
            (40.0, -100.0, true),
            (-23.0, -50.0, true),
            (36.0, 138.0, true),
            (-25.0, 134.0, true),
            (0.0, -30.0, false),
            (30.0, -150.0, false),
            (42.0, 51.0, false),
            (-50.0, 100.0, false),
            (66.5, 187.0, true),
        ] {
            assert_eq!(is_land(latitude, longitude), land, "{latitude} {longitude}");
        }
    }

    #[test]
    fn damage_leaves_no_map_and_no_panic() {
        for cut in (0..PACKED.len()).step_by(97) {
            assert_eq!(unpack(&PACKED[..cut]), None, "{cut}");
        }
        assert_eq!(unpack(b"MGL1\x01\x00\x01\x00\xff\xff\xff\xff"), None);
        assert_eq!(unpack(b"nonsense"), None);
    }
}
