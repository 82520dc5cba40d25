//! `doctor`: whether the installation holds, by looking and by trying.
//!
//! | Module | Holds |
//! |---|---|
//! | [`host`] | what the checks see of the host, so that a test can be any host |
//! | [`commands`] | programs that only tell something, bounded |
//! | [`kernel`] | what the kernel has |
//! | [`config`] | configuration, mode, fail mode, the hook client's settings |
//! | [`daemons`] | gateway, agent, tiers, install gate, services |
//! | [`versions`] | whether all programs are of one build |
//! | [`files`] | who could change programs, configuration, state, sockets |
//! | [`upkeep`] | clock, disk, where records go |
//! | [`hooks`] | installed hooks, and a call that must be denied through each |
//! | [`leftover`] | hooks that no manifest knows |
//! | [`show`] | the columns |
//! | [`bundle`] | what a person sends to whoever helps |
//!
//! Each check is a function over [`host::Host`]. Nothing of a user's is parsed here that set-up does not parse already.

mod bundle;
mod commands;
mod config;
mod daemons;
mod files;
mod hooks;
mod host;
mod kernel;
mod leftover;
mod show;
#[cfg(test)]
mod testing;
mod upkeep;
mod versions;

use std::path::{Path, PathBuf};

use defenseclaw_harness::install::Installed;
use defenseclaw_model::api::Status;
use defenseclaw_run::settings::Settings;
use serde::Serialize;

use crate::args::{Command, DoctorCommand, DoctorOptions};
use crate::setup::site::Target;
use crate::{Answer, CliError, Context, json, status};
use host::Host;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Ok,
    /// As it may be; worth knowing, or not to be seen by who asks.
    Note,
    /// It works, but less is protected than could be.
    Warning,
    /// It does not hold.
    Problem,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked: a stable word.
    pub check: &'static str,
    /// On what: a connector, a file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// How it came out.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Check {
    fn ok(check: &'static str, about: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            check,
            about: about.into(),
            state: State::Ok,
            detail: detail.into(),
            remedy: String::new(),
        }
    }

    fn with(self, state: State, remedy: impl Into<String>) -> Self {
        Self {
            state,
            remedy: remedy.into(),
            ..self
        }
    }

    fn note(self, remedy: impl Into<String>) -> Self {
        self.with(State::Note, remedy)
    }

    fn warn(self, remedy: impl Into<String>) -> Self {
        self.with(State::Warning, remedy)
    }

    fn fail(self, remedy: impl Into<String>) -> Self {
        self.with(State::Problem, remedy)
    }
}

/// What a command works with. `doctor` looks at a host whose configuration cannot be read, too: what is wrong with it is a finding.
pub(crate) fn settings(command: &Command) -> Result<Settings, CliError> {
    match (Settings::load(), command) {
        (Err(_), Command::Doctor(_)) => Ok(Settings::without_file()),
        (loaded, _) => Ok(loaded?),
    }
}

/// Makes every check and prints it as it comes out, or packs what they found.
pub fn run(options: &DoctorOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    if let Some(DoctorCommand::Bundle(options)) = &options.command {
        return bundle::run(options, context);
    }
    let scene = Scene::of(&options.root, !options.no_canary, &context.settings);
    let mut counts = show::Counts::default();
    if !options.json {
        show::heading(&context.view, context.out)?;
    }
    examine(&scene, &mut |check| {
        counts.add(check.state);
        if options.json {
            json::line(context.out, &check)?;
        } else {
            show::line(&check, &context.view, context.out)?;
        }
        // A canary may take seconds: what is known is shown.
        Ok(context.out.flush()?)
    })?;
    if !options.json {
        show::summary(&counts, &context.view, context.out)?;
    }
    Ok(if counts.problems() == 0 {
        Answer::Yes
    } else {
        Answer::No
    })
}

/// What is looked at.
struct Scene<'a> {
    host: Host,
    settings: &'a Settings,
    /// Why the configuration could not be read.
    fault: Option<CliError>,
    /// Whether installed hooks are run.
    try_hooks: bool,
}

impl<'a> Scene<'a> {
    fn of(root: &Path, try_hooks: bool, settings: &'a Settings) -> Self {
        Self {
            host: Host::live(root),
            settings,
            fault: Settings::load().err().map(CliError::from),
            try_hooks,
        }
    }
}

/// Where checks go.
type Say<'a> = &'a mut dyn FnMut(Check) -> Result<(), CliError>;

/// Makes every check, in the order of what depends on what. Gives what the gateway said of itself.
fn examine(scene: &Scene<'_>, say: Say<'_>) -> Result<Option<Status>, CliError> {
    let (host, settings) = (&scene.host, scene.settings);
    let answer = status::fetch(&settings.socket);
    let status = answer.as_ref().ok();
    let mut all = |checks: Vec<Check>| checks.into_iter().try_for_each(&mut *say);
    all(kernel::checks(host, status))?;
    all(config::checks(host, settings, scene.fault.as_ref()))?;
    all(match &answer {
        Ok(status) => daemons::answered(status, settings),
        Err(error) => vec![daemons::unreachable(error, settings)],
    })?;
    all(daemons::units(host))?;
    let target = Target::for_looking(&host.root, settings);
    let (found, installed) = match &target {
        Ok(target) => hooks::known(host, target, settings),
        Err(error) => (vec![nobody(error)], Vec::new()),
    };
    let clients = clients(&installed);
    all(versions::checks(host, status, settings, &clients))?;
    all(files::checks(host, settings))?;
    all(upkeep::checks(host, settings))?;
    all(found)?;
    all(clients.iter().map(|client| hooks::client(client)).collect())?;
    if let Ok(target) = &target {
        for one in &installed {
            let try_it = status.is_some() && scene.try_hooks;
            all(hooks::one(one, target, settings, try_it))?;
        }
        all(leftover::checks(host, target, &installed))?;
        all(hooks::not_set_up(&installed, target)?)?;
    }
    Ok(answer.ok())
}

fn nobody(error: &CliError) -> Check {
    let text = config::told(&error.to_string());
    Check::ok("hooks", "", format!("cannot be looked for: {text}"))
        .warn("Run it as a user with a home folder, or with HOME set")
}

/// The hook clients that harnesses run, each once.
fn clients(installed: &[Installed]) -> Vec<PathBuf> {
    let mut clients: Vec<_> = installed
        .iter()
        .map(|installed| installed.client.clone())
        .collect();
    clients.sort_unstable();
    clients.dedup();
    clients
}
