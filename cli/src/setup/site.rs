//! For whom: the user, the state folder, the hook client.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use defenseclaw_harness::install::spec;
use defenseclaw_harness::install::{CLIENT, InstallError, Scope, Site, User};
use defenseclaw_model::config::FailMode;
use defenseclaw_model::sandbox::SHELL;

use crate::CliError;
use crate::args::{SetupOptions, TeardownOptions, Whose};
use defenseclaw_model::sandbox::WHOLE_TOOL;
use defenseclaw_run::settings::Settings;

/// The hook client unless another lies beside this program.
const DEFAULT_CLIENT: &str = "/usr/bin/defenseclaw-hook";
/// Where a user's own installations are noted who may not write the host's state folder.
const USER_STATE: &str = ".local/state/defenseclaw";

/// For whom something is installed.
#[derive(Clone)]
pub struct Target {
    /// Where.
    pub site: Site,
    /// For one user or for the host.
    pub scope: Scope,
    /// What a person should know of the choice.
    pub notes: Vec<String>,
}

impl Target {
    /// For `setup`. A hook client that is not there is refused.
    pub fn for_setup(options: &SetupOptions, settings: &Settings, connector: &str) -> Result<Self, CliError> {
        let client = options.client.clone().unwrap_or_else(default_client);
        let target = Self::new(&options.whose, settings, connector, client, !options.detect)?;
        if options.detect || options.dry_run {
            return Ok(target);
        }
        let refuse = |why| {
            CliError::from(InstallError::Client {
                path: target.site.client.clone(),
                why,
            })
        };
        let meta = target
            .site
            .client
            .metadata()
            .map_err(|_| refuse("it is not there"))?;
        let loose = {
            use std::os::unix::fs::MetadataExt;
            if !meta.is_file() || meta.mode() & 0o111 == 0 {
                return Err(refuse("it is no program that can be started"));
            }
            meta.uid() != 0 || meta.mode() & 0o022 != 0
        };
        if target.site.sandboxed && !target.site.client.with_file_name(SHELL).is_file() {
            return Err(refuse(
                "defenseclaw-shell, which runs calls in sandboxes, does not lie beside it",
            ));
        }
        if target.scope == Scope::System && loose {
            return Err(refuse(
                "it can be changed by users who are not root, so that it is none for the whole host",
            ));
        }
        Ok(target)
    }

    /// For `teardown`.
    pub fn for_teardown(options: &TeardownOptions, settings: &Settings) -> Result<Self, CliError> {
        let connector = options.connector.as_deref().unwrap_or_default();
        Self::new(
            &options.whose,
            settings,
            connector,
            default_client(),
            !options.all,
        )
    }

    /// For taking away whatever is there. No folder is made for that.
    pub fn for_taking_away(whose: &Whose, settings: &Settings) -> Result<Self, CliError> {
        Self::new(whose, settings, "", default_client(), false)
    }

    /// For looking only.
    pub fn for_looking(root: &Path, settings: &Settings) -> Result<Self, CliError> {
        let whose = Whose {
            root: root.to_owned(),
            ..Whose::default()
        };
        Self::new(&whose, settings, "", default_client(), true)
    }

    fn new(
        whose: &Whose,
        settings: &Settings,
        connector: &str,
        client: PathBuf,
        make: bool,
    ) -> Result<Self, CliError> {
        let root = nix::unistd::geteuid().is_root();
        if whose.system && !root {
            return Err(not_root("--system changes files of the whole host"));
        }
        let (user, own) = user(whose.user.as_deref(), root)?;
        let mut notes = Vec::new();
        let state = if root || writable(&settings.config.state) {
            settings.config.state.clone()
        } else {
            let state = user.home.join(USER_STATE);
            if make {
                make_state(&state)?;
            }
            notes.push(format!(
                "noted in {}, where the gateway cannot see it: it will not notice if this hook is taken away. \
                 Run this with sudo for that",
                state.display()
            ));
            state
        };
        let mode = settings.config.mode_of(connector);
        let closed = settings.config.fail_mode_of(connector) == FailMode::Closed;
        Ok(Self {
            site: Site {
                root: whose.root.clone(),
                privileged: root && user.uid != 0,
                state,
                client,
                // A harness that is only observed goes on when its hook fails.
                fail_closed: closed && mode.enforces(),
                sandboxed: settings.config.sandbox_of(connector).is_some(),
                variables: if own { variables()? } else { BTreeMap::new() },
                programs: programs(&user, &whose.root),
                user,
            },
            scope: if whose.system { Scope::System } else { Scope::User },
            notes,
        })
    }
}

/// Beside the programs, else where packages put it.
pub(crate) fn default_client() -> PathBuf {
    let own = std::env::current_exe().and_then(|own| own.canonicalize());
    let client = own.ok().and_then(|own| client_of(&own));
    client.unwrap_or_else(|| DEFAULT_CLIENT.into())
}

/// The hook client that belongs to the tool at `own`: beside it, or beside the launcher that hands over to it.
fn client_of(own: &Path) -> Option<PathBuf> {
    let folder = own.parent()?;
    let above = WHOLE_TOOL.iter().filter_map(|tool| {
        // `../lib/defenseclaw/…` is below the folder that `bin` is below.
        let (up, down) = match tool.strip_prefix("../") {
            Some(down) => (Some("bin"), down),
            None => (None, *tool),
        };
        let top = Path::new(down).components().count();
        let top = own.ends_with(down).then(|| own.ancestors().nth(top)).flatten()?;
        Some(up.map_or_else(|| top.to_owned(), |up| top.join(up)))
    });
    let folders = std::iter::once(folder.to_owned()).chain(above);
    folders
        .map(|folder| folder.join(CLIENT))
        .find(|client| client.is_file())
}

/// Whose harnesses are meant, and whether that is who runs this.
fn user(named: Option<&str>, root: bool) -> Result<(User, bool), CliError> {
    let unknown = |what: String| CliError::Usage(format!("{what} is no user of this host"));
    let own = nix::unistd::geteuid();
    if let Some(name) = named {
        let found = nix::unistd::User::from_name(name).ok().flatten();
        let found = found.ok_or_else(|| unknown(format!("{name:?}")))?;
        if !root && found.uid != own {
            return Err(not_root("--user names another user"));
        }
        let same = found.uid == own;
        return Ok((of(found), same));
    }
    // Through sudo the person is meant, not root.
    let caller = std::env::var("SUDO_UID")
        .ok()
        .and_then(|uid| uid.parse().ok())
        .filter(|uid| root && *uid != 0);
    if let Some(uid) = caller {
        let found = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid))
            .ok()
            .flatten();
        return Ok((of(found.ok_or_else(|| unknown(format!("user id {uid}")))?), false));
    }
    let found = nix::unistd::User::from_uid(own).ok().flatten().map(of);
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|home| home.is_absolute());
    match (found, home) {
        (Some(user), home) => Ok((
            User {
                home: home.unwrap_or_else(|| user.home.clone()),
                ..user
            },
            true,
        )),
        (None, Some(home)) => Ok((
            User {
                uid: own.as_raw(),
                gid: nix::unistd::getegid().as_raw(),
                home,
            },
            true,
        )),
        (None, None) => Err(CliError::Usage(
            "there is no HOME, and this user has no entry on this host".to_owned(),
        )),
    }
}

fn of(user: nix::unistd::User) -> User {
    User {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        home: user.dir,
    }
}

fn not_root(what: &str) -> CliError {
    CliError::NotPermitted {
        what: format!("{what}, which only root may"),
        remedy: "Run it with sudo.".to_owned(),
    }
}

fn writable(folder: &Path) -> bool {
    let mode = nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK;
    nix::unistd::access(folder, mode).is_ok()
}

fn make_state(folder: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(folder).map_err(|source| {
        InstallError::State {
            folder: folder.to_owned(),
            source,
        }
        .into()
    })
}

/// The variables that harnesses take their folders from, as this process has them.
fn variables() -> Result<BTreeMap<String, std::ffi::OsString>, CliError> {
    let names = spec::all()
        .map_err(InstallError::from)?
        .iter()
        .filter_map(|spec| spec.user.variable.clone());
    Ok(names
        .filter_map(|name| std::env::var_os(&name).map(|value| (name, value)))
        .collect())
}

/// Most folders that one pattern stands for: versions of Node that somebody keeps.
const MAX_FOLDERS: usize = 64;

/// Where programs of harnesses are: the path, and where their installers put them (`policies/programs.yaml`).
fn programs(user: &User, root: &Path) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .collect();
    // The table is part of the program and was read by its tests.
    let table = defenseclaw_inventory::programs::embedded().map(|table| table.folders);
    for pattern in table.unwrap_or_default() {
        let start = if pattern.in_home {
            user.home.as_path()
        } else {
            root
        };
        folders.extend(expand(start, &pattern.components));
    }
    folders
}

/// The folders that a pattern stands for; `*` is any one folder.
fn expand(start: &Path, components: &[String]) -> Vec<PathBuf> {
    let mut folders = vec![start.to_owned()];
    for component in components {
        folders = match component.as_str() {
            "*" => {
                let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
                let paths = entries.flat_map(|entries| entries.filter_map(Result::ok));
                paths.map(|entry| entry.path()).take(MAX_FOLDERS).collect()
            }
            name => folders.into_iter().map(|folder| folder.join(name)).collect(),
        };
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_every_folder_in_its_place() {
        let home = tempfile::tempdir().unwrap();
        for version in ["v20", "v22"] {
            std::fs::create_dir_all(home.path().join(".nvm").join(version).join("bin")).unwrap();
        }
        let components = [".nvm", "*", "bin"].map(str::to_owned);
        let mut found = expand(home.path(), &components);
        found.sort();
        let expected = ["v20", "v22"].map(|version| home.path().join(".nvm").join(version).join("bin"));
        assert_eq!(found, expected);
        assert_eq!(
            expand(&home.path().join("none"), &components),
            [""; 0].map(PathBuf::from)
        );
    }

    #[test]
    fn the_hook_client_is_found_from_where_the_tool_lies() {
        let top = tempfile::tempdir().unwrap();
        for (tool, client) in [
            ("dist/lib/defenseclaw-cli", "dist/defenseclaw-hook"),
            ("usr/lib/defenseclaw/defenseclaw-cli", "usr/bin/defenseclaw-hook"),
            ("debug/defenseclaw-cli", "debug/defenseclaw-hook"),
        ] {
            let (tool, client) = (top.path().join(tool), top.path().join(client));
            std::fs::create_dir_all(client.parent().unwrap()).unwrap();
            assert_eq!(client_of(&tool), None);
            std::fs::write(&client, "").unwrap();
            assert_eq!(client_of(&tool), Some(client));
        }
    }
}
