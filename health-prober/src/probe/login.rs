//! What a page of a load source is told of who asks: a token or a password, from a file.

use std::path::PathBuf;

use hyper::header::HeaderValue;
use meridian_config::{LoadLogin, read_file};

/// Largest file, octets.
const LIMIT: u64 = 4096;

/// Why a file with a token or a password cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoginError {
    /// It cannot be opened or read.
    #[error("{file}: {problem}", file = .file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// It holds something else.
    #[error("{file} holds no {wanted}", file = .file.display())]
    Content {
        /// Which.
        file: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
}

/// The value of `Authorization`.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub(crate) fn read_login(login: &LoadLogin) -> Result<HeaderValue, LoginError> {
    let file = login.file();
    let text = read_file(file, LIMIT).map_err(|error| LoginError::Unreadable {
        file: file.clone(),
        problem: error.to_string(),
    })?;
    let line = text.trim_ascii();
    let visible = |octet: &u8| matches!(octet, b'!'..=b'~');
    let (value, wanted) = match login {
        LoadLogin::Token(_) => {
            let right = !line.is_empty() && line.iter().all(visible);
            let value = right.then(|| [b"Bearer ", line].concat());
            (value, "token of one line without spaces")
        }
        LoadLogin::Password(_) => {
            // RFC 7617 §2: no colon in the name of the user, no control characters.
            let right = line
                .iter()
                .position(|octet| *octet == b':')
                .is_some_and(|at| at > 0)
                && !line.iter().any(u8::is_ascii_control);
            let value = right.then(|| format!("Basic {}", base64(line)).into_bytes());
            (value, "line `user:password`")
        }
    };
    let value = value.and_then(|value| HeaderValue::from_bytes(&value).ok());
    let mut value = value.ok_or_else(|| LoginError::Content {
        file: file.clone(),
        wanted,
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// RFC 4648 §4.
fn base64(octets: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in octets.chunks(3) {
        let octet = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let letter = LETTERS.get((bits >> shift) as usize % 64);
            let there = at <= three.len();
            text.push(
                letter
                    .filter(|_| there)
                    .map_or('=', |letter| char::from(*letter)),
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_rfc_4648_section_10() {
        let table = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in table {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn files_are_read_and_their_mistakes_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let read = |text: &[u8], login: fn(PathBuf) -> LoadLogin| {
            std::fs::write(&file, text).unwrap();
            let read = read_login(&login(file.clone()));
            read.map(|value| {
                assert!(value.is_sensitive());
                value.to_str().unwrap().to_owned()
            })
        };
        let token = |text: &[u8]| read(text, LoadLogin::Token);
        let password = |text: &[u8]| read(text, LoadLogin::Password);
        assert_eq!(token(b"s3cr3t\n").unwrap(), "Bearer s3cr3t");
        // RFC 7617 §2.
        let coded = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        assert_eq!(password(b"Aladdin:open sesame\n").unwrap(), coded);
        for bad in [
            &b""[..],
            b"two words",
            b"two\nlines",
            b"\xff",
            &[b'a'; 5000],
        ] {
            let error = token(bad).unwrap_err().to_string();
            assert!(error.contains("secret"), "{error}");
            assert!(!error.contains("two"), "nothing of it is told: {error}");
        }
        for bad in [&b""[..], b"user", b":x", b"user:a\nb:c"] {
            assert!(password(bad).is_err());
        }
        let gone = LoadLogin::Token(folder.path().join("gone"));
        assert!(
            read_login(&gone)
                .unwrap_err()
                .to_string()
                .contains("gone: ")
        );
    }
}
