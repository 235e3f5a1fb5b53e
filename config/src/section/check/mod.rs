//! `[check.NAME]`

mod dns;
mod exec;
mod grpc;
mod http;
mod passive;
mod tls;

use std::time::Duration;

use crate::{Check, CheckKind, duration::write_duration, walk::Table};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Http,
    Https,
    Tcp,
    Tls,
    Dns,
    Icmp,
    Exec,
    Grpc,
    Passive,
}

/// Keys that belong to some types of check, and who has them, in words.
const GROUPS: [(&[&str], &[Type], &str); 7] = [
    (
        &["host"],
        &[Type::Http, Type::Https, Type::Grpc],
        "`http`, `https` or `grpc`",
    ),
    (&http::KEYS, &[Type::Http, Type::Https], "`http` or `https`"),
    (
        &tls::KEYS,
        &[Type::Https, Type::Tls, Type::Grpc],
        "`https`, `tls` or `grpc`",
    ),
    (&dns::KEYS, &[Type::Dns], "`dns`"),
    (&exec::KEYS, &[Type::Exec], "`exec`"),
    (&grpc::KEYS, &[Type::Grpc], "`grpc`"),
    (&passive::KEYS, &[Type::Passive], "`passive`"),
];

const TYPES: [(&str, Type); 9] = [
    ("http", Type::Http),
    ("https", Type::Https),
    ("tcp", Type::Tcp),
    ("tls", Type::Tls),
    ("dns", Type::Dns),
    ("icmp", Type::Icmp),
    ("exec", Type::Exec),
    ("grpc", Type::Grpc),
    ("passive", Type::Passive),
];

/// Reads one check.
pub(crate) fn read_check(name: &str, table: Table<'_>) -> Check {
    let kind = table
        .required("type", "\"http\"")
        .map_or(Some(Type::Http), |v| v.choice(&TYPES));
    if kind.is_none() {
        // The type is reported; what belongs to it cannot be told.
        for key in GROUPS.iter().flat_map(|group| group.0) {
            let _ = table.get(key, "");
        }
    }
    let port = read_port(&table, kind);
    let (interval, timeout, max_latency) = match kind {
        Some(kind @ Type::Passive) => {
            refuse_for(&table, kind, &["interval", "timeout", "max_latency"]);
            (Duration::from_secs(5), Duration::from_secs(2), None)
        }
        _ => read_times(&table),
    };
    let count = |key, example, default| {
        let value = table.get(key, example).and_then(|v| v.integer(1..=100));
        value.unwrap_or(default)
    };
    let fall = count("fall", "3", 3);
    let rise = count("rise", "2", 2);
    // The keys that belong to the type are read only for it, and refused for the others.
    let kind = kind.map_or(CheckKind::Tcp, |kind| {
        let read = read_kind(&table, kind);
        refuse_others(&table, kind);
        read
    });
    let hold_down = read_hold_down(&table);
    table.close();
    Check {
        name: name.to_owned(),
        kind,
        port,
        interval,
        timeout,
        fall,
        rise,
        max_latency,
        hold_down,
    }
}

fn read_kind(table: &Table<'_>, kind: Type) -> CheckKind {
    match kind {
        Type::Http => CheckKind::Http(http::read_http(table)),
        Type::Https => CheckKind::Https(http::read_http(table), tls::read_tls(table)),
        Type::Tcp => CheckKind::Tcp,
        Type::Tls => CheckKind::Tls(tls::read_tls(table)),
        Type::Dns => CheckKind::Dns(dns::read_dns(table)),
        Type::Icmp => CheckKind::Icmp,
        Type::Exec => CheckKind::Exec(exec::read_exec(table)),
        Type::Grpc => CheckKind::Grpc(grpc::read_grpc(table)),
        Type::Passive => CheckKind::Passive(passive::read_passive(table)),
    }
}

fn read_port(table: &Table<'_>, kind: Option<Type>) -> u16 {
    let default = match kind {
        Some(Type::Https | Type::Tls) => 443,
        Some(Type::Dns) => 53,
        _ => 80,
    };
    let value = match kind {
        Some(Type::Tcp) => table.required("port", "5432"),
        Some(Type::Grpc) => table.required("port", "50051"),
        Some(kind @ (Type::Icmp | Type::Passive)) => {
            refuse_for(table, kind, &["port"]);
            None
        }
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

fn read_hold_down(table: &Table<'_>) -> Duration {
    let range = Duration::ZERO..=Duration::from_secs(3600);
    let value = table.get("hold_down", "\"1m\"");
    value
        .and_then(|v| v.duration(range))
        .unwrap_or(Duration::from_secs(60))
}

/// Keys that most types have, but not this one.
fn refuse_for(table: &Table<'_>, kind: Type, keys: &[&'static str]) {
    let word = TYPES.iter().find(|(_, known)| *known == kind);
    let word = word.map_or("", |(word, _)| word);
    for key in keys {
        let reason = format!("`{key}` does nothing for checks of type `{word}`");
        table.refuse(key, &reason, "remove the key, or change `type`");
    }
}

/// Keys of another type would silently do nothing.
fn refuse_others(table: &Table<'_>, kind: Type) {
    let mut seen: Vec<&str> = Vec::new();
    for (keys, types, words) in GROUPS {
        for key in keys.iter().filter(|key| !seen.contains(*key)) {
            if !types.contains(&kind) {
                let reason = format!("`{key}` belongs to checks of type {words}");
                table.refuse(key, &reason, "remove the key, or change `type`");
            }
        }
        // A key that several groups name is judged by the first.
        seen.extend(keys);
    }
}
