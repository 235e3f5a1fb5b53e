//! Colours for PoPs: few enough to tell apart, given out so that neighbours differ.

use meridian_config::Coordinates;
use meridian_geo_data::distance::haversine_km;

/// A colour, red, green and blue.
pub(super) type Color = [u8; 3];

/// Colours of about equal weight on white that printers keep apart.
const COLORS: [Color; 14] = [
    [0x1f, 0x77, 0xb4],
    [0xe6, 0x6f, 0x00],
    [0x2c, 0x91, 0x3a],
    [0xc8, 0x2a, 0x36],
    [0x7d, 0x4f, 0xb0],
    [0x8a, 0x5a, 0x44],
    [0xd8, 0x5f, 0xae],
    [0x00, 0x9f, 0xa8],
    [0xa8, 0x98, 0x00],
    [0x3b, 0x3f, 0x9e],
    [0x78, 0xb8, 0x2a],
    [0x8c, 0x1d, 0x5f],
    [0x4f, 0xa8, 0xe8],
    [0xf0, 0xa0, 0x70],
];

/// Neighbours of which a PoP must differ, the nearest most.
const NEIGHBOURS: usize = 12;

/// A colour for each place. Those that come first choose first.
pub(super) fn colors(places: &[Coordinates]) -> Vec<Color> {
    let mut given: Vec<Option<usize>> = vec![None; places.len()];
    for at in 0..places.len() {
        let best = best(places, &given, at);
        if let Some(slot) = given.get_mut(at) {
            *slot = Some(best);
        }
    }
    let color = |index: &Option<usize>| COLORS.get((*index)?).copied();
    given
        .iter()
        .map(|index| color(index).unwrap_or(COLORS[0]))
        .collect()
}

/// The colour least like those of the neighbours; among equals the first.
// Small numbers.
#[allow(clippy::cast_precision_loss)]
fn best(places: &[Coordinates], given: &[Option<usize>], at: usize) -> usize {
    let here = places.get(at).copied();
    let mut near: Vec<(f64, usize)> = places
        .iter()
        .zip(given)
        .filter_map(|(place, color)| Some((haversine_km(here?, *place), (*color)?)))
        .collect();
    near.sort_by(|a, b| a.0.total_cmp(&b.0));
    near.truncate(NEIGHBOURS);
    let cost = |color: usize| -> f64 {
        let like = |(rank, (_, other)): (usize, &(f64, usize))| {
            likeness(COLORS[color], COLORS[*other]) / (rank as f64 + 1.0)
        };
        near.iter().enumerate().map(like).sum()
    };
    let all = (0..COLORS.len()).min_by(|a, b| cost(*a).total_cmp(&cost(*b)));
    all.unwrap_or(0)
}

/// 1 for the same colour, less the easier two are told apart.
fn likeness(a: Color, b: Color) -> f64 {
    let (a, b) = (oklab(a), oklab(b));
    let apart: f64 = a
        .iter()
        .zip(b)
        .map(|(x, y)| (x - y) * (x - y))
        .sum::<f64>()
        .sqrt();
    (-12.0 * apart).exp()
}

/// Ottosson's OKLab, in which distances are about what eyes see.
fn oklab(color: Color) -> [f64; 3] {
    let linear = |octet: u8| {
        let value = f64::from(octet) / 255.0;
        if value <= 0.040_45 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    };
    let [r, g, b] = color.map(linear);
    let l = (0.412_221_47 * r + 0.536_332_54 * g + 0.051_445_99 * b).cbrt();
    let m = (0.211_903_5 * r + 0.680_699_55 * g + 0.107_396_96 * b).cbrt();
    let s = (0.088_302_46 * r + 0.281_718_84 * g + 0.629_978_7 * b).cbrt();
    [
        0.210_454_26 * l + 0.793_617_78 * m - 0.004_072_05 * s,
        1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
        0.025_904_04 * l + 0.782_771_77 * m - 0.808_675_77 * s,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_differ() {
        let places: Vec<Coordinates> = (0..60)
            .map(|n| Coordinates {
                latitude: f64::from(n % 6) * 8.0,
                longitude: f64::from(n / 6) * 8.0,
            })
            .collect();
        let colors = colors(&places);
        for (a, one) in places.iter().enumerate() {
            for (b, two) in places.iter().enumerate().filter(|(b, _)| *b != a) {
                let near = haversine_km(*one, *two) < 1_300.0;
                assert!(!near || colors[a] != colors[b], "{a} {b}");
            }
        }
    }

    #[test]
    fn all_colours_can_be_told_apart() {
        for (at, one) in COLORS.iter().enumerate() {
            for two in &COLORS[at + 1..] {
                assert!(
                    likeness(*one, *two) < 0.4,
                    "{one:x?} {two:x?} {}",
                    likeness(*one, *two)
                );
            }
        }
    }
}
