//! From a checked configuration to what answers are made of: zones, steering and identity, all of
//! it or every mistake.

use std::{path::PathBuf, sync::Arc};

use meridian_config::{self as config, Config, Diagnostics};
use meridian_geo_data::ClientMap;

use crate::{
    snapshot::Identity,
    steer::Steering,
    types::{ServiceId, rtype},
    zone::{
        AddError, BuildError, PlaceError, Zone, ZoneBuilder, ZoneSet,
        master::{self, MasterFile},
    },
};

/// The parts of a [`crate::snapshot::Snapshot`] that a configuration decides.
#[derive(Clone)]
pub struct Built {
    /// All zones.
    pub zones: Arc<ZoneSet>,
    /// All services.
    pub steering: Arc<Steering>,
    /// NSID and CHAOS.
    pub identity: Arc<Identity>,
    /// Zone files with everything they include: a change of one is a reason to reload.
    pub files: Vec<PathBuf>,
}

/// Reads every zone file, places the services and prepares steering.
///
/// # Errors
/// Every mistake in any zone file, and every service that cannot stand where it should.
pub fn build(config: &Config, clients: Arc<ClientMap>) -> Result<Built, Diagnostics> {
    let mut mistakes = Diagnostics::default();
    let mut zones = Vec::with_capacity(config.zones.len());
    let mut files = Vec::new();
    let mut first = 0_u32;
    for zone in &config.zones {
        match read_zone(zone, first) {
            Ok((zone, read)) => {
                zones.push(Arc::new(zone));
                files.extend(read);
            }
            Err(found) => mistakes.extend(found),
        }
        // Services are numbered over all zones in configuration order, as steering numbers them.
        first = first.saturating_add(u32::try_from(zone.services.len()).unwrap_or(u32::MAX));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(Built {
        zones: Arc::new(ZoneSet::new(zones)),
        steering: Arc::new(Steering::new(config, clients)),
        identity: Arc::new(Identity::from(config)),
        files,
    })
}

/// One zone with its services, the first of which has the number `first`.
fn read_zone(zone: &config::Zone, first: u32) -> Result<(Zone, Vec<PathBuf>), Diagnostics> {
    let file = master::read(&zone.file, &zone.name)?;
    let mut mistakes = Diagnostics::default();
    let mut builder = ZoneBuilder::new(&zone.name);
    for record in &file.records {
        let added = builder.add(&record.owner, record.rtype, record.ttl.0, &record.rdata);
        if let Err(error) = added {
            let help = remedy_of_add(error);
            mistakes
                .0
                .push(file.mistake(record.at, error.to_string(), help));
        }
    }
    for (number, service) in (first..).zip(&zone.services) {
        if let Err(error) = builder.place(&service.name, ServiceId(number)) {
            mistakes.0.push(misplaced(service, error, &file));
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let built = builder.finish().map_err(|error| {
        let help = match error {
            BuildError::NoSoa => "add one; every zone has exactly one",
            BuildError::TooLarge => "split it into several zones",
        };
        zone.at.mistake(error.to_string(), help)
    })?;
    Ok((built, file.files))
}

fn remedy_of_add(error: AddError) -> &'static str {
    match error {
        AddError::OutOfZone => "move the record to the zone that its owner is in",
        AddError::WildcardNs => "delegate each name on its own",
        AddError::TooLong => "shorten it",
    }
}

/// A service that cannot be steered, with the record in its way where there is one.
fn misplaced(
    service: &config::Service,
    error: PlaceError,
    file: &MasterFile,
) -> config::Diagnostic {
    let help = match error {
        PlaceError::OutOfZone => "move the service to the zone that its name is in".to_owned(),
        PlaceError::BelowCut => "the servers that the NS records name answer there; remove the \
                                 delegation or the service"
            .to_owned(),
        PlaceError::BelowDname => {
            "the DNAME redirects every name below it; remove one of them".to_owned()
        }
        PlaceError::StaticAddress | PlaceError::Alias => in_the_way(service, file),
        PlaceError::Taken => "remove one of them".to_owned(),
    };
    let message = format!("{} cannot be a service: {error}", service.name);
    service.at.mistake(message, help)
}

/// Names the first static record that stands where the service should.
fn in_the_way(service: &config::Service, file: &MasterFile) -> String {
    let blocking = file.records.iter().find(|record| {
        record.owner == service.name
            && matches!(record.rtype, rtype::A | rtype::AAAA | rtype::CNAME)
    });
    let Some(record) = blocking else {
        return "remove the records from the zone file, or the service".to_owned();
    };
    let at = file.mistake(record.at, "", "");
    let (line, _) = at.position();
    let rtype = rtype::type_name(record.rtype);
    let file = at.file.display();
    format!("remove the {rtype} record at {file}:{line}, or the service")
}

#[cfg(test)]
mod tests {
    use std::{fs, net::SocketAddr};

    use meridian_health_prober::HealthSnapshot;

    use super::*;
    use crate::{
        answer::{Meta, Outcome, Transport, respond},
        snapshot::Snapshot,
        steer::View,
        types::UnixTime,
    };

    const CONFIG: &str = r#"
        [server]
        nsid = "fra1"
        [[pop]]
        name = "fra"
        latitude = 50.0
        longitude = 8.6
        endpoints = ["192.0.2.10", "2001:db8::10"]
        [[pop]]
        name = "nrt"
        latitude = 35.8
        longitude = 140.4
        endpoints = ["192.0.2.20"]
        [[pool]]
        name = "edge"
        pops = ["fra", "nrt"]
        [[geo.network]]
        prefix = "203.0.113.0/24"
        latitude = 35.0
        longitude = 139.0
        [[zone]]
        name = "example.com"
        file = "example.com.zone"
        [[zone.service]]
        name = "www"
        pool = "edge"
        [[zone.service]]
        name = "@"
        pool = "edge"
        [[zone]]
        name = "example.org"
        file = "example.org.zone"
        [[zone.service]]
        name = "*.geo"
        pool = "edge"
    "#;

    const HEAD: &str = "$TTL 300\n@ SOA ns root 1 2 3 4 60\n@ NS ns\nns A 192.0.2.53\n";

    fn build_with(com: &str, org: &str) -> Result<Built, Diagnostics> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meridian.toml");
        fs::write(&path, CONFIG).unwrap();
        fs::write(folder.path().join("example.com.zone"), [HEAD, com].concat()).unwrap();
        fs::write(folder.path().join("example.org.zone"), [HEAD, org].concat()).unwrap();
        let config = meridian_config::load(&path)?;
        let clients = Arc::new(ClientMap::open(&config.geo)?);
        build(&config, clients)
    }

    /// A query for `name` with ECS 203.0.113.0/24.
    fn query(name: &str, qtype: u16) -> Vec<u8> {
        let name: meridian_config::Name = name.parse().unwrap();
        let mut octets = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        octets.extend(name.as_wire());
        octets.extend(qtype.to_be_bytes());
        octets.extend([0, 1, 0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 11]);
        octets.extend([0, 8, 0, 7, 0, 1, 24, 0, 203, 0, 113]);
        octets
    }

    #[test]
    fn from_files_to_an_answer() {
        let built = build_with("mail MX 10 ns\n", "").unwrap();
        assert_eq!((built.zones.len(), built.files.len()), (2, 2));
        let view = View::new(&built.steering, Arc::new(HealthSnapshot::default()));
        let snapshot = Snapshot {
            generation: 1,
            zones: built.zones,
            steering: built.steering,
            view: Arc::new(view),
            identity: built.identity,
        };
        let source: SocketAddr = "192.0.2.1:53".parse().unwrap();
        let meta = Meta {
            source,
            transport: Transport::Udp,
            now: UnixTime::default(),
        };
        for (name, service) in [
            ("www.example.com", 0),
            ("example.com", 1),
            ("x.geo.example.org", 2),
        ] {
            let mut out = Vec::new();
            let outcome = respond(&snapshot, &query(name, rtype::A), &meta, &mut out);
            let Outcome::Reply(summary) = outcome else {
                panic!("dropped");
            };
            let steered = summary.steered.unwrap();
            assert_eq!(steered.service, ServiceId(service));
            assert_eq!(steered.pop, Some(config::PopId(1)), "nearest to Tokyo");
            assert!(out.windows(4).any(|octets| octets == [192, 0, 2, 20]));
            let ecs = &out[out.len() - 11..];
            assert_eq!(ecs[..6], [0, 8, 0, 7, 0, 1]);
            assert_eq!(ecs[7], 24, "scope of the operator's network");
        }
    }

    #[test]
    fn every_mistake_of_every_zone_is_told() {
        let error = build_with("www A 192.0.2.1\n", "geo DNAME example.net.\n");
        let mistakes: Vec<String> = error
            .err()
            .unwrap()
            .0
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = [
            "www.example.com. cannot be a service: the zone file has static addresses at this \
             name (remove the A record at",
            "*.geo.example.org. cannot be a service: the name is below a DNAME (",
        ];
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
        for (mistake, expected) in mistakes.iter().zip(expected) {
            assert!(mistake.contains(expected), "{mistake}");
        }
    }
}
