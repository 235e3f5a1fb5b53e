//! The TLS part of `[check.NAME]`.

use crate::{
    Name, TlsCheck,
    text::quote,
    walk::{Table, Value},
};

/// Keys that only checks over TLS have.
pub(super) const KEYS: [&str; 4] = ["server_name", "ca_file", "insecure", "min_days"];

pub(super) fn read_tls(table: &Table<'_>) -> TlsCheck {
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
    let min_days = table.get("min_days", "14");
    let min_days = min_days.and_then(|v| v.integer(1..=3650));
    TlsCheck {
        min_days,
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
