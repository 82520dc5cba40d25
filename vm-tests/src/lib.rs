//! Boots real kernels and runs a program in them, or a whole system.
//!
//! | Module | Does |
//! |---|---|
//! | [`arch`] | the architectures that guests are booted for |
//! | [`kernel`] | fetches a Debian kernel into a cache, and finds its modules |
//! | [`system`] | programs and libraries of a Debian release for another architecture |
//! | [`initramfs`] | packs programs and their libraries into an archive that the kernel unpacks |
//! | [`disk`], [`root`] | disks of folders; a Debian root file system with systemd as a disk |
//! | [`guest`] | boots these in an emulator under a deadline and reads the verdict off the console |
//! | [`cases`] | what a guest says of its cases, as a table |
//!
//! Inside the guest runs `guest-init` (in `src/bin`), a small init that prints the verdict and powers off; or, where it has a disk,
//! `guest/init.sh`, which hands over to the system on it.

mod apt;
pub mod arch;
pub mod cases;
pub mod disk;
pub mod guest;
pub mod initramfs;
pub mod kernel;
pub mod root;
pub mod system;

/// The guest's init prints this, then `success` or `failure` and the reason.
pub const VERDICT: &str = "DEFENSECLAW-GUEST: ";
/// What the guest's init prints first: from there on, whatever goes wrong is ours.
pub const BEGUN: &str = "DEFENSECLAW-GUEST-BEGUN";
/// Where the guest's init finds its commands, an empty line between them: one word a line, before it `@NAME=VALUE`.
pub const COMMAND_FILE: &str = "/guest-command";
