//! `defenseclaw-cli` as it is installed: `run` at once, everything else by the whole tool.
//!
//! A sandbox is made for each tool call, and more than a third of what that took was loading the whole tool. This program has only what `run` needs,
//! asks for no shared library, and replaces itself by the tool for every other command, for help, for usage errors, and for sandboxes
//! with a supervisor.

#![no_main]

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use defenseclaw_model::sandbox::WHOLE_TOOL;
use defenseclaw_run::launch::{KEPT_LIBRARIES, LIBRARIES, failed, prepare};
use defenseclaw_run::{RunOptions, plain};

/// Variables by which whoever set them (a project's settings can) would run code of theirs in a program of ours that is linked against
/// shared libraries. No sandbox keeps them.
const LOADED: [&str; 2] = ["LD_PRELOAD", "LD_AUDIT"];
/// As shells say that a program is not there.
const NOT_FOUND: u8 = 127;

#[derive(Parser)]
#[command(name = "defenseclaw-cli")]
enum Known {
    Run(RunOptions),
}

defenseclaw_entry::entry!(run);

fn run() -> u8 {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|verb| verb == "run")
        && let Some(options) = read(&arguments)
    {
        match prepare(&options) {
            Ok(prepared) if !options.supervise && !prepared.launch.needs_supervisor() => {
                return prepared.start(&options);
            }
            Ok(_) => {}
            Err(error) => return failed(&error),
        }
    }
    hand_over(arguments)
}

fn read(arguments: &[OsString]) -> Option<RunOptions> {
    if let Some(plain) = arguments.get(2..).and_then(plain::read) {
        return Some(plain);
    }
    let Known::Run(options) = Known::try_parse_from(arguments).ok()?;
    Some(options)
}

/// Becomes the whole tool.
fn hand_over(arguments: Vec<OsString>) -> u8 {
    let own = std::env::current_exe().and_then(|own| own.canonicalize());
    let folder = own.ok().and_then(|own| own.parent().map(Path::to_owned));
    let folder = folder.unwrap_or_else(|| PathBuf::from("/usr/bin"));
    let places = WHOLE_TOOL.map(|place| folder.join(place));
    let Some(tool) = places.iter().find(|place| place.is_file()) else {
        eprintln!(
            "defenseclaw-cli: the tool itself is missing; it should be {}. Install the package again",
            places[0].display()
        );
        return NOT_FOUND;
    };
    let mut command = Command::new(tool);
    command.args(arguments.into_iter().skip(1));
    for name in LOADED {
        command.env_remove(name);
    }
    // This one commands need.
    if let Some(folders) = std::env::var_os(LIBRARIES) {
        command.env_remove(LIBRARIES).env(KEPT_LIBRARIES, folders);
    }
    let error = command.exec();
    eprintln!("defenseclaw-cli: {} cannot be started: {error}", tool.display());
    NOT_FOUND
}
