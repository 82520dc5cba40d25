//! Stacks, scripted agents and model servers for tests, demo and benchmarks.
//!
//! | Module | Gives |
//! |---|---|
//! | [`stack`] | gateway and agent of one build in one temporary folder |
//! | [`need`] | what a test needs and a host may lack; the account of what was not run |
//! | [`script`] | what an agent is to do: prompts, turns, tool calls |
//! | [`scripted_agent`] | a small agent that speaks Claude Code's hook protocol and really runs the tools |
//! | [`model_server`] | the model of the real client, on loopback, following a script |
//! | [`responses`] | the same model in the words that Codex speaks |
//! | [`claude_code`], [`codex`] | the real clients, driven by such a model |
//! | [`npm`] | where those clients come from |
//! | [`truth`] | what the recorder program `actor` did, in its own words |
//! | [`workplace`] | a project, a home folder and an "outside" to act in |
//! | [`clean_root`], [`file_server`] | a root with nothing in it to install packages in, and where it gets them from |
//! | [`escape`] | attacks on sandboxes: the outside that they aim at, trials, cages |
//! | [`evaluation`] | how well `inspect` tells attacks from everyday work |
//! | [`learning`] | trains the model that stands beside the rules about artifacts |
//! | [`statistics`] | percentiles for benchmarks |

pub mod claude_code;
pub mod clean_root;
pub mod codex;
pub mod escape;
pub mod evaluation;
pub mod file_server;
pub mod learning;
pub mod model_server;
pub mod need;
pub mod npm;
mod output;
pub mod responses;
pub mod script;
pub mod scripted_agent;
pub mod stack;
pub mod statistics;
pub mod truth;
pub mod workplace;

pub use need::{Need, require};
pub use stack::{Stack, StackOptions};

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// Path of a helper program of this crate: beside the running program, or beside the folder `deps` that a test runs in.
pub fn helper(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell which program is running")?;
    let folders = own.ancestors().skip(1).take(2);
    for folder in folders {
        let file = folder.join(name);
        if file.is_file() {
            return Ok(file);
        }
    }
    bail!(
        "the helper program {name} is not beside {}: build this crate's programs first",
        own.display()
    )
}
