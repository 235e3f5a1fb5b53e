//! The gRPC part of `[check.NAME]`.

use super::{http::read_host, tls};
use crate::{GrpcCheck, text::quote, walk::Table};

/// Keys that only gRPC checks have.
pub(super) const KEYS: [&str; 2] = ["service", "tls"];

pub(super) fn read_grpc(table: &Table<'_>) -> GrpcCheck {
    let service = table.get("service", "\"edge.v1.Edge\"");
    let service = service.and_then(|value| {
        let text = value.text()?;
        if text.len() > 255 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            value.mistake(
                format!("{} is no service name", quote(text)),
                value.remedy(),
            );
            return None;
        }
        Some(text.to_owned())
    });
    let host = table.get("host", "\"edge.example.com\"");
    let host = host.and_then(|v| read_host(&v));
    let secure = table.get("tls", "true").and_then(|v| v.boolean());
    let secure = secure.unwrap_or(false);
    if !secure {
        for key in tls::KEYS {
            let reason = format!("`{key}` does nothing without `tls = true`");
            table.refuse(key, &reason, "add `tls = true`, or remove the key");
        }
    }
    GrpcCheck {
        service: service.unwrap_or_default(),
        host,
        tls: secure.then(|| tls::read_tls(table)),
    }
}
