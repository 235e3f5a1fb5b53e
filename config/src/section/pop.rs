//! `[[pop]]`

use std::{collections::HashMap, net::IpAddr, time::Duration};

use super::load::{read_capacity, read_load};
use crate::{
    Coordinates, Fence, Pop, Weight,
    text::quote,
    walk::{At, Table, Value},
};

/// Endpoints of one PoP.
const ENDPOINTS_LIMIT: usize = 64;
/// Longest `ramp`.
const RAMP_LIMIT: Duration = Duration::from_secs(24 * 3600);

const CONTINENTS: [&str; 7] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA"];

/// ISO 3166-1 alpha-2, and XK, which geo databases use for Kosovo.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ \
    BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE \
    DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR \
    GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP \
    KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT \
    MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW \
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG \
    TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM \
    ZW";

/// Reads one PoP. `taken` holds the endpoints of the PoPs before it.
pub(crate) fn read_pop<'a>(table: Table<'a>, taken: &mut HashMap<IpAddr, At<'a>>) -> Pop {
    let name = table.required("name", "\"fra\"").and_then(|v| v.name());
    let location = read_location(
        table.required("latitude", "50.03"),
        table.required("longitude", "8.57"),
    );
    let weight = table
        .get("weight", "100")
        .and_then(|v| v.integer(0..=1_000_000));
    let bias = table
        .get("bias", "\"-5ms\"")
        .and_then(|v| v.signed_ms(Duration::from_secs(10)));
    let endpoints = table.required("endpoints", "[\"192.0.2.10\", \"2001:db8::10\"]");
    let endpoints = endpoints
        .map(|v| read_endpoints(&v, taken))
        .unwrap_or_default();
    let serves = table.get("serves", "{ countries = [\"DE\", \"AT\"] }");
    let serves = serves
        .and_then(|v| v.table())
        .map(read_fence)
        .unwrap_or_default();
    let load = read_load(&table);
    let capacity = read_capacity(&table);
    let ramp = table.get("ramp", "\"60s\"");
    let ramp = ramp.and_then(|v| v.duration(Duration::ZERO..=RAMP_LIMIT));
    table.close();
    Pop {
        name: name.unwrap_or_default().to_owned(),
        location,
        weight: Weight(weight.unwrap_or(100)),
        bias_ms: bias.unwrap_or(0.0),
        endpoints,
        serves,
        capacity,
        load,
        ramp: ramp.unwrap_or_default(),
    }
}

/// A pair of degrees; what is missing is already reported.
pub(crate) fn read_location(
    latitude: Option<Value<'_>>,
    longitude: Option<Value<'_>>,
) -> Coordinates {
    Coordinates {
        latitude: latitude.and_then(|v| v.number(-90.0..=90.0)).unwrap_or(0.0),
        longitude: longitude
            .and_then(|v| v.number(-180.0..=180.0))
            .unwrap_or(0.0),
    }
}

fn read_endpoints<'a>(value: &Value<'a>, taken: &mut HashMap<IpAddr, At<'a>>) -> Vec<IpAddr> {
    let Some(entries) = value.list() else {
        return Vec::new();
    };
    if entries.is_empty() {
        value.mistake(
            "`endpoints` is empty: there is nothing to hand out",
            value.remedy(),
        );
    }
    if entries.len() > ENDPOINTS_LIMIT {
        let message = format!("a PoP holds at most {ENDPOINTS_LIMIT} endpoints");
        value.mistake(message, "split it into several PoPs");
    }
    let mut all = Vec::new();
    for entry in entries {
        let Some(address) = entry.answer_address() else {
            continue;
        };
        // Two PoPs with one address could not be drained apart, and an answer with both would
        // hold the same record twice.
        if let Some(first) = taken.get(&address) {
            entry.mistake(
                format!("{address} is already an endpoint"),
                format!("remove one of them; the first stands at {}", first.line()),
            );
        } else {
            taken.insert(address, entry.at.clone());
        }
        all.push(address);
    }
    all
}

fn read_fence(table: Table<'_>) -> Fence {
    let is_country = |code: &str| code.len() == 2 && COUNTRIES.split(' ').any(|c| c == code);
    let is_continent = |code: &str| CONTINENTS.contains(&code);
    let continents = read_codes(
        table.get("continents", "[\"EU\"]"),
        &is_continent,
        "continent",
    );
    let countries = read_codes(
        table.get("countries", "[\"DE\", \"AT\"]"),
        &is_country,
        "country",
    );
    let excluded = read_codes(
        table.get("exclude_countries", "[\"CH\"]"),
        &is_country,
        "country",
    );
    for (value, code) in &excluded {
        if countries.iter().any(|(_, c)| c == code) {
            let code = String::from_utf8_lossy(code).into_owned();
            value.mistake(
                format!(
                    "{} stands in `countries` and in `exclude_countries`",
                    quote(&code)
                ),
                "remove it from one of them",
            );
        }
    }
    let only = |list: Vec<(Value<'_>, [u8; 2])>| list.into_iter().map(|(_, code)| code).collect();
    let fence = Fence {
        continents: only(continents),
        countries: only(countries),
        exclude_countries: only(excluded),
    };
    table.close();
    fence
}

fn read_codes<'a>(
    list: Option<Value<'a>>,
    known: &dyn Fn(&str) -> bool,
    what: &str,
) -> Vec<(Value<'a>, [u8; 2])> {
    let entries = list.and_then(|v| v.list()).unwrap_or_default();
    let read = |v: Value<'a>| read_code(&v, known, what).map(|code| (v, code));
    entries.into_iter().filter_map(read).collect()
}

fn read_code(value: &Value<'_>, known: &dyn Fn(&str) -> bool, what: &str) -> Option<[u8; 2]> {
    let text = value.text()?;
    if known(text) {
        return text.as_bytes().try_into().ok();
    }
    let upper = text.to_ascii_uppercase();
    let help = if upper == "UK" && what == "country" {
        "the United Kingdom is \"GB\"".to_owned()
    } else if known(&upper) {
        format!("write \"{upper}\"")
    } else if what == "continent" {
        "continents are AF, AN, AS, EU, NA, OC and SA".to_owned()
    } else {
        "write a code of two letters from ISO 3166-1, such as \"DE\"".to_owned()
    };
    value.mistake(format!("{} is no {what} code", quote(text)), help);
    None
}
