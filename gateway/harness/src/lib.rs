//! Agent products ("harnesses"), as data and as the one engine that interprets it.
//!
//! | Module | Holds |
//! |---|---|
//! | [`contract`] | `policies/harness/*.yaml`: what a hook's payload says, and how it is answered |
//! | [`shims`] | plugins for harnesses that start no hook command |
//! | [`install`] | `policies/harness/install/*.yaml`: where a hook lives, and how it gets there and away again |

pub mod contract;
pub mod install;
pub mod shims;
