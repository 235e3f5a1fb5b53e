//! What changed, for logs, the event stream and whoever listens.

use std::{net::IpAddr, time::SystemTime};

use serde::Serialize;

use crate::{Override, Verdict};

/// A change of a verdict, or the end of an override. Sent through a bounded broadcast channel: a
/// listener that is too slow loses the oldest events and is told how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "subject", rename_all = "snake_case")]
pub enum HealthEvent {
    /// The verdict of an endpoint changed.
    Endpoint {
        /// Name of the PoP.
        pop: String,
        /// Name of the check.
        check: String,
        /// The service address.
        address: IpAddr,
        /// Verdict before.
        from: Verdict,
        /// Verdict now.
        to: Verdict,
        /// Text of the outcome that decided.
        reason: String,
        /// When.
        at: SystemTime,
    },
    /// The verdict of a PoP changed.
    Pop {
        /// Name of the PoP.
        pop: String,
        /// Name of the check.
        check: String,
        /// Verdict before.
        from: Verdict,
        /// Verdict now.
        to: Verdict,
        /// Why, in a sentence.
        reason: String,
        /// When.
        at: SystemTime,
    },
    /// A passive check was silent for so long that it no longer counts beside others, or counts again.
    Silence {
        /// Name of the PoP.
        pop: String,
        /// Name of the check.
        check: String,
        /// Whether it is silent now.
        silent: bool,
        /// What it said last, and why nothing newer is known.
        reason: String,
        /// When.
        at: SystemTime,
    },
    /// The time of an override was over. It is no longer in the snapshot; whoever stores
    /// overrides should store them again.
    OverrideEnded {
        /// Name of the PoP.
        pop: String,
        /// What ended.
        ended: Override,
        /// When.
        at: SystemTime,
    },
}
