//! Where the gateway listens, what to say when it cannot be asked, and how long to wait.
//!
//! The agent under watch can set this program's environment (a project's settings file has an `env` section), so the
//! environment counts only where no root-owned `hook.conf` exists.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Written at set-up and owned by root.
pub(crate) const HOOK_CONF: &str = "/etc/defenseclaw/hook.conf";
/// Where the gateway listens unless told otherwise.
pub(crate) const DEFAULT_SOCKET: &str = "/run/defenseclaw/gateway.sock";
/// Well under Claude Code's own limit of 60 s, and three times the longest that a healthy gateway waits for its agent.
const DEFAULT_DEADLINE: Duration = Duration::from_millis(3_000);
/// Bounds of `deadline_ms`: less would refuse calls on a busy machine, more would come near the harness's own limit.
const DEADLINE_MS: std::ops::RangeInclusive<u64> = 100..=30_000;
/// Largest `hook.conf` that is read (bytes).
const MAX_CONF_BYTES: u64 = 64 * 1024;

/// What the harness is told when the gateway cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailMode {
    /// Nothing: it goes on as if there were no hook.
    Open,
    /// The call is refused.
    Closed,
}

/// How to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The gateway's socket.
    pub(crate) socket: PathBuf,
    /// What to answer when it cannot be asked.
    pub(crate) fail: FailMode,
    /// For the whole process.
    pub(crate) deadline: Duration,
    /// Whether the server's identity is checked. Not where the environment names the socket: who may set that may
    /// also start any server there.
    pub(crate) check_server: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            socket: DEFAULT_SOCKET.into(),
            fail: FailMode::Closed,
            deadline: DEFAULT_DEADLINE,
            check_server: true,
        }
    }
}

/// Why the settings were refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// A line of `hook.conf` is not understood.
    #[error("{HOOK_CONF} line {line}: {what}. Mend that line")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A variable is not understood.
    #[error("the environment variable {name} is {value:?}, which is {what}. Set it right or unset it")]
    Variable {
        name: &'static str,
        value: OsString,
        what: &'static str,
    },
}

/// What was found at [`HOOK_CONF`].
#[derive(Debug, PartialEq, Eq)]
enum Conf {
    /// Nothing is there: a development or side-by-side instance.
    Absent,
    /// Something is there that others than root could have written, or that cannot be read.
    Untrusted,
    /// Root's word.
    Text(String),
}

/// The settings in force for this process.
pub(crate) fn load() -> Result<Settings, SettingsError> {
    choose(read_conf(Path::new(HOOK_CONF)), |name| std::env::var_os(name))
}

fn choose(conf: Conf, variable: impl Fn(&str) -> Option<OsString>) -> Result<Settings, SettingsError> {
    match conf {
        Conf::Text(text) => parse(&text),
        // Someone meant to pin the settings and the pin is broken. The built-in ones are strict, and the environment is
        // what the pin was there to shut out.
        Conf::Untrusted => Ok(Settings::default()),
        Conf::Absent => from_environment(variable),
    }
}

fn read_conf(path: &Path) -> Conf {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Conf::Absent,
        Err(_) => return Conf::Untrusted,
    };
    // Asked of the open file, so that what was checked is what is read.
    let trusted = file
        .metadata()
        .is_ok_and(|meta| meta.is_file() && meta.uid() == 0 && meta.mode() & 0o022 == 0);
    let mut text = String::new();
    if !trusted
        || file
            .by_ref()
            .take(MAX_CONF_BYTES)
            .read_to_string(&mut text)
            .is_err()
    {
        return Conf::Untrusted;
    }
    Conf::Text(text)
}

/// Lines of `key = value`; `#` starts a comment line.
fn parse(text: &str) -> Result<Settings, SettingsError> {
    let mut settings = Settings::default();
    let mut seen: Vec<&str> = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let refuse = |what: String| SettingsError::Line {
            line: index + 1,
            what,
        };
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| refuse(format!("{line:?} is not of the form key = value")))?;
        let (key, value) = (key.trim(), value.trim());
        if seen.contains(&key) {
            return Err(refuse(format!("{key} stands there twice")));
        }
        seen.push(key);
        match key {
            "socket" => {
                settings.socket =
                    absolute(OsStr::new(value)).map_err(|what| refuse(format!("socket is {what}")))?
            }
            "fail" => {
                settings.fail =
                    fail_mode(OsStr::new(value)).map_err(|what| refuse(format!("fail is {what}")))?;
            }
            "deadline_ms" => settings.deadline = deadline(value).map_err(refuse)?,
            _ => {
                return Err(refuse(format!(
                    "unknown key {key:?}; known: socket, fail, deadline_ms"
                )));
            }
        }
    }
    Ok(settings)
}

fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Settings, SettingsError> {
    const SOCKET: &str = "DEFENSECLAW_SOCKET";
    const FAIL_MODE: &str = "DEFENSECLAW_FAIL_MODE";
    let mut settings = Settings::default();
    if let Some(value) = variable(SOCKET).filter(|value| !value.is_empty()) {
        settings.socket = absolute(&value).map_err(|what| SettingsError::Variable {
            name: SOCKET,
            value,
            what,
        })?;
        settings.check_server = false;
    }
    if let Some(value) = variable(FAIL_MODE).filter(|value| !value.is_empty()) {
        settings.fail = fail_mode(&value).map_err(|what| SettingsError::Variable {
            name: FAIL_MODE,
            value,
            what,
        })?;
    }
    Ok(settings)
}

fn absolute(value: &OsStr) -> Result<PathBuf, &'static str> {
    let path = Path::new(value);
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err("not an absolute path")
    }
}

fn fail_mode(value: &OsStr) -> Result<FailMode, &'static str> {
    match value.to_str() {
        Some("open") => Ok(FailMode::Open),
        Some("closed") => Ok(FailMode::Closed),
        _ => Err("neither `open` nor `closed`"),
    }
}

fn deadline(value: &str) -> Result<Duration, String> {
    match value.parse() {
        Ok(ms) if DEADLINE_MS.contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => Err(format!(
            "deadline_ms is {value:?}; it takes a whole number from {} to {}",
            DEADLINE_MS.start(),
            DEADLINE_MS.end()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn hostile(name: &str) -> Option<OsString> {
        match name {
            "DEFENSECLAW_SOCKET" => Some("/tmp/evil.sock".into()),
            "DEFENSECLAW_FAIL_MODE" => Some("open".into()),
            _ => None,
        }
    }

    #[test]
    fn constants_are_the_model_s() {
        assert_eq!(HOOK_CONF, defenseclaw_model::config::HOOK_CONF);
        assert_eq!(DEFAULT_SOCKET, defenseclaw_model::config::DEFAULT_SOCKET);
        let register = Duration::from_millis(defenseclaw_model::wire::REGISTER_DEADLINE_MS);
        assert!(DEFAULT_DEADLINE >= 3 * register);
    }

    #[test]
    fn roots_file_shuts_out_the_environment() {
        let text = "# ours\nsocket = /run/dc.sock\nfail=closed\n\ndeadline_ms = 500\n".to_owned();
        let settings = choose(Conf::Text(text), hostile).unwrap();
        assert_eq!(
            settings,
            Settings {
                socket: "/run/dc.sock".into(),
                fail: FailMode::Closed,
                deadline: Duration::from_millis(500),
                check_server: true,
            }
        );
        // What the file leaves out comes from the built-in settings, not from the environment.
        assert_eq!(
            choose(Conf::Text(String::new()), hostile).unwrap(),
            Settings::default()
        );
    }

    #[test]
    fn a_broken_pin_does_not_fall_back_to_the_environment() {
        assert_eq!(choose(Conf::Untrusted, hostile).unwrap(), Settings::default());
    }

    #[test]
    fn without_a_file_the_environment_counts() {
        let settings = choose(Conf::Absent, hostile).unwrap();
        assert_eq!(settings.socket, Path::new("/tmp/evil.sock"));
        assert_eq!(settings.fail, FailMode::Open);
        assert!(!settings.check_server);
        assert_eq!(choose(Conf::Absent, |_| None).unwrap(), Settings::default());
        assert_eq!(
            choose(Conf::Absent, |_| Some(OsString::new())).unwrap(),
            Settings::default()
        );
    }

    #[test]
    fn every_bad_line_is_named() {
        for (text, line, word) in [
            ("fail", 1, "key = value"),
            ("\nfail = maybe", 2, "neither"),
            ("socket = run/x", 1, "absolute"),
            ("deadline_ms = 0", 1, "100"),
            ("deadline_ms = 3s", 1, "whole number"),
            ("fail = open\nfail = closed", 2, "twice"),
            ("sockets = /x", 1, "known: socket"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(
                message.contains(&format!("line {line}:")) && message.contains(word),
                "{text:?}: {message}"
            );
        }
    }

    #[test]
    fn a_bad_variable_is_named() {
        let bad = |name: &str| (name == "DEFENSECLAW_FAIL_MODE").then(|| OsString::from("never"));
        assert!(
            choose(Conf::Absent, bad)
                .unwrap_err()
                .to_string()
                .contains("DEFENSECLAW_FAIL_MODE")
        );
        let relative = |name: &str| (name == "DEFENSECLAW_SOCKET").then(|| OsString::from("x.sock"));
        assert!(
            choose(Conf::Absent, relative)
                .unwrap_err()
                .to_string()
                .contains("absolute")
        );
    }

    #[test]
    fn only_a_plain_file_of_root_that_no_other_may_write_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hook.conf");
        assert_eq!(read_conf(&path), Conf::Absent);
        std::fs::write(&path, "fail = open\n").unwrap();
        let ours = std::fs::metadata(&path).unwrap().uid();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let expected = if ours == 0 {
            Conf::Text("fail = open\n".into())
        } else {
            Conf::Untrusted
        };
        assert_eq!(read_conf(&path), expected);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o664)).unwrap();
        assert_eq!(read_conf(&path), Conf::Untrusted, "its group may write it");
        if ours == 0 {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            assert_eq!(read_conf(&path), Conf::Untrusted, "another user owns it");
        }
        let link = folder.path().join("link.conf");
        std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
        assert_eq!(
            read_conf(&link),
            Conf::Untrusted,
            "a link leads where its owner likes"
        );
        assert_eq!(read_conf(folder.path()), Conf::Untrusted, "a folder");
    }
}
