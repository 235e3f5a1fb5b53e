//! What may leave this server: the last look at a route before the speaker gets it.
//!
//! # Rules
//! 1. Exactly the configured prefixes, besides an operator's blackholes inside them.
//! 2. Never a default route.
//! 3. Automation never sends BLACKHOLE (RFC 7999 §3.1), not even from the configuration.
//! 4. The next hop is an address of ours on a link to the peer.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::Attributes;

/// BLACKHOLE (RFC 7999 §5): 65535:666.
pub const BLACKHOLE: (u16, u16) = (0xffff, 666);

/// NO_EXPORT (RFC 1997): 65535:65281. RFC 7999 §3.2: a BLACKHOLE announcement SHOULD carry it.
pub const NO_EXPORT: (u16, u16) = (0xffff, 0xff01);

/// Why a route is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// Rule 1.
    #[error("not sent: {0} is not a configured prefix")]
    NotConfigured(IpNet),
    /// Rule 2.
    #[error("not sent: a default route never is")]
    DefaultRoute,
    /// Rule 3.
    #[error("not sent: the BLACKHOLE community only by an operator's command")]
    Blackhole,
    /// Rule 4.
    #[error("not sent: next hop {0} is no address of this server on a link to a peer")]
    NextHop(IpAddr),
    /// Rule 4.
    #[error("not sent: next hop {0} is not of the family of {1}")]
    Family(IpAddr, IpNet),
    /// Nothing is sent in a dry run.
    #[error("not sent: dry run")]
    DryRun,
}

/// A route on its way out.
pub(crate) struct Outgoing<'a> {
    pub(crate) prefix: IpNet,
    /// Unspecified: the local address of each session, which is on the link.
    pub(crate) next_hop: IpAddr,
    pub(crate) attributes: &'a Attributes,
    pub(crate) by_operator: bool,
}

/// Looks at one route by the rules above. `links` is `None` while our addresses are not known.
pub(crate) fn check(
    route: &Outgoing<'_>,
    configured: &[IpNet],
    links: Option<&[IpAddr]>,
) -> Result<(), NotSent> {
    let Outgoing {
        prefix,
        next_hop,
        attributes,
        by_operator,
    } = *route;
    if prefix.prefix_len() == 0 {
        return Err(NotSent::DefaultRoute);
    }
    let known = configured.contains(&prefix)
        || (by_operator
            && configured
                .iter()
                .any(|own| own.prefix_len() > 0 && own.contains(&prefix)));
    if !known {
        return Err(NotSent::NotConfigured(prefix));
    }
    if attributes.communities.contains(&BLACKHOLE) && !by_operator {
        return Err(NotSent::Blackhole);
    }
    // RFC 8950 (an IPv4 prefix with an IPv6 next hop) is not spoken.
    if next_hop.is_ipv4() != prefix.addr().is_ipv4() {
        return Err(NotSent::Family(next_hop, prefix));
    }
    match links {
        Some(links) if !next_hop.is_unspecified() && !links.contains(&next_hop) => {
            Err(NotSent::NextHop(next_hop))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(prefix: &str, next_hop: &str, community: (u16, u16), operator: bool) -> String {
        let configured: Vec<IpNet> = ["192.0.2.0/24", "2001:db8::53/128", "0.0.0.0/0"]
            .iter()
            .map(|p| p.parse().unwrap())
            .collect();
        let links = ["10.99.0.2".parse().unwrap(), "fd00:99::2".parse().unwrap()];
        let attributes = Attributes {
            communities: vec![community],
            ..Attributes::default()
        };
        let route = Outgoing {
            prefix: prefix.parse().unwrap(),
            next_hop: next_hop.parse().unwrap(),
            attributes: &attributes,
            by_operator: operator,
        };
        match check(&route, &configured, Some(&links)) {
            Ok(()) => "sent".to_owned(),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn rule_6_egress() {
        let own = (64512, 100);
        for (prefix, next_hop, community, operator, expected) in [
            ("192.0.2.0/24", "10.99.0.2", own, false, "sent"),
            ("192.0.2.0/24", "0.0.0.0", own, false, "sent"),
            ("2001:db8::53/128", "fd00:99::2", own, false, "sent"),
            (
                "192.0.2.53/32",
                "10.99.0.2",
                own,
                false,
                "not sent: 192.0.2.53/32 is not a configured prefix",
            ),
            ("192.0.2.53/32", "10.99.0.2", BLACKHOLE, true, "sent"),
            (
                "198.51.100.1/32",
                "10.99.0.2",
                BLACKHOLE,
                true,
                "not sent: 198.51.100.1/32 is not a configured prefix",
            ),
            (
                "0.0.0.0/0",
                "10.99.0.2",
                own,
                false,
                "not sent: a default route never is",
            ),
            (
                "0.0.0.0/0",
                "10.99.0.2",
                own,
                true,
                "not sent: a default route never is",
            ),
            (
                "192.0.2.0/24",
                "10.99.0.2",
                BLACKHOLE,
                false,
                "not sent: the BLACKHOLE community only by an operator's command",
            ),
            (
                "192.0.2.0/24",
                "10.99.0.9",
                own,
                false,
                "not sent: next hop 10.99.0.9 is no address of this server on a link to a peer",
            ),
            (
                "192.0.2.0/24",
                "fd00:99::2",
                own,
                false,
                "not sent: next hop fd00:99::2 is not of the family of 192.0.2.0/24",
            ),
        ] {
            let got = checked(prefix, next_hop, community, operator);
            assert_eq!(
                got, expected,
                "{prefix} {next_hop} {community:?} {operator}"
            );
        }
    }
}
