//! From parsed files to the model: names first, then what refers to them.

use std::collections::HashMap;

use toml::de::DeTable;

use crate::{
    Check, Config, Diagnostic, Pool, Pop, Service, Steering, Zone,
    names::Names,
    section::{
        World, default_steering, judge_scopes, judge_zones, read_admin, read_anomalies, read_bgp,
        read_check, read_cookies, read_explain, read_geo, read_latency, read_log, read_networks,
        read_pool, read_pop, read_rate_limit, read_server, read_steering, read_test, read_zone,
        read_zone_folders,
    },
    syntax,
    text::{NAME_RULE, is_name, quote},
    walk::{At, Sink, SourceFile, Table, Value},
};

/// Sections that only the main file holds.
const MAIN_ONLY: [&str; 12] = [
    "include",
    "zone_folders",
    "server",
    "admin",
    "log",
    "cookies",
    "rate_limit",
    "latency",
    "explain",
    "anomalies",
    "steering",
    "bgp",
];

/// Whether the files that `include` names are among those given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    Followed,
    Refused,
}

/// Parses every file and builds the model. It is worth something only when the sink stays empty.
pub(crate) fn build(files: &[SourceFile], include: Include, sink: &Sink) -> Config {
    let mut roots = Vec::new();
    for file in files {
        let (root, errors) = DeTable::parse_recoverable(&file.text);
        for mistake in syntax::mistakes(file, &errors) {
            sink.push(file.order, mistake);
        }
        if errors.is_empty() {
            roots.push((file, root.into_inner()));
        } else {
            sink.incomplete.set(true);
        }
    }
    let tables = roots.iter().map(|(file, root)| {
        Table::new(
            At {
                file,
                sink,
                span: 0..0,
                key: String::new(),
            },
            root,
        )
    });
    let mut parts = Parts::default();
    for table in tables {
        parts.take(table, include);
    }
    let mut config = assemble(parts, sink);
    config.files = files.iter().map(|f| f.path.clone()).collect();
    config
}

/// A table under `[check]`; no table when something else stands there.
type NamedTable<'a> = (&'a str, At<'a>, Option<Table<'a>>);

/// The tables of all files, by kind.
#[derive(Default)]
struct Parts<'a> {
    server: Option<Table<'a>>,
    admin: Option<Table<'a>>,
    log: Option<Table<'a>>,
    cookies: Option<Table<'a>>,
    rate_limit: Option<Table<'a>>,
    explain: Option<Table<'a>>,
    anomalies: Option<Table<'a>>,
    latency: Option<Table<'a>>,
    steering: Option<Table<'a>>,
    bgp: Option<Table<'a>>,
    geo: Option<Table<'a>>,
    networks: Vec<Table<'a>>,
    checks: Vec<NamedTable<'a>>,
    pops: Vec<Table<'a>>,
    pools: Vec<Table<'a>>,
    zones: Vec<Table<'a>>,
    zone_folders: Option<Value<'a>>,
    tests: Vec<Table<'a>>,
    /// The main file's root, to point at when something is missing altogether.
    main: Option<At<'a>>,
}

impl<'a> Parts<'a> {
    fn take(&mut self, root: Table<'a>, include: Include) {
        let main = root.at.file.order == 0;
        if main {
            self.main = Some(root.at.clone());
            if let Some(value) = root.get("include", "[\"conf.d/*.toml\"]") {
                judge_include(&value, include);
            }
            self.zone_folders = root.get("zone_folders", "[\"zones\"]");
            let section = |key, example| root.get(key, example).and_then(|v: Value<'a>| v.table());
            self.server = section("server", "{ nsid = \"fra1\" }");
            self.admin = section("admin", "{ listen = \"127.0.0.1:9153\" }");
            self.log = section("log", "{ level = \"info\" }");
            self.cookies = section("cookies", "{ secret_file = \"cookie.secrets\" }");
            self.rate_limit = section("rate_limit", "{ mode = \"dry-run\" }");
            self.latency = section("latency", "{ window = \"1h\" }");
            self.explain = section("explain", "{ clients = [\"192.0.2.0/24\"] }");
            self.anomalies = section("anomalies", "{ factor = 3 }");
            self.steering = section("steering", "{ ttl = \"30s\" }");
            self.bgp = section("bgp", "{ site = \"fra\" }");
        } else {
            for key in MAIN_ONLY {
                let reason = format!("`{key}` stands in an included file");
                root.refuse(
                    key,
                    &reason,
                    "move it to the main file; an included file holds \
                    pop, pool, check, zone, test and geo.network tables",
                );
            }
        }
        self.take_geo(&root, main);
        self.take_checks(&root);
        let list = |key: &'static str| root.get(key, "[]").map(|v| v.tables()).unwrap_or_default();
        self.pops.extend(list("pop"));
        self.pools.extend(list("pool"));
        self.zones.extend(list("zone"));
        self.tests.extend(list("test"));
        root.close();
    }

    fn take_geo(&mut self, root: &Table<'a>, main: bool) {
        let Some(geo) = root
            .get("geo", "{ city = [\"city.mmdb\"] }")
            .and_then(|v| v.table())
        else {
            return;
        };
        let networks = geo
            .get("network", "[]")
            .map(|v| v.tables())
            .unwrap_or_default();
        self.networks.extend(networks);
        if main {
            self.geo = Some(geo);
            return;
        }
        for key in ["city", "asn"] {
            let reason = format!("`geo.{key}` stands in an included file");
            geo.refuse(key, &reason, "move it to the main file");
        }
        geo.close();
    }

    fn take_checks(&mut self, root: &Table<'a>) {
        const EXAMPLE: &str = "{ type = \"http\" }";
        let Some(checks) = root.get("check", EXAMPLE).and_then(|v| v.table()) else {
            return;
        };
        for (name, at, value) in checks.entries(EXAMPLE) {
            let table = if let toml::de::DeValue::Table(_) = value.inner {
                value.table()
            } else {
                at.sink.incomplete.set(true);
                at.mistake(
                    format!("{} stands where the name of a check belongs", quote(name)),
                    "write `[check.NAME]` above the keys of a check",
                );
                None
            };
            self.checks.push((name, at, table));
        }
    }
}

fn whole_steering(table: Table<'_>) -> Steering {
    let steering = read_steering(&table, default_steering());
    table.close();
    steering
}

fn assemble<'a>(mut parts: Parts<'a>, sink: &'a Sink) -> Config {
    let mut pops = Names::new("PoP");
    let mut pools = Names::new("pool");
    declare(&parts.pops, &mut pops);
    declare(&parts.pools, &mut pools);
    let checks = declare_checks(&mut parts.checks);
    let server = read_server(parts.server);
    let admin = read_admin(parts.admin, &server);
    let cookies = read_cookies(parts.cookies);
    let steering = parts.steering.map_or_else(default_steering, whole_steering);
    let mut geo = read_geo(parts.geo);
    let networks = read_networks(parts.networks, &pops);
    let places = (parts.checks, parts.pops, parts.pools);
    let (checks, pops_read, pools_read) = read_places(places, &pops, &checks);
    let zone_folders = parts.zone_folders.as_ref().map(read_zone_folders);
    let zoneless = parts.zones.is_empty() && zone_folders.is_none();
    if zoneless && !sink.incomplete.get() {
        miss_zones(parts.main.as_ref(), sink);
    }
    let zones = read_zones(parts.zones, &pools, &steering);
    let bgp = read_bgp(parts.bgp, &pops, &server);
    let latency = read_latency(
        parts.latency,
        (&pops, &pools),
        (&server, &admin),
        bgp.as_ref(),
    );

    let services: Vec<&Service> = zones.iter().flat_map(|z| &z.services).collect();
    judge_scopes(&networks, steering.scope_max, &services);
    geo.networks = networks.into_iter().map(|(network, _)| network).collect();
    let world = World {
        names: &pops,
        pops: &pops_read,
        pools: &pools_read,
        services: &services,
        uncertain: sink.incomplete.get() || (!sink.is_empty() && unread(&zones, &services)),
    };
    let tests = parts.tests.into_iter();
    let tests = tests.map(|table| read_test(table, &world)).collect();
    Config {
        files: Vec::new(),
        include_patterns: Vec::new(),
        named_files: sink.take_named_files(),
        server,
        admin,
        log: read_log(parts.log),
        cookies,
        rate_limit: read_rate_limit(parts.rate_limit),
        explain: read_explain(parts.explain),
        anomalies: read_anomalies(parts.anomalies),
        geo,
        latency,
        steering,
        checks,
        pops: pops_read,
        pools: pools_read,
        zones,
        zone_folders: zone_folders.unwrap_or_default(),
        tests,
        bgp,
    }
}

/// Checks, PoPs and pools, in the order in which the later ones refer to the earlier.
fn read_places<'a>(
    (checks, pops, pools): (Vec<NamedTable<'a>>, Vec<Table<'a>>, Vec<Table<'a>>),
    pop_names: &Names<'a>,
    check_names: &Names<'a>,
) -> (Vec<Check>, Vec<Pop>, Vec<Pool>) {
    let checks = checks.into_iter();
    let checks = checks.filter_map(|(name, _, table)| Some(read_check(name, table?)));
    let checks: Vec<_> = checks.collect();
    let mut taken = HashMap::new();
    let pops = pops.into_iter();
    let pops: Vec<_> = pops.map(|table| read_pop(table, &mut taken)).collect();
    let read = |table| read_pool(table, pop_names, check_names, (&checks, &pops));
    let pools = pools.into_iter().map(read).collect();
    (checks, pops, pools)
}

/// A name that could not be read is the root.
fn unread(zones: &[Zone], services: &[&Service]) -> bool {
    zones.iter().any(|z| z.name.is_root()) || services.iter().any(|s| s.name.is_root())
}

/// Zones may have stood in a file that has gone: answers must not vanish silently.
fn miss_zones(main: Option<&At<'_>>, sink: &Sink) {
    if let Some(main) = main {
        let message = "no zone is configured: nothing could be answered";
        let help = "add a `[[zone]]` table";
        sink.push(0, Diagnostic::of_file(&main.file.path, message, help));
    }
}

fn read_zones<'a>(tables: Vec<Table<'a>>, pools: &Names<'a>, steering: &Steering) -> Vec<Zone> {
    let zones: Vec<_> = tables
        .into_iter()
        .map(|t| read_zone(t, pools, steering))
        .collect();
    judge_zones(&zones);
    zones.into_iter().map(|(zone, _)| zone).collect()
}

/// Sorts the checks by name, as the model promises, and takes their names.
fn declare_checks<'a>(tables: &mut [NamedTable<'a>]) -> Names<'a> {
    let mut names = Names::new("check");
    tables.sort_by_key(|(name, ..)| *name);
    for (name, at, _) in tables {
        if is_name(name) {
            names.declare(name, at.clone());
        } else {
            let message = format!("{} is no name: {NAME_RULE}", quote(name));
            at.mistake(message, "write for example `[check.edge]`");
            names.skip();
        }
    }
    names
}

/// Takes the `name` of each table, without judging it: reading the entry does that.
fn declare<'a>(tables: &[Table<'a>], names: &mut Names<'a>) {
    for table in tables {
        let value = table.peek("name", "");
        match value.as_ref().map(|v| (v.inner, &v.at)) {
            Some((toml::de::DeValue::String(name), at)) if is_name(name) => {
                names.declare(name, at.clone());
            }
            // An index is taken up all the same, so that indices count tables.
            _ => names.skip(),
        }
    }
}

/// Judges the type of `include`; its patterns are followed while reading.
fn judge_include(value: &Value<'_>, include: Include) {
    if include == Include::Refused {
        value.mistake(
            "`include` cannot be followed here",
            "pass the configuration as a file",
        );
    }
    for entry in value.list().unwrap_or_default() {
        entry.line(4096);
    }
}
