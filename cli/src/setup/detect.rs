//! `setup --detect`: which harnesses are on this host, and the exact command that sets each up. Nothing is changed.

use std::io::{self, Write};
use std::path::PathBuf;

use defenseclaw_harness::install::detect::{Detected, detect};
use defenseclaw_harness::install::{InstallError, Manifest, Scope, Spec, Store, spec};
use serde::{Deserialize, Serialize};

use super::people::{self, Person};
use super::site::Target;
use crate::args::SetupOptions;
use crate::text::safe;
use crate::view::{Ink, View};
use crate::{Answer, CliError, Context, json};

/// One harness, as it is listed.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    /// Whose, where everybody's are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    connector: String,
    title: String,
    here: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    program: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    traces: Vec<PathBuf>,
    /// Whose hooks are installed.
    installed: Vec<String>,
    /// Whether it has a place for the whole host.
    system: bool,
    /// What sets it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<String>,
}

/// Lists harnesses: as root everybody's, else one's own. The answer is "no" if there are none.
pub(super) fn run(options: &SetupOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let everybody = nix::unistd::geteuid().is_root() && options.whose.user.is_none() && !options.only_own;
    let target = Target::for_setup(options, &context.settings, "")?;
    let found = if everybody {
        let manifest = Store::new(&target.site.state).load()?;
        let mut found = Vec::new();
        for person in people::all(&options.whose.root)? {
            found.extend(of_person(&person, &manifest, options, context)?);
        }
        found
    } else {
        own(&target, options)?
    };
    if options.json {
        for listed in &found {
            json::line(context.out, listed)?;
        }
    } else {
        tell(&found, &context.view, context.out)?;
    }
    let here = found.iter().any(|listed| listed.here);
    Ok(if here { Answer::Yes } else { Answer::No })
}

/// Those of the user that `target` is for.
fn own(target: &Target, options: &SetupOptions) -> Result<Vec<Listed>, CliError> {
    let manifest = Store::new(&target.site.state).load()?;
    let mut site = target.site.clone();
    // A program that lies in a home is not started only because root looked.
    site.privileged |= options.only_own;
    let sudo = if site.state.starts_with(&site.user.home) {
        "sudo "
    } else {
        ""
    };
    let user = options
        .whose
        .user
        .as_ref()
        .map(|name| format!(" --user {name}"))
        .unwrap_or_default();
    let listed = |spec: &Spec| {
        let command = format!("{sudo}defenseclaw-cli setup {}{user}", spec.connector);
        Listed::new(spec, detect(&site, spec), &manifest, &site.user.home, command)
    };
    Ok(spec::all()
        .map_err(InstallError::from)?
        .iter()
        .map(listed)
        .collect())
}

impl Listed {
    fn new(
        spec: &Spec,
        detected: Detected,
        manifest: &Manifest,
        home: &std::path::Path,
        command: String,
    ) -> Self {
        let mut listed = Self {
            user: None,
            connector: spec.connector.clone(),
            title: spec.title.clone(),
            here: detected.is_here(),
            program: detected.program,
            version: detected.version,
            traces: detected.traces,
            installed: Vec::new(),
            system: spec.system.is_some(),
            command: None,
        };
        listed.note_installed(manifest, home);
        listed.offer(command);
        listed
    }

    fn note_installed(&mut self, manifest: &Manifest, home: &std::path::Path) {
        let mine = manifest.installed.iter();
        let mine = mine.filter(|installed| installed.is(&self.connector, installed.scope, home));
        for scope in mine.map(|installed| installed.scope.as_str().to_owned()) {
            if !self.installed.contains(&scope) {
                self.installed.push(scope);
            }
        }
    }

    /// What is here and not set up can be.
    fn offer(&mut self, command: String) {
        self.command = (self.here && self.installed.is_empty()).then_some(command);
    }
}

/// Those of a person: looked for with that person's rights, in a process of its own.
fn of_person(
    person: &Person,
    manifest: &Manifest,
    options: &SetupOptions,
    context: &mut Context<'_>,
) -> Result<Vec<Listed>, CliError> {
    let arguments = ["setup", "--detect", "--only-own", "--json"];
    let said = people::as_person(person, &options.whose.root, &arguments);
    let (out, trouble) = match said {
        Ok(said) if matches!(said.status, Some(0 | 1)) => (said.out, None),
        Ok(said) => (said.out, Some(said.notes)),
        Err(error) => (String::new(), Some(error.to_string())),
    };
    if let Some(trouble) = trouble {
        let trouble = trouble.lines().next().unwrap_or("it ended without a word");
        writeln!(
            context.notes,
            "the home of {} could not be looked at: {}",
            person.name,
            safe(trouble)
        )?;
    }
    // Whoever owns the home may have had a hand in this: only known names are taken, and what else it says is only shown.
    let mut found: Vec<Listed> = out
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    found.retain(|listed| spec::named(&listed.connector).is_ok_and(|spec| spec.is_some()));
    for listed in &mut found {
        listed.installed.retain(|scope| scope == Scope::User.as_str());
        listed.note_installed(manifest, &person.home);
        listed.user = Some(person.name.clone());
        listed.offer(format!(
            "sudo defenseclaw-cli setup {} --user {}",
            listed.connector, person.name
        ));
    }
    Ok(found)
}

fn tell(found: &[Listed], view: &View, out: &mut dyn Write) -> io::Result<()> {
    let mut whose = None;
    let mut everywhere: Vec<&str> = Vec::new();
    for listed in found {
        if !listed.here && listed.installed.is_empty() {
            continue;
        }
        if listed.user.is_some() && whose != Some(&listed.user) {
            whose = Some(&listed.user);
            writeln!(
                out,
                "{}",
                view.paint(Ink::Strong, listed.user.as_deref().unwrap_or_default())
            )?;
        }
        line(listed, view, out)?;
        if listed.command.is_some() && listed.system && !everywhere.contains(&listed.connector.as_str()) {
            everywhere.push(&listed.connector);
        }
    }
    if !found.iter().any(|listed| listed.here) {
        return writeln!(out, "none of the known harnesses is here");
    }
    if !everywhere.is_empty() && whose.is_some() {
        writeln!(
            out,
            "for everybody on this host, out of users' reach: sudo defenseclaw-cli setup CONNECTOR --system ({})",
            everywhere.join(", ")
        )?;
    }
    Ok(())
}

fn line(listed: &Listed, view: &View, out: &mut dyn Write) -> io::Result<()> {
    let hooks = if listed.installed.is_empty() {
        view.paint(Ink::Warn, "not set up")
    } else {
        view.paint(Ink::Good, &format!("set up ({})", listed.installed.join(", ")))
    };
    let found = match (&listed.program, &listed.version) {
        (Some(program), Some(version)) => format!("{}, {version}", program.display()),
        (Some(program), None) => program.display().to_string(),
        (None, _) => "no program on the path, but it was used here".to_owned(),
    };
    writeln!(out, "{:<12} {hooks}  {}", listed.connector, safe(&found))?;
    if let Some(command) = &listed.command {
        writeln!(out, "{:<12} {}", "", safe(command))?;
    }
    Ok(())
}
