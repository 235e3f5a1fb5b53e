//! Replies, octet by octet.
