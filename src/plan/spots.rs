//! Cells of clients on the map.

use std::{collections::BTreeMap, fmt::Write as _};

use meridian_geo_data::ClientMap;

use super::{
    map::Dot,
    projection::{NORTH, Projection, SOUTH},
    report::Picture,
    svg::{hex, tenth, tenths},
    world::Site,
};

/// Diameters of cells by how many clients they have, pixels.
const SIZES: [f64; 8] = [2.0, 3.2, 5.0, 8.0, 12.0, 18.0, 26.0, 36.0];

/// Cells as round dots: one path for each PoP and size, cells of one spot drawn once.
pub(super) fn draw(
    out: &mut String,
    picture: &Picture,
    dots: &[Dot<'_>],
    clients: &ClientMap,
    map: &Projection,
) {
    let most = picture
        .spots
        .iter()
        .map(|spot| spot.amount)
        .fold(0.0, f64::max);
    // Many small cells or few large ones: either way they may cover about the same part of the map.
    let all: f64 = picture.spots.iter().map(|spot| spot.amount).sum();
    let scale = if all > 0.0 {
        (30_000.0 / all).sqrt()
    } else {
        0.0
    };
    let scale = scale.min(SIZES[7] / most.max(f64::MIN_POSITIVE).sqrt());
    // Few cells, as from country data, may each be larger.
    let least = if picture.spots.len() < 2_000 {
        SIZES[2]
    } else {
        SIZES[0]
    };
    let mut paths: BTreeMap<(usize, Site), Vec<(i64, i64)>> = BTreeMap::new();
    for spot in &picture.spots {
        let Some(cell) = clients.cells().get(spot.cell.0 as usize) else {
            continue;
        };
        let wanted = spot.amount.sqrt() * scale;
        let wanted = wanted.max(least);
        let size = SIZES.iter().rposition(|size| *size <= wanted).unwrap_or(0);
        if !(SOUTH..=NORTH).contains(&cell.center.latitude) {
            continue;
        }
        let (x, y) = map.place(cell.center);
        let half = |pixels: f64| tenths(pixels) / 5 * 5;
        // The largest first, so that none hides behind another.
        let key = (SIZES.len() - size, spot.site);
        paths.entry(key).or_default().push((half(y), half(x)));
    }
    let color = |site: Site| {
        let name = picture.sites.name(site);
        let dot = dots.iter().find(|dot| dot.row.pop == name);
        dot.map_or([0x66, 0x66, 0x66], |dot| dot.color)
    };
    out.push_str("<g fill=\"none\" stroke-linecap=\"round\" stroke-opacity=\"0.62\">\n");
    for ((size, site), mut spots) in paths {
        spots.sort_unstable();
        spots.dedup();
        let mut path = String::new();
        for (y, x) in spots {
            let _ = write!(path, "M{} {}h0", tenth(x), tenth(y));
        }
        let width = SIZES.get(SIZES.len() - size).copied().unwrap_or(SIZES[0]);
        let color = hex(color(site));
        let _ = writeln!(
            out,
            "<path d=\"{path}\" stroke=\"{color}\" stroke-width=\"{width}\"/>"
        );
    }
    out.push_str("</g>\n");
}
