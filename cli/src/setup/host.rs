//! What belongs to the host: the connector's mode in the configuration, and the hook client's own settings.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use defenseclaw_harness::install::edit::{self, Edit, Existing, Format, Ours};
use defenseclaw_harness::install::{InstallError, Store};
use defenseclaw_model::config::{Config, FailMode, HOOK_CONF, SandboxDefault};
use defenseclaw_model::decision::Mode;

use super::site::Target;
use crate::CliError;
use defenseclaw_run::settings::Settings;

/// Begins a `hook.conf` that set-up wrote.
const HEAD: &str = "# Written by `defenseclaw-cli setup`: the hook client takes its settings from here and not from an agent's\n\
                    # environment. Keys: socket, fail (open or closed), deadline_ms.\n";

/// Writes what `connectors.NAME` is to say of mode and sandbox into the configuration file. Gives notes for a person.
pub(super) fn write_connector(
    settings: &Settings,
    connector: &str,
    mode: Option<Mode>,
    sandbox: Option<&SandboxDefault>,
) -> Result<Vec<String>, CliError> {
    let own = settings.config.connectors.get(connector);
    let mode = mode.filter(|mode| own.and_then(|own| own.mode) != Some(*mode));
    let sandbox = sandbox.filter(|sandbox| own.and_then(|own| own.sandbox.as_ref()) != Some(sandbox));
    let values = [
        ("mode", mode.map(Mode::as_str)),
        ("sandbox", sandbox.map(SandboxDefault::as_str)),
    ];
    let set = |(key, value): (&str, Option<&str>)| {
        Some(Edit::Set {
            at: vec!["connectors".into(), connector.into(), key.into()],
            value: value?.into(),
            existing: Existing::Replace,
        })
    };
    let changes: Vec<Edit> = values.into_iter().filter_map(set).collect();
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let file = &settings.file;
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(failed("read", file, source)),
    };
    let refused = |source| InstallError::Edit {
        path: file.clone(),
        source,
    };
    let (new, _) = edit::apply(&text, Format::Yaml, &changes, Ours { connector }).map_err(refused)?;
    // Read as the gateway will read it, before it is there to be read.
    Config::from_yaml(file, &new)?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(|source| failed("created", folder, source))?;
    }
    write(file, &new)?;
    let now: Vec<String> = values
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key} {}", value?)))
        .collect();
    Ok(vec![format!(
        "{connector} is in {} by {}; restart the gateway for that (systemctl restart defenseclaw-gateway)",
        now.join(" and "),
        file.display()
    )])
}

/// Writes the hook client's settings where only root can change them. Gives notes for a person.
pub(super) fn write_hook_settings(target: &Target, settings: &Settings) -> Result<Vec<String>, CliError> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Vec::new());
    }
    let file = file(&target.site.root);
    if settings.socket_from_environment && target.site.root == Path::new("/") {
        return Ok(vec![format!(
            "{} was not written: DEFENSECLAW_SOCKET names one of several gateways, and the file is the host's",
            file.display()
        )]);
    }
    let fail = fail_mode(&settings.config);
    let wanted = [
        ("socket", settings.socket.display().to_string()),
        ("fail", fail.to_owned()),
    ];
    let old = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => HEAD.to_owned(),
        Err(source) => return Err(failed("read", &file, source)),
    };
    let new = with_values(&old, &wanted);
    if file.exists() && new == old {
        return Ok(Vec::new());
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(|source| failed("created", folder, source))?;
    }
    write(&file, &new)?;
    Ok(vec![format!(
        "{}: hooks ask {} and {} a call when it cannot be asked",
        file.display(),
        settings.socket.display(),
        if fail == "closed" { "refuse" } else { "let pass" }
    )])
}

/// Removes the hook client's settings with the last installation, if they are still as set-up wrote them.
pub(super) fn withdraw_hook_settings(target: &Target, settings: &Settings) -> Result<Vec<String>, CliError> {
    let file = file(&target.site.root);
    let left = Store::new(&target.site.state).load()?.installed.len();
    let wanted = [
        ("socket", settings.socket.display().to_string()),
        ("fail", fail_mode(&settings.config).to_owned()),
    ];
    let ours = with_values(HEAD, &wanted);
    if left > 0
        || !nix::unistd::geteuid().is_root()
        || std::fs::read_to_string(&file).ok().as_deref() != Some(&ours)
    {
        return Ok(Vec::new());
    }
    std::fs::remove_file(&file).map_err(|source| failed("removed", &file, source))?;
    Ok(vec![format!(
        "{} is removed too: no hook is left",
        file.display()
    )])
}

pub(crate) fn file(root: &Path) -> PathBuf {
    root.join(HOOK_CONF.trim_start_matches('/'))
}

/// What the hook client says when the gateway cannot be asked. A host that only observes refuses nothing.
pub(crate) fn fail_mode(config: &Config) -> &'static str {
    let enforces = config.mode.enforces()
        || config
            .connectors
            .values()
            .any(|own| own.mode.is_some_and(Mode::enforces));
    match config.fail_mode {
        FailMode::Closed if enforces => "closed",
        _ => "open",
    }
}

/// The text with those `key = value` lines, in place of the ones with the same keys or at the end.
fn with_values(text: &str, values: &[(&str, String)]) -> String {
    let key_of = |line: &str| line.split_once('=').map(|(key, _)| key.trim().to_owned());
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (key, value) in values {
        let new = format!("{key} = {value}");
        match lines
            .iter_mut()
            .find(|line| key_of(line).as_deref() == Some(*key))
        {
            Some(line) => *line = new,
            None => lines.push(new),
        }
    }
    lines.join("\n") + "\n"
}

/// A new file in place of the old one, so that no reader sees half of it.
fn write(file: &Path, text: &str) -> Result<(), CliError> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let new = file.with_file_name(format!(".{name}.{}", std::process::id()));
    let outcome = (|| {
        let mut opened = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&new)?;
        opened.write_all(text.as_bytes())?;
        if let Ok(meta) = file.metadata() {
            opened.set_permissions(meta.permissions())?;
        }
        opened.sync_all()?;
        std::fs::rename(&new, file)
    })();
    outcome.map_err(|source| {
        let _ = std::fs::remove_file(&new);
        failed("written", file, source)
    })
}

fn failed(what: &'static str, path: &Path, source: std::io::Error) -> CliError {
    InstallError::File {
        what,
        path: path.to_owned(),
        source,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_lines_of_the_hook_settings_stay() {
        let text = "# mine\ndeadline_ms = 500\nfail=closed\n";
        let new = with_values(text, &[("socket", "/s".into()), ("fail", "open".into())]);
        assert_eq!(new, "# mine\ndeadline_ms = 500\nfail = open\nsocket = /s\n");
        assert_eq!(
            with_values(&new, &[("socket", "/s".into()), ("fail", "open".into())]),
            new
        );
    }

    #[test]
    fn a_host_that_only_observes_does_not_refuse() {
        let config = |text: &str| Config::from_yaml(Path::new("c"), text).unwrap();
        assert_eq!(fail_mode(&config("")), "open");
        assert_eq!(fail_mode(&config("mode: action\n")), "closed");
        assert_eq!(fail_mode(&config("mode: action\nfail_mode: open\n")), "open");
        assert_eq!(
            fail_mode(&config("connectors: { codex: { mode: hitl } }\n")),
            "closed"
        );
    }
}
