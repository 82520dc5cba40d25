//! From the options to a closed sandbox and the command in it.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use defenseclaw_model::terminal::safe;
use defenseclaw_sandbox::launch::{self, Launch, LaunchError};
use defenseclaw_sandbox::plan::{self, Setting};
use defenseclaw_sandbox::profile::{ProfileError, Profiles};
use defenseclaw_sandbox::renew::Renew;
use defenseclaw_sandbox::report::Report;

use crate::settings::{Settings, SettingsError};
use crate::{RunOptions, tell};

/// The folder of sandbox profiles in a folder of policies.
pub const FOLDER: &str = "sandbox";
/// Where shared libraries are looked for first. A program of ours must not load any from there; the command may.
pub const LIBRARIES: &str = "LD_LIBRARY_PATH";
/// Holds that variable's value on the way from the small program to the whole tool.
pub const KEPT_LIBRARIES: &str = "DEFENSECLAW_LD_LIBRARY_PATH";
/// The launcher failed, or refused to start unprotected; as `env` and `timeout` say it.
const FAILED: u8 = 125;

/// Why there is nothing to launch.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No settings.
    #[error("{0}")]
    Settings(#[from] SettingsError),
    /// No such profile, or not a valid one.
    #[error("{0}")]
    Profile(#[from] ProfileError),
    /// There is no current folder.
    #[error("the current folder cannot be used: {0}; name one with --project")]
    Folder(std::io::Error),
}

/// A launch, and what it was prepared with.
pub struct Prepared {
    /// What is launched.
    pub launch: Launch,
    /// The settings in force.
    pub settings: Settings,
}

/// The profiles that `settings` name, over those that come with the program.
///
/// # Errors
/// When one of the operator's is not valid.
pub fn profiles(settings: &Settings) -> Result<Profiles, ProfileError> {
    match &settings.policies {
        Some(policies) => Profiles::with_folder(&policies.join(FOLDER)),
        None => Ok(Profiles::embedded()),
    }
}

/// The project: the folder that was named, else what is around the current folder.
///
/// # Errors
/// When there is no current folder.
pub fn project(named: Option<&PathBuf>, home: Option<&Path>) -> Result<PathBuf, RunError> {
    if let Some(named) = named {
        return Ok(named.clone());
    }
    let folder = std::env::current_dir().map_err(RunError::Folder)?;
    Ok(plan::project_of(&folder, home))
}

/// Looks up what `options` name. Nothing is closed yet, and nobody is asked about anything.
///
/// # Errors
/// When that is not there, or not valid.
pub fn prepare(options: &RunOptions) -> Result<Prepared, RunError> {
    if let Some(folders) = std::env::var_os(KEPT_LIBRARIES) {
        // SAFETY: a launch needs a process with one thread.
        unsafe {
            std::env::set_var(LIBRARIES, folders);
            std::env::remove_var(KEPT_LIBRARIES);
        }
    }
    let settings = Settings::load()?;
    let mut profiles = profiles(&settings)?;
    if let Some(folder) = &options.profiles {
        profiles.add(folder)?;
    }
    let own = options
        .connector
        .as_deref()
        .and_then(|name| settings.config.sandbox_of(name));
    let profile = profiles.get(own.unwrap_or(&options.profile))?;
    let home = launch::home();
    let project = project(options.project.as_ref(), home.as_deref())?;
    let setting = Setting {
        project,
        home,
        gateway: (!options.without_gateway).then(|| settings.socket.clone()),
    };
    let mut launch = Launch::new(profile, setting, options.best_effort, options.command.clone());
    launch.renew = renewal(options);
    Ok(Prepared { launch, settings })
}

/// A command that a person starts at a terminal may be an agent that runs for hours; a tool call has no terminal, and is over in seconds.
fn renewal(options: &RunOptions) -> Renew {
    if options.watch {
        Renew::All
    } else if std::io::stdin().is_terminal() {
        Renew::Known
    } else {
        Renew::Never
    }
}

impl Prepared {
    /// Becomes the command, or without one prints what would be in force. Returns only if nothing was started, with the exit status that
    /// says so.
    pub fn start(self, options: &RunOptions) -> u8 {
        let (launch, socket) = (self.launch, self.settings.socket);
        let outcome = if options.command.is_empty() {
            launch.enter().map(|report| {
                // Nothing can be done where standard output is gone.
                let _ = std::io::stdout().write_all(told(&report, options.json).as_bytes());
            })
        } else {
            let tell = |report: &Report, gateway: std::io::Result<UnixStream>| {
                if options.explain {
                    let _ = std::io::stderr().write_all(told(report, options.json).as_bytes());
                } else if report.best_effort {
                    for lacking in report.lacking() {
                        say(&format!("without {}: {}", lacking.family, lacking.detail));
                    }
                }
                let told = tell::tell(&socket, gateway, report, options);
                // Whoever looks is told; a command's own errors are not mixed with ours.
                if let (Err(error), true) = (told, options.explain || report.best_effort) {
                    say(&format!("this is in no record: {error}"));
                }
            };
            launch.run(tell).map(|never| match never {})
        };
        match outcome {
            Ok(()) => 0,
            Err(error) => {
                say(&error.to_string());
                LaunchError::exit_status(&error)
            }
        }
    }
}

/// Says why nothing was started; gives the exit status that says so.
pub fn failed(error: &RunError) -> u8 {
    say(&error.to_string());
    FAILED
}

fn say(message: &str) {
    let lines: Vec<_> = message.split('\n').map(safe).collect();
    // Nothing can be done where even standard error is gone.
    let _ = writeln!(std::io::stderr(), "defenseclaw-cli run: {}", lines.join("\n"));
}

fn told(report: &Report, json: bool) -> String {
    if json {
        let line = serde_json::to_string(report).unwrap_or_default();
        return format!("{line}\n");
    }
    let lines: Vec<_> = report
        .to_string()
        .lines()
        .map(|line| safe(line).to_string())
        .collect();
    format!("{}\n", lines.join("\n"))
}
