//! `inspect --jsonl`: what the rules say, line by line, without any daemon.

use std::fs::File;
use std::io::{ErrorKind, Read};

use defenseclaw_artifact::{MAX_BUNDLE, TrustedKeys, open_bundle};
use defenseclaw_inspect::{Inspector, Rules, RulesError, lines};
use defenseclaw_policy::BundleFiles;

use crate::args::decide::{InspectOptions, RuleChoice};
use crate::{Answer, CliError, Context};
use defenseclaw_run::settings::Settings;

/// The signed bundle in force, in the gateway's state folder.
const BUNDLE: &str = "bundle-current";

/// Answers standard input on standard output.
pub fn run(options: &InspectOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let inspector = Inspector::new(load(&options.rules, &context.settings)?);
    lines::run(&inspector, std::io::stdin().lock(), context.out)?;
    Ok(Answer::Yes)
}

/// The rules that the options and the configuration name.
pub fn load(choice: &RuleChoice, settings: &Settings) -> Result<Rules, CliError> {
    match (&choice.policies, choice.built_in) {
        (Some(folder), _) => Rules::load(Some(folder)).map_err(refused),
        (None, true) => Rules::load(None).map_err(refused),
        (None, false) => {
            let bundle = bundle(settings)?;
            Rules::load_layers(bundle.as_ref(), settings.policies.as_deref(), &[]).map_err(refused)
        }
    }
}

/// The signed bundle that the gateway has in force, where one is configured.
pub fn bundle(settings: &Settings) -> Result<Option<BundleFiles>, CliError> {
    let Some(config) = &settings.config.bundle else {
        return Ok(None);
    };
    let file = settings.config.state.join(BUNDLE);
    let wrong =
        |why: &dyn std::fmt::Display| CliError::Usage(format!("the policy bundle {}: {why}", file.display()));
    let mut bytes = Vec::new();
    match File::open(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(CliError::NotPermitted {
                what: format!(
                    "the policy bundle in force, {}, cannot be read: {error}",
                    file.display()
                ),
                remedy: "Run as root, or name other rules with --policies DIR or --built-in.".to_owned(),
            });
        }
        opened => opened.and_then(|file| file.take(MAX_BUNDLE + 1).read_to_end(&mut bytes)),
    }
    .map_err(|error| wrong(&error))?;
    let mut keys = TrustedKeys::default();
    for (id, key) in &config.keys {
        keys.add(id, key).map_err(|why| wrong(&why))?;
    }
    let opened = open_bundle(&bytes, &keys).map_err(|why| wrong(&why))?;
    if opened.terms.group != config.group {
        return Ok(None);
    }
    BundleFiles::read(opened.archive)
        .map(Some)
        .map_err(|why| wrong(&why))
}

/// Rules that cannot be read are a matter of usage; those that are wrong are refused.
pub fn refused(error: RulesError) -> CliError {
    match error {
        RulesError::Folder { .. } => CliError::Usage(error.to_string()),
        error => CliError::Refused(error.to_string()),
    }
}
