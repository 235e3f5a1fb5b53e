//! `[latency]`

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;

use super::server::overlap;
use crate::{
    ANYCAST_COLUMN, Admin, Bgp, LatencyBeacon, LatencyColumn, LatencyLog, LatencyResolvers,
    LatencySection, LatencySender, LatencySyslog, PoolId, PopId, Server,
    names::Names,
    text::quote,
    walk::{Table, Value},
};

/// Logs that are followed at once, and senders of datagrams.
const SOURCES_LIMIT: usize = 1024;
/// Origins and proxies of the beacon.
const LIST_LIMIT: usize = 256;
/// Characters of a URL.
const URL_LIMIT: usize = 512;

/// What the section refers to.
struct World<'a, 'n> {
    pops: &'n Names<'a>,
    pools: &'n Names<'a>,
    server: &'n Server,
    admin: &'n Admin,
    bgp: Option<&'n Bgp>,
}

/// Reads `[latency]`; without it only the API brings measurements.
pub(crate) fn read_latency<'a>(
    table: Option<Table<'a>>,
    (pops, pools): (&Names<'a>, &Names<'a>),
    (server, admin): (&Server, &Admin),
    bgp: Option<&Bgp>,
) -> LatencySection {
    let Some(table) = table else {
        return LatencySection::default();
    };
    let world = World {
        pops,
        pools,
        server,
        admin,
        bgp,
    };
    read_section(table, &world)
}

fn read_section<'a>(table: Table<'a>, world: &World<'a, '_>) -> LatencySection {
    let mut section = LatencySection::default();
    let range = Duration::from_secs(600)..=Duration::from_secs(86_400);
    let window = table.get("window", "\"1h\"");
    if let Some(window) = window.and_then(|v| v.duration(range)) {
        section.window = window;
    }
    let count = |key, example, low, high, into: &mut u32| {
        if let Some(count) = table.get(key, example).and_then(|v| v.integer(low..=high)) {
            *into = count;
        }
    };
    count("min_samples", "20", 1, 1000, &mut section.min_samples);
    count("rows", "5000000", 10_000, 40_000_000, &mut section.rows);
    count("rate", "10000", 1, 1_000_000, &mut section.rate);
    count("reporters", "65536", 16, 1_000_000, &mut section.reporters);
    let trust = table.get("trust_callers", "false");
    section.trust_callers = trust.and_then(|v| v.boolean()).unwrap_or(true);
    let logs = table.get("log", "[]").map(|v| v.tables());
    section.logs = read_logs(logs.unwrap_or_default(), world);
    let syslog = table.get("syslog", "{ listen = \"127.0.0.1:5514\" }");
    section.syslog = syslog
        .and_then(|v| v.table())
        .and_then(|t| read_syslog(t, world));
    let beacon = table.get("beacon", "{ listen = \"127.0.0.1:9154\" }");
    section.beacon = beacon
        .and_then(|v| v.table())
        .and_then(|t| read_beacon(t, world));
    let resolvers = table.get("resolvers", "{ enabled = true }");
    section.resolvers = resolvers
        .and_then(|v| v.table())
        .and_then(|t| read_resolvers(t, world));
    table.close();
    section
}

/// A PoP, or `anycast:POOL`.
fn read_column<'a>(value: &Value<'a>, world: &World<'a, '_>) -> Option<LatencyColumn> {
    column(value, value.text()?, world)
}

fn column<'a>(value: &Value<'a>, text: &'a str, world: &World<'a, '_>) -> Option<LatencyColumn> {
    match text.strip_prefix(ANYCAST_COLUMN) {
        Some(pool) => {
            let id = world.pools.find_text(value, pool)?;
            Some(LatencyColumn::Anycast(PoolId(id)))
        }
        None => {
            let id = world.pops.find_text(value, text)?;
            Some(LatencyColumn::Pop(PopId(id)))
        }
    }
}

fn read_pop<'a>(table: &Table<'a>, world: &World<'a, '_>) -> Option<LatencyColumn> {
    let pop = table.required("pop", "\"fra\"");
    pop.and_then(|v| read_column(&v, world))
}

fn read_logs<'a>(tables: Vec<Table<'a>>, world: &World<'a, '_>) -> Vec<LatencyLog> {
    too_many(&tables, "log");
    let mut named: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut logs = Vec::new();
    for table in tables {
        let value = table.required("file", "\"/var/log/nginx/latency.log\"");
        let file = value.as_ref().and_then(Value::path);
        let pop = read_pop(&table, world);
        if let (Some(value), Some(file)) = (value, &file)
            && let Some(first) = named.insert(file.clone(), value.at.line())
        {
            let name = quote(&file.display().to_string());
            value.mistake(
                format!("{name} is followed already"),
                format!("remove one of them; the first stands at {first}"),
            );
        }
        table.close();
        if let (Some(file), Some(pop)) = (file, pop) {
            logs.push(LatencyLog { file, pop });
        }
    }
    logs
}

fn too_many(tables: &[Table<'_>], what: &str) {
    if let Some(table) = tables.get(SOURCES_LIMIT) {
        table.at.mistake(
            format!("this is {what} number {}", SOURCES_LIMIT + 1),
            format!("at most {SOURCES_LIMIT} can be read"),
        );
    }
}

fn read_syslog<'a>(table: Table<'a>, world: &World<'a, '_>) -> Option<LatencySyslog> {
    let listen = table.required("listen", "\"127.0.0.1:5514\"");
    let listen = listen.and_then(|v| {
        let socket = v.socket()?;
        // A DNS listener of the same number takes UDP too.
        judge_free(&v, socket, &world.server.listen, "`server.listen`");
        Some(socket)
    });
    let senders = table.get("sender", "[]");
    let tables = senders.as_ref().map(Value::tables).unwrap_or_default();
    too_many(&tables, "sender");
    if tables.is_empty() && !table.at.sink.incomplete.get() {
        table.at.mistake(
            "no `[[latency.syslog.sender]]` is named: every datagram would be refused",
            "add one with `address` and `pop`",
        );
    }
    let mut named: BTreeMap<IpNet, String> = BTreeMap::new();
    let read = |table: Table<'a>| {
        let value = table.required("address", "\"192.0.2.10\"");
        let address = value.as_ref().and_then(|v| v.network(true));
        if let (Some(value), Some(address)) = (value, address)
            && let Some(first) = named.insert(address, value.at.line())
        {
            value.mistake(
                format!("{address} is a sender already"),
                format!("remove one of them; the first stands at {first}"),
            );
        }
        let pop = read_pop(&table, world);
        table.close();
        Some(LatencySender {
            address: address?,
            pop: pop?,
        })
    };
    let senders = tables.into_iter().filter_map(read).collect();
    table.close();
    Some(LatencySyslog {
        listen: listen?,
        senders,
    })
}

fn judge_free(value: &Value<'_>, socket: SocketAddr, taken: &[SocketAddr], by: &str) {
    if taken.iter().any(|other| overlap(*other, socket)) {
        value.mistake(
            format!("{socket} is already taken by {by}"),
            "give it a port of its own",
        );
    }
}

fn read_beacon<'a>(table: Table<'a>, world: &World<'a, '_>) -> Option<LatencyBeacon> {
    let listen = table.required("listen", "\"127.0.0.1:9154\"");
    let listen = listen.and_then(|v| {
        let socket = v.socket()?;
        judge_free(&v, socket, &world.server.listen, "`server.listen`");
        judge_free(&v, socket, &[world.admin.listen], "`admin.listen`");
        Some(socket)
    });
    let origins = table.required("origins", "[\"https://www.example.com\"]");
    let origins = origins.map(|v| read_origins(&v)).unwrap_or_default();
    let share = table.get("share", "0.01");
    let share = share.and_then(|v| v.number(0.0..=1.0)).unwrap_or(0.01);
    let per_client = table.get("per_client", "20");
    let per_client = per_client.and_then(|v| v.integer(1..=10_000)).unwrap_or(20);
    let proxies = table.get("proxies", "[\"127.0.0.1\"]");
    let proxies = proxies.map(|v| {
        let entries = v.list().unwrap_or_default();
        too_long(&entries, "proxy");
        entries.iter().filter_map(|e| e.network(true)).collect()
    });
    let urls = table.required("urls", "{ fra = \"https://fra.example.com/tiny\" }");
    let urls = urls
        .and_then(|v| v.table())
        .map(|t| read_urls(&t, world))
        .unwrap_or_default();
    table.close();
    Some(LatencyBeacon {
        listen: listen?,
        origins,
        share,
        per_client,
        proxies: proxies.unwrap_or_default(),
        urls,
    })
}

fn too_long(entries: &[Value<'_>], what: &str) {
    if let Some(entry) = entries.get(LIST_LIMIT) {
        entry.mistake(
            format!("this is {what} number {}", LIST_LIMIT + 1),
            format!("name at most {LIST_LIMIT}"),
        );
    }
}

/// Origins as browsers write them (RFC 6454 §6.2); `"*"` alone lets all pages in.
fn read_origins(value: &Value<'_>) -> Vec<String> {
    let Some(entries) = value.list() else {
        return Vec::new();
    };
    too_long(&entries, "origin");
    if entries.is_empty() {
        value.mistake(
            "`origins` is empty: no page could send anything",
            "name the origins of your pages, or write `origins = [\"*\"]` for any page",
        );
    }
    let all = entries.len() == 1 && entries.iter().any(|e| e.text() == Some("*"));
    if all {
        return Vec::new();
    }
    let read = |entry: &Value<'_>| {
        let text = entry.token(URL_LIMIT)?;
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:[]".contains(c);
        if rest.is_none_or(|host| host.is_empty() || !host.chars().all(plain)) {
            entry.mistake(
                format!("{} is no origin", quote(text)),
                "an origin is a scheme and a host in lower case, without a path: \
                 \"https://www.example.com\"",
            );
            return None;
        }
        Some(text.to_owned())
    };
    entries.iter().filter_map(read).collect()
}

fn read_urls<'a>(table: &Table<'a>, world: &World<'a, '_>) -> Vec<(LatencyColumn, String)> {
    let entries = table.entries("\"https://fra.example.com/tiny\"");
    if entries.is_empty() {
        table.at.mistake(
            "`urls` is empty: there is nothing to measure",
            "name one tiny object of each PoP, such as `fra = \"https://fra.example.com/tiny\"`",
        );
    }
    let mut urls = Vec::new();
    for (name, at, value) in entries {
        if name.trim().is_empty() {
            at.mistake("the name of a PoP is blank", "write the name of a PoP");
            continue;
        }
        let key = Value {
            at,
            ..value.clone()
        };
        let column = column(&key, name, world);
        let url = read_url(&value);
        if let (Some(column), Some(url)) = (column, url) {
            urls.push((column, url));
        }
    }
    urls
}

fn read_url(value: &Value<'_>) -> Option<String> {
    let text = value.token(URL_LIMIT)?;
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    // It stands in a script.
    let harmless = !text.contains(['"', '\'', '<', '>', '\\', '`']);
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) || !harmless {
        value.mistake(
            format!("{} is no URL of an object", quote(text)),
            value.remedy(),
        );
        return None;
    }
    Some(text.to_owned())
}

fn read_resolvers<'a>(table: Table<'a>, world: &World<'a, '_>) -> Option<LatencyResolvers> {
    let enabled = table.required("enabled", "true").and_then(|v| v.boolean());
    let pop = table.get("pop", "\"fra\"");
    let named = pop.is_some();
    let pop = pop.and_then(|v| read_column(&v, world));
    let every = table.get("every", "4");
    let every = every.and_then(|v| v.integer(1..=1_000_000)).unwrap_or(1);
    let enabled = enabled == Some(true);
    if enabled && !named && world.bgp.is_none() {
        table.at.mistake(
            "nothing says which PoP this server stands in",
            "add `pop = \"fra\"`; with `[bgp]` it is `site`",
        );
    }
    table.close();
    let site = world.bgp.map(|bgp| LatencyColumn::Pop(bgp.site));
    let pop = if named { pop } else { site };
    enabled.then_some(LatencyResolvers { pop: pop?, every })
}
