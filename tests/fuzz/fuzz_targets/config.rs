//! Any octets as a configuration: read whole or refused with reasons, and the reasons can be shown
//! on a terminal. Seeds: `config/testdata/good` and `config/testdata/bad`.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use meridian_config::parse;

fuzz_target!(|octets: &[u8]| {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    let Err(found) = parse(text, Path::new("meridian.toml")) else {
        return;
    };
    assert!(!found.is_empty(), "refused without a reason");
    for one in &found.0 {
        assert!(one.span.end <= one.source.len(), "{one}");
        assert!(!one.help.is_empty(), "{one}");
    }
    let printed = found.render(false);
    assert!(!printed.contains(|c: char| c.is_control() && c != '\n'));
});
