//! This server as a site.

mod ask;
mod judge;
