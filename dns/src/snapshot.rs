//! What one query sees: immutable, swapped whole.
