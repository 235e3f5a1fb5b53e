//! Handing a running server over to another binary.

mod channel;
