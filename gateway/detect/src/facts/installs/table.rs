//! Package managers as a table: which words of theirs install what.

use std::sync::LazyLock;

use defenseclaw_model::facts::{Ecosystem, InstallInto};

use crate::quick;

/// What a verb does with its operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    /// Installs each; with none, what the project lists.
    Install,
    /// Installs the first, runs it, and hands it the rest.
    Run,
    /// The same, by the name `create-NAME`.
    Create,
    /// Runs something of the project, with the packages of options beside it.
    With,
    /// Installs what the project lists.
    Sync,
    /// Installs exactly what a lock file holds.
    Lock,
}

/// A word that installs something.
pub(super) struct Verb {
    pub(super) words: &'static [&'static str],
    pub(super) does: Does,
    pub(super) into: InstallInto,
}

/// What is known of a package manager.
pub(super) struct Manager {
    pub(super) names: &'static [&'static str],
    pub(super) ecosystem: Ecosystem,
    pub(super) verbs: &'static [Verb],
    /// Options that take a value, beside those below.
    pub(super) values: &'static [&'static str],
    /// Options that name a registry to use, or one to ask beside.
    pub(super) registry: &'static [&'static str],
    pub(super) extra: &'static [&'static str],
    /// Options that name a package, in place of the operand or beside it.
    pub(super) instead: &'static [&'static str],
    pub(super) beside: &'static [&'static str],
    /// Options that name a list of packages.
    pub(super) lists: &'static [&'static str],
    /// Options that name a version, a repository, a folder.
    pub(super) version: &'static [&'static str],
    pub(super) place: &'static [&'static str],
}

const fn verb(words: &'static [&'static str], does: Does, into: InstallInto) -> Verb {
    Verb { words, does, into }
}

const NOBODY: Manager = Manager {
    names: &[],
    ecosystem: Ecosystem::System,
    verbs: &[],
    values: &[],
    registry: &[],
    extra: &[],
    instead: &[],
    beside: &[],
    lists: &[],
    version: &[],
    place: &[],
};

use Does::{Create, Install as Add, Lock, Run, Sync, With};
use InstallInto::{Host, Project};

const NPM_VALUES: &[&str] = &[
    "--prefix",
    "-C",
    "--dir",
    "--cwd",
    "-w",
    "--workspace",
    "--filter",
    "-F",
    "--tag",
    "--loglevel",
    "--cache",
    "--omit",
    "--include",
    "-c",
    "--call",
    "--node-options",
    "--userconfig",
    "--template",
    "--network-timeout",
    "--store-dir",
    "--modules-folder",
    "--cpu",
    "--os",
    "--scope",
    "--install-strategy",
    "--otp",
];

const PIP_VALUES: &[&str] = &[
    "-c",
    "--constraint",
    "--trusted-host",
    "-t",
    "--target",
    "--prefix",
    "--root",
    "--python",
    "-p",
    "--platform",
    "--implementation",
    "--abi",
    "--python-version",
    "-d",
    "--dest",
    "--cache-dir",
    "--log",
    "--proxy",
    "--cert",
    "--client-cert",
    "--timeout",
    "--retries",
    "--progress-bar",
    "--src",
    "--only-binary",
    "--no-binary",
    "--upgrade-strategy",
    "-w",
    "--wheel-dir",
    "--config-settings",
    "-C",
    "--global-option",
    "--exists-action",
    "--report",
    "--group",
    "--directory",
    "--project",
    "--extra",
    "--env-file",
    "--resolution",
    "--color",
    "--optional",
    "--package",
    "--marker",
    "--bounds",
    "--tag",
    "--branch",
    "--rev",
    "--python-preference",
    "--exclude-newer",
    "--torch-backend",
    "--index-strategy",
    "--keyring-provider",
    "--editable-mode",
];

const MANAGERS: &[Manager] = &[
    Manager {
        names: &["npm", "cnpm"],
        ecosystem: Ecosystem::Npm,
        verbs: &[
            verb(&["install"], Add, Project),
            verb(&["i"], Add, Project),
            verb(&["in"], Add, Project),
            verb(&["add"], Add, Project),
            verb(&["isntall"], Add, Project),
            verb(&["install-test"], Add, Project),
            verb(&["ci"], Lock, Project),
            verb(&["clean-install"], Lock, Project),
            verb(&["exec"], Run, Project),
            verb(&["x"], Run, Project),
            verb(&["create"], Create, Project),
            verb(&["init"], Create, Project),
        ],
        values: NPM_VALUES,
        registry: &["--registry"],
        instead: &["--package"],
        ..NOBODY
    },
    Manager {
        names: &["pnpm"],
        ecosystem: Ecosystem::Npm,
        verbs: &[
            verb(&["install"], Add, Project),
            verb(&["i"], Add, Project),
            verb(&["add"], Add, Project),
            verb(&["dlx"], Run, Project),
            verb(&["create"], Create, Project),
        ],
        values: NPM_VALUES,
        registry: &["--registry"],
        instead: &["--package"],
        ..NOBODY
    },
    Manager {
        names: &["yarn", "yarnpkg"],
        ecosystem: Ecosystem::Npm,
        verbs: &[
            verb(&["add"], Add, Project),
            verb(&["global", "add"], Add, Host),
            verb(&["install"], Sync, Project),
            verb(&["dlx"], Run, Project),
            verb(&["create"], Create, Project),
        ],
        values: NPM_VALUES,
        registry: &["--registry"],
        instead: &["--package", "-p"],
        ..NOBODY
    },
    Manager {
        names: &["bun"],
        ecosystem: Ecosystem::Npm,
        verbs: &[
            verb(&["add"], Add, Project),
            verb(&["a"], Add, Project),
            verb(&["install"], Add, Project),
            verb(&["i"], Add, Project),
            verb(&["x"], Run, Project),
            verb(&["create"], Create, Project),
        ],
        values: NPM_VALUES,
        registry: &["--registry"],
        ..NOBODY
    },
    Manager {
        names: &["npx", "pnpx", "bunx"],
        ecosystem: Ecosystem::Npm,
        verbs: &[verb(&[], Run, Project)],
        values: NPM_VALUES,
        registry: &["--registry"],
        instead: &["--package", "-p"],
        ..NOBODY
    },
    Manager {
        names: &["pip"],
        ecosystem: Ecosystem::Pypi,
        verbs: &[
            verb(&["install"], Add, Project),
            verb(&["download"], Add, Project),
            verb(&["wheel"], Add, Project),
        ],
        values: PIP_VALUES,
        registry: &["-i", "--index-url"],
        extra: &["--extra-index-url", "-f", "--find-links"],
        beside: &["-e", "--editable"],
        lists: &["-r", "--requirement"],
        ..NOBODY
    },
    Manager {
        names: &["pipx"],
        ecosystem: Ecosystem::Pypi,
        verbs: &[
            verb(&["install"], Add, Host),
            verb(&["inject"], Add, Host),
            verb(&["run"], Run, Project),
        ],
        values: PIP_VALUES,
        registry: &["-i", "--index-url"],
        extra: &["--extra-index-url"],
        instead: &["--spec"],
        ..NOBODY
    },
    Manager {
        names: &["uv"],
        ecosystem: Ecosystem::Pypi,
        verbs: &[
            verb(&["add"], Add, Project),
            verb(&["pip", "install"], Add, Project),
            verb(&["pip", "sync"], Sync, Project),
            verb(&["tool", "install"], Add, Host),
            verb(&["tool", "run"], Run, Project),
            verb(&["run"], With, Project),
            verb(&["sync"], Sync, Project),
        ],
        values: PIP_VALUES,
        registry: &["--index-url", "-i", "--default-index"],
        extra: &["--extra-index-url", "--index", "-f", "--find-links"],
        instead: &["--from"],
        beside: &["--with", "--with-editable", "-e", "--editable"],
        lists: &["-r", "--requirement", "--requirements", "--with-requirements"],
        ..NOBODY
    },
    Manager {
        names: &["uvx"],
        ecosystem: Ecosystem::Pypi,
        verbs: &[verb(&[], Run, Project)],
        values: PIP_VALUES,
        registry: &["--index-url", "-i", "--default-index"],
        extra: &["--extra-index-url", "--index", "-f", "--find-links"],
        instead: &["--from"],
        beside: &["--with", "--with-editable"],
        lists: &["--with-requirements"],
        ..NOBODY
    },
    Manager {
        names: &["poetry", "pdm", "rye"],
        ecosystem: Ecosystem::Pypi,
        verbs: &[
            verb(&["add"], Add, Project),
            verb(&["install"], Sync, Project),
            verb(&["sync"], Lock, Project),
        ],
        values: &[
            "-G",
            "--group",
            "-E",
            "--extras",
            "--python",
            "--platform",
            "--source",
            "--with",
            "--without",
            "-p",
        ],
        place: &["--git"],
        ..NOBODY
    },
    Manager {
        names: &["pipenv"],
        ecosystem: Ecosystem::Pypi,
        verbs: &[verb(&["install"], Add, Project), verb(&["sync"], Lock, Project)],
        values: PIP_VALUES,
        registry: &["-i", "--index", "--pypi-mirror"],
        extra: &["--extra-index-url"],
        lists: &["-r", "--requirements"],
        ..NOBODY
    },
    Manager {
        names: &["easy_install"],
        ecosystem: Ecosystem::Pypi,
        verbs: &[verb(&[], Add, Project)],
        registry: &["-i", "--index-url"],
        extra: &["-f", "--find-links"],
        ..NOBODY
    },
    Manager {
        names: &["cargo"],
        ecosystem: Ecosystem::Crates,
        verbs: &[
            verb(&["add"], Add, Project),
            verb(&["install"], Add, Host),
            verb(&["binstall"], Add, Host),
        ],
        values: &[
            "--features",
            "-F",
            "--rename",
            "-p",
            "--package",
            "--manifest-path",
            "--target",
            "--target-dir",
            "--root",
            "--profile",
            "--bin",
            "--example",
            "-j",
            "--jobs",
            "--registry",
            "--branch",
            "--tag",
            "--rev",
            "--color",
            "--config",
            "-Z",
        ],
        registry: &["--index"],
        version: &["--version", "--vers"],
        place: &["--git", "--path"],
        ..NOBODY
    },
    Manager {
        names: &["gem"],
        ecosystem: Ecosystem::Gem,
        verbs: &[verb(&["install"], Add, Host), verb(&["i"], Add, Host)],
        values: &[
            "-i",
            "--install-dir",
            "-n",
            "--bindir",
            "--platform",
            "-P",
            "--trust-policy",
            "-p",
            "--http-proxy",
        ],
        registry: &["-s", "--source"],
        version: &["-v", "--version"],
        ..NOBODY
    },
    Manager {
        names: &["bundle", "bundler"],
        ecosystem: Ecosystem::Gem,
        verbs: &[verb(&["install"], Sync, Project), verb(&["add"], Add, Project)],
        values: &[
            "--jobs",
            "-j",
            "--path",
            "--gemfile",
            "--without",
            "--with",
            "--group",
            "-g",
            "--branch",
            "--require",
            "-r",
        ],
        registry: &["--source", "-s"],
        version: &["-v", "--version"],
        place: &["--git", "--github", "--path"],
        ..NOBODY
    },
    Manager {
        names: &["go"],
        ecosystem: Ecosystem::Go,
        verbs: &[
            verb(&["install"], Add, Host),
            verb(&["get"], Add, Project),
            verb(&["run"], Run, Project),
        ],
        values: &[
            "-ldflags", "-tags", "-o", "-p", "-mod", "-modfile", "-C", "-gcflags", "-exec",
        ],
        ..NOBODY
    },
    Manager {
        names: &["deno"],
        ecosystem: Ecosystem::Npm,
        verbs: &[
            verb(&["run"], Run, Project),
            verb(&["install"], Add, Project),
            verb(&["add"], Add, Project),
        ],
        values: &[
            "-c",
            "--config",
            "--import-map",
            "--lock",
            "--env-file",
            "-n",
            "--name",
            "--root",
            "--cert",
            "-L",
        ],
        ..NOBODY
    },
    Manager {
        names: &["apt", "apt-get", "aptitude"],
        verbs: &[verb(&["install"], Add, Host), verb(&["reinstall"], Add, Host)],
        values: &["-t", "--target-release", "-o", "-c"],
        ..NOBODY
    },
    Manager {
        names: &["dnf", "yum", "microdnf", "zypper"],
        verbs: &[
            verb(&["install"], Add, Host),
            verb(&["in"], Add, Host),
            verb(&["localinstall"], Add, Host),
            verb(&["reinstall"], Add, Host),
        ],
        values: &[
            "--enablerepo",
            "--disablerepo",
            "--repo",
            "--releasever",
            "-c",
            "-x",
            "--setopt",
            "-r",
        ],
        registry: &["--repofrompath"],
        ..NOBODY
    },
    Manager {
        names: &["apk", "snap", "flatpak"],
        verbs: &[verb(&["add"], Add, Host), verb(&["install"], Add, Host)],
        values: &["-t", "--virtual", "-p", "--root", "--arch", "--channel"],
        registry: &["-X", "--repository"],
        ..NOBODY
    },
    Manager {
        names: &["brew"],
        verbs: &[
            verb(&["install"], Add, Host),
            verb(&["reinstall"], Add, Host),
            verb(&["tap"], Add, Host),
        ],
        values: &["--appdir", "--cc"],
        ..NOBODY
    },
    Manager {
        names: &["conda", "mamba", "micromamba", "pixi"],
        verbs: &[
            verb(&["install"], Add, Project),
            verb(&["create"], Add, Project),
            verb(&["add"], Add, Project),
        ],
        values: &[
            "-n",
            "--name",
            "-p",
            "--prefix",
            "--solver",
            "--platform",
            "--feature",
        ],
        registry: &["-c", "--channel"],
        lists: &["-f", "--file"],
        ..NOBODY
    },
    Manager {
        names: &["docker", "podman", "nerdctl"],
        ecosystem: Ecosystem::Docker,
        verbs: &[
            verb(&["run"], Run, Project),
            verb(&["create"], Run, Project),
            verb(&["container", "run"], Run, Project),
            verb(&["pull"], Add, Host),
            verb(&["image", "pull"], Add, Host),
        ],
        values: super::super::elsewhere::RUN_VALUES,
        ..NOBODY
    },
];

/// Each manager by its names.
pub(super) static BY_NAME: LazyLock<quick::Table<&'static str, &'static Manager>> = LazyLock::new(|| {
    let named = MANAGERS
        .iter()
        .flat_map(|manager| manager.names.iter().map(move |name| (*name, manager)));
    named.collect()
});

/// The names of all package managers.
pub(super) const NAMES: &[&str] = &[
    "npm",
    "cnpm",
    "pnpm",
    "yarn",
    "yarnpkg",
    "bun",
    "npx",
    "pnpx",
    "bunx",
    "pip",
    "pipx",
    "uv",
    "uvx",
    "poetry",
    "pdm",
    "rye",
    "pipenv",
    "easy_install",
    "cargo",
    "gem",
    "bundle",
    "bundler",
    "go",
    "deno",
    "apt",
    "apt-get",
    "aptitude",
    "dnf",
    "yum",
    "microdnf",
    "zypper",
    "apk",
    "snap",
    "flatpak",
    "brew",
    "conda",
    "mamba",
    "micromamba",
    "pixi",
    "docker",
    "podman",
    "nerdctl",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manager_of_the_table_is_named() {
        let mut table: Vec<&str> = MANAGERS.iter().flat_map(|one| one.names).copied().collect();
        let mut names = NAMES.to_vec();
        table.sort_unstable();
        names.sort_unstable();
        assert_eq!(table, names);
    }
}
