//! Zones: how they are read, kept, and searched.
//!
//! ```text
//! master file → RawRecord → ZoneBuilder → freeze → Zone (an image) → ZoneSet (an index) → lookup
//! ```

pub mod master;

mod builder;
mod freeze;
pub(crate) mod image;
mod index;
mod lookup;
mod lower;
mod set;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use crate::types::ServiceId;
pub use builder::{AddError, BuildError, PlaceError, ZoneBuilder};
pub use image::{Rrset, Zone};
pub use lookup::{Found, Lookup};
pub use lower::LowerName;
pub(crate) use set::Spot;
pub use set::{Change, ZoneSet};
