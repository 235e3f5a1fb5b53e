//! Octets in any pieces, lines out; what stands after the last line end waits for the next piece.

/// Splits octets into lines, within a bound.
#[derive(Debug)]
pub(crate) struct Lines {
    rest: Vec<u8>,
    longest: usize,
    /// The line that is being read is too long, or its beginning was not seen: it is left out.
    skipping: bool,
}

/// What the pieces held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A line without its end.
    Whole(&'a [u8]),
    /// There was a line, but longer than the bound.
    TooLong,
}

impl Lines {
    /// Lines of at most `longest` octets.
    pub(crate) fn new(longest: usize) -> Self {
        Self {
            rest: Vec::new(),
            longest,
            skipping: false,
        }
    }

    /// Forgets the beginning of a line that has come; `inside`: what comes next is the rest of a line
    /// whose beginning was never seen.
    pub(crate) fn restart(&mut self, inside: bool) {
        self.rest.clear();
        self.skipping = inside;
    }

    /// Takes a piece and gives the lines that end in it. A line that is too long is told when its
    /// bound is reached; the rest of it is dropped.
    pub(crate) fn push(&mut self, piece: &[u8], mut give: impl FnMut(Line<'_>)) {
        for part in piece.split_inclusive(|octet| *octet == b'\n') {
            let (text, ended) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            if self.skipping {
                self.skipping = !ended;
                continue;
            }
            if self.rest.len() + text.len() > self.longest {
                give(Line::TooLong);
                self.restart(!ended);
                continue;
            }
            if !ended {
                self.rest.extend_from_slice(text);
            } else if self.rest.is_empty() {
                give(Line::Whole(text));
            } else {
                self.rest.extend_from_slice(text);
                give(Line::Whole(&self.rest));
                self.rest.clear();
            }
        }
    }

    /// The last line, which has no end.
    pub(crate) fn finish(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(lines: &mut Lines, pieces: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let mut out = Vec::new();
        for piece in pieces {
            lines.push(piece, |line| {
                out.push(match line {
                    Line::Whole(line) => Some(line.to_vec()),
                    Line::TooLong => None,
                });
            });
        }
        out
    }

    #[test]
    fn lines_come_whole_and_within_their_bound() {
        let mut lines = Lines::new(4);
        let got = all(&mut lines, &[b"a\nb", b"cd\n", b"123", b"45\n6", b"7"]);
        let whole = |text: &[u8]| Some(text.to_vec());
        assert_eq!(got, [whole(b"a"), whole(b"bcd"), None]);
        assert_eq!(lines.finish(), whole(b"67"));
        lines.restart(true);
        assert_eq!(all(&mut lines, &[b"half a li", b"ne\nx\n"]), [whole(b"x")]);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text: Vec<u8>, cuts: Vec<prop::sample::Index>) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.sort_unstable();
            let (mut pieces, mut from) = (Vec::new(), 0);
            for cut in cuts {
                pieces.push(&text[from..cut]);
                from = cut;
            }
            pieces.push(&text[from..]);
            let (mut one, mut other) = (Lines::new(8), Lines::new(8));
            prop_assert_eq!(all(&mut one, &[&text]), all(&mut other, &pieces));
            prop_assert!(other.rest.len() <= 8);
            prop_assert_eq!(one.finish(), other.finish());
        }
    }
}
