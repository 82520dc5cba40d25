//! What a call would install: packages, images, scripts, and what extends the agent itself.
//!
//! | Module | Holds |
//! |---|---|
//! | `table` | package managers: which words of theirs install what |
//! | `managers` | one reading of a command's words for all of them |
//! | `spec` | a package as it is written: name, version, place |
//! | `agents` | agent products and editors: servers, plugins, skills, extensions |
//! | `settings` | servers in settings, and where agents keep what extends them |
//! | `known` | well-known names, and slips from them |
//!
//! Programs find their way here through the table of behaviours, so that a call without any of them pays nothing; paths that
//! are written are looked up once, by their components.

mod agents;
mod known;
mod managers;
mod settings;
mod spec;
mod table;

use defenseclaw_model::facts::{Ecosystem, FlowKind, Install, InstallInto, InstallSource, VersionAsked};
use defenseclaw_places::PlaceKind;

use super::behaviours::Invocation;
use super::{Analysis, hosts, normal};
use crate::scan::packages;
use crate::shell::{Field, Scope, Sink};
pub(super) use managers::Registry;

/// Most installs of one call: a person names a handful, a project's list is one.
const MAX_INSTALLS: usize = 128;

/// Most words of one command that are read.
const MAX_WORDS: usize = 512;

/// Most registries that the environment names.
const MAX_REGISTRIES: usize = 8;

/// Longest place of an install (bytes).
const MAX_PLACE: usize = 512;

/// A function that knows programs.
type Handler = fn(&mut Analysis, &Invocation<'_>, &Scope<'_>);

/// Programs, and what knows them. Names without their versions: the table that these join looks there for `pip3.12`.
pub(super) const TABLE: &[(&[&str], Handler)] = &[
    (table::NAMES, manager),
    (&["python", "py"], module),
    (agents::NAMES, agent),
    (&["git", "gh"], clone),
    (&["degit", "tiged", "gitpick"], template),
];

/// Notes an install, once.
fn push(analysis: &mut Analysis, mut install: Install) {
    // Of what extends an agent it was told where it was read: its own name says nothing of who made it.
    if install.into != InstallInto::Agent {
        known::tell(&mut install);
    }
    install.from.truncate(install.from.floor_char_boundary(MAX_PLACE));
    install
        .place
        .truncate(install.place.floor_char_boundary(MAX_PLACE));
    if analysis.facts.installs.contains(&install) {
        return;
    }
    if analysis.facts.installs.len() >= MAX_INSTALLS {
        analysis.stop("too-large", &install.name);
    } else {
        analysis.facts.installs.push(install);
    }
}

fn push_all(analysis: &mut Analysis, installs: Vec<Install>) {
    for install in installs {
        push(analysis, install);
    }
}

/// Notes that the environment names a registry.
pub(super) fn variable(analysis: &mut Analysis, name: &str, value: &str) {
    if analysis.registries.len() < MAX_REGISTRIES {
        analysis.registries.extend(Registry::of_variable(name, value));
    }
}

fn manager(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let words: Vec<&str> = call.words().take(MAX_WORDS).collect();
    managed(analysis, call.name, words, Some(call), scope);
}

/// `python -m pip …`.
fn module(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let mut words = call
        .words()
        .take(MAX_WORDS)
        .skip_while(|word| *word != "-m")
        .skip(1);
    if let Some(name) = words
        .next()
        .filter(|name| matches!(*name, "pip" | "pipx" | "uv" | "poetry" | "pipenv"))
    {
        managed(analysis, name, words.collect(), Some(call), scope);
    }
}

fn managed<'w>(
    analysis: &mut Analysis,
    name: &str,
    mut words: Vec<&'w str>,
    call: Option<&Invocation<'w>>,
    scope: &Scope<'_>,
) {
    let Some(mut read) = managers::read(name, &words, &analysis.registries) else {
        return;
    };
    // `echo a b | xargs pip install`: the operands come in through the pipe.
    let outer = call.and_then(|call| call.call.command.fields.first());
    if read.open
        && outer.is_some_and(|(outer, _)| outer.text.ends_with("xargs"))
        && let Some(input) = call.and_then(Invocation::input)
    {
        words.extend(input.split_whitespace().take(MAX_WORDS));
        read = managers::read(name, &words, &analysis.registries).unwrap_or_default();
    }
    let tool = read.rest.zip(read.installs.last().cloned());
    for install in read.installs {
        from_list(analysis, &install, scope);
        push(analysis, install);
    }
    // What is run at once may install something itself: `npx clawhub install x`.
    if let Some((rest, package)) = tool
        && package.ecosystem == Ecosystem::Npm
        && let Some(rest) = words.get(rest..)
    {
        let program = agents::program_of(&package.name);
        if agents::NAMES.contains(&program) {
            let found = agents::read(program, rest, &analysis.registries);
            push_all(analysis, found);
        } else if matches!(program, "degit" | "tiged" | "gitpick") {
            copied(analysis, rest, scope);
        }
    }
}

/// What a list names that the call itself has written: `pip install -r FILE`.
fn from_list(analysis: &mut Analysis, list: &Install, scope: &Scope<'_>) {
    if list.ecosystem != Ecosystem::Pypi || list.source != InstallSource::File || list.from.is_empty() {
        return;
    }
    let Some(text) = analysis.contents.of(&Field::literal(list.from.as_str()), scope) else {
        return;
    };
    for package in packages::of_requirements(&text).into_iter().take(MAX_INSTALLS) {
        let mut install = spec::blank(Ecosystem::Pypi);
        install.name = package.name;
        install.version = if package.pinned {
            VersionAsked::Exact
        } else {
            VersionAsked::Range
        };
        install.into = list.into;
        install.scripts = list.scripts;
        push(analysis, install);
    }
}

fn agent(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let words: Vec<&str> = call.words().take(MAX_WORDS).collect();
    let found = agents::read(call.name, &words, &analysis.registries);
    push_all(analysis, found);
}

/// `git clone URL [FOLDER]`, `gh repo clone OWNER/NAME [FOLDER]`.
fn clone(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    const VALUES: &[&str] = &[
        "-C",
        "-c",
        "-b",
        "--branch",
        "--depth",
        "-o",
        "--origin",
        "--reference",
        "-j",
        "--jobs",
        "--filter",
        "--config",
        "--template",
        "-u",
        "--upload-pack",
        "--separate-git-dir",
        "--shallow-since",
        "--git-dir",
        "--work-tree",
    ];
    let mut words = call.operands_after(VALUES);
    let verb = match call.name {
        "gh" => words.next() == Some("repo") && words.next() == Some("clone"),
        _ => words.next() == Some("clone"),
    };
    if verb && let Some(address) = words.next() {
        let base = call.value(&["-C"]).filter(|_| call.name == "git");
        let base = base.map_or_else(
            || scope.cwd.clone(),
            |base| Some(normal::normalise(base, scope.cwd.as_deref())),
        );
        placed(analysis, address, words.next(), base.as_deref());
    }
}

fn template(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let words: Vec<&str> = call.words().take(MAX_WORDS).collect();
    copied(analysis, &words, scope);
}

/// `degit OWNER/NAME [FOLDER]`.
fn copied(analysis: &mut Analysis, words: &[&str], scope: &Scope<'_>) {
    let mut operands = words.iter().copied().filter(|word| !word.starts_with('-'));
    if let Some(address) = operands.next() {
        placed(analysis, address, operands.next(), scope.cwd.as_deref());
    }
}

/// A repository that is put into a folder; without one, into one of its own name.
fn placed(analysis: &mut Analysis, address: &str, folder: Option<&str>, cwd: Option<&str>) {
    let Some(mut install) = spec::of(Ecosystem::Skill, address) else {
        return;
    };
    if install.source == InstallSource::Registry {
        return;
    }
    install.ecosystem = Ecosystem::Git;
    if install.source == InstallSource::Url {
        install.source = InstallSource::Git;
    }
    let own = install.name.clone();
    let path = normal::normalise(folder.unwrap_or(&own), cwd);
    let kind = settings::governed(&path)
        .into_iter()
        .find_map(|place| extends(place.kind));
    if let Some(kind) = kind {
        let publisher = install
            .from
            .strip_prefix("https://github.com/")
            .unwrap_or_default();
        install.known = known::extends_agents(publisher);
        install.ecosystem = kind;
        install.into = InstallInto::Agent;
        install.place = path;
    }
    push(analysis, install);
}

/// What lies in a place of that kind, where it is a folder or file of its own.
fn extends(kind: PlaceKind) -> Option<Ecosystem> {
    match kind {
        PlaceKind::Skill | PlaceKind::Prompt => Some(Ecosystem::Skill),
        PlaceKind::Plugin => Some(Ecosystem::Plugin),
        PlaceKind::Mcp | PlaceKind::Hooks | PlaceKind::Memory | PlaceKind::Model => None,
    }
}

/// Notes what a file tool's new text adds to an agent, or to what a project is made of.
pub(super) fn written(analysis: &mut Analysis, path: &str, text: &str) {
    for place in settings::governed(path) {
        match place.kind {
            PlaceKind::Mcp => servers_written(analysis, path, text),
            PlaceKind::Hooks if settings::speaks_of_hooks(text) => hooks(analysis, path),
            kind => {
                if let Some(ecosystem) = extends(kind) {
                    let mut install = agents::into_agent(spec::blank(ecosystem));
                    install.source = InstallSource::Inline;
                    install.name = name_of(path);
                    path.clone_into(&mut install.place);
                    push(analysis, install);
                }
            }
        }
    }
    listed(analysis, path, text);
}

fn servers_written(analysis: &mut Analysis, path: &str, text: &str) {
    let mut servers = settings::servers(text, &analysis.registries);
    let own_file = path.contains("mcp");
    if servers.is_empty() || !(own_file || settings::speaks_of_servers(text)) {
        return;
    }
    servers
        .iter_mut()
        .for_each(|server| path.clone_into(&mut server.place));
    push_all(analysis, servers);
}

fn hooks(analysis: &mut Analysis, path: &str) {
    let mut install = agents::into_agent(spec::blank(Ecosystem::Hook));
    install.source = InstallSource::Inline;
    path.clone_into(&mut install.place);
    push(analysis, install);
}

/// What the call itself has written into the file at `path`.
fn content_of(analysis: &Analysis, path: &str) -> Option<String> {
    analysis
        .contents
        .of(&Field::literal(path), &Scope::new(None, None))
}

/// Whether a file lists a project's packages.
fn is_list(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name == "package.json" || (name.starts_with("requirements") && name.ends_with(".txt"))
}

/// Names that look like others in a list that a project's packages are installed from. All others are everyday work.
fn listed(analysis: &mut Analysis, path: &str, text: &str) {
    if !is_list(path) {
        return;
    }
    let found = if path.ends_with(".txt") {
        packages::of_requirements(text)
    } else {
        let value = serde_json::from_str(text);
        value.map_or_else(|_| Vec::new(), |value| packages::of_package_json(&value, text))
    };
    for package in found.into_iter().take(MAX_INSTALLS) {
        let ecosystem = match package.registry {
            packages::Registry::Pypi => Ecosystem::Pypi,
            packages::Registry::Npm => Ecosystem::Npm,
            packages::Registry::Crates => Ecosystem::Crates,
            packages::Registry::Gem => Ecosystem::Gem,
        };
        let mut install = spec::blank(ecosystem);
        install.name = package.name;
        known::tell(&mut install);
        if !install.like.is_empty() {
            install.version = if package.pinned {
                VersionAsked::Exact
            } else {
                VersionAsked::Range
            };
            path.clone_into(&mut install.place);
            push(analysis, install);
        }
    }
}

/// The name of the artifact that a path lies in: its folder behind the agent's, as people call it.
fn name_of(path: &str) -> String {
    let known = [
        "skills",
        "commands",
        "agents",
        "prompts",
        "plugins",
        "extensions",
        "rules",
        "workflows",
        "microagents",
    ];
    let mut parts = path.split('/').skip_while(|part| !known.contains(part)).skip(1);
    let name = parts.next().unwrap_or_default();
    name.trim_end_matches(".md").to_owned()
}

/// Programs that put what exists elsewhere into the place that they write.
const COPIES: &[&str] = &[
    "cp", "mv", "ln", "link", "rsync", "install", "ditto", "scp", "tar", "bsdtar", "unzip", "7z", "7za",
    "cpio", "rclone", "gunzip", "sftp",
];
const FETCHES: &[&str] = &["curl", "wget", "wget2", "aria2c", "axel", "http", "xh"];
/// Programs that only take away, or make room.
const QUIET: &[&str] = &[
    "rm", "rmdir", "unlink", "shred", "truncate", "touch", "mkdir", "chmod", "chown", "trash", "git", "gh",
    "degit", "find",
];

/// Notes what follows from the call as a whole: scripts from the network, and what is written where agents look.
pub(super) fn settle(analysis: &mut Analysis, text: &str) {
    scripts(analysis);
    for at in 0..analysis.facts.writes.len() {
        let Some(path) = analysis.facts.writes.get(at).map(|fact| fact.path.clone()) else {
            break;
        };
        if let Some(content) = is_list(&path).then(|| content_of(analysis, &path)).flatten() {
            listed(analysis, &path, &content);
        }
        let places = settings::governed(&path);
        if places.is_empty() {
            continue;
        }
        let writer = analysis.nodes.iter().position(|node| node.writes.contains(&at));
        let program = writer.and_then(|writer| analysis.facts.programs.get(writer));
        let program = program.map_or("", |program| program.name.as_str()).to_owned();
        if QUIET.contains(&program.as_str()) {
            continue;
        }
        for place in places {
            match place.kind {
                PlaceKind::Mcp => settings_written(analysis, (&path, text), &program),
                PlaceKind::Hooks if settings::speaks_of_hooks(text) => hooks(analysis, &path),
                kind => {
                    if let Some(ecosystem) = extends(kind) {
                        brought(analysis, ecosystem, &path, writer);
                    }
                }
            }
        }
    }
}

/// A settings file that a command writes. What it writes stands in the command, or nobody can tell.
fn settings_written(analysis: &mut Analysis, (path, text): (&str, &str), program: &str) {
    let content = content_of(analysis, path);
    let copied = COPIES.contains(&program) || FETCHES.contains(&program);
    if let Some(content) = content {
        return servers_written(analysis, path, &content);
    }
    if settings::speaks_of_servers(text) {
        servers_written(analysis, path, text);
    }
    let known = analysis
        .facts
        .installs
        .iter()
        .any(|one| one.ecosystem == Ecosystem::Mcp);
    // Of a file that holds servers alone it is enough that it comes from somewhere.
    if !known && (settings::speaks_of_servers(text) || copied && path.contains("mcp")) {
        let mut install = agents::into_agent(spec::blank(Ecosystem::Mcp));
        install.source = InstallSource::File;
        path.clone_into(&mut install.place);
        push(analysis, install);
    }
}

/// A skill or plugin that a command puts where an agent finds it.
fn brought(analysis: &mut Analysis, ecosystem: Ecosystem, path: &str, writer: Option<usize>) {
    let mut install = agents::into_agent(spec::blank(ecosystem));
    install.name = name_of(path);
    path.clone_into(&mut install.place);
    let program = writer.and_then(|writer| analysis.facts.programs.get(writer));
    let program = program.map_or("", |program| program.name.as_str());
    let host = analysis
        .facts
        .hosts
        .iter()
        .find(|host| !super::flows::is_near(&host.host));
    let read = writer
        .and_then(|writer| analysis.nodes.get(writer))
        .and_then(|node| node.reads.first())
        .and_then(|read| analysis.facts.reads.get(*read));
    if FETCHES.contains(&program) || (COPIES.contains(&program) && read.is_none() && host.is_some()) {
        install.source = InstallSource::Url;
        install.host = host.map(|host| host.host.clone()).unwrap_or_default();
        install.from.clone_from(&install.host);
    } else if COPIES.contains(&program) {
        install.source = InstallSource::File;
        install.from = read.map(|read| read.path.clone()).unwrap_or_default();
        // Within the agent's own folders it is only moved about.
        if !settings::governed(&install.from).is_empty() {
            return;
        }
    } else {
        install.source = InstallSource::Inline;
    }
    let cloned = |one: &Install| one.ecosystem == ecosystem && one.place == install.place;
    if !analysis.facts.installs.iter().any(cloned) {
        push(analysis, install);
    }
}

/// Code from the network that is run as it comes.
fn scripts(analysis: &mut Analysis) {
    let found: Vec<String> = analysis
        .facts
        .flows
        .iter()
        .filter(|flow| flow.from.kind == FlowKind::Network && flow.to.kind == FlowKind::Code)
        .map(|flow| flow.from.what.clone())
        .collect();
    for host in found {
        let mut install = spec::blank(Ecosystem::Script);
        install.source = InstallSource::Url;
        install.host = hosts::url_host(&host).map_or(host.clone(), |known| known.host);
        install.from = host;
        install.into = InstallInto::Host;
        install.runs_now = true;
        install.scripts = true;
        push(analysis, install);
    }
}

#[cfg(test)]
mod tests;
