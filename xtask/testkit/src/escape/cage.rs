//! How a sandbox is started: ours, and the peers that it is compared with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::scene::Scene;

/// What a program is run in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cage {
    /// Nothing: the control.
    None,
    /// `defenseclaw-cli run`.
    Ours {
        /// The program.
        cli: PathBuf,
        /// The profile.
        profile: String,
        /// Whether covers are renewed.
        watch: bool,
    },
    /// bubblewrap.
    Bubblewrap,
    /// firejail.
    Firejail,
    /// `codex sandbox`, with the path of the program.
    Codex(PathBuf),
    /// Anthropic's sandbox-runtime, with the path of the program.
    Srt(PathBuf),
}

/// In the home folder, what a peer is told to hide.
const SECRET_FOLDERS: [&str; 4] = [".ssh", ".aws", ".gnupg", ".docker"];
/// In the project, what a peer is told not to let be written. What is missing cannot be named to all of them.
const SEALED: [&str; 2] = [".git/hooks", ".git/config"];

impl Cage {
    /// The name in tables.
    pub fn name(&self) -> &str {
        match self {
            Self::None => "none",
            Self::Ours { profile, .. } => profile,
            Self::Bubblewrap => "bwrap",
            Self::Firejail => "firejail",
            Self::Codex(_) => "codex",
            Self::Srt(_) => "srt",
        }
    }

    /// The peers, each with the reason if it is not here: `DEFENSECLAW_CODEX` and `DEFENSECLAW_SRT` name programs that are
    /// not in `PATH`.
    pub fn peers() -> Vec<(Self, Option<String>)> {
        let named = |variable: &str, name: &str| {
            std::env::var_os(variable)
                .map(PathBuf::from)
                .filter(|path| path.is_file())
                .or_else(|| in_path(name))
        };
        let missing = |name: &str, variable: &str| {
            Some(format!("no program {name} in PATH, and {variable} names none"))
        };
        let codex = named("DEFENSECLAW_CODEX", "codex");
        let srt = named("DEFENSECLAW_SRT", "srt");
        let here = |name: &str| {
            in_path(name)
                .is_none()
                .then(|| format!("no program {name} in PATH"))
        };
        vec![
            (Self::Bubblewrap, here("bwrap")),
            (Self::Firejail, here("firejail")),
            match codex {
                Some(path) => (Self::Codex(path), None),
                None => (Self::Codex(PathBuf::new()), missing("codex", "DEFENSECLAW_CODEX")),
            },
            match srt {
                Some(path) => (Self::Srt(path), None),
                None => (Self::Srt(PathBuf::new()), missing("srt", "DEFENSECLAW_SRT")),
            },
        ]
    }

    /// The command that runs `inner` in this cage, in the project. Peers are configured to protect what the profile
    /// `network-none` protects: writes only in the project and the temporary folder, secrets hidden, no network.
    pub fn command(&self, scene: &Scene, inner: Vec<String>) -> Result<Vec<String>> {
        let mut words = match self {
            Self::None => Vec::new(),
            Self::Ours { cli, profile, watch } => ours(cli, profile, *watch, scene)?,
            Self::Bubblewrap => bubblewrap(scene),
            Self::Firejail => firejail(scene),
            Self::Codex(program) => codex(program, scene)?,
            Self::Srt(program) => srt(program, scene)?,
        };
        words.extend(inner);
        Ok(words)
    }
}

fn ours(cli: &Path, profile: &str, watch: bool, scene: &Scene) -> Result<Vec<String>> {
    let mut words = vec![text(cli), "run".to_owned()];
    let mut name = profile.to_owned();
    if profile == "network-allowlist" {
        // The same but for its hosts: a test looks up no names in the world.
        name = "escape-hosts".to_owned();
        let folder = scene.tmp.join("profiles");
        let text = format!(
            "version: 1\nname: {name}\nextends: {profile}\nsummary: For tests.\n\
             network: {{mode: allowlist, hosts: [\"localhost:9\"]}}\n"
        );
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("escape-hosts.yaml"), text).context("cannot write a profile")?;
        words.extend(["--profiles".to_owned(), folder.display().to_string()]);
    }
    words.extend([
        "--profile".to_owned(),
        name,
        "--project".to_owned(),
        text(&scene.project),
    ]);
    words.extend(watch.then(|| "--watch".to_owned()));
    words.push("--".to_owned());
    Ok(words)
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn bubblewrap(scene: &Scene) -> Vec<String> {
    let (project, tmp) = (text(&scene.project), text(&scene.tmp));
    let mut words: Vec<String> = [
        "bwrap",
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--tmpfs",
        "/tmp",
        "--tmpfs",
        "/run",
        "--unshare-all",
        "--new-session",
        "--die-with-parent",
        "--cap-drop",
        "ALL",
    ]
    .map(str::to_owned)
    .to_vec();
    for folder in [&project, &tmp] {
        words.extend(["--bind".to_owned(), folder.clone(), folder.clone()]);
    }
    for folder in SECRET_FOLDERS {
        words.extend(["--tmpfs".to_owned(), text(&scene.home.join(folder))]);
    }
    for file in scene.closed_in_project() {
        words.extend(["--ro-bind".to_owned(), "/dev/null".to_owned(), text(&file)]);
    }
    for name in SEALED {
        let path = text(&scene.project.join(name));
        words.extend(["--ro-bind".to_owned(), path.clone(), path]);
    }
    words.extend(["--chdir".to_owned(), project, "--".to_owned()]);
    words
}

fn firejail(scene: &Scene) -> Vec<String> {
    let mut words: Vec<String> = [
        "firejail",
        "--quiet",
        "--noprofile",
        "--allusers",
        "--net=none",
        "--caps.drop=all",
        "--seccomp",
        "--nonewprivs",
        "--ipc-namespace",
        "--read-only=/",
        "--private-tmp",
        "--blacklist=/run/docker.sock",
    ]
    .map(str::to_owned)
    .to_vec();
    for folder in [&scene.project, &scene.tmp] {
        words.push(format!("--read-write={}", folder.display()));
    }
    for folder in SECRET_FOLDERS {
        words.push(format!("--blacklist={}", scene.home.join(folder).display()));
    }
    for file in scene.closed_in_project() {
        words.push(format!("--blacklist={}", file.display()));
    }
    for name in SEALED {
        words.push(format!("--read-only={}", scene.project.join(name).display()));
    }
    words.push("--".to_owned());
    words
}

fn codex(program: &Path, scene: &Scene) -> Result<Vec<String>> {
    // Not in the temporary folder: there it refuses to put its helpers.
    let folder = scene.later_sockets().join("codex");
    fs::create_dir_all(&folder)?;
    // It writes there as the user under test.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
    let mut settings = "[permissions.escape.network]\nenabled = false\n\n\
                        [permissions.escape.filesystem]\n\":root\" = \"read\"\n"
        .to_owned();
    let writable = [scene.project.clone(), scene.tmp.clone()].map(|path| (path, "write"));
    let hidden = hidden(scene).into_iter().map(|path| (path, "none"));
    let sealed = SEALED.iter().map(|name| (scene.project.join(name), "read"));
    for (path, access) in writable.into_iter().chain(hidden).chain(sealed) {
        settings.push_str(&format!("{} = \"{access}\"\n", json!(text(&path))));
    }
    fs::write(folder.join("config.toml"), settings).context("cannot write Codex's settings")?;
    Ok(vec![
        "env".to_owned(),
        format!("CODEX_HOME={}", folder.display()),
        text(program),
        "sandbox".to_owned(),
        "-P".to_owned(),
        "escape".to_owned(),
        "--".to_owned(),
    ])
}

/// What a peer is told to hide.
fn hidden(scene: &Scene) -> Vec<PathBuf> {
    SECRET_FOLDERS
        .iter()
        .map(|name| scene.home.join(name))
        .chain(scene.closed_in_project())
        .collect()
}

fn srt(program: &Path, scene: &Scene) -> Result<Vec<String>> {
    let hidden: Vec<String> = hidden(scene).iter().map(|path| text(path)).collect();
    let sealed: Vec<String> = SEALED
        .iter()
        .map(|name| text(&scene.project.join(name)))
        .collect();
    let settings = json!({
        "network": {"allowedDomains": [], "deniedDomains": []},
        "filesystem": {
            "denyRead": hidden,
            "allowWrite": [text(&scene.project), text(&scene.tmp)],
            "denyWrite": sealed.iter().chain(&hidden).collect::<Vec<_>>(),
        },
    });
    let file = scene.tmp.join("srt.json");
    fs::write(&file, settings.to_string()).context("cannot write srt's settings")?;
    Ok(vec![text(program), "--settings".to_owned(), text(&file)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_comes_last_and_the_control_adds_nothing() {
        let scene = Scene {
            home: "/home/x".into(),
            project: "/home/x/p".into(),
            ..Scene::default()
        };
        let inner = vec!["escape".to_owned(), "run".to_owned()];
        assert_eq!(Cage::None.command(&scene, inner.clone()).unwrap(), inner);
        let cages = [
            Cage::Bubblewrap,
            Cage::Firejail,
            Cage::Ours {
                cli: "defenseclaw-cli".into(),
                profile: "strict".into(),
                watch: true,
            },
        ];
        for cage in cages {
            let words = cage.command(&scene, inner.clone()).unwrap();
            assert_eq!(words[words.len() - 3], "--");
            assert_eq!(words[words.len() - 2..], inner);
        }
    }
}
