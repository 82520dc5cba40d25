//! How far a destruction reaches, by the path that it is done to.

use defenseclaw_model::facts::Radius;

use super::normal;
use crate::shell::{Field, Scope};

/// Folders whose content is built again.
const SCRATCH: &[&str] = &[
    "target",
    "node_modules",
    "dist",
    "build",
    "out",
    "__pycache__",
    ".cache",
    ".venv",
    "venv",
    ".next",
    ".nuxt",
    ".turbo",
    ".parcel-cache",
    ".svelte-kit",
    ".angular",
    "coverage",
    "htmlcov",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".tox",
    ".nox",
    ".eggs",
    ".gradle",
    ".terraform",
    ".nyc_output",
    "bazel-out",
    "tmp",
    "temp",
    ".tmp",
    "DerivedData",
    "Pods",
    "obj",
    "bin",
    ".ipynb_checkpoints",
    "_build",
    ".stack-work",
    "dist-newstyle",
    "zig-out",
    "zig-cache",
    ".zig-cache",
    ".dart_tool",
    "test-results",
    "playwright-report",
    "logs",
    "wandb",
    "checkpoints",
    "runs",
    "output",
    "outputs",
    "results",
    "site",
    "public",
    "vendor",
    "env",
    ".serverless",
    ".aws-sam",
    "cdk.out",
    ".vite",
    ".webpack",
    "storybook-static",
    "lib-cov",
    ".output",
    "_site",
    ".docusaurus",
    "artifacts",
];

/// Ends of files that are built again.
const SCRATCH_ENDS: &[&str] = &[
    ".o",
    ".pyc",
    ".log",
    ".tmp",
    ".bak",
    ".class",
    ".swp",
    ".orig",
    ".rej",
    ".egg-info",
    ".coverage",
    ".lock",
    ".pid",
    ".a",
    ".so",
    ".d",
    ".out",
    ".tgz",
    ".gz",
    ".zip",
    ".whl",
    "~",
    ".cache",
    ".tsbuildinfo",
    ".prof",
    ".dump",
    ".DS_Store",
];

/// Folders of the system, below which nothing is a project's.
const SYSTEM: &[&str] = &[
    "etc", "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "boot", "var", "sys", "proc", "dev",
    "run", "root",
];

/// What a person keeps directly below their home.
const KEPT: &[&str] = &[
    "Documents",
    "Desktop",
    "Pictures",
    "Downloads",
    "Music",
    "Videos",
    "Library",
    ".ssh",
    ".gnupg",
    ".config",
    ".local",
    ".aws",
    ".kube",
    ".mozilla",
    ".thunderbird",
    "Dropbox",
    "Nextcloud",
    "Mail",
];

/// How far it reaches to destroy what `text` names.
pub(super) fn of(field: &Field, scope: &Scope<'_>) -> Radius {
    let text = field.text.as_str();
    if !field.exact {
        return unresolved(text);
    }
    let path = normal::normalise(text, scope.cwd.as_deref());
    of_path(&path, scope)
}

/// [`of`], for a path that is absolute where that can be told.
pub(super) fn of_path(path: &str, scope: &Scope<'_>) -> Radius {
    let path = contents_of(path);
    if path == "/" {
        return Radius::System;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if !path.starts_with('/') {
        return match parts.as_slice() {
            ["~"] => Radius::Home,
            ["~", rest @ ..] => below_home(rest),
            [] | ["." | ".." | "*"] => Radius::Project,
            parts if parts.iter().all(|part| *part == "..") => Radius::Project,
            parts => named(parts),
        };
    }
    if is_temporary(&parts) {
        return Radius::Scratch;
    }
    let home: Vec<&str> = scope
        .home
        .unwrap_or("")
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    if !home.is_empty() && home.starts_with(&parts) {
        return if home.len() == parts.len() {
            Radius::Home
        } else {
            Radius::System
        };
    }
    let cwd: Vec<&str> = scope
        .cwd
        .as_deref()
        .unwrap_or("")
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let around = !cwd.is_empty() && cwd.starts_with(&parts);
    // `cd /var/lib/x` makes no project of it.
    let inside = !cwd.is_empty() && parts.starts_with(&cwd) && !is_state(&cwd);
    match parts.as_slice() {
        ["home"] => Radius::System,
        ["home", _] | ["root"] => Radius::Home,
        // A project that lies in a system's folder is still a project.
        _ if inside && !around => match parts.get(cwd.len()..) {
            Some([".git"]) => Radius::Project,
            Some(rest) => named(rest),
            None => Radius::Project,
        },
        ["home", _, rest @ ..] if !around => below_home(rest),
        ["root", rest @ ..] if !around => below_home(rest),
        _ if !home.is_empty() && parts.starts_with(&home) && !around => below_home(&parts[home.len()..]),
        ["var", "www", _, ..] | ["var", "cache", _, ..] => Radius::Files,
        [top, ..] if SYSTEM.contains(top) => Radius::System,
        ["opt" | "srv" | "mnt" | "media"] => Radius::System,
        _ if around => Radius::Project,
        [.., ".git"] => Radius::Project,
        // Where a container's root is what is worked in.
        [
            "build" | "dist" | "target" | "node_modules" | "__pycache__" | "coverage" | "htmlcov" | "venv"
            | ".venv" | ".tox" | ".pytest_cache" | ".mypy_cache" | ".ruff_cache",
        ] => Radius::Scratch,
        [_] => Radius::System,
        parts => named(parts),
    }
}

/// Folders in which services keep what they need, where no project lies; builds run below some of them.
fn is_state(folder: &[&str]) -> bool {
    match folder {
        ["etc" | "boot" | "bin" | "sbin" | "lib" | "lib64", ..] => true,
        ["var", "lib", rest @ ..] => !rest.iter().any(|part| {
            matches!(
                *part,
                "jenkins" | "gitlab-runner" | "buildkite-agent" | "teamcity" | "lxc" | "lxd"
            )
        }),
        ["var"] | ["var", "log" | "spool" | "mail" | "backups", ..] => true,
        _ => false,
    }
}

fn below_home(rest: &[&str]) -> Radius {
    match rest {
        [] => Radius::Home,
        [one] if KEPT.contains(one) => Radius::Home,
        [.., ".git"] => Radius::Project,
        rest => named(rest),
    }
}

/// Below a project or an unknown folder.
fn named(parts: &[&str]) -> Radius {
    let scratch = |part: &&str| {
        SCRATCH.contains(part)
            || part.starts_with("cmake-build-")
            || part.starts_with("build-")
            || part.starts_with("bazel-")
            || SCRATCH_ENDS.iter().any(|end| part.ends_with(end))
    };
    match parts {
        [] | ["*"] => Radius::Project,
        [".git"] => Radius::Project,
        parts if parts.iter().any(scratch) => Radius::Scratch,
        _ => Radius::Files,
    }
}

fn is_temporary(parts: &[&str]) -> bool {
    matches!(
        parts,
        ["tmp", ..]
            | ["var", "tmp", ..]
            | ["dev", "shm", ..]
            | ["run", "user", _, ..]
            | ["var", "folders", ..]
    )
}

/// A text with an expansion that only running can tell: its literal end may still say something.
fn unresolved(text: &str) -> Radius {
    let bare = text.replace(['"', '{', '}'], "");
    let bare = contents_of(&bare);
    match bare {
        "$HOME" | "~" => return Radius::Home,
        "$PWD" | "$(pwd)" | "`pwd`" => return Radius::Project,
        _ => {}
    }
    let parts: Vec<&str> = bare.split('/').filter(|part| !part.is_empty()).collect();
    if let ["$HOME", rest @ ..] = parts.as_slice() {
        return below_home(rest);
    }
    if let Some(top) = bare
        .strip_prefix('/')
        .and_then(|_| parts.first())
        .filter(|top| SYSTEM.contains(top))
    {
        return if is_temporary(&parts) || *top == "dev" {
            Radius::Files
        } else {
            Radius::System
        };
    }
    match named(&parts) {
        Radius::Scratch => Radius::Scratch,
        _ if bare.to_ascii_lowercase().contains("tmp") => Radius::Scratch,
        _ => Radius::Files,
    }
}

/// `x/*` and `x/.*` stand for what `x` holds.
pub(super) fn contents_of(path: &str) -> &str {
    let mut path = path;
    for end in ["/*", "/.*", "/.??*", "/.[!.]*", "/{*,.*}"] {
        if let Some(head) = path.strip_suffix(end) {
            path = if head.is_empty() { "/" } else { head };
        }
    }
    if path == "/" {
        path
    } else {
        path.trim_end_matches('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_reach_as_far_as_a_person_would_say() {
        let scope = Scope::new(Some("/home/u/project"), Some("/home/u"));
        for (text, expected) in [
            ("/", Radius::System),
            ("/*", Radius::System),
            ("/etc", Radius::System),
            ("/usr/local/lib/x", Radius::System),
            ("/home", Radius::System),
            ("/home/u", Radius::Home),
            ("/home/u/*", Radius::Home),
            ("/home/u/Documents", Radius::Home),
            ("..", Radius::Home),
            (".", Radius::Project),
            ("*", Radius::Project),
            ("./*", Radius::Project),
            ("/home/u/project", Radius::Project),
            (".git", Radius::Project),
            ("target", Radius::Scratch),
            ("./node_modules", Radius::Scratch),
            ("web/dist/*", Radius::Scratch),
            ("/tmp/x", Radius::Scratch),
            ("src/old.rs", Radius::Files),
            ("/home/u/other/src", Radius::Files),
            ("/data/set/a", Radius::Files),
            ("/data", Radius::System),
            ("/build", Radius::Scratch),
        ] {
            assert_eq!(of(&Field::literal(text), &scope), expected, "{text}");
        }
    }

    #[test]
    fn a_services_folder_is_no_project() {
        for (cwd, expected) in [
            ("/var/lib/postgresql", Radius::System),
            ("/var/lib/jenkins/workspace/x", Radius::Files),
            ("/usr/src/app", Radius::Files),
        ] {
            let scope = Scope::new(Some(cwd), Some("/home/u"));
            assert_eq!(of(&Field::literal("15"), &scope), expected, "{cwd}");
        }
    }

    #[test]
    fn what_cannot_be_resolved_is_told_by_what_stands_around_it() {
        let scope = Scope::new(None, None);
        for (text, expected) in [
            ("$HOME", Radius::Home),
            ("\"${HOME}\"/*", Radius::Home),
            ("$X/node_modules", Radius::Scratch),
            ("$TMPDIR/x", Radius::Scratch),
            ("$DIR", Radius::Files),
            ("/etc/$X", Radius::System),
        ] {
            let field = Field {
                exact: false,
                ..Field::literal(text)
            };
            assert_eq!(of(&field, &scope), expected, "{text}");
        }
    }
}
