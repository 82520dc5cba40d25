//! Where the configuration lies, and how its files come together.
//!
//! The main file is read first, then `*.yaml` of the folder that has its name with `.d` (`config.yaml`: `config.d`) in the order of
//! their names. What a later file says goes before what an earlier one said: mappings are joined key by key, everything else is
//! replaced whole. Each file is held to the whole schema by itself, so that an error names the file that has it.
//!
//! One reader for the gateway, the agent and the operator's tool: they must never differ in what they take.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Config, ConfigError, DEFAULT_CONFIG, MAX_CONFIG_BYTES, says_nothing};

/// A folder with policies that is taken without being named, if it is there, beside the default file.
pub const DEFAULT_POLICIES: &str = "/etc/defenseclaw/policies";
/// Most files of the folder: fleets have a handful, one for each team that has a say.
const MAX_FILES: usize = 64;

/// Reads the configuration: the file that is named, which must be there, or else the default one.
pub fn load(named: Option<&Path>) -> Result<Config, ConfigError> {
    match named {
        Some(file) => load_from(file, true, None),
        None => load_from(
            Path::new(DEFAULT_CONFIG),
            false,
            Some(Path::new(DEFAULT_POLICIES)),
        ),
    }
}

/// The same for a file; `policies`: the folder of policies unless one is configured.
fn load_from(file: &Path, must_exist: bool, policies: Option<&Path>) -> Result<Config, ConfigError> {
    let main = read(file)?;
    if main.is_none() && must_exist {
        return Err(ConfigError::Unreadable {
            file: file.to_owned(),
            message: "there is no such file; DEFENSECLAW_CONFIG names it".to_owned(),
        });
    }
    let owner = match &main {
        Some(_) => file.metadata().ok().map(|meta| meta.uid()),
        None => None,
    };
    let mut texts: Vec<(PathBuf, String)> = main.map(|text| (file.to_owned(), text)).into_iter().collect();
    for part in parts(&file.with_extension("d"), owner)? {
        if let Some(text) = read(&part)? {
            texts.push((part, text));
        }
    }
    let mut config = joined(file, &texts)?;
    if config.policies.is_none() {
        config.policies = policies.filter(|folder| folder.is_dir()).map(Path::to_owned);
    }
    Ok(config)
}

/// Joins the texts of files, the first one first. `file` is named where they do not fit together.
fn joined(file: &Path, texts: &[(PathBuf, String)]) -> Result<Config, ConfigError> {
    if let [(file, text)] = texts {
        return Config::from_yaml(file, text);
    }
    let invalid = |file: &Path, message: String| ConfigError::Invalid {
        file: file.to_owned(),
        message,
    };
    let mut all = Map::new();
    for (file, text) in texts {
        if says_nothing(text) {
            continue;
        }
        // The schema gives values their types, the text says which of them stand there.
        let config = Config::from_yaml(file, text)?;
        let typed = serde_json::to_value(&config).map_err(|error| invalid(file, error.to_string()))?;
        let written: Value =
            defenseclaw_yaml::from_str(text).map_err(|error| invalid(file, error.to_string()))?;
        if let (Value::Object(typed), Value::Object(written)) = (typed, written) {
            overlay(&mut all, &typed, &written);
        }
    }
    serde_json::from_value(Value::Object(all)).map_err(|error| {
        let files: Vec<_> = texts.iter().map(|(file, _)| file.display().to_string()).collect();
        invalid(file, format!("together with {}: {error}", files.join(", ")))
    })
}

/// Puts what `written` names over `all`, with the values of `typed`.
fn overlay(all: &mut Map<String, Value>, typed: &Map<String, Value>, written: &Map<String, Value>) {
    for (key, written) in written {
        match (typed.get(key), written) {
            (Some(Value::Object(typed)), Value::Object(written)) => {
                let inner = all.entry(key).or_insert_with(|| Value::Object(Map::new()));
                match inner {
                    Value::Object(inner) => overlay(inner, typed, written),
                    other => *other = Value::Object(typed.clone()),
                }
            }
            (Some(value), _) => {
                all.insert(key.clone(), value.clone());
            }
            // `key: null` takes back what an earlier file said.
            (None, _) => {
                all.remove(key);
            }
        }
    }
}

/// The files of the folder, in order; none where there is no folder.
fn parts(folder: &Path, owner: Option<u32>) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |error: std::io::Error| unreadable(folder, &error);
    let entries = match fs::read_dir(folder) {
        // A file of that name is somebody's own.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        other => other.map_err(failed)?,
    };
    check_owner(folder, owner)?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        // By its bytes: a name need not be text.
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.starts_with(b".") {
            continue;
        }
        if name.ends_with(b".yml") {
            return Err(ConfigError::Invalid {
                file: path.clone(),
                message: "it would not be read: its name must end with .yaml".to_owned(),
            });
        }
        if name.ends_with(b".yaml") {
            check_owner(&path, owner)?;
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(ConfigError::Unreadable {
                file: folder.to_owned(),
                message: format!("it has more than {MAX_FILES} files; join some"),
            });
        }
    }
    files.sort();
    Ok(files)
}

/// Refuses what others than root and the main file's owner could have put there: it would be taken without being named.
fn check_owner(path: &Path, owner: Option<u32>) -> Result<(), ConfigError> {
    let meta = path.metadata().map_err(|error| unreadable(path, &error))?;
    let trusted = meta.uid() == 0 || Some(meta.uid()) == owner;
    if trusted && meta.mode() & 0o002 == 0 {
        return Ok(());
    }
    Err(ConfigError::Unreadable {
        file: path.to_owned(),
        message: format!(
            "user {} owns it, and its mode is {:o}: it has to belong to root, or to whom the main file belongs, and others must not \
             be able to write it",
            meta.uid(),
            meta.mode() & 0o7777
        ),
    })
}

fn unreadable(file: &Path, error: &std::io::Error) -> ConfigError {
    let (file, message) = (file.to_owned(), format!("cannot be read: {error}"));
    match error.kind() {
        ErrorKind::PermissionDenied => ConfigError::NotPermitted { file, message },
        _ => ConfigError::Unreadable { file, message },
    }
}

/// The file's text; `None` if there is no such file.
fn read(file: &Path) -> Result<Option<String>, ConfigError> {
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(file, &error)),
    };
    let mut text = String::new();
    opened
        .take(MAX_CONFIG_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(file, &error))?;
    if text.len() as u64 > MAX_CONFIG_BYTES {
        return Err(ConfigError::Unreadable {
            file: file.to_owned(),
            message: format!("is larger than {MAX_CONFIG_BYTES} bytes; no configuration is"),
        });
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::decision::Mode;

    struct Place(tempfile::TempDir);

    impl Place {
        /// A main file, and these files beside it.
        fn new(main: &str, parts: &[(&str, &str)]) -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            fs::create_dir(place.0.path().join("config.d")).unwrap();
            fs::write(place.main(), main).unwrap();
            for (name, text) in parts {
                fs::write(place.part(name), text).unwrap();
            }
            place
        }

        fn main(&self) -> PathBuf {
            self.0.path().join("config.yaml")
        }

        fn part(&self, name: &str) -> PathBuf {
            self.0.path().join("config.d").join(name)
        }

        fn load(&self) -> Result<Config, String> {
            load(Some(&self.main())).map_err(|error| error.to_string())
        }
    }

    #[test]
    fn later_files_go_before_earlier_ones_key_by_key() {
        let place = Place::new(
            "mode: observe\noperators: [1, 2]\nconnectors: { codex: { mode: hitl, sandbox: build } }\napprovals: { timeout_s: 7 }\n",
            &[
                (
                    "20-team.yaml",
                    "mode: hitl\nconnectors: { cursor: { sandbox: off } }\noperators: [3]\n",
                ),
                (
                    "10-fleet.yaml",
                    "mode: action\nconnectors: { codex: { mode: action } }\napprovals: { by_owner: true }\n",
                ),
                ("30-none.yaml", "# nothing\n"),
                (".hidden.yaml", "no: yaml of ours\n"),
                ("README", "no yaml either"),
            ],
        );
        let config = place.load().unwrap();
        assert_eq!(config.mode, Mode::Hitl);
        assert_eq!(config.operators, [3], "lists are replaced whole");
        assert_eq!(
            (config.mode_of("codex"), config.sandbox_of("codex")),
            (Mode::Action, Some("build"))
        );
        assert_eq!(
            config.connectors["cursor"].sandbox,
            Some(crate::config::SandboxDefault::Off)
        );
        assert_eq!((config.approvals.timeout_s, config.approvals.by_owner), (7, true));
        assert_eq!(config.gate, Config::default().gate);
    }

    #[test]
    fn a_file_alone_means_what_it_means_among_others() {
        let text = "mode: action\nfail_mode: open\ndurability: power\napi: { listen: \"127.0.0.1:1\" }\n\
                    gate: { places: [ { connector: codex, kind: skill, folder: /x } ] }\n\
                    connectors: { codex: { sandbox: off } }\n\
                    bundle: { url: \"https://x.example\", keys: { a: b }, group: g }\n";
        let alone = Place::new(text, &[]);
        let among = Place::new("", &[("a.yaml", text), ("b.yaml", "state: /tmp/s\n")]);
        let mut expected = alone.load().unwrap();
        expected.state = "/tmp/s".into();
        assert_eq!(among.load().unwrap(), expected);
    }

    #[test]
    fn an_error_names_the_file_the_line_and_the_nearest_key() {
        let place = Place::new(
            "mode: action\n",
            &[
                ("a.yaml", "mode: hitl\n"),
                ("b.yaml", "# x\napprovals:\n  timeouts: 5\n"),
            ],
        );
        let error = place.load().unwrap_err();
        assert!(error.contains("b.yaml") && !error.contains("a.yaml"), "{error}");
        assert!(
            error.contains("did you mean `timeout_s`?") && error.contains('3'),
            "{error}"
        );
        fs::write(place.part("b.yaml"), "approvals:\n  timeout_s: 5\n").unwrap();
        assert_eq!(place.load().unwrap().approvals.timeout_s, 5);
        fs::write(place.part("c.yml"), "mode: observe\n").unwrap();
        assert!(place.load().unwrap_err().contains("c.yml"));
    }

    #[test]
    fn what_others_can_write_is_not_taken() {
        let place = Place::new("", &[("a.yaml", "mode: action\n")]);
        assert_eq!(place.load().unwrap().mode, Mode::Action);
        for path in [place.part("a.yaml"), place.0.path().join("config.d")] {
            let before = path.metadata().unwrap().permissions();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
            let error = place.load().unwrap_err();
            assert!(error.contains("777") && error.contains("others"), "{error}");
            fs::set_permissions(&path, before).unwrap();
        }
        assert!(place.load().is_ok());
    }

    #[test]
    fn files_that_say_nothing_change_nothing() {
        let place = Place::new("# only this\n", &[]);
        assert_eq!(place.load().unwrap(), Config::default());
        fs::write(place.part("10.yaml"), "# and this\n\n").unwrap();
        assert_eq!(place.load().unwrap(), Config::default());
        fs::write(place.part("20.yaml"), "mode: action\n").unwrap();
        assert_eq!(place.load().unwrap().mode, Mode::Action);
        fs::remove_dir_all(place.0.path().join("config.d")).unwrap();
        assert_eq!(place.load().unwrap(), Config::default());
    }

    #[test]
    fn the_folder_is_read_where_there_is_no_main_file() {
        let place = Place::new("", &[("10-debconf.yaml", "mode: action\n")]);
        fs::remove_file(place.main()).unwrap();
        let config = load_from(&place.main(), false, None);
        // Nobody but root is trusted then.
        if place.part("10-debconf.yaml").metadata().unwrap().uid() == 0 {
            assert_eq!(config.unwrap().mode, Mode::Action);
        } else {
            assert!(config.unwrap_err().to_string().contains("owns it"));
        }
    }

    #[test]
    fn null_takes_back_what_was_said() {
        let place = Place::new("policies: /x\nmode: action\n", &[("a.yaml", "policies: null\n")]);
        let config = place.load().unwrap();
        assert_eq!((config.policies, config.mode), (None, Mode::Action));
    }

    #[test]
    fn a_folder_of_policies_is_taken_where_none_is_named() {
        let place = Place::new("mode: action\n", &[]);
        let folder = place.0.path().join("policies");
        let load = || load_from(&place.main(), true, Some(&folder)).unwrap().policies;
        assert_eq!(load(), None, "it is not there");
        fs::create_dir(&folder).unwrap();
        assert_eq!(load(), Some(folder.clone()));
        fs::write(place.main(), "policies: /other\n").unwrap();
        assert_eq!(load(), Some("/other".into()));
    }
}
