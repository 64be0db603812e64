//! Facts about translation.
