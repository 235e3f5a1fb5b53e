//! Zones: how they are read, kept, and searched.

pub use crate::types::ServiceId;
