//! A short run of the fuzz target's body.

use proptest::prelude::*;

use super::{super::drive, sim::Sim};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn any_octets_leave_the_peer_in_order(data in prop::collection::vec(any::<u8>(), 0..600)) {
        drive(&data, Sim::new().now);
    }

    /// Mostly whole messages, many of them UPDATEs.
    #[test]
    fn any_bodies_leave_the_peer_in_order(
        steps in prop::collection::vec((0x80_u8..0x90, prop::collection::vec(any::<u8>(), 1..120)), 0..12)
    ) {
        let mut data = vec![1];
        for (choice, body) in steps {
            data.extend([choice & 0xfe, u8::try_from(body.len()).unwrap()]);
            data.extend(body);
        }
        drive(&data, Sim::new().now);
    }
}
