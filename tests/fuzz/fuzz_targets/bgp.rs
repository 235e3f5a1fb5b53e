//! BGP: no octets from a peer, in any order with what else can happen to a session, panic the
//! decoder or the state machine or make them keep much.
//!
//! Input: see `session::drive`.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| meridian_bgp_control::session::drive(data, Instant::now()));
