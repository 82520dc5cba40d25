//! The operator's tool as a program: arguments, answers, exit status.

use std::io::{BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::view::View;
use crate::{Answer, CliError, Context, text};

/// Does what the arguments of this process say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Run(options) = &cli.command {
        return crate::sandbox::launch(options);
    }
    if let Command::FetchWorker = &cli.command {
        return crate::fetcher::run();
    }
    if let Command::ScanWorker = &cli.command {
        return crate::worker::run();
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut notes = std::io::stderr().lock();
    let outcome = crate::settings(&cli.command).and_then(|settings| {
        let mut context = Context {
            settings,
            view: View::of_stdout(),
            out: &mut out,
            notes_are_terminal: std::io::stderr().is_terminal(),
            notes: &mut notes,
        };
        crate::run(&cli.command, &mut context)
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
