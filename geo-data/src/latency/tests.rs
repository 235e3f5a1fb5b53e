//! Histories of samples, and what comes of them.

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use ipnet::IpNet;
use meridian_config::{Coordinates, Geo, GeoNetwork};
use proptest::prelude::*;

use super::*;
use crate::ClientMap;

const NOW: u64 = 1_800_000_000;

fn at(latitude: f64, longitude: f64) -> Coordinates {
    Coordinates {
        latitude,
        longitude,
    }
}

fn sites() -> Vec<Site> {
    let site = |name: &str, at| Site {
        name: name.into(),
        at,
    };
    vec![
        site("fra", Some(at(50.03, 8.57))),
        site("iad", Some(at(38.94, -77.46))),
        site("anycast:edge", None),
    ]
}

/// Paris is 203.0.113.0/24 and 198.51.0.0/16, New York 198.18.0.0/16, a private network in Berlin.
fn clients() -> Arc<ClientMap> {
    static KEPT: LazyLock<Arc<ClientMap>> = LazyLock::new(located);
    KEPT.clone()
}

fn located() -> Arc<ClientMap> {
    let network = |prefix: &str, place| GeoNetwork {
        prefix: prefix.parse().unwrap(),
        location: Some(place),
        pop: None,
    };
    let networks = vec![
        network("203.0.113.0/24", at(48.86, 2.35)),
        network("198.51.0.0/16", at(48.86, 2.35)),
        network("2001:db8::/32", at(48.86, 2.35)),
        network("198.18.0.0/16", at(40.71, -74.01)),
        network("10.9.0.0/16", at(52.5, 13.4)),
    ];
    Arc::new(
        ClientMap::open(&Geo {
            city: Vec::new(),
            asn: Vec::new(),
            networks,
        })
        .unwrap(),
    )
}

fn matrix() -> Matrix {
    Matrix::new(Rules::default(), clients(), &sites(), 1)
}

fn sample(prefix: &str, pop: &str, rtt_ms: f32) -> Sample {
    Sample {
        prefix: prefix.parse().unwrap(),
        pop: pop.into(),
        rtt_ms,
        reporter: Reporter::Own,
    }
}

fn feed(matrix: &mut Matrix, now: u64, count: usize, one: &Sample) {
    for _ in 0..count {
        matrix.record(now, one).unwrap();
    }
}

fn cell_of(matrix: &Matrix, address: &str) -> crate::CellId {
    let address: IpAddr = address.parse().unwrap();
    matrix.clients.locate(address).cell.unwrap()
}

fn cell_ms(matrix: &Matrix, latency: &Latency, address: &str, pop: &str) -> Option<Measured> {
    let column = latency.column(pop)?;
    let row = latency.of_cell(cell_of(matrix, address)).iter();
    row.copied().find(|one| one.column == column)
}

fn exception(latency: &Latency, prefix: &str) -> Option<Vec<Measured>> {
    let prefix: IpNet = prefix.parse().unwrap();
    let found = latency.exceptions().iter().find(|(net, _)| *net == prefix);
    found.map(|(_, row)| latency.of_row(*row).to_vec())
}

#[test]
fn twenty_samples_of_a_prefix_measure_its_cell() {
    let mut matrix = matrix();
    feed(&mut matrix, NOW, 19, &sample("203.0.113.9/32", "fra", 12.5));
    assert!(matrix.publish(NOW).is_empty());
    feed(&mut matrix, NOW, 1, &sample("203.0.113.0/24", "fra", 12.5));
    let latency = matrix.publish(NOW);
    let got = cell_ms(&matrix, &latency, "203.0.113.1", "fra").unwrap();
    assert!((got.ms - 12.5).abs() < 0.01 && (got.p25_ms - 12.5).abs() < 0.01);
    assert_eq!((got.samples, got.age_s, got.basis), (20, 0, Basis::Cell));
    assert_eq!(cell_ms(&matrix, &latency, "203.0.113.1", "iad"), None);
    assert_eq!((latency.line().pairs, latency.generation()), (1, 2));
    assert!(latency.exceptions().is_empty());
}

#[test]
fn what_is_refused() {
    let mut matrix = matrix();
    let table = [
        ("203.0.113.0/24", "ams", 10.0, Refused::UnknownPop),
        ("203.0.112.0/23", "fra", 10.0, Refused::TooWide),
        ("2001:db8::/47", "fra", 10.0, Refused::TooWide),
        ("203.0.113.0/24", "fra", 0.0, Refused::OutOfRange),
        ("203.0.113.0/24", "fra", f32::NAN, Refused::OutOfRange),
        ("203.0.113.0/24", "fra", 10_001.0, Refused::OutOfRange),
        ("203.0.113.0/24", "iad", 30.0, Refused::FasterThanLight),
        ("10.0.0.0/24", "fra", 10.0, Refused::Unroutable),
        ("fd00::/48", "fra", 10.0, Refused::Unroutable),
    ];
    for (prefix, pop, ms, why) in table {
        let got = matrix.record(NOW, &sample(prefix, pop, ms));
        assert_eq!(got, Err(why), "{prefix} {pop} {ms}");
    }
    assert_eq!(matrix.rows(), (0, 0));
    for (prefix, pop, ms) in [
        ("203.0.113.0/24", "iad", 60.0),
        // Nobody knows where anycast ends.
        ("203.0.113.0/24", "anycast:edge", 0.5),
        // Placed by the operator.
        ("10.9.1.0/24", "fra", 10.0),
    ] {
        assert_eq!(matrix.record(NOW, &sample(prefix, pop, ms)), Ok(()));
    }
    let other = Sample {
        reporter: Reporter::Other(3),
        ..sample("203.0.113.0/24", "fra", 10.0)
    };
    assert_eq!(matrix.record(NOW, &other), Ok(()));
    assert_eq!(matrix.record(NOW, &other), Err(Refused::Repeated));
}

#[test]
fn a_prefix_off_its_cell_is_named() {
    let mut matrix = matrix();
    for third in 0..20 {
        let prefix = format!("198.51.{third}.0/24");
        feed(&mut matrix, NOW, 20, &sample(&prefix, "fra", 10.0));
        feed(&mut matrix, NOW, 20, &sample(&prefix, "iad", 90.0));
    }
    feed(&mut matrix, NOW, 30, &sample("198.51.77.0/24", "fra", 40.0));
    feed(&mut matrix, NOW, 30, &sample("198.51.78.0/24", "fra", 12.0));
    let latency = matrix.publish(NOW);
    let named: Vec<_> = latency.exceptions().iter().map(|one| one.0).collect();
    assert_eq!(named, ["198.51.77.0/24".parse().unwrap()]);
    let row = exception(&latency, "198.51.77.0/24").unwrap();
    let figures: Vec<_> = row
        .iter()
        .map(|one| (one.basis, one.ms.round() as i32, one.samples))
        .collect();
    assert_eq!(figures, [(Basis::Prefix, 40, 30), (Basis::Cell, 90, 400)]);
    let cell = cell_ms(&matrix, &latency, "198.51.0.1", "fra").unwrap();
    assert!((cell.ms - 10.0).abs() < 0.1, "{cell:?}");
}

#[test]
fn thin_prefixes_speak_together() {
    let mut matrix = matrix();
    for third in 0..120 {
        let prefix = format!("198.51.{third}.0/24");
        feed(&mut matrix, NOW, 20, &sample(&prefix, "fra", 10.0));
    }
    // 198.51.240.0/20 is one place: 8 × 5 samples.
    for third in 240..248 {
        let prefix = format!("198.51.{third}.0/24");
        feed(&mut matrix, NOW, 5, &sample(&prefix, "fra", 50.0));
    }
    let latency = matrix.publish(NOW);
    assert_eq!(latency.exceptions().len(), 8);
    let row = exception(&latency, "198.51.240.0/24").unwrap();
    assert_eq!((row[0].basis, row[0].samples), (Basis::Wider, 40));
}

#[test]
fn what_ages_goes_to_the_estimate() {
    let mut matrix = matrix();
    feed(&mut matrix, NOW, 20, &sample("203.0.113.0/24", "fra", 80.0));
    let ms = |matrix: &mut Matrix, hours: u64| {
        let latency = matrix.publish(NOW + hours * 3600);
        cell_ms(matrix, &latency, "203.0.113.1", "fra").map(|one| one.ms)
    };
    let fresh = ms(&mut matrix, 0).unwrap();
    let (half, old) = (ms(&mut matrix, 7).unwrap(), ms(&mut matrix, 20).unwrap());
    assert!((fresh - 80.0).abs() < 0.1 && half < 60.0 && old < 25.0);
    assert!(fresh > half && half > old, "{fresh} {half} {old}");
    assert_eq!(ms(&mut matrix, 48), None);
}

#[test]
fn a_column_that_is_gone_rests() {
    let mut matrix = matrix();
    feed(&mut matrix, NOW, 30, &sample("203.0.113.0/24", "fra", 40.0));
    let clients = matrix.clients.clone();
    matrix.rebase(clients.clone(), &sites()[1..]);
    let latency = matrix.publish(NOW);
    assert_eq!(cell_ms(&matrix, &latency, "203.0.113.1", "fra"), None);
    let refused = matrix.record(NOW, &sample("203.0.113.0/24", "fra", 40.0));
    assert_eq!(refused, Err(Refused::UnknownPop));
    matrix.rebase(clients, &sites());
    let latency = matrix.publish(NOW);
    assert!(cell_ms(&matrix, &latency, "203.0.113.1", "fra").is_some());
}

#[test]
fn another_window_begins_anew() {
    let mut matrix = matrix();
    feed(&mut matrix, NOW, 30, &sample("203.0.113.0/24", "fra", 40.0));
    matrix.set_rules(Rules {
        min_samples: 31,
        ..Rules::default()
    });
    assert!(matrix.publish(NOW).is_empty());
    matrix.set_rules(Rules::default());
    assert!(!matrix.publish(NOW).is_empty());
    matrix.set_rules(Rules {
        window_s: 7200,
        ..Rules::default()
    });
    assert!(matrix.publish(NOW).is_empty());
    assert_eq!(matrix.rows(), (0, 0));
}

#[test]
fn new_geo_data_keeps_what_was_measured() {
    let mut matrix = matrix();
    feed(&mut matrix, NOW, 30, &sample("203.0.113.0/24", "fra", 40.0));
    feed(&mut matrix, NOW, 30, &sample("198.18.0.0/24", "iad", 40.0));
    let network = GeoNetwork {
        prefix: "198.0.0.0/8".parse().unwrap(),
        location: Some(at(40.71, -74.01)),
        pop: None,
    };
    let other = Geo {
        city: Vec::new(),
        asn: Vec::new(),
        networks: vec![network],
    };
    matrix.rebase(Arc::new(ClientMap::open(&other).unwrap()), &sites());
    let latency = matrix.publish(NOW);
    assert!(cell_ms(&matrix, &latency, "198.18.0.1", "iad").is_some());
    // Its cell is gone, and nothing is known of where it is now; what it measured still stands.
    assert!(exception(&latency, "203.0.113.0/24").is_some());
}

fn saved(matrix: &Matrix, now: u64) -> Vec<u8> {
    let mut file = Vec::new();
    matrix.save(&mut file, now).unwrap();
    file
}

fn loaded(file: &[u8], now: u64) -> Result<Matrix, LoadError> {
    Matrix::load(Rules::default(), clients(), &sites()[..2], 9, file, now)
}

#[test]
fn row_6_cells_beyond_the_bound_cost_no_search_each() {
    let rules = Rules {
        max_cells: 1,
        ..Rules::default()
    };
    let mut matrix = Matrix::new(rules, clients(), &sites(), 7);
    let caller = Reporter::Caller(1);
    let mut tell = |at: u64, client: &str| {
        let sample = Sample {
            prefix: client.parse().unwrap(),
            pop: "fra".into(),
            rtt_ms: 90.0,
            reporter: caller,
        };
        (matrix.record(at, &sample), matrix.rows(), matrix.swept_s())
    };
    let (paris, new_york) = ("203.0.113.0/24", "198.18.1.0/24");
    let start = u32::try_from(NOW).unwrap();
    assert_eq!(tell(NOW, paris), (Ok(()), (1, 1), 0));
    // It counts for its prefix until the caller has no say there any more.
    for _ in 0..10 {
        assert_eq!(tell(NOW + 1, new_york), (Ok(()), (2, 1), start + 1));
    }
    assert_eq!(tell(NOW + 60, new_york).0, Err(Refused::Full));
    assert_eq!(tell(NOW + 60, new_york).2, start + 1, "a minute apart");
    assert_eq!(tell(NOW + 61, new_york).2, start + 61);
    // What says nothing any more makes room.
    let days = NOW + 3 * 86_400;
    assert_eq!(tell(days, new_york).0, Ok(()));
    assert_eq!(tell(days, paris).1, (2, 1), "the cell of New York now");
}

fn filled() -> Matrix {
    let mut matrix = matrix();
    for third in 0..6_u8 {
        let prefix = format!("198.51.{third}.0/24");
        feed(
            &mut matrix,
            NOW,
            12,
            &sample(&prefix, "fra", 10.0 + f32::from(third)),
        );
        feed(&mut matrix, NOW + 1900, 12, &sample(&prefix, "fra", 11.0));
    }
    feed(
        &mut matrix,
        NOW,
        70,
        &sample("2001:db8:7::/48", "iad", 140.0),
    );
    feed(
        &mut matrix,
        NOW,
        30,
        &sample("203.0.113.0/24", "anycast:edge", 30.0),
    );
    matrix
}

#[test]
fn what_is_saved_is_loaded() {
    let mut matrix = filled();
    let file = saved(&matrix, NOW + 1900);
    let mut again = loaded(&file, NOW + 1900).unwrap();
    assert_eq!(again.rows(), matrix.rows());
    assert_eq!(saved(&again, NOW + 1900), file);
    let clients = matrix.clients.clone();
    again.rebase(clients, &sites());
    let (one, other) = (matrix.publish(NOW + 2000), again.publish(NOW + 2000));
    let cell = cell_of(&matrix, "203.0.113.1");
    assert_eq!(one.of_cell(cell), other.of_cell(cell));
    assert_eq!(one.exceptions(), other.exceptions());
    assert_eq!(
        (one.line(), one.generation()),
        (other.line(), other.generation())
    );
}

#[test]
fn columns_and_cells_find_their_place() {
    let file = saved(&filled(), NOW + 1900);
    let mut other = sites();
    other.reverse();
    let rules = Rules::default();
    let mut again = Matrix::load(rules, clients(), &other, 9, &file[..], NOW + 1900).unwrap();
    let latency = again.publish(NOW + 1900);
    let got = cell_ms(&again, &latency, "203.0.113.1", "anycast:edge").unwrap();
    assert!((got.p25_ms - 30.0).abs() < 0.1);
    // A clock that was far ahead when it was written: nothing of it is believed.
    assert_eq!(loaded(&file, NOW - 86_400).unwrap().rows(), (0, 0));
    // What is too old to say anything is not kept.
    let old = saved(&filled(), NOW + 86_400 * 30);
    assert_eq!(loaded(&old, NOW + 86_400 * 30).unwrap().rows(), (0, 0));
}

#[test]
fn a_damaged_file_is_refused_with_a_reason() {
    let file = saved(&filled(), NOW + 1900);
    let why = |file: &[u8]| loaded(file, NOW + 1900).unwrap_err().to_string();
    for end in (0..file.len()).step_by(11) {
        assert!(loaded(&file[..end], NOW + 1900).is_err(), "cut at {end}");
    }
    for at in (0..file.len()).step_by(5) {
        let mut bad = file.clone();
        bad[at] ^= 1 << (at % 7);
        assert!(loaded(&bad, NOW + 1900).is_err(), "octet {at}");
    }
    assert_eq!(
        why(&[&file[..], b"x"].concat()),
        "it is damaged: it goes on behind its end"
    );
    assert_eq!(why(b""), "it is not a file of measured latency");
    assert_eq!(
        why(b"{\"overrides\": []}"),
        "it is not a file of measured latency"
    );
    let mut newer = file.clone();
    newer[8] = 9;
    assert_eq!(why(&newer), "it has version 9, this server reads version 1");
    let rules = Rules {
        window_s: 600,
        ..Rules::default()
    };
    let other = Matrix::load(rules, clients(), &sites(), 9, &file[..], NOW).unwrap_err();
    assert_eq!(
        other.to_string(),
        "it was written with a window of 3600 s, which is now 600 s"
    );
}

fn race() -> Race {
    Race {
        anycast: anycast_column("edge"),
        pops: vec!["fra".into(), "iad".into()],
        margin_ms: 10.0,
    }
}

/// An hour of samples: of four prefixes anycast is 40 ms and fra 12 ms away, of one the other way.
fn an_hour(matrix: &mut Matrix, now: u64) {
    for (prefix, anycast, fra) in [
        ("198.51.0.0/24", 40.0, 12.0),
        ("198.51.1.0/24", 40.0, 12.0),
        ("198.51.2.0/24", 40.0, 12.0),
        ("198.51.4.0/24", 40.0, 12.0),
        ("198.51.3.0/24", 12.0, 40.0),
    ] {
        feed(matrix, now, 30, &sample(prefix, "anycast:edge", anycast));
        feed(matrix, now, 30, &sample(prefix, "fra", fra));
    }
}

/// What a cell and a prefix prefer, as far as it is in force.
fn in_force(matrix: &Matrix, latency: &Latency, prefix: &str) -> (Option<u16>, Option<u16>) {
    let force = |one: &Preference| one.in_force.then_some(one.pop);
    let cell = cell_of(matrix, "198.51.0.1");
    let of_cell = latency.preferred_by_cell(cell).first();
    let of_cell = of_cell.and_then(|(_, one)| force(one));
    let prefix: IpNet = prefix.parse().unwrap();
    let named = latency.exceptions().iter().find(|(net, _)| *net == prefix);
    let of_row = |row: u32| latency.preferred_by_row(row).first().and_then(force);
    (of_cell, named.map_or(of_cell, |(_, row)| of_row(*row)))
}

#[test]
fn a_single_pop_is_preferred_once_proven_and_for_a_day() {
    let mut matrix = matrix();
    matrix.set_races(&[race()]);
    for hour in 0..3 {
        let now = NOW + hour * 3600;
        an_hour(&mut matrix, now);
        let latency = matrix.publish(now + 60);
        let expect = (hour == 2).then_some(0);
        let got = in_force(&matrix, &latency, "198.51.3.0/24");
        assert_eq!(got, (expect, None), "hour {hour}");
    }
    // It outlives a restart, and goes a day after it was last seen.
    let now = NOW + 2 * 3600;
    let file = saved(&matrix, now);
    let mut again = Matrix::load(Rules::default(), clients(), &sites(), 3, &file[..], now).unwrap();
    again.set_races(&[race()]);
    for (later, expect) in [(60, Some(0)), (20 * 3600, Some(0)), (34 * 3600, None)] {
        let latency = again.publish(now + later);
        let got = in_force(&again, &latency, "198.51.0.0/24");
        assert_eq!(got, (expect, expect), "{later}");
    }
    again.set_races(&[]);
    assert!(again.publish(now).preferences().is_empty());
}

/// A world of prefixes of Paris with honest reporters: (prefix, who, ms).
fn honest() -> impl Strategy<Value = Vec<(u8, u64, f32)>> {
    proptest::collection::vec((0..12_u8, 0..60_u64, 8.0..60.0f32), 0..400)
}

fn told(matrix: &mut Matrix, now: u64, third: u8, reporter: Reporter, rtt_ms: f32) {
    let one = Sample {
        reporter,
        ..sample(&format!("198.51.{third}.0/24"), "fra", rtt_ms)
    };
    let _ = matrix.record(now, &one);
}

#[test]
fn a_caller_alone_makes_rows_and_is_bounded() {
    let mut matrix = matrix();
    let caller = Reporter::Caller(7);
    let tell = |matrix: &mut Matrix, now, third| {
        let sample = Sample {
            reporter: caller,
            ..sample(&format!("198.51.{third}.0/24"), "fra", 40.0)
        };
        matrix.record(now, &sample)
    };
    // Of one prefix, as much as one caller may say of a cell.
    let taken = (0..500).filter(|_| tell(&mut matrix, NOW, 100).is_ok());
    assert_eq!(taken.count(), 20);
    let latency = matrix.publish(NOW);
    assert!(cell_ms(&matrix, &latency, "198.51.0.1", "fra").is_some());
    // The other prefixes of the cell count by themselves only.
    let taken = (0..500).filter(|_| tell(&mut matrix, NOW, 101).is_ok());
    assert_eq!(taken.count(), 10);
    let again = NOW + 1800;
    assert!(tell(&mut matrix, again, 100).is_ok(), "in the next half");
}

#[test]
fn one_of_nine_callers_cannot_say_what_a_cell_is() {
    for (lie, liar_first) in [
        (0.06, true),
        (0.06, false),
        (9_999.0, true),
        (9_999.0, false),
    ] {
        let mut matrix = matrix();
        let round = |matrix: &mut Matrix, who: u64, ms: &dyn Fn(u8) -> f32| {
            for third in 0..=255 {
                told(matrix, NOW, third, Reporter::Caller(who), ms(third));
            }
        };
        let honest = |matrix: &mut Matrix| {
            for who in 1..=8 {
                round(matrix, who, &|third| 40.0 + f32::from(third % 20));
            }
        };
        if !liar_first {
            honest(&mut matrix);
        }
        round(&mut matrix, 99, &|_| lie);
        if liar_first {
            honest(&mut matrix);
        }
        let latency = matrix.publish(NOW);
        let got = cell_ms(&matrix, &latency, "198.51.0.1", "fra").unwrap();
        assert!((40.0..50.0).contains(&got.p25_ms), "{lie}: {got:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However often and through however many prefixes one reporter lies, a cell stays between two
    /// percentiles of what the others said of it.
    #[test]
    fn one_reporter_moves_a_cell_within_bounds(
        honest in honest(), lie in prop_oneof![Just(0.06f32), Just(9_999.0), 1.0..300.0f32], first: bool,
    ) {
        let mut matrix = matrix();
        let liar = |matrix: &mut Matrix| {
            for third in 0..=255 {
                told(matrix, NOW, third, Reporter::Other(u64::MAX), lie);
            }
        };
        if first { liar(&mut matrix); }
        for (third, who, ms) in &honest {
            told(&mut matrix, NOW, *third, Reporter::Other(*who), *ms);
        }
        if !first { liar(&mut matrix); }
        let latency = matrix.publish(NOW);
        let Some(got) = cell_ms(&matrix, &latency, "198.51.0.1", "fra") else {
            return Ok(());
        };
        let mut others: Vec<f32> = honest.iter().map(|(_, _, ms)| *ms).collect();
        others.sort_by(f32::total_cmp);
        prop_assert!(got.p25_ms >= others[0] * 0.999 && got.p25_ms <= others[others.len() - 1] * 1.001);
        // The liar alone names no prefix: 19 others were heard in it, or in the /20 around it.
        for (net, _) in latency.exceptions() {
            let third = |addr: IpAddr| match addr {
                IpAddr::V4(v4) => v4.octets()[2],
                IpAddr::V6(_) => 255,
            };
            let around = third(net.addr()) >> 4;
            prop_assert!(honest.iter().filter(|(one, ..)| one >> 4 == around).count() >= 19);
        }
    }

    /// A caller counts for a few samples of a cell, however much it tells; and however long the round
    /// trips that it makes up, those of the others hold the 25th percentile.
    #[test]
    fn one_caller_has_one_voice(
        honest in proptest::collection::vec((0..=255_u8, 1.0..300.0f32), 100..600),
        lie in 1.0..9_999.0f32, first: bool, many in 1..3000_u32, key: u64,
    ) {
        let mut matrix = matrix();
        let liar = |matrix: &mut Matrix| {
            for n in 0..many {
                told(matrix, NOW, (n % 256) as u8, Reporter::Caller(key), lie);
            }
        };
        if first { liar(&mut matrix); }
        for (n, (third, ms)) in (1_u64..).zip(&honest) {
            told(&mut matrix, NOW, *third, Reporter::Caller(key ^ n), *ms);
        }
        if !first { liar(&mut matrix); }
        let latency = matrix.publish(NOW);
        let got = cell_ms(&matrix, &latency, "198.51.0.1", "fra").unwrap();
        let most = honest.iter().map(|(_, ms)| *ms).fold(0.0, f32::max);
        prop_assert!(got.p25_ms <= most * 1.001, "{} {most}", got.p25_ms);
        prop_assert!(got.samples as usize <= honest.len() + 20);
    }

    /// The same history gives the same table, whatever the seed of the index.
    #[test]
    fn the_same_history_gives_the_same(honest in honest(), seeds: [u64; 2]) {
        let publish = |seed| {
            let mut matrix = Matrix::new(Rules::default(), clients(), &sites(), seed);
            for (step, (third, who, ms)) in (0..).zip(&honest) {
                let reporter = if who % 3 == 0 { Reporter::Own } else { Reporter::Other(*who) };
                told(&mut matrix, NOW + step * 30, *third, reporter, *ms);
            }
            let latency = matrix.publish(NOW + 12_000);
            let rows: Vec<_> = latency.exceptions().iter().map(|(net, row)| (*net, latency.of_row(*row).to_vec())).collect();
            (latency.of_cell(cell_of(&matrix, "198.51.0.1")).to_vec(), rows, latency.line())
        };
        prop_assert_eq!(publish(seeds[0]), publish(seeds[1]));
    }
}

/// Prefixes of which nobody knows a place cannot be steered by, so they take no place from others.
#[test]
fn prefixes_without_a_cell_leave_out_no_others() {
    let rules = Rules {
        max_exceptions: 1,
        ..Rules::default()
    };
    let mut matrix = Matrix::new(rules, clients(), &sites(), 1);
    for third in 0..20 {
        let prefix = format!("198.51.{third}.0/24");
        feed(&mut matrix, NOW, 20, &sample(&prefix, "fra", 10.0));
    }
    feed(&mut matrix, NOW, 30, &sample("198.51.77.0/24", "fra", 40.0));
    let nowhere = "192.0.2.0/24";
    assert_eq!(matrix.clients.locate([192, 0, 2, 1].into()).cell, None);
    feed(&mut matrix, NOW, 30, &sample(nowhere, "fra", 40.0));
    let latency = matrix.publish(NOW);
    assert!(exception(&latency, "198.51.77.0/24").is_some());
    assert!(exception(&latency, nowhere).is_none());
}

/// A PoP that leaves the pool while clients prefer it does not keep others from being preferred.
#[test]
fn who_leaves_a_pool_is_preferred_no_more() {
    let mut matrix = matrix();
    matrix.set_races(&[race()]);
    for hour in 0..3 {
        let now = NOW + hour * 3600;
        an_hour(&mut matrix, now);
        matrix.publish(now + 60);
    }
    let now = NOW + 2 * 3600 + 90;
    assert!(!matrix.publish(now).preferences().is_empty());
    let pops = race().pops.into_iter().filter(|pop| &**pop != "fra");
    let without = Race {
        pops: pops.collect(),
        ..race()
    };
    matrix.set_races(&[without]);
    assert!(matrix.publish(now).preferences().is_empty());
}
