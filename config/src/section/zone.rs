//! `[[zone]]` and `[[zone.service]]`

use std::collections::HashMap;

use crate::{
    Name, PoolId, Service, Steering, Zone, ZoneFolder,
    names::Names,
    section::read_steering,
    text::quote,
    walk::{At, Table, Value},
};

/// Reads one zone. Services start from `defaults`.
pub(crate) fn read_zone<'a>(
    table: Table<'a>,
    pools: &Names<'a>,
    defaults: &Steering,
) -> PlacedZone<'a> {
    let value = table.required("name", "\"example.com\"");
    let apex = value.as_ref().and_then(read_apex);
    let file = table
        .required("file", "\"example.com.zone\"")
        .and_then(|v| v.path());
    let at = value.map_or_else(|| table.at.clone(), |v| v.at);
    let tables = table
        .get("service", "[]")
        .map(|v| v.tables())
        .unwrap_or_default();
    let mut first: HashMap<Name, At<'a>> = HashMap::new();
    let mut services = Vec::new();
    for service in tables {
        services.push(read_service(
            service,
            apex.as_ref(),
            pools,
            defaults,
            &mut first,
        ));
    }
    table.close();
    let placed = apex.is_some().then(|| at.clone());
    let zone = Zone {
        name: apex.unwrap_or_else(Name::root),
        file: file.unwrap_or_default(),
        at: at.place(),
        services,
    };
    (zone, placed)
}

/// Reads `zone_folders`. The folders themselves are looked into when zones are read.
pub(crate) fn read_zone_folders(value: &Value<'_>) -> Vec<ZoneFolder> {
    let mut folders: Vec<ZoneFolder> = Vec::new();
    let list = value.list().unwrap_or_default();
    if list.is_empty() && matches!(value.inner, toml::de::DeValue::Array(_)) {
        value.mistake("`zone_folders` names no folder", value.remedy());
    }
    for entry in list {
        let Some(path) = entry.path() else { continue };
        if folders.iter().any(|earlier| earlier.path == path) {
            entry.mistake(
                "this folder stands twice in `zone_folders`",
                "remove one of them",
            );
            continue;
        }
        folders.push(ZoneFolder {
            path,
            at: entry.at.place(),
        });
    }
    folders
}

/// A zone with the place of its name; no place when the name could not be read.
pub(crate) type PlacedZone<'a> = (Zone, Option<At<'a>>);

/// Mistakes between zones: two of one name, and services that a zone below would hide.
pub(crate) fn judge_zones(zones: &[PlacedZone<'_>]) {
    let mut first: HashMap<&Name, &At<'_>> = HashMap::new();
    let placed = || {
        zones
            .iter()
            .filter_map(|(zone, at)| Some((zone, at.as_ref()?)))
    };
    for (zone, at) in placed() {
        if let Some(earlier) = first.get(&zone.name) {
            at.mistake(
                format!("there are two zones {}", zone.name),
                format!("remove one of them; the first stands at {}", earlier.line()),
            );
        } else {
            first.insert(&zone.name, at);
        }
    }
    for (zone, at) in placed() {
        for service in &zone.services {
            // The longest zone that the name lies in answers it.
            let mut above = Some(service.name.clone());
            while let Some(name) = above.filter(|n| *n != zone.name) {
                if first.contains_key(&name) {
                    let mistake = service.at.mistake(
                        format!("{} is answered from zone {name}", service.name),
                        format!("move the service to zone {name}"),
                    );
                    at.sink.push(at.file.order, mistake);
                    break;
                }
                above = name.parent();
            }
        }
    }
}

/// Reads a name that the operator wrote, `origin` completing it.
pub(crate) fn read_name(value: &Value<'_>, origin: &Name) -> Option<Name> {
    let text = value.line(1024)?;
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic()) {
        let help = if odd.is_ascii() {
            value.remedy()
        } else {
            "write the name in its ASCII form, which starts with `xn--`".to_owned()
        };
        let odd = quote(&odd.to_string());
        value.mistake(format!("a domain name may not hold {odd}"), help);
        return None;
    }
    match Name::parse(text, origin) {
        Ok(name) => Some(name),
        Err(error) => {
            value.mistake(
                format!("{} is no domain name: {error}", quote(text)),
                value.remedy(),
            );
            None
        }
    }
}

fn read_apex(value: &Value<'_>) -> Option<Name> {
    let name = read_name(value, &Name::root())?;
    if value.text() == Some("@") {
        value.mistake("`@` stands for the zone's own name", value.remedy());
        return None;
    }
    if name.labels().any(|l| l == b"*") {
        value.mistake(
            "a zone's name holds no wildcard",
            "name the service `*` instead",
        );
        return None;
    }
    Some(name)
}

fn read_service<'a>(
    table: Table<'a>,
    apex: Option<&Name>,
    pools: &Names<'a>,
    defaults: &Steering,
    first: &mut HashMap<Name, At<'a>>,
) -> Service {
    let value = table.required("name", "\"www\"");
    let origin = apex.cloned().unwrap_or_else(Name::root);
    let name = value.as_ref().and_then(|v| read_owner(v, &origin));
    if let (Some(value), Some(name), Some(_)) = (&value, &name, apex) {
        if let Some(earlier) = first.get(name) {
            value.mistake(
                format!("there are two services {name}"),
                format!("remove one of them; the first stands at {}", earlier.line()),
            );
        } else {
            first.insert(name.clone(), value.at.clone());
        }
    }
    let pool = table
        .required("pool", "\"edge\"")
        .and_then(|v| pools.find(&v));
    let steering = read_steering(&table, defaults.clone());
    let at = value.map_or_else(|| table.at.clone(), |v| v.at);
    table.close();
    Service {
        name: name.unwrap_or_else(Name::root),
        pool: PoolId(pool.unwrap_or(0)),
        steering,
        at: at.place(),
    }
}

fn read_owner(value: &Value<'_>, apex: &Name) -> Option<Name> {
    let name = read_name(value, apex)?;
    let text = value.text()?;
    if !name.is_at_or_below(apex) {
        value.mistake(
            format!("{name} does not lie in zone {apex}"),
            "write a name relative to the zone, such as \"www\", or \"@\" for the zone itself",
        );
        return None;
    }
    // "www.example.com" without its final dot would become "www.example.com.example.com.".
    if !text.ends_with('.')
        && !apex.is_root()
        && let Ok(absolute) = text.parse::<Name>()
        && absolute.is_at_or_below(apex)
    {
        value.mistake(
            format!("without a final dot {} means {name}", quote(text)),
            format!("write \"{absolute}\", or the part before the zone's name"),
        );
        return None;
    }
    if name.labels().skip(1).any(|l| l == b"*") {
        // RFC 4592 §2.1.1: "A wildcard domain name is defined by having its initial
        // (i.e., leftmost or least significant) label be" the asterisk.
        value.mistake(
            "a wildcard stands only at the start of a name",
            "write for example `*.dev`",
        );
        return None;
    }
    if name.labels().any(|l| l.len() > 1 && l.contains(&b'*')) {
        value.mistake(
            "`*` inside a label is no wildcard",
            "a wildcard is a whole label: write for example `*` or `*.dev`",
        );
        return None;
    }
    Some(name)
}
