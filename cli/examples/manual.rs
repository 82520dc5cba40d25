//! Writes the tool's manual pages and completions into a folder: `manual OUT`.
//!
//! `OUT/man` holds a page for the tool and for each verb, `OUT/bash`, `OUT/zsh` and `OUT/fish` one file for each name that
//! the tool is installed under, named as each shell looks for it. The same tool gives the same bytes.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use defenseclaw_cli::args::Cli;

/// The names that the tool is installed under.
const NAMES: [&str; 2] = ["defenseclaw-cli", "defenseclaw"];

fn main() -> ExitCode {
    let Some(out) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("Use: manual OUT");
        return ExitCode::from(2);
    };
    match write_all(&out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manual: {}: {error}", out.display());
            ExitCode::FAILURE
        }
    }
}

fn write_all(out: &Path) -> io::Result<()> {
    let man = out.join("man");
    fs::create_dir_all(&man)?;
    let mut tool = Cli::command();
    tool.build();
    page(&man, &tool, NAMES[0])?;
    for (shell, folder, before, after) in [
        (Shell::Bash, "bash", "", ""),
        (Shell::Zsh, "zsh", "_", ""),
        (Shell::Fish, "fish", "", ".fish"),
    ] {
        let folder = out.join(folder);
        fs::create_dir_all(&folder)?;
        for name in NAMES {
            let mut file = Vec::new();
            generate(shell, &mut Cli::command().name(name), name, &mut file);
            fs::write(folder.join(format!("{before}{name}{after}")), file)?;
        }
    }
    Ok(())
}

/// Writes a command's page, and those of what it offers.
fn page(folder: &Path, command: &Command, name: &str) -> io::Result<()> {
    let man = Man::new(command.clone().display_name(name.to_owned()))
        .title(name.to_uppercase())
        .source("DefenseClaw")
        .manual("DefenseClaw");
    let mut file = Vec::new();
    man.render_title(&mut file)?;
    man.render_name_section(&mut file)?;
    man.render_synopsis_section(&mut file)?;
    man.render_description_section(&mut file)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut file)?;
    }
    let offered = || command.get_subcommands().filter(|verb| !verb.is_hide_set());
    if offered().next().is_some() {
        man.render_subcommands_section(&mut file)?;
    }
    if let Some(help) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        more(&mut file, &help.to_string())?;
    }
    fs::write(folder.join(format!("{name}.1")), file)?;
    for verb in offered() {
        page(folder, verb, &format!("{name}-{}", verb.get_name()))?;
    }
    Ok(())
}

/// What stands below a command's help: headed lists, whose lines stay as they are, and paragraphs.
fn more(file: &mut Vec<u8>, text: &str) -> io::Result<()> {
    let mut notes = false;
    for part in text.split("\n\n") {
        match part.split_once('\n') {
            Some((head, lines)) if head.ends_with(':') => {
                notes = false;
                writeln!(
                    file,
                    ".SH {}\n.nf",
                    roff(&head.trim_end_matches(':').to_uppercase())
                )?;
                for line in lines.lines() {
                    writeln!(file, "{}", roff(line))?;
                }
                writeln!(file, ".fi")?;
            }
            _ => {
                writeln!(file, "{}", if notes { ".PP" } else { ".SH NOTES" })?;
                notes = true;
                for line in part.lines() {
                    writeln!(file, "{}", roff(line.trim_start()))?;
                }
            }
        }
    }
    Ok(())
}

/// A line of text with nothing in it that is markup.
fn roff(line: &str) -> String {
    let escaped = line
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('`', "\\(ga")
        .replace('^', "\\(ha")
        .replace('~', "\\(ti");
    if escaped.starts_with('.') {
        format!("\\&{escaped}")
    } else {
        escaped
    }
}
