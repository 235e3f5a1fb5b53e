//! Octets to entries (RFC 1035 §5.1): one directive or record a piece, parentheses, comments and
//! quotes resolved. Escapes stay as they are in the tokens; whoever reads a token knows its rules.

use super::problem::{Fault, Problem};

/// Most tokens that one entry may have; a record of 65,535 octets in two-digit pieces needs half.
const MAX_TOKENS: usize = 70_000;

/// A piece of text between blanks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// First octet of the content, quotes excluded.
    pub(super) start: usize,
    /// One past the last octet of the content.
    pub(super) end: usize,
    /// Stood in double quotes.
    pub(super) quoted: bool,
    /// Follows the token before it without a blank between, as in `alpn="h2"`.
    pub(super) joined: bool,
}

impl Token {
    /// The content, escapes included.
    pub(super) fn text<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// The place of the token, its quotes included.
    pub(super) fn span(&self) -> (usize, usize) {
        if self.quoted {
            (self.start - 1, self.end + 1)
        } else {
            (self.start, self.end)
        }
    }
}

/// Cuts a text into entries.
pub(super) struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
    /// How many parentheses are open.
    depth: usize,
    /// Where the outermost of them stands.
    opened: usize,
}

/// What stands between two tokens ended with.
enum Gap {
    Token,
    EntryEnd,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            opened: 0,
        }
    }

    /// Reads the next entry that has tokens into `tokens`; `Some(true)` when its line starts with
    /// a blank, `None` at the end of the text.
    ///
    /// # Errors
    /// The lexer then stands at the start of the next entry, and reading can go on.
    pub(super) fn next_entry(&mut self, tokens: &mut Vec<Token>) -> Result<Option<bool>, Fault> {
        loop {
            tokens.clear();
            let Some(&first) = self.text.get(self.at) else {
                return Ok(None);
            };
            let blank = matches!(first, b' ' | b'\t');
            let start = self.at;
            match self.entry(tokens) {
                Ok(()) if tokens.is_empty() => {}
                Ok(()) => return Ok(Some(blank)),
                Err(fault) => {
                    self.recover(start, &fault);
                    return Err(fault);
                }
            }
        }
    }

    fn entry(&mut self, tokens: &mut Vec<Token>) -> Result<(), Fault> {
        loop {
            let before = self.at;
            match self.gap()? {
                Gap::EntryEnd => return Ok(()),
                Gap::Token if tokens.len() == MAX_TOKENS => {
                    return Err(Fault::new((before, before), Problem::TooManyTokens));
                }
                Gap::Token => {
                    let joined = self.at == before && !tokens.is_empty();
                    let token = self.token(joined)?;
                    tokens.push(token);
                }
            }
        }
    }

    /// Skips blanks, comments, parentheses, and line ends inside parentheses.
    fn gap(&mut self) -> Result<Gap, Fault> {
        loop {
            let Some(&octet) = self.text.get(self.at) else {
                return if self.depth == 0 {
                    Ok(Gap::EntryEnd)
                } else {
                    let opened = (self.opened, self.opened + 1);
                    Err(Fault::new(opened, Problem::OpenParenthesis))
                };
            };
            match octet {
                b' ' | b'\t' => self.at += 1,
                b';' => self.skip_comment(),
                b'(' => {
                    if self.depth == 0 {
                        self.opened = self.at;
                    }
                    self.depth += 1;
                    self.at += 1;
                }
                b')' => {
                    let here = (self.at, self.at + 1);
                    self.depth = self
                        .depth
                        .checked_sub(1)
                        .ok_or_else(|| Fault::new(here, Problem::ClosingParenthesis))?;
                    self.at += 1;
                }
                b'\r' if self.text.get(self.at + 1) != Some(&b'\n') => {
                    return Err(Fault::new((self.at, self.at + 1), Problem::LoneReturn));
                }
                b'\r' => self.at += 1,
                b'\n' => {
                    self.at += 1;
                    if self.depth == 0 {
                        return Ok(Gap::EntryEnd);
                    }
                }
                _ => return Ok(Gap::Token),
            }
        }
    }

    fn skip_comment(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest
            .iter()
            .position(|&octet| octet == b'\n')
            .unwrap_or(rest.len());
    }

    fn token(&mut self, joined: bool) -> Result<Token, Fault> {
        let quoted = self.text.get(self.at) == Some(&b'"');
        let start = self.at + usize::from(quoted);
        let mut at = start;
        loop {
            match (self.text.get(at), quoted) {
                (Some(b'\\'), _) => match self.text.get(at + 1) {
                    None | Some(b'\n' | b'\r') => {
                        return Err(Fault::new((at, at + 1), Problem::BadEscape));
                    }
                    Some(_) => at += 2,
                },
                (Some(b'"'), true) => {
                    self.at = at + 1;
                    break;
                }
                // RFC 1035 §5.1 lets a quoted string hold any character. A line end in one is a
                // forgotten quote in practice, and would swallow the rest of the file.
                (None | Some(b'\n' | b'\r'), true) => {
                    return Err(Fault::new((start - 1, at), Problem::OpenQuote));
                }
                (None | Some(b' ' | b'\t' | b'\n' | b'\r' | b';' | b'(' | b')' | b'"'), false) => {
                    self.at = at;
                    break;
                }
                (Some(_), _) => at += 1,
            }
        }
        Ok(Token {
            start,
            end: at,
            quoted,
            joined,
        })
    }

    /// Moves to where reading can go on: the next line, and where a parenthesis was open past the
    /// lines that look like the rest of the same entry (indented, or closing).
    fn recover(&mut self, start: usize, fault: &Fault) {
        let within = std::mem::take(&mut self.depth) > 0;
        // Where a parenthesis is never closed, all the text behind it has been taken for its
        // content: go back to it.
        self.at = match fault.problem {
            Problem::OpenParenthesis => start,
            _ => fault.span.1.max(self.at),
        };
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(newline) = rest.iter().position(|&octet| octet == b'\n') else {
                self.at = self.text.len();
                return;
            };
            self.at += newline + 1;
            match self.text.get(self.at) {
                Some(b' ' | b'\t' | b')' | b';' | b'\r' | b'\n') if within => {}
                _ => return,
            }
        }
    }
}

/// The octets that a token stands for: `\DDD` and `\X` resolved (RFC 1035 §5.1), appended to
/// `out`. `None` when an escape is wrong.
pub(super) fn unescape(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = text;
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        if octet == b'\\' {
            let (value, tail) = escaped(rest)?;
            out.push(value);
            rest = tail;
        } else {
            out.push(octet);
        }
    }
    Some(())
}

/// What stands after a backslash: `DDD` or any one octet (RFC 1035 §5.1).
pub(super) fn escaped(rest: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, tail) = rest.split_first()?;
    if !first.is_ascii_digit() {
        return Some((first, tail));
    }
    let (digits, tail) = rest.split_at_checked(3)?;
    let mut value = 0_u16;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u16::from(digit - b'0');
    }
    Some((u8::try_from(value).ok()?, tail))
}
