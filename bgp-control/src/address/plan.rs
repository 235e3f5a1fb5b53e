//! What to change, from what is wanted and what is there: pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// An address that the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) address: IpAddr,
    pub(super) prefix_len: u8,
    /// Index of its interface.
    pub(super) link: u32,
    /// It carries our mark.
    pub(super) marked: bool,
    /// Duplicate address detection says that somebody else has it.
    pub(super) duplicate: bool,
}

impl Found {
    fn is_host(&self) -> bool {
        self.prefix_len == if self.address.is_ipv4() { 32 } else { 128 }
    }
}

/// The interface for service addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnLink {
    pub(super) index: u32,
    /// We made it: every address on it is ours.
    pub(super) made: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Added first: an address that moves is never absent.
    pub(super) add: Vec<IpAddr>,
    pub(super) remove: Vec<Found>,
    pub(super) wanted: BTreeMap<IpAddr, Result<(), String>>,
    pub(super) notes: Vec<String>,
}

/// Compares. `added` are the addresses that this process has put there, for kernels without marks;
/// `name` gives the name of an interface.
pub(super) fn plan(
    wanted: &BTreeSet<IpAddr>,
    found: &[Found],
    link: OwnLink,
    added: &BTreeSet<IpAddr>,
    name: impl Fn(u32) -> String,
) -> Plan {
    let mut plan = Plan::default();
    let ours = |f: &Found| {
        let here = f.link == link.index && f.is_host();
        f.marked || (here && (link.made || added.contains(&f.address)))
    };
    for address in wanted {
        let holders: Vec<&Found> = found.iter().filter(|f| f.address == *address).collect();
        let here = holders.iter().find(|f| f.link == link.index);
        let foreign = holders.iter().find(|f| f.link != link.index && !ours(f));
        let state = match (here, foreign) {
            (Some(f), _) if f.duplicate => Err("another machine on the link has it".to_owned()),
            (Some(f), _) => {
                if !ours(f) {
                    let (len, on) = (f.prefix_len, name(f.link));
                    plan.notes.push(format!(
                        "{address}/{len} on {on} was not put there by us: used as it is, never removed"
                    ));
                }
                Ok(())
            }
            (None, Some(f)) => {
                let text = format!(
                    "it is on {} already, not put there by us: untouched",
                    name(f.link)
                );
                plan.notes.push(format!("conflict: {address}: {text}"));
                Err(text)
            }
            (None, None) => {
                plan.add.push(*address);
                Err("not yet on the interface".to_owned())
            }
        };
        plan.wanted.insert(*address, state);
    }
    let stray = |f: &&Found| ours(f) && (f.link != link.index || !wanted.contains(&f.address));
    plan.remove = found.iter().filter(stray).cloned().collect();
    plan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DUMMY: u32 = 7;
    const ETH: u32 = 2;

    fn found(address: &str, link: u32, marked: bool) -> Found {
        let address: IpAddr = address.parse().unwrap();
        let prefix_len = if address.is_ipv4() { 32 } else { 128 };
        Found {
            address,
            prefix_len,
            link,
            marked,
            duplicate: false,
        }
    }

    fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
        addresses.iter().map(|a| a.parse().unwrap()).collect()
    }

    fn name(link: u32) -> String {
        if link == DUMMY {
            "meridian0".into()
        } else {
            format!("eth{link}")
        }
    }

    fn summary(wanted: &[&str], there: &[Found], made: bool, added: &[&str]) -> String {
        let link = OwnLink { index: DUMMY, made };
        let plan = plan(&set(wanted), there, link, &set(added), name);
        let mut out: Vec<String> = plan.add.iter().map(|a| format!("+{a}")).collect();
        out.extend(
            plan.remove
                .iter()
                .map(|f| format!("-{}@{}", f.address, f.link)),
        );
        out.extend(
            plan.wanted
                .iter()
                .map(|(a, s)| format!("{a} {}", if s.is_ok() { "ok" } else { "no" })),
        );
        out.extend((!plan.notes.is_empty()).then(|| "note".to_owned()));
        out.join(", ")
    }

    #[test]
    #[allow(clippy::too_many_lines)] // a table
    fn table() {
        let a = "192.0.2.53";
        let wide = Found {
            prefix_len: 24,
            ..found(a, DUMMY, false)
        };
        for (case, wanted, there, made, added, expected) in [
            ("nothing", vec![], vec![], true, vec![], ""),
            (
                "absent",
                vec![a],
                vec![],
                true,
                vec![],
                "+192.0.2.53, 192.0.2.53 no",
            ),
            (
                "ours",
                vec![a],
                vec![found(a, DUMMY, true)],
                false,
                vec![],
                "192.0.2.53 ok",
            ),
            (
                "adopted and not wanted",
                vec![],
                vec![found(a, DUMMY, true)],
                false,
                vec![],
                "-192.0.2.53@7",
            ),
            (
                "foreign, not wanted",
                vec![],
                vec![found(a, DUMMY, false)],
                false,
                vec![],
                "",
            ),
            (
                "foreign on ours",
                vec![a],
                vec![found(a, DUMMY, false)],
                false,
                vec![],
                "192.0.2.53 ok, note",
            ),
            (
                "no marks, on a link that we made",
                vec![],
                vec![found(a, DUMMY, false)],
                true,
                vec![],
                "-192.0.2.53@7",
            ),
            (
                "no marks, added by us",
                vec![],
                vec![found(a, DUMMY, false)],
                false,
                vec![a],
                "-192.0.2.53@7",
            ),
            (
                "foreign and wider",
                vec![a],
                vec![wide],
                true,
                vec![a],
                "192.0.2.53 ok, note",
            ),
            (
                "conflict",
                vec![a],
                vec![found(a, ETH, false)],
                true,
                vec![],
                "192.0.2.53 no, note",
            ),
            (
                "moves to another link",
                vec![a],
                vec![found(a, ETH, true)],
                true,
                vec![],
                "+192.0.2.53, -192.0.2.53@2, 192.0.2.53 no",
            ),
            (
                "moved",
                vec![a],
                vec![found(a, DUMMY, true), found(a, ETH, true)],
                true,
                vec![],
                "-192.0.2.53@2, 192.0.2.53 ok",
            ),
        ] {
            assert_eq!(summary(&wanted, &there, made, &added), expected, "{case}");
        }
    }

    #[test]
    fn a_duplicate_is_not_there() {
        let duplicate = Found {
            duplicate: true,
            ..found("2001:db8::53", DUMMY, true)
        };
        assert_eq!(
            summary(&["2001:db8::53"], &[duplicate], true, &[]),
            "2001:db8::53 no"
        );
    }

    fn any_found() -> impl Strategy<Value = Found> {
        (0_u8..4, prop::bool::ANY, 1_u32..4, prop::bool::ANY).prop_map(
            |(host, wide, link, marked)| {
                let prefix_len = if wide { 24 } else { 32 };
                let address = IpAddr::from([192, 0, 2, host]);
                Found {
                    address,
                    prefix_len,
                    link,
                    marked,
                    duplicate: false,
                }
            },
        )
    }

    proptest! {
        /// Whatever is there: nothing of others is removed, nothing present is added, and doing
        /// what the plan says leads to a state where nothing is left to do.
        #[test]
        fn touches_only_what_is_absent_or_ours(
            hosts in prop::collection::btree_set(0_u8..4, 0..4),
            there in prop::collection::vec(any_found(), 0..6),
        ) {
            let mut there = there;
            there.sort_by_key(|f| (f.address, f.link));
            there.dedup_by_key(|f| (f.address, f.link));
            let wanted: BTreeSet<IpAddr> = hosts.iter().map(|h| IpAddr::from([192, 0, 2, *h])).collect();
            let link = OwnLink { index: 1, made: false };
            let none = BTreeSet::new();
            let first = plan(&wanted, &there, link, &none, name);
            for f in &first.remove {
                prop_assert!(f.marked);
            }
            for address in &first.add {
                prop_assert!(!there.iter().any(|f| f.address == *address && f.link == 1));
            }
            let mut after: Vec<Found> =
                there.iter().filter(|f| !first.remove.contains(f)).cloned().collect();
            after.extend(first.add.iter().map(|a| Found {
                address: *a, prefix_len: 32, link: 1, marked: true, duplicate: false,
            }));
            let second = plan(&wanted, &after, link, &none, name);
            prop_assert!(second.add.is_empty() && second.remove.is_empty(), "{:?}", second);
        }
    }
}
