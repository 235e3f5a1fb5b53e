//! `[cookies]` and `[rate_limit]`

use std::{
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use crate::{
    CookieSecret, CookieSecretFile, Cookies, RateLimit, RateLimitMode, RateLimitPrefix, ReadError,
    bounded::open_file,
    text::quote,
    walk::{Secrets, Table, Value},
};

/// Most secrets in force at once: the current one, the one before and the one to come.
const SECRETS_LIMIT: usize = 3;
/// Hexadecimal digits of a secret.
const DIGITS: usize = 32;
/// Largest secret file, in octets: three secrets and room for comments.
const FILE_LIMIT: u64 = 4096;
/// Highest rate; it costs as little to limit nothing.
const RATE_LIMIT: u32 = 1_000_000;
/// Most exempt networks.
const EXEMPT_LIMIT: usize = 4096;

/// Reads `[cookies]`; without it every default applies.
pub(crate) fn read_cookies(table: Option<Table<'_>>) -> Cookies {
    let mut cookies = Cookies::default();
    let Some(table) = table else {
        return cookies;
    };
    if let Some(enabled) = table.get("enabled", "true").and_then(|v| v.boolean()) {
        cookies.enabled = enabled;
    }
    let file = table.get("secret_file", "\"cookie.secrets\"");
    cookies.secrets = file.and_then(|v| read_secrets(&v));
    if let Some(value) = table.get("require", "true")
        && let Some(require) = value.boolean()
    {
        if require && !cookies.enabled {
            value.mistake(
                "`require` asks for cookies that `enabled = false` does not give out",
                "remove one of them",
            );
        }
        cookies.require = require;
    }
    table.close();
    cookies
}

fn read_secrets(value: &Value<'_>) -> Option<CookieSecretFile> {
    let path = value.path()?;
    let wanted = value.at.sink.secrets.get();
    let secrets = match wanted {
        Secrets::Named => Ok(Vec::new()),
        Secrets::IfThere => Ok(open_secrets(&path).unwrap_or_default()),
        Secrets::Required => open_secrets(&path),
    };
    match secrets {
        Ok(secrets) => Some(CookieSecretFile { path, secrets }),
        Err(problem) => {
            let (message, help) = problem.words(&path);
            value.mistake(message, help);
            None
        }
    }
}

/// Why a secret file cannot be used.
enum Problem {
    Unreadable(io::Error),
    NoFile,
    TooLarge,
    Open(u32),
    Empty,
    TooMany,
    /// Line number, and how many characters it has when all of them are digits.
    NoSecret(usize, Option<usize>),
    Twice(usize),
}

impl Problem {
    /// Never shows what stands in the file.
    fn words(&self, path: &Path) -> (String, String) {
        const MAKE: &str = "write 32 hexadecimal digits on a line, such as `openssl rand -hex 16` \
                            prints";
        let (what, help) = match self {
            Self::Unreadable(error) => (
                format!("cannot be read: {error}"),
                "check the path and its permissions".to_owned(),
            ),
            Self::NoFile => ("is no regular file".to_owned(), "name a file".to_owned()),
            Self::TooLarge => (
                format!("is larger than {FILE_LIMIT} octets"),
                "keep secrets and short comments in it, nothing else".to_owned(),
            ),
            Self::Open(mode) => (
                format!("can be read or written by every user of this machine (mode {mode:04o})"),
                format!(
                    "`chmod {:o}` it: who has the secret can forge cookies",
                    mode & 0o770
                ),
            ),
            Self::Empty => ("holds no secret".to_owned(), MAKE.to_owned()),
            Self::TooMany => (
                format!("holds more than {SECRETS_LIMIT} secrets"),
                "keep the current one first, then the one before and the one to come".to_owned(),
            ),
            Self::NoSecret(line, None) => (
                format!("line {line} is no secret: something other than hexadecimal digits"),
                MAKE.to_owned(),
            ),
            Self::NoSecret(line, Some(digits)) => (
                format!("line {line} has {digits} digits, and a secret has {DIGITS}"),
                MAKE.to_owned(),
            ),
            Self::Twice(line) => (
                format!("line {line} repeats a secret"),
                "remove it".to_owned(),
            ),
        };
        let path = quote(&path.display().to_string());
        let separator = match self {
            Self::NoSecret(..) | Self::Twice(_) => ": ",
            _ => " ",
        };
        (format!("{path}{separator}{what}"), help)
    }
}

fn open_secrets(path: &Path) -> Result<Vec<CookieSecret>, Problem> {
    let file = open_file(path).map_err(|error| match error {
        ReadError::Os(error) => Problem::Unreadable(error),
        ReadError::NoFile | ReadError::TooLarge(_) => Problem::NoFile,
    })?;
    let mut text = Vec::new();
    let mode = file.metadata().map_err(Problem::Unreadable)?.permissions();
    let mode = mode.mode() & 0o7777;
    file.take(FILE_LIMIT + 1)
        .read_to_end(&mut text)
        .map_err(Problem::Unreadable)?;
    if text.len() as u64 > FILE_LIMIT {
        return Err(Problem::TooLarge);
    }
    if mode & 0o007 != 0 {
        return Err(Problem::Open(mode));
    }
    parse_secrets(&text)
}

/// One secret a line; empty lines, and lines that start with `#`, say nothing.
fn parse_secrets(text: &[u8]) -> Result<Vec<CookieSecret>, Problem> {
    let mut secrets = Vec::new();
    for (number, line) in (1..).zip(text.split(|octet| *octet == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let secret = CookieSecret(parse_secret(line).map_err(|n| Problem::NoSecret(number, n))?);
        if secrets.contains(&secret) {
            return Err(Problem::Twice(number));
        }
        if secrets.len() == SECRETS_LIMIT {
            return Err(Problem::TooMany);
        }
        secrets.push(secret);
    }
    if secrets.is_empty() {
        return Err(Problem::Empty);
    }
    Ok(secrets)
}

/// The error is the number of digits, or nothing when there is something else.
fn parse_secret(line: &[u8]) -> Result<[u8; 16], Option<usize>> {
    let digit = |octet: &u8| char::from(*octet).to_digit(16);
    let digits: Option<Vec<u32>> = line.iter().map(digit).collect();
    let digits = digits.ok_or(None)?;
    let octets: Vec<u8> = digits
        .chunks_exact(2)
        .filter_map(|pair| u8::try_from(pair[0] << 4 | pair[1]).ok())
        .collect();
    match octets.try_into() {
        Ok(secret) if digits.len() == DIGITS => Ok(secret),
        _ => Err(Some(digits.len())),
    }
}

/// Reads `[rate_limit]`; without it nothing is limited.
pub(crate) fn read_rate_limit(table: Option<Table<'_>>) -> RateLimit {
    let mut limit = RateLimit::default();
    let Some(table) = table else {
        return limit;
    };
    let modes = [
        ("off", RateLimitMode::Off),
        ("dry-run", RateLimitMode::DryRun),
        ("on", RateLimitMode::On),
    ];
    let mode = table.get("mode", "\"dry-run\"");
    if let Some(mode) = mode.as_ref().and_then(|v| v.choice(&modes)) {
        limit.mode = mode;
    }
    read_rates(&table, &mut limit);
    let range = Duration::from_secs(1)..=Duration::from_secs(3600);
    let window = table.get("window", "\"15s\"");
    if let Some(window) = window.and_then(|v| v.duration(range)) {
        limit.window = window;
    }
    let slip = table.get("slip", "2").and_then(|v| v.integer(0..=10));
    if let Some(slip) = slip.and_then(|slip| u8::try_from(slip).ok()) {
        limit.slip = slip;
    }
    let prefix = table.get("prefix", "{ ipv4 = 24, ipv6 = 56 }");
    if let Some(inner) = prefix.and_then(|v| v.table()) {
        read_prefix(inner, &mut limit.prefix);
    }
    if let Some(value) = table.get("exempt", "[\"192.0.2.0/24\"]") {
        limit.exempt = read_exempt(&value);
    }
    let size = table.get("table_size", "1048576");
    if let Some(size) = size.and_then(|v| v.integer(4096..=1 << 26)) {
        limit.table_size = size as usize;
    }
    if let Some(mode) = mode
        && limit.mode != RateLimitMode::Off
        && limits_nothing(&limit)
    {
        mode.mistake(
            "every rate is 0, so nothing would be limited",
            "give a rate above 0, or write `mode = \"off\"`",
        );
    }
    table.close();
    limit
}

fn limits_nothing(limit: &RateLimit) -> bool {
    let rates = [
        limit.responses_per_second,
        limit.nodata_per_second,
        limit.nxdomains_per_second,
        limit.referrals_per_second,
        limit.errors_per_second,
        limit.all_per_second,
    ];
    rates == [0; 6]
}

/// Kinds without a rate of their own have that of answers.
fn read_rates(table: &Table<'_>, limit: &mut RateLimit) {
    let read = |key, otherwise| {
        let rate = table
            .get(key, "200")
            .and_then(|v| v.integer(0..=RATE_LIMIT));
        rate.unwrap_or(otherwise)
    };
    let answers = read("responses_per_second", limit.responses_per_second);
    limit.responses_per_second = answers;
    limit.nodata_per_second = read("nodata_per_second", answers);
    limit.nxdomains_per_second = read("nxdomains_per_second", answers);
    limit.referrals_per_second = read("referrals_per_second", answers);
    limit.errors_per_second = read("errors_per_second", answers);
    limit.all_per_second = read("all_per_second", limit.all_per_second);
}

fn read_prefix(table: Table<'_>, prefix: &mut RateLimitPrefix) {
    let length = |value: Option<Value<'_>>, longest: u32, into: &mut u8| {
        let length = value.and_then(|v| v.integer(1..=longest));
        if let Some(length) = length.and_then(|l| u8::try_from(l).ok()) {
            *into = length;
        }
    };
    length(table.get("ipv4", "24"), 32, &mut prefix.ipv4);
    length(table.get("ipv6", "56"), 128, &mut prefix.ipv6);
    table.close();
}

fn read_exempt(value: &Value<'_>) -> Vec<ipnet::IpNet> {
    let entries = value.list().unwrap_or_default();
    if let Some(entry) = entries.get(EXEMPT_LIMIT) {
        entry.mistake(
            format!("this is network number {}", EXEMPT_LIMIT + 1),
            format!("exempt at most {EXEMPT_LIMIT} networks; a shorter prefix holds many"),
        );
    }
    let read = |entry: &Value<'_>| {
        let net = entry.network(true)?;
        if net.prefix_len() == 0 {
            entry.mistake(
                format!("{net} is everyone: nothing would be limited"),
                "write `mode = \"off\"`",
            );
        }
        Some(net)
    };
    entries.iter().take(EXEMPT_LIMIT).filter_map(read).collect()
}
