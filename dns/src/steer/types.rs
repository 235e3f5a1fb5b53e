//! What a decision says.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use meridian_config::PopId;
use serde::Serialize;

/// Most addresses that one answer may hold, whatever `answers` says.
pub const MAX_ANSWERS: usize = 16;

/// The choice for one client, one service and one family.
///
/// `addresses`, `ttl` and `scope` are the same for every address inside the scope prefix. `reason`
/// and `level` are not part of that promise: inside one scope a client may have lost its own first
/// choice while another had this PoP as its first choice anyway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// In the order in which they stand in the answer; empty means NODATA.
    pub addresses: ArrayVec<IpAddr, MAX_ANSWERS>,
    /// PoP of the first address; `None` for the pool's anycast address, its fallback and NODATA.
    pub pop: Option<PopId>,
    /// Why this PoP.
    pub reason: Reason,
    /// What the choice rests on.
    pub level: Level,
    /// Seconds.
    pub ttl: u32,
    /// SCOPE PREFIX-LENGTH of the reply (RFC 7871 §6), in bits of the client address's family.
    pub scope: u8,
}

/// Why an answer is what it is: the label `reason` of `meridian_answers_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The PoP with the best score, alone within tolerance.
    Nearest,
    /// Chosen by weight among usable PoPs within tolerance of the best.
    WeightShared,
    /// An operator network pins the client to this PoP.
    Pinned,
    /// `policy = "failover"`: the first of the pool's list.
    ConfiguredOrder,
    /// Nobody knows where the client is: the first of the pool's list.
    UnknownLocation,
    /// The pool's anycast address: no single PoP was measured to be better, or that one is not usable.
    Anycast,
    /// A single PoP that was measured to be better than the pool's anycast address.
    Unicast,
    /// A PoP that would have come first is not usable.
    FailedOver,
    /// No PoP is usable: the pool's `fallback`.
    LastResortFallback,
    /// No PoP is usable and there is no fallback: PoPs that are not drained, as if healthy.
    LastResortDown,
    /// Every PoP is drained or has no address of the family: drained ones, as if healthy.
    LastResortDrained,
    /// Every PoP is fenced against this client: PoPs outside their fence.
    LastResortFenced,
    /// Neither the pool's PoPs nor its fallback have an address of the family: NODATA.
    NoAddressOfFamily,
}

impl Reason {
    /// Every reason, for registering label values before they occur.
    pub const ALL: [Self; 13] = [
        Self::Nearest,
        Self::WeightShared,
        Self::Pinned,
        Self::ConfiguredOrder,
        Self::UnknownLocation,
        Self::Anycast,
        Self::Unicast,
        Self::FailedOver,
        Self::LastResortFallback,
        Self::LastResortDown,
        Self::LastResortDrained,
        Self::LastResortFenced,
        Self::NoAddressOfFamily,
    ];

    /// Its place in [`ALL`](Self::ALL).
    pub(super) fn number(self) -> u8 {
        self as u8
    }

    /// The reason at a place in [`ALL`](Self::ALL).
    pub(super) fn numbered(number: u8) -> Self {
        let found = Self::ALL.get(usize::from(number));
        found.copied().unwrap_or(Self::NoAddressOfFamily)
    }

    /// Stable snake_case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::WeightShared => "weight_shared",
            Self::Pinned => "pinned",
            Self::ConfiguredOrder => "configured_order",
            Self::UnknownLocation => "unknown_location",
            Self::Anycast => "anycast",
            Self::Unicast => "unicast",
            Self::FailedOver => "failed_over",
            Self::LastResortFallback => "last_resort_fallback",
            Self::LastResortDown => "last_resort_down",
            Self::LastResortDrained => "last_resort_drained",
            Self::LastResortFenced => "last_resort_fenced",
            Self::NoAddressOfFamily => "no_address_of_family",
        }
    }

    /// Whether no PoP could be chosen by the ordinary rules.
    pub fn is_last_resort(self) -> bool {
        matches!(
            self,
            Self::LastResortFallback
                | Self::LastResortDown
                | Self::LastResortDrained
                | Self::LastResortFenced
        )
    }
}

/// What a choice rests on: the value of `meridian_steering_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Measured latency or known load took part.
    Measured = 0,
    /// Distance.
    Geo = 1,
    /// The order of the pool's list.
    ConfiguredOrder = 2,
    /// Nothing usable: fallback, or PoPs as if healthy.
    LastResort = 3,
}

/// The terms of one PoP's score for one cell or prefix, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Terms {
    /// Round trip in fibre along the great circle: 1 ms per 100 km.
    pub distance_ms: f32,
    /// Round trip: measured, or what the distance lets expect.
    pub latency_ms: f32,
    /// Where the round trip comes from.
    pub latency_from: LatencySource,
    /// What the PoP's load costs; `None`: nobody knows.
    pub load_ms: Option<f32>,
    /// What is counted for the load: where it is not known any more, what the PoP's own price goes on
    /// as; where it never was, the mean of the pool's others.
    pub load_counted_ms: f32,
    /// The operator's `bias`, subtracted.
    pub bias_ms: f32,
}

/// Where a round-trip time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LatencySource {
    /// Measured for the client's prefix, which differs from its cell.
    Prefix,
    /// Measured for the client's cell.
    Cell,
    /// Not measured: the line over distance.
    Estimate,
}

/// Weights of the terms; only their ratio matters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TermWeights {
    /// `distance`
    pub distance: f64,
    /// `latency`
    pub latency: f64,
    /// `load`
    pub load: f64,
}

impl TermWeights {
    /// Divided by the sum of those whose terms are in force: distance and latency always, the load
    /// where the pool has any source of it. Services whose weights come out equal share their
    /// orders. Where all of them are 0, distance stands in alone.
    pub fn in_force(self, load: bool) -> Self {
        let load = if load { self.load } else { 0.0 };
        let whole = self.distance + self.latency + load;
        if whole > 0.0 {
            Self {
                distance: self.distance / whole,
                latency: self.latency / whole,
                load: load / whole,
            }
        } else {
            Self {
                distance: 1.0,
                latency: 0.0,
                load: 0.0,
            }
        }
    }

    /// The score without what load costs, milliseconds: lower is better. The weights must be those
    /// [`in_force`](Self::in_force).
    // Scores are kept as f32: 1 µs at 100 ms, far below what distance can tell.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn free_of_load(&self, distance_ms: f32, latency_ms: f32, bias_ms: f32) -> f32 {
        let sum = self.distance * f64::from(distance_ms) + self.latency * f64::from(latency_ms);
        sum as f32 - bias_ms
    }

    /// What load adds to the score, milliseconds.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn cost(&self, load_ms: f32) -> f32 {
        (self.load * f64::from(load_ms)) as f32
    }
}

impl Terms {
    /// The score in milliseconds, lower is better: the weighted mean of the terms, minus the bias.
    /// The weights must be those [`in_force`](TermWeights::in_force), whose sum is 1, so the score
    /// stays a time whatever they are, and `tolerance` and `bias` keep their meaning.
    pub fn score(&self, weights: &TermWeights) -> f32 {
        weights.free_of_load(self.distance_ms, self.latency_ms, self.bias_ms)
            + weights.cost(self.load_counted_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable_and_serialize_alike() {
        for reason in Reason::ALL {
            let json = serde_json::to_value(reason).unwrap();
            assert_eq!(json, reason.as_str());
            assert_eq!(Reason::numbered(reason.number()), reason);
        }
    }

    #[test]
    fn the_score_is_a_weighted_mean_of_the_terms_in_force() {
        let weights = TermWeights {
            distance: 0.3,
            latency: 0.4,
            load: 0.3,
        };
        let terms = Terms {
            distance_ms: 12.5,
            latency_ms: 40.0,
            latency_from: LatencySource::Cell,
            load_ms: Some(9.0),
            load_counted_ms: 9.0,
            bias_ms: 2.0,
        };
        let close = |score: f32, expect: f64| (f64::from(score) - expect).abs() < 1e-4;
        let all = 0.3 * 12.5 + 0.4 * 40.0 + 0.3 * 9.0 - 2.0;
        assert!(close(terms.score(&weights.in_force(true)), all));
        let no_load = (0.3 * 12.5 + 0.4 * 40.0) / 0.7 - 2.0;
        assert!(close(terms.score(&weights.in_force(false)), no_load));
        let only_load = TermWeights {
            distance: 0.0,
            latency: 0.0,
            load: 1.0,
        };
        assert!(close(terms.score(&only_load.in_force(true)), 7.0));
        assert!(
            close(terms.score(&only_load.in_force(false)), 10.5),
            "distance stands in"
        );
    }
}
