//! `meridian geo lookup`.

use meridian_config::{Config, Coordinates, Geo};
use meridian_geo_data::{ClientMap, distance::haversine_km};

use super::{Failure, args::Lookup};
use crate::render::{self, Near, Style, print, print_json};

/// PoPs listed at most.
const NEAREST: usize = 5;

/// Runs the command.
pub(crate) fn lookup(args: &Lookup) -> Result<(), Failure> {
    let config = match &args.config {
        Some(file) => Some(meridian_config::load(file)?),
        None => None,
    };
    let bundled = Geo {
        city: Vec::new(),
        asn: Vec::new(),
        networks: Vec::new(),
    };
    let clients = match &config {
        Some(config) => ClientMap::open(&config.geo).map_err(|mistakes| config.blame(mistakes))?,
        None => ClientMap::open(&bundled)?,
    };
    let description = clients.describe(args.address);
    // Steering measures from the cell's centre, so that is what is shown.
    let center = description.cell_data.as_ref().map(|cell| cell.center);
    let nearest = match (&config, center) {
        (Some(config), Some(center)) => nearest(config, center),
        _ => Vec::new(),
    };
    let pinned_pop = match (&config, description.pinned) {
        (Some(config), Some(pop)) => Some(config.pop(pop).name.clone()),
        _ => None,
    };
    let found = render::Lookup {
        description,
        pinned_pop,
        nearest,
    };
    if args.output.json {
        print_json(&found);
    } else {
        print(&render::lookup(&found, Style::stdout()));
    }
    Ok(())
}

fn nearest(config: &Config, center: Coordinates) -> Vec<Near> {
    let near = |pop: &meridian_config::Pop| Near {
        pop: pop.name.clone(),
        distance_km: haversine_km(center, pop.location),
    };
    let mut all: Vec<Near> = config.pops.iter().map(near).collect();
    all.sort_by(|a, b| a.distance_km.total_cmp(&b.distance_km));
    all.truncate(NEAREST);
    all
}
