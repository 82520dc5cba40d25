//! Where programs lie on this host.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What is known of the host and its user.
#[derive(Debug, Clone)]
pub struct Host {
    /// The user's home folder.
    pub home: Option<PathBuf>,
    /// Where programs are looked for.
    pub path: OsString,
}

impl Host {
    /// This process's.
    pub fn here() -> Self {
        Self {
            home: std::env::var_os("HOME")
                .map(PathBuf::from)
                .filter(|home| home.is_absolute()),
            path: std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()),
        }
    }

    /// The program `name`, as a shell finds it; where it has a slash, below `folder`.
    pub(crate) fn find_in(&self, name: &str, folder: Option<&Path>) -> Option<PathBuf> {
        if name.contains('/') {
            let path = folder.unwrap_or(Path::new("/")).join(name);
            return is_program(&path).then_some(path);
        }
        let folders = std::env::split_paths(&self.path).filter(|folder| folder.is_absolute());
        folders
            .map(|folder| folder.join(name))
            .find(|path| is_program(path))
    }

    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        self.find_in(name, None)
    }

    /// Whether granting `folder` would grant the whole home.
    pub(crate) fn too_much(&self, folder: &Path) -> bool {
        let home = self.home.as_ref().and_then(|home| home.canonicalize().ok());
        folder.parent().is_none() || home.is_some_and(|home| home.starts_with(folder))
    }

    /// What `program` needs beside itself: the tree that it was installed in, or its folder; where that would be the home
    /// folder, nothing but itself.
    pub(crate) fn root_of(&self, program: &Path) -> Option<PathBuf> {
        let folder = program.parent()?;
        let above = folder
            .parent()
            .filter(|_| folder.file_name().is_some_and(|name| name == "bin"));
        let tree = above
            .filter(|above| !self.too_much(above) && above.parent().is_some_and(|up| up.parent().is_some()));
        let root = tree.unwrap_or(folder);
        Some(if self.too_much(root) { program } else { root }.to_owned())
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
