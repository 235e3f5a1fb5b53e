//! Where a client is.
//!
//! ```text
//! address → fold (IPv4 inside IPv6) → operator networks (TOML) → database (mmdb) → cell
//!                                          └──── Located { cell, pinned, prefix_len } ────┘
//! ```
//!
//! [`ClientMap`] is immutable and swapped whole. `maxminddb` is named in one file only.

mod types;

pub use types::*;
