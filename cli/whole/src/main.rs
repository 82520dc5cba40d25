//! The operator's tool and the gateway in one program.
//!
//! Both link the same rules, policy engine, ledger and readers of settings: as two programs they would be twice as large. Which of them a
//! process is, its unit says by the file that it starts (`role`), and nothing else can change that.

mod allocator;
mod role;

use std::process::ExitCode;

use role::Role;

#[global_allocator]
static ALLOCATOR: allocator::ByRole = allocator::ByRole;

fn main() -> ExitCode {
    if role::raised() {
        eprintln!(
            "defenseclaw-cli: this program was started with more rights than its user has (set-user-ID or set-group-ID); it is not made \
             for that. Take the bit away with chmod ug-s"
        );
        return ExitCode::from(2);
    }
    match role::own() {
        Role::Gateway => defenseclaw_gateway::program::main(),
        Role::Tool => defenseclaw_cli::program::main(),
    }
}
