//! Boots real kernels and runs a program in them.
//!
//! | Module | Does |
//! |---|---|
//! | [`kernel`] | fetches a Debian kernel into a cache |
//! | [`initramfs`] | packs programs and their libraries into an archive that the kernel unpacks |
//! | [`guest`] | boots both in an emulator under a deadline and reads the verdict off the console |
//!
//! Inside the guest runs `guest-init` (in `src/bin`), a small init that prints the verdict and powers off.

pub mod guest;
pub mod initramfs;
pub mod kernel;

/// The guest's init prints this, then `success` or `failure` and the reason.
pub const VERDICT: &str = "DEFENSECLAW-GUEST: ";
/// What the guest's init prints first: from there on, whatever goes wrong is ours.
pub const BEGUN: &str = "DEFENSECLAW-GUEST-BEGUN";
/// Where the guest's init finds its commands, an empty line between them: one word a line, before it `@NAME=VALUE`.
pub const COMMAND_FILE: &str = "/guest-command";
