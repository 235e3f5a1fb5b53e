//! What-if: the same decisions as the server's, for all clients at once, before and after a change.
//!
//! ```text
//! traffic file, server's counters, address count ──► demand     clients with amounts
//! configuration ──► change ──► world (before, after)             steering and what is taken as down
//! demand × world ──► settle ──► assign ──► tally, failures ──► Plan         shares, loads, round trips, moves
//!                                                   map          the same as a picture
//! ```
//!
//! * `demand` — who asks how much, by place; `traffic` — the same from a file;
//! * `change` — drain, fail, add, weigh; names checked, the nearest known one suggested;
//! * `settle` — where shares settle when something measured has a say: the server's controller in
//!   simulated time;
//! * `world` — a configuration ready to decide, and every client's PoP in it;
//! * `tally` — sums over an assignment: shares, distribution of round trips; `moves` — who moves;
//! * `failures` — the same with each single PoP down;
//! * `pairs` — which services of both configurations; `rows` — their PoPs, with shares and loads;
//! * `report` — all of it together;
//! * `map` — the SVG: `coast` — coastlines; `spots` — cells; `labels`, `legend` — PoPs and their names;
//!   `projection`, `palette`, `svg` — where, in which colour, and how it is written.
//!
//! Everything here is pure: no clock, no I/O.

mod change;
mod coast;
mod demand;
mod failures;
mod labels;
mod legend;
mod map;
mod moves;
mod pairs;
mod palette;
mod projection;
mod report;
mod rows;
mod settle;
mod spots;
mod svg;
mod tally;
mod traffic;
mod world;

pub(crate) use change::{Addition, Change, ChangeError};
pub(crate) use coast::rings as coastline;
pub(crate) use demand::Demand;
pub(crate) use map::draw;
pub(crate) use pairs::{Pair, pairs};
pub(crate) use report::{Failure, Plan, Quantiles, Question, Strain, plan};
pub(crate) use rows::members;
pub(crate) use settle::{Range, Settling};
pub(crate) use traffic::{TrafficError, TrafficUnit, read as read_traffic};
pub(crate) use world::World;

#[cfg(test)]
mod tests;
