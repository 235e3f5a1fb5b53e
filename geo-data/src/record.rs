//! One data record of a database, read by its fields: the schemas of MaxMind, DB-IP, ip-location-db
//! and IPinfo are told apart by what stands in the record, never by a file's name.
//!
//! | | MaxMind, DB-IP | ip-location-db | IPinfo |
//! |---|---|---|---|
//! | place | `location.latitude`, `.longitude` | `latitude`, `longitude` | `lat`, `lng` or `loc` (text) |
//! | country | `country.iso_code`, else `registered_country.iso_code` | `country_code` | `country_code` or `country` |
//! | continent | `continent.code` | – | `continent_code` or `continent` |
//! | city | `city.names.en` | `city` | `city` |
//! | AS | `autonomous_system_number`, `_organization` | the same | `asn` (`AS123`), `as_name` or `name` |

use meridian_config::Coordinates;

use crate::{
    cells::Area,
    fields::{Field, Fields},
};

/// What a record says, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    pub(crate) place: Option<Coordinates>,
    pub(crate) area: Area,
    pub(crate) city: Option<String>,
    pub(crate) asn: Option<u32>,
    pub(crate) as_name: Option<String>,
}

/// Why a record cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("`{field}` is {found}, {wanted} is needed")]
    Type {
        field: &'static str,
        found: &'static str,
        wanted: &'static str,
    },
    #[error("`{field}` is {value}, beyond ±{limit} degrees")]
    Range {
        field: &'static str,
        value: f64,
        limit: f64,
    },
    #[error("`{field}` is {value:?}, which is no {wanted}")]
    Text {
        field: &'static str,
        value: String,
        wanted: &'static str,
    },
    #[error("it has a {has} without a {lacks}")]
    Half {
        has: &'static str,
        lacks: &'static str,
    },
}

impl Fields {
    /// Checks the fields.
    ///
    /// # Errors
    /// The first field with a value that its meaning does not allow.
    pub(crate) fn check(self) -> Result<Record, RecordError> {
        let country = match country_code("country_code", self.country_code.text("country_code")?)? {
            Some(code) => Some(code),
            None => match nested_code(&self.country, "country")? {
                Some(code) => Some(code),
                None => nested_code(&self.registered_country, "registered_country")?,
            },
        };
        let continent = match self.continent_code.text("continent_code")? {
            Some(text) => continent_code(text),
            None => match &self.continent {
                Field::Nested(nested) => {
                    nested.code.text("continent.code")?.and_then(continent_code)
                }
                other => other.text("continent")?.and_then(continent_code),
            },
        };
        Ok(Record {
            place: self.place()?,
            area: Area { country, continent },
            city: self.city.name("city")?,
            asn: self.asn.number_of_as()?,
            as_name: self.as_name.name("as_name")?,
        })
    }

    fn place(&self) -> Result<Option<Coordinates>, RecordError> {
        let flat = || {
            Ok((
                self.latitude.number("latitude")?,
                self.longitude.number("longitude")?,
            ))
        };
        let (latitude, longitude) = match (&self.location, &self.loc) {
            (Field::Nested(nested), _) => (
                nested.latitude.number("location.latitude")?,
                nested.longitude.number("location.longitude")?,
            ),
            (Field::Missing | Field::Text(_), Field::Missing) => flat()?,
            (Field::Missing | Field::Text(_), loc) => pair(loc.text("loc")?)?,
            (other, _) => return Err(other.type_error("location", "a map")),
        };
        match (latitude, longitude) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(RecordError::Half {
                has: "latitude",
                lacks: "longitude",
            }),
            (None, Some(_)) => Err(RecordError::Half {
                has: "longitude",
                lacks: "latitude",
            }),
            (Some(latitude), Some(longitude)) => {
                within("latitude", latitude, 90.0)?;
                within("longitude", longitude, 180.0)?;
                // Nobody lives at 0° N 0° E, in the Gulf of Guinea: databases write it for
                // "somewhere in that country".
                let nowhere = latitude == 0.0 && longitude == 0.0;
                Ok((!nowhere).then_some(Coordinates {
                    latitude,
                    longitude,
                }))
            }
        }
    }
}

impl Field {
    fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::Nested(_) => "a map",
            Self::Other(kind) => kind,
        }
    }

    fn type_error(&self, field: &'static str, wanted: &'static str) -> RecordError {
        RecordError::Type {
            field,
            found: self.kind(),
            wanted,
        }
    }

    /// Text that is not empty; `-` is how some files write "none".
    fn text(&self, field: &'static str) -> Result<Option<&str>, RecordError> {
        match self {
            Self::Missing => Ok(None),
            Self::Text(text) => {
                Ok(Some(text.trim()).filter(|text| !text.is_empty() && *text != "-"))
            }
            other => Err(other.type_error(field, "text")),
        }
    }

    /// A number, also one written as text.
    fn number(&self, field: &'static str) -> Result<Option<f64>, RecordError> {
        match self {
            Self::Number(number) => Ok(Some(*number)),
            Self::Missing | Self::Text(_) => self
                .text(field)?
                .map(|text| number(field, text))
                .transpose(),
            other => Err(other.type_error(field, "a number")),
        }
    }

    /// A name: text, or a map with `names.en`. Of no consequence, so never an error but for type.
    fn name(&self, field: &'static str) -> Result<Option<String>, RecordError> {
        match self {
            Self::Nested(nested) => nested.name.name(field),
            Self::Missing | Self::Text(_) => Ok(self.text(field)?.map(str::to_owned)),
            other => Err(other.type_error(field, "text")),
        }
    }

    /// `123` or `AS123`.
    fn number_of_as(&self) -> Result<Option<u32>, RecordError> {
        let wrong = |value: String| RecordError::Text {
            field: "asn",
            value,
            wanted: "AS number",
        };
        match self {
            // Checked to be a whole number in range.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Self::Number(n) if (0.0..=f64::from(u32::MAX)).contains(n) && n.fract() == 0.0 => {
                Ok(Some(*n as u32))
            }
            Self::Number(n) => Err(wrong(n.to_string())),
            Self::Nested(_) => Ok(None),
            other => {
                let Some(text) = other.text("asn")? else {
                    return Ok(None);
                };
                let digits = text.strip_prefix("AS").unwrap_or(text);
                digits.parse().map(Some).map_err(|_| wrong(text.to_owned()))
            }
        }
    }
}

/// `"37.4,-122.1"`.
fn pair(text: Option<&str>) -> Result<(Option<f64>, Option<f64>), RecordError> {
    let Some(text) = text else {
        return Ok((None, None));
    };
    let (latitude, longitude) = text.split_once(',').ok_or_else(|| RecordError::Text {
        field: "loc",
        value: text.to_owned(),
        wanted: "pair of latitude and longitude",
    })?;
    Ok((
        Some(number("loc", latitude.trim())?),
        Some(number("loc", longitude.trim())?),
    ))
}

fn number(field: &'static str, text: &str) -> Result<f64, RecordError> {
    let wrong = || RecordError::Text {
        field,
        value: text.to_owned(),
        wanted: "number",
    };
    text.parse().map_err(|_| wrong())
}

fn within(field: &'static str, value: f64, limit: f64) -> Result<(), RecordError> {
    // Not-a-number is within nothing.
    if (-limit..=limit).contains(&value) {
        Ok(())
    } else {
        Err(RecordError::Range {
            field,
            value,
            limit,
        })
    }
}

/// Two letters; `ZZ` and `XX` are how some files write "unknown".
fn country_code(field: &'static str, text: Option<&str>) -> Result<Option<[u8; 2]>, RecordError> {
    let Some(text) = text else { return Ok(None) };
    let code = two_letters(text).ok_or_else(|| RecordError::Text {
        field,
        value: text.to_owned(),
        wanted: "two-letter country code",
    })?;
    Ok((!matches!(&code, b"ZZ" | b"XX")).then_some(code))
}

/// The code of a country that is a map, or that is itself a code. A country's name is no code.
fn nested_code(field: &Field, name: &'static str) -> Result<Option<[u8; 2]>, RecordError> {
    match field {
        Field::Nested(nested) => {
            country_code("country.iso_code", nested.code.text("country.iso_code")?)
        }
        other => match other.text(name)? {
            Some(text) if two_letters(text).is_some() => country_code(name, Some(text)),
            _ => Ok(None),
        },
    }
}

fn two_letters(text: &str) -> Option<[u8; 2]> {
    let code = <[u8; 2]>::try_from(text.as_bytes()).ok()?;
    code.iter()
        .all(u8::is_ascii_alphabetic)
        .then(|| code.map(|c| c.to_ascii_uppercase()))
}

/// One of the seven codes; anything else (a name) says nothing that the country does not.
fn continent_code(text: &str) -> Option<[u8; 2]> {
    let code = two_letters(text)?;
    matches!(&code, b"AF" | b"AN" | b"AS" | b"EU" | b"NA" | b"OC" | b"SA").then_some(code)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> Result<Record, String> {
        let fields: Fields = serde_json::from_value(value).map_err(|error| error.to_string())?;
        fields.check().map_err(|error| error.to_string())
    }

    fn record(lat: f64, lon: f64, country: &[u8; 2], continent: Option<[u8; 2]>) -> Record {
        Record {
            place: Some(Coordinates {
                latitude: lat,
                longitude: lon,
            }),
            area: Area {
                country: Some(*country),
                continent,
            },
            ..Record::default()
        }
    }

    #[test]
    fn every_schema() {
        let tokyo = record(35.69, 139.69, b"JP", Some(*b"AS"));
        let table = [
            // MaxMind and DB-IP
            json!({"location": {"latitude": 35.69, "longitude": 139.69, "time_zone": "Asia/Tokyo"},
                   "country": {"iso_code": "JP", "names": {"en": "Japan"}, "geoname_id": 1861060},
                   "continent": {"code": "AS", "names": {"en": "Asia"}}, "subdivisions": [{}]}),
            // ip-location-db, with a continent added
            json!({"country_code": "JP", "latitude": 35.69, "longitude": 139.69, "continent_code": "AS"}),
            // IPinfo, several generations
            json!({"country": "JP", "continent": "AS", "lat": "35.69", "lng": "139.69", "region": "x"}),
            json!({"country": "Japan", "country_code": "jp", "continent_code": "AS",
                   "continent": "Asia", "loc": "35.69, 139.69"}),
        ];
        for value in table {
            assert_eq!(read(value.clone()), Ok(tokyo.clone()), "{value}");
        }
        let country = read(json!({"country_code": "JP"})).unwrap();
        assert_eq!((country.place, country.area.country), (None, Some(*b"JP")));
        let registered = read(json!({"registered_country": {"iso_code": "FR"}})).unwrap();
        assert_eq!(registered.area.country, Some(*b"FR"));
    }

    #[test]
    fn names_and_autonomous_systems() {
        let cities = [
            json!({"city": "Tokyo"}),
            json!({"city": {"names": {"de": "Tokio", "en": "Tokyo"}}}),
        ];
        for value in cities {
            assert_eq!(read(value).unwrap().city.as_deref(), Some("Tokyo"));
        }
        let systems = [
            json!({"autonomous_system_number": 2500, "autonomous_system_organization": "WIDE"}),
            json!({"asn": "AS2500", "as_name": "WIDE", "as_domain": "wide.example"}),
            json!({"asn": "AS2500", "name": "WIDE", "route": "192.0.2.0/24"}),
        ];
        for value in systems {
            let record = read(value).unwrap();
            assert_eq!(
                (record.asn, record.as_name.as_deref()),
                (Some(2500), Some("WIDE"))
            );
        }
    }

    #[test]
    fn nothing_known_is_no_mistake() {
        let table = [
            json!({}),
            json!({"country_code": ""}),
            json!({"country_code": "-", "latitude": "", "longitude": ""}),
            json!({"country_code": "ZZ"}),
            json!({"latitude": 0.0, "longitude": 0.0}),
            json!({"country": "Japan"}),
            json!({"location": {"time_zone": "Asia/Tokyo"}}),
        ];
        for value in table {
            assert_eq!(read(value.clone()), Ok(Record::default()), "{value}");
        }
    }

    #[test]
    fn mistakes_say_what_and_where() {
        let table = [
            (
                json!({"location": {"latitude": 95.0, "longitude": 1.0}}),
                "`latitude` is 95, beyond ±90 degrees",
            ),
            (
                json!({"lat": "1", "lng": "-181"}),
                "`longitude` is -181, beyond ±180 degrees",
            ),
            (
                json!({"lat": "NaN", "lng": "1"}),
                "`latitude` is NaN, beyond ±90 degrees",
            ),
            (
                json!({"latitude": 1.0}),
                "it has a latitude without a longitude",
            ),
            (
                json!({"latitude": {}, "longitude": 1.0}),
                "`latitude` is a map, a number is needed",
            ),
            (
                json!({"country_code": 81}),
                "`country_code` is a number, text is needed",
            ),
            (
                json!({"country_code": "JPN"}),
                "`country_code` is \"JPN\", which is no two-letter country code",
            ),
            (
                json!({"country": {"iso_code": []}}),
                "`country.iso_code` is a list, text is needed",
            ),
            (
                json!({"location": [1.0, 2.0]}),
                "`location` is a list, a map is needed",
            ),
            (
                json!({"loc": "35.69"}),
                "`loc` is \"35.69\", which is no pair of latitude and longitude",
            ),
            (
                json!({"lat": "north", "lng": "1"}),
                "`latitude` is \"north\", which is no number",
            ),
            (
                json!({"asn": "ASx"}),
                "`asn` is \"ASx\", which is no AS number",
            ),
            (json!({"asn": -1}), "`asn` is \"-1\", which is no AS number"),
        ];
        for (value, expect) in table {
            assert_eq!(read(value.clone()), Err(expect.to_owned()), "{value}");
        }
    }
}
