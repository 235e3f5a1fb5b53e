//! Any text is a zone or a list of mistakes; a zone, written and read again, is the same.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use meridian_dns::zone::master::{MasterFile, parse, rdata};

fn lines(zone: &MasterFile) -> Vec<String> {
    let mut lines = Vec::with_capacity(zone.records.len());
    for record in &zone.records {
        assert_eq!(rdata::check(record.rtype, &record.rdata), Ok(()));
        lines.push(format!(
            "{} {} IN {} {}",
            record.owner,
            record.ttl.0,
            rdata::type_name(record.rtype),
            rdata::to_text(record.rtype, &record.rdata)
        ));
    }
    lines
}

fuzz_target!(|text: &[u8]| {
    let apex = "example.com.".parse().expect("a name");
    let file = Path::new("zone");
    match parse(text, file, &apex) {
        Ok(zone) => {
            let written = lines(&zone);
            let again = parse(written.join("\n").as_bytes(), file, &apex)
                .unwrap_or_else(|told| panic!("what was written is refused:\n{told}"));
            assert_eq!(zone.records.len(), again.records.len());
            for (before, after) in zone.records.iter().zip(&again.records) {
                assert_eq!(before.owner.as_wire(), after.owner.as_wire());
                assert_eq!(before.ttl, after.ttl);
                assert_eq!(before.rtype, after.rtype);
                assert_eq!(before.rdata, after.rdata);
            }
        }
        Err(told) => {
            assert!(!told.is_empty() && told.0.len() <= 101);
            for one in told.0.iter().take(3) {
                assert!(!one.message.is_empty() && !one.help.is_empty(), "{one}");
            }
        }
    }
});
