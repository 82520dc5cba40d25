//! Measures detection: builds the operator's tool and hands over to the test kit's `eval`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::host::{Host, run, step};

/// What to measure.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask eval                         rates on the development split
  cargo xtask eval --set pairs --misses    and every case that is judged wrongly
  cargo xtask eval --split holdout --json  the numbers to report
  cargo xtask eval --set artifacts         skills, judged by scan skill
  cargo xtask eval --set code              programs, judged by scan code")]
pub(crate) struct Options {
    /// Which part: rules may be tuned with dev, the hold-out is only counted.
    #[arg(long, value_enum, default_value_t = Split::Dev)]
    split: Split,
    /// Only this collection: pairs, techniques, everyday, text, or artifacts or code (which are measured only when they are named).
    #[arg(long)]
    set: Option<String>,
    /// One JSON object per row.
    #[arg(long)]
    json: bool,
    /// Print every case that is judged wrongly; of dev only.
    #[arg(long)]
    misses: bool,
    /// Ask this program in place of a freshly built defenseclaw-cli.
    #[arg(long)]
    cli: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Split {
    Dev,
    Holdout,
    All,
}

pub(crate) fn eval(host: &Host, options: &Options) -> Result<()> {
    step("programs to measure with", || {
        run(&mut host.release([
            "build",
            "--profile=kit",
            "--package=defenseclaw-testkit",
            "--bin=eval",
        ])?)?;
        if options.cli.is_some() {
            return Ok(());
        }
        run(&mut host.release([
            "build",
            "--release",
            "--package=defenseclaw-cli",
            "--bin=defenseclaw-cli",
        ])?)
    })?;
    let mut command = Command::new(host.kit_folder().join("eval"));
    let cli = options
        .cli
        .clone()
        .unwrap_or_else(|| host.release_folder().join("defenseclaw-cli"));
    command.arg("--cli").arg(cli);
    command
        .arg("--collections")
        .arg(host.root.join("policies/evaluation"));
    let split = match options.split {
        Split::Dev => "dev",
        Split::Holdout => "holdout",
        Split::All => "all",
    };
    command.args(["--split", split]);
    if let Some(set) = &options.set {
        command.args(["--set", set]);
    }
    if options.json {
        command.arg("--json");
    }
    if options.misses {
        command.arg("--misses");
    }
    run(&mut command)
}
