//! Pages of load sources: no page breaks the readers of the Prometheus text format and of nginx's
//! `stub_status`; a page in pieces reads as the whole; what is found is bounded, finite and not
//! negative.
//!
//! Input: one octet, the size of the pieces, then a page.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((cut, page)) = data.split_first() {
        meridian_health_prober::fuzz_load_page(page, usize::from(*cut));
    }
});
