//! Checks of the host: configuration, gateway, the hook client and its settings.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use defenseclaw_model::api::Status;
use defenseclaw_model::wire::Tier;

use super::Check;
use crate::CliError;
use crate::setup::host;
use crate::setup::site::Target;
use crate::status;
use defenseclaw_run::settings::Settings;

/// The checks, and whether a gateway answers.
pub(super) fn host(target: &Target, settings: &Settings) -> (Vec<Check>, bool) {
    let mut checks = vec![configuration(settings)];
    let status = match status::fetch(&settings.socket) {
        Ok(status) => {
            checks.push(gateway(&status, settings));
            checks.push(ledger(&status));
            checks.push(agent(&status));
            checks.extend(gate(&status, settings));
            Some(status)
        }
        Err(error) => {
            checks.push(unreachable(&error, settings));
            None
        }
    };
    checks.push(hook_settings(&target.site.root, settings));
    (checks, status.is_some())
}

fn configuration(settings: &Settings) -> Check {
    let file = settings.file.display();
    if settings.file.exists() {
        Check::ok("configuration", "", format!("{file} is valid"))
    } else {
        Check::ok(
            "configuration",
            "",
            format!("there is no {file}: everything is as built in"),
        )
    }
}

fn gateway(status: &Status, settings: &Settings) -> Check {
    let detail = format!(
        "version {}, mode {}, policy {}",
        status.version,
        status.mode.as_str(),
        status.policy
    );
    let check = Check::ok("gateway", "", detail);
    if status.mode == settings.config.mode {
        return check;
    }
    let remedy = format!(
        "{} says mode {}: restart the gateway (systemctl restart defenseclaw-gateway)",
        settings.file.display(),
        settings.config.mode.as_str()
    );
    check.warn(remedy)
}

fn ledger(status: &Status) -> Check {
    match &status.ledger.error {
        None => Check::ok("ledger", "", format!("{}, {} records", status.ledger.path, status.ledger.records)),
        Some(error) => Check::ok("ledger", "", format!("{} cannot be written: {error}", status.ledger.path))
            .fail("Free space, or let the gateway's user write that folder; until then calls are answered by fail mode"),
    }
}

/// Without the agent only what harnesses tell is known.
fn agent(status: &Status) -> Check {
    let Some(agent) = &status.agent else {
        return Check::ok("agent", "", "none is connected: only hooks are in force")
            .warn("Start defenseclaw-agent, as root, to see what calls really do");
    };
    let blind: Vec<_> = agent
        .families
        .iter()
        .filter(|family| family.tier == Tier::None)
        .map(|family| format!("{} ({})", family.family, family.detail))
        .collect();
    let check = Check::ok("agent", "", format!("connected, kernel {}", agent.kernel));
    if blind.is_empty() {
        check
    } else {
        check.warn(format!("Not seen on this host: {}", blind.join(", ")))
    }
}

/// Whether anything is held until it was scanned.
fn gate(status: &Status, settings: &Settings) -> Option<Check> {
    let gate = status.gate.as_ref()?;
    let check = Check::ok(
        "gate",
        "",
        format!("{} in quarantine; {}", gate.quarantined, gate.detail),
    );
    Some(match gate.tier {
        Tier::None if !settings.config.gate.enabled => check,
        Tier::None => check.warn(
            "Start defenseclaw-agent, as root: without it skills, plugins and servers are used before anybody has scanned them",
        ),
        _ if gate.unscanned > 0 => check.warn(format!(
            "{} artifacts were answered by fail mode without a scan: `defenseclaw-cli gate status` names them",
            gate.unscanned
        )),
        _ => check,
    })
}

fn unreachable(error: &CliError, settings: &Settings) -> Check {
    let text = error.to_string();
    let (what, remedy) = text.split_once('\n').unwrap_or((&text, ""));
    let remedy = if remedy.is_empty() {
        format!(
            "Start defenseclaw-gateway, and see that it listens on {}",
            settings.socket.display()
        )
    } else {
        remedy.to_owned()
    };
    Check::ok("gateway", "", what).fail(remedy)
}

/// A hook client that harnesses run.
pub(super) fn client(path: &Path) -> Check {
    let about = path.display().to_string();
    match path.metadata() {
        Err(error) => Check::ok("client", about, format!("cannot be started: {error}"))
            .fail("Install the package, or copy defenseclaw-hook there"),
        Ok(meta) if !meta.is_file() || meta.mode() & 0o111 == 0 => {
            Check::ok("client", about, "is no program that can be started").fail("Install the package anew")
        }
        Ok(meta) if meta.mode() & 0o002 != 0 => Check::ok("client", about, "can be changed by every user")
            .fail(format!("chmod 755 {}", path.display())),
        Ok(_) => Check::ok("client", about, "is there"),
    }
}

/// The hook client reads its settings from root's file, or else from an environment that the agent can set.
fn hook_settings(root: &Path, settings: &Settings) -> Check {
    let file = host::file(root);
    let about = file.display().to_string();
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Check::ok(
                "hook-settings",
                about,
                "is not there, so that the hook client takes socket and fail mode from its environment, which an agent's \
                 settings can change",
            )
            .warn("Run `sudo defenseclaw-cli setup CONNECTOR` once: root's set-up writes the file");
        }
        Err(error) => {
            return Check::ok("hook-settings", about, format!("cannot be read: {error}")).fail(
                "Make it readable for everyone (mode 0644): hooks that cannot read it use what is built in",
            );
        }
    };
    if file
        .symlink_metadata()
        .is_ok_and(|meta| meta.uid() != 0 || meta.mode() & 0o022 != 0 || !meta.is_file())
    {
        return Check::ok(
            "hook-settings",
            about,
            "is not root's alone, so that no hook client believes it",
        )
        .fail(format!("chown root:root {0} && chmod 644 {0}", file.display()));
    }
    let socket = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == "socket")
        .map(|(_, value)| value.trim());
    match socket {
        Some(socket) if Path::new(socket) != settings.socket => {
            Check::ok("hook-settings", about, format!("names the socket {socket}, and the gateway's is {}", settings.socket.display()))
                .fail("Run `sudo defenseclaw-cli setup CONNECTOR` again, or set DEFENSECLAW_SOCKET to the one that is meant")
        }
        _ => Check::ok("hook-settings", about, "is root's, and names the gateway's socket"),
    }
}
