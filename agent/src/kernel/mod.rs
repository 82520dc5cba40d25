//! What the running kernel tells about itself.

pub mod btf;
pub mod offsets;
pub mod proc;
