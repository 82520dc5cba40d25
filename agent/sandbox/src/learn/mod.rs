//! Learning a profile.
