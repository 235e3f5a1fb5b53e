//! The fields of a record as they stand in a file, of whatever type. What they mean, and whether
//! they may, is judged in `record`.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The fields of a record that matter, as they stand in the file.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    pub(crate) location: Field,
    pub(crate) latitude: Field,
    pub(crate) longitude: Field,
    pub(crate) loc: Field,
    pub(crate) country: Field,
    pub(crate) registered_country: Field,
    pub(crate) country_code: Field,
    pub(crate) continent: Field,
    pub(crate) continent_code: Field,
    pub(crate) city: Field,
    pub(crate) asn: Field,
    pub(crate) as_name: Field,
    /// Keys at the top of the record that mean nothing here, for the message when no record has
    /// anything that does.
    pub(crate) other: Vec<String>,
}

/// One value of a record.
#[derive(Debug, Default)]
pub(crate) enum Field {
    #[default]
    Missing,
    Number(f64),
    Text(String),
    Nested(Box<Nested>),
    /// A list, a truth value or octets.
    Other(&'static str),
}

/// The fields of a nested map that matter.
#[derive(Debug, Default)]
pub(crate) struct Nested {
    pub(crate) latitude: Field,
    pub(crate) longitude: Field,
    /// `iso_code` or `code`.
    pub(crate) code: Field,
    /// `names.en`, or `name`.
    pub(crate) name: Field,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Top;
        impl<'de> Visitor<'de> for Top {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record that is a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(key) = map.next_key::<String>()? {
                    let slot = match key.as_str() {
                        "location" => &mut fields.location,
                        "latitude" | "lat" => &mut fields.latitude,
                        "longitude" | "lng" | "lon" => &mut fields.longitude,
                        "loc" => &mut fields.loc,
                        "country" => &mut fields.country,
                        "registered_country" => &mut fields.registered_country,
                        "country_code" => &mut fields.country_code,
                        "continent" => &mut fields.continent,
                        "continent_code" => &mut fields.continent_code,
                        "city" => &mut fields.city,
                        "asn" | "autonomous_system_number" | "as_number" => &mut fields.asn,
                        "as_name" | "name" | "autonomous_system_organization" => {
                            &mut fields.as_name
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            if fields.other.len() < 8 {
                                fields.other.push(key);
                            }
                            continue;
                        }
                    };
                    *slot = map.next_value_seed(Levels(2))?;
                }
                Ok(fields)
            }
        }
        from.deserialize_map(Top)
    }
}

/// Reads a field with at most this many levels of maps in it; what lies deeper is skipped. No schema
/// needs more than `city.names.en`, and a hostile file must not fill the stack.
#[derive(Clone, Copy)]
struct Levels(u8);

impl<'de> DeserializeSeed<'de> for Levels {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Field, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Levels {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(text.to_owned()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Field, E> {
        Ok(Field::Number(number))
    }

    // Only coordinates and AS numbers are read as numbers; larger ones may lose digits.
    #[allow(clippy::cast_precision_loss)]
    fn visit_u64<E>(self, number: u64) -> Result<Field, E> {
        Ok(Field::Number(number as f64))
    }

    #[allow(clippy::cast_precision_loss)]
    fn visit_i64<E>(self, number: i64) -> Result<Field, E> {
        Ok(Field::Number(number as f64))
    }

    fn visit_u128<E>(self, _: u128) -> Result<Field, E> {
        Ok(Field::Other("a 128-bit number"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
        Ok(Field::Other("a truth value"))
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Field, E> {
        Ok(Field::Other("octets"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Field, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
        let Some(deeper) = self.0.checked_sub(1).map(Levels) else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Field::Other("a map"));
        };
        let mut nested = Nested::default();
        while let Some(key) = map.next_key::<String>()? {
            let slot = match key.as_str() {
                "latitude" => &mut nested.latitude,
                "longitude" => &mut nested.longitude,
                "iso_code" | "code" => &mut nested.code,
                // `names` is a map whose English entry is `en`.
                "names" | "name" | "en" => &mut nested.name,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *slot = map.next_value_seed(deeper)?;
        }
        Ok(Field::Nested(Box::new(nested)))
    }
}
