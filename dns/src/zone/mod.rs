//! Zones: how they are read, kept, and searched.

pub mod master;

pub use crate::types::ServiceId;
