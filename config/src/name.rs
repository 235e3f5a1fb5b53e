//! Domain names in wire form (RFC 1035 §3.1), case kept, compared without it (RFC 4343).

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

/// An absolute domain name: uncompressed wire form, 1..=255 octets, the root label last.
#[derive(Clone)]
pub struct Name(Box<[u8]>);

/// Why a text or an octet string is no domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// RFC 1035 §2.3.4
    #[error("a label is longer than 63 octets")]
    LabelTooLong,
    /// RFC 1035 §2.3.4
    #[error("the name is longer than 255 octets")]
    NameTooLong,
    /// Two dots in a row, or a dot at the start.
    #[error("a label is empty")]
    EmptyLabel,
    /// `\` at the end or `\DDD` above 255 or not three digits.
    #[error("a backslash is not followed by a character or by three digits up to 255")]
    BadEscape,
    /// Octets that end before the root label, or a compression pointer where none may stand.
    #[error("the octets are not an uncompressed domain name")]
    BadWire,
}

impl Name {
    /// The root.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Checks and takes an uncompressed wire form that ends exactly with the root label.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        let mut at = 0;
        loop {
            let length = usize::from(*wire.get(at).ok_or(NameError::BadWire)?);
            if length > 63 {
                return Err(NameError::BadWire);
            }
            at += 1 + length;
            if length == 0 {
                break;
            }
        }
        if wire.len() > 255 {
            return Err(NameError::NameTooLong);
        }
        if at != wire.len() {
            return Err(NameError::BadWire);
        }
        Ok(Self(wire.into()))
    }

    /// Reads presentation form (RFC 1035 §5.1). A name without a final dot is relative to
    /// `origin`; `@` is the origin itself.
    pub fn parse(text: &str, origin: &Name) -> Result<Self, NameError> {
        Self::parse_bytes(text.as_bytes(), origin)
    }

    /// [`Name::parse`] for text that need not be UTF-8.
    pub fn parse_bytes(text: &[u8], origin: &Name) -> Result<Self, NameError> {
        if text == b"@" {
            return Ok(origin.clone());
        }
        if text == b"." {
            return Ok(Self::root());
        }
        if text.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        let mut wire: Vec<u8> = Vec::with_capacity(text.len() + 2);
        let mut label: Vec<u8> = Vec::with_capacity(63);
        let mut rest = text;
        let mut absolute = false;
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            match byte {
                b'.' => {
                    push_label(&mut wire, &mut label)?;
                    absolute = rest.is_empty();
                }
                b'\\' => {
                    let (octet, tail) = escape(rest).ok_or(NameError::BadEscape)?;
                    label.push(octet);
                    rest = tail;
                }
                other => label.push(other),
            }
        }
        if absolute {
            wire.push(0);
        } else {
            push_label(&mut wire, &mut label)?;
            wire.extend_from_slice(&origin.0);
        }
        if wire.len() > 255 {
            return Err(NameError::NameTooLong);
        }
        Ok(Self(wire.into()))
    }

    /// The uncompressed wire form, case kept, root label included.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The same name in lower case. Lower-casing the whole wire form is safe: a length octet is
    /// at most 63, below `A`.
    pub fn to_lower(&self) -> Self {
        Self(self.0.to_ascii_lowercase().into())
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Labels from left to right, the root label left out.
    pub fn labels(&self) -> Labels<'_> {
        Labels(&self.0)
    }

    /// Whether the leftmost label is `*` (RFC 4592 §2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(&[1, b'*'])
    }

    /// The name without its leftmost label; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let length = usize::from(*self.0.first()?);
        if length == 0 {
            None
        } else {
            Some(Self(self.0[1 + length..].into()))
        }
    }

    /// Whether this name is `other` or below it.
    pub fn is_at_or_below(&self, other: &Name) -> bool {
        let mut rest: &[u8] = &self.0;
        loop {
            if rest.len() == other.0.len() {
                return rest.eq_ignore_ascii_case(&other.0);
            }
            if rest.len() < other.0.len() {
                return false;
            }
            rest = &rest[1 + usize::from(rest[0])..];
        }
    }
}

fn push_label(wire: &mut Vec<u8>, label: &mut Vec<u8>) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel);
    }
    let length = u8::try_from(label.len()).map_err(|_| NameError::LabelTooLong)?;
    if length > 63 {
        return Err(NameError::LabelTooLong);
    }
    wire.push(length);
    wire.append(label);
    Ok(())
}

/// What stands after a backslash: `DDD` or any one octet (RFC 1035 §5.1).
fn escape(rest: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, tail) = rest.split_first()?;
    if !first.is_ascii_digit() {
        return Some((first, tail));
    }
    let digits = rest.get(..3)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0_u16, |sum, d| sum * 10 + u16::from(d - b'0'));
    Some((u8::try_from(value).ok()?, &rest[3..]))
}

/// Iterator over the labels of a [`Name`].
#[derive(Clone, Debug)]
pub struct Labels<'a>(&'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.0.split_first()?;
        let length = usize::from(length);
        if length == 0 || length > rest.len() {
            return None;
        }
        let (label, rest) = rest.split_at(length);
        self.0 = rest;
        Some(label)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0.to_ascii_lowercase());
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    /// Canonical order (RFC 4034 §6.1).
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |name: &Name| -> Vec<Vec<u8>> {
            let mut labels: Vec<_> = name.labels().map(<[u8]>::to_ascii_lowercase).collect();
            labels.reverse();
            labels
        };
        key(self).cmp(&key(other))
    }
}

impl fmt::Display for Name {
    /// Presentation form with a final dot; anything but letters, digits, `-`, `_`, `*` and a few
    /// harmless marks is escaped, so the text is safe in logs and zone files alike.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => write!(f, "{}", char::from(octet))?,
                    b'-' | b'_' | b'*' | b'/' | b'+' | b':' | b'=' => {
                        write!(f, "{}", char::from(octet))?;
                    }
                    0x21..=0x7e => write!(f, "\\{}", char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// Reads presentation form; a missing final dot is supplied.
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text, &Self::root())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn relative_absolute_and_at() {
        let origin = name("example.com");
        assert_eq!(Name::parse("www", &origin), Ok(name("www.example.com.")));
        assert_eq!(Name::parse("www.", &origin), Ok(name("www.")));
        assert_eq!(Name::parse("@", &origin), Ok(origin.clone()));
        assert_eq!(
            Name::parse("\\@", &origin).unwrap().as_wire()[..2],
            [1, b'@']
        );
        assert_eq!(Name::parse(".", &origin), Ok(Name::root()));
    }

    #[test]
    fn refuses_what_rfc_1035_refuses() {
        let root = Name::root();
        assert_eq!(Name::parse("a..b", &root), Err(NameError::EmptyLabel));
        assert_eq!(Name::parse(".a", &root), Err(NameError::EmptyLabel));
        assert_eq!(Name::parse("", &root), Err(NameError::EmptyLabel));
        assert_eq!(Name::parse("a\\", &root), Err(NameError::BadEscape));
        assert_eq!(Name::parse("a\\256", &root), Err(NameError::BadEscape));
        assert_eq!(Name::parse("a\\25", &root), Err(NameError::BadEscape));
        assert_eq!(
            Name::parse(&"a".repeat(64), &root),
            Err(NameError::LabelTooLong)
        );
        let long = [&"a".repeat(63)[..]; 4].join(".");
        assert_eq!(Name::parse(&long, &root), Err(NameError::NameTooLong));
        assert_eq!(Name::from_wire(&[1, b'a']), Err(NameError::BadWire));
        assert_eq!(Name::from_wire(&[0xc0, 0]), Err(NameError::BadWire));
        assert_eq!(Name::from_wire(&[0, 0]), Err(NameError::BadWire));
    }

    #[test]
    fn below_is_judged_by_labels_and_without_case() {
        assert!(name("a.EXAMPLE.com").is_at_or_below(&name("example.COM")));
        assert!(name("example.com").is_at_or_below(&name("example.com")));
        assert!(!name("badexample.com").is_at_or_below(&name("example.com")));
        assert!(!name("com").is_at_or_below(&name("example.com")));
        assert!(name("com").is_at_or_below(&Name::root()));
    }

    proptest! {
        #[test]
        fn text_and_back(labels in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 1..=20), 0..8)
        ) {
            let mut wire = Vec::new();
            for label in &labels {
                wire.push(u8::try_from(label.len()).unwrap());
                wire.extend_from_slice(label);
            }
            wire.push(0);
            let name = Name::from_wire(&wire).unwrap();
            let back: Name = name.to_string().parse().unwrap();
            prop_assert_eq!(back.as_wire(), name.as_wire());
        }

        #[test]
        fn any_octets_and_any_text_are_total(wire: Vec<u8>, text: Vec<u8>) {
            let _ = Name::from_wire(&wire);
            if let Ok(name) = Name::parse_bytes(&text, &Name::root()) {
                prop_assert!(Name::from_wire(name.as_wire()).is_ok());
            }
        }
    }
}
