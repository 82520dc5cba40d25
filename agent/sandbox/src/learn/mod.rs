//! Learning a profile: a command runs under a supervisor that allows and notes everything, and what it used becomes
//! the tightest profile that would still let it pass.
//!
//! What is seen is what supervised mode sees: opens, connections, and messages with an address. Removing, renaming
//! and making folders are not stopped and so not noted; they matter only in folders where nothing was opened to be
//! created. Programs are known by `/proc/PID/exe` of those that made a call, so one that opens nothing (a static one
//! that only computes) is missed.

mod diff;
mod observe;
mod record;
mod synthesise;

pub use diff::{Change, Difference, diff};
pub use observe::observe;
pub use record::{MAX_RECORDED, Reach, Record, Recorder};
pub use synthesise::{FOLD, Files, Learned, Mode, Network, Places, Profile, synthesise};
