//! Scopes from octets to octets: what `answer::respond` sends for clients with and without ECS,
//! read back by another implementation.

use std::{fs, net::IpAddr, sync::Arc};

use hickory_proto::{
    op::Message,
    rr::{
        RData,
        rdata::opt::{EdnsCode, EdnsOption},
    },
};
use proptest::prelude::*;

use super::{
    super::{Standing, View, decide},
    model,
    seeded::seeded,
    world::{FAMILIES, World, exactly, some_address, some_client, within, world},
};
use crate::{
    answer::{Meta, Outcome, Transport, respond},
    build::build,
    client::{Client, Origin},
    snapshot::Snapshot,
    types::UnixTime,
};
use meridian_config::Family;

/// Aliases of the first service: straight, through a rewrite, and through a wildcard.
const ZONE: &str = "$TTL 300
@ SOA ns root 1 2 3 4 60
@ NS ns
ns A 192.0.2.53
alias CNAME s0
far CNAME alias
old DNAME example.
*.wild CNAME s0
s0 TXT static
";
const NAMES: [&str; 5] = ["s0", "alias", "far", "s0.old", "any.wild"];

fn snapshot(world: &World) -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("example.zone");
    fs::write(&file, ZONE).unwrap();
    let mut config = world.config.clone();
    config.zones[0].file = file;
    let built = build(&config, world.steering.clients.clone()).unwrap();
    let view = View::new(
        &built.steering,
        Arc::new(Standing::none()),
        world.health.clone(),
    );
    Snapshot {
        generation: 1,
        zones: built.zones,
        steering: built.steering,
        view: Arc::new(view),
        identity: built.identity,
    }
}

/// A query for a name below `example.`, with the client's prefix where it has one.
fn query(name: &str, qtype: u16, client: &Client) -> Vec<u8> {
    let name: meridian_config::Name = format!("{name}.example.").parse().unwrap();
    let mut octets = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    octets.extend(name.as_wire());
    octets.extend(qtype.to_be_bytes());
    let (family, address) = match client.address {
        IpAddr::V4(v4) => (1_u16, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    let len = match client.origin {
        Origin::OptOut => 0,
        _ => client.source_len,
    };
    let mut option = family.to_be_bytes().to_vec();
    option.extend([len, 0]);
    option.extend(&address[..usize::from(len.div_ceil(8))]);
    let mut rdata = vec![0, 8];
    rdata.extend(u16::try_from(option.len()).unwrap().to_be_bytes());
    rdata.extend(option);
    if client.origin == Origin::Source {
        rdata.clear();
    }
    octets.extend([0, 1, 0, 0, 41, 16, 0, 0, 0, 0, 0]);
    octets.extend(u16::try_from(rdata.len()).unwrap().to_be_bytes());
    octets.extend(rdata);
    octets
}

/// Every record of the answer section as text, and the scope where there is ECS.
type Told = (Vec<String>, Vec<IpAddr>, Option<u8>);

fn ask(snapshot: &Snapshot, name: &str, qtype: u16, client: &Client, source: IpAddr) -> Told {
    let meta = Meta {
        source: (source, 53).into(),
        transport: Transport::Tcp,
        now: UnixTime::default(),
    };
    let mut out = Vec::new();
    let outcome = respond(snapshot, &query(name, qtype, client), &meta, &mut out);
    assert!(matches!(outcome, Outcome::Reply(_)));
    let message = Message::from_vec(&out).unwrap();
    let addresses = message
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        });
    let ecs = message
        .edns
        .as_ref()
        .and_then(|edns| edns.option(EdnsCode::Subnet));
    let scope = ecs.map(|ecs| match ecs {
        EdnsOption::Subnet(subnet) => {
            // RFC 7871 §7.2.1: what is echoed "MUST match those in the query".
            assert!(client.origin == Origin::OptOut || subnet.addr() == client.address);
            subnet.scope_prefix()
        }
        other => panic!("{other:?}"),
    });
    let addresses = addresses.collect();
    let lines = message.answers.iter().map(ToString::to_string).collect();
    (lines, addresses, scope)
}

fn number(family: Family) -> u16 {
    match family {
        Family::V4 => 1,
        Family::V6 => 28,
    }
}

proptest! {
    #![proptest_config(seeded(64))]

    /// Contract invariants 3 and 4 on the wire: RFC 7871 §7.2.1, §7.3.1.
    #[test]
    fn what_is_sent_holds_for_the_whole_scope(
        world in world(),
        clients in proptest::collection::vec((some_client(), any::<u128>()), 6),
        resolver in some_address(),
    ) {
        let snapshot = snapshot(&world);
        for (client, noise) in &clients {
            for family in FAMILIES {
                let expect = decide(&snapshot.steering, &snapshot.view, model::id(0), client, family);
                for name in NAMES {
                    let from = if client.origin == Origin::Ecs { resolver } else { client.address };
                    let qtype = number(family);
                    let (lines, addresses, scope) = ask(&snapshot, name, qtype, client, from);
                    prop_assert_eq!(&addresses[..], &expect.addresses[..], "{}", name);
                    if client.origin == Origin::Source {
                        prop_assert_eq!(scope, None);
                        continue;
                    }
                    prop_assert_eq!(scope, Some(expect.scope), "{}", name);
                    for noise in [*noise, 0, u128::MAX] {
                        let inside = exactly(within(client.address, expect.scope, noise));
                        let same = ask(&snapshot, name, qtype, &inside, resolver);
                        prop_assert_eq!(&same, &(lines.clone(), addresses.clone(), scope));
                    }
                }
            }
        }
    }

    /// RFC 7871 §7.1.2: opted out, so the resolver's own address, and scope 0.
    #[test]
    fn an_opt_out_is_answered_by_source(world in world(), source in some_address()) {
        let snapshot = snapshot(&world);
        let out = Client::from_ecs(if source.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 0, source);
        let plain = Client::from_source(source);
        for family in FAMILIES {
            let (lines, addresses, scope) = ask(&snapshot, "far", number(family), &out, source);
            prop_assert_eq!(scope, Some(0));
            let without = ask(&snapshot, "far", number(family), &plain, source);
            prop_assert_eq!((lines, addresses, None), without);
        }
    }

    /// RFC 7871 §7.4: what is not steered is for everyone.
    #[test]
    fn static_data_has_scope_0(world in world(), client in some_client()) {
        if client.origin != Origin::Ecs {
            return Ok(());
        }
        let snapshot = snapshot(&world);
        for (name, qtype) in [("ns", 1), ("s0", 16), ("alias", 5), ("nothing", 1), ("s0", 15)] {
            let (_, _, scope) = ask(&snapshot, name, qtype, &client, client.address);
            prop_assert_eq!(scope, Some(0), "{} {}", name, qtype);
        }
    }
}
