//! Steering: which PoP answers this client.
//!
//! ```text
//! Config + ClientMap ──► Steering      what is known without health; orders by cell
//! HealthSnapshot     ──► View          what is usable now
//! Client             ──► decide ──► Decision { addresses, reason, level, ttl, scope }
//! ```
//!
//! * `block` — the client's address, folded and cut to `scope_max`; scopes come from here;
//! * `steering`, `build` — services, pools and PoPs as the configuration has them;
//! * `order` — the order of a pool for a cell; `ranking` — what is kept of it;
//! * `hash` — weighted rendezvous within a group of PoPs of about the same score;
//! * `view` — what is usable right now; `layout` — verdicts and overrides as bits;
//! * `case` — one question with everything looked up for it;
//! * `choice` — what everyone at a place gets, kept for as long as the view holds;
//! * `ladder` — from order and view to the PoPs of an answer; `draw` — lots within a group;
//! * `decide` — from choice to addresses, TTL and scope;
//! * `demand` — how much each cell asks, as far as it is known;
//! * `explain` — the same decision with everything that led to it;
//! * `check` — the operator's `[[test]]` tables.
//!
//! Everything here is pure: no clock, no randomness, no I/O, no locks.

pub mod balance;
mod block;
mod build;
mod case;
mod choice;
mod decide;
mod demand;
mod draw;
mod explain;
mod hash;
mod ladder;
mod layout;
mod order;
mod ranking;
mod standing;
mod steering;
mod types;
mod view;
mod words;

pub use decide::decide;
pub use demand::Demand;
pub use explain::{
    Better, Candidate, Endpoint, Explanation, Held, Hybrid, LoadState, MeasuredLatency, explain,
    explain_briefly,
};
pub use standing::{Inputs, Kept, Model, Moved, Standing};
pub use steering::{KM_PER_MS, Service, Steering};
pub use types::{Decision, LatencySource, Level, MAX_ANSWERS, Reason, TermWeights, Terms};
pub use view::View;

#[cfg(test)]
mod tests;
