//! Packages that an artifact asks for: names that are one slip away from well-known ones, and code that nobody pinned.

use std::collections::HashSet;

use defenseclaw_model::decision::Severity;
use defenseclaw_model::facts::Program;
use defenseclaw_model::package::pypi_name;
use defenseclaw_model::scan::ScanFinding;
use serde::Deserialize;

use crate::detector::PackError;

/// The names that this program was built with.
pub(crate) const EMBEDDED: (&str, &str) = (
    "packages.yaml",
    include_str!("../../../../policies/packages.yaml"),
);

/// Fewest characters of a name that can be a slip of another: short names are near to everything.
pub(super) const LEAST_NAME: usize = 5;

/// From this length on two slips count.
pub(super) const TWO_SLIPS: usize = 10;

/// Most packages of one file.
const MAX_PACKAGES: usize = 2000;

/// Where a package comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registry {
    /// Python's.
    Pypi,
    /// JavaScript's.
    Npm,
    /// Rust's.
    Crates,
    /// Ruby's.
    Gem,
}

/// A package that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) registry: Registry,
    /// The name, as the registry compares it.
    pub(crate) name: String,
    /// Whether one version is named.
    pub(crate) pinned: bool,
    /// Whether it is run at once, and not only installed.
    pub(crate) run: bool,
    pub(crate) line: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    pypi: Vec<String>,
    npm: Vec<String>,
    crates: Vec<String>,
    gem: Vec<String>,
    others: Vec<String>,
    owners: Vec<String>,
    scopes: Vec<String>,
    agents: Vec<String>,
    servers: Vec<String>,
}

/// Well-known names.
#[derive(Debug, Default)]
pub(crate) struct Popular {
    pub(super) pypi: HashSet<String>,
    pub(super) npm: HashSet<String>,
    pub(crate) crates: HashSet<String>,
    pub(crate) gem: HashSet<String>,
    /// Known, and neither a slip nor slipped from.
    pub(crate) others: HashSet<String>,
    /// Owners of repositories, images and extensions.
    pub(super) owners: HashSet<String>,
    /// Scopes of npm.
    scopes: HashSet<String>,
    /// What agents are extended by, from publishers that the harnesses' own documentation names; a `*` at the end.
    pub(crate) agents: Vec<String>,
    /// Well-known MCP servers, by the names under which they are run.
    pub(super) servers: Vec<String>,
}

impl Popular {
    /// Reads a list.
    pub(crate) fn load(file: &str, yaml: &str) -> Result<Self, PackError> {
        let invalid = |why: String| PackError::Invalid {
            file: file.to_owned(),
            why,
        };
        let read: File = defenseclaw_yaml::from_str(yaml).map_err(|error| invalid(error.to_string()))?;
        if read.version != 1 {
            return Err(invalid(format!(
                "it has version {}; this program knows version 1",
                read.version
            )));
        }
        Ok(Self {
            pypi: read.pypi.into_iter().collect(),
            npm: read.npm.into_iter().collect(),
            crates: read.crates.into_iter().collect(),
            gem: read.gem.into_iter().collect(),
            others: read.others.into_iter().collect(),
            owners: read.owners.into_iter().collect(),
            scopes: read.scopes.into_iter().collect(),
            agents: read.agents,
            servers: read.servers,
        })
    }

    /// The well-known names of a registry.
    pub(crate) fn names(&self, registry: Registry) -> &HashSet<String> {
        match registry {
            Registry::Pypi => &self.pypi,
            Registry::Npm => &self.npm,
            Registry::Crates => &self.crates,
            Registry::Gem => &self.gem,
        }
    }

    /// Whether a package of npm is well known.
    pub(crate) fn is_known(&self, name: &str) -> bool {
        self.npm.contains(name) || self.others.contains(name)
    }

    /// The well-known name that `name` is a slip of.
    pub(crate) fn slip_of(&self, registry: Registry, name: &str) -> Option<&str> {
        if matches!(registry, Registry::Npm | Registry::Pypi) && self.others.contains(name) {
            return None;
        }
        if registry == Registry::Npm && name.starts_with('@') {
            return self.scope_slip(name);
        }
        Self::slip_among(self.names(registry), name)
    }

    /// The well-known scope that the one of `name` (`@scope/package`) is a slip of. Shorter ones have honest neighbours.
    pub(crate) fn scope_slip(&self, name: &str) -> Option<&str> {
        const LEAST_SCOPE: usize = 6;
        let (scope, _) = name.strip_prefix('@')?.split_once('/')?;
        if scope.len() < LEAST_SCOPE || self.scopes.contains(scope) || self.owners.contains(scope) {
            return None;
        }
        let plain = |name: &str| name.replace(['-', '_', '.'], "");
        let bare = plain(scope);
        let near = |known: &&String| {
            let plural =
                known.strip_suffix('s') == Some(scope) || scope.strip_suffix('s') == Some(known.as_str());
            let most = if known.len() >= TWO_SLIPS { 2 } else { 1 };
            known.len() >= LEAST_SCOPE
                && known.len().abs_diff(scope.len()) <= most
                && (plain(known) == bare || (!plural && slips(known, scope) <= most))
        };
        // The first by its name, so that every run says the same.
        self.scopes.iter().filter(near).min().map(String::as_str)
    }

    /// The name of `known` that `name` is a slip of.
    pub(crate) fn slip_among<'k>(known: &'k HashSet<String>, name: &str) -> Option<&'k str> {
        if name.len() < LEAST_NAME || name.starts_with('@') || known.contains(name) {
            return None;
        }
        let mut near: Vec<&str> = known
            .iter()
            .map(String::as_str)
            .filter(|known| {
                let most = if known.len() >= TWO_SLIPS && name.len() >= TWO_SLIPS {
                    2
                } else {
                    1
                };
                known.len() >= LEAST_NAME
                    && known.len().abs_diff(name.len()) <= most
                    && slips(known, name) <= most
                    && !another_part(known, name)
            })
            .collect();
        near.sort_unstable();
        near.first().copied()
    }

    /// What is to be said of packages.
    pub(crate) fn judge(&self, packages: &[Package], file: &str) -> Vec<ScanFinding> {
        let mut findings = Vec::new();
        for package in packages.iter().take(MAX_PACKAGES) {
            if let Some(known) = self.slip_of(package.registry, &package.name) {
                findings.push(finding(
                    ("supply-chain.typosquat", "supply-chain", Severity::High, 75),
                    (file, package.line),
                    format!(
                        "The package {} is one slip away from the well-known {known}",
                        package.name
                    ),
                    &package.name,
                    "Make sure that this is the package that is meant",
                ));
            }
            if package.run && !package.pinned {
                findings.push(finding(
                    ("remote-code.unpinned", "remote-code", Severity::Low, 70),
                    (file, package.line),
                    format!(
                        "It runs whatever version of {} is the newest on that day",
                        package.name
                    ),
                    &package.name,
                    "Name one version",
                ));
            }
        }
        findings
    }
}

pub(super) fn finding(
    (rule, category, severity, confidence): (&str, &str, Severity, u8),
    (file, line): (&str, u32),
    message: String,
    evidence: &str,
    remedy: &str,
) -> ScanFinding {
    ScanFinding {
        rule: rule.to_owned(),
        category: category.to_owned(),
        severity,
        confidence,
        file: file.to_owned(),
        line,
        message,
        evidence: evidence.to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// Whether the two are of one family and differ in a short last part, which is another word then and no slip: `pytest-cov` and
/// `pytest-env`, `faiss-cpu` and `faiss-gpu`.
fn another_part(a: &str, b: &str) -> bool {
    const SHORT: usize = 4;
    match (a.rsplit_once('-'), b.rsplit_once('-')) {
        (Some((family, one)), Some((same, other))) => {
            family == same && one.len() <= SHORT && other.len() <= SHORT
        }
        _ => false,
    }
}

/// How many slips turn `a` into `b`: a letter too much, too few, another, or two in the wrong order.
pub(super) fn slips(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut cost = (at(&last, j + 1) + 1)
                .min(at(&row, j) + 1)
                .min(at(&last, j) + usize::from(x != y));
            let turned = i > 0 && j > 0 && a.get(i - 1) == Some(&y) && b.get(j - 1) == Some(&x);
            if turned && x != y {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

/// Programs that fetch packages: name, subcommands (none: every word), registry, whether they run it.
const FETCHERS: &[(&[&str], &[&str], Registry, bool)] = &[
    (&["pip", "pip3"], &["install", "download"], Registry::Pypi, false),
    (&["pipx"], &["install", "run"], Registry::Pypi, false),
    (&["uv"], &["add", "install", "pip", "tool"], Registry::Pypi, false),
    (&["poetry", "pdm"], &["add"], Registry::Pypi, false),
    (&["uvx"], &[], Registry::Pypi, true),
    (&["npm", "pnpm"], &["install", "i", "add"], Registry::Npm, false),
    (&["yarn", "bun"], &["add"], Registry::Npm, false),
    (&["npx", "bunx"], &[], Registry::Npm, true),
    (&["cargo"], &["add", "install"], Registry::Crates, false),
    (&["gem"], &["install"], Registry::Gem, false),
    (&["bundle"], &["add"], Registry::Gem, false),
];

/// Options whose next word is no package.
const WITH_VALUE: &[&str] = &[
    "-r",
    "--requirement",
    "-c",
    "--constraint",
    "-i",
    "--index-url",
    "--extra-index-url",
    "--trusted-host",
    "-t",
    "--target",
    "--prefix",
    "--registry",
    "--python",
    "-p",
    "--with",
    "--from",
    "--find-links",
    "-f",
    "--package",
    "--dir",
    "-C",
    "--cwd",
    "--workspace",
    "-w",
    "--group",
    "--platform",
    "--features",
    "-F",
    "--git",
    "--path",
    "--version",
    "--rename",
];

/// The packages that programs fetch.
pub(crate) fn of_programs(programs: &[Program], line: u32) -> Vec<Package> {
    let mut packages = Vec::new();
    for program in programs {
        let name = program
            .name
            .trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        let module = program.argv.iter().position(|word| word == "-m");
        let pip = module
            .and_then(|at| program.argv.get(at + 1))
            .filter(|word| *word == "pip");
        let (name, words) = match (pip, module) {
            (Some(pip), Some(at)) => (pip.as_str(), program.argv.get(at + 2..)),
            _ => (name, program.argv.get(1..)),
        };
        let Some(&(_, subcommands, registry, run)) =
            FETCHERS.iter().find(|(names, ..)| names.contains(&name))
        else {
            continue;
        };
        packages.extend(operands(
            words.unwrap_or_default(),
            subcommands,
            registry,
            run,
            line,
        ));
    }
    packages.truncate(MAX_PACKAGES);
    packages
}

fn operands(
    words: &[String],
    subcommands: &[&str],
    registry: Registry,
    run: bool,
    line: u32,
) -> Vec<Package> {
    let mut found = Vec::new();
    let mut wanted = subcommands.is_empty();
    let mut skip = false;
    for word in words {
        if std::mem::take(&mut skip) {
            continue;
        }
        if word.starts_with('-') {
            skip = WITH_VALUE.contains(&word.as_str());
            continue;
        }
        if !wanted || subcommands.contains(&word.as_str()) {
            wanted |= subcommands.contains(&word.as_str());
            if !wanted {
                break;
            }
            continue;
        }
        found.extend(package(word, registry, run, line));
        // What follows the package is its own.
        if run {
            break;
        }
    }
    found
}

/// A package as a command or a list names it.
pub(crate) fn package(word: &str, registry: Registry, run: bool, line: u32) -> Option<Package> {
    let scoped = word.starts_with('@');
    let (name, version) = match registry {
        Registry::Npm | Registry::Crates => match word.get(1..)?.find('@') {
            Some(at) => (word.get(..=at)?, word.get(at + 2..)?),
            None => (word, ""),
        },
        Registry::Gem => match word.split_once(':') {
            Some(parts) => parts,
            None => (word, ""),
        },
        Registry::Pypi => match word.find(['=', '<', '>', '~', '!', ';', '[', ' ', '@']) {
            Some(at) => (word.get(..at)?, word.get(at..)?),
            None => (word, ""),
        },
    };
    let plain = name
        .trim()
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.@/".contains(c));
    let path = name.starts_with(['.', '/', '~']) || (name.contains('/') && !scoped) || name.contains(':');
    if name.is_empty() || !plain || path {
        return None;
    }
    let pinned = match registry {
        Registry::Npm | Registry::Crates | Registry::Gem => version.starts_with(|c: char| c.is_ascii_digit()),
        Registry::Pypi => {
            version.starts_with("==")
                || version.contains(']') && version.contains("==")
                || version
                    .strip_prefix('@')
                    .is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
        }
    };
    Some(Package {
        registry,
        name: match registry {
            Registry::Pypi => pypi_name(name.trim()),
            Registry::Npm => name.trim().to_ascii_lowercase(),
            Registry::Crates => name.trim().to_ascii_lowercase().replace('_', "-"),
            Registry::Gem => name.trim().to_ascii_lowercase(),
        },
        pinned,
        run,
        line,
    })
}

/// The packages of a `requirements.txt`.
pub(crate) fn of_requirements(text: &str) -> Vec<Package> {
    super::lines::numbered(text, 1)
        .filter_map(|(number, line)| {
            let line = line.split('#').next().unwrap_or_default().trim();
            (!line.starts_with('-') && !line.contains("://"))
                .then(|| package(line, Registry::Pypi, false, number))?
        })
        .take(MAX_PACKAGES)
        .collect()
}

/// The packages of a `package.json`.
pub(crate) fn of_package_json(value: &serde_json::Value, text: &str) -> Vec<Package> {
    let mut found = Vec::new();
    for list in [
        "dependencies",
        "devDependencies",
        "optionalDependencies",
        "peerDependencies",
    ] {
        let entries = value.get(list).and_then(serde_json::Value::as_object);
        for (name, version) in entries.into_iter().flatten().take(MAX_PACKAGES) {
            let at = text.find(&format!("\"{name}\"")).unwrap_or(0);
            let line = super::markdown::line_at(text, at);
            let version = version.as_str().unwrap_or_default();
            found.extend(package(&format!("{name}@{version}"), Registry::Npm, false, line));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn popular() -> Popular {
        Popular::load(EMBEDDED.0, EMBEDDED.1).unwrap()
    }

    #[test]
    fn slips_are_told_and_honest_neighbours_are_not() {
        let popular = popular();
        for (registry, name, known) in [
            (Registry::Pypi, "reqeusts", Some("requests")),
            (Registry::Pypi, "request", Some("requests")),
            (Registry::Pypi, "pandsa", Some("pandas")),
            (Registry::Npm, "lodahs", Some("lodash")),
            (Registry::Npm, "expresss", Some("express")),
            (Registry::Pypi, "beautifulsup4", Some("beautifulsoup4")),
            (Registry::Pypi, "requests", None),
            (Registry::Npm, "preact", None),
            (Registry::Npm, "request", None),
            (Registry::Pypi, "polars", None),
            (Registry::Npm, "@types/lodash", None),
            (Registry::Pypi, "flsk", None),
        ] {
            assert_eq!(popular.slip_of(registry, name), known, "{name}");
        }
    }

    #[test]
    fn packages_are_read_from_lists_and_commands() {
        let names = |packages: Vec<Package>| -> Vec<(String, bool)> {
            packages.into_iter().map(|one| (one.name, one.pinned)).collect()
        };
        assert_eq!(
            names(of_requirements(
                "# x\nrequests==2.1 # y\nPillow>=1\n-r other.txt\ngit+https://h/x\nuvicorn[standard]==0.1\n"
            )),
            [
                ("requests".to_owned(), true),
                ("pillow".to_owned(), false),
                ("uvicorn".to_owned(), true)
            ]
        );
        let program = |words: &[&str]| Program {
            name: words[0].to_owned(),
            argv: words.iter().map(|&word| word.to_owned()).collect(),
        };
        let of = |words: &[&str]| names(of_programs(&[program(words)], 1));
        assert_eq!(
            of(&["pip", "install", "-q", "pandsa", "x==1"]),
            [("pandsa".to_owned(), false), ("x".to_owned(), true)]
        );
        assert_eq!(
            of(&["python3", "-m", "pip", "install", "abc"]),
            [("abc".to_owned(), false)]
        );
        assert_eq!(
            of(&["npx", "-y", "@scope/pkg@1.2.3", "serve"]),
            [("@scope/pkg".to_owned(), true)]
        );
        assert_eq!(of(&["npm", "run", "build"]), []);
        assert_eq!(
            of(&["pip", "install", "--extra-index-url", "http://h/simple", "acme"]),
            [("acme".to_owned(), false)]
        );
    }
}
