//! The server: hooks in, decisions out, one ledger.
//!
//! | Module | Holds |
//! |---|---|
//! | [`program`] | arguments, log, exit status; [`memory`] gives back what only starting needed |
//! | [`daemon`] | start from the configuration, run, stop in order |
//! | [`config`] | where the configuration is found |
//! | [`listen`], [`held`] | the two sockets and their locks; those that the service manager holds |
//! | [`alive`] | signs of life for the service manager |
//! | [`server`] | HTTP over the Unix socket and loopback, and its limits |
//! | [`api`] | what is answered there, and to whom |
//! | [`token`] | the token that opens loopback |
//! | [`late`] | replies that wait for a person |
//! | [`slots`] | how much of the gateway one user may hold |
//! | [`connector`] | which harness a request is of; its contract reads the payload and renders the reply |
//! | [`engine`] | the one decision path |
//! | [`admission`] | the install gate: artifacts admitted or not, lists, quarantine |
//! | [`packages`] | what calls would install, fetched and scanned before |
//! | [`approvals`] | calls that wait for a person, and what people have allowed |
//! | [`questions`] | what supervised sandboxes ask a person |
//! | [`redact`] | what of a call reaches the ledger, and what the agent |
//! | [`rules`] | the policy and rule packs in force, and how they are replaced |
//! | [`bundle`] | signed policy bundles: looked for, weighed, put in force whole |
//! | [`rooms`] | which call is to run in which sandbox |
//! | [`sessions`], `posture` | sessions and calls that have not ended; what a session did so far |
//! | [`agent`] | the agent's connection and what the gateway asks of it |
//! | [`judge`], [`calls`] | what the kernel saw, judged by what its call declared and did |
//! | [`ledger_writer`] | the ledger's one writer, on its own thread |
//! | [`status`], [`counters`], [`metrics`] | what the gateway says of itself |
//! | [`watch`] | whether the installed hooks are still there |
//! | `files` | files of the state folder, replaced in one step |
//! | [`throttle`], [`clock`] | a limit on records of faults; the time that records carry |
//! | [`error`] | what keeps the gateway from running |

pub mod admission;
pub mod agent;
pub mod alive;
pub mod api;
pub mod approvals;
pub mod bundle;
pub mod calls;
pub mod clock;
pub mod config;
pub mod connector;
pub mod counters;
pub mod daemon;
pub mod engine;
pub mod error;
pub(crate) mod files;
pub mod held;
pub mod judge;
pub mod late;
pub mod ledger_writer;
pub mod listen;
pub mod memory;
pub mod metrics;
pub mod packages;
pub mod pins;
mod posture;
pub mod program;
pub mod questions;
pub mod redact;
pub mod rooms;
pub mod rules;
pub mod server;
pub mod sessions;
pub mod slots;
pub mod status;
pub mod throttle;
pub mod token;
pub mod watch;
