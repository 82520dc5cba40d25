//! Where a hook lives, and how it gets there and away again.
