//! The country database that is part of the program, in the compact form that `bundled/make`
//! writes and describes.

use std::net::IpAddr;

use crate::{
    database::Layer,
    ranges::{Address, Builder, NOTHING, Ranges},
};

const PACKED: &[u8] = include_bytes!("../bundled/ranges.bin");

/// Unpacked, the file may not be larger than this.
const MAX_PLAIN_OCTETS: usize = 16 << 20;

/// Country codes of both families.
#[derive(Debug)]
pub(crate) struct Bundled {
    build_epoch: u64,
    codes: Vec<[u8; 2]>,
    /// Values are indices into `codes`.
    ranges: Layer,
}

impl Bundled {
    /// Unpacks the file; `None` when it is damaged.
    pub(crate) fn read() -> Option<Self> {
        Self::unpack(PACKED)
    }

    fn unpack(packed: &[u8]) -> Option<Self> {
        let plain =
            miniz_oxide::inflate::decompress_to_vec_with_limit(packed, MAX_PLAIN_OCTETS).ok()?;
        let mut input = Input(&plain);
        if input.take(4)? != b"MGC1" {
            return None;
        }
        let build_epoch = u64::from_le_bytes(input.array()?);
        let codes = input.codes()?;
        let v4 = input.ranges::<u32>(codes.len())?;
        let v6 = input.ranges::<u128>(codes.len())?;
        input.0.is_empty().then_some(Self {
            build_epoch,
            codes,
            ranges: Layer { v4, v6 },
        })
    }

    /// Seconds since the epoch at which the source was built.
    pub(crate) fn build_epoch(&self) -> u64 {
        self.build_epoch
    }

    /// Country of an address.
    pub(crate) fn country(&self, address: IpAddr) -> Option<[u8; 2]> {
        let index = match address {
            IpAddr::V4(v4) => self.ranges.v4.get(v4.to_bits()),
            IpAddr::V6(v6) => self.ranges.v6.get(v6.to_bits()),
        };
        self.codes.get(usize::try_from(index).ok()?).copied()
    }

    /// Every range with what `value` makes of its country.
    pub(crate) fn layer(&self, value: impl FnMut([u8; 2]) -> u32) -> Layer {
        let values: Vec<u32> = self.codes.iter().copied().map(value).collect();
        let exchange = |index: u32| values.get(index as usize).copied().unwrap_or(NOTHING);
        Layer {
            v4: self.ranges.v4.map(exchange),
            v6: self.ranges.v6.map(exchange),
        }
    }
}

/// What is left to read.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// Country codes, their number in front.
    pub(crate) fn codes(&mut self) -> Option<Vec<[u8; 2]>> {
        let count = u16::from_le_bytes(self.array()?);
        (0..count).map(|_| self.array()).collect()
    }

    fn leb128(&mut self) -> Option<u128> {
        let mut number = 0_u128;
        for shift in (0..128).step_by(7) {
            let [octet] = self.array()?;
            number |= u128::from(octet & 127) << shift;
            if octet < 128 {
                return Some(number);
            }
        }
        None
    }

    /// One family. The lengths must fill the address space exactly.
    fn ranges<A: Address>(&mut self, codes: usize) -> Option<Ranges<A>> {
        let count = usize::try_from(u32::from_le_bytes(self.array()?)).ok()?;
        let indices = self.take(count)?;
        let zeroes = self.take(count.checked_sub(1)?)?;
        let mut out = Builder::new();
        let mut next = A::ZERO;
        for (at, index) in indices.iter().enumerate() {
            let value = match index.checked_sub(1) {
                None => NOTHING,
                Some(index) if usize::from(index) < codes => u32::from(index),
                Some(_) => return None,
            };
            let Some(zeroes) = zeroes.get(at) else {
                out.push_to(A::MAX, value);
                break;
            };
            let length = self.leb128()?.checked_shl(u32::from(*zeroes))?;
            next = next.plus(length)?;
            out.push_to(next.previous()?, value);
        }
        Some(out.finish(NOTHING))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn well_known_addresses() {
        let bundled = Bundled::read().unwrap();
        let country = |address: &str| {
            let code = bundled.country(address.parse().unwrap())?;
            Some(String::from_utf8_lossy(&code).into_owned())
        };
        let table = [
            ("133.11.0.1", "JP"),      // University of Tokyo
            ("193.0.6.139", "NL"),     // RIPE NCC
            ("129.132.1.1", "CH"),     // ETH Zürich
            ("131.111.8.42", "GB"),    // University of Cambridge
            ("134.76.1.1", "DE"),      // Göttingen
            ("128.30.52.100", "US"),   // MIT
            ("200.160.2.3", "BR"),     // NIC.br
            ("196.216.2.1", "ZA"),     // AFRINIC's network in Johannesburg
            ("147.46.1.1", "KR"),      // Seoul National University
            ("150.203.1.1", "AU"),     // Australian National University
            ("2001:67c:2e8::1", "NL"), // RIPE NCC
            ("2001:638::1", "DE"),     // DFN
            ("2001:4200::1", "ZA"),    // TENET
            ("2001:4860:4860::8888", "US"),
        ];
        for (address, code) in table {
            assert_eq!(country(address).as_deref(), Some(code), "{address}");
        }
        for address in ["10.0.0.1", "127.0.0.1", "224.0.0.1", "fe80::1", "::1"] {
            assert_eq!(country(address), None, "{address}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn damage_is_refused_or_read_but_never_a_panic(at in 0..PACKED.len(), with: u8, cut: bool) {
            let mut packed = PACKED.to_vec();
            if cut {
                packed.truncate(at);
            } else {
                packed[at] = with;
            }
            let _ = Bundled::unpack(&packed);
        }
    }
}
