//! `meridian geo lookup`.

use std::fmt::Write as _;

use meridian_config::Coordinates;
use meridian_geo_data::{Description, Source};
use serde::Serialize;

use super::{Cell, Paint, Style, Table, clean};

/// The answer to one question.
#[derive(Debug, Serialize)]
pub(crate) struct Lookup {
    /// What the geo data says.
    #[serde(flatten)]
    pub(crate) description: Description,
    /// Name of the pinned PoP.
    pub(crate) pinned_pop: Option<String>,
    /// PoPs from near to far; empty without a configuration or a location.
    pub(crate) nearest: Vec<Near>,
}

/// One PoP with its distance.
#[derive(Debug, Serialize)]
pub(crate) struct Near {
    /// Its name.
    pub(crate) pop: String,
    /// Great-circle distance in kilometres.
    pub(crate) distance_km: f64,
}

/// Lines of key and value, then the nearest PoPs.
pub(crate) fn lookup(lookup: &Lookup, style: Style) -> String {
    let mut out = String::new();
    for (key, value) in facts(lookup) {
        let key = style.paint(Paint::Dim, &format!("{key:<9}"));
        let _ = writeln!(out, "{key} {}", clean(&value));
    }
    if !lookup.nearest.is_empty() {
        let mut table = Table::new(&["NEAREST", ">KM"]);
        for near in &lookup.nearest {
            table.row(vec![
                Cell::painted(Paint::Bold, &near.pop),
                Cell::new(format!("{:.0}", near.distance_km)),
            ]);
        }
        let _ = write!(out, "\n{}", table.render(style, 0));
    }
    out
}

fn facts(lookup: &Lookup) -> Vec<(&'static str, String)> {
    let d = &lookup.description;
    let mut facts = vec![("address", d.address.to_string())];
    if d.judged != d.address {
        facts.push(("judged as", d.judged.to_string()));
    }
    facts.push(("prefix", d.prefix.to_string()));
    facts.push((
        "source",
        match &d.source {
            Source::Network(prefix) => format!("[[geo.network]] {prefix}"),
            Source::Database(file) => file.clone(),
            Source::Nothing => "nothing is known of this address".to_owned(),
        },
    ));
    if let Some(cell) = &d.cell_data {
        let country = cell.country.map_or("country unknown".to_owned(), code);
        let continent = cell.continent.map(|c| format!(", {}", code(c)));
        facts.push(("country", country + &continent.unwrap_or_default()));
    }
    if let Some(city) = &d.city {
        facts.push(("city", city.clone()));
    }
    if let Some(at) = d.location {
        facts.push(("location", coordinates(at)));
    }
    if let (Some(id), Some(cell)) = (d.cell, &d.cell_data) {
        facts.push(("cell", format!("{} at {}", id.0, coordinates(cell.center))));
    }
    if let Some(asn) = d.asn {
        let name = d.as_name.as_deref().unwrap_or("");
        facts.push(("network", format!("AS{asn} {name}").trim_end().to_owned()));
    }
    if let Some(pop) = &lookup.pinned_pop {
        facts.push(("pinned to", pop.clone()));
    }
    for file in &d.details_gone {
        let said = format!(
            "gone: {} was overwritten after it was loaded",
            file.display()
        );
        facts.push(("details", said));
    }
    facts
}

fn code(code: [u8; 2]) -> String {
    String::from_utf8_lossy(&code).into_owned()
}

fn coordinates(at: Coordinates) -> String {
    format!("{:.2}, {:.2}", at.latitude, at.longitude)
}

#[cfg(test)]
mod tests {
    use meridian_geo_data::{Cell as Area, CellId, Fold};

    use super::*;

    fn description() -> Description {
        let at = Coordinates {
            latitude: 35.6,
            longitude: 139.7,
        };
        Description {
            address: "64:ff9b::850b:1".parse().unwrap(),
            fold: Fold::Nat64,
            judged: "133.11.0.1".parse().unwrap(),
            source: Source::Database("city.mmdb".to_owned()),
            prefix: "64:ff9b::850b:0/112".parse().unwrap(),
            cell: Some(CellId(7)),
            cell_data: Some(Area {
                center: at,
                country: Some(*b"JP"),
                continent: Some(*b"AS"),
            }),
            location: Some(at),
            city: Some("Tokyo\u{1b}[2J".to_owned()),
            asn: Some(2501),
            as_name: Some("The University of Tokyo".to_owned()),
            pinned: None,
            details_gone: Vec::new(),
        }
    }

    #[test]
    fn golden() {
        let near = |pop: &str, distance_km| Near {
            pop: pop.to_owned(),
            distance_km,
        };
        let found = Lookup {
            description: description(),
            pinned_pop: Some("nrt".to_owned()),
            nearest: vec![near("nrt", 65.4), near("syd", 7800.0)],
        };
        let expected = "\
address   64:ff9b::850b:1
judged as 133.11.0.1
prefix    64:ff9b::850b:0/112
source    city.mmdb
country   JP, AS
city      Tokyo\\u{1b}[2J
location  35.60, 139.70
cell      7 at 35.60, 139.70
network   AS2501 The University of Tokyo
pinned to nrt

NEAREST    KM
nrt        65
syd      7800
";
        assert_eq!(lookup(&found, Style::PLAIN), expected);
    }

    #[test]
    fn nothing_known_is_said() {
        let found = Lookup {
            description: Description {
                source: Source::Nothing,
                cell: None,
                cell_data: None,
                location: None,
                city: None,
                asn: None,
                as_name: None,
                ..description()
            },
            pinned_pop: None,
            nearest: Vec::new(),
        };
        let shown = lookup(&found, Style::PLAIN);
        assert!(
            shown.ends_with("source    nothing is known of this address\n"),
            "{shown}"
        );
    }
}
