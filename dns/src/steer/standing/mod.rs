//! The part of steering that moves with what is measured: who serves each cell at the moment, and
//! in which shares. Made anew at every tick, immutable, published whole beside the health.

use std::sync::Arc;

use meridian_geo_data::latency::Latency;
use meridian_health_prober::HealthSnapshot;

use super::{Steering, balance::Price};

/// What a [`Standing`] is made from, besides the one before, the configuration and the health.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Measured round-trip times.
    pub latency: Arc<Latency>,
    /// By [`PopId`](meridian_config::PopId); one that is missing is not known.
    pub prices: Arc<[Price]>,
    /// Clients by place, in any unit; empty: all places alike.
    pub demand: Arc<[f32]>,
}

impl Default for Inputs {
    /// Nothing is measured.
    fn default() -> Self {
        Self {
            latency: Arc::new(Latency::empty()),
            prices: Arc::new([]),
            demand: Arc::new([]),
        }
    }
}

/// Who serves whom at the moment, as far as measured latency and load have a say. Belongs to the
/// [`Steering`] that it was made for.
#[derive(Debug, Default)]
pub struct Standing {
    inputs: Inputs,
}

impl Standing {
    /// Nothing is measured: every decision follows the configuration and the geo data alone.
    pub fn none(_steering: &Steering) -> Self {
        Self::default()
    }

    /// The one that follows this one, which may be of an earlier configuration.
    ///
    /// Pure: the same history of arguments gives the same standing. Takes its time; not for the
    /// query path.
    pub fn next(&self, _steering: &Steering, _health: &HealthSnapshot, inputs: &Inputs) -> Self {
        Self {
            inputs: inputs.clone(),
        }
    }

    /// What it was made from.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }
}
