//! Sandboxes for tool calls: what a command may reach, as profiles, and the launcher that runs it so.
//!
//! | Module | Holds |
//! |---|---|
//! | [`profile`] | profiles as data: reading, inheriting, checking |
//! | [`plan`] | a profile on this host: paths filled in and looked up |
//! | [`host`] | what this kernel has |
//! | [`hosts`] | addresses of named hosts, looked up before |
//! | [`landlock`] | file grants, scopes |
//! | [`mounts`] | what is closed or sealed inside a grant: mounts in a namespace of the sandbox's own |
//! | [`renew`] | covers anew what somebody outside replaces meanwhile, for sandboxes that last |
//! | [`syscalls`] | system calls that are refused |
//! | [`privileges`] | capabilities, descriptors, no new privileges |
//! | [`canary`] | attempts that must fail before the command starts |
//! | [`report`] | what is in force, by what, and whether that was proven |
//! | [`launch`] | all of it in order, then the command |
//! | [`supervise`] | supervised mode: what is outside a profile pauses and is asked about |
//! | [`judge`] | the plan as the supervisor's judge |
//! | [`learn`] | a profile from what a command used; what a change of profile allows |
//! | [`confine`] | a process that closes itself in and then only computes: the scanner's worker |
//! | [`keeper`] | the processes that stay outside where something has to be done there |
//! | [`places`] | empty folders that keep places from being taken |
//!
//! Nothing here parses what a session wrote, but for one line of a worktree's `.git` file, which is believed only where the
//! repository confirms it.

pub mod canary;
pub mod confine;
mod glob;
pub mod host;
#[cfg(feature = "supervise")]
pub mod hosts;
#[cfg(feature = "supervise")]
pub mod judge;
pub mod keeper;
pub mod landlock;
pub mod launch;
#[cfg(feature = "supervise")]
pub mod learn;
pub mod mounts;
pub mod places;
pub mod plan;
pub mod privileges;
pub mod profile;
pub mod renew;
pub mod report;
#[cfg(feature = "supervise")]
pub mod supervise;
pub mod syscalls;
