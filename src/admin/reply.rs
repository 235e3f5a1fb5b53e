//! What goes out: JSON, errors with a remedy, and the strict reading of query parameters.

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequestParts, Query, rejection::BytesRejection},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};

/// A refusal as every route gives it: `{"error": …, "help": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Refusal {
    #[serde(skip)]
    pub(crate) status: StatusCode,
    /// What is wrong, one sentence.
    pub(crate) error: String,
    /// What would be right.
    pub(crate) help: String,
}

impl Refusal {
    /// A refusal with a status, what is wrong, and what would be right.
    pub(crate) fn new(
        status: StatusCode,
        error: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            status,
            error: error.into(),
            help: help.into(),
        }
    }

    /// 400
    pub(crate) fn bad(error: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, help)
    }

    /// 404
    pub(crate) fn unknown(error: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error, help)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

/// The query parameters, as given. A handler states which ones it knows through [`Params::only`];
/// nothing is guessed from a blank or misspelt one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Refuses parameters other than `known`, blank ones, and ones given twice.
    pub(crate) fn only(self, known: &[&str]) -> Result<Self, Refusal> {
        let list = match known {
            [] => "this path takes no parameters".to_owned(),
            _ => format!("known are: {}", known.join(", ")),
        };
        for (at, (key, value)) in self.0.iter().enumerate() {
            if !known.contains(&key.as_str()) {
                return Err(Refusal::bad(format!("unknown parameter {key:?}"), list));
            }
            if value.trim().is_empty() {
                let help = "give it a value or leave it out";
                return Err(Refusal::bad(format!("parameter {key} is blank"), help));
            }
            if self.0.iter().skip(at + 1).any(|(other, _)| other == key) {
                return Err(Refusal::bad(format!("parameter {key} is given twice"), ""));
            }
        }
        Ok(self)
    }

    /// The value of a parameter.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(k, _)| k == key);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that must be there.
    pub(crate) fn required(&self, key: &str, help: &str) -> Result<&str, Refusal> {
        self.get(key)
            .ok_or_else(|| Refusal::bad(format!("parameter {key} is missing"), help))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map(|Query(pairs)| Self(pairs))
            .map_err(|e| Refusal::bad("the query string cannot be read", e.to_string()))
    }
}

/// A body within the bound.
pub(crate) fn whole(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Refusal> {
    body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            Refusal::new(status, "the body is too large", "at most 64 KiB")
        }
        status => Refusal::new(status, error.body_text(), ""),
    })
}

/// What a body of JSON says.
pub(crate) fn from_json<T: DeserializeOwned>(body: &[u8], help: &str) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::bad(json_words(&error), help))
}

/// What is wrong with JSON, in words for those who do not know how we are made.
pub(crate) fn json_words(error: &serde_json::Error) -> String {
    let text = error
        .to_string()
        .replace("expected f64", "expected a number")
        .replace(" at line 1 column ", " at column ");
    match error.classify() {
        serde_json::error::Category::Eof if error.column() == 0 => "the body is empty".to_owned(),
        serde_json::error::Category::Data => text,
        _ => format!("this is no JSON: {text}"),
    }
}

/// A sentence that names the nearest known name, for a 404.
pub(crate) fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut best: Option<(usize, &str)> = None;
    for name in known {
        let edits = strsim::osa_distance(&wanted.to_lowercase(), &name.to_lowercase());
        if best.is_none_or(|(fewest, _)| edits < fewest) {
            best = Some((edits, name));
        }
    }
    match best {
        Some((edits, name)) if edits <= (name.len() / 3).max(1) => format!("did you mean {name}?"),
        Some((_, name)) => format!("one that is known: {name}"),
        None => "none is configured".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        let own = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        Params(pairs.iter().map(own).collect())
    }

    #[test]
    fn class_4_unknown_blank_and_doubled_parameters_are_refused() {
        let known = &["name", "client"];
        assert!(
            params(&[("name", "a"), ("client", "b")])
                .only(known)
                .is_ok()
        );
        assert!(params(&[]).only(&[]).is_ok());
        for (pairs, part) in [
            (&[("nam", "a")][..], "unknown parameter"),
            (&[("name", "")], "blank"),
            (&[("name", "  ")], "blank"),
            (&[("name", "a"), ("name", "a")], "twice"),
        ] {
            let refusal = params(pairs).only(known).unwrap_err();
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
            assert!(refusal.error.contains(part), "{}", refusal.error);
        }
        assert!(params(&[("x", "1")]).only(&[]).is_err());
    }

    #[test]
    fn the_nearest_name_is_named() {
        let known = ["fra", "iad", "nrt"];
        assert_eq!(nearest("frA1", known.into_iter()), "did you mean fra?");
        assert_eq!(nearest("zzz", [].into_iter()), "none is configured");
        assert_eq!(nearest("zzz", known.into_iter()), "one that is known: fra");
    }
}
