//! Any octets are judged the same as data and as text; what is right reads back the same.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use meridian_dns::zone::master::{parse, rdata};

fuzz_target!(|input: &[u8]| {
    let Some((&[high, low], octets)) = input.split_first_chunk::<2>() else {
        return;
    };
    let rtype = u16::from_be_bytes([high & 1, low]);
    let text = rdata::to_text(rtype, octets);
    assert!(text.bytes().all(|octet| (0x20..=0x7e).contains(&octet)));
    let zone = format!(
        "$TTL 1\n@ SOA . . 0 0 0 0 0\n@ NS .\na.example.com. {} {text}\n",
        rdata::type_name(rtype)
    );
    let apex = "example.com.".parse().expect("a name");
    let read = parse(zone.as_bytes(), Path::new("zone"), &apex);
    let Ok(zone) = read else {
        let right = rdata::check(rtype, octets).is_ok();
        let stands = !matches!(rtype, 0 | 6 | 41 | 128..=255);
        assert!(!(right && stands), "refused: {text}");
        return;
    };
    assert_eq!(rdata::check(rtype, octets), Ok(()), "{text}");
    let last = zone.records.last().expect("three records");
    assert_eq!(&*last.rdata, octets, "{text}");
});
