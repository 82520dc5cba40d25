//! Trains the model that stands beside the rules about artifacts, from the collections of `policies/evaluation/artifacts`.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::host::{Host, run, step};

/// How to train.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask train             writes policies/learned/weights.bin, and prints what to expect of it
  cargo xtask train --misses    and what it judges wrongly in collections that were left out")]
pub(crate) struct Options {
    /// Print every artifact that is judged wrongly where its collection was left out.
    #[arg(long)]
    misses: bool,
}

pub(crate) fn train(host: &Host, options: &Options) -> Result<()> {
    step("what trains", || {
        let mut command = host.release([
            "build",
            "--release",
            "--package=defenseclaw-testkit",
            "--bin=train",
        ])?;
        run(&mut command)
    })?;
    let mut command = Command::new(host.target.join("release/train"));
    command
        .arg(host.root.join("policies/evaluation/artifacts"))
        .arg(host.root.join("policies/learned/weights.bin"));
    if options.misses {
        command.arg("--misses");
    }
    run(&mut command)
}
