//! `defenseclaw-hook`: one payload in, one question to the gateway, the harness's native reply out.

use std::process::ExitCode;

fn main() -> ExitCode {
    defenseclaw_hook::hook()
}
