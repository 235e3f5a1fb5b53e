//! The program of `[check.NAME]`.

use std::path::Path;

use crate::{
    ExecCheck,
    text::quote,
    walk::{Table, Value},
};

/// Keys that only checks by a program have.
pub(super) const KEYS: [&str; 1] = ["command"];
/// Arguments, the program included.
const ARGUMENTS: usize = 64;

pub(super) fn read_exec(table: &Table<'_>) -> ExecCheck {
    let command = table.required(
        "command",
        "[\"/usr/lib/nagios/plugins/check_ping\", \"-H\", \"{address}\"]",
    );
    ExecCheck {
        command: command.map(|v| read_command(&v)).unwrap_or_default(),
    }
}

fn read_command(value: &Value<'_>) -> Vec<String> {
    let Some(entries) = value.list() else {
        return Vec::new();
    };
    if entries.len() > ARGUMENTS {
        value.mistake(
            format!("a command has at most {ARGUMENTS} arguments"),
            "put the work into a script",
        );
    }
    let words: Vec<String> = entries
        .iter()
        .filter_map(|entry| {
            let text = entry.text()?;
            if text.contains('\0') {
                entry.mistake("an argument cannot hold a zero octet", "remove it");
                return None;
            }
            Some(text.to_owned())
        })
        .collect();
    match words.first() {
        None if entries.is_empty() => value.mistake("`command` is empty", value.remedy()),
        // No search path: what runs must not depend on the environment of the server.
        // A first word that is none is reported already.
        Some(program) if words.len() == entries.len() && !Path::new(program).is_absolute() => {
            let message = format!("{} is no absolute path of a program", quote(program));
            value.mistake(message, value.remedy());
        }
        _ => {}
    }
    words
}
