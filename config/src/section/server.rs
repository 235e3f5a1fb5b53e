//! `[server]`

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use toml::de::DeValue;

use crate::{
    Chaos, Server, TcpLimits,
    walk::{Table, Value},
};

/// Longest NSID and CHAOS text; a TXT string holds 255 octets.
const TEXT_LIMIT: usize = 128;

/// Reads `[server]`; without it every default applies.
pub(crate) fn read_server(table: Option<Table<'_>>) -> Server {
    let mut server = Server {
        listen: vec![
            SocketAddr::from(([0, 0, 0, 0], 53)),
            SocketAddr::from(([0_u16; 8], 53)),
        ],
        workers: 0,
        nsid: None,
        state_directory: PathBuf::from("/var/lib/meridian"),
        user: None,
        chaos: Chaos {
            version: Some("meridian".to_owned()),
            hostname: None,
        },
        tcp: TcpLimits {
            connections: 1024,
            idle_timeout: Duration::from_secs(10),
            per_client: 128,
            in_flight: 64,
        },
    };
    let Some(table) = table else {
        return server;
    };
    if let Some(listen) = table.get("listen", "[\"0.0.0.0:53\", \"[::]:53\"]") {
        server.listen = read_listen(&listen);
    }
    if let Some(workers) = table.get("workers", "4").and_then(|v| v.integer(0..=256)) {
        server.workers = workers as usize;
    }
    let nsid = table.get("nsid", "\"fra1\"");
    server.nsid = nsid.and_then(|v| v.token(TEXT_LIMIT)).map(str::to_owned);
    server.chaos.hostname.clone_from(&server.nsid);
    let directory = table.get("state_directory", "\"/var/lib/meridian\"");
    if let Some(path) = directory.and_then(|v| v.path()) {
        server.state_directory = path;
    }
    let user = table.get("user", "\"meridian\"");
    server.user = user.and_then(|v| v.token(64)).map(str::to_owned);
    let chaos = table.get("chaos", "{ version = false, hostname = false }");
    if let Some(chaos) = chaos.and_then(|v| v.table()) {
        read_chaos(chaos, &mut server.chaos);
    }
    let tcp = table.get(
        "tcp",
        "{ connections = 1024, per_client = 128, idle_timeout = \"10s\", in_flight = 64 }",
    );
    if let Some(tcp) = tcp.and_then(|v| v.table()) {
        read_tcp(tcp, &mut server.tcp);
    }
    table.close();
    server
}

fn read_listen(value: &Value<'_>) -> Vec<SocketAddr> {
    let Some(entries) = value.list() else {
        return Vec::new();
    };
    if entries.is_empty() {
        value.mistake(
            "`listen` is empty: nobody could ask this server",
            value.remedy(),
        );
    }
    let mut all: Vec<SocketAddr> = Vec::new();
    for entry in entries {
        let Some(socket) = entry.socket() else {
            continue;
        };
        if let Some(other) = all.iter().find(|other| overlap(**other, socket)) {
            let message = if *other == socket {
                format!("{socket} stands twice in `listen`")
            } else {
                format!("{socket} and {other} overlap")
            };
            entry.mistake(message, "remove one of them");
        }
        all.push(socket);
    }
    all
}

/// Whether two sockets would want the same address and port; an unspecified address is every
/// address of its family.
pub(super) fn overlap(one: SocketAddr, two: SocketAddr) -> bool {
    let whole = one.ip().is_unspecified() || two.ip().is_unspecified();
    // Port 0 asks the kernel for any free port, each time another one.
    one.port() == two.port()
        && one.port() != 0
        && one.is_ipv4() == two.is_ipv4()
        && (whole || one.ip() == two.ip())
}

fn read_chaos(table: Table<'_>, chaos: &mut Chaos) {
    if let Some(value) = table.get("version", "\"meridian\"") {
        chaos.version = text_or_false(&value);
    }
    if let Some(value) = table.get("hostname", "\"fra1\"") {
        chaos.hostname = text_or_false(&value);
    }
    table.close();
}

fn text_or_false(value: &Value<'_>) -> Option<String> {
    match value.inner {
        DeValue::Boolean(false) => None,
        DeValue::Boolean(true) => {
            let message = format!("`{}` must be a string, or false to refuse", value.name);
            value.mistake(message, value.remedy());
            None
        }
        _ => {
            let text = value.line(TEXT_LIMIT)?;
            // RFC 1035 §3.3: a character-string holds up to 255 octets.
            if text.len() > 255 {
                value.mistake(
                    format!("`{}` is longer than 255 octets", value.name),
                    "shorten it",
                );
                return None;
            }
            Some(text.to_owned())
        }
    }
}

fn read_tcp(table: Table<'_>, tcp: &mut TcpLimits) {
    let connections = table.get("connections", "1024");
    if let Some(count) = connections.and_then(|v| v.integer(1..=1_000_000)) {
        tcp.connections = count as usize;
    }
    let per_client = table.get("per_client", "128");
    if let Some(count) = per_client.and_then(|v| v.integer(1..=1_000_000)) {
        tcp.per_client = count as usize;
    }
    let idle = table.get("idle_timeout", "\"10s\"");
    let range = Duration::from_millis(100)..=Duration::from_secs(600);
    if let Some(idle) = idle.and_then(|v| v.duration(range)) {
        tcp.idle_timeout = idle;
    }
    let in_flight = table.get("in_flight", "64");
    if let Some(count) = in_flight.and_then(|v| v.integer(1..=4096)) {
        tcp.in_flight = count as usize;
    }
    table.close();
}
