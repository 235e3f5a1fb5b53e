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

use crate::types::rtype::*;
pub use crate::types::rtype::{TypeName, parse_type, type_name};

/// Where names that may be compressed stand in RDATA: after `skip` octets, `count` names in a
/// row; what follows them is copied as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamesAt {
    /// Octets before the first name.
    pub skip: usize,
    /// How many names; 0 where none may be compressed.
    pub count: usize,
}

/// The names in the RDATA of `rtype` that an answer may compress.
///
/// RFC 3597 §4: "compression MUST NOT be used for domain names embedded in RDATA that are specific
/// to types that are not well-known", and well-known are those of RFC 1035.
pub fn names_at(rtype: u16) -> NamesAt {
    let (skip, count) = match rtype {
        NS | CNAME | PTR | MB | MG | MR => (0, 1),
        SOA | MINFO => (0, 2),
        MX => (2, 1),
        _ => (0, 0),
    };
    NamesAt { skip, count }
}

#[cfg(test)]
mod tests;
