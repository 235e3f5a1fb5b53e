//! `$GENERATE` (BIND's): one template line, a record for each number of a range.

use super::{
    lex::Token,
    problem::{Expected, Fault, Problem, Shown},
};

/// A template and its range.
pub(super) struct Generator {
    start: u32,
    stop: u32,
    step: u32,
    owner: Vec<u8>,
    /// TTL, class and type: copied, nothing in them is replaced.
    middle: Vec<u8>,
    data: Vec<u8>,
}

impl Generator {
    /// Reads the words behind `$GENERATE`: `RANGE OWNER [TTL] [CLASS] TYPE DATA`. `head` is the
    /// number of words from TTL to TYPE.
    pub(super) fn new(
        text: &[u8],
        range: &Token,
        owner: &Token,
        middle: &[Token],
        data: &[Token],
    ) -> Result<Self, Fault> {
        let shown = range.text(text);
        let not = || Problem::Not(Shown::new(shown), Expected::Range);
        let (start, stop, step) =
            parse_range(shown).ok_or_else(|| Fault::new(range.span(), not()))?;
        if start > stop {
            return Err(Fault::new(
                range.span(),
                Problem::RangeBackwards(start, stop),
            ));
        }
        Ok(Self {
            start,
            stop,
            step,
            owner: owner.text(text).to_vec(),
            middle: words(text, middle),
            data: match data {
                // As with BIND, quotes around all of the data only hold its words together.
                [whole] => whole.text(text).to_vec(),
                several => words(text, several),
            },
        })
    }

    /// How many records it makes.
    pub(super) fn count(&self) -> usize {
        ((self.stop - self.start) / self.step) as usize + 1
    }

    /// The numbers of the range.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        (self.start..=self.stop).step_by(self.step as usize)
    }

    /// The line for one number.
    pub(super) fn line(&self, number: u32) -> Result<Vec<u8>, Problem> {
        let mut line = Vec::with_capacity(self.owner.len() + self.data.len() + 32);
        substitute(&self.owner, number, &mut line)?;
        line.push(b' ');
        line.extend_from_slice(&self.middle);
        line.push(b' ');
        substitute(&self.data, number, &mut line)?;
        Ok(line)
    }
}

fn words(text: &[u8], tokens: &[Token]) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        if i > 0 && !token.joined {
            out.push(b' ');
        }
        let (start, end) = token.span();
        out.extend_from_slice(text.get(start..end).unwrap_or_default());
    }
    out
}

fn parse_range(text: &[u8]) -> Option<(u32, u32, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (range, step) = text.split_once('/').unwrap_or((text, "1"));
    let (start, stop) = range.split_once('-')?;
    let step = number(step)?;
    (step > 0).then_some((number(start)?, number(stop)?, step))
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let value: u32 = text.parse().ok().filter(|_| digits)?;
    (value <= 0x7fff_ffff).then_some(value)
}

/// Replaces `$` and `${offset,width,base}` by the number; `$$` is a dollar sign, and so is `\$`,
/// whose backslash stays for the reader of names and strings.
fn substitute(template: &[u8], number: u32, out: &mut Vec<u8>) -> Result<(), Problem> {
    let mut rest = template;
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        match (octet, tail.first()) {
            (b'$', Some(b'$')) => {
                out.push(b'$');
                rest = tail.get(1..).unwrap_or_default();
            }
            (b'$', Some(b'{')) => {
                let end = tail.iter().position(|&octet| octet == b'}');
                let format = end.and_then(|end| tail.get(1..end)).unwrap_or(tail);
                formatted(format, number, out)
                    .filter(|()| end.is_some())
                    .ok_or_else(|| Problem::BadSubstitution(Shown::new(format)))?;
                rest = tail.get(end.unwrap_or_default() + 1..).unwrap_or_default();
            }
            (b'$', _) => out.extend(number.to_string().into_bytes()),
            (b'\\', Some(&escaped)) => {
                out.extend([b'\\', escaped]);
                rest = tail.get(1..).unwrap_or_default();
            }
            _ => out.push(octet),
        }
    }
    Ok(())
}

/// `offset`, then a minimum width, then a base.
fn formatted(format: &[u8], number: u32, out: &mut Vec<u8>) -> Option<()> {
    let format = std::str::from_utf8(format).ok()?;
    let mut parts = format.split(',');
    let offset: i64 = i64::from(parts.next()?.parse::<i32>().ok()?);
    let value = u64::try_from(i64::from(number) + offset).ok()?;
    let width: usize = parts.next().map_or(Some(0), |w| w.parse().ok())?;
    let base = parts.next().unwrap_or("d");
    if width > 255 || parts.next().is_some() {
        return None;
    }
    let text = match base {
        "d" => format!("{value:0width$}"),
        "o" => format!("{value:0width$o}"),
        "x" => format!("{value:0width$x}"),
        "X" => format!("{value:0width$X}"),
        "n" => nibbles(&format!("{value:x}"), width),
        "N" => nibbles(&format!("{value:X}"), width),
        _ => return None,
    };
    out.extend(text.into_bytes());
    Some(())
}

/// The hexadecimal digits in reverse with dots between, as under ip6.arpa; dots count for the
/// width.
fn nibbles(digits: &str, width: usize) -> String {
    let count = digits.len().max(width.div_ceil(2));
    let mut out = String::with_capacity(2 * count);
    for (i, digit) in digits
        .chars()
        .rev()
        .chain(std::iter::repeat('0'))
        .take(count)
        .enumerate()
    {
        if i > 0 {
            out.push('.');
        }
        out.push(digit);
    }
    // BIND counts the dots, and an even width ends with one.
    if count == width / 2 && width.is_multiple_of(2) && width > 0 {
        out.push('.');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(template: &str, number: u32) -> Option<String> {
        let mut out = Vec::new();
        substitute(template.as_bytes(), number, &mut out).ok()?;
        String::from_utf8(out).ok()
    }

    #[test]
    fn substitutions() {
        for (template, number, right) in [
            ("host-$", 7, "host-7"),
            ("$.$", 7, "7.7"),
            ("a$$b", 7, "a$b"),
            ("a\\$b", 7, "a\\$b"),
            ("${0}", 7, "7"),
            ("${-3}", 7, "4"),
            ("${1,3}", 7, "008"),
            ("${0,4,x}", 255, "00ff"),
            ("${0,4,X}", 255, "00FF"),
            ("${0,0,o}", 8, "10"),
            ("${0,3,d}x", 5, "005x"),
            ("${0,0,n}", 0x1a2, "2.a.1"),
            ("${0,0,N}", 0x1a2, "2.A.1"),
            ("${0,7,n}", 0x1a, "a.1.0.0"),
            ("${0,1,n}", 5, "5"),
        ] {
            assert_eq!(line(template, number).as_deref(), Some(right), "{template}");
        }
        for bad in [
            "${}",
            "${x}",
            "${0,-1}",
            "${0,1,q}",
            "${0,1,d,}",
            "${0",
            "${-8}",
            "${0,256}",
        ] {
            assert_eq!(line(bad, 7), None, "{bad}");
        }
    }

    #[test]
    fn ranges() {
        assert_eq!(parse_range(b"1-10"), Some((1, 10, 1)));
        assert_eq!(parse_range(b"0-2147483647/5"), Some((0, 2_147_483_647, 5)));
        for bad in [
            "1",
            "1-",
            "-1",
            "1-2/0",
            "1-2/",
            "a-b",
            "1-2147483648",
            "1--2",
            "+1-2",
        ] {
            assert_eq!(parse_range(bad.as_bytes()), None, "{bad}");
        }
    }
}
