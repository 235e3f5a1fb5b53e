//! The HTTP part of `[check.NAME]`.

use toml::de::DeValue;

use crate::{
    HttpCheck, HttpMethod, StatusRange,
    text::quote,
    walk::{Table, Value},
};

/// Octets of a body that a probe looks at; a longer text is never found.
const BODY_LIMIT: usize = 64 * 1024;

/// Keys that only checks over HTTP have.
pub(super) const KEYS: [&str; 6] = ["method", "path", "host", "status", "body", "http2"];

pub(super) fn read_http(table: &Table<'_>) -> HttpCheck {
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
    let http2 = table.get("http2", "true").and_then(|v| v.boolean());
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
        http2: http2.unwrap_or(false),
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
pub(super) fn read_host(value: &Value<'_>) -> Option<String> {
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
