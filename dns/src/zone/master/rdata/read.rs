//! Text to wire: one function for each kind of field.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use meridian_config::Name;

use super::{
    apl,
    check::check,
    encoding, gateway, loc,
    scalar::{decimal, eui, locator64, period, time},
    schema::{Field, fields},
    svcb,
    write::{algorithm, cert_type},
};
use crate::{
    types::rtype::parse_type,
    zone::master::{
        lex::{Token, unescape},
        names::push_name,
        problem::{Expected, Fault, Problem, Shown},
    },
};

/// The tokens of one record's data, and what is needed to read them.
pub(in crate::zone::master) struct Input<'t> {
    text: &'t [u8],
    tokens: &'t [Token],
    /// Place just behind the record, for what is missing there.
    end: usize,
    origin: &'t Name,
}

/// Reads the data of one record into `out`, which must be empty, and checks it.
///
/// # Errors
/// The first mistake, with its place.
pub(in crate::zone::master) fn read(
    rtype: u16,
    input: &mut Input<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let place = input.here();
    if input.is_generic() {
        generic(input, out)?;
    } else {
        let Some(fields) = fields(rtype) else {
            return Err(Fault::new(place, Problem::NoTextForm(rtype)));
        };
        known(fields, input, out).map_err(|fault| {
            let problem = Box::new(fault.problem);
            Fault::new(fault.span, Problem::Field { rtype, problem })
        })?;
    }
    if out.len() > usize::from(u16::MAX) {
        return Err(Fault::new(place, Problem::TooLong(out.len())));
    }
    check(rtype, out).map_err(|error| Fault::new(place, Problem::Data { rtype, error }))
}

fn known(fields: &[Field], input: &mut Input<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    for &field in fields {
        input.field(field, out)?;
    }
    match input.peek() {
        None => Ok(()),
        Some(extra) => {
            let shown = Shown::new(extra.text(input.text));
            Err(Fault::new(extra.span(), Problem::Extra(shown)))
        }
    }
}

/// RFC 3597 §5: `\# LENGTH HEX`, for known types as well.
fn generic(input: &mut Input<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    input.next(Expected::Length)?;
    let place = input.here();
    let length = input.number(Expected::Length, u32::from(u16::MAX))?;
    let hex_place = input.here();
    let hex = input.join_rest(Expected::Hex, true)?;
    encoding::read_hex(&hex, out)
        .ok_or_else(|| Fault::new(hex_place, Problem::Not(Shown::new(&hex), Expected::Hex)))?;
    if out.len() == length as usize {
        Ok(())
    } else {
        Err(Fault::new(
            place,
            Problem::GenericLength(length as usize, out.len()),
        ))
    }
}

impl<'t> Input<'t> {
    pub(in crate::zone::master) fn new(
        text: &'t [u8],
        tokens: &'t [Token],
        end: usize,
        origin: &'t Name,
    ) -> Self {
        Self {
            text,
            tokens,
            end,
            origin,
        }
    }

    pub(super) fn peek(&self) -> Option<Token> {
        self.tokens.first().copied()
    }

    /// Place of the next token, or of the end.
    pub(super) fn here(&self) -> (usize, usize) {
        self.peek().map_or((self.end, self.end), |t| t.span())
    }

    /// The next token's place and content.
    pub(super) fn next(&mut self, expected: Expected) -> Result<(Token, &'t [u8]), Fault> {
        let Some((&token, rest)) = self.tokens.split_first() else {
            return Err(Fault::new(self.here(), Problem::Missing(expected)));
        };
        self.tokens = rest;
        Ok((token, token.text(self.text)))
    }

    pub(super) fn not(token: Token, text: &[u8], expected: Expected) -> Fault {
        Fault::new(token.span(), Problem::Not(Shown::new(text), expected))
    }

    fn is_generic(&self) -> bool {
        self.peek()
            .is_some_and(|token| !token.quoted && token.text(self.text) == b"\\#")
    }

    /// An unquoted token in ASCII, handed to `parse`.
    pub(super) fn word<T>(
        &mut self,
        expected: Expected,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Fault> {
        let (token, text) = self.next(expected)?;
        let parsed = std::str::from_utf8(text)
            .ok()
            .filter(|_| !token.quoted)
            .and_then(parse);
        parsed.ok_or_else(|| Self::not(token, text, expected))
    }

    pub(super) fn number(&mut self, expected: Expected, most: u32) -> Result<u32, Fault> {
        self.word(expected, |text| decimal(text, most))
    }

    fn field(&mut self, field: Field, out: &mut Vec<u8>) -> Result<(), Fault> {
        match field {
            Field::U8 => self.integer(u32::from(u8::MAX), out),
            Field::U16 => self.integer(u32::from(u16::MAX), out),
            Field::U32 => self.integer(u32::MAX, out),
            Field::Period => {
                let seconds = self.word(Expected::Period, |text| {
                    period(text.as_bytes()).and_then(|value| u32::try_from(value).ok())
                })?;
                out.extend(seconds.to_be_bytes());
                Ok(())
            }
            Field::Time => self.fixed(Expected::Time, out, |text| Some(time(text)?.to_be_bytes())),
            Field::Type => self.fixed(Expected::Type, out, |text| {
                Some(parse_type(text)?.to_be_bytes())
            }),
            Field::Algorithm => self.fixed(Expected::Algorithm, out, |text| {
                let number = decimal(text, 255).and_then(|value| u8::try_from(value).ok());
                Some([number.or_else(|| algorithm(text))?])
            }),
            Field::CertType => self.fixed(Expected::CertType, out, |text| {
                let number = decimal(text, 65_535).and_then(|value| u16::try_from(value).ok());
                Some(number.or_else(|| cert_type(text))?.to_be_bytes())
            }),
            Field::Ipv4 => self.fixed(Expected::Ipv4, out, |text| {
                Some(Ipv4Addr::from_str(text).ok()?.octets())
            }),
            Field::Ipv6 => self.fixed(Expected::Ipv6, out, |text| {
                Some(Ipv6Addr::from_str(text).ok()?.octets())
            }),
            Field::Eui48 => self.fixed(Expected::Eui48, out, eui::<6>),
            Field::Eui64 => self.fixed(Expected::Eui64, out, eui::<8>),
            Field::Locator64 => self.fixed(Expected::Locator64, out, locator64),
            Field::Name => self.name(out),
            Field::Text => self.string(out),
            Field::Texts => {
                self.string(out)?;
                while !self.tokens.is_empty() {
                    self.string(out)?;
                }
                Ok(())
            }
            Field::Uri => self.long_string(Expected::Uri, out),
            Field::Value => self.long_string(Expected::Text, out),
            Field::Tag => self.tag(out),
            Field::Hex => self.rest(Expected::Hex, out, encoding::read_hex),
            Field::Base64 => self.rest(Expected::Base64, out, encoding::read_base64),
            Field::Salt => self.salt(out),
            Field::Hash => self.hash(out),
            Field::Bitmap(_) => self.bitmap(out),
            Field::Loc => loc::read(self, out),
            Field::Apl => apl::read(self, out),
            Field::Gateway(kind) => gateway::read(self, kind, out),
            Field::SvcParams => svcb::read(self, out),
        }
    }

    fn integer(&mut self, most: u32, out: &mut Vec<u8>) -> Result<(), Fault> {
        let value = self.number(Expected::Number(most), most)?.to_be_bytes();
        let skip = most.leading_zeros() as usize / 8;
        out.extend(value.iter().skip(skip));
        Ok(())
    }

    fn fixed<const N: usize>(
        &mut self,
        expected: Expected,
        out: &mut Vec<u8>,
        parse: impl FnOnce(&str) -> Option<[u8; N]>,
    ) -> Result<(), Fault> {
        out.extend(self.word(expected, parse)?);
        Ok(())
    }

    pub(super) fn name(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let (token, text) = self.next(Expected::Name)?;
        if token.quoted {
            return Err(Self::not(token, text, Expected::Name));
        }
        push_name(text, self.origin, out)
            .map_err(|error| Fault::new(token.span(), Problem::BadName(Shown::new(text), error)))
    }

    /// A `<character-string>` with its length octet.
    fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let (token, text) = self.next(Expected::Text)?;
        let at = out.len();
        out.push(0);
        unescape(text, out).ok_or_else(|| Fault::new(token.span(), Problem::BadEscape))?;
        let length =
            u8::try_from(out.len() - at - 1).map_err(|_| Self::not(token, text, Expected::Text))?;
        if let Some(slot) = out.get_mut(at) {
            *slot = length;
        }
        Ok(())
    }

    /// A string without a length octet.
    fn long_string(&mut self, expected: Expected, out: &mut Vec<u8>) -> Result<(), Fault> {
        let (token, text) = self.next(expected)?;
        unescape(text, out).ok_or_else(|| Fault::new(token.span(), Problem::BadEscape))
    }

    fn tag(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let (token, text) = self.next(Expected::Tag)?;
        let length = u8::try_from(text.len()).ok();
        match length.filter(|_| text.iter().all(u8::is_ascii_alphanumeric)) {
            Some(length) if length > 0 => {
                out.push(length);
                out.extend(text);
                Ok(())
            }
            _ => Err(Self::not(token, text, Expected::Tag)),
        }
    }

    /// All tokens that are left, put together; they may be split anywhere.
    fn join_rest(&mut self, expected: Expected, may_be_empty: bool) -> Result<Vec<u8>, Fault> {
        if self.tokens.is_empty() && !may_be_empty {
            return Err(Fault::new(self.here(), Problem::Missing(expected)));
        }
        let mut joined = Vec::new();
        while !self.tokens.is_empty() {
            let (token, text) = self.next(expected)?;
            if token.quoted {
                return Err(Self::not(token, text, expected));
            }
            joined.extend(text);
        }
        Ok(joined)
    }

    pub(super) fn rest(
        &mut self,
        expected: Expected,
        out: &mut Vec<u8>,
        decode: impl FnOnce(&[u8], &mut Vec<u8>) -> Option<()>,
    ) -> Result<(), Fault> {
        let place = self.here();
        let joined = self.join_rest(expected, false)?;
        decode(&joined, out)
            .ok_or_else(|| Fault::new(place, Problem::Not(Shown::new(&joined), expected)))
    }

    fn salt(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let salt = self.word(Expected::Salt, |text| {
            let mut salt = Vec::new();
            if text != "-" {
                encoding::read_hex(text.as_bytes(), &mut salt).filter(|()| !text.is_empty())?;
            }
            Some((u8::try_from(salt.len()).ok()?, salt))
        })?;
        out.push(salt.0);
        out.extend(salt.1);
        Ok(())
    }

    fn hash(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let hash = self.word(Expected::Base32, |text| {
            let mut hash = Vec::new();
            encoding::read_base32hex(text.as_bytes(), &mut hash)?;
            Some((u8::try_from(hash.len()).ok()?, hash))
        })?;
        out.push(hash.0);
        out.extend(hash.1);
        Ok(())
    }

    /// RFC 4034 §4.1.2.
    fn bitmap(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut types = Vec::new();
        while !self.tokens.is_empty() {
            types.push(self.word(Expected::Type, parse_type)?);
        }
        types.sort_unstable();
        for window in types.chunk_by(|a, b| a >> 8 == b >> 8) {
            let mut bits = [0_u8; 32];
            let mut length = 0;
            for rtype in window {
                let [high, low] = rtype.to_be_bytes();
                if length == 0 {
                    out.push(high);
                }
                length = low / 8 + 1;
                if let Some(octet) = bits.get_mut(usize::from(low / 8)) {
                    *octet |= 0x80 >> (low % 8);
                }
            }
            out.push(length);
            out.extend(bits.iter().take(usize::from(length)));
        }
        Ok(())
    }
}
