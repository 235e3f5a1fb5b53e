//! What load costs: prices in milliseconds that rise above the target and fall below it.

/// What a PoP's load costs at the moment, by [`PopId`](meridian_config::PopId).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// The load term of its score, milliseconds.
    pub price_ms: f32,
    /// Share of its capacity that is free, 0 to 1.
    pub free: f32,
    /// How far it has grown to its full share, 0 to 1.
    pub ramp: f32,
    /// Whether its load is known.
    pub known: bool,
}

/// A PoP that may serve a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    /// Its place in the pool's list.
    pub member: u16,
    /// Milliseconds; lower is better.
    pub score_ms: f32,
    /// Weight × free capacity × ramp.
    pub weight: f32,
    /// Whether it can be handed out now.
    pub usable: bool,
}

/// A PoP with its share of the clients of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its place in the pool's list.
    pub member: u16,
    /// Of 255.
    pub parts: u8,
}
