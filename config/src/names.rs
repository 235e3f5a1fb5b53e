//! Names of entries over all files, and references to them.

use std::collections::HashMap;

use crate::{
    text::{alternatives, nearest, quote},
    walk::{At, Value},
};

/// The names of one kind of entry, over all files.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    kind: &'static str,
    list: Vec<&'a str>,
    index: HashMap<&'a str, (u16, At<'a>)>,
    /// A name is missing or wrong, so a reference that seems to dangle may mean that entry.
    uncertain: bool,
}

impl<'a> Names<'a> {
    /// No names yet; `kind` is "PoP", "pool" or "check".
    pub(crate) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            list: Vec::new(),
            index: HashMap::new(),
            uncertain: false,
        }
    }

    /// Takes the name of the next entry; a second entry of that name is a mistake.
    pub(crate) fn declare(&mut self, name: &'a str, at: At<'a>) {
        let Ok(index) = u16::try_from(self.list.len()) else {
            let message = format!("this is {} number {}", self.kind, self.list.len() + 1);
            at.mistake(
                message,
                format!("a configuration holds at most 65536 of kind {}", self.kind),
            );
            return;
        };
        if let Some((_, first)) = self.index.get(name) {
            self.uncertain = true;
            at.mistake(
                format!("there are two {}s named {}", self.kind, quote(name)),
                format!("rename one of them; the first stands at {}", first.line()),
            );
        } else {
            self.index.insert(name, (index, at));
        }
        self.list.push(name);
    }

    /// Takes up an index for an entry without a right name.
    pub(crate) fn skip(&mut self) {
        self.uncertain = true;
        self.list.push("");
    }

    /// Resolves a reference; a dangling one is a mistake.
    pub(crate) fn find(&self, value: &Value<'a>) -> Option<u16> {
        self.find_text(value, value.text()?)
    }

    /// The same for a name that is part of what stands there.
    pub(crate) fn find_text(&self, value: &Value<'a>, name: &str) -> Option<u16> {
        if let Some((index, _)) = self.index.get(name) {
            return Some(*index);
        }
        if self.uncertain || value.at.sink.incomplete.get() {
            return None;
        }
        let message = format!("there is no {} named {}", self.kind, quote(name));
        if value.at.sink.is_crowded() {
            value.mistake(message, "define it, or correct the name");
            return None;
        }
        let known = || self.list.iter().copied();
        let help = match nearest(name, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.list.is_empty() => format!("no {} is defined at all", self.kind),
            None => {
                let mut some: Vec<_> = known().take(8).collect();
                some.sort_unstable();
                let more = if self.list.len() > 8 { ", …" } else { "" };
                let all = alternatives(&some).replace(" or ", ", ");
                format!("defined are {all}{more}")
            }
        };
        value.mistake(message, help);
        None
    }
}
