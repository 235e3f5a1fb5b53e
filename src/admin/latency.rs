//! `POST /api/v1/latency`: round trips measured elsewhere, one JSON object a line.
//!
//! The body is read as it comes, within its own bound, and counted in batches: nothing of it is kept
//! but the line that is being read and one batch.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt as _;
use meridian_config::ANYCAST_COLUMN;
use meridian_geo_data::latency::{
    Refused, Reporter, Sample,
    parse::{self, BadLine, MAX_JSON},
};
use serde::Serialize;

use super::{
    access::Who,
    reply::{Params, Refusal, nearest},
    routes::Shared,
};
use crate::runtime::measure::{
    BATCH, NotTaken,
    lines::{Line, Lines},
};

/// Largest body, octets.
const BODY_LIMIT: usize = 8 << 20;
/// Most lines in a body.
const LINE_LIMIT: usize = 100_000;
/// Refused lines that are named in the answer.
const NAMED: usize = 20;

/// What became of the lines.
#[derive(Debug, Default, Serialize)]
struct Told {
    /// Lines that count.
    taken: usize,
    /// Lines that do not.
    refused: usize,
    /// How many of them for which reason.
    reasons: BTreeMap<&'static str, usize>,
    /// The first of them.
    first: Vec<Named>,
}

#[derive(Debug, Serialize)]
struct Named {
    /// From 1.
    line: usize,
    error: String,
}

/// An answer that says what went wrong with the body, beside what became of its lines.
#[derive(Serialize)]
struct Failed {
    error: String,
    help: &'static str,
    #[serde(flatten)]
    told: Told,
}

pub(super) async fn latency(
    State(shared): State<Shared>,
    Extension(who): Extension<Who>,
    params: Params,
    body: Body,
) -> Result<Response, Refusal> {
    params.only(&[])?;
    let mut reading = Reading {
        reporter: shared.control.caller(&who.party()),
        shared,
        who: who.0,
        number: 0,
        batch: Vec::new(),
        asked: Vec::new(),
        told: Told::default(),
    };
    let result = reading.read(body).await;
    reading.hand_over().await;
    Ok(reading.answer(result.err()))
}

struct Reading {
    shared: Shared,
    who: String,
    reporter: Reporter,
    /// Lines so far.
    number: usize,
    batch: Vec<Sample>,
    /// Their lines, and where to.
    asked: Vec<(usize, Arc<str>)>,
    told: Told,
}

/// Why the rest of a body was not read.
type Broken = (StatusCode, String);

impl Reading {
    async fn read(&mut self, mut body: Body) -> Result<(), Broken> {
        let mut lines = Lines::new(MAX_JSON);
        let mut octets = 0;
        while let Some(frame) = body.frame().await {
            let broken = |error: axum::Error| (StatusCode::BAD_REQUEST, error.to_string());
            let Ok(piece) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            octets += piece.len();
            if octets > BODY_LIMIT {
                let error = format!("the body is larger than {} MiB", BODY_LIMIT >> 20);
                return Err((StatusCode::PAYLOAD_TOO_LARGE, error));
            }
            self.take(&mut lines, &piece).await?;
        }
        if let Some(last) = lines.finish() {
            self.line(Line::Whole(&last))?;
        }
        Ok(())
    }

    async fn take(&mut self, lines: &mut Lines, piece: &Bytes) -> Result<(), Broken> {
        // Bounded in length, so that one large piece is no large batch.
        for part in piece.chunks(BATCH) {
            let mut result = Ok(());
            lines.push(part, |line| {
                if result.is_ok() {
                    result = self.line(line);
                }
            });
            result?;
            if self.batch.len() >= BATCH / 2 {
                self.hand_over().await;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: Line<'_>) -> Result<(), Broken> {
        self.number += 1;
        if self.number > LINE_LIMIT {
            let error = format!("the body has more than {LINE_LIMIT} lines");
            return Err((StatusCode::PAYLOAD_TOO_LARGE, error));
        }
        let told = match line {
            Line::Whole(line) => parse::json(line),
            Line::TooLong => Err(BadLine::TooLong),
        };
        match told {
            // Such as the one after the last line end.
            Err(BadLine::Empty) => {}
            Err(bad) => {
                let why = NotTaken::from(bad);
                self.shared.control.refuse_round_trip(&why);
                self.told.refuse(self.number, &why);
            }
            Ok(told) => {
                let pop: Arc<str> = Arc::from(&*told.pop.unwrap_or_default());
                self.asked.push((self.number, pop.clone()));
                self.batch.push(Sample {
                    prefix: told.client,
                    pop,
                    rtt_ms: told.rtt_ms,
                    reporter: self.reporter,
                });
            }
        }
        Ok(())
    }

    /// Lets the batch be counted.
    async fn hand_over(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let counted = self.shared.control.take_round_trips(&self.who, batch);
        let outcomes = counted.await;
        for ((number, pop), outcome) in self.asked.drain(..).zip(outcomes) {
            let Err(why) = outcome else {
                self.told.taken += 1;
                continue;
            };
            self.told.refuse(number, &why);
            if why == NotTaken::Refused(Refused::UnknownPop)
                && let Some(named) = self.told.first.last_mut()
                && named.line == number
            {
                named.error = unknown(&self.shared, &pop);
            }
        }
    }

    fn answer(self, broken: Option<Broken>) -> Response {
        let mut told = self.told;
        // Lines that say nothing were found before the others were counted.
        told.first.sort_by_key(|one| one.line);
        let help = "send one object a line: {\"client\":\"203.0.113.0/24\",\"pop\":\"fra\",\
                    \"rtt_ms\":12.5}; at most 8 MiB and 100,000 lines, then another request";
        let rates = told.reasons.get("rate").copied().unwrap_or(0);
        let (status, error) = match broken {
            Some(broken) => broken,
            None if told.taken > 0 => return Json(told).into_response(),
            None if told.refused == 0 => (StatusCode::BAD_REQUEST, "the body is empty".to_owned()),
            // Known already, which is no mistake of the one who told it.
            None if told.reasons.get("repeated") == Some(&told.refused) && told.refused > 0 => {
                return Json(told).into_response();
            }
            None if rates == told.refused => {
                let error = NotTaken::Rate.to_string();
                (StatusCode::TOO_MANY_REQUESTS, error)
            }
            None => {
                let error = format!("none of {} lines was taken", told.refused);
                (StatusCode::BAD_REQUEST, error)
            }
        };
        let failed = Failed { error, help, told };
        (status, Json(failed)).into_response()
    }
}

/// Which name is meant by one that is not known.
fn unknown(shared: &Shared, pop: &str) -> String {
    let status = shared.control.status();
    let help = nearest(pop, status.pops.iter().map(|one| one.name.as_str()));
    match pop.strip_prefix(ANYCAST_COLUMN) {
        Some(pool) => format!("no pool {pool:?} has an anycast address"),
        None => format!("no PoP is called {pop:?}: {help}"),
    }
}

impl Told {
    fn refuse(&mut self, line: usize, why: &NotTaken) {
        self.refused += 1;
        *self.reasons.entry(why.as_str()).or_default() += 1;
        if self.first.len() < NAMED {
            let error = why.to_string();
            self.first.push(Named { line, error });
        }
    }
}
