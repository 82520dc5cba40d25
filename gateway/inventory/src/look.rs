//! What a candidate is: its files read, its parts listed, scanned and asked about.

use std::path::Path;

use defenseclaw_detect::scan::artifact::{self, Artifact};
use defenseclaw_model::admission::ArtifactKind;
use defenseclaw_model::scan::{ScanFinding, ScanKind};
use defenseclaw_places::PlaceKind;

use crate::extensions::{self, digest_of, findings_within};
use crate::gather::{Candidate, Reading};
use crate::item::{Details, Item, ItemKind, Trouble};
use crate::judge::LiesAs;
use crate::programs::Programs;
use crate::seams::{Admissions, Tools};
use crate::{Judge, hooks, models, servers, settings, tidy};

/// What looking at a candidate needs besides it.
pub(crate) struct Looking<'a> {
    pub(crate) judge: Option<&'a Judge>,
    pub(crate) admissions: &'a dyn Admissions,
    pub(crate) tools: &'a dyn Tools,
    pub(crate) programs: &'a Programs,
    pub(crate) now_ns: u64,
}

/// What was found at candidates.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) items: Vec<Item>,
    pub(crate) troubles: Vec<Trouble>,
}

impl Looking<'_> {
    /// Looks at candidates that are the same files on disk, which are read once.
    pub(crate) fn at(&self, same: &[Candidate]) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(first) = same.first() else { return outcome };
        if first.reading == Reading::Settings {
            for one in same {
                self.settings(one, &mut outcome);
            }
            return outcome;
        }
        match artifact::read(&first.path) {
            Ok(artifact) => {
                for one in same {
                    self.artifact(one, &artifact, &mut outcome);
                }
            }
            Err(error) => {
                let path = first.path.display().to_string();
                let kind = match error {
                    artifact::ReadError::Special { .. } => "special",
                    artifact::ReadError::Open { .. } => "unreadable",
                };
                outcome.troubles.push(Trouble::new(path, kind, error.to_string()));
            }
        }
        outcome
    }

    fn artifact(&self, one: &Candidate, files: &Artifact, outcome: &mut Outcome) {
        let (kind, scan, admitted) = kinds(one.reading, files);
        let mut item = start(one, kind);
        item.digest = Some(digest_of(files));
        item.files = Some(files.files.iter().filter(|file| file.nesting == 0).count() as u64);
        item.size = Some(
            files
                .files
                .iter()
                .filter(|file| file.nesting == 0)
                .map(|file| file.size)
                .sum(),
        );
        self.describe(one, files, &mut item);
        let findings = match self.judge {
            Some(judge) => judge.scan(scan, files, &item.path, &item.name).findings,
            None => files.problems.clone(),
        };
        // What could not be read is told whether or not rules are asked.
        let unread = files
            .problems
            .iter()
            .filter(|problem| problem.rule.starts_with("artifact."));
        let unread = unread.filter(|problem| !problem.rule.starts_with("artifact.link"));
        outcome.troubles.extend(unread.map(|problem| {
            let path = one.path.join(&problem.file).display().to_string();
            Trouble::new(path, kind_of(&problem.rule), problem.message.clone())
        }));
        let digest = item.digest.clone();
        let admitted = admitted.map(|kind| LiesAs {
            kind,
            name: &one.lies_as,
            origin: one.origin.as_deref(),
        });
        self.conclude(&mut item, admitted, &findings, digest, &mut outcome.troubles);
        if kind == ItemKind::Plugin {
            let (parts, troubles) = extensions::parts(&item, &one.named, files);
            outcome.troubles.extend(troubles);
            for part in parts {
                self.part(part, &findings, outcome);
            }
        }
        outcome.items.push(item);
    }

    fn describe(&self, one: &Candidate, files: &Artifact, item: &mut Item) {
        let marketplace = (one.stars.len() >= 2).then(|| one.stars.first().map(|name| tidy::name(name)));
        let version = (one.stars.len() >= 3).then(|| one.stars.last().map(|name| tidy::name(name)));
        match one.reading {
            Reading::Skill => extensions::skill(files).into(item, None, false),
            Reading::Plugin => {
                item.version = version.flatten();
                let ours = extensions::is_ours(files, &item.connectors);
                extensions::plugin(files).into(item, marketplace.flatten(), ours);
            }
            Reading::Prompt | Reading::Memory => {
                let name = item.name.clone();
                let said = files
                    .files
                    .first()
                    .filter(|_| files.files.len() == 1)
                    .map(extensions::document);
                said.unwrap_or_default().into(item, None, false);
                // A rule or command is called by its file's name, whatever its text says.
                item.name = name;
            }
            Reading::HookFolder => {
                item.details = Details::Hook {
                    event: item.name.clone(),
                    matcher: None,
                    command: item.path.clone(),
                    ours: false,
                };
            }
            Reading::Settings => {}
        }
    }

    /// A part of a plugin: what was found in its files is its own; a server is also judged by its launch.
    fn part(&self, part: extensions::Part, findings: &[ScanFinding], outcome: &mut Outcome) {
        let mut item = part.item;
        let is_tool = item.kind == ItemKind::Tool;
        if let (Some(judge), false) = (self.judge, is_tool) {
            let own = match &part.definition {
                Some(definition) => judge.scan_server(definition, &item.path, &item.name),
                None => findings_within(findings, &part.within),
            };
            item.scan = Some(judge.summary(&own));
        }
        // It is admitted with its plugin, and not by itself.
        if part.definition.is_some() {
            self.known_tools(&item, outcome);
        }
        outcome.items.push(item);
    }

    fn settings(&self, one: &Candidate, outcome: &mut Outcome) {
        let read = match settings::read(&one.path, &one.bounds) {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(trouble) => {
                // That the file is there is known all the same.
                outcome.items.push(start(one, ItemKind::Settings));
                return outcome.troubles.push(trouble);
            }
        };
        let mut file = start(one, ItemKind::Settings);
        file.size = Some(read.stat.size);
        file.files = Some(1);
        file.digest = artifact::read(&one.path).ok().map(|files| digest_of(&files));
        let path = file.path.clone();
        let hooks_of = one.readers_of(PlaceKind::Hooks);
        if !hooks_of.is_empty() {
            for mut hook in hooks::of(&read.value, &path, one.scope) {
                hook.connectors.clone_from(&hooks_of);
                self.of_file(hook, &file, outcome);
            }
        }
        for connector in one.readers_of(PlaceKind::Model) {
            let Some(program) = self.programs.connectors.get(&connector) else {
                continue;
            };
            for mut model in models::of(&read.value, program, &path, one.scope) {
                model.connectors = vec![connector.clone()];
                self.of_file(model, &file, outcome);
            }
        }
        let servers_of = one.readers_of(PlaceKind::Mcp);
        if !servers_of.is_empty() {
            self.servers(one, &read.value, (&file, servers_of), outcome);
        }
        outcome.items.push(file);
    }

    fn servers(
        &self,
        one: &Candidate,
        value: &serde_json::Value,
        (file, readers): (&Item, Vec<String>),
        outcome: &mut Outcome,
    ) {
        let (found, more) = servers::of(value, &file.path, one.scope);
        if more {
            let message = "It names more servers than are looked at: the rest is not listed";
            outcome
                .troubles
                .push(Trouble::new(file.path.clone(), "limit", message));
        }
        for server in found {
            let mut item = server.item;
            item.connectors.clone_from(&readers);
            let findings = self
                .judge
                .map(|judge| judge.scan_server(&server.definition, &file.path, &item.name));
            item.part_of = Some(file.id.clone());
            item.owner_uid = file.owner_uid;
            item.modified_ns = file.modified_ns;
            if let Some(findings) = findings {
                // The gate holds the file, so that lists name the file's digest.
                let name = item.name.clone();
                self.conclude(
                    &mut item,
                    Some(LiesAs {
                        kind: ArtifactKind::Mcp,
                        name: &name,
                        origin: None,
                    }),
                    &findings,
                    file.digest.clone(),
                    &mut outcome.troubles,
                );
            }
            self.known_tools(&item, outcome);
            for mut tool in server.tools {
                tool.connectors.clone_from(&readers);
                outcome.items.push(tool);
            }
            outcome.items.push(item);
        }
    }

    /// Tools of a server that others know.
    fn known_tools(&self, server: &Item, outcome: &mut Outcome) {
        for known in self.tools.of(server) {
            let name = tidy::name(&known.name);
            let mut tool = Item::new(
                ItemKind::Tool,
                &name,
                &server.path,
                server.level,
                (&server.id, &name),
            );
            tool.connectors.clone_from(&server.connectors);
            tool.part_of = Some(server.id.clone());
            tool.digest = Some(known.digest);
            tool.details = Details::Tool {
                source: "pins".to_owned(),
            };
            outcome.items.push(tool);
        }
    }

    fn of_file(&self, mut item: Item, file: &Item, outcome: &mut Outcome) {
        item.part_of = Some(file.id.clone());
        item.owner_uid = file.owner_uid;
        item.modified_ns = file.modified_ns;
        outcome.items.push(item);
    }

    /// Puts into an item what was found and whether it may be used.
    fn conclude(
        &self,
        item: &mut Item,
        admitted: Option<LiesAs<'_>>,
        findings: &[ScanFinding],
        digest: Option<String>,
        troubles: &mut Vec<Trouble>,
    ) {
        if let Some(judge) = self.judge {
            item.scan = Some(judge.summary(findings));
        }
        let Some(lies) = admitted else { return };
        let path = Path::new(&item.path);
        let last = digest
            .as_deref()
            .and_then(|digest| self.admissions.last(lies.kind, path, digest));
        item.admission = match (last, self.judge) {
            (Some(last), _) => Some(last),
            (None, Some(judge)) => match judge.admit((item, &lies), findings, digest, self.now_ns) {
                Ok(state) => Some(state),
                Err(trouble) => {
                    troubles.push(trouble);
                    None
                }
            },
            (None, None) => None,
        };
    }
}

/// What files are, how they are scanned, and as what they are admitted.
fn kinds(reading: Reading, files: &Artifact) -> (ItemKind, ScanKind, Option<ArtifactKind>) {
    match reading {
        Reading::Skill => (ItemKind::Skill, ScanKind::Skill, Some(ArtifactKind::Skill)),
        Reading::Plugin if extensions::is_marketplace(files) => {
            (ItemKind::Marketplace, ScanKind::Code, Some(ArtifactKind::Plugin))
        }
        Reading::Plugin => (ItemKind::Plugin, ScanKind::Plugin, Some(ArtifactKind::Plugin)),
        // Documents by themselves: that there is no SKILL.md beside them says nothing.
        Reading::Prompt => (ItemKind::Prompt, ScanKind::Code, Some(ArtifactKind::Skill)),
        Reading::Memory => (ItemKind::Memory, ScanKind::Code, None),
        Reading::HookFolder => (ItemKind::Hook, ScanKind::Code, None),
        Reading::Settings => (ItemKind::Settings, ScanKind::Mcp, None),
    }
}

fn kind_of(rule: &str) -> &'static str {
    match rule {
        "artifact.limit" => "limit",
        "artifact.special-file" => "special",
        "artifact.unreadable" => "unreadable",
        _ => "invalid",
    }
}

/// An item with what is known before its files are read.
fn start(one: &Candidate, kind: ItemKind) -> Item {
    let name = one.path.file_name().unwrap_or_default().to_string_lossy();
    let name = match one.reading {
        Reading::Prompt => name
            .trim_end_matches(".md")
            .trim_end_matches(".mdc")
            .trim_end_matches(".toml"),
        _ => &name,
    };
    let (path, named) = (one.path.display().to_string(), one.named.display().to_string());
    let mut item = Item::new(kind, &tidy::name(name), &path, one.scope, (&named, ""));
    item.connectors = one.connectors();
    item.owner_uid = Some(one.stat.owner);
    item.modified_ns = Some(one.stat.modified_ns);
    item.link.clone_from(&one.stat.link);
    item
}
