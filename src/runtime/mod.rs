//! The wiring: boots, publishes snapshots, reloads, keeps overrides and the last good state.
//!
//! ```text
//! files ─ load ─→ Loaded { config, zones, steering } ─┐
//! health-prober ─ watch ─────────────────────────────┼─ publish ─→ ArcSwap<Snapshot> ─→ dns::listen
//! operator ─ drain/undrain ─→ overrides ─→ prober ────┘
//! ```

pub mod describe;
pub mod events;
pub mod last_good;
pub mod metrics;
pub mod privileges;
pub mod status;
pub mod watch;
