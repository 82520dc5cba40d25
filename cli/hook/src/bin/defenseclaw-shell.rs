//! `defenseclaw-shell`: a harness's shell line, run in the sandbox that its call was given.

use std::process::ExitCode;

fn main() -> ExitCode {
    defenseclaw_hook::shell()
}
