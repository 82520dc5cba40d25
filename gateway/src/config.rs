//! Finds and reads the configuration.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use defenseclaw_model::config::{Config, ConfigError, DEFAULT_CONFIG, files};

/// The configuration in force: the file that `DEFENSECLAW_CONFIG` names (else the default one, if it is there), with
/// the files of the folder beside it, and `DEFENSECLAW_SOCKET` and `DEFENSECLAW_STATE` in place of its socket and state folder.
pub fn load() -> Result<Config, ConfigError> {
    load_with(|name| std::env::var_os(name))
}

fn load_with(variable: impl Fn(&str) -> Option<OsString>) -> Result<Config, ConfigError> {
    let path = |name| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let named = path("DEFENSECLAW_CONFIG");
    let file = named.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG));
    let mut config = files::load(named.as_deref())?;
    let (mut socket_from, mut state_from) = ("socket", "state");
    if let Some(socket) = path("DEFENSECLAW_SOCKET") {
        (config.socket, socket_from) = (socket, "DEFENSECLAW_SOCKET");
    }
    if let Some(state) = path("DEFENSECLAW_STATE") {
        (config.state, state_from) = (state, "DEFENSECLAW_STATE");
    }
    for (path, from) in [(&config.socket, socket_from), (&config.state, state_from)] {
        if !path.is_absolute() || path.file_name().is_none() {
            let message = format!("{from} is {}; it must be an absolute path", path.display());
            return Err(ConfigError::Invalid {
                file: file.to_owned(),
                message,
            });
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::config::MAX_CONFIG_BYTES;

    use super::*;

    fn load_from(file: &Path, more: &[(&str, &str)]) -> Result<Config, String> {
        let variable = |name: &str| match name {
            "DEFENSECLAW_CONFIG" => Some(file.as_os_str().to_owned()),
            _ => more
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into()),
        };
        load_with(variable).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_replaces_socket_and_state_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.yaml");
        std::fs::write(&file, "mode: action\nsocket: /a/b.sock\nstate: /a/state\n").unwrap();
        let plain = load_from(&file, &[]).unwrap();
        assert_eq!(plain.socket, Path::new("/a/b.sock"));
        let other = load_from(
            &file,
            &[("DEFENSECLAW_SOCKET", "/c/d.sock"), ("DEFENSECLAW_STATE", "/c/s")],
        )
        .unwrap();
        assert_eq!(
            other,
            Config {
                socket: "/c/d.sock".into(),
                state: "/c/s".into(),
                ..plain
            }
        );
    }

    #[test]
    fn a_named_file_must_be_there() {
        let error = load_from(Path::new("/nowhere/c.yaml"), &[]).unwrap_err();
        assert!(error.contains("no such file"), "{error}");
    }

    #[test]
    fn paths_must_be_absolute() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.yaml");
        std::fs::write(&file, "socket: run/x.sock\n").unwrap();
        let error = load_from(&file, &[]).unwrap_err();
        assert!(error.contains("socket is run/x.sock"), "{error}");
        std::fs::write(&file, "").unwrap();
        let error = load_from(&file, &[("DEFENSECLAW_STATE", "here")]).unwrap_err();
        assert!(error.contains("DEFENSECLAW_STATE is here"), "{error}");
    }

    #[test]
    fn what_cannot_be_a_configuration_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.yaml");
        std::fs::write(&file, vec![b'#'; MAX_CONFIG_BYTES as usize + 1]).unwrap();
        assert!(load_from(&file, &[]).unwrap_err().contains("is larger"));
        std::fs::write(&file, b"mode: \xff\n").unwrap();
        assert!(load_from(&file, &[]).unwrap_err().contains("cannot be read"));
        std::fs::write(&file, "mod: action\n").unwrap();
        assert!(
            load_from(&file, &[])
                .unwrap_err()
                .contains("did you mean `mode`?")
        );
        assert!(load_from(folder.path(), &[]).unwrap_err().contains("cannot be"));
    }
}
