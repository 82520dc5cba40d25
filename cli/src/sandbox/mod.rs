//! `run`, and `sandbox list`, `show`, `validate`, `learn`, `diff`: commands in sandboxes.

mod learn;
mod people;
mod profiles;

use std::process::ExitCode;
use std::sync::Arc;

use defenseclaw_run::launch::failed;
use defenseclaw_sandbox::profile::{ProfileError, Profiles};

use crate::args::sandbox::{RunOptions, SandboxCommand};
use crate::{Answer, CliError, Context};
use defenseclaw_run::settings::Settings;
use people::ByApproval;

/// The profiles that `settings` name, over those that come with the program.
fn profiles(settings: &Settings) -> Result<Profiles, CliError> {
    defenseclaw_run::profiles(settings).map_err(refused)
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
    let mut prepared = match defenseclaw_run::prepare(options) {
        Ok(prepared) => prepared,
        Err(error) => return failed(&error).into(),
    };
    if options.supervise {
        let launch = &mut prepared.launch;
        let people = ByApproval::new(
            &prepared.settings.socket,
            &launch.profile.name,
            &launch.setting.project,
        );
        launch.people = Some(Arc::new(people));
    }
    prepared.start(options).into()
}
