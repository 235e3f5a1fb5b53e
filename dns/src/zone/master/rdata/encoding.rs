//! Hexadecimal, base32hex and base64 (RFC 4648), as RDATA writes them.

const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE32HEX: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the octets of hexadecimal digits in pairs.
pub(super) fn read_hex(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    for &[high, low] in pairs {
        out.push(digit16(high)? << 4 | digit16(low)?);
    }
    Some(())
}

fn digit16(octet: u8) -> Option<u8> {
    let value = char::from(octet).to_digit(16)?;
    u8::try_from(value).ok()
}

pub(super) fn write_hex(octets: &[u8], out: &mut String) {
    for &octet in octets {
        push_digit(out, HEX, octet >> 4);
        push_digit(out, HEX, octet & 15);
    }
}

fn push_digit(out: &mut String, alphabet: &[u8], value: u8) {
    if let Some(&digit) = alphabet.get(usize::from(value)) {
        out.push(char::from(digit));
    }
}

/// Appends the octets of base32hex digits without padding.
///
/// RFC 5155 §3.3: "represented as an unpadded sequence of case-insensitive base32 digits".
pub(super) fn read_base32hex(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    read_bits(text, 5, out, |octet| {
        char::from(octet)
            .to_digit(32)
            .and_then(|v| u8::try_from(v).ok())
    })
}

pub(super) fn write_base32hex(octets: &[u8], out: &mut String) {
    write_bits(octets, 5, BASE32HEX, out);
}

/// Appends the octets of base64 text, its padding included.
pub(super) fn read_base64(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text
        .iter()
        .rev()
        .take_while(|&&octet| octet == b'=')
        .count();
    if padding > 2 {
        return None;
    }
    read_bits(
        text.get(..text.len() - padding)?,
        6,
        out,
        |octet| match octet {
            b'A'..=b'Z' => Some(octet - b'A'),
            b'a'..=b'z' => Some(octet - b'a' + 26),
            b'0'..=b'9' => Some(octet - b'0' + 52),
            b'+' => Some(62),
            b'/' => Some(63),
            _ => None,
        },
    )
}

pub(super) fn write_base64(octets: &[u8], out: &mut String) {
    write_bits(octets, 6, BASE64, out);
    for _ in 0..(3 - octets.len() % 3) % 3 {
        out.push('=');
    }
}

fn read_bits(
    text: &[u8],
    width: u32,
    out: &mut Vec<u8>,
    digit: impl Fn(u8) -> Option<u8>,
) -> Option<()> {
    let mut pending = 0_u32;
    let mut bits = 0;
    for &octet in text {
        pending = (pending << width | u32::from(digit(octet)?)) & 0xffff;
        bits += width;
        if bits >= 8 {
            bits -= 8;
            out.push((pending >> bits & 0xff) as u8);
        }
    }
    // A whole digit left over, or bits set behind the last octet, is no encoding of octets.
    (bits < width && pending & ((1 << bits) - 1) == 0).then_some(())
}

fn write_bits(octets: &[u8], width: u32, alphabet: &[u8], out: &mut String) {
    let mask = (1_u32 << width) - 1;
    let mut pending = 0_u32;
    let mut bits = 0;
    for &octet in octets {
        pending = (pending << 8 | u32::from(octet)) & 0xffff;
        bits += 8;
        while bits >= width {
            bits -= width;
            push_digit(out, alphabet, (pending >> bits & mask) as u8);
        }
    }
    if bits > 0 {
        push_digit(out, alphabet, (pending << (width - bits) & mask) as u8);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Read = fn(&[u8], &mut Vec<u8>) -> Option<()>;
    type Write = fn(&[u8], &mut String);

    fn read(read: Read, text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        read(text.as_bytes(), &mut out).map(|()| out)
    }

    #[test]
    fn rfc_4648_section_10() {
        for (plain, base64, base32) in [
            ("", "", ""),
            ("f", "Zg==", "co"),
            ("fo", "Zm8=", "cpng"),
            ("foo", "Zm9v", "cpnmu"),
            ("foob", "Zm9vYg==", "cpnmuog"),
            ("fooba", "Zm9vYmE=", "cpnmuoj1"),
            ("foobar", "Zm9vYmFy", "cpnmuoj1e8"),
        ] {
            assert_eq!(read(read_base64, base64).unwrap(), plain.as_bytes());
            assert_eq!(read(read_base32hex, base32).unwrap(), plain.as_bytes());
        }
    }

    #[test]
    fn refuses() {
        for bad in [
            "Z", "Zg", "Zg=", "Zh==", "Zg==Zg==", "Z===", "====", "Zm8 ", "Zm-v",
        ] {
            assert_eq!(read(read_base64, bad), None, "{bad}");
        }
        for bad in ["c", "cp=", "cp", "w0", "cpn"] {
            assert_eq!(read(read_base32hex, bad), None, "{bad}");
        }
        for bad in ["0", "0g", "+1", "000"] {
            assert_eq!(read(read_hex, bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn there_and_back(octets: Vec<u8>, text: Vec<u8>) {
            let pairs: [(Read, Write); 3] = [
                (read_hex, write_hex),
                (read_base32hex, write_base32hex),
                (read_base64, write_base64),
            ];
            for (read, write) in pairs {
                let mut written = String::new();
                write(&octets, &mut written);
                let mut back = Vec::new();
                prop_assert!(read(written.as_bytes(), &mut back).is_some());
                prop_assert_eq!(&back, &octets);
                let _ = read(&text, &mut Vec::new());
            }
        }
    }
}
