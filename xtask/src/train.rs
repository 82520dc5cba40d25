//! Trains the models that stand beside the rules about artifacts and tool calls, from the collections of `policies/evaluation`.

use std::process::Command;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::host::{Host, run, step};

/// How to train.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask train                    writes policies/learned/*.bin, and prints what to expect of them
  cargo xtask train calls              only that beside the rules about tool calls
  cargo xtask train artifacts --misses and what it judges wrongly in collections that were left out")]
pub(crate) struct Options {
    /// Which model; both if none is named.
    #[arg(value_enum)]
    which: Option<Which>,
    /// Print everything that is judged wrongly where its collection was left out.
    #[arg(long)]
    misses: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Artifacts,
    Calls,
}

pub(crate) fn train(host: &Host, options: &Options) -> Result<()> {
    step("what trains", || {
        let mut command = host.release([
            "build",
            "--profile=kit",
            "--package=defenseclaw-testkit",
            "--bin=train",
        ])?;
        run(&mut command)
    })?;
    for which in [Which::Artifacts, Which::Calls] {
        if options.which.is_some_and(|only| only != which) {
            continue;
        }
        let evaluation = host.root.join("policies/evaluation");
        let (word, collections, weights) = match which {
            Which::Artifacts => ("artifacts", evaluation.join("artifacts"), "weights.bin"),
            Which::Calls => ("calls", evaluation, "calls.bin"),
        };
        let mut command = Command::new(host.kit_folder().join("train"));
        command
            .args([word.as_ref(), collections.as_os_str()])
            .arg(host.root.join("policies/learned").join(weights));
        if options.misses {
            command.arg("--misses");
        }
        run(&mut command)?;
    }
    Ok(())
}
