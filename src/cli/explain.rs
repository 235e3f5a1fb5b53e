//! `meridian explain`: the decision for one client with everything that led to it.

use std::{path::Path, sync::Arc};

use ipnet::IpNet;
use jiff::Timestamp;
use meridian_config::{Diagnostics, Family, Name};
use meridian_dns::{
    answer::{Followed, NotSteered, follow},
    client::Client as Asker,
    steer::{self, Standing, Steering, View},
    zone::ZoneSet,
};
use meridian_health_prober::HealthSnapshot;

use super::{
    Failure,
    args::{AddressType, Explain},
    check,
    client::Client,
    talk::encode,
};
use crate::render::{self, Explained, Style, print, print_json};

/// Runs the command.
pub(crate) fn run(args: &Explain) -> Result<(), Failure> {
    let name: Name = args
        .name
        .parse()
        .map_err(|error| Failure::Usage(format!("{:?} is no domain name: {error}", args.name)))?;
    let value = match &args.config {
        Some(config) => offline(args, config, &name)?,
        None => super::block_on(online(args))?,
    };
    if args.output.json {
        print_json(&value);
        return Ok(());
    }
    let explained: Explained = serde_json::from_value(value)
        .map_err(|e| Failure::Message(format!("the server is of another version: {e}")))?;
    print(&render::explanation(
        &explained,
        Timestamp::now(),
        Style::stdout(),
    ));
    Ok(())
}

/// What a snapshot answers to a client, as JSON: the explanation of the service that the name leads to, with
/// the name and what it is an alias of.
///
/// # Errors
/// Why no service answers that name.
pub(crate) fn explain(
    zones: &ZoneSet,
    steering: &Steering,
    view: &View,
    name: &Name,
    family: Family,
    client: IpNet,
) -> Result<serde_json::Value, NotSteered> {
    let Followed { service, aliases } = follow(zones, name, family)?;
    // Of a client that has opted out nothing is known: not its resolver either.
    let asker = Asker::from_ecs(client.addr(), client.prefix_len(), client.addr());
    let explanation = steer::explain(steering, view, service, &asker, family);
    let mut told = serde_json::to_value(explanation).unwrap_or_default();
    if let Some(told) = told.as_object_mut() {
        let aliases: Vec<String> = aliases.iter().map(Name::to_string).collect();
        told.insert("asked".to_owned(), name.to_string().into());
        told.insert("aliases".to_owned(), aliases.into());
    }
    Ok(told)
}

/// Asks the running server.
async fn online(args: &Explain) -> Result<serde_json::Value, Failure> {
    let client = Client::new(&args.target)?;
    let path = format!(
        "/api/v1/explain?name={}&type={}&client={}",
        encode(&args.name),
        args.rtype.name(),
        encode(&args.client.to_string())
    );
    Ok(client.get(&path).await?)
}

/// Works from the files; nothing is known of health, so every PoP counts as usable.
fn offline(args: &Explain, path: &Path, name: &Name) -> Result<serde_json::Value, Failure> {
    let (config, built) = check::read(path, |_| Diagnostics::default())?;
    let view = View::new(
        &built.steering,
        Arc::new(Standing::none()),
        Arc::new(HealthSnapshot::default()),
    );
    let family = match args.rtype {
        AddressType::A => Family::V4,
        AddressType::Aaaa => Family::V6,
    };
    let told = explain(
        &built.zones,
        &built.steering,
        &view,
        name,
        family,
        args.client,
    );
    told.map_err(|why| {
        let services = config.zones.iter().flat_map(|zone| &zone.services);
        let known: Vec<String> = services.map(|service| service.name.to_string()).collect();
        Failure::Message(format!(
            "{name} is not a service of {}: {why}; its services are: {}",
            path.display(),
            known.join(" ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7871 §7.1.2: length 0 opts out, as it does in a query.
    #[test]
    fn a_client_of_length_zero_has_opted_out() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[[pop]]\nname = \"fra\"\nlatitude = 50\nlongitude = 8\nendpoints = [\"192.0.2.1\"]\n\
                    [[pop]]\nname = \"iad\"\nlatitude = 39\nlongitude = -77\nendpoints = [\"192.0.2.2\"]\n\
                    [[pool]]\nname = \"edge\"\npops = [\"fra\", \"iad\"]\n[[zone]]\nname = \"example.com\"\n\
                    file = \"z\"\n[[zone.service]]\nname = \"www\"\npool = \"edge\"\n";
        let zone =
            "$TTL 300\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.53\n";
        let path = folder.path().join("m.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("z"), zone).unwrap();
        let (_, built) = check::read(&path, |_| Diagnostics::default()).unwrap();
        let view = View::new(&built.steering, Arc::default(), Arc::default());
        let name: Name = "WWW.example.com".parse().unwrap();
        let told = |client: &str| {
            let client = client.parse().unwrap();
            let of = (&built.zones, &built.steering);
            explain(of.0, of.1, &view, &name, Family::V4, client).unwrap()
        };
        let scope = |client: &str| told(client)["scope"].as_u64().unwrap();
        assert_eq!((scope("0.0.0.0/0"), scope("::/0")), (0, 0));
        assert!(scope("133.11.0.0/24") > 0);
        // Longer than `scope_max`, so that is not why.
        let why = told("::1/128")["scope_why"].to_string();
        assert!(why.contains("81: beside it are addresses"), "{why}");
    }
}
