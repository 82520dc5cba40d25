//! Packages that a command line runs, and where they lie on this host.

use std::fs;
use std::path::{Path, PathBuf};

use defenseclaw_artifact::Manifest;
use defenseclaw_model::package::pypi_name;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::canonical::hex;
use crate::host::Host;
use crate::json;

/// Largest `package.json` (bytes).
const MAX_MANIFEST: u64 = 1 << 20;
/// Most folders of one cache that are looked through.
const MAX_ENTRIES: usize = 5_000;

/// Where a package comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registry {
    Npm,
    PyPi,
}

impl Registry {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::PyPi => "pypi",
        }
    }
}

/// A package that a command line asks a runner for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) registry: Registry,
    pub(crate) name: String,
    /// What stands behind the name: a version, a range, a tag.
    pub(crate) version: Option<String>,
    /// Its program that is run, where that is named apart.
    pub(crate) program: Option<String>,
    /// The arguments for it.
    pub(crate) arguments: Vec<String>,
}

/// A package on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    pub(crate) version: String,
    /// Its folder, which is read.
    pub(crate) folder: PathBuf,
    /// What is run instead of the runner.
    pub(crate) words: Vec<String>,
    /// SHA-256 over its files, where that can be told.
    pub(crate) digest: Option<String>,
}

/// The package that `words` ask a runner for.
pub(crate) fn wanted(words: &[String]) -> Option<Wanted> {
    let base = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
    let runner = base(words.first()?);
    let second = words.get(1).map(String::as_str).unwrap_or_default();
    let (registry, rest) = match (runner.as_str(), second) {
        ("npx" | "bunx" | "pnpx", _) => (Registry::Npm, words.get(1..)?),
        ("npm", "exec" | "x") | ("pnpm" | "yarn", "dlx") | ("bun", "x") => (Registry::Npm, words.get(2..)?),
        ("uvx", _) => (Registry::PyPi, words.get(1..)?),
        ("uv", "tool") if words.get(2).is_some_and(|word| word == "run") => (Registry::PyPi, words.get(3..)?),
        ("pipx", "run") => (Registry::PyPi, words.get(2..)?),
        _ => return None,
    };
    let (mut named, mut rest) = (None, rest.iter());
    let first = loop {
        let word = rest.next()?;
        let (option, value) = match word.split_once('=') {
            Some((option, value)) if word.starts_with("--") => (option, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        match (registry, option) {
            (Registry::Npm, "-p" | "--package") | (Registry::PyPi, "--from" | "--spec") => {
                named = Some(value.or_else(|| rest.next().cloned())?);
            }
            // A shell's line, or something of which it cannot be told what it takes.
            (Registry::Npm, "-c" | "--call") => return None,
            (
                Registry::PyPi,
                "--with" | "--python" | "-p" | "--index-url" | "--index" | "--with-editable",
            ) => {
                if value.is_none() {
                    rest.next()?;
                }
            }
            (_, "--") => break rest.next()?,
            (_, option) if option.starts_with('-') => {}
            _ => break word,
        }
    };
    let program = named.is_some().then(|| first.clone());
    let (name, version) = split(&named.unwrap_or_else(|| first.clone()), registry)?;
    Some(Wanted {
        registry,
        name,
        version,
        program,
        arguments: rest.cloned().collect(),
    })
}

/// Name and version of `name@version` or `name==version`.
fn split(spec: &str, registry: Registry) -> Option<(String, Option<String>)> {
    let at = match registry {
        // A scope begins with the same sign.
        Registry::Npm => spec
            .get(1..)
            .and_then(|rest| rest.find('@'))
            .map(|at| (at + 1, 1)),
        Registry::PyPi => spec
            .find("==")
            .map(|at| (at, 2))
            .or_else(|| spec.find('@').map(|at| (at, 1))),
    };
    let (name, version) = match at {
        Some((at, long)) => (spec.get(..at)?, spec.get(at + long..).map(str::to_owned)),
        None => (spec, None),
    };
    // Extras in brackets choose what is installed beside it.
    let name = name.split('[').next().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@/".contains(&byte);
    let good =
        !name.is_empty() && name.bytes().all(plain) && !name.contains("..") && !name.starts_with(['/', '.']);
    good.then(|| (name.to_owned(), version.filter(|version| !version.is_empty())))
}

/// Whether `version` is what `wanted` asks for; ranges and tags are taken as satisfied, since the runner's cache chose it.
fn fits(wanted: Option<&str>, version: &str) -> bool {
    match wanted {
        Some(wanted)
            if wanted.starts_with(|c: char| c.is_ascii_digit()) && !wanted.contains(['x', '*', ' ', '|']) =>
        {
            wanted == version
        }
        _ => true,
    }
}

/// The package on this host, as the runner would find it, without asking the network.
pub(crate) fn installed(wanted: &Wanted, host: &Host, folder: Option<&Path>) -> Option<Installed> {
    match wanted.registry {
        Registry::Npm => npm_folders(wanted, host, folder)
            .iter()
            .find_map(|at| npm(wanted, at, host)),
        Registry::PyPi => {
            let roots = [
                ".local/share/uv/tools",
                ".local/share/pipx/venvs",
                ".local/pipx/venvs",
            ];
            let home = host.home.as_ref()?;
            roots
                .iter()
                .find_map(|root| pypi(wanted, &home.join(root).join(&wanted.name)))
        }
    }
}

fn npm_folders(wanted: &Wanted, host: &Host, folder: Option<&Path>) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    folders.extend(folder.map(|folder| folder.join("node_modules")));
    if let Some(home) = &host.home {
        let mut cached: Vec<_> = entries(&home.join(".npm/_npx"))
            .map(|entry| entry.join("node_modules"))
            .filter(|folder| folder.join(&wanted.name).is_dir())
            .collect();
        // The one that was used last comes first.
        cached.sort_by_key(|folder| {
            std::cmp::Reverse(fs::metadata(folder).and_then(|meta| meta.modified()).ok())
        });
        folders.extend(cached);
    }
    let node = host.find("node").and_then(|node| node.canonicalize().ok());
    let prefix = node.as_deref().and_then(Path::parent).and_then(Path::parent);
    folders.extend(prefix.map(|prefix| prefix.join("lib/node_modules")));
    folders.extend(
        [
            "/usr/lib/node_modules",
            "/usr/local/lib/node_modules",
            "/usr/share/nodejs",
        ]
        .map(PathBuf::from),
    );
    folders
        .into_iter()
        .map(|folder| folder.join(&wanted.name))
        .collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.take(MAX_ENTRIES).map(|entry| entry.path())
}

fn npm(wanted: &Wanted, folder: &Path, host: &Host) -> Option<Installed> {
    let folder = folder.canonicalize().ok()?;
    let file = folder.join("package.json");
    let meta = fs::metadata(&file)
        .ok()
        .filter(|meta| meta.is_file() && meta.len() <= MAX_MANIFEST);
    let value = json::parse(&fs::read(meta.map(|_| file)?).ok()?).ok()?;
    let version = value.get("version")?.as_str()?.to_owned();
    if value.get("name")?.as_str()? != wanted.name || !fits(wanted.version.as_deref(), &version) {
        return None;
    }
    let short = wanted.name.rsplit('/').next().unwrap_or_default();
    let asked = wanted.program.as_deref().unwrap_or(short);
    let program = match value.get("bin")? {
        Value::String(program) => program.clone(),
        Value::Object(programs) => {
            let only = programs.values().next().filter(|_| programs.len() == 1);
            programs.get(asked).or(only)?.as_str()?.to_owned()
        }
        _ => return None,
    };
    let program = folder.join(program).canonicalize().ok()?;
    if !program.starts_with(&folder) {
        return None;
    }
    let node = host.find("node")?;
    let mut words = vec![node.to_str()?.to_owned(), program.to_str()?.to_owned()];
    words.extend(wanted.arguments.iter().cloned());
    let digest = Manifest::of(&folder)
        .ok()
        .map(|manifest| manifest.digest().to_owned());
    // What it depends on lies beside it.
    let beside = folder
        .ancestors()
        .find(|above| above.file_name().is_some_and(|name| name == "node_modules"));
    Some(Installed {
        version,
        words,
        digest,
        folder: beside.unwrap_or(&folder).to_owned(),
    })
}

fn pypi(wanted: &Wanted, venv: &Path) -> Option<Installed> {
    let program = venv
        .join("bin")
        .join(wanted.program.as_deref().unwrap_or(&wanted.name));
    program.metadata().ok().filter(fs::Metadata::is_file)?;
    let packages = entries(&venv.join("lib")).map(|python| python.join("site-packages"));
    let info = packages
        .flat_map(|packages| entries(&packages))
        .find_map(|entry| {
            let name = entry
                .file_name()?
                .to_str()?
                .strip_suffix(".dist-info")?
                .to_owned();
            let (name, version) = name.rsplit_once('-')?;
            (pypi_name(name) == pypi_name(&wanted.name)).then(|| (entry.clone(), version.to_owned()))
        });
    let (info, version) = info?;
    if !fits(wanted.version.as_deref(), &version) {
        return None;
    }
    // The list of its files with a digest of each.
    let digest = fs::read(info.join("RECORD"))
        .ok()
        .map(|record| hex(&Sha256::digest(record)));
    let mut words = vec![program.to_str()?.to_owned()];
    words.extend(wanted.arguments.iter().cloned());
    Some(Installed {
        version,
        folder: venv.to_owned(),
        words,
        digest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<(String, Option<String>, Option<String>, String)> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let wanted = wanted(&words)?;
        Some((
            wanted.name,
            wanted.version,
            wanted.program,
            wanted.arguments.join(" "),
        ))
    }

    #[test]
    fn runners_are_read() {
        let some = |name: &str, version: Option<&str>, program: Option<&str>, arguments: &str| {
            Some((
                name.to_owned(),
                version.map(str::to_owned),
                program.map(str::to_owned),
                arguments.to_owned(),
            ))
        };
        assert_eq!(
            of("npx -y @a/b@1.2.3 /data"),
            some("@a/b", Some("1.2.3"), None, "/data")
        );
        assert_eq!(of("npx --yes x --flag"), some("x", None, None, "--flag"));
        assert_eq!(
            of("/usr/bin/npx -p @a/b cmd z"),
            some("@a/b", None, Some("cmd"), "z")
        );
        assert_eq!(
            of("npm exec --package=x@2 -- cmd"),
            some("x", Some("2"), Some("cmd"), "")
        );
        assert_eq!(of("pnpm dlx x@latest"), some("x", Some("latest"), None, ""));
        assert_eq!(
            of("uvx mcp-server-git==1.0 --repo ."),
            some("mcp-server-git", Some("1.0"), None, "--repo .")
        );
        assert_eq!(
            of("uvx --from pkg@2 tool a"),
            some("pkg", Some("2"), Some("tool"), "a")
        );
        assert_eq!(of("uv tool run --with z x[cli]"), some("x", None, None, ""));
        for line in [
            "node x.js",
            "npx",
            "npx -c run",
            "npx ../x",
            "npx /x",
            "uv run x",
            "npx git+https://e/x",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
    }

    #[test]
    fn an_installed_package_is_found_and_another_version_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        let package = home.join(".npm/_npx/abc/node_modules/@a/b");
        fs::create_dir_all(package.join("dist")).unwrap();
        fs::write(
            package.join("package.json"),
            r#"{"name":"@a/b","version":"1.2.3","bin":{"b":"dist/i.js"}}"#,
        )
        .unwrap();
        fs::write(package.join("dist/i.js"), "1").unwrap();
        let bin = home.join("bin");
        fs::create_dir(&bin).unwrap();
        fs::write(bin.join("node"), "").unwrap();
        std::os::unix::fs::symlink("/bin/sh", bin.join("nodejs")).unwrap();
        fs::set_permissions(
            bin.join("node"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let host = Host {
            home: Some(home.clone()),
            path: bin.clone().into_os_string(),
        };
        let find = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            installed(&wanted(&words).unwrap(), &host, None)
        };
        let found = find("npx -y @a/b@1.2.3 --x").unwrap();
        assert_eq!(found.version, "1.2.3");
        assert_eq!(
            found.words,
            [
                bin.join("node").to_str().unwrap(),
                package.join("dist/i.js").to_str().unwrap(),
                "--x"
            ]
        );
        assert_eq!(found.folder, home.join(".npm/_npx/abc/node_modules"));
        assert_eq!(find("npx -y @a/b@1.2.4"), None);
        let before = found.digest.unwrap();
        fs::write(package.join("dist/i.js"), "2").unwrap();
        assert_ne!(
            find("npx @a/b").unwrap().digest.unwrap(),
            before,
            "its content counts"
        );
    }
}
