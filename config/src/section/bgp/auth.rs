//! `password_file` and `tcp_ao` of a peer: secrets are read with the configuration, so that a
//! session never opens without them by accident.

use std::{
    io::{self, Read as _},
    path::Path,
};

use crate::{
    BgpAuth, ReadError, Secret, SecretFile,
    bounded::open_file,
    text::quote,
    walk::{Secrets, Table, Value},
};

/// Longest key of TCP-MD5 and of TCP-AO (`TCP_MD5SIG_MAXKEYLEN`, `TCP_AO_MAXKEYLEN`).
const SECRET_LIMIT: usize = 80;

/// Reads how a session is authenticated.
pub(super) fn read_auth(table: &Table<'_>) -> BgpAuth {
    let password = table.get("password_file", "\"tor1.key\"");
    let ao = table.get("tcp_ao", "{ key_file = \"tor1.key\", key_id = 1 }");
    if let (Some(_), Some(ao)) = (&password, &ao) {
        ao.mistake(
            "a session has either `password_file` (TCP-MD5) or `tcp_ao`",
            "remove one of them",
        );
        return BgpAuth::Open;
    }
    if let Some(password) = password {
        return read_secret(&password).map_or(BgpAuth::Open, BgpAuth::Md5);
    }
    ao.and_then(|v| read_ao(v.table()?))
        .unwrap_or(BgpAuth::Open)
}

fn read_ao(table: Table<'_>) -> Option<BgpAuth> {
    let key = table.required("key_file", "\"tor1.key\"");
    let key_id = table.get("key_id", "1").and_then(|v| v.integer(0..=255));
    let key = key.and_then(|v| read_secret(&v));
    table.close();
    Some(BgpAuth::Ao {
        key: key?,
        key_id: key_id.and_then(|id| u8::try_from(id).ok()).unwrap_or(1),
    })
}

fn read_secret(value: &Value<'_>) -> Option<SecretFile> {
    let path = value.path()?;
    let wanted = value.at.sink.secrets.get();
    if wanted == Secrets::Named {
        return Some(SecretFile { path, secret: None });
    }
    match open_secret(&path) {
        Ok(secret) => Some(SecretFile {
            path,
            secret: Some(secret),
        }),
        Err(_) if wanted == Secrets::IfThere => Some(SecretFile { path, secret: None }),
        Err(problem) => {
            let (message, help) = problem.words(&path);
            value.mistake(message, help);
            None
        }
    }
}

enum Problem {
    Unreadable(io::Error),
    NoFile,
    Empty,
    TooLong,
    SeveralLines,
}

impl Problem {
    fn words(&self, path: &Path) -> (String, String) {
        let path = quote(&path.display().to_string());
        let (what, help) = match self {
            Self::Unreadable(error) => (
                format!("cannot be read: {error}"),
                "check the path and its permissions",
            ),
            Self::NoFile => ("is no regular file".to_owned(), "name a file"),
            Self::Empty => ("is empty".to_owned(), "write the key into it"),
            Self::TooLong => (
                format!("holds a key of more than {SECRET_LIMIT} octets"),
                "shorten the key at both ends; the kernel takes no longer one",
            ),
            Self::SeveralLines => (
                "holds more than one line".to_owned(),
                "write the key alone, on one line",
            ),
        };
        (format!("{path} {what}"), help.to_owned())
    }
}

fn open_secret(path: &Path) -> Result<Secret, Problem> {
    let file = open_file(path).map_err(|error| match error {
        ReadError::Os(error) => Problem::Unreadable(error),
        ReadError::NoFile | ReadError::TooLarge(_) => Problem::NoFile,
    })?;
    let mut octets = Vec::new();
    file.take(SECRET_LIMIT as u64 + 3)
        .read_to_end(&mut octets)
        .map_err(Problem::Unreadable)?;
    // Editors end the last line.
    for end in [b'\n', b'\r'] {
        if octets.last() == Some(&end) {
            octets.pop();
        }
    }
    if octets.is_empty() {
        Err(Problem::Empty)
    } else if octets.contains(&b'\n') {
        Err(Problem::SeveralLines)
    } else if octets.len() > SECRET_LIMIT {
        Err(Problem::TooLong)
    } else {
        Ok(Secret(octets))
    }
}
