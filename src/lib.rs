//! The server as a library: wiring, command line and admin API. The binary is a thin `main`.

pub mod runtime;
