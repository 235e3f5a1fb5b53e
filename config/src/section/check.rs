//! `[check.NAME]`

use std::time::Duration;

use toml::de::DeValue;

use crate::{
    Check, CheckKind, HttpCheck, HttpMethod, Name, StatusRange, TlsCheck,
    duration::write_duration,
    text::quote,
    walk::{Table, Value},
};

/// Octets of a body that a probe looks at; a longer text is never found.
const BODY_LIMIT: usize = 64 * 1024;

/// Keys that only some types of check have.
const HTTP_KEYS: [&str; 5] = ["method", "path", "host", "status", "body"];
const TLS_KEYS: [&str; 3] = ["server_name", "ca_file", "insecure"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Http,
    Https,
    Tcp,
}

/// Reads one check.
pub(crate) fn read_check(name: &str, table: Table<'_>) -> Check {
    let kind = table
        .required("type", "\"http\"")
        .map_or(Some(Type::Http), |v| read_type(&v));
    let port = read_port(&table, kind);
    let (interval, timeout, max_latency) = read_times(&table);
    let count = |key, example, default| {
        let value = table.get(key, example).and_then(|v| v.integer(1..=100));
        value.unwrap_or(default)
    };
    let fall = count("fall", "3", 3);
    let rise = count("rise", "2", 2);
    // The keys that belong to the type are read only for it, and refused for the others.
    let http = matches!(kind, Some(Type::Http | Type::Https)).then(|| read_http(&table));
    let tls = matches!(kind, Some(Type::Https)).then(|| read_tls(&table));
    refuse_others(&table, kind);
    table.close();
    let kind = match (http, tls) {
        (Some(http), Some(tls)) => CheckKind::Https(http, tls),
        (Some(http), None) => CheckKind::Http(http),
        _ => CheckKind::Tcp,
    };
    Check {
        name: name.to_owned(),
        kind,
        port,
        interval,
        timeout,
        fall,
        rise,
        max_latency,
    }
}

fn read_type(value: &Value<'_>) -> Option<Type> {
    if let DeValue::String(text) = value.inner
        && matches!(text.as_ref(), "tls" | "dns" | "icmp" | "exec" | "grpc")
    {
        value.mistake(
            format!(
                "type {}: this version does not do such checks yet",
                quote(text)
            ),
            "use \"http\", \"https\" or \"tcp\", or remove the check",
        );
        return None;
    }
    value.choice(&[
        ("http", Type::Http),
        ("https", Type::Https),
        ("tcp", Type::Tcp),
    ])
}

fn read_port(table: &Table<'_>, kind: Option<Type>) -> u16 {
    let default = match kind {
        Some(Type::Https) => 443,
        _ => 80,
    };
    let value = match kind {
        Some(Type::Tcp) => table.required("port", "5432"),
        _ => table.get("port", "80"),
    };
    let port = value.and_then(|v| v.integer(1..=65535));
    port.and_then(|p| u16::try_from(p).ok()).unwrap_or(default)
}

/// Interval, timeout and the greatest latency of a pass.
fn read_times(table: &Table<'_>) -> (Duration, Duration, Option<Duration>) {
    let range = Duration::from_millis(100)..=Duration::from_secs(86_400);
    let interval = table
        .get("interval", "\"5s\"")
        .and_then(|v| v.duration(range));
    let interval = interval.unwrap_or(Duration::from_secs(5));
    let range = Duration::from_millis(1)..=Duration::from_secs(3600);
    let given = table.get("timeout", "\"2s\"");
    let timeout = given.as_ref().and_then(|v| v.duration(range.clone()));
    if let (Some(value), Some(timeout)) = (&given, timeout)
        && timeout > interval
    {
        let interval = write_duration(interval);
        value.mistake(
            format!("`timeout` is longer than the interval of {interval}: probes would overlap"),
            format!("write at most \"{interval}\", or raise `interval`"),
        );
    }
    let timeout = timeout.unwrap_or(Duration::from_secs(2).min(interval));
    let given = table.get("max_latency", "\"500ms\"");
    let max_latency = given.as_ref().and_then(|v| v.duration(range));
    if let (Some(value), Some(latency)) = (&given, max_latency)
        && latency >= timeout
    {
        let timeout = write_duration(timeout);
        value.mistake(
            format!("`max_latency` does nothing: a probe fails after its timeout of {timeout}"),
            format!("write less than \"{timeout}\", or remove the key"),
        );
    }
    (interval, timeout, max_latency)
}

fn read_http(table: &Table<'_>) -> HttpCheck {
    let words = [("GET", HttpMethod::Get), ("HEAD", HttpMethod::Head)];
    let method = table
        .get("method", "\"GET\"")
        .and_then(|v| v.choice(&words));
    let method = method.unwrap_or(HttpMethod::Get);
    let path = table
        .get("path", "\"/healthz\"")
        .and_then(|v| read_path(&v));
    let host = table
        .get("host", "\"www.example.com\"")
        .and_then(|v| read_host(&v));
    let status = table
        .get("status", "[200, \"300-399\"]")
        .map(|v| read_statuses(&v));
    let body = table.get("body", "\"ok\"");
    let text = body.as_ref().and_then(Value::text);
    if let (Some(value), HttpMethod::Head) = (&body, method) {
        value.mistake(
            "the answer to HEAD has no body",
            "remove `body`, or use `method = \"GET\"`",
        );
    }
    if let (Some(value), Some(text)) = (&body, text)
        && text.len() > BODY_LIMIT
    {
        value.mistake(
            "a probe reads only the first 64 KiB of a body",
            "shorten the text",
        );
    }
    HttpCheck {
        method,
        path: path.unwrap_or_else(|| "/".to_owned()),
        host,
        status: status.unwrap_or_else(|| {
            vec![StatusRange {
                first: 200,
                last: 299,
            }]
        }),
        body: text.map(str::to_owned),
    }
}

fn read_path(value: &Value<'_>) -> Option<String> {
    let path = value.token(2048)?;
    if !path.starts_with('/') {
        let message = format!("a path starts with `/`, not with {}", quote(path));
        value.mistake(message, value.remedy());
        return None;
    }
    if path.contains('#') {
        value.mistake(
            "a fragment is never sent to a server",
            "remove `#` and what follows",
        );
        return None;
    }
    Some(path.to_owned())
}

/// `name`, `address`, `name:port` or `[address]:port`.
fn read_host(value: &Value<'_>) -> Option<String> {
    let host = value.token(255)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if host.chars().all(allowed) {
        return Some(host.to_owned());
    }
    value.mistake(format!("{} is no host name", quote(host)), value.remedy());
    None
}

fn read_statuses(value: &Value<'_>) -> Vec<StatusRange> {
    if let DeValue::Array(_) = value.inner {
        let entries = value.list().unwrap_or_default();
        if entries.is_empty() {
            value.mistake("`status` is empty: no answer could pass", value.remedy());
        }
        return entries.iter().filter_map(read_status).collect();
    }
    read_status(value).into_iter().collect()
}

fn read_status(value: &Value<'_>) -> Option<StatusRange> {
    let (first, last) = match value.inner {
        DeValue::String(_) => {
            let text = value.text()?;
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            (
                first.trim().parse::<u32>().ok(),
                last.trim().parse::<u32>().ok(),
            )
        }
        DeValue::Integer(_) => {
            let code = value.integer(200..=599)?;
            (Some(code), Some(code))
        }
        _ => {
            value.wrong_type("a status code or a range such as \"200-299\"");
            return None;
        }
    };
    let code = |c: Option<u32>| {
        c.filter(|c| (200..=599).contains(c))
            .and_then(|c| u16::try_from(c).ok())
    };
    match (code(first), code(last)) {
        (Some(first), Some(last)) if first <= last => Some(StatusRange { first, last }),
        _ => {
            let written = value.text().unwrap_or("");
            value.mistake(
                format!(
                    "{} is no range of status codes from 200 to 599",
                    quote(written)
                ),
                value.remedy(),
            );
            None
        }
    }
}

fn read_tls(table: &Table<'_>) -> TlsCheck {
    let server_name = table.get("server_name", "\"www.example.com\"");
    let ca_file = table.get("ca_file", "\"ca.pem\"");
    let insecure = table.get("insecure", "true").and_then(|v| v.boolean());
    let insecure = insecure.unwrap_or(false);
    if let (Some(ca_file), true) = (&ca_file, insecure) {
        ca_file.mistake(
            "`ca_file` does nothing beside `insecure = true`",
            "remove `insecure`, or remove `ca_file`",
        );
    }
    TlsCheck {
        server_name: server_name.and_then(|v| read_server_name(&v)),
        ca_file: ca_file.and_then(|v| v.path()),
        insecure,
    }
}

fn read_server_name(value: &Value<'_>) -> Option<String> {
    let text = value.token(253)?;
    let label = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_name = text.chars().all(label) && text.parse::<Name>().is_ok_and(|n| !n.is_root());
    if is_name || text.parse::<std::net::IpAddr>().is_ok() {
        return Some(text.to_owned());
    }
    value.mistake(format!("{} is no server name", quote(text)), value.remedy());
    None
}

/// Keys of another type would silently do nothing.
fn refuse_others(table: &Table<'_>, kind: Option<Type>) {
    let refuse = |keys: &[&'static str], kinds: &str| {
        for key in keys {
            let reason = format!("`{key}` belongs to checks of type {kinds}");
            table.refuse(key, &reason, "remove the key, or change `type`");
        }
    };
    match kind {
        // The type is already reported; what belongs to it cannot be told.
        None => {
            for key in HTTP_KEYS.into_iter().chain(TLS_KEYS) {
                let _ = table.get(key, "");
            }
        }
        Some(Type::Https) => {}
        Some(Type::Http) => refuse(&TLS_KEYS, "`https`"),
        Some(Type::Tcp) => {
            refuse(&HTTP_KEYS, "`http` or `https`");
            refuse(&TLS_KEYS, "`https`");
        }
    }
}
