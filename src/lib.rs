//! The server as a library: wiring, command line and admin API. The binary is a thin `main`.
//!
//! ```text
//! cli ──┬── check, plan, explain --config, geo lookup   (files only)
//!       ├── status, explain, drain, events ──HTTP──→ admin   (of a running server)
//!       ├── serve ── runtime + admin
//!       └── demo ─── six edges + runtime + admin
//! ```

mod admin;
pub mod cli;
mod demo;
mod plan;
mod render;
pub mod runtime;
