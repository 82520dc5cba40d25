//! Checks of the installed hooks: their files, and a call that must be denied through each.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use defenseclaw_harness::install::canary::{self, Outcome};
use defenseclaw_harness::install::edit::Edit;
use defenseclaw_harness::install::manifest::{Installed, Stage};
use defenseclaw_harness::install::{Health, InstallError, Scope, Spec, Store, User, check, detect, spec};
use defenseclaw_model::decision::Mode;
use defenseclaw_model::ids::DOCTOR_SESSION;
use defenseclaw_model::sandbox::{LAUNCHER, SHELL, SandboxRoute};
use serde_json::Value;

use super::Check;
use super::host::Host;
use crate::setup::rooms;
use crate::setup::site::Target;
use crate::{CliError, time};
use defenseclaw_run::settings::Settings;

/// What the manifests tell: the one of who asks, and the host's where that is another.
pub(super) fn known(host: &Host, target: &Target, settings: &Settings) -> (Vec<Check>, Vec<Installed>) {
    let (mut checks, mut installed) = (Vec::new(), Vec::new());
    let mut folders = vec![&settings.config.state];
    if target.site.state != settings.config.state {
        folders.push(&target.site.state);
    }
    for folder in folders {
        match Store::new(folder).load() {
            Ok(manifest) => installed.extend(manifest.installed),
            Err(InstallError::File { source, path, .. }) if source.kind() == ErrorKind::PermissionDenied => {
                let detail = format!(
                    "{} cannot be read: hooks of the host are not looked at",
                    path.display()
                );
                checks.push(Check::ok("hooks", "", detail).note(host.as_root()));
            }
            // What a damaged one holds is nobody's to read here.
            Err(InstallError::Manifest { path, .. }) => checks.push(
                Check::ok(
                    "hooks",
                    "",
                    format!(
                        "{} is not understood: it is damaged, or of another version",
                        path.display()
                    ),
                )
                .fail(format!(
                    "Move it away and set up again; the backups beside it stay: sudo mv {0} {0}.damaged",
                    path.display()
                )),
            ),
            Err(error) => checks.push(Check::ok("hooks", "", error.to_string()).fail(format!(
                "sudo ls -l {}: find out who wrote it, then do what the line above says",
                folder.display()
            ))),
        }
    }
    if checks.is_empty() && installed.is_empty() {
        let none = Check::ok("hooks", "", "none is installed: no harness asks the gateway");
        checks
            .push(none.warn("See `defenseclaw-cli setup --detect`, then `defenseclaw-cli setup CONNECTOR`"));
    }
    (checks, installed)
}

/// A hook client that harnesses run.
pub(super) fn client(path: &Path) -> Check {
    let about = path.display().to_string();
    match path.metadata() {
        Err(error) => Check::ok("client", about, format!("cannot be started: {error}"))
            .fail("Install the package, or copy defenseclaw-hook there"),
        Ok(meta) if !meta.is_file() || meta.mode() & 0o111 == 0 => {
            Check::ok("client", about, "is no program that can be started").fail(format!(
                "sudo chmod 755 {}, or install the package anew",
                path.display()
            ))
        }
        Ok(meta) if meta.mode() & 0o002 != 0 => Check::ok("client", about, "can be changed by every user")
            .fail(format!("chmod 755 {}", path.display())),
        Ok(_) => Check::ok("client", about, "is there"),
    }
}

/// The checks of one installation.
pub(super) fn one(installed: &Installed, target: &Target, settings: &Settings, try_it: bool) -> Vec<Check> {
    let about = match installed.scope {
        Scope::System => format!("{} (system)", installed.connector),
        Scope::User => format!("{} ({})", installed.connector, installed.home.display()),
    };
    let again = format!(
        "Run `{}defenseclaw-cli setup {}{}` again",
        if installed.scope == Scope::System {
            "sudo "
        } else {
            ""
        },
        installed.connector,
        if installed.scope == Scope::System {
            " --system"
        } else {
            ""
        }
    );
    if installed.stage != Stage::Installed {
        let detail = "setting it up or taking it away was cut off";
        return vec![Check::ok("hook", about, detail).fail(again)];
    }
    let mut checks = Vec::new();
    let mut whole = true;
    for (file, health) in check(installed) {
        let (detail, healthy) = match health {
            Health::Whole => continue,
            Health::Altered(what) => (format!("{}: {what}", file.display()), false),
            Health::Missing(what) => (format!("{}: {what}", file.display()), false),
            Health::Unknown(what) => (format!("{}: {what}", file.display()), true),
        };
        whole = false;
        let found = Check::ok("hook", about.clone(), detail);
        checks.push(if healthy {
            found.warn("Run doctor as that user, or as root")
        } else {
            found.fail(format!(
                "{again}; `defenseclaw-cli audit query --kind finding` tells when it went"
            ))
        });
    }
    if whole {
        let files = installed
            .files
            .iter()
            .map(|file| file.planned.path.display().to_string());
        let detail = format!("in place in {}", files.collect::<Vec<_>>().join(", "));
        checks.push(Check::ok("hook", about.clone(), detail));
        checks.extend(elsewhere(installed, &about, target, &again));
        if try_it {
            checks.push(canary(installed, about.clone(), target, settings));
        }
        checks.extend(sandbox(installed, about, settings));
    }
    checks
}

/// A hook may still run a client that lies somewhere else than this tool's.
fn elsewhere(installed: &Installed, about: &str, target: &Target, again: &str) -> Option<Check> {
    let own = &target.site.client;
    let differs = installed.client != *own
        && own.is_file()
        && installed.client.canonicalize().ok() != own.canonicalize().ok();
    differs.then(|| {
        let detail = format!(
            "runs {}, and this tool's hook client is {}",
            installed.client.display(),
            own.display()
        );
        Check::ok("hook-client", about, detail)
            .note(format!("If it is meant to follow upgrades of this one: {again}"))
    })
}

/// Whether what the configuration says of its calls' sandbox can be carried out.
fn sandbox(installed: &Installed, about: String, settings: &Settings) -> Option<Check> {
    let connector = &installed.connector;
    let profile = settings.config.sandbox_of(connector)?;
    let routes = rooms::routes(connector);
    let mut edits = installed.files.iter().flat_map(|file| &file.planned.edits);
    let prefixed = edits
        .any(|edit| matches!(edit, Edit::Set { value: Value::String(text), .. } if text.ends_with(SHELL)));
    let open = |route: &&SandboxRoute| **route != SandboxRoute::ShellPrefix || prefixed;
    let way = routes.iter().find(open).copied().unwrap_or(SandboxRoute::Session);
    let said = |detail: String| Some(Check::ok("sandbox", about.clone(), detail));
    let found = said(format!("commands run in {profile}, {}", way.words()));
    if way == SandboxRoute::Session {
        return found.map(|check| {
            check.fail(format!(
                "Take `connectors.{connector}.sandbox` out of the configuration"
            ))
        });
    }
    let missing = [LAUNCHER, SHELL].map(|name| installed.client.with_file_name(name));
    if let Some(missing) = missing.iter().find(|path| !path.is_file()) {
        let detail = format!(
            "commands are to run in {profile}, and {} is not there",
            missing.display()
        );
        return said(detail).map(|check| check.fail("Install all programs of one build side by side"));
    }
    if !settings.config.mode_of(connector).enforces() {
        return found.map(|check| {
            check.warn("Not in force: the mode observes. `setup CONNECTOR --mode action` changes that")
        });
    }
    if routes.first() != Some(&way) {
        let again =
            format!("Run `defenseclaw-cli setup {connector}` again: then commands stay as they are written");
        return found.map(|check| check.warn(again));
    }
    found
}

/// Runs the installed hook with a call that the policy always denies.
fn canary(installed: &Installed, about: String, target: &Target, settings: &Settings) -> Check {
    let untried = |detail: String| Check::ok("canary", about.clone(), detail);
    let Ok(Some(spec)) = spec::named(&installed.connector) else {
        return untried("this version knows no such harness".into()).fail("Take the hook away by hand");
    };
    let user = User {
        uid: installed.uid,
        gid: installed.gid,
        home: installed.home.clone(),
    };
    // A user's harness runs its hook as that user; so must this.
    let other = nix::unistd::geteuid().is_root() && user.uid != 0;
    let session = format!("{DOCTOR_SESSION}{}-{}", std::process::id(), time::now_ns());
    let (cwd, user) = (Path::new("/"), other.then_some(&user));
    let outcome = match (&spec.canary.plugin, command_line(installed, spec)) {
        (Some(probe), _) => {
            let (Some(node), Some(file)) = (node(target), plugin_file(installed, &probe.file)) else {
                return untried("it is a plugin, and there is no Node on the path to try it with".into())
                    .warn(format!(
                        "Have the agent run {}: it must be refused",
                        canary::COMMAND
                    ));
            };
            canary::run_plugin(&spec.canary, probe, &node, &file, &session, cwd, user)
        }
        (None, Some(line)) => canary::run(&spec.canary, &line, &session, cwd, user),
        (None, None) => {
            return untried("no hook for tool calls was installed".into()).fail("Set it up again");
        }
    };
    let mode = settings.config.mode_of(&installed.connector);
    judge(outcome, about, mode)
}

fn judge(outcome: Outcome, about: String, mode: Mode) -> Check {
    let said = |detail: String| Check::ok("canary", about.clone(), detail);
    let word = canary::COMMAND;
    match outcome {
        Outcome::Blocked { by_policy: true, .. } => said(format!("{word} was denied in the harness's own words")),
        Outcome::Blocked { reply, .. } => {
            let reply = beginning(&reply);
            said(format!("the call was refused, but not by the policy: {reply}"))
                .fail("See the gateway's log, and whether the hook's socket is the gateway's")
        }
        Outcome::Passed { .. } if !mode.enforces() => {
            said("mode observe: nothing is blocked, so nothing is proven".into()).warn(
                "Once you trust the policy, run `defenseclaw-cli setup CONNECTOR --mode action` and restart the gateway",
            )
        }
        Outcome::Passed {
            exit,
            reply,
            complaint,
        } => {
            let end = exit.map_or("a signal".to_owned(), |status| status.to_string());
            let (reply, complaint) = (beginning(&reply), beginning(&complaint));
            said(format!(
                "{word} was NOT denied: the hook ended with {end}, said {reply:?} and {complaint:?}"
            ))
            .fail("Calls of this harness are not held: see the gateway's log, its mode and its policy")
        }
        Outcome::Failed(what) => {
            said(what).fail("Calls of this harness run unchecked: install the hook client anew")
        }
    }
}

fn beginning(text: &str) -> String {
    text.trim().chars().take(200).collect()
}

/// Node on the path. Root starts none that someone else put there.
fn node(target: &Target) -> Option<PathBuf> {
    let root = nix::unistd::geteuid().is_root();
    target
        .site
        .programs
        .iter()
        .map(|folder| folder.join("node"))
        .find(|path| {
            path.metadata()
                .is_ok_and(|meta| meta.is_file() && (!root || meta.uid() == 0))
        })
}

fn plugin_file(installed: &Installed, name: &str) -> Option<PathBuf> {
    let mut files = installed.files.iter().map(|file| file.planned.path.clone());
    files.find(|path| path.file_name().is_some_and(|file| file == name))
}

/// The hook's command line, from what was installed for the canary's event.
fn command_line(installed: &Installed, spec: &Spec) -> Option<String> {
    let edits = installed.files.iter().flat_map(|file| &file.planned.edits);
    let mut values = edits.filter_map(|edit| match edit {
        Edit::Append { at, value, .. } if at.contains(&spec.canary.event) => Some(value),
        _ => None,
    });
    values.find_map(|value| command_in(value, &installed.client))
}

fn command_in(value: &Value, client: &Path) -> Option<String> {
    match value {
        Value::String(text) => (text.split(' ').next().map(Path::new) == Some(client)).then(|| text.clone()),
        Value::Array(list) => list.iter().find_map(|value| command_in(value, client)),
        Value::Object(map) => map.values().find_map(|value| command_in(value, client)),
        _ => None,
    }
}

/// Harnesses of this user that nobody set up.
pub(super) fn not_set_up(installed: &[Installed], target: &Target) -> Result<Vec<Check>, CliError> {
    let all = spec::all().map_err(InstallError::from)?;
    let home = &target.site.user.home;
    let covered = |spec: &Spec| {
        let mut of_it = installed
            .iter()
            .filter(|installed| installed.connector == spec.connector);
        of_it.any(|installed| installed.scope == Scope::System || installed.home == *home)
    };
    Ok(all
        .iter()
        .filter(|spec| !covered(spec) && detect::look(&target.site, spec).is_here())
        .map(|spec| {
            Check::ok(
                "harness",
                spec.connector.clone(),
                format!("{} is here, and asks nobody", spec.title),
            )
            .warn(format!("Run `defenseclaw-cli setup {}`", spec.connector))
        })
        .collect())
}
