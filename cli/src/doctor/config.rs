//! What is configured: whether it can be read, what it means when nobody can be asked, and what the hook client is told.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use defenseclaw_inspect::Rules;
use defenseclaw_model::config::FailMode;
use defenseclaw_model::decision::Mode;
use defenseclaw_run::settings::Settings;

use super::Check;
use super::host::Host;
use crate::CliError;
use crate::setup::host;

/// Most lines of an error that are told.
const LINES: usize = 3;

/// All of them. `fault` is why the configuration could not be read.
pub(super) fn checks(host: &Host, settings: &Settings, fault: Option<&CliError>) -> Vec<Check> {
    let mut checks = vec![configuration(host, settings, fault)];
    if fault.is_none() {
        checks.extend(policies(settings));
        checks.push(mode(settings));
        checks.push(fail_mode(settings));
    }
    checks.push(hook_settings(host, settings));
    checks
}

fn configuration(host: &Host, settings: &Settings, fault: Option<&CliError>) -> Check {
    let file = settings.file.display();
    match fault {
        None if settings.file.exists() => Check::ok("configuration", "", format!("{file} is valid")),
        None => Check::ok(
            "configuration",
            "",
            format!("there is no {file}: everything is as built in"),
        ),
        Some(CliError::NotPermitted { what, .. }) => {
            Check::ok("configuration", "", format!("{what}; looked at as built in")).note(host.as_root())
        }
        Some(fault) => Check::ok("configuration", "", told(&fault.to_string())).fail(
            "Mend that line, then sudo systemctl restart defenseclaw-gateway defenseclaw-agent: they do not start with it. What \
             follows was looked at as built in",
        ),
    }
}

/// The words of an error without the piece of the file that some show with it: there may be secrets in that.
pub(super) fn told(text: &str) -> String {
    let shown = |line: &&str| {
        let line = line.trim_start();
        let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
        !line.is_empty() && !number.trim_start().starts_with('|') && !line.starts_with("-->")
    };
    let lines: Vec<&str> = text.lines().filter(shown).map(str::trim).take(LINES).collect();
    lines.join("; ")
}

/// The operator's rules: a gateway does not start with bad ones.
fn policies(settings: &Settings) -> Option<Check> {
    let folder = settings.policies.as_ref()?;
    let about = folder.display().to_string();
    Some(match Rules::load(Some(folder)) {
        Ok(rules) => {
            let expired = rules.policy.expired(crate::time::now_ns());
            let check = Check::ok("policies", about, format!("valid, revision {}", rules.revision()));
            if expired.is_empty() {
                check
            } else {
                check.note(format!(
                    "{} entries of lists are over and do nothing: `defenseclaw-cli policy validate {}` names them",
                    expired.len(),
                    folder.display()
                ))
            }
        }
        Err(error) => Check::ok("policies", about, told(&error.to_string())).fail(format!(
            "Mend that line; `defenseclaw-cli policy validate {}` tries it",
            folder.display()
        )),
    })
}

fn mode(settings: &Settings) -> Check {
    let config = &settings.config;
    let others: Vec<String> = config
        .connectors
        .iter()
        .filter_map(|(name, own)| Some(format!("{name} {}", own.mode?.as_str())))
        .collect();
    let mut detail = match config.mode {
        Mode::Observe => "observe: everything is decided and recorded, nothing is refused".to_owned(),
        mode => format!("{}: decisions take effect", mode.as_str()),
    };
    if !others.is_empty() {
        detail.push_str(&format!("; {}", others.join(", ")));
    }
    let check = Check::ok("mode", "", detail);
    if enforces(settings) {
        check
    } else {
        check.note("Once you trust what it would do (`defenseclaw-cli audit query --severity HIGH`): setup CONNECTOR --mode action")
    }
}

fn enforces(settings: &Settings) -> bool {
    let own = settings.config.connectors.values().filter_map(|own| own.mode);
    own.chain([settings.config.mode]).any(Mode::enforces)
}

/// What calls get when nobody can be asked.
fn fail_mode(settings: &Settings) -> Check {
    let open: Vec<&str> = settings
        .config
        .connectors
        .keys()
        .filter(|name| {
            settings.config.fail_mode_of(name) == FailMode::Open && settings.config.mode_of(name).enforces()
        })
        .map(String::as_str)
        .collect();
    let said = |detail: String| Check::ok("fail-mode", "", detail);
    match settings.config.fail_mode {
        _ if !enforces(settings) => {
            said("nothing is enforced: calls run while the gateway is away".to_owned())
        }
        FailMode::Open => {
            said("open: calls run unchecked while the gateway is away or cannot decide".to_owned())
                .warn("fail_mode: closed in the configuration refuses them then")
        }
        FailMode::Closed if !open.is_empty() => said(format!("closed, but open for {}", open.join(", ")))
            .note("fail_mode: closed for these refuses their calls, too"),
        FailMode::Closed => {
            said("closed: calls are refused while the gateway is away or cannot decide".to_owned())
        }
    }
}

/// The hook client reads its settings from root's file, or else from an environment that the agent can set.
fn hook_settings(host: &Host, settings: &Settings) -> Check {
    let file = host::file(&host.root);
    let about = file.display().to_string();
    let text = match super::host::open(&file)
        .and_then(|file| std::io::read_to_string(std::io::Read::take(file, 1 << 16)))
    {
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
    let owned =
        |meta: std::fs::Metadata| meta.uid() != host.superuser || meta.mode() & 0o022 != 0 || !meta.is_file();
    if file.symlink_metadata().is_ok_and(owned) {
        return Check::ok(
            "hook-settings",
            about,
            "is not root's alone, so that no hook client believes it",
        )
        .fail(format!(
            "sudo chown root:root {0} && sudo chmod 644 {0}",
            file.display()
        ));
    }
    pinned(&text, about, settings)
}

fn pinned(text: &str, about: String, settings: &Settings) -> Check {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim())
    };
    let again = "Run `sudo defenseclaw-cli setup CONNECTOR` again";
    let found = |detail: String| Check::ok("hook-settings", about.clone(), detail);
    if let Some(socket) = value("socket").filter(|socket| Path::new(socket) != settings.socket) {
        return found(format!(
            "names the socket {socket}, and the gateway's is {}",
            settings.socket.display()
        ))
        .fail(format!(
            "{again}, or set DEFENSECLAW_SOCKET to the one that is meant"
        ));
    }
    let configured = host::fail_mode(&settings.config);
    match value("fail") {
        Some(fail) if fail != configured => found(format!(
            "says fail = {fail}, and by the configuration it is {configured}: the hook client goes by this file"
        ))
        .warn(again),
        _ => found("is root's, and names the gateway's socket".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::config::Config;

    use super::super::State;
    use super::super::testing::{self, Place};
    use super::*;

    fn configured(text: &str) -> Settings {
        let mut settings = testing::settings();
        settings.config = Config::from_yaml(Path::new("c.yaml"), text).unwrap();
        settings
    }

    #[test]
    fn a_bad_configuration_is_told_with_file_and_line_and_without_its_text() {
        let place = Place::new();
        let settings = place.settings();
        let file = place.file("/etc/defenseclaw/config.yaml", "mode: action\n");
        assert_eq!(configuration(&place.host, &settings, None).state, State::Ok);
        let text = "mode: action\napi:\n  token: hunter2-and-more\n";
        let fault = CliError::from(Config::from_yaml(&file, text).unwrap_err());
        let check = configuration(&place.host, &settings, Some(&fault));
        assert_eq!(check.state, State::Problem);
        assert!(
            check.detail.contains("config.yaml")
                && check.detail.contains('3')
                && check.detail.contains("token"),
            "{check:?}"
        );
        assert!(!check.detail.contains("hunter2"), "{check:?}");
        let forbidden = CliError::NotPermitted {
            what: "it cannot be read".to_owned(),
            remedy: String::new(),
        };
        assert_eq!(
            configuration(&place.host, &settings, Some(&forbidden)).state,
            State::Note
        );
    }

    #[test]
    fn rules_that_a_gateway_would_refuse_are_a_problem() {
        let place = Place::new();
        let mut settings = place.settings();
        assert_eq!(policies(&settings), None);
        let file = place.file("/etc/defenseclaw/policies/lists.yaml", "blocked: nonsense\n");
        settings.policies = file.parent().map(Path::to_owned);
        let check = policies(&settings).unwrap();
        assert_eq!(check.state, State::Problem);
        assert!(check.detail.contains("lists.yaml"), "{check:?}");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(policies(&settings).unwrap().state, State::Ok);
    }

    #[test]
    fn what_becomes_of_calls_by_mode_and_fail_mode() {
        for (text, of_mode, of_failing) in [
            ("mode: observe\n", State::Note, State::Ok),
            (
                "mode: observe\nconnectors: { codex: { mode: hitl } }\n",
                State::Ok,
                State::Ok,
            ),
            ("mode: action\n", State::Ok, State::Ok),
            ("mode: action\nfail_mode: open\n", State::Ok, State::Warning),
            (
                "mode: action\nconnectors: { codex: { fail_mode: open } }\n",
                State::Ok,
                State::Note,
            ),
        ] {
            let settings = configured(text);
            assert_eq!(
                (mode(&settings).state, fail_mode(&settings).state),
                (of_mode, of_failing),
                "{text}"
            );
        }
    }

    #[test]
    fn the_hook_s_own_settings_by_owner_socket_and_fail_mode() {
        let mut place = Place::new();
        let settings = place.settings();
        let state = |place: &Place| hook_settings(&place.host, &settings).state;
        assert_eq!(state(&place), State::Warning, "not there");
        let good = format!("# ours\nsocket = {}\nfail = closed\n", settings.socket.display());
        place.file_of("/etc/defenseclaw/hook.conf", &good, 0o644);
        assert_eq!(state(&place), State::Ok);
        place.file("/etc/defenseclaw/hook.conf", &good.replace("closed", "open"));
        assert_eq!(state(&place), State::Warning);
        place.file("/etc/defenseclaw/hook.conf", "socket = /tmp/other.sock\n");
        assert_eq!(state(&place), State::Problem);
        place.file_of("/etc/defenseclaw/hook.conf", &good, 0o664);
        assert_eq!(state(&place), State::Problem);
        place.file_of("/etc/defenseclaw/hook.conf", &good, 0o644);
        place.host.superuser += 1;
        assert_eq!(state(&place), State::Problem, "another user's");
    }
}
