//! Entry point of the operator's tool.

use std::io::{BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use defenseclaw_cli::args::{Cli, Command};
use defenseclaw_cli::view::View;
use defenseclaw_cli::{Answer, CliError, Context, text};
use defenseclaw_run::settings::Settings;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Run(options) = &cli.command {
        return defenseclaw_cli::sandbox::launch(options);
    }
    if let Command::ScanWorker = &cli.command {
        return defenseclaw_cli::worker::run();
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut notes = std::io::stderr().lock();
    let outcome = Settings::load().map_err(CliError::from).and_then(|settings| {
        let mut context = Context {
            settings,
            view: View::of_stdout(),
            out: &mut out,
            notes_are_terminal: std::io::stderr().is_terminal(),
            notes: &mut notes,
        };
        defenseclaw_cli::run(&cli.command, &mut context)
    });
    match outcome {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            report(&mut out, &mut notes, &error);
            ExitCode::from(error.exit_status())
        }
    }
}

/// Prints what was already answered, then the error. Neither can do more than fail to be printed.
fn report(out: &mut dyn Write, notes: &mut dyn Write, error: &CliError) {
    let _ = out.flush();
    let error = error.to_string();
    let lines: Vec<_> = error.split('\n').map(text::safe).collect();
    let _ = writeln!(notes, "defenseclaw-cli: {}", lines.join("\n"));
}
