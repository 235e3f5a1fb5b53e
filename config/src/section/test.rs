//! `[[test]]`

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::{
    Family, Name, Pool, Pop, PopId, Service, SteeringTest,
    names::Names,
    section::zone::read_name,
    text::{nearest, quote},
    walk::{Table, Value},
};

/// What a test refers to.
pub(crate) struct World<'w, 'a> {
    pub(crate) names: &'w Names<'a>,
    pub(crate) pops: &'w [Pop],
    pub(crate) pools: &'w [Pool],
    pub(crate) services: &'w [&'w Service],
    /// Some service could not be read, so a name that seems to dangle may mean it.
    pub(crate) uncertain: bool,
}

/// Reads one steering test.
pub(crate) fn read_test<'a>(table: Table<'a>, world: &World<'_, 'a>) -> SteeringTest {
    let value = table.required("name", "\"www.example.com\"");
    let name = value.as_ref().and_then(|v| read_name(v, &Name::root()));
    let families = [("A", Family::V4), ("AAAA", Family::V6)];
    let family = table
        .get("type", "\"AAAA\"")
        .and_then(|v| v.choice(&families));
    let family = family.unwrap_or(Family::V4);
    let client = table
        .required("client", "\"203.0.113.0/24\"")
        .and_then(|v| v.network(true));
    let down = table
        .get("down", "[\"fra\"]")
        .and_then(|v| v.list())
        .unwrap_or_default();
    let down: Vec<_> = down
        .into_iter()
        .map(|v| (world.names.find(&v).map(PopId), v))
        .collect();
    let expect = table.required("expect", "\"fra\"");
    let expected = expect.as_ref().and_then(|v| world.names.find(v)).map(PopId);
    if let (Some(value), Some(name)) = (&value, &name)
        && let Some(service) = find_service(value, name, world)
    {
        // Under a wildcard the zone file may have an alias there, of a service with another pool: that is
        // known when the test is run.
        let of_pool = (service.name == *name).then(|| world.pools.get(service.pool.index()));
        let pool = of_pool.flatten();
        if let (Some(value), Some(pop)) = (&expect, expected) {
            judge_expected(value, pop, family, pool, world);
        }
        if let Some(pool) = pool {
            judge_down(&down, pool);
        }
    }
    let at = value.map_or_else(|| table.at.clone(), |v| v.at);
    table.close();
    SteeringTest {
        name: name.unwrap_or_else(Name::root),
        family,
        client: client.unwrap_or_else(|| IpNet::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED))),
        down: down.into_iter().filter_map(|(pop, _)| pop).collect(),
        expect: expected.unwrap_or(PopId(0)),
        at: at.place(),
    }
}

/// The service of this name, or the nearest wildcard above it.
fn find_service<'w>(value: &Value<'_>, name: &Name, world: &World<'w, '_>) -> Option<&'w Service> {
    let exact = world.services.iter().find(|s| s.name == *name);
    let covers = |s: &&&Service| {
        s.name.is_wildcard()
            && s.name
                .parent()
                .is_some_and(|p| name.is_at_or_below(&p) && p != *name)
    };
    let wildcard = || {
        world
            .services
            .iter()
            .filter(covers)
            .max_by_key(|s| s.name.labels().count())
    };
    let found = exact.or_else(wildcard).copied();
    if found.is_none() && !world.uncertain {
        let known: Vec<String> = world.services.iter().map(|s| s.name.to_string()).collect();
        let help = match nearest(&name.to_string(), known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean \"{}\"?", near.trim_end_matches('.')),
            None => "name an owner from a `[[zone.service]]` table, with its zone".to_owned(),
        };
        let name = quote(&name.to_string());
        value.mistake(format!("there is no service named {name}"), help);
    }
    found
}

fn judge_expected(
    value: &Value<'_>,
    pop: PopId,
    family: Family,
    pool: Option<&Pool>,
    world: &World<'_, '_>,
) {
    let Some(found) = world.pops.get(pop.index()) else {
        return;
    };
    let outside = |pool: &&Pool| !pool.pops.is_empty() && !pool.pops.contains(&pop);
    if let Some(pool) = pool.filter(outside) {
        value.mistake(
            format!(
                "{} is not in pool {}, so it can never answer",
                quote(&found.name),
                quote(&pool.name)
            ),
            "expect a PoP of the service's pool",
        );
        return;
    }
    let has_family = found.endpoints.iter().any(|e| Family::of(*e) == family);
    if !found.endpoints.is_empty() && !has_family {
        let (kind, other) = match family {
            Family::V4 => ("IPv4", "AAAA"),
            Family::V6 => ("IPv6", "A"),
        };
        value.mistake(
            format!(
                "{} has no {kind} endpoint, so it can never answer",
                quote(&found.name)
            ),
            format!("write `type = \"{other}\"`, or give the PoP such an endpoint"),
        );
    }
}

fn judge_down(down: &[(Option<PopId>, Value<'_>)], pool: &Pool) {
    for (pop, value) in down {
        if let Some(pop) = pop
            && !pool.pops.is_empty()
            && !pool.pops.contains(pop)
        {
            let name = quote(value.text().unwrap_or_default());
            value.mistake(
                format!(
                    "{name} is not in pool {}: taking it down changes nothing",
                    quote(&pool.name)
                ),
                "remove it",
            );
        }
    }
}
