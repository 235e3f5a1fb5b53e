//! Configurations for the tests of this crate.

use std::{net::SocketAddr, time::Duration};

use meridian_config::*;

/// One pool under one tcp check with the crate's default times; PoP `n` has the endpoints
/// 127.0.`n`.1 and up.
pub(crate) fn config(pops: &[(&str, u8)]) -> Config {
    let loopback: SocketAddr = ([127, 0, 0, 1], 0).into();
    let pops: Vec<Pop> = pops
        .iter()
        .zip(0_u8..)
        .map(|(&(name, endpoints), n)| Pop {
            name: name.into(),
            location: Coordinates {
                latitude: 0.0,
                longitude: 0.0,
            },
            weight: Weight(100),
            bias_ms: 0.0,
            endpoints: (1..=endpoints)
                .map(|last| [127, 0, n, last].into())
                .collect(),
            serves: Fence::default(),
        })
        .collect();
    Config {
        files: Vec::new(),
        include_patterns: Vec::new(),
        named_files: Vec::new(),
        server: Server {
            listen: vec![loopback],
            workers: 1,
            nsid: None,
            state_directory: "state".into(),
            user: None,
            chaos: Chaos {
                version: None,
                hostname: None,
            },
            tcp: TcpLimits {
                connections: 1,
                idle_timeout: Duration::from_secs(1),
                in_flight: 1,
            },
        },
        admin: Admin {
            listen: loopback,
            token_file: None,
            tls: None,
        },
        log: Log {
            format: LogFormat::Text,
            level: "info".into(),
        },
        geo: Geo {
            city: Vec::new(),
            asn: Vec::new(),
            networks: Vec::new(),
        },
        steering: steering(),
        checks: vec![check()],
        pools: vec![Pool {
            name: "edge".into(),
            check: Some(CheckId(0)),
            pops: (0..pops.len())
                .map(|id| PopId(id.try_into().unwrap()))
                .collect(),
            fallback: Vec::new(),
        }],
        pops,
        zones: Vec::new(),
        tests: Vec::new(),
    }
}

fn steering() -> Steering {
    Steering {
        distance: 0.3,
        latency: 0.4,
        load: 0.3,
        tolerance: Duration::from_millis(5),
        answers: 1,
        ttl: Ttl(30),
        min_health: Ratio(0.5),
        policy: Policy::Score,
        scope_max: ScopeMax { ipv4: 24, ipv6: 56 },
    }
}

/// A tcp check with the default times.
pub(crate) fn check() -> Check {
    Check {
        name: "edge".into(),
        kind: CheckKind::Tcp,
        port: 80,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        fall: 3,
        rise: 2,
        max_latency: None,
    }
}

/// The HTTP part of a check with the defaults.
pub(crate) fn http() -> HttpCheck {
    HttpCheck {
        method: HttpMethod::Get,
        path: "/healthz".into(),
        host: None,
        status: vec![StatusRange {
            first: 200,
            last: 299,
        }],
        body: None,
    }
}
