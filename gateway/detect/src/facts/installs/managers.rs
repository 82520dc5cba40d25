//! What a package manager installs when it is given these words: one reading for all of the table.

use defenseclaw_model::facts::{Ecosystem, Install, InstallInto, InstallSource, VersionAsked};

use super::super::hosts;
use super::spec;
use super::table::{BY_NAME, Does, Manager, Verb};
use Does::{Create, Install as Add, Lock, Run, Sync, With};

/// Most packages of one command.
const MAX_PACKAGES: usize = 64;

/// A registry that the environment names.
#[derive(Debug)]
pub(in super::super) struct Registry {
    ecosystem: Ecosystem,
    extra: bool,
    url: String,
}

impl Registry {
    /// What setting `name` to `value` says of registries.
    pub(super) fn of_variable(name: &str, value: &str) -> Option<Self> {
        let (ecosystem, extra) = match name {
            "PIP_INDEX_URL" | "UV_INDEX_URL" | "UV_DEFAULT_INDEX" | "PIPENV_PYPI_MIRROR" => {
                (Ecosystem::Pypi, false)
            }
            "PIP_EXTRA_INDEX_URL" | "UV_EXTRA_INDEX_URL" | "UV_INDEX" | "PIP_FIND_LINKS" => {
                (Ecosystem::Pypi, true)
            }
            "npm_config_registry"
            | "NPM_CONFIG_REGISTRY"
            | "YARN_NPM_REGISTRY_SERVER"
            | "BUN_CONFIG_REGISTRY" => (Ecosystem::Npm, false),
            "GOPROXY" => (Ecosystem::Go, false),
            _ => return None,
        };
        let first = value.split([' ', ',', '|']).next().unwrap_or_default();
        first.contains("://").then(|| Self {
            ecosystem,
            extra,
            url: first.to_owned(),
        })
    }
}

/// What a command installs.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) installs: Vec<Install>,
    /// For what is run at once: where its own arguments begin.
    pub(super) rest: Option<usize>,
    /// Whether operands may still come from elsewhere: an install without any.
    pub(super) open: bool,
}

/// The words of a command, told apart.
#[derive(Default)]
struct Words<'w> {
    options: Vec<(&'w str, &'w str)>,
    flags: Vec<&'w str>,
    operands: Vec<(usize, &'w str)>,
}

impl<'w> Words<'w> {
    /// Reads `words`; not beyond the operand of that number.
    fn of(words: &[&'w str], manager: &Manager, most: usize) -> Self {
        let lists = [
            manager.values,
            manager.registry,
            manager.extra,
            manager.instead,
            manager.beside,
            manager.lists,
            manager.version,
            manager.place,
        ];
        let takes = |option: &str| lists.iter().any(|list| list.contains(&option));
        let mut read = Self::default();
        let mut at = 0;
        let mut only_operands = false;
        while let Some(&word) = words.get(at) {
            if read.operands.len() >= most {
                break;
            }
            if word == "--" && !only_operands {
                only_operands = true;
            } else if only_operands || !word.starts_with('-') || word == "-" {
                read.operands.push((at, word));
            } else if takes(word) {
                at += 1;
                read.options.extend(words.get(at).map(|value| (word, *value)));
            } else if let Some((option, value)) = word.split_once('=') {
                read.options.push((option, value));
            } else {
                read.flags.push(word);
            }
            at += 1;
        }
        read
    }

    fn values<'s>(&'s self, options: &'s [&'s str]) -> impl Iterator<Item = &'w str> + 's {
        self.options
            .iter()
            .filter(|(option, _)| options.contains(option))
            .map(|(_, value)| *value)
    }

    fn has(&self, flags: &[&str]) -> bool {
        self.flags.iter().any(|flag| flags.contains(flag))
    }
}

/// Longest verb (words).
const MAX_VERB: usize = 2;

/// Reads what the package manager `name` installs when it is given `words`.
pub(super) fn read(name: &str, words: &[&str], registries: &[Registry]) -> Option<Read> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let manager = BY_NAME.get(name).or_else(|| BY_NAME.get(stem))?;
    let head = Words::of(words, manager, MAX_VERB);
    let fits = |verb: &&Verb| {
        verb.words.len() <= head.operands.len()
            && verb
                .words
                .iter()
                .zip(&head.operands)
                .all(|(word, (_, operand))| word == operand)
    };
    let verb = manager
        .verbs
        .iter()
        .filter(fits)
        .max_by_key(|verb| verb.words.len())?;
    let runs = matches!(verb.does, Run | Create | With);
    let most = verb.words.len() + if runs { 1 } else { usize::MAX - MAX_VERB };
    let words = Words::of(words, manager, most);
    let operands = words.operands.get(verb.words.len()..).unwrap_or_default();
    let mut read = Read::default();
    match verb.does {
        Run | Create | With => run(manager, verb, &words, operands, &mut read),
        Lock => read.installs.push(listed(manager, "", VersionAsked::Exact)),
        Sync => sync(manager, &words, operands, &mut read),
        Add => add(manager, &words, operands, &mut read),
    }
    finish(manager, verb, &words, registries, &mut read.installs);
    Some(read)
}

fn run(manager: &Manager, verb: &Verb, words: &Words<'_>, operands: &[(usize, &str)], read: &mut Read) {
    let of = |word: &str| spec::of(manager.ecosystem, word);
    read.installs.extend(words.values(manager.beside).filter_map(of));
    read.installs.extend(
        words
            .values(manager.lists)
            .map(|list| listed(manager, list, VersionAsked::Range)),
    );
    let instead: Vec<Install> = words.values(manager.instead).filter_map(of).collect();
    let named = operands.first();
    read.rest = named.map(|(at, _)| at + 1);
    if verb.does == With {
        read.rest = None;
        return;
    }
    // What is there already is run, or nothing is.
    if words.has(&["--no-install", "--no"]) {
        return;
    }
    let local = |word: &str| match manager.ecosystem {
        Ecosystem::Go => !word.contains('@'),
        // A script of the project, or one in the folder.
        Ecosystem::Npm if manager.names.contains(&"deno") => !["npm:", "jsr:", "http://", "https://"]
            .iter()
            .any(|start| word.starts_with(start)),
        Ecosystem::Npm | Ecosystem::Pypi => word.starts_with(['.', '/', '~']) && !word.contains(".tgz"),
        _ => false,
    };
    if !instead.is_empty() {
        read.installs.extend(instead);
        return;
    }
    let Some((_, word)) = named.filter(|(_, word)| !local(word)) else {
        return;
    };
    if verb.does == Create {
        read.installs.extend(of(&creator(word)));
    } else {
        read.installs.extend(of(word));
    }
}

/// The package that `npm create NAME` runs.
fn creator(word: &str) -> String {
    match word.split_once('/') {
        _ if word.contains("://") => word.to_owned(),
        Some((scope, name)) if scope.starts_with('@') => format!("{scope}/create-{name}"),
        None if word.starts_with('@') => match word.get(1..).and_then(|rest| rest.split_once('@')) {
            Some((scope, version)) => format!("@{scope}/create@{version}"),
            None => format!("{word}/create"),
        },
        _ => format!("create-{word}"),
    }
}

fn sync(manager: &Manager, words: &Words<'_>, operands: &[(usize, &str)], read: &mut Read) {
    let frozen = words.has(&[
        "--frozen",
        "--locked",
        "--immutable",
        "--frozen-lockfile",
        "--deployment",
    ]);
    let version = if frozen {
        VersionAsked::Exact
    } else {
        VersionAsked::Range
    };
    let lists = words
        .values(manager.lists)
        .chain(operands.iter().map(|(_, word)| *word));
    read.installs
        .extend(lists.map(|list| listed(manager, list, version)));
    if read.installs.is_empty() {
        read.installs.push(listed(manager, "", version));
    }
}

fn add(manager: &Manager, words: &Words<'_>, operands: &[(usize, &str)], read: &mut Read) {
    let of = |word: &str| spec::of(manager.ecosystem, word);
    read.installs.extend(
        operands
            .iter()
            .take(MAX_PACKAGES)
            .filter_map(|(_, word)| of(word)),
    );
    read.installs.extend(words.values(manager.beside).filter_map(of));
    read.installs.extend(
        words
            .values(manager.lists)
            .map(|list| listed(manager, list, VersionAsked::Range)),
    );
    for place in words.values(manager.place) {
        let mut install = spec::blank(manager.ecosystem);
        if place.contains("://") || place.starts_with("git@") {
            spec::located(&mut install, place);
            install.source = InstallSource::Git;
        } else {
            install.source = InstallSource::File;
            install.from = place.to_owned();
        }
        // The operands only choose among what the repository holds.
        if let Some(first) = read.installs.first() {
            install.name.clone_from(&first.name);
        }
        read.installs = vec![install];
    }
    if let Some(version) = words.values(manager.version).last()
        && let [install] = read.installs.as_mut_slice()
    {
        version.clone_into(&mut install.asked);
        install.version = VersionAsked::Exact;
    }
    if read.installs.is_empty() {
        read.open = true;
        let frozen = words.has(&["--frozen-lockfile", "--immutable"]);
        if manager.ecosystem == Ecosystem::Npm {
            let version = if frozen {
                VersionAsked::Exact
            } else {
                VersionAsked::Range
            };
            read.installs.push(listed(manager, "", version));
        }
    }
}

/// What a list in the project names.
fn listed(manager: &Manager, list: &str, version: VersionAsked) -> Install {
    let mut install = spec::blank(manager.ecosystem);
    install.source = InstallSource::File;
    install.version = version;
    install.from = list.to_owned();
    if list.contains("://") {
        spec::located(&mut install, list);
        install.name = String::new();
    }
    install
}

/// What holds for all packages of a command: registry, reach, scripts.
fn finish(
    manager: &Manager,
    verb: &Verb,
    words: &Words<'_>,
    registries: &[Registry],
    installs: &mut [Install],
) {
    let is_url = |url: &&str| url.contains("://");
    let of_environment = |extra: bool| {
        registries
            .iter()
            .rev()
            .find(|known| known.ecosystem == manager.ecosystem && known.extra == extra)
            .map(|known| known.url.as_str())
    };
    let own = words
        .values(manager.registry)
        .filter(is_url)
        .last()
        .or(of_environment(false));
    let extra = words
        .values(manager.extra)
        .filter(is_url)
        .last()
        .or(of_environment(true));
    // The worse of the two is told: a second registry beside the first decides by version numbers.
    let registry = extra.map(|url| (url, true)).or(own.map(|url| (url, false)));
    let host = words.has(&["-g", "--global", "--user"])
        || words.values(&["--location"]).any(|place| place == "global");
    let no_scripts = words.has(&["--ignore-scripts"])
        || words.values(&["--only-binary"]).any(|of| of == ":all:")
        || words.values(&["--ignore-scripts"]).any(|value| value == "true");
    for install in installs {
        install.into = if host { InstallInto::Host } else { verb.into };
        install.runs_now = matches!(verb.does, Run | Create | With);
        install.scripts = !no_scripts
            && matches!(
                manager.ecosystem,
                Ecosystem::Npm | Ecosystem::Pypi | Ecosystem::Crates | Ecosystem::Gem | Ecosystem::System
            );
        if let Some((url, extra)) = registry
            && matches!(install.source, InstallSource::Registry | InstallSource::File)
            && (install.source == InstallSource::Registry || install.name.is_empty())
        {
            let (url, credentials) = spec::without_login(url);
            install.host = hosts::url_host(&url).map(|host| host.host).unwrap_or_default();
            install.registry = url;
            install.extra_registry = extra;
            install.credentials |= credentials;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split(' ').collect();
        let read = read(words[0], &words[1..], &[]).unwrap_or_default();
        let tell = |install: Install| {
            let mut text = format!("{} {}", install.ecosystem.as_str(), install.name);
            for (flag, word) in [
                (install.runs_now, " now"),
                (install.version == VersionAsked::Exact, " exact"),
                (install.source == InstallSource::File, " file"),
                (install.source == InstallSource::Git, " git"),
                (!install.registry.is_empty(), " registry"),
                (install.extra_registry, " extra"),
                (install.into == InstallInto::Host, " host"),
            ] {
                if flag {
                    text.push_str(word);
                }
            }
            text
        };
        read.installs.into_iter().map(tell).collect()
    }

    #[test]
    fn commands_that_install_are_read() {
        for (line, expected) in [
            (
                "npm install express lodash@4.17.21",
                vec!["npm express", "npm lodash exact"],
            ),
            (
                "npm -g i --registry https://r.example x",
                vec!["npm x registry host"],
            ),
            ("npm install", vec!["npm  file"]),
            ("npm ci", vec!["npm  exact file"]),
            (
                "npx -y create-vite@5.5.2 web --template x",
                vec!["npm create-vite now exact"],
            ),
            (
                "npx --package=@angular/cli@18 -- ng new shop",
                vec!["npm @angular/cli now"],
            ),
            ("npx -p typescript tsc", vec!["npm typescript now"]),
            ("npx --no-install jest", vec![]),
            ("npm create vite@latest web", vec!["npm create-vite now"]),
            ("npm create @scope/app", vec!["npm @scope/create-app now"]),
            ("npm exec -- vitest run", vec!["npm vitest now"]),
            ("yarn dlx create-vite", vec!["npm create-vite now"]),
            ("pip install -q -r r.txt", vec!["pypi  file"]),
            ("pip install -e .", vec!["pypi  file"]),
            (
                "pip install --extra-index-url https://x.example/s acme",
                vec!["pypi acme registry extra"],
            ),
            (
                "pip install --index-url=https://x.example/s acme",
                vec!["pypi acme registry"],
            ),
            ("uvx --from httpie http GET x", vec!["pypi httpie now"]),
            ("uvx ruff check .", vec!["pypi ruff now"]),
            ("uv run --with rich script.py", vec!["pypi rich now"]),
            ("uv run pytest -q", vec![]),
            ("uv pip install flask", vec!["pypi flask"]),
            ("uv tool install ruff", vec!["pypi ruff host"]),
            ("uv sync --frozen", vec!["pypi  exact file"]),
            ("cargo add tokio --features full", vec!["crates tokio"]),
            (
                "cargo install --git https://h.example/a/b c",
                vec!["crates c git host"],
            ),
            ("cargo install --path .", vec!["crates  file host"]),
            ("gem install rails -v 7.1.3", vec!["gem rails exact host"]),
            ("go install ./cmd/...", vec!["go  file host"]),
            ("go run ./cmd", vec![]),
            (
                "go run example.com/x@v1.2.3 a",
                vec!["go example.com/x now exact"],
            ),
            (
                "docker run --rm -v /a:/b mcp/fetch --help",
                vec!["docker mcp/fetch now"],
            ),
            ("docker ps", vec![]),
            ("sudo npm i", vec![]),
            ("npm run build", vec![]),
            ("conda install -c conda-forge numpy", vec!["system numpy"]),
        ] {
            assert_eq!(told(line), expected, "{line}");
        }
    }

    #[test]
    fn the_environment_names_registries() {
        let registries: Vec<Registry> = [
            ("PIP_EXTRA_INDEX_URL", "http://h.example/simple"),
            ("npm_config_registry", "http://h.example/"),
            ("PATH", "http://h.example/"),
        ]
        .iter()
        .filter_map(|(name, value)| Registry::of_variable(name, value))
        .collect();
        assert_eq!(registries.len(), 2);
        let read = read("pip", &["install", "x"], &registries).unwrap();
        assert!(read.installs[0].extra_registry && read.installs[0].host == "h.example");
        assert_eq!(
            super::read("cargo", &["add", "x"], &registries).unwrap().installs[0].registry,
            ""
        );
    }
}
