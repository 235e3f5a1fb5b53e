//! The queries of the load generator: names from a list, random ECS prefixes, the same sequence for
//! the same seed.

/// Octets that any query of the generator fits into.
pub(crate) const LONGEST: usize = 512;

/// UDP payload size that queries announce (RFC 6891 §6.2.5).
const PAYLOAD: u16 = 1232;

/// Share of queries with an IPv6 prefix, in percent.
const IPV6_PERCENT: u64 = 25;

/// What queries carry beside the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// A client subnet of its own in every query (RFC 7871).
    pub(crate) ecs: bool,
    /// A client cookie in every query (RFC 7873).
    pub(crate) cookie: bool,
}

/// An endless row of queries.
#[derive(Clone, Debug)]
pub(crate) struct Queries {
    random: Random,
    templates: Vec<[Vec<u8>; 2]>,
    traffic: Traffic,
    next: usize,
}

impl Queries {
    /// Queries of type A for these names in turn; `names` are without escapes and not empty.
    pub(crate) fn new(traffic: Traffic, names: &[String], seed: u64) -> Self {
        let template =
            |name: &String| [Family::V4, Family::V6].map(|family| template(name, traffic, family));
        Self {
            random: Random(seed),
            templates: names.iter().map(template).collect(),
            traffic,
            next: 0,
        }
    }

    /// Writes the next query and returns its length.
    pub(crate) fn write(&mut self, id: u16, out: &mut [u8; LONGEST]) -> usize {
        let family = usize::from(self.traffic.ecs && self.random.below(100) < IPV6_PERCENT);
        let query = &self.templates[self.next][family];
        self.next = (self.next + 1) % self.templates.len();
        let length = query.len();
        out[..length].copy_from_slice(query);
        out[..2].copy_from_slice(&id.to_be_bytes());
        let mut end = length;
        if self.traffic.ecs {
            if family == 0 {
                end -= 3;
                out[end..length].copy_from_slice(&ipv4_prefix(&mut self.random));
                end -= 8;
            } else {
                end -= 7;
                out[end..length].copy_from_slice(&ipv6_prefix(&mut self.random));
                end -= 8;
            }
        }
        if self.traffic.cookie {
            out[end - 8..end].copy_from_slice(&self.random.next().to_be_bytes());
        }
        length
    }
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

/// A query with zeros where ID, cookie and prefix belong; the prefix comes last.
fn template(name: &str, traffic: Traffic, family: Family) -> Vec<u8> {
    // ID, no flags (RD is off: an authoritative server is asked), one question, one additional.
    let mut out = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.extend([0, 0, 1, 0, 1]);
    let mut options = Vec::new();
    if traffic.cookie {
        options.extend([0, 10, 0, 8]);
        options.extend([0; 8]);
    }
    if traffic.ecs {
        match family {
            Family::V4 => options.extend([0, 8, 0, 7, 0, 1, 24, 0, 0, 0, 0]),
            Family::V6 => options.extend([0, 8, 0, 11, 0, 2, 56, 0, 0, 0, 0, 0, 0, 0, 0]),
        }
    }
    out.extend([0, 0, 41]);
    out.extend(PAYLOAD.to_be_bytes());
    out.extend([0; 4]);
    out.extend((options.len() as u16).to_be_bytes());
    out.extend(options);
    out
}

/// A /24 of the unicast space.
fn ipv4_prefix(random: &mut Random) -> [u8; 3] {
    loop {
        let bits = random.next();
        let [first, second, third, ..] = bits.to_be_bytes();
        if (1..224).contains(&first) && first != 10 && first != 127 {
            return [first, second, third];
        }
    }
}

/// The first 16 bits of the blocks that the registries hand out.
const IPV6_BLOCKS: [u16; 5] = [0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00];

/// A /56 of the space in use.
fn ipv6_prefix(random: &mut Random) -> [u8; 7] {
    let block = IPV6_BLOCKS[random.below(IPV6_BLOCKS.len() as u64) as usize];
    let mut prefix = [0; 7];
    prefix.copy_from_slice(&random.next().to_be_bytes()[..7]);
    prefix[0] = (block >> 8) as u8;
    prefix[1] &= 0x0f;
    prefix
}

/// splitmix64: the same sequence in every run.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// In 0..1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const ECS: Traffic = Traffic {
        ecs: true,
        cookie: false,
    };

    fn names() -> Vec<String> {
        vec![
            "www0.bench.example".to_owned(),
            "www1.bench.example".to_owned(),
        ]
    }

    fn take(traffic: Traffic, seed: u64, count: u16) -> Vec<Vec<u8>> {
        let mut queries = Queries::new(traffic, &names(), seed);
        let mut out = [0; LONGEST];
        (0..count)
            .map(|id| {
                let length = queries.write(id, &mut out);
                out[..length].to_vec()
            })
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_queries() {
        assert_eq!(take(ECS, 7, 50), take(ECS, 7, 50));
        assert_ne!(take(ECS, 7, 50), take(ECS, 8, 50));
    }

    #[test]
    fn a_query_is_what_rfc_7871_section_6_asks_for() {
        for traffic in [
            ECS,
            Traffic {
                ecs: true,
                cookie: true,
            },
        ] {
            let (mut v4, mut v6) = (0, 0);
            for (id, query) in take(traffic, 1, 400).iter().enumerate() {
                assert_eq!(
                    query[..12],
                    [(id >> 8) as u8, id as u8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]
                );
                assert_eq!(query[12..17], [4, b'w', b'w', b'w', b'0' + (id % 2) as u8]);
                let options = 12 + 20 + 4 + 11;
                let total = u16::from_be_bytes([query[options - 2], query[options - 1]]);
                assert_eq!(options + usize::from(total), query.len());
                let ecs = options + if traffic.cookie { 12 } else { 0 };
                match query[ecs + 5] {
                    1 => {
                        assert_eq!(query[ecs..ecs + 8], [0, 8, 0, 7, 0, 1, 24, 0]);
                        assert!((1..224).contains(&query[ecs + 8]));
                        assert_eq!(query.len(), ecs + 11);
                        v4 += 1;
                    }
                    _ => {
                        assert_eq!(query[ecs..ecs + 8], [0, 8, 0, 11, 0, 2, 56, 0]);
                        assert_eq!(query[ecs + 9] & 0xf0, 0);
                        assert_eq!(query.len(), ecs + 15);
                        v6 += 1;
                    }
                }
                if traffic.cookie {
                    assert_eq!(query[options..options + 4], [0, 10, 0, 8]);
                    assert_ne!(query[options + 4..ecs], [0; 8]);
                }
            }
            assert!(v4 > 250 && v6 > 50, "{v4} {v6}");
        }
    }

    #[test]
    fn prefixes_spread_and_seldom_repeat() {
        let mut random = Random(1);
        let prefixes: HashSet<_> = (0..10_000).map(|_| ipv4_prefix(&mut random)).collect();
        assert!(prefixes.len() > 9_900);
        let first: HashSet<_> = prefixes.iter().map(|prefix| prefix[0]).collect();
        assert_eq!(first.len(), 221);
    }

    #[test]
    fn static_traffic_has_no_options() {
        let plain = Traffic {
            ecs: false,
            cookie: false,
        };
        let query = &take(plain, 1, 1)[0];
        assert_eq!(query.len(), 12 + 20 + 4 + 11);
        assert_eq!(query[query.len() - 2..], [0, 0]);
    }
}
