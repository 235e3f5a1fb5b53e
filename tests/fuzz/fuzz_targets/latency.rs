//! Round trips as the network tells them, and the file they are kept in: nothing breaks the parsers,
//! what they read is possible or refused, and a file is taken whole or not at all.
//!
//! Input: one octet that says how the rest is meant.
#![no_main]

use std::sync::{Arc, LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use meridian_config::Geo;
use meridian_geo_data::{
    ClientMap,
    latency::{Matrix, Reporter, Rules, Sample, Site, parse},
};

const NOW: u64 = 1_800_000_000;

static CLIENTS: LazyLock<Arc<ClientMap>> = LazyLock::new(|| {
    let geo = Geo {
        city: Vec::new(),
        asn: Vec::new(),
        networks: Vec::new(),
    };
    Arc::new(ClientMap::open(&geo).expect("the bundled data"))
});

static MATRIX: LazyLock<Mutex<Matrix>> =
    LazyLock::new(|| Mutex::new(Matrix::new(rules(), CLIENTS.clone(), &sites(), 1)));

fuzz_target!(|octets: &[u8]| {
    let Some((how, rest)) = octets.split_first() else {
        return;
    };
    match how % 4 {
        0 => told(parse::json(rest), *how),
        1 => told(parse::log(rest), *how),
        2 => told(parse::log(parse::syslog(rest)), *how),
        _ => {
            let loaded = Matrix::load(rules(), CLIENTS.clone(), &sites(), 1, rest, NOW);
            if let Ok(mut matrix) = loaded {
                let latency = matrix.publish(NOW);
                assert!(latency.exceptions().len() <= rules().max_exceptions);
            }
        }
    }
});

fn told(line: Result<parse::Told<'_>, parse::BadLine>, how: u8) {
    let Ok(told) = line else { return };
    let sample = Sample {
        prefix: told.client,
        pop: "fra".into(),
        rtt_ms: told.rtt_ms,
        reporter: match how % 3 {
            0 => Reporter::Own,
            1 => Reporter::Other(u64::from(how)),
            _ => Reporter::Caller(u64::from(how)),
        },
    };
    let mut matrix = MATRIX.lock().expect("nobody else");
    if matrix.record(NOW, &sample).is_ok() {
        assert!((0.05..=10_000.0).contains(&told.rtt_ms));
        assert!(matrix.rows().0 <= rules().max_rows);
    }
}

fn rules() -> Rules {
    Rules {
        max_rows: 1000,
        ..Rules::default()
    }
}

fn sites() -> Vec<Site> {
    vec![Site {
        name: "fra".into(),
        at: None,
    }]
}
