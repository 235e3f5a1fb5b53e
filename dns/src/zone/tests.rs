//! Lookups, by the section of the RFC that they test.
