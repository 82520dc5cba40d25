//! Where code is taken from by name, in files that nothing else reads packages from: owners of repositories, images and extensions, and
//! the lists of packages of Rust, Ruby and of Python's scripts and projects.

use std::collections::HashSet;

use defenseclaw_model::decision::Severity;

use super::Pass;
use super::lines::numbered;
use super::packages::{Package, Popular, Registry, package, slips};

/// Most owners of one file that are compared with the well-known ones: each takes some microseconds, and no project has as many. That
/// there are more is told.
const MAX_OWNERS: usize = 5000;

/// Fewest letters of an owner's name of which another can be a slip.
const LEAST_OWNER: usize = 6;

/// Hosts behind which an owner stands.
const FORGES: [&str; 9] = [
    "github.com/",
    "github.com:",
    "gitlab.com/",
    "gitlab.com:",
    "bitbucket.org/",
    "raw.githubusercontent.com/",
    "ghcr.io/",
    "docker.io/",
    "quay.io/",
];

/// Words behind which an owner stands with what it owns.
const NAMERS: [&str; 11] = [
    "uses:",
    "from ",
    "image:",
    "docker pull ",
    "brew tap ",
    "brew install ",
    "marketplace add ",
    "plugin install ",
    "\"repo\":",
    "repo:",
    "--install-extension ",
];

/// What is put behind a well-known owner's name by whoever wants to be taken for it.
const CLAIMS: [&str; 14] = [
    "io", "ai", "official", "team", "hq", "inc", "org", "cli", "go", "js", "py", "mcp", "dev", "app",
];

/// How an owner's name is nearly another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Imitated {
    /// A slip, or another dash.
    Slip,
    /// The name with something behind it.
    Claimed,
}

impl Popular {
    /// The well-known owner that `owner` could be taken for.
    pub(super) fn owner_like(&self, owner: &str) -> Option<(&str, Imitated)> {
        let owner = owner.to_lowercase();
        if owner.len() + 1 < LEAST_OWNER || self.owners.contains(&owner) {
            return None;
        }
        let plain = |name: &str| name.replace(['-', '_', '.'], "");
        let bare = plain(&owner);
        let slip = |known: &&String| {
            // One is the plural of the other: only of GitHub's own is that told.
            let plural = known.strip_suffix('s') == Some(&owner) && known.as_str() != "actions";
            let more = !known.ends_with('s') && owner.strip_suffix('s') == Some(known.as_str());
            known.len() >= LEAST_OWNER
                && known.len().abs_diff(owner.len()) <= 1
                && !plural
                && !more
                && (slips(known, &owner) == 1 || plain(known) == bare)
        };
        let claimed = |known: &&String| {
            let behind = owner
                .strip_prefix(known.as_str())
                .and_then(|rest| rest.strip_prefix('-'));
            known.len() >= LEAST_OWNER && behind.is_some_and(|rest| CLAIMS.contains(&rest))
        };
        // The first by its name, so that every run says the same.
        let first = |fits: &dyn Fn(&&String) -> bool| self.owners.iter().filter(|known| fits(known)).min();
        let found = first(&slip).map(|known| (known, Imitated::Slip));
        let found = found.or_else(|| first(&claimed).map(|known| (known, Imitated::Claimed)));
        found.map(|(known, how)| (known.as_str(), how))
    }
}

impl Pass<'_> {
    /// What is to be said of the origins that a file names.
    pub(super) fn origins(&mut self, path: &str, text: &str) {
        let mut seen: HashSet<String> = HashSet::new();
        let mut list = List::of(path);
        let mut packages = Vec::new();
        for (number, line) in numbered(text, 1) {
            packages.extend(list.packages(line, number));
            let lower = line.to_lowercase();
            // `appIe`: a capital I stands for an l where letters of the other case stand around it.
            let meant = stands_for_l(line).then(|| line.replace('I', "l").to_lowercase());
            let meant = meant
                .as_deref()
                .map(|meant| owners_in(meant).zip(owners_in(&lower)));
            let disguised = meant.into_iter().flatten().find(|(meant, owner)| {
                let popular = &self.scanner.popular.owners;
                meant != owner && popular.contains(*meant) && !popular.contains(*owner)
            });
            if let Some((meant, owner)) = disguised {
                self.findings.push(super::packages::finding(
                    ("supply-chain.owner-lookalike", "supply-chain", Severity::High, 85),
                    (path, number),
                    format!("{owner}, whose code this takes, is written with a capital I so that it is read as {meant}"),
                    owner,
                    "Make sure that this is the owner that is meant",
                ));
            }
            for owner in owners_in(&lower).chain(list.owners(&lower)) {
                if seen.len() > MAX_OWNERS || !seen.insert(owner.to_owned()) {
                    continue;
                }
                let Some((known, how)) = self.scanner.popular.owner_like(owner) else {
                    continue;
                };
                let (severity, confidence, what) = match how {
                    Imitated::Slip => (Severity::High, 75, "is one slip away from"),
                    Imitated::Claimed => (Severity::Medium, 60, "calls itself after"),
                };
                let message = format!("{owner}, whose code this takes, {what} the well-known {known}");
                let finding = super::packages::finding(
                    (
                        "supply-chain.owner-lookalike",
                        "supply-chain",
                        severity,
                        confidence,
                    ),
                    (path, number),
                    message,
                    owner,
                    "Make sure that this is the owner that is meant",
                );
                self.findings.push(finding);
            }
        }
        if seen.len() > MAX_OWNERS {
            let message =
                format!("It names more than {MAX_OWNERS} owners of code; the rest was not looked at");
            self.findings.push(super::packages::finding(
                ("supply-chain.many-owners", "supply-chain", Severity::Low, 60),
                (path, 0),
                message,
                "",
                "Look at what names so many",
            ));
        }
        self.judge_packages(&packages, path);
    }
}

/// Whether a capital I stands between or behind small letters, where nobody writes one.
fn stands_for_l(line: &str) -> bool {
    line.as_bytes()
        .windows(2)
        .any(|two| two[0].is_ascii_lowercase() && two[1] == b'I')
}

/// The owners that a line in lower case names.
fn owners_in(line: &str) -> impl Iterator<Item = &str> {
    let of_forges = FORGES.iter().flat_map(|forge| {
        line.match_indices(forge).filter_map(|(at, _)| {
            // Not the end of another host's name.
            let before = line.get(..at)?.chars().next_back();
            let begins = before.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '-');
            begins.then(|| owner_of(line.get(at + forge.len()..)?))?
        })
    });
    let of_namers = NAMERS.iter().filter_map(|namer| {
        let at = line.find(namer)?;
        let from = *namer == "from ";
        // A recipe's line, not a sentence and not an import.
        if from && !line.trim_start().starts_with("from ") {
            return None;
        }
        let rest = line.get(at + namer.len()..)?.trim_start_matches([' ', '"', '\'']);
        let word = rest.split([' ', '"', '\'', ',', ')']).next()?;
        if *namer == "--install-extension " {
            return word.split_once('.').map(|(publisher, _)| publisher);
        }
        // A registry stands in front of an image's owner.
        let word = match word.split_once('/') {
            Some((host, rest)) if host.contains('.') || host.contains(':') => rest,
            _ => word,
        };
        owner_of(word)
    });
    of_forges.chain(of_namers)
}

/// The owner at the beginning of `owner/name`.
fn owner_of(text: &str) -> Option<&str> {
    let (owner, rest) = text.split_once('/')?;
    let word = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let named = rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    (word(owner) && named).then_some(owner)
}

/// A list of packages, as its file's name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Cargo,
    Gemfile,
    Composer,
    Conda,
    /// A project or a script of Python's.
    Python,
    /// Extensions that a project recommends to editors.
    Extensions,
    Other,
}

/// A list while it is read.
#[derive(Debug)]
struct List {
    form: Form,
    /// Whether what is read lies within the part that names packages.
    inside: bool,
}

impl List {
    fn of(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let form = match name.as_str() {
            "cargo.toml" => Form::Cargo,
            "gemfile" => Form::Gemfile,
            "composer.json" => Form::Composer,
            "environment.yml" | "environment.yaml" => Form::Conda,
            "extensions.json" | "devcontainer.json" => Form::Extensions,
            "pyproject.toml" | "setup.py" | "setup.cfg" => Form::Python,
            name if name.ends_with(".gemspec") => Form::Gemfile,
            name if name.ends_with(".py") => Form::Python,
            _ => Form::Other,
        };
        Self {
            form,
            inside: matches!(name.as_str(), "setup.py" | "setup.cfg"),
        }
    }

    /// The packages that a line of it names.
    fn packages(&mut self, line: &str, number: u32) -> Vec<Package> {
        let bare = line.trim();
        match self.form {
            Form::Cargo => {
                if bare.starts_with('[') {
                    self.inside = bare.contains("dependencies");
                    // `[dependencies.name]`
                    let of = bare.trim_matches(['[', ']']).rsplit_once("dependencies.");
                    return of
                        .and_then(|(_, name)| package(name, Registry::Crates, false, number))
                        .into_iter()
                        .collect();
                }
                if !self.inside || bare.starts_with('#') {
                    return Vec::new();
                }
                let Some((key, value)) = bare.split_once('=') else {
                    return Vec::new();
                };
                // Another name stands for the package where there is one.
                let real = value
                    .split_once("package")
                    .and_then(|(_, rest)| rest.split('"').nth(1));
                let name = real.unwrap_or_else(|| key.trim().split('.').next().unwrap_or_default());
                package(name, Registry::Crates, false, number)
                    .into_iter()
                    .collect()
            }
            Form::Gemfile => {
                let rest = [
                    "gem ",
                    "gem(",
                    "add_dependency ",
                    "add_runtime_dependency ",
                    "add_development_dependency ",
                ]
                .iter()
                .find_map(|word| {
                    bare.split_once(word)
                        .filter(|(before, _)| before.is_empty() || before.ends_with('.'))
                });
                let name = rest.and_then(|(_, rest)| rest.split(['"', '\'']).nth(1));
                name.and_then(|name| package(name, Registry::Gem, false, number))
                    .into_iter()
                    .collect()
            }
            Form::Python => {
                // The block of a script (PEP 723), or a project's lists.
                if bare.starts_with("# ///") {
                    self.inside = !self.inside && bare.contains("script");
                    return Vec::new();
                }
                if bare.starts_with('[') && bare.ends_with(']') && !bare.contains(['"', '\'']) {
                    self.inside = bare.contains("project")
                        || bare.contains("build-system")
                        || bare.contains("dependenc");
                }
                if !self.inside {
                    return Vec::new();
                }
                quoted(bare)
                    .filter(|word| word.contains(['=', '<', '>', '~']) && !word.contains("://"))
                    .filter_map(|word| package(word, Registry::Pypi, false, number))
                    .collect()
            }
            Form::Composer | Form::Conda | Form::Extensions | Form::Other => Vec::new(),
        }
    }

    /// The owners that a line of it names, in lower case, where only this kind of list tells that it is one.
    fn owners<'l>(&mut self, line: &'l str) -> Option<&'l str> {
        let bare = line.trim();
        match self.form {
            Form::Composer => {
                let (name, version) = bare.strip_prefix('"')?.split_once("\":")?;
                version.trim_start().starts_with('"').then(|| owner_of(name))?
            }
            Form::Conda => {
                if !bare.starts_with('-') {
                    self.inside = bare == "channels:";
                    return None;
                }
                self.inside.then(|| bare.trim_start_matches(['-', ' ']))
            }
            Form::Extensions => {
                // `"publisher.name"`, alone in its line.
                let word = bare.trim_end_matches(',').strip_prefix('"')?.strip_suffix('"')?;
                let (publisher, name) = word.split_once('.')?;
                let word = |c: char| c.is_ascii_alphanumeric() || c == '-';
                (publisher.chars().all(word) && !name.is_empty()).then_some(publisher)
            }
            _ => None,
        }
    }
}

/// What stands between quotes in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    let mark = line
        .find(['"', '\''])
        .and_then(|at| line.get(at..=at))
        .unwrap_or("\"");
    line.split(mark).skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::super::packages::EMBEDDED;
    use super::*;

    fn popular() -> Popular {
        Popular::load(EMBEDDED.0, EMBEDDED.1).unwrap()
    }

    #[test]
    fn owners_that_are_nearly_well_known_are_told() {
        let popular = popular();
        for (line, known) in [
            ("      uses: action/checkout@v4", "actions"),
            ("uses: actlons/deploy-pages@v4", "actions"),
            ("FROM pyhton/python:3.12-slim", "python"),
            ("    image: postgress/postgres:16-alpine", "postgres"),
            ("FROM docker.io/pyhton/python:3.12-slim", "python"),
            (
                "brew tap hashlcorp/tap && brew install hashlcorp/tap/terraform",
                "hashicorp",
            ),
            ("  \"github.com/gogle/uuid\"", "google"),
            ("require github.com/gin-gonlc/gin v1.10.0", "gin-gonic"),
            (
                "  - repo: https://github.com/astralsh/ruff-precommit",
                "astral-sh",
            ),
            ("code --install-extension ms-tooIsai.jupyter", "ms-toolsai"),
            ("/plugin marketplace add anthropics-ai/skills", "anthropics"),
            ("image: hashicorp-io/vault:1.17", "hashicorp"),
        ] {
            let lower = line.to_lowercase();
            let found = owners_in(&lower).find_map(|owner| popular.owner_like(owner));
            assert_eq!(found.map(|(known, _)| known), Some(known), "{line}");
        }
        for line in [
            "      uses: actions/checkout@v4",
            "uses: ./.github/actions/build",
            "FROM python:3.12-slim AS build",
            "from pythonic/tools import x",
            "image: ghcr.io/acme/web:1",
            "image: registry.example.com/acme/api:1",
            "brew install hashicorp/tap/terraform",
            "github.com/google/uuid v1.6.0",
            "see https://github.com/acme/action for the source",
            "https://github.com/mongodb-js/mongodb-mcp-server",
            "https://github.com/vim-dev/x",
            "code --install-extension ms-python.python",
            "https://mygithub.com/gogle/x",
            "uses: docker/login-action@v3",
            "repo: https://github.com/pre-commit/pre-commit-hooks",
        ] {
            let lower = line.to_lowercase();
            let found = owners_in(&lower).find_map(|owner| popular.owner_like(owner));
            assert_eq!(found, None, "{line}");
        }
    }

    #[test]
    fn packages_are_read_from_more_lists() {
        let names = |path: &str, text: &str| -> Vec<String> {
            let mut list = List::of(path);
            let lines = numbered(text, 1);
            lines
                .flat_map(|(number, line)| list.packages(line, number))
                .map(|package| package.name)
                .collect()
        };
        assert_eq!(
            names(
                "a/Cargo.toml",
                "[package]\nname = \"x\"\n[dependencies]\nserde_json = \"1\"\njson = { version = \"1\", package = \"serd_json\" }\n\
                 tokio.workspace = true\n[dev-dependencies.insta]\nversion = \"1\"\n[profile.release]\nlto = true\n"
            ),
            ["serde-json", "serd-json", "tokio", "insta", "version"]
        );
        assert_eq!(
            names(
                "Gemfile",
                "source \"https://rubygems.org\"\ngem 'rails', '~> 7'\n  gem \"nokogirl\"\n# gem \"no\"\n"
            ),
            ["rails", "nokogirl"]
        );
        assert_eq!(
            names(
                "tool.py",
                "# /// script\n# dependencies = [\"pyyam1>=6\", \"httpx==0.27\"]\n# ///\nx = \"flask>=1\"\n"
            ),
            ["pyyam1", "httpx"]
        );
        assert_eq!(
            names(
                "pyproject.toml",
                "[project]\nname = \"x\"\ndependencies = [\n  \"google-auths>=2.30\",\n]\n[tool.ruff]\nselect = [\"E>=1\"]\n"
            ),
            ["google-auths"]
        );
    }

    #[test]
    fn channels_and_vendors_are_owners_in_their_lists() {
        let popular = popular();
        let mut conda = List::of("environment.yml");
        assert_eq!(conda.owners("channels:"), None);
        assert_eq!(conda.owners("  - conda-forqe"), Some("conda-forqe"));
        assert_eq!(conda.owners("dependencies:"), None);
        assert_eq!(conda.owners("  - conda-forqe"), None);
        let mut composer = List::of("composer.json");
        let vendor = composer.owners("    \"guzzle-http/guzzle\": \"^7.8\",").unwrap();
        assert_eq!(popular.owner_like(vendor), Some(("guzzlehttp", Imitated::Slip)));
        assert_eq!(composer.owners("    \"php\": \">=8.1\","), None);
        let mut editor = List::of(".vscode/extensions.json");
        let publisher = editor.owners("    \"esbenpp.prettier-vscode\",").unwrap();
        assert_eq!(popular.owner_like(publisher), Some(("esbenp", Imitated::Slip)));
        assert_eq!(editor.owners("  \"recommendations\": ["), None);
    }
}
