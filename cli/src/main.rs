//! The operator's tool alone, as tests start it. What is installed is one program with the gateway (`cli/whole`).

use std::process::ExitCode;

fn main() -> ExitCode {
    defenseclaw_cli::program::main()
}
