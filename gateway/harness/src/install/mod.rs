//! Where a hook lives, and how it gets there and away again.

pub mod edit;

/// The hook client's program name.
pub const CLIENT: &str = "defenseclaw-hook";
