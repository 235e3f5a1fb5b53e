//! `[admin]` and `[log]`

use std::net::SocketAddr;

use super::server::overlap;
use crate::{
    Admin, AdminTls, Log, LogFormat, Server,
    walk::{Table, Value},
};

/// Reads `[admin]`. Away from loopback every request needs a token or a client certificate, and
/// both are worth nothing in clear text.
pub(crate) fn read_admin(table: Option<Table<'_>>, server: &Server) -> Admin {
    let mut admin = Admin {
        listen: SocketAddr::from(([127, 0, 0, 1], 9153)),
        token_file: None,
        tls: None,
    };
    let Some(table) = table else {
        return admin;
    };
    let listen = table.get("listen", "\"127.0.0.1:9153\"");
    if let Some(socket) = listen.as_ref().and_then(Value::socket) {
        admin.listen = socket;
    }
    let token_file = table.get("token_file", "\"/etc/meridian/token\"");
    admin.token_file = token_file.as_ref().and_then(Value::path);
    let tls = table.get(
        "tls",
        "{ certificate = \"admin.pem\", key = \"admin.key\" }",
    );
    admin.tls = tls.as_ref().and_then(|v| read_tls(v.table()?));
    if let Some(listen) = listen {
        judge_listen(&listen, &admin, server, tls.is_some(), token_file.is_some());
    }
    table.close();
    admin
}

fn read_tls(table: Table<'_>) -> Option<AdminTls> {
    let certificate = table.required("certificate", "\"admin.pem\"");
    let key = table.required("key", "\"admin.key\"");
    let client_ca = table.get("client_ca", "\"clients.pem\"");
    let (certificate, key) = (
        certificate.and_then(|v| v.path()),
        key.and_then(|v| v.path()),
    );
    let client_ca = client_ca.and_then(|v| v.path());
    table.close();
    Some(AdminTls {
        certificate: certificate?,
        key: key?,
        client_ca,
    })
}

fn judge_listen(listen: &Value<'_>, admin: &Admin, server: &Server, tls: bool, token: bool) {
    let address = admin.listen;
    if server.listen.iter().any(|dns| overlap(*dns, address)) {
        listen.mistake(
            format!("{address} is already taken by `server.listen`"),
            "give the admin interface a port of its own, such as 9153",
        );
    }
    if address.ip().to_canonical().is_loopback() {
        return;
    }
    if !tls {
        listen.mistake(
            format!("{address} can be reached from outside, but `tls` is not set"),
            "add `tls = { certificate = \"…\", key = \"…\" }`, or listen on 127.0.0.1",
        );
    }
    let by_certificate = admin.tls.as_ref().is_some_and(|t| t.client_ca.is_some());
    if !token && !by_certificate {
        listen.mistake(
            format!("{address} can be reached from outside, but nothing says who may"),
            "add `token_file = \"…\"` or `tls.client_ca`, or listen on 127.0.0.1",
        );
    }
}

/// Reads `[log]`.
pub(crate) fn read_log(table: Option<Table<'_>>) -> Log {
    let mut log = Log {
        format: LogFormat::Text,
        level: "info".to_owned(),
    };
    let Some(table) = table else {
        return log;
    };
    let words = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    if let Some(format) = table
        .get("format", "\"json\"")
        .and_then(|v| v.choice(&words))
    {
        log.format = format;
    }
    if let Some(value) = table.get("level", "\"info\"")
        && let Some(level) = value.line(1024)
    {
        judge_level(&value, level);
        level.clone_into(&mut log.level);
    }
    table.close();
    log
}

/// A tracing filter: directives such as `info` or `meridian_dns=debug`, with commas between.
fn judge_level(value: &Value<'_>, filter: &str) {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in filter.split(',') {
        let level = directive.rsplit('=').next().unwrap_or("").trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let help = match crate::text::nearest(level, LEVELS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "levels are off, error, warn, info, debug and trace; for one part of the \
                         server: \"info,meridian_dns=debug\""
                    .to_owned(),
            };
            value.mistake(
                format!("{} is no log level", crate::text::quote(level)),
                help,
            );
        }
    }
}
