//! Tests of the controller in simulated time.
#![allow(clippy::disallowed_methods)] // any instant serves as the start of simulated time

pub(crate) mod bed;
mod drain;
mod operators;
mod order;
mod permits;
mod rules;
