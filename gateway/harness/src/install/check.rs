//! Whether what was installed is still there, and putting it back.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::edit::{self, Format, Ours, Presence, lookup};
use super::files::{self, Acting};
use super::manifest::{Installed, InstalledFile};
use super::spec::Scope;
use super::{InstallError, User, change};

/// How one file of an installation fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Our hooks are in it as they were installed.
    Whole,
    /// Some are missing or changed, or switched off. The text says what, for a person.
    Altered(String),
    /// None is left. The text says what became of the file.
    Missing(String),
    /// It cannot be looked at. The text says why.
    Unknown(String),
}

/// How each file of an installation fares, and the hook client that they name.
pub fn check(installed: &Installed) -> Vec<(PathBuf, Health)> {
    let files = installed.files.iter().map(|file| {
        let health = check_file(installed, file);
        (file.planned.path.clone(), health)
    });
    files
        .chain(std::iter::once((
            installed.client.clone(),
            check_client(installed),
        )))
        .collect()
}

/// A harness whose hook cannot be started goes on without it.
fn check_client(installed: &Installed) -> Health {
    match std::fs::metadata(&installed.client) {
        Ok(meta) if !meta.is_file() || meta.mode() & 0o111 == 0 => {
            Health::Altered("the hook client is no program that can be started".into())
        }
        Ok(meta) if installed.scope == Scope::System && installed.uid == 0 && is_loose(&meta) => {
            Health::Altered("the hook client can be changed by users who are not root".into())
        }
        Ok(_) => Health::Whole,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Health::Missing("the hook client is gone".into())
        }
        Err(error) => Health::Unknown(format!("the hook client cannot be looked at: {error}")),
    }
}

fn is_loose(meta: &std::fs::Metadata) -> bool {
    meta.uid() != 0 || meta.mode() & 0o022 != 0
}

fn check_file(installed: &Installed, file: &InstalledFile) -> Health {
    let planned = &file.planned;
    let user = User {
        uid: installed.uid,
        gid: installed.gid,
        home: installed.home.clone(),
    };
    // What a user could not read no harness of that user reads, and root follows no link on that user's behalf.
    let privileged = nix::unistd::geteuid().is_root() && installed.scope == Scope::User;
    let _acting = Acting::as_user(&user, privileged);
    let found = match files::find(&planned.path, None) {
        Ok(found) => found,
        Err(InstallError::File { source, .. }) => {
            return Health::Unknown(format!("it cannot be read: {source}"));
        }
        Err(error) => return Health::Altered(error.to_string()),
    };
    let Some(bytes) = &found.bytes else {
        return Health::Missing("the file is gone".into());
    };
    if planned.format == Format::Whole {
        return match &planned.content {
            Some(text) if text.as_bytes() == bytes => Health::Whole,
            _ => Health::Altered("the file is not as it was installed".into()),
        };
    }
    let ours = Ours {
        connector: &installed.connector,
    };
    let Ok(text) = found.text() else {
        return Health::Missing("the file is no text any more".into());
    };
    match edit::presence(text, planned.format, &planned.edits, ours) {
        Err(error) => Health::Missing(format!("the file cannot be read any more: {error}")),
        Ok(Presence::Missing) => Health::Missing("no hook of ours is left in it".into()),
        Ok(Presence::Altered(what)) => Health::Altered(what),
        Ok(Presence::Whole) => switched_off(installed, file, text),
    }
}

fn switched_off(installed: &Installed, file: &InstalledFile, text: &str) -> Health {
    let planned = &file.planned;
    let Ok(value) = edit::read(text, planned.format) else {
        return Health::Missing("the file cannot be read any more".into());
    };
    for off in &planned.off {
        if lookup(&value, &off.at) == Some(&off.is) {
            let what = format!("{} is {}, which switches hooks off", off.at.join("."), off.is);
            return Health::Altered(what);
        }
    }
    let loose = std::fs::metadata(&planned.path).is_ok_and(|meta| is_loose(&meta));
    if installed.scope == Scope::System && installed.uid == 0 && loose {
        return Health::Altered("users who are not root can change the file".into());
    }
    Health::Whole
}

/// Puts back what is missing or altered, with this process's own rights or, where it has more, with the user's.
pub fn repair(installed: &Installed, privileged: bool) -> Result<(), InstallError> {
    let user = User {
        uid: installed.uid,
        gid: installed.gid,
        home: installed.home.clone(),
    };
    let of_user = installed.scope == Scope::User;
    for file in &installed.files {
        let _acting = Acting::as_user(&user, privileged && of_user);
        let limit = (privileged && of_user).then_some(installed.home.as_path());
        let found = files::find(&file.planned.path, limit)?;
        let (_, new, _) = change::renewed(&installed.connector, file.planned.clone(), &found)?;
        if found.bytes.as_deref() != Some(new.as_bytes()) {
            files::make_folders(&found.path, !of_user)?;
            files::replace(&found, new.as_bytes(), !of_user)?;
        }
    }
    Ok(())
}
