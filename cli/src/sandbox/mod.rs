//! `run`, and `sandbox list`, `show`, `validate`, `learn`, `diff`: commands in sandboxes.

mod learn;
mod people;
mod profiles;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use defenseclaw_sandbox::launch::{self, Launch, LaunchError};
use defenseclaw_sandbox::plan::{self, Setting};
use defenseclaw_sandbox::profile::{ProfileError, Profiles};
use defenseclaw_sandbox::report::Report;
use defenseclaw_sandbox::supervise::People;

use crate::args::sandbox::{RunOptions, SandboxCommand};
use crate::settings::Settings;
use crate::{Answer, CliError, Context, text};

/// The folder of sandbox profiles in a folder of policies.
const FOLDER: &str = "sandbox";
/// The launcher failed, or refused to start unprotected; as `env` and `timeout` say it.
const LAUNCHER_FAILED: u8 = 125;

/// The profiles that `settings` name, over those that come with the program.
fn profiles(settings: &Settings) -> Result<Profiles, CliError> {
    let folder = settings.policies.as_ref().map(|policies| policies.join(FOLDER));
    match folder {
        Some(folder) => Profiles::with_folder(&folder).map_err(refused),
        None => Ok(Profiles::embedded()),
    }
}

/// Refuses a profile that there is not, or that is only there to be extended.
pub(crate) fn known(settings: &Settings, name: &str) -> Result<(), CliError> {
    let profile = profiles(settings)?.get(name).map_err(refused)?;
    if profile.is_abstract {
        return Err(refused_use(name));
    }
    Ok(())
}

fn refused_use(name: &str) -> CliError {
    CliError::Usage(format!(
        "the profile {name} only serves to be extended; `defenseclaw-cli sandbox list` tells the others"
    ))
}

fn refused(error: ProfileError) -> CliError {
    CliError::Usage(error.to_string())
}

/// Runs `sandbox`.
pub fn run(command: &SandboxCommand, context: &mut Context<'_>) -> Result<Answer, CliError> {
    match command {
        SandboxCommand::List(options) => profiles::list(options, context),
        SandboxCommand::Show(options) => profiles::show(options, context),
        SandboxCommand::Validate(options) => profiles::validate(options, context),
        SandboxCommand::Learn(options) => learn::learn(options, context),
        SandboxCommand::Diff(options) => learn::diff(options, context),
    }
}

/// Becomes the command of `run`. Returns only if nothing was started, or nothing was to be.
pub fn launch(options: &RunOptions) -> ExitCode {
    let say = |message: &str| {
        let lines: Vec<_> = message.split('\n').map(text::safe).collect();
        // Nothing can be done where even standard error is gone.
        let _ = writeln!(std::io::stderr(), "defenseclaw-cli run: {}", lines.join("\n"));
    };
    let launch = match prepare(options) {
        Ok(launch) => launch,
        Err(error) => {
            say(&error.to_string());
            return ExitCode::from(LAUNCHER_FAILED);
        }
    };
    let outcome = if options.command.is_empty() {
        launch.enter().map(|report| {
            let _ = std::io::stdout().write_all(told(&report, options.json).as_bytes());
        })
    } else {
        let tell = |report: &Report| {
            if options.explain {
                let _ = std::io::stderr().write_all(told(report, options.json).as_bytes());
            } else if report.best_effort {
                for lacking in report.lacking() {
                    say(&format!("without {}: {}", lacking.family, lacking.detail));
                }
            }
        };
        launch.run(tell).map(|never| match never {})
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(LaunchError::exit_status(&error))
        }
    }
}

fn prepare(options: &RunOptions) -> Result<Launch, CliError> {
    let settings = Settings::load()?;
    let mut profiles = profiles(&settings)?;
    if let Some(folder) = &options.profiles {
        profiles.add(folder).map_err(refused)?;
    }
    let own = options
        .connector
        .as_deref()
        .and_then(|name| settings.config.sandbox_of(name));
    let name = own.unwrap_or(&options.profile);
    let profile = profiles.get(name).map_err(refused)?;
    let home = launch::home();
    let project = match &options.project {
        Some(project) => project.clone(),
        None => current_project(home.as_deref())?,
    };
    let people = options.supervise.then(|| {
        let people = people::ByApproval::new(&settings.socket, name, &project);
        Arc::new(people) as Arc<dyn People>
    });
    Ok(Launch {
        profile,
        people,
        setting: Setting {
            project,
            home,
            gateway: Some(settings.socket),
        },
        best_effort: options.best_effort,
        command: options.command.clone(),
    })
}

fn current_project(home: Option<&std::path::Path>) -> Result<PathBuf, CliError> {
    let folder = std::env::current_dir().map_err(|error| {
        CliError::Usage(format!(
            "the current folder cannot be used: {error}; name one with --project"
        ))
    })?;
    Ok(plan::project_of(&folder, home))
}

fn told(report: &Report, json: bool) -> String {
    if json {
        let line = serde_json::to_string(report).unwrap_or_default();
        return format!("{line}\n");
    }
    let lines: Vec<_> = report
        .to_string()
        .lines()
        .map(|line| text::safe(line).to_string())
        .collect();
    format!("{}\n", lines.join("\n"))
}
