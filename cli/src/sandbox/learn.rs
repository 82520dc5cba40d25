//! `sandbox learn` and `sandbox diff`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use defenseclaw_run::launch::project;
use defenseclaw_sandbox::launch;
use defenseclaw_sandbox::learn::{self, Mode, Places};
use defenseclaw_sandbox::plan::{self, PlanError, Setting};
use defenseclaw_sandbox::profile::{NetworkMode, Profile, Profiles};
use serde_json::json;

use super::{profiles, refused};
use crate::args::sandbox::{DiffOptions, LearnOptions};
use crate::{Answer, CliError, Context};

/// What a learned profile adds to.
const GROUND: &str = "system";

pub(super) fn learn(options: &LearnOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    if options.name.is_empty()
        || options
            .name
            .contains(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
    {
        return Err(CliError::Usage(format!(
            "{:?} is no profile name: use letters, digits and hyphens",
            options.name
        )));
    }
    let ground = profiles(&context.settings)?.get(GROUND).map_err(refused)?;
    let home = launch::home();
    let project = project(options.project.as_ref(), home.as_deref())?;
    let setting = Setting {
        project,
        home,
        gateway: None,
    };
    let places = places(&ground, &setting).map_err(|error| CliError::Usage(error.to_string()))?;
    let (record, status) =
        learn::observe(&options.command).map_err(|error| CliError::Refused(error.to_string()))?;
    let learned = learn::synthesise(&record, &places, &options.name, GROUND);
    let profile = learned
        .to_yaml()
        .map_err(|error| CliError::Refused(error.to_string()))?;
    let text = format!("version: 1\n{profile}");
    match &options.output {
        Some(file) => {
            std::fs::write(file, text)
                .map_err(|error| CliError::Usage(format!("{} cannot be written: {error}", file.display())))?;
            writeln!(
                context.notes,
                "The profile {} is in {}.",
                options.name,
                file.display()
            )?;
        }
        None => context.out.write_all(text.as_bytes())?,
    }
    if status != 0 {
        writeln!(
            context.notes,
            "The command ended with status {status}: what it would have used otherwise is not granted."
        )?;
        return Ok(Answer::No);
    }
    Ok(Answer::Yes)
}

/// Where things are, for whoever makes a profile of what was used.
fn places(ground: &Profile, setting: &Setting) -> Result<Places, PlanError> {
    let canonical = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (system, sensitive) = plan::named(ground, setting)?;
    Ok(Places {
        project: canonical(&setting.project),
        home: setting.home.as_deref().map(canonical).unwrap_or_default(),
        tmp: plan::TMP.iter().map(PathBuf::from).collect(),
        system,
        sensitive,
    })
}

pub(super) fn diff(options: &DiffOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let before = named(&options.before, context)?;
    let after = named(&options.after, context)?;
    let difference = learn::diff(&before.0, &after.0);
    let (mut allows, mut refuses) = (Vec::new(), Vec::new());
    for (list, (less, more)) in before.1.iter().zip(&after.1).map(|(b, a)| (b.0, (&b.1, &a.1))) {
        let closes = matches!(list, "close" | "seal" | "drop the variable");
        let gone = less.difference(more).map(|entry| format!("{list} {entry}"));
        let new = more.difference(less).map(|entry| format!("{list} {entry}"));
        if closes {
            allows.extend(gone.map(|entry| format!("no longer {entry}")));
            refuses.extend(new);
        } else {
            refuses.extend(gone);
            allows.extend(new);
        }
    }
    if options.json {
        let line = json!({
            "allows": difference.allows.iter().map(ToString::to_string).chain(allows).collect::<Vec<_>>(),
            "refuses": difference.refuses.iter().map(ToString::to_string).chain(refuses).collect::<Vec<_>>(),
        });
        let same = line["allows"] == json!([]) && line["refuses"] == json!([]);
        writeln!(context.out, "{line}")?;
        return Ok(if same { Answer::Yes } else { Answer::No });
    }
    let same = difference == learn::Difference::default() && allows.is_empty() && refuses.is_empty();
    if same {
        writeln!(context.out, "no difference")?;
        return Ok(Answer::Yes);
    }
    for line in difference.allows.iter().map(ToString::to_string).chain(allows) {
        writeln!(context.out, "+ {line}")?;
    }
    for line in difference.refuses.iter().map(ToString::to_string).chain(refuses) {
        writeln!(context.out, "- {line}")?;
    }
    Ok(Answer::No)
}

/// What else a profile says, by the verb that stands before each entry.
type Rest = [(&'static str, BTreeSet<String>); 6];

/// A profile by its name or file, whole: its grants, and what else it says.
fn named(name: &str, context: &Context<'_>) -> Result<(learn::Profile, Rest), CliError> {
    let mut known = profiles(&context.settings)?;
    let file = Path::new(name);
    let profile = if name.contains('/') || file.extension().is_some_and(|extension| extension == "yaml") {
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let stem = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        if !file.is_file() {
            return Err(CliError::Usage(format!("there is no file {name}")));
        }
        Profiles::add(&mut known, parent.unwrap_or(Path::new("."))).map_err(refused)?;
        known.get(stem)
    } else {
        known.get(name)
    };
    let profile = profile.map_err(refused)?;
    let set = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
    let one = |value: serde_json::Result<serde_json::Value>| {
        BTreeSet::from([value
            .ok()
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default()])
    };
    let files = &profile.files;
    let rest = [
        ("use the device", set(&files.devices)),
        ("close", set(&files.closed)),
        ("seal", set(&files.sealed)),
        ("drop the variable", set(&profile.environment.drop)),
        ("Unix sockets:", one(serde_json::to_value(profile.unix_sockets))),
        ("temporary folders:", one(serde_json::to_value(profile.tmp))),
    ];
    let grants = learn::Profile {
        name: profile.name.clone(),
        summary: profile.summary.clone(),
        extends: String::new(),
        files: learn::Files {
            read: set(&files.read),
            write: set(&files.write),
        },
        network: learn::Network {
            mode: match profile.network.mode {
                NetworkMode::Full => Mode::Full,
                NetworkMode::None => Mode::None,
                NetworkMode::Allowlist => Mode::Allowlist,
            },
            hosts: set(&profile.network.hosts),
        },
    };
    Ok((grants, rest))
}
