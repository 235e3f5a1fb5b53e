//! `load` and `capacity` of `[[pop]]`, and what names a series of metrics.

use std::{net::Ipv6Addr, time::Duration};

use toml::de::DeValue;

use crate::{
    LabelMatch, LoadKind, LoadLogin, LoadPage, LoadSource, SeriesMatch, StubField, TlsCheck,
    duration::write_duration,
    text::quote,
    walk::{Table, Value},
};

/// Greatest capacity; far above any counter of requests or octets.
const CAPACITY_LIMIT: f64 = 1e15;
/// Readings within the window of a rate.
const WINDOW_READINGS: u32 = 120;
/// Labels of one series.
const LABELS_LIMIT: usize = 16;
/// Octets of a name of a metric or label, or of a label's value.
const WORD_LIMIT: usize = 255;

const SOURCES: [&str; 3] = ["prometheus", "stub_status", "push"];
/// Keys that only a Prometheus page has.
const SERIES_KEYS: [&str; 4] = ["metric", "labels", "rate", "sum"];
/// Keys of everything that is fetched.
const PAGE_KEYS: [&str; 5] = [
    "timeout",
    "ca_file",
    "insecure",
    "token_file",
    "password_file",
];

const FIELDS: [(&str, StubField); 5] = [
    ("active", StubField::Active),
    ("reading", StubField::Reading),
    ("writing", StubField::Writing),
    ("waiting", StubField::Waiting),
    ("requests", StubField::Requests),
];

/// Reads `capacity`.
pub(super) fn read_capacity(table: &Table<'_>) -> Option<f64> {
    let value = table.get("capacity", "10000")?;
    let capacity = value.number(0.0..=CAPACITY_LIMIT)?;
    if capacity > 0.0 {
        return Some(capacity);
    }
    value.mistake(
        "a capacity of 0 would be full without any load",
        "write what the PoP can carry, `meridian drain` takes it out of answers",
    );
    None
}

/// Reads `load`.
pub(super) fn read_load(table: &Table<'_>) -> Option<LoadSource> {
    const EXAMPLE: &str = "{ prometheus = \"http://192.0.2.10:9100/metrics\", \
                           metric = \"nginx_connections_active\", interval = \"5s\" }";
    let value = table.get("load", EXAMPLE)?;
    let load = value.table()?;
    let named: Vec<&str> = SOURCES
        .into_iter()
        .filter(|key| load.peek(key, "").is_some())
        .collect();
    let source = match named.as_slice() {
        [one] => Some(read_source(&load, one)),
        several => {
            // What belongs to the source cannot be told.
            let all = SOURCES.iter().chain(&SERIES_KEYS).chain(&PAGE_KEYS);
            for key in all.chain(&["field", "interval"]) {
                let _ = load.get(key, "");
            }
            if let [first, second, ..] = several {
                let message = format!("`{first}` and `{second}` stand side by side");
                value.mistake(message, "a PoP has one load source: remove one of them");
            } else {
                let message = "`load` does not say where the load is read";
                value.mistake(message, "add `prometheus`, `stub_status` or `push`");
            }
            None
        }
    };
    load.close();
    source.flatten()
}

fn read_source(load: &Table<'_>, source: &str) -> Option<LoadSource> {
    let default = Duration::from_secs(if source == "push" { 30 } else { 5 });
    let range = Duration::from_millis(100)..=Duration::from_secs(3600);
    let interval = load.get("interval", "\"5s\"");
    let interval = interval.and_then(|v| v.duration(range)).unwrap_or(default);
    let refuse = |keys: &[&'static str], words: &str| {
        for key in keys {
            let reason = format!("`{key}` belongs to {words}");
            load.refuse(key, &reason, "remove the key");
        }
    };
    let kind = match source {
        "push" => {
            let given = load.get("push", "true")?;
            if given.boolean()? {
                Some(LoadKind::Push)
            } else {
                let message = "`push = false` leaves no load source";
                given.mistake(message, "write `push = true`, or remove `load`");
                None
            }
        }
        "stub_status" => read_stub(load),
        _ => read_prometheus(load, interval),
    };
    match source {
        "push" => {
            refuse(&SERIES_KEYS, "a `prometheus` source");
            refuse(&["field"], "a `stub_status` source");
            refuse(&PAGE_KEYS, "a source that is fetched");
        }
        "stub_status" => refuse(&SERIES_KEYS, "a `prometheus` source"),
        _ => refuse(&["field"], "a `stub_status` source"),
    }
    let timeout = match source {
        "push" => interval,
        _ => read_timeout(load, interval),
    };
    Some(LoadSource {
        kind: kind?,
        interval,
        timeout,
    })
}

fn read_timeout(load: &Table<'_>, interval: Duration) -> Duration {
    let range = Duration::from_millis(1)..=Duration::from_secs(3600);
    let given = load.get("timeout", "\"2s\"");
    let timeout = given.as_ref().and_then(|v| v.duration(range));
    if let (Some(value), Some(timeout)) = (&given, timeout)
        && timeout > interval
    {
        let interval = write_duration(interval);
        value.mistake(
            format!("`timeout` is longer than the interval of {interval}: readings would overlap"),
            format!("write at most \"{interval}\", or raise `interval`"),
        );
    }
    timeout.unwrap_or(Duration::from_secs(2).min(interval))
}

fn read_stub(load: &Table<'_>) -> Option<LoadKind> {
    let page = load.get("stub_status", "\"http://192.0.2.10:8080/stub_status\"")?;
    let page = read_page(&page, load);
    let field = load
        .get("field", "\"active\"")
        .and_then(|v| v.choice(&FIELDS));
    Some(LoadKind::StubStatus {
        page: page?,
        field: field.unwrap_or(StubField::Active),
    })
}

fn read_prometheus(load: &Table<'_>, interval: Duration) -> Option<LoadKind> {
    let page = load.get("prometheus", "\"http://192.0.2.10:9100/metrics\"")?;
    let page = read_page(&page, load);
    let series = read_series(load, "\"nginx_connections_active\"");
    let rate = load.get("rate", "\"60s\"");
    let rate = rate.and_then(|v| read_rate(&v, interval));
    let sum = load.get("sum", "true").and_then(|v| v.boolean());
    Some(LoadKind::Prometheus {
        page: page?,
        series: series?,
        rate,
        sum: sum.unwrap_or(false),
    })
}

/// `true`, `false`, or the time over which the growth is measured.
fn read_rate(value: &Value<'_>, interval: Duration) -> Option<Duration> {
    if let DeValue::Boolean(given) = value.inner {
        return given.then_some(Duration::ZERO);
    }
    let longest = interval.saturating_mul(WINDOW_READINGS);
    value.duration(interval..=longest)
}

/// `metric` and `labels`, in the table of a load source or of a passive check's counter.
pub(super) fn read_series(table: &Table<'_>, example: &'static str) -> Option<SeriesMatch> {
    let metric = table.required("metric", example);
    let metric = metric.and_then(|v| read_word(&v, is_metric_name, "name of a metric"));
    let labels = table.get("labels", "{ server = \"edge\" }");
    let labels = labels.map(|v| read_labels(&v)).unwrap_or_default();
    Some(SeriesMatch {
        metric: metric?,
        labels,
    })
}

fn read_labels(value: &Value<'_>) -> Vec<LabelMatch> {
    let Some(table) = value.table() else {
        return Vec::new();
    };
    let entries = table.entries("\"edge\"");
    if entries.len() > LABELS_LIMIT {
        let message = format!("a series is told by at most {LABELS_LIMIT} labels");
        value.mistake(message, "remove some");
    }
    let mut labels = Vec::new();
    for (name, at, value) in entries {
        if !is_label_name(name) {
            let message = format!("{} is no name of a label", quote(name));
            at.mistake(message, "letters, digits and `_`, the first no digit");
            continue;
        }
        let DeValue::String(text) = value.inner else {
            value.wrong_type("a string");
            continue;
        };
        let (text, prefix) = match text.strip_suffix('*') {
            Some(begin) => (begin, true),
            None => (text.as_ref(), false),
        };
        if text.len() > WORD_LIMIT || text.contains('*') {
            let message = format!("{} is no value of a label", quote(text));
            value.mistake(message, "at most 255 octets; `*` stands only at its end");
            continue;
        }
        labels.push(LabelMatch {
            name: name.to_owned(),
            value: text.to_owned(),
            prefix,
        });
    }
    labels
}

fn read_word(value: &Value<'_>, right: fn(&str) -> bool, what: &str) -> Option<String> {
    let text = value.text()?;
    if right(text) && text.len() <= WORD_LIMIT {
        return Some(text.to_owned());
    }
    value.mistake(format!("{} is no {what}", quote(text)), value.remedy());
    None
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`
fn is_metric_name(text: &str) -> bool {
    is_word(text, |c| c.is_ascii_alphabetic() || "_:".contains(c))
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`
fn is_label_name(text: &str) -> bool {
    is_word(text, |c| c.is_ascii_alphabetic() || c == '_')
}

fn is_word(text: &str, letter: impl Fn(char) -> bool) -> bool {
    text.starts_with(&letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// `http://HOST[:PORT][/PATH]`, with the TLS keys beside it.
fn read_page(value: &Value<'_>, load: &Table<'_>) -> Option<LoadPage> {
    let ca_file = load.get("ca_file", "\"ca.pem\"");
    let insecure = load.get("insecure", "true");
    let accept = insecure.as_ref().and_then(Value::boolean).unwrap_or(false);
    if let (Some(ca_file), true) = (&ca_file, accept) {
        ca_file.mistake(
            "`ca_file` does nothing beside `insecure = true`",
            "remove `insecure`, or remove `ca_file`",
        );
    }
    let login = read_login(load);
    let text = value.token(2048)?;
    let (secure, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => {
            let message = format!("{} starts with neither http:// nor https://", quote(text));
            value.mistake(message, value.remedy());
            return None;
        }
    };
    for (key, given) in [("ca_file", ca_file.is_some()), ("insecure", accept)] {
        if given && !secure {
            let message = format!("`{key}` does nothing over http");
            value.mistake(message, "write https, or remove the key");
        }
    }
    let ca_file = ca_file.and_then(|v| v.path());
    let Some((host, port, path)) = split(rest, if secure { 443 } else { 80 }) else {
        value.mistake(format!("{} is no URL", quote(text)), value.remedy());
        return None;
    };
    Some(LoadPage {
        host,
        port,
        path,
        tls: secure.then_some(TlsCheck {
            server_name: None,
            ca_file,
            insecure: accept,
            min_days: None,
        }),
        login,
    })
}

/// `token_file` or `password_file`; the files are read when the page is fetched first.
fn read_login(load: &Table<'_>) -> Option<LoadLogin> {
    let token = load.get("token_file", "\"fra.token\"");
    let password = load.get("password_file", "\"fra.password\"");
    if let (Some(_), Some(password)) = (&token, &password) {
        password.mistake(
            "`token_file` and `password_file` stand side by side",
            "a page is asked for in one way: remove one of them",
        );
    }
    let token = token.and_then(|v| v.path()).map(LoadLogin::Token);
    let password = password.and_then(|v| v.path()).map(LoadLogin::Password);
    token.or(password)
}

/// Host, port and path of what follows the scheme; no user, no fragment.
fn split(rest: &str, standard: u16) -> Option<(String, u16, String)> {
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let path = match path.starts_with('?') {
        true => format!("/{path}"),
        false => path.to_owned(),
    };
    let (host, port) = match authority.strip_prefix('[') {
        Some(inside) => {
            let (host, port) = inside.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (
                host,
                port.strip_prefix(':').or(port.is_empty().then_some("")),
            )
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, (!port.is_empty()).then_some(port)),
            None => (authority, Some("")),
        },
    };
    let port = match port? {
        "" => standard,
        text => text.parse::<u16>().ok().filter(|p| *p > 0)?,
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    let right = !host.is_empty() && host.len() <= 253 && host.chars().all(letter);
    (right && !path.contains('#')).then(|| (host.to_owned(), port, path))
}
