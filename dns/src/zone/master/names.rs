//! Domain names of a master file, written straight into wire form without a buffer of their own.

use meridian_config::{Name, NameError};

use super::lex::escaped;

/// Appends the wire form of a name in presentation form (RFC 1035 §5.1): relative to `origin`
/// without a final dot, `@` is the origin itself. On an error `out` is left with a part of it.
pub(super) fn push_name(text: &[u8], origin: &Name, out: &mut Vec<u8>) -> Result<(), NameError> {
    match text {
        b"@" => {
            out.extend_from_slice(origin.as_wire());
            return Ok(());
        }
        b"." => {
            out.push(0);
            return Ok(());
        }
        [] => return Err(NameError::EmptyLabel),
        _ => {}
    }
    let start = out.len();
    let mut label_at = start;
    out.push(0);
    let mut rest = text;
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        match octet {
            b'.' => {
                end_label(out, label_at)?;
                label_at = out.len();
                out.push(0);
            }
            b'\\' => {
                let (value, tail) = escaped(rest).ok_or(NameError::BadEscape)?;
                out.push(value);
                rest = tail;
            }
            other => out.push(other),
        }
    }
    // After a final dot the octet pushed for the next label is the root label.
    if label_at + 1 < out.len() {
        end_label(out, label_at)?;
        out.extend_from_slice(origin.as_wire());
    }
    if out.len() - start > 255 {
        return Err(NameError::NameTooLong);
    }
    Ok(())
}

fn end_label(out: &mut [u8], at: usize) -> Result<(), NameError> {
    let length = out.len() - at - 1;
    let octet = u8::try_from(length).map_err(|_| NameError::LabelTooLong)?;
    match octet {
        0 => Err(NameError::EmptyLabel),
        64.. => Err(NameError::LabelTooLong),
        _ => {
            if let Some(slot) = out.get_mut(at) {
                *slot = octet;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pushed(text: &[u8], origin: &Name) -> Result<Vec<u8>, NameError> {
        let mut out = Vec::new();
        push_name(text, origin, &mut out).map(|()| out)
    }

    proptest! {
        // The reader of the config crate is the specification.
        #[test]
        fn same_as_name_parse(
            text in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..20),
                "[ab.\\\\0-9@]{0,12}".prop_map(String::into_bytes),
                "([a-z]{1,63}\\.){0,6}[a-z]{0,65}".prop_map(String::into_bytes),
            ],
        ) {
            for origin in [Name::root(), "example.com.".parse().unwrap()] {
                let right = Name::parse_bytes(&text, &origin).map(|name| name.as_wire().to_vec());
                let ours = pushed(&text, &origin);
                prop_assert_eq!(ours.is_ok(), right.is_ok());
                if let Ok(right) = right {
                    prop_assert_eq!(ours.unwrap(), right);
                }
            }
        }
    }
}
