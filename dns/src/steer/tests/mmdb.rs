//! A writer of small MaxMind DB files, so that random worlds have random databases.

/// Country, latitude, longitude.
pub(super) type Record = (&'static str, f64, f64);

#[derive(Clone, Copy)]
enum Slot {
    Empty,
    Node(usize),
    Data(usize),
}

/// The octets of an IPv6 database in the flat schema. Prefixes are (first address, length, index
/// of the record), IPv4 in the lowest 32 bits under `::/96`; later ones lie over earlier ones.
pub(super) fn write(prefixes: &[(u128, u8, usize)], records: &[Record]) -> Vec<u8> {
    let mut nodes = vec![[Slot::Empty; 2]];
    for (base, len, record) in prefixes {
        insert(&mut nodes, *base, *len, *record);
    }
    let mut data = Vec::new();
    let mut offsets = Vec::new();
    for (country, latitude, longitude) in records {
        offsets.push(data.len());
        data.push(7 << 5 | 3);
        text(&mut data, "country_code");
        text(&mut data, country);
        for (key, value) in [("latitude", latitude), ("longitude", longitude)] {
            text(&mut data, key);
            data.push(3 << 5 | 8);
            data.extend(value.to_be_bytes());
        }
    }
    let count = nodes.len();
    let mut out = Vec::new();
    for slot in nodes.iter().flatten() {
        let value = match *slot {
            Slot::Empty => count,
            Slot::Node(node) => node,
            Slot::Data(record) => count + 16 + offsets[record],
        };
        out.extend(u32::try_from(value).unwrap().to_be_bytes());
    }
    out.extend([0; 16]);
    out.extend(data);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    metadata(&mut out, u32::try_from(count).unwrap());
    out
}

fn insert(nodes: &mut Vec<[Slot; 2]>, base: u128, len: u8, record: usize) {
    let mut at = 0;
    for depth in 0..len {
        let bit = usize::from(base >> (127 - depth) & 1 == 1);
        if depth + 1 == len {
            nodes[at][bit] = Slot::Data(record);
            return;
        }
        at = match nodes[at][bit] {
            Slot::Node(node) => node,
            old => {
                nodes.push([old; 2]);
                nodes[at][bit] = Slot::Node(nodes.len() - 1);
                nodes.len() - 1
            }
        };
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 29);
    out.push(2 << 5 | u8::try_from(text.len()).unwrap());
    out.extend(text.as_bytes());
}

fn metadata(out: &mut Vec<u8>, nodes: u32) {
    out.push(7 << 5 | 9);
    let number = |out: &mut Vec<u8>, key: &str, value: u16| {
        text(out, key);
        out.push(5 << 5 | 2);
        out.extend(value.to_be_bytes());
    };
    number(out, "binary_format_major_version", 2);
    number(out, "binary_format_minor_version", 0);
    number(out, "ip_version", 6);
    number(out, "record_size", 32);
    text(out, "node_count");
    out.push(6 << 5 | 4);
    out.extend(nodes.to_be_bytes());
    text(out, "build_epoch");
    out.extend([4, 2, 1]);
    out.extend([0; 3]);
    text(out, "database_type");
    text(out, "steering-test-City");
    text(out, "description");
    out.push(7 << 5);
    text(out, "languages");
    out.extend([0, 4]);
}
