//! Zones: how they are read, kept, and searched.
//!
//! ```text
//! master file → RawRecord → ZoneBuilder → Zone → ZoneSet → lookup (one name, one type)
//! ```

pub mod master;

mod builder;
mod lookup;
mod lower;
mod set;
mod table;
mod tree;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use crate::types::ServiceId;
pub use builder::{AddError, BuildError, PlaceError, ZoneBuilder};
pub use lookup::Lookup;
pub use lower::LowerName;
pub use set::{Change, ZoneSet};
pub use tree::{Rrset, Zone};
