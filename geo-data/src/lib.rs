//! Where a client is.
//!
//! ```text
//! address → fold (IPv4 inside IPv6) → operator networks (TOML) → database (mmdb) → cell
//!                                          └──── Located { cell, pinned, prefix_len } ────┘
//! ```
//!
//! All of that happens once, at load:
//!
//! ```text
//! files    mmdb → fields → record (place, country) → cells ┐
//! bundled  bundled, countries ─────────────────────→ cells ┼→ ranges → map (table per family)
//! TOML     networks (country by places) ───────────→ cells ┘   (blocks)
//! ```
//!
//! A query folds its address ([`Fold`]) and searches one table. Two ranges that are judged alike
//! are never neighbours there, so the ends of the range found give the widest prefix over which
//! the result holds.
//!
//! How wide an answer is the same is asked with [`ClientMap::widest`], which joins neighbours by what
//! the caller makes of them (`runs`).
//!
//! [`ClientMap`] is immutable and swapped whole. `maxminddb` is named in one file only.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod blocks;
mod bundled;
mod cells;
mod countries;
mod database;
mod describe;
pub mod distance;
mod fields;
mod fold;
pub mod latency;
mod map;
mod mmdb;
mod networks;
mod places;
mod ranges;
mod record;
mod runs;
mod types;

pub use database::each_network;
pub use fold::{EMBEDDED, fold};
pub use map::{ClientMap, Runs};
pub use types::*;
