//! From a server's settings to what is started, what that may read, and what it is known by.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use defenseclaw_detect::mask::{mask_arguments, mask_text};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::canonical::hex;
use crate::host::Host;
use crate::package::{self, Installed, Wanted};
use crate::problem::{Problem, Trouble};
use crate::settings::Reach;

/// Most of a file that is hashed (bytes): no program is larger.
const MAX_HASHED: u64 = 1 << 30;
/// How far above a script its package's root is looked for.
const ABOVE: usize = 6;
/// What shows that a folder is a package's root.
const ROOTS: &[&str] = &[
    "package.json",
    "pyproject.toml",
    "setup.py",
    "Cargo.toml",
    "go.mod",
    "deno.json",
    ".git",
];
/// Programs that scripts name in their first line.
const INTERPRETERS: &[&str] = &["node", "python3", "python", "bun", "deno", "ruby"];
/// Engines that start containers: they do nothing themselves, and the daemon that does is out of reach.
const ENGINES: &[&str] = &["docker", "podman", "nerdctl", "container", "finch"];
/// Longest text of a launch that is shown or pinned (bytes).
const MAX_TEXT: usize = 4 << 10;

/// What is started.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Start {
    /// Program and arguments.
    pub(crate) words: Vec<String>,
    /// What it may read besides the system and its folder.
    pub(crate) read: Vec<PathBuf>,
}

/// What a server is known by, whatever it says of itself: nothing secret.
pub(crate) fn identity(reach: &Reach, host: &Host) -> Value {
    match reach {
        Reach::Stdio { words, env, folder } => of_program(words, env, folder.as_deref(), host),
        Reach::Http { url, headers } => json!({"url": mask_text(url, MAX_TEXT), "headers": headers}),
        Reach::Unclear(_) => Value::Null,
    }
}

fn of_program(words: &[String], env: &[String], folder: Option<&Path>, host: &Host) -> Value {
    let words = expanded(words, host, folder);
    let mut launch = json!({"command": mask_arguments(&words), "env": env});
    let program = words.first().and_then(|word| host.find_in(word, folder));
    if let Some(real) = program.and_then(|program| program.canonicalize().ok()) {
        launch["program"] = real.display().to_string().into();
        launch["sha256"] = digest_of(&real).into();
    }
    if let Some(wanted) = package::wanted(&words) {
        launch["package"] = of_package(&wanted, package::installed(&wanted, host, folder));
    } else if let Some(script) = script(&words, folder) {
        launch["script"] = json!({"path": script.display().to_string(), "sha256": digest_of(&script)});
    }
    launch
}

fn of_package(wanted: &Wanted, installed: Option<Installed>) -> Value {
    let mut package =
        json!({"registry": wanted.registry.as_str(), "name": wanted.name, "asked": wanted.version});
    if let Some(installed) = installed {
        package["version"] = installed.version.into();
        package["sha256"] = installed.digest.into();
    }
    package
}

/// SHA-256 of a file; `None` where it cannot be read or is larger than anything that is run.
fn digest_of(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    file.metadata()
        .ok()
        .filter(|meta| meta.is_file() && meta.len() <= MAX_HASHED)?;
    let (mut digest, mut bytes) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut bytes).ok()? {
            0 => return Some(hex(&digest.finalize())),
            count => digest.update(bytes.get(..count)?),
        }
    }
}

/// What is started for `words`, without asking the network unless `network`.
pub(crate) fn start(
    words: &[String],
    folder: Option<&Path>,
    host: &Host,
    network: bool,
) -> Result<Start, Problem> {
    let words = expanded(words, host, folder);
    let base = words
        .first()
        .and_then(|word| word.rsplit('/').next())
        .unwrap_or_default();
    if ENGINES.contains(&base) {
        let message =
            format!("It runs in a container that {base} starts, which is out of reach of a sandbox");
        return Err(Problem::new(Trouble::Unclear, message));
    }
    let mut read = Vec::new();
    let words = match package::wanted(&words) {
        None => words,
        Some(wanted) => match package::installed(&wanted, host, folder) {
            Some(installed) => {
                read.push(installed.folder);
                installed.words
            }
            None if network => words,
            None => {
                let version = wanted.version.as_deref().map(|version| format!("@{version}"));
                let name = format!("{}{}", wanted.name, version.unwrap_or_default());
                let message = format!(
                    "Its package {name} ({}) is not on this host",
                    wanted.registry.as_str()
                );
                return Err(Problem::new(Trouble::NotHere, message));
            }
        },
    };
    let first = words.first().map(String::as_str).unwrap_or_default();
    let Some(program) = host.find_in(first, folder).filter(|_| !first.contains('=')) else {
        return Err(Problem::new(Trouble::NotHere, "Its program is not on this host").seen(first));
    };
    grant_program(&program, host, &mut read);
    for name in INTERPRETERS {
        if let Some(program) = host.find(name) {
            grant_program(&program, host, &mut read);
        }
    }
    if let Some(script) = script(&words, folder) {
        read.push(root_above(&script, host));
    }
    // Folders and files that its settings name as its arguments.
    for word in words.iter().skip(1) {
        let path = Path::new(word);
        let named = path
            .canonicalize()
            .ok()
            .filter(|real| path.is_absolute() && !host.too_much(real));
        read.extend(named.filter(|real| real.components().count() > 2));
    }
    let mut words = words;
    if let (Some(first), Some(program)) = (words.first_mut(), program.to_str()) {
        // By its own path, not by where it leads: a virtual environment is known by it.
        program.clone_into(first);
    }
    read.sort();
    read.dedup();
    Ok(Start { words, read })
}

fn grant_program(program: &Path, host: &Host, read: &mut Vec<PathBuf>) {
    for path in [Some(program.to_owned()), program.canonicalize().ok()]
        .into_iter()
        .flatten()
    {
        let system = ["/usr", "/bin", "/sbin", "/lib", "/opt", "/nix"]
            .iter()
            .any(|root| path.starts_with(root));
        if !system {
            read.extend(host.root_of(&path));
        }
    }
}

/// The file that an interpreter is given.
fn script(words: &[String], folder: Option<&Path>) -> Option<PathBuf> {
    let words = words.iter().skip(1).take(4).filter(|word| !word.starts_with('-'));
    let files = words.map(|word| folder.unwrap_or(Path::new("/")).join(word));
    files
        .filter(|path| path.is_file())
        .find_map(|path| path.canonicalize().ok())
}

/// The root of the package that `script` belongs to, else its folder, else itself.
fn root_above(script: &Path, host: &Host) -> PathBuf {
    let above = script
        .ancestors()
        .skip(1)
        .take(ABOVE)
        .take_while(|folder| !host.too_much(folder));
    let mut above = above.filter(|folder| folder.components().count() > 2).peekable();
    let nearest = above.peek().map(|folder| folder.to_path_buf());
    let is_root = |folder: &&Path| {
        ROOTS
            .iter()
            .any(|name| fs::symlink_metadata(folder.join(name)).is_ok())
    };
    let root = above.find(is_root).map(Path::to_owned).or(nearest);
    // In the home folder itself: then nothing but the script.
    root.unwrap_or_else(|| script.to_owned())
}

/// What settings of the known products may leave to be filled in.
fn expanded(words: &[String], host: &Host, folder: Option<&Path>) -> Vec<String> {
    let home = host
        .home
        .as_ref()
        .and_then(|home| home.to_str())
        .unwrap_or_default();
    let folder = folder.and_then(Path::to_str).unwrap_or_default();
    let fill = |word: &String| {
        let word = match word.strip_prefix("~/") {
            Some(rest) => format!("{home}/{rest}"),
            None => word.clone(),
        };
        ["${HOME}", "${userHome}", "${env:HOME}"]
            .iter()
            .map(|name| (name, home))
            .chain(
                ["${workspaceFolder}", "${CLAUDE_PROJECT_DIR}"]
                    .iter()
                    .map(|name| (name, folder)),
            )
            .fold(word, |word, (name, value)| word.replace(name, value))
    };
    words.iter().map(fill).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(home: &Path) -> Host {
        Host {
            home: Some(home.to_owned()),
            path: "/usr/bin:/bin".into(),
        }
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_identity_follows_program_script_and_names_and_holds_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        fs::write(home.join("s.py"), "1").unwrap();
        let host = host(&home);
        let reach = |line: &str| Reach::Stdio {
            words: words(line),
            env: vec!["TOKEN".into()],
            folder: Some(home.clone()),
        };
        let one = identity(
            &reach("sh s.py --token ghp_0123456789abcdefghijABCDEFGHIJ012345"),
            &host,
        );
        assert!(
            one["program"].as_str().unwrap().starts_with("/usr/bin/")
                || one["program"].as_str().unwrap().starts_with("/bin/")
        );
        assert_eq!(one["sha256"].as_str().unwrap().len(), 64);
        assert_eq!(one["env"], json!(["TOKEN"]));
        assert!(!one.to_string().contains("0123456789abcdefghij"), "{one}");
        let before = identity(&reach("sh s.py"), &host);
        assert_eq!(identity(&reach("sh s.py"), &host), before);
        fs::write(home.join("s.py"), "2").unwrap();
        let after = identity(&reach("sh s.py"), &host);
        assert_ne!(after["script"]["sha256"], before["script"]["sha256"]);
    }

    #[test]
    fn what_is_started_reads_its_package_and_never_the_whole_home() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        let package = home.join("src/server");
        fs::create_dir_all(package.join("dist")).unwrap();
        fs::write(package.join("package.json"), "{}").unwrap();
        fs::write(package.join("dist/i.js"), "").unwrap();
        let script = package.join("dist/i.js");
        let started = start(
            &words(&format!("sh {}", script.display())),
            None,
            &host(&home),
            false,
        )
        .unwrap();
        assert!(started.read.contains(&package), "{:?}", started.read);
        let started = start(
            &words(&format!("sh -c true {} / /home", home.display())),
            None,
            &host(&home),
            false,
        )
        .unwrap();
        assert!(
            !started.read.iter().any(|path| home.starts_with(path)),
            "{:?}",
            started.read
        );
    }

    #[test]
    fn what_lies_in_the_home_folder_is_read_alone() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        let (script, program) = (home.join("server.py"), home.join("server"));
        for file in [&script, &program] {
            fs::write(file, "").unwrap();
            fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let line = format!("{} {}", program.display(), script.display());
        let started = start(&words(&line), None, &host(&home), false).unwrap();
        assert!(started.read.contains(&script) && started.read.contains(&program));
        assert!(!started.read.contains(&home), "{:?}", started.read);
    }

    #[test]
    fn what_is_not_here_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        let trouble = |line: &str, network| {
            start(&words(line), None, &host, network)
                .map_err(|problem| problem.trouble)
                .err()
        };
        assert_eq!(trouble("no-such-program-here x", false), Some(Trouble::NotHere));
        assert_eq!(trouble("npx -y @no/such@1", false), Some(Trouble::NotHere));
        assert_eq!(trouble("docker run -i x", false), Some(Trouble::Unclear));
        assert_eq!(trouble("sh -c true", false), None);
    }
}
