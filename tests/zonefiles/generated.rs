//! Random zones that every reader should take.

/// A small generator (xorshift), so that a seed names a zone for ever.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn hex(&mut self, octets: usize) -> String {
        (0..octets)
            .map(|_| format!("{:02x}", self.below(256)))
            .collect()
    }
}

/// The text of the zone `example.com` for a seed.
pub(crate) fn zone(seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut text = String::from(
        "$TTL 1h\n@ IN SOA ns1 admin.example.com. ( 1 2h ; refresh\n 15m 2w 300 )\n@ NS ns.example.net.\n",
    );
    for at in 0..60 {
        let line = match random.below(12) {
            0 => format!("$TTL {}", random.pick(&["5m", "1h30m", "86400", "1w", "0"])),
            1 => format!("$ORIGIN o{}.example.com.", random.below(5)),
            2 => "$ORIGIN example.com.".to_string(),
            3 => format!("; comment {at} ( \" )"),
            _ => record(&mut random, at),
        };
        text.push_str(&line);
        text.push_str(random.pick(&["\n", "\n", " ; end\n", "\n\n", "\r\n"]));
    }
    text
}

fn record(random: &mut Random, at: usize) -> String {
    // An owner of its own for each record: no CNAME beside other data, one TTL an RRset.
    let (rtype, data) = data(random);
    let owner = match random.below(6) {
        1 if rtype == "DNAME" => format!("d{at}"),
        0 => format!("a.b.h{at}"),
        1 => format!("*.h{at}"),
        2 => format!("h\\{:03}{at}", random.below(256)),
        3 => format!("H{at}.example.com."),
        4 => format!("h\\.{at}"),
        _ => format!("h{at}"),
    };
    let head = random.pick(&["", "IN", "60", "60 IN", "IN 1h", "in"]);
    // Single type and data pieces in parentheses now and then.
    match random.below(4) {
        0 => format!("{owner} {head} {rtype} ( {data} )"),
        1 => format!("{owner} ( {head}\n\t{rtype} ) {data}"),
        _ => format!("{owner}\t{head} {rtype}   {data}"),
    }
}

fn name(random: &mut Random) -> String {
    match random.below(5) {
        0 => "@".into(),
        1 => "target.example.net.".into(),
        2 => format!("t{}", random.below(9)),
        3 => "x\\.y".into(),
        _ => "A.B".into(),
    }
}

fn string(random: &mut Random) -> String {
    match random.below(4) {
        0 => format!("plain{}", random.below(1000)),
        1 => "\"two words; (and) more\"".into(),
        2 => format!("\"a\\{:03}b\\\"c\"", random.below(256)),
        _ => "\"\"".into(),
    }
}

fn data(random: &mut Random) -> (&'static str, String) {
    let n = |random: &mut Random| random.below(65_536);
    match random.below(22) {
        0 => ("A", format!("192.0.2.{}", random.below(256))),
        1 => ("AAAA", format!("2001:db8::{:x}", n(random))),
        2 => ("CNAME", name(random)),
        3 => ("MX", format!("{} {}", n(random), name(random))),
        4 => ("TXT", format!("{} {}", string(random), string(random))),
        5 => ("PTR", name(random)),
        6 => (
            "SRV",
            format!("{} 0 {} {}", n(random), n(random), name(random)),
        ),
        7 => (
            "CAA",
            format!("{} issue {}", random.below(256), string(random)),
        ),
        8 => (
            "NAPTR",
            format!("{} 1 s {} \"\" {}", n(random), string(random), name(random)),
        ),
        9 => ("SSHFP", format!("4 2 {}", random.hex(32))),
        10 => (
            "TLSA",
            format!("3 1 1 {} {}", random.hex(16), random.hex(16)),
        ),
        11 => ("DS", format!("{} 13 2 {}", n(random), random.hex(32))),
        12 => ("HINFO", format!("{} {}", string(random), string(random))),
        13 => ("RP", format!("{} {}", name(random), name(random))),
        14 => ("TYPE65300", "\\# 3 0102 03".into()),
        15 => (
            "LOC",
            format!(
                "{} 3 {}.5 N {} W -{}.25m",
                random.below(90),
                random.below(60),
                random.below(180),
                random.below(9000)
            ),
        ),
        16 => ("DNAME", name(random)),
        17 => ("AFSDB", format!("{} {}", n(random), name(random))),
        18 => (
            "URI",
            format!("{} 1 \"https://example.com/{}\"", n(random), n(random)),
        ),
        19 => (
            "HTTPS",
            format!(
                "1 . alpn=h2,h3 port={} ipv4hint=192.0.2.{}",
                n(random),
                random.below(256)
            ),
        ),
        20 => ("SVCB", format!("0 {}", name(random))),
        _ => ("EUI48", "00-00-5e-00-53-2a".into()),
    }
}
