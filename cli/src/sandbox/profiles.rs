//! `sandbox list`, `show`, `validate`.

use defenseclaw_sandbox::profile::Profiles;
use serde_json::json;

use defenseclaw_run::launch::FOLDER;

use super::{profiles, refused};
use crate::args::sandbox::{ListProfilesOptions, ShowProfileOptions, ValidateProfilesOptions};
use crate::{Answer, CliError, Context};

/// The default folder of the operator's policies, where none is configured.
const POLICIES: &str = "/etc/defenseclaw/policies";

pub(super) fn list(options: &ListProfilesOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let profiles = profiles(&context.settings)?;
    let names: Vec<String> = profiles.names().map(str::to_owned).collect();
    let widest = names.iter().map(String::len).max().unwrap_or_default();
    for name in names {
        let profile = profiles.get(&name).map_err(refused)?;
        if profile.is_abstract {
            continue;
        }
        if options.json {
            let line =
                json!({"name": profile.name, "summary": profile.summary, "requires": profile.requires});
            writeln!(context.out, "{line}")?;
        } else {
            writeln!(context.out, "{name:<widest$}  {}", profile.summary)?;
        }
    }
    Ok(Answer::Yes)
}

pub(super) fn show(options: &ShowProfileOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let profile = profiles(&context.settings)?.get(&options.name).map_err(refused)?;
    let text = serde_json::to_string_pretty(&profile).map_err(std::io::Error::from)?;
    writeln!(context.out, "{text}")?;
    Ok(Answer::Yes)
}

pub(super) fn validate(
    options: &ValidateProfilesOptions,
    context: &mut Context<'_>,
) -> Result<Answer, CliError> {
    let folder = options.folder.clone().unwrap_or_else(|| {
        let policies = context.settings.policies.clone();
        policies.unwrap_or_else(|| POLICIES.into()).join(FOLDER)
    });
    let profiles = Profiles::with_folder(&folder).map_err(refused)?;
    let mut wrong = Vec::new();
    let mut right = 0;
    for name in profiles.names() {
        match profiles.get(name) {
            Ok(_) => right += 1,
            Err(error) => wrong.push(error.to_string()),
        }
    }
    if !wrong.is_empty() {
        return Err(CliError::Usage(wrong.join("\n")));
    }
    writeln!(
        context.out,
        "{right} profiles are valid, those that come with the program and those in {}",
        folder.display()
    )?;
    Ok(Answer::Yes)
}
