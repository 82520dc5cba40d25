//! A home folder with secrets, a project in it, and what of them has changed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::scene::{SECRET, Scene};

/// Folders and files of one trial. Dropping it removes them.
#[derive(Debug)]
pub struct Ground {
    /// What attacks are told.
    pub scene: Scene,
    folder: TempDir,
    /// Outside the folder, so removed one by one.
    strays: Vec<PathBuf>,
}

/// What a file system entry is, as far as an attack could change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    modified: i64,
    content: Vec<u8>,
}

/// Entries by path.
pub type Snapshot = BTreeMap<PathBuf, Entry>;

/// In the project, what the profiles seal or close. Some of it is missing, and must stay so.
const GUARDED: [&str; 17] = [
    ".git",
    ".git/HEAD",
    ".git/config",
    ".git/hooks",
    ".claude",
    ".codex",
    ".cursor",
    ".gemini",
    ".vscode",
    ".mcp.json",
    ".env",
    ".envrc",
    ".env.local",
    "key.pem",
    "id_rsa",
    "config/.env",
    "sub/.claude",
];

impl Ground {
    /// Makes everything, owned by `user`. It lies outside `/tmp`, which many sandboxes leave open or replace.
    pub fn make(user: u32) -> Result<Self> {
        let folder = folder("escape-")?;
        let base = folder.path().canonicalize()?;
        fs::set_permissions(&base, fs::Permissions::from_mode(0o755))?;
        let unique = base
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let home = base.join("home");
        let scene = Scene {
            project: home.join("work/project"),
            neighbour: home.join("work/neighbour"),
            tmp: base.join("tmp"),
            secret: home.join(".ssh/id_ed25519"),
            shared_tmp: Path::new("/tmp").join(format!("{unique}.tmp")),
            shared_memory_file: Path::new("/dev/shm").join(format!("{unique}.shm")),
            launcher: PathBuf::from("/nonexistent"),
            base,
            home,
            ..Scene::default()
        };
        let strays = vec![scene.shared_tmp.clone(), scene.shared_memory_file.clone()];
        let ground = Self {
            scene,
            folder,
            strays,
        };
        ground.fill()?;
        ground.give_to(user)?;
        Ok(ground)
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn fill(&self) -> Result<()> {
        let scene = &self.scene;
        let project = &scene.project;
        let secret = |name: &str| format!("{SECRET}{name}\n");
        let hook = "#!/bin/sh\nexit 0\n".to_owned();
        let mut files = vec![
            (scene.secret.clone(), secret("ssh")),
            (scene.home.join(".ssh/authorized_keys"), "# none\n".to_owned()),
            (scene.busy_file(), "# none\n".to_owned()),
            (scene.home.join(".aws/credentials"), secret("aws")),
            (scene.home.join(".gnupg/private.key"), secret("gnupg")),
            (scene.home.join(".docker/run/.keep"), String::new()),
            (scene.home.join(".claude/.keep"), String::new()),
            (scene.home.join(".codex/.keep"), String::new()),
            (scene.home.join(".vscode/.keep"), String::new()),
            (scene.home.join(".bashrc"), "# shell\n".to_owned()),
            (scene.home.join(".profile"), "# shell\n".to_owned()),
            (scene.home.join(".config/systemd/user/.keep"), String::new()),
            (scene.home.join(".local/bin/.keep"), String::new()),
            (scene.neighbour.join("file.txt"), "neighbour\n".to_owned()),
            (scene.base.join("run/dbus/.keep"), String::new()),
            (scene.base.join("run/systemd/.keep"), String::new()),
            (scene.base.join("later/.keep"), String::new()),
            (scene.tmp.join(".keep"), String::new()),
            (project.join("README"), "A small project.\n".to_owned()),
            (
                project.join("src/main.c"),
                "int main(void) { return 0; }\n".to_owned(),
            ),
            (project.join("sub/notes.txt"), "notes\n".to_owned()),
            (project.join("config/plain.txt"), "plain\n".to_owned()),
            (project.join(".git/HEAD"), "ref: refs/heads/main\n".to_owned()),
            (
                project.join(".git/config"),
                "[core]\n\trepositoryformatversion = 0\n\tbare = false\n".to_owned(),
            ),
            (project.join(".git/hooks/pre-commit"), hook),
            (project.join(".git/objects/info/.keep"), String::new()),
            (project.join(".git/refs/heads/.keep"), String::new()),
            (scene.saved_secret(), secret("saved")),
            (scene.saved_settings(), "{}\n".to_owned()),
            (scene.beaten_secret(), secret("beaten")),
            (scene.beaten_settings(), "[core]\n".to_owned()),
            (scene.beaten_hooks().join("pre-commit"), "exit 0\n".to_owned()),
            (scene.shared_tmp.clone(), "shared\n".to_owned()),
            (scene.shared_memory_file.clone(), "shared\n".to_owned()),
        ];
        for file in scene.closed_in_project() {
            files.push((file, secret("project")));
        }
        for (path, text) in files {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
            }
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(project.join(".git/hooks/pre-commit"), executable)?;
        symlink("README", project.join("link"))?;
        Ok(())
    }

    fn give_to(&self, user: u32) -> Result<()> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(());
        }
        for path in walk(&self.scene.base)?.into_iter().chain(self.strays.clone()) {
            lchown(&path, Some(user), Some(user))?;
        }
        Ok(())
    }

    /// Everything that no sandboxed program may change: all but the project's ordinary files and the temporary folder.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let scene = &self.scene;
        let mut snapshot = Snapshot::new();
        for path in walk(&scene.base)?.into_iter().chain(self.strays.clone()) {
            let ordinary = path.starts_with(&scene.tmp)
                || path.starts_with(scene.later_sockets())
                // Its own bookkeeping, as root.
                || path.starts_with(scene.base.join("run/firejail"))
                || path == scene.busy_file()
                || path.starts_with(&scene.project) && !guarded(&scene.project, &path);
            if ordinary {
                continue;
            }
            if let Some(entry) = entry(&path)? {
                snapshot.insert(path, entry);
            }
        }
        Ok(snapshot)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for stray in &self.strays {
            // An attack may have removed it.
            let _ = fs::remove_file(stray);
        }
    }
}

/// What differs, in words; and what was added empty inside the project: a sandbox's own mount points, not an attack's work.
pub fn difference(before: &Snapshot, after: &Snapshot, project: &Path) -> (Vec<String>, Vec<String>) {
    let (mut changed, mut left) = (Vec::new(), Vec::new());
    for (path, old) in before {
        match after.get(path) {
            None => changed.push(format!("{} is gone", path.display())),
            Some(new) if new != old => {
                changed.push(format!("{}: {}", path.display(), what_differs(old, new)));
            }
            Some(_) => {}
        }
    }
    for (path, new) in after.iter().filter(|(path, _)| !before.contains_key(*path)) {
        let text = format!("{} is new", path.display());
        if path.starts_with(project) && new.content.is_empty() {
            left.push(text);
        } else {
            changed.push(text);
        }
    }
    (changed, left)
}

fn what_differs(old: &Entry, new: &Entry) -> &'static str {
    if old.inode != new.inode {
        "replaced"
    } else if old.content != new.content {
        "other content"
    } else if old.owner != new.owner {
        "other owner"
    } else if old.mode != new.mode {
        "other permissions"
    } else {
        "other modification time"
    }
}

/// Below one of the guarded names, or one of them.
fn guarded(project: &Path, path: &Path) -> bool {
    GUARDED.iter().map(|name| project.join(name)).any(|name| {
        if name.ends_with(".git") {
            path == name
        } else {
            path.starts_with(&name)
        }
    })
}

fn entry(path: &Path) -> Result<Option<Entry>> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(None);
    };
    let kind = metadata.file_type();
    let mut content = Vec::new();
    if kind.is_symlink() {
        content = fs::read_link(path)?.to_string_lossy().into_owned().into_bytes();
    } else if kind.is_file() {
        fs::File::open(path)?.read_to_end(&mut content)?;
        content.extend(attributes(path));
    }
    // A folder's time changes with its entries, which are looked at one by one.
    let modified = if kind.is_dir() { 0 } else { metadata.mtime() };
    Ok(Some(Entry {
        inode: metadata.ino(),
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        modified,
        content,
    }))
}

/// Names of the extended attributes of a file.
fn attributes(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else {
        return Vec::new();
    };
    let mut names = vec![0_u8; 1024];
    // SAFETY: the path ends in NUL, and the kernel writes at most the given length into a buffer of that length.
    let length = unsafe { nix::libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(usize::try_from(length).unwrap_or(0));
    names
}

/// Everything below a folder, and the folder; links are not followed.
fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![folder.to_owned()];
    let mut next = 0;
    while next < found.len() {
        let path = found[next].clone();
        next += 1;
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            for entry in fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))? {
                found.push(entry?.path());
            }
        }
    }
    Ok(found)
}

/// A temporary folder where scenes lie.
pub(super) fn folder(prefix: &str) -> Result<TempDir> {
    let place = place()?;
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(&place)
        .with_context(|| format!("no folder in {}", place.display()))
}

/// Where scenes lie: `DEFENSECLAW_ESCAPE_PLACE`, else `/home` for root, else the user's home folder.
fn place() -> Result<PathBuf> {
    if let Some(place) = std::env::var_os("DEFENSECLAW_ESCAPE_PLACE") {
        return Ok(place.into());
    }
    if nix::unistd::geteuid().is_root() {
        return Ok("/home".into());
    }
    std::env::var_os("HOME")
        .map(PathBuf::from)
        .context("HOME is not set: name a folder in DEFENSECLAW_ESCAPE_PLACE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_hook_and_a_new_file_outside_are_noticed_and_ordinary_work_is_not() {
        let place = tempfile::tempdir().unwrap();
        let scene = Scene {
            base: place.path().to_owned(),
            home: place.path().join("home"),
            project: place.path().join("home/project"),
            neighbour: place.path().join("home/neighbour"),
            tmp: place.path().join("tmp"),
            secret: place.path().join("home/.ssh/id_ed25519"),
            shared_tmp: place.path().join("stray-tmp"),
            shared_memory_file: place.path().join("stray-shm"),
            ..Scene::default()
        };
        let ground = Ground {
            scene,
            folder: place,
            strays: Vec::new(),
        };
        ground.fill().unwrap();
        let project = &ground.scene.project;
        let before = ground.snapshot().unwrap();
        fs::write(project.join("src/main.c"), "changed").unwrap();
        fs::write(project.join(".mcp.json"), "").unwrap();
        assert_eq!(
            difference(&before, &ground.snapshot().unwrap(), project),
            (
                vec![],
                vec![format!("{} is new", project.join(".mcp.json").display())]
            )
        );
        fs::write(project.join(".git/hooks/pre-commit"), "evil").unwrap();
        fs::write(ground.scene.home.join("new"), "evil").unwrap();
        let (changed, _) = difference(&before, &ground.snapshot().unwrap(), project);
        assert_eq!(changed.len(), 2, "{changed:?}");
    }
}
