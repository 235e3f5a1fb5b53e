//! Values of arguments: text to what it says, or what was expected instead.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use meridian_config::Coordinates;

use super::args::Moment;
use crate::plan::Addition;

/// Reads `fra@10s`.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    let (pop, at) = text
        .split_once('@')
        .filter(|(pop, _)| !pop.is_empty())
        .ok_or("expected a PoP and a time, such as fra@10s")?;
    Ok(Moment {
        pop: pop.to_owned(),
        at: duration(at)?,
    })
}

/// Reads `90s`, `2h`, `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "expected a number with a unit, such as 30s, 10m or 2h".to_owned())
}

/// Reads `name=ber,lat=52.5,lon=13.4,weight=100,capacity=8000`.
pub(super) fn addition(text: &str) -> Result<Addition, String> {
    const KEYS: &str = "name=…,lat=…,lon=…[,weight=…][,capacity=…]";
    let (mut name, mut latitude, mut longitude) = (None, None, None);
    let (mut weight, mut capacity) = (100, None);
    for pair in text.split(',') {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("expected {KEYS}"))?;
        let number = |least: f64, most: f64| {
            let number = value
                .parse::<f64>()
                .ok()
                .filter(|n| (least..=most).contains(n));
            number.ok_or_else(|| format!("{key} must be a number from {least} to {most}"))
        };
        match key.trim() {
            "name" => name = Some(pop_name(value)?),
            "lat" | "latitude" => latitude = Some(number(-90.0, 90.0)?),
            "lon" | "longitude" => longitude = Some(number(-180.0, 180.0)?),
            "weight" => weight = weight_of(value)?,
            "capacity" => capacity = Some(positive(value)?),
            other => return Err(format!("there is no {other:?} here; expected {KEYS}")),
        }
    }
    let (Some(name), Some(latitude), Some(longitude)) = (name, latitude, longitude) else {
        return Err(format!("name, lat and lon are needed: {KEYS}"));
    };
    Ok(Addition {
        name,
        location: Coordinates {
            latitude,
            longitude,
        },
        weight,
        capacity,
    })
}

/// The name of a PoP as the configuration would take it.
pub(super) fn pop_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if (1..=63).contains(&text.len()) && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("a PoP's name is 1 to 63 of a-z 0-9 - _".to_owned())
    }
}

/// Reads `fra=50`.
pub(super) fn weight(text: &str) -> Result<(String, u32), String> {
    let wrong = || "expected a PoP and its weight, such as fra=50".to_owned();
    let (pop, weight) = text.split_once('=').ok_or_else(wrong)?;
    Ok((pop.to_owned(), weight_of(weight)?))
}

/// A weight as the configuration would take it.
fn weight_of(text: &str) -> Result<u32, String> {
    let weight = text.parse().ok().filter(|weight| *weight <= 1_000_000);
    weight.ok_or_else(|| format!("a weight is a whole number from 0 to 1000000, not {text:?}"))
}

/// Reads a capacity, or a demand in its unit, as the configuration would take it.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    let fits = |n: &f64| (f64::MIN_POSITIVE..=1e15).contains(n);
    let number = text.parse().ok().filter(fits);
    number.ok_or_else(|| format!("{text:?} is no number above 0 and up to 1e15"))
}

/// Reads `5%` or `0.05` as a share.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = match text.strip_suffix('%') {
        Some(number) => (number.trim_end(), 100.0),
        None => (text, 1.0),
    };
    let number = number.parse::<f64>().ok().map(|number| number / whole);
    number
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "expected a share, such as 5% or 0.05".to_owned())
}

/// Reads an address or a prefix. Bits beyond the length are cleared.
pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    text.parse::<IpNet>()
        .map(|net| net.trunc())
        .map_err(|_| "expected an address or a prefix, such as 203.0.113.0/24".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_address_or_a_prefix() {
        assert_eq!(prefix("192.0.2.1").unwrap().to_string(), "192.0.2.1/32");
        assert_eq!(prefix("192.0.2.1/24").unwrap().to_string(), "192.0.2.0/24");
        assert_eq!(prefix("2001:db8::1").unwrap().prefix_len(), 128);
    }

    #[test]
    fn a_plan_takes_what_the_configuration_takes() {
        assert_eq!(weight("fra=1000000"), Ok(("fra".to_owned(), 1_000_000)));
        assert_eq!(positive("1e15"), Ok(1e15));
        let right = "a weight is a whole number from 0 to 1000000, not \"1000001\"";
        assert_eq!(weight("fra=1000001"), Err(right.to_owned()));
        let place = "name=ber,lat=52.5,lon=13.4";
        assert_eq!(
            addition(&format!("{place},weight=1000001")),
            Err(right.to_owned())
        );
        assert!(addition(&format!("{place},capacity=8e3")).is_ok());
        for text in ["0", "-1", "inf", "nan", "1e16", "x"] {
            let right = format!("{text:?} is no number above 0 and up to 1e15");
            assert_eq!(positive(text), Err(right.clone()));
            assert_eq!(addition(&format!("{place},capacity={text}")), Err(right));
        }
    }

    #[test]
    fn a_moment_is_a_pop_and_a_time() {
        let at = Duration::from_secs(10);
        let pop = "fra".to_owned();
        assert_eq!(moment("fra@10s"), Ok(Moment { pop, at }));
        assert!(moment("fra@").is_err());
        assert!(moment("10s").is_err());
    }
}
