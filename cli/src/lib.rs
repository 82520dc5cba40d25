//! The operator's tool: reads the ledger, asks the gateway for its state, answers what waits for a person, tries rules.
//!
//! | Module | Holds |
//! |---|---|
//! | [`program`] | from the arguments of a process to its exit status |
//! | [`args`] | the command line |
//! | [`view`] | how people see things: colour, width, time zone |
//! | [`text`] | making foreign text safe for a terminal; cutting and padding |
//! | [`table`] | stable columns |
//! | [`time`] | instants and durations, read and written |
//! | [`words`] | what records say, in words for a person |
//! | [`json`] | one object per line |
//! | [`http`] | a minimal HTTP/1.1 client over a Unix socket, with a deadline |
//! | [`gateway`] | asking the gateway |
//! | [`status`] | `status` |
//! | [`setup`] | `setup`, `teardown` |
//! | [`doctor`] | `doctor` |
//! | [`approvals`] | `approvals list`, `approve`, `deny`, `grants`, `revoke` |
//! | [`inspect`] | `inspect` |
//! | [`explain`] | `explain` |
//! | [`admission`] | `policy check` on an artifact |
//! | [`artifact`] | `artifact manifest`, `keygen`, `sign`, `verify` |
//! | [`policy`] | `policy check`, `validate`, `test`, `reload` |
//! | [`sandbox`] | `run`, `sandbox list`, `show`, `validate` |
//! | [`scan`] | `scan skill`, `mcp`, `plugin` |
//! | [`worker`] | `scan-worker`: what the install gate starts to scan one artifact |
//! | [`fetcher`] | `fetch-worker`: what the gateway starts to fetch one package and have it scanned |
//! | [`gate`] | `gate list`, `show`, `restore`, `release`, `delete`, `status`, `allow`, `block`, `lists`, `forget` |
//! | [`inventory`] | `inventory scan`, `list`, `show`, `diff`, `search`, `export`, `scans`; `aibom` |
//! | [`mcp`] | `scan mcp --live`, `mcp check`, `mcp pins` |
//! | [`ledger`] | opening, paging and following the ledger |
//! | [`audit`] | `audit tail`, `query`, `show`, `verify`, `export` |
//! | [`session`] | `session list`, `session show` |
//!
//! Nothing here writes to the ledger. Harnesses' settings are changed by `setup` and `teardown` alone, and nothing that comes from a session reaches a terminal unescaped.

use std::io::Write;

pub mod admission;
pub mod approvals;
pub mod args;
pub mod artifact;
pub mod audit;
pub mod doctor;
pub mod error;
pub mod explain;
pub mod fetcher;
pub mod gate;
pub mod gateway;
pub mod http;
pub mod inspect;
pub mod inventory;
pub mod json;
pub mod ledger;
pub mod mcp;
pub mod policy;
pub mod program;
pub mod sandbox;
pub mod scan;
pub mod session;
pub mod setup;
pub mod status;
pub mod table;
pub mod text;
pub mod time;
pub mod view;
pub mod words;
pub mod worker;

pub use error::CliError;

/// What a command answers, apart from failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done; exit status 0.
    Yes,
    /// The answer is "no": nothing found, chain not valid; exit status 1.
    No,
}

/// What a command works with.
pub struct Context<'a> {
    /// Configuration and environment.
    pub settings: defenseclaw_run::settings::Settings,
    /// How people see the output.
    pub view: view::View,
    /// Where the answer goes.
    pub out: &'a mut dyn Write,
    /// Where notes for a person go.
    pub notes: &'a mut dyn Write,
    /// Whether `notes` is a terminal, so that progress may be drawn over itself.
    pub notes_are_terminal: bool,
}

/// The settings that a command works with.
///
/// # Errors
/// When the configuration cannot be read. `doctor` goes on without it and says what is wrong.
pub fn settings(command: &args::Command) -> Result<defenseclaw_run::settings::Settings, CliError> {
    doctor::settings(command)
}

/// Runs one command.
pub fn run(command: &args::Command, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let answer = match command {
        args::Command::Status(options) => status::run(options, context),
        args::Command::Setup(options) => setup::run(options, context),
        args::Command::Teardown(options) => setup::teardown(options, context),
        args::Command::Doctor(options) => doctor::run(options, context),
        args::Command::Audit(args::AuditCommand::Tail(options)) => audit::tail(options, context),
        args::Command::Audit(args::AuditCommand::Query(options)) => audit::query(options, context),
        args::Command::Audit(args::AuditCommand::Show(options)) => audit::show::run(options, context),
        args::Command::Audit(args::AuditCommand::Verify(options)) => audit::verify::run(options, context),
        args::Command::Audit(args::AuditCommand::Export(options)) => audit::export(options, context),
        args::Command::Session(args::SessionCommand::List(options)) => session::list::run(options, context),
        args::Command::Session(args::SessionCommand::Show(options)) => session::show(options, context),
        args::Command::Approvals(command) => approvals::run(command, context),
        args::Command::Inspect(options) => inspect::run(options, context),
        args::Command::Explain(options) => explain::run(options, context),
        args::Command::Policy(command) => policy::run(command, context),
        args::Command::Artifact(command) => artifact::run(command, context),
        args::Command::Sandbox(command) => sandbox::run(command, context),
        args::Command::Scan(command) => scan::run(command, context),
        args::Command::Gate(command) => gate::run(command, context),
        args::Command::FetchWorker => Err(CliError::Usage("`fetch-worker` stands by itself".to_owned())),
        args::Command::ScanWorker => Err(CliError::Usage("`scan-worker` stands by itself".to_owned())),
        args::Command::Inventory(command) => inventory::run(command, context),
        args::Command::Aibom(options) => inventory::aibom(options, context),
        args::Command::Mcp(command) => mcp::run(command, context),
        // It becomes another program: `main` does that before anything is opened.
        args::Command::Run(_) => Err(CliError::Usage("`run` stands by itself".to_owned())),
    }?;
    context.out.flush()?;
    Ok(answer)
}
