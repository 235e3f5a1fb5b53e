//! Where clients are: how much each cell and each service asks, as far as it is known.

use std::cmp::Ordering;

use ipnet::IpNet;
use meridian_config::Family;
use meridian_geo_data::{CellId, ClientMap};

use crate::types::ServiceId;

/// Demand by cell, exceptional prefix and service. The unit does not matter, only the ratios.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    cells: Box<[f32]>,
    prefixes: Box<[(IpNet, f32)]>,
    services: Box<[f32]>,
    assumed: bool,
}

impl Demand {
    /// What is assumed while nobody has been counted: every IPv4 /24 asks alike, as `meridian plan`
    /// has it, and a prefix that is judged by itself as one of them. Looks at all ranges of the map.
    // Numbers of /24s as f32 are exact enough.
    #[allow(clippy::cast_precision_loss)]
    pub fn assumed(clients: &ClientMap) -> Self {
        // A cell with IPv6 alone asks a little, too.
        let mut cells = vec![1.0_f32; clients.cells().len()];
        clients.each_range(Family::V4, |range| {
            let cell = clients.place(range.place).0;
            if let Some(sum) = cell.and_then(|cell| cells.get_mut(cell.0 as usize)) {
                *sum += range.blocks as f32;
            }
        });
        Self {
            cells: cells.into(),
            assumed: true,
            ..Self::default()
        }
    }

    /// Whether nobody was counted: it is what addresses let expect.
    pub fn is_assumed(&self) -> bool {
        self.assumed
    }

    /// The same in another unit.
    #[must_use]
    pub fn scaled(&self, by: f32) -> Self {
        let scaled = |one: &f32| one * by;
        Self {
            cells: self.cells.iter().map(scaled).collect(),
            prefixes: self
                .prefixes
                .iter()
                .map(|(p, one)| (*p, one * by))
                .collect(),
            services: self.services.clone(),
            assumed: self.assumed,
        }
    }

    /// Demand by [`CellId`], by prefix (in any order, each once; not counted in its cell), and by
    /// [`ServiceId`]. An empty list: all alike. What is negative or no number counts as nothing.
    pub fn new(cells: Vec<f32>, mut prefixes: Vec<(IpNet, f32)>, services: Vec<f32>) -> Self {
        let sane = |one: f32| if one.is_finite() { one.max(0.0) } else { 0.0 };
        prefixes.sort_by_key(|(prefix, _)| *prefix);
        Self {
            cells: cells.into_iter().map(sane).collect(),
            prefixes: prefixes
                .into_iter()
                .map(|(p, one)| (p, sane(one)))
                .collect(),
            services: services.into_iter().map(sane).collect(),
            assumed: false,
        }
    }

    /// Of a cell.
    pub fn of_cell(&self, cell: CellId) -> f32 {
        if self.cells.is_empty() {
            return 1.0;
        }
        self.cells.get(cell.0 as usize).copied().unwrap_or(0.0)
    }

    /// Of a prefix that is judged by itself.
    pub fn of_prefix(&self, prefix: IpNet) -> f32 {
        if self.cells.is_empty() || self.assumed {
            return 1.0;
        }
        let order = |one: &(IpNet, f32)| -> Ordering { one.0.cmp(&prefix) };
        let found = self.prefixes.binary_search_by(order).ok();
        found
            .and_then(|at| self.prefixes.get(at))
            .map_or(0.0, |(_, one)| *one)
    }

    /// Of a service.
    pub fn of_service(&self, service: ServiceId) -> f32 {
        if self.services.is_empty() {
            return 1.0;
        }
        self.services.get(service.index()).copied().unwrap_or(0.0)
    }

    /// By cell; empty where nothing is known.
    pub fn cells(&self) -> &[f32] {
        &self.cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_all_alike() {
        let nothing = Demand::default();
        let net: IpNet = "192.0.2.0/24".parse().unwrap();
        assert_eq!(nothing.of_cell(CellId(7)), 1.0);
        assert_eq!(nothing.of_prefix(net), 1.0);
        assert_eq!(nothing.of_service(ServiceId(1)), 1.0);
    }

    #[test]
    fn what_is_known_is_found() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let demand = Demand::new(
            vec![3.0, f32::NAN, -1.0],
            vec![
                (net("203.0.113.0/24"), 5.0),
                (net("192.0.2.0/24"), 4.0),
                (net("2001:db8::/48"), 6.0),
            ],
            vec![2.0],
        );
        let cells = [0, 1, 2, 3].map(|cell| demand.of_cell(CellId(cell)));
        assert_eq!(cells, [3.0, 0.0, 0.0, 0.0]);
        let prefixes = [
            "192.0.2.0/24",
            "203.0.113.0/24",
            "2001:db8::/48",
            "198.51.100.0/24",
        ];
        let prefixes = prefixes.map(|prefix| demand.of_prefix(net(prefix)));
        assert_eq!(prefixes, [4.0, 5.0, 6.0, 0.0]);
        assert_eq!(demand.of_service(ServiceId(0)), 2.0);
        assert_eq!(demand.of_service(ServiceId(1)), 0.0);
    }
}
