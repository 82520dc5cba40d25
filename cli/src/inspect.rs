//! `inspect --jsonl`: what the rules say, line by line, without any daemon.

use defenseclaw_inspect::{Inspector, Rules, RulesError, lines};

use crate::args::decide::{InspectOptions, RuleChoice};
use crate::{Answer, CliError, Context};
use defenseclaw_run::settings::Settings;

/// Answers standard input on standard output.
pub fn run(options: &InspectOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let inspector = Inspector::new(load(&options.rules, &context.settings)?);
    lines::run(&inspector, std::io::stdin().lock(), context.out)?;
    Ok(Answer::Yes)
}

/// The rules that the options and the configuration name.
pub fn load(choice: &RuleChoice, settings: &Settings) -> Result<Rules, CliError> {
    let folder = match (&choice.policies, choice.built_in) {
        (Some(folder), _) => Some(folder.as_path()),
        (None, true) => None,
        (None, false) => settings.policies.as_deref(),
    };
    Rules::load(folder).map_err(refused)
}

/// Rules that cannot be read are a matter of usage; those that are wrong are refused.
pub fn refused(error: RulesError) -> CliError {
    match error {
        RulesError::Folder { .. } => CliError::Usage(error.to_string()),
        error => CliError::Refused(error.to_string()),
    }
}
