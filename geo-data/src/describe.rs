//! Everything known of one address, for people: `meridian geo lookup` and `explain`.

use std::net::IpAddr;

use ipnet::IpNet;
use meridian_config::Coordinates;

use crate::{
    ClientMap, Description, Source,
    database::{Database, Gone},
    fold::fold,
    record::Record,
};

impl ClientMap {
    /// Everything known of `address`. Reads the databases again, which are not kept in memory:
    /// tens of milliseconds for the largest, not for the query path.
    pub fn describe(&self, address: IpAddr) -> Description {
        let mut details_gone = Vec::new();
        let described = self.described(address, |database, judged| {
            database.record(judged).unwrap_or_else(|Gone| {
                details_gone.push(database.info.file.clone());
                None
            })
        });
        let untold = described.location.is_none();
        let source = match (described.source, details_gone.first()) {
            (Source::Database(_), Some(file)) if untold => {
                Source::Database(file.display().to_string())
            }
            (source, _) => source,
        };
        Description {
            source,
            details_gone,
            ..described
        }
    }

    /// The same without what only the files say (city, AS, the place before it became a cell): reads
    /// nothing, so it may be asked for by whoever sends a packet. Of several databases all are named.
    pub fn outline(&self, address: IpAddr) -> Description {
        self.described(address, |_, _| None)
    }

    fn described(
        &self,
        address: IpAddr,
        mut record: impl FnMut(&Database, IpAddr) -> Option<Record>,
    ) -> Description {
        let located = self.locate(address);
        let (how, judged) = fold(address);
        let network = self.networks.longest(judged);
        let mut read = |database: &Database| record(database, judged);
        let found = self.city.iter().find_map(|database| {
            let record = read(database)?;
            let place = self.place_of(&record)?;
            Some((database, record, place))
        });
        let system = self
            .asn
            .iter()
            .find_map(|database| read(database).filter(|record| record.asn.is_some()));
        let by_network = network.and_then(|network| network.location);
        let source = match (network, &found) {
            (Some(network), _) => Source::Network(network.prefix),
            (None, Some((database, ..))) => {
                Source::Database(database.info.file.display().to_string())
            }
            // The tables still know where it is; only what the file says in full is gone.
            (None, None) => match located.cell {
                Some(_) => Source::Database(self.city_files()),
                None => Source::Nothing,
            },
        };
        let by_database = found.as_ref().map(|(_, _, place)| *place);
        let record = found.map(|(_, record, _)| record).unwrap_or_default();
        let system = system.unwrap_or_default();
        Description {
            address,
            fold: how,
            judged,
            source,
            prefix: prefix_of(address, located.prefix_len),
            cell: located.cell,
            cell_data: located
                .cell
                .and_then(|id| self.cells().get(id.0 as usize).cloned()),
            location: by_network.or(by_database),
            // The city of a network that the operator puts elsewhere would mislead.
            city: record.city.filter(|_| by_network.is_none()),
            asn: system.asn.or(record.asn),
            as_name: system.as_name.or(record.as_name),
            pinned: located.pinned,
            details_gone: Vec::new(),
        }
    }

    /// The files of all databases that know places.
    fn city_files(&self) -> String {
        let files = self.city.iter();
        let files = files.map(|database| database.info.file.display().to_string());
        files.collect::<Vec<_>>().join(", ")
    }

    /// The place a record stands for, before it became a cell.
    fn place_of(&self, record: &Record) -> Option<Coordinates> {
        record
            .place
            .or_else(|| self.countries.center(self.countries.complete(record.area)))
    }
}

/// The network of `len` bits with `address`.
fn prefix_of(address: IpAddr, len: u8) -> IpNet {
    IpNet::new(address, len)
        .unwrap_or_else(|_| IpNet::from(address))
        .trunc()
}
