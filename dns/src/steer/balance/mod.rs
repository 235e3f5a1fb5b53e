//! Balance: how the clients of a cell are shared among PoPs, and what a PoP's load costs.
//!
//! ```text
//! scores ─► share ─► parts of a whole for each PoP of a cell    (share.rs, quantize.rs)
//! loads  ─► Balance::step ─► a price, free capacity and ramp    (control.rs)
//!                │  ▲
//!         prices ▼  │ demand for each PoP under those prices; all rows, once
//!               model: share over all cells, with the scores that these prices give
//!               market, clear: the same in short, for the search    (market.rs, clear.rs)
//!               mend: the smallest change, where little is wrong    (mend.rs)
//! ```
//!
//! Nothing here knows zones, services or cells: it is pure, in simulated time, and can be tried
//! alone. `docs/congestion.md` tells the same with formulas and measurements.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod calibrate;
mod clear;
mod control;
mod market;
mod mend;
mod newton;
mod quantize;
mod share;
mod solve;

pub use control::{Balance, Model, Price, Prices, Reading};
pub use market::Market;
pub use quantize::{MAX_PARTS, Part, Parts, WHOLE};
pub use share::{Offer, Rules, share};

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
