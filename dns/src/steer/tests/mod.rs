//! Tests of steering as a whole.

mod hybrid;
mod laws;
mod mmdb;
mod model;
mod moving;
mod scenarios;
mod wire;
mod world;
