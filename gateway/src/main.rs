//! The gateway alone, as tests start it. What is installed is one program with the operator's tool (`cli/whole`).

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    defenseclaw_gateway::program::main()
}
