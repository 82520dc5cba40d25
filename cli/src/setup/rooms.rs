//! In which sandbox a harness's calls can run, and how they get there.

use defenseclaw_harness::contract::Contracts;
use defenseclaw_model::config::SandboxDefault;
use defenseclaw_model::sandbox::SandboxRoute;

use crate::CliError;
use defenseclaw_run::settings::Settings;

/// The ways into a sandbox that a harness has, the best first.
pub(crate) fn routes(connector: &str) -> &'static [SandboxRoute] {
    let contract = Contracts::embedded().ok().and_then(|all| all.find(connector));
    contract.map_or(&[], |contract| contract.rooms().routes())
}

/// Refuses a sandbox that there is not, or that a harness's calls cannot be put into.
pub(super) fn check(settings: &Settings, connector: &str, sandbox: &SandboxDefault) -> Result<(), CliError> {
    let Some(profile) = sandbox.profile() else {
        return Ok(());
    };
    crate::sandbox::known(settings, profile)?;
    if routes(connector) == [SandboxRoute::Session] {
        return Err(CliError::Usage(format!(
            "{connector} cannot run its calls in sandboxes one by one. Start the whole of it in one: \
             `defenseclaw-cli run --profile {profile} -- …`"
        )));
    }
    Ok(())
}

/// What a person should know of the sandbox that a harness's calls run in.
pub(super) fn note(settings: &Settings, connector: &str) -> Option<String> {
    let profile = settings.config.sandbox_of(connector)?;
    let way = routes(connector).first()?.words();
    let mode = settings.config.mode_of(connector);
    let but = if mode.enforces() {
        String::new()
    } else {
        format!(
            ", once its mode is action or hitl: in {} nothing is changed",
            mode.as_str()
        )
    };
    Some(format!("its commands run in the sandbox {profile}, {way}{but}"))
}
