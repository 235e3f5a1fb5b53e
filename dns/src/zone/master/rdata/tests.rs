//! Tables and properties over all types.
