//! The only build entry point: `cargo xtask COMMAND`.
//!
//! | Module | Does |
//! |---|---|
//! | [`toolchain`] | finds a compiler and a linker for the kernel programs |
//! | [`setup`] | says what is missing, then installs it |
//! | [`ebpf`] | builds the kernel programs |
//! | [`build`], [`shipped`] | builds what is shipped into `target/dist`, bare and within its bound |
//! | [`arch`], [`cross`], [`date`] | the two architectures, building for the other one, dates |
//! | [`deb`], [`repo`] | Debian packages, and the repository that they are installed from |
//! | [`test`] | every check, every test, one table |
//! | [`launch`] | demo, benchmarks and guests: builds them and hands over |
//! | [`train`] | makes the weights of the model beside the rules about artifacts |
//! | [`eval`] | measures detection on the collections of `policies/evaluation` |
//! | [`host`], [`files`] | running commands, finding programs, paths of this checkout; what lies in folders |
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool: what it prints is its product"
)]

mod arch;
mod build;
mod cross;
mod date;
mod deb;
mod ebpf;
mod eval;
mod files;
mod guests;
mod host;
mod launch;
mod repo;
mod setup;
mod shipped;
mod test;
mod toolchain;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Builds, tests and shows DefenseClaw",
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what this machine lacks, then install it. A second run finds nothing to do.
    Setup,
    /// Build what is shipped into target/dist.
    Build,
    /// Build the kernel programs into target/ebpf.
    BuildEbpf(ebpf::Options),
    /// Make Debian packages of what is shipped.
    Deb(deb::Options),
    /// Make a signed APT repository of the packages.
    Repo(repo::Options),
    /// Set up, build, and run every check and test.
    Test(test::Options),
    /// Set up, build, drive an agent session through the whole path and print its trail.
    Demo(launch::DemoOptions),
    /// Measure. Without a name: everything.
    Bench(launch::BenchOptions),
    /// Measure detection: recall and false positives on the collections of policies/evaluation.
    Eval(eval::Options),
    /// Learn weights from the labelled artifacts of policies/evaluation, for the model beside the rules.
    Train(train::Options),
    /// Boot a real kernel and run the sensor's smoke test in it.
    VmTest(guests::VmOptions),
    /// Attack sandboxes, here and in guests, and make one table of the results.
    Attacks(guests::AttackOptions),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let host = host::Host::look()?;
    match Arguments::parse().command {
        Command::Setup => setup::install(&host, setup::Wanted::everything()),
        Command::Build => build::build(&host).map(drop),
        Command::BuildEbpf(options) => ebpf::build(&host, &options).map(drop),
        Command::Deb(options) => deb::deb(&host, &options).map(drop),
        Command::Repo(options) => repo::repo(&host, &options),
        Command::Test(options) => test::test(&host, &options),
        Command::Demo(options) => launch::demo(&host, &options),
        Command::Bench(options) => launch::bench(&host, &options),
        Command::Eval(options) => eval::eval(&host, &options),
        Command::Train(options) => train::train(&host, &options),
        Command::VmTest(options) => guests::vm_test(&host, &options),
        Command::Attacks(options) => guests::attacks(&host, &options),
    }
}
