//! RDATA of every type that has a text form here: text to wire, the check of the wire form, and
//! wire to text.
//!
//! ```text
//! text ──read──▶ wire ──check──▶ record        wire ──write──▶ text
//! ```
//!
//! [`check`] is the one judge: master files (in any spelling, RFC 3597 included) pass through it,
//! and whatever else brings RDATA in later must as well. What it accepts, [`to_text`] writes such
//! that reading it again gives the same octets.

mod apl;
mod check;
mod encoding;
mod forms;
mod gateway;
mod loc;
mod read;
mod scalar;
mod schema;
mod svcb;
mod write;

pub(super) use check::folded;
pub use check::{RdataError, SvcbError, check};
pub(super) use forms::form;
pub(super) use read::{Input, read};
pub(super) use scalar::period;
pub use write::to_text;

pub use crate::types::rtype::{TypeName, parse_type, type_name};

#[cfg(test)]
mod tests;
