//! Zones with one small accident each.

use crate::generated::Random;

/// Pieces that are put where they should not be.
const PIECES: &[&str] = &[
    "\"",
    "(",
    ")",
    ";",
    "\\",
    "@",
    ".",
    "..",
    "$",
    "IN",
    "CH",
    "60",
    "1h",
    "A",
    "TXT",
    "-1",
    "0",
    "65536",
    "\n",
    "\n ",
    " ",
    "\\#",
    "TYPE1",
    "\\065",
    "a.",
    "*",
    "4294967296",
    "=",
    ",",
    "x",
];

/// `text` with a word or an octet removed, doubled, replaced or put in.
pub(crate) fn mutate(text: &str, seed: u64) -> String {
    let mut random = Random::new(seed);
    let words: Vec<&str> = text.split_inclusive([' ', '\n', '\t']).collect();
    // The head of the zone is not worth mistakes: it only makes every reader refuse.
    let at = 12 + random.below(words.len() as u64 - 12) as usize;
    let mut out = String::new();
    for (i, word) in words.iter().enumerate() {
        if i != at {
            out.push_str(word);
            continue;
        }
        match random.below(5) {
            0 => {}
            1 => out.push_str(&format!("{word}{word}")),
            2 => out.push_str(&format!("{} ", random.pick(PIECES))),
            3 => out.push_str(&format!("{}{word}", random.pick(PIECES))),
            _ => {
                let cut = random.below(word.len() as u64 + 1) as usize;
                if let Some((front, back)) = word.split_at_checked(cut) {
                    out.push_str(&format!("{front}{}{back}", random.pick(PIECES)));
                }
            }
        }
    }
    out
}
