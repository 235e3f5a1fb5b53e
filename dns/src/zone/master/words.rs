//! The words of an entry: what stands before a record's data, and what follows a directive.

use meridian_config::{Name, NameError};

use super::{
    lex::Token,
    problem::{Expected, Fault, Problem, Shown},
    rdata,
};
use crate::types::rtype::{is_meta, parse_type};

/// RFC 2181 §8: a TTL has 31 bits.
const MAX_TTL: u64 = 0x7fff_ffff;

/// What stands before the data of a record.
pub(super) struct Head<'k> {
    pub(super) ttl: Option<u32>,
    pub(super) rtype: u16,
    pub(super) rest: &'k [Token],
}

pub(super) fn head<'k>(text: &[u8], tokens: &'k [Token], end: usize) -> Result<Head<'k>, Fault> {
    let (mut ttl, mut class) = (None, false);
    for (i, token) in tokens.iter().enumerate() {
        let content = token.text(text);
        let fault = |problem| Err(Fault::new(token.span(), problem));
        let Some(word) = word(token, text) else {
            return fault(Problem::NoType(Shown::new(content)));
        };
        if content.first().is_some_and(u8::is_ascii_digit) {
            if ttl.replace(parse_ttl(*token, text)?).is_some() {
                return fault(Problem::TwoTtls);
            }
        } else if let Some(rtype) = parse_type(word) {
            if is_meta(rtype) {
                return fault(Problem::MetaType(rtype));
            }
            let rest = tokens.get(i + 1..).unwrap_or_default();
            return Ok(Head { ttl, rtype, rest });
        } else {
            match is_class_in(word) {
                Some(true) if class => return fault(Problem::TwoClasses),
                Some(true) => class = true,
                Some(false) => return fault(Problem::OtherClass(Shown::new(content))),
                None => return fault(Problem::NoType(Shown::new(content))),
            }
        }
    }
    Err(Fault::new((end, end), Problem::MissingType))
}

/// RFC 1035 §3.2.4, RFC 3597 §5: whether a word is class IN, another class, or none.
fn is_class_in(word: &str) -> Option<bool> {
    if word.eq_ignore_ascii_case("IN") {
        return Some(true);
    }
    if ["CH", "CHAOS", "HS", "HESIOD", "CS", "NONE"]
        .iter()
        .any(|other| word.eq_ignore_ascii_case(other))
    {
        return Some(false);
    }
    let (prefix, digits) = word.split_at_checked(5)?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if prefix.eq_ignore_ascii_case("CLASS") && plain {
        Some(digits.parse() == Ok(1_u16))
    } else {
        None
    }
}

/// An unquoted token that is ASCII.
pub(super) fn word<'t>(token: &Token, text: &'t [u8]) -> Option<&'t str> {
    std::str::from_utf8(token.text(text))
        .ok()
        .filter(|_| !token.quoted)
}

pub(super) fn parse_ttl(token: Token, text: &[u8]) -> Result<u32, Fault> {
    let content = token.text(text);
    let shown = || Shown::new(content);
    match rdata::period(content).filter(|_| !token.quoted) {
        None => Err(Fault::new(
            token.span(),
            Problem::Not(shown(), Expected::Period),
        )),
        Some(seconds) if seconds > MAX_TTL => {
            Err(Fault::new(token.span(), Problem::TtlTooLarge(shown())))
        }
        Some(seconds) => Ok(u32::try_from(seconds).unwrap_or(u32::MAX)),
    }
}

pub(super) fn bad_name(token: &Token, word: &[u8], error: NameError) -> Fault {
    Fault::new(token.span(), Problem::BadName(Shown::new(word), error))
}

/// The words behind a directive.
pub(super) struct Words<'t> {
    pub(super) text: &'t [u8],
    pub(super) tokens: &'t [Token],
    pub(super) end: usize,
}

impl<'t> Words<'t> {
    pub(super) fn next(&mut self, expected: Expected) -> Result<Token, Fault> {
        let missing = || Fault::new((self.end, self.end), Problem::Missing(expected));
        let (&token, rest) = self.tokens.split_first().ok_or_else(missing)?;
        self.tokens = rest;
        Ok(token)
    }

    pub(super) fn unquoted(&mut self, expected: Expected) -> Result<(Token, &'t [u8]), Fault> {
        let token = self.next(expected)?;
        let word = token.text(self.text);
        if token.quoted {
            return Err(Fault::new(
                token.span(),
                Problem::Not(Shown::new(word), expected),
            ));
        }
        Ok((token, word))
    }

    pub(super) fn name(&mut self, origin: &Name, expected: Expected) -> Result<Name, Fault> {
        let (token, word) = self.unquoted(expected)?;
        Name::parse_bytes(word, origin).map_err(|error| bad_name(&token, word, error))
    }

    pub(super) fn finish(&self) -> Result<(), Fault> {
        match self.tokens.first() {
            None => Ok(()),
            Some(extra) => Err(Fault::new(
                extra.span(),
                Problem::Extra(Shown::new(extra.text(self.text))),
            )),
        }
    }
}
