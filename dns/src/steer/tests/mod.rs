//! Tests of steering as a whole.

mod hybrid;
mod laws;
mod mmdb;
mod model;
mod moving;
mod scenarios;
pub(super) mod seeded;
mod shown;
mod wire;
pub(super) mod world;
