//! Skills, plugins, prompts and memory, by their files.

use std::path::Path;

use defenseclaw_detect::scan::artifact::{Artifact, ArtifactFile};
use defenseclaw_harness::shims;
use defenseclaw_model::scan::ScanFinding;
use defenseclaw_places::names;
use serde_json::{Map, Value};

use crate::item::{Details, Item, ItemKind, Trouble, sha256_of};
use crate::{documents, hooks, servers, settings, tidy};

/// Most parts of one plugin.
const MAX_PARTS: usize = 2000;

/// What an extension says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    license: Option<String>,
    author: Option<String>,
}

impl Said {
    fn of(fields: &Map<String, Value>) -> Self {
        let text = |name: &str| documents::text(fields, name);
        let metadata = fields.get("metadata").and_then(Value::as_object);
        let author = fields.get("author").and_then(Value::as_object);
        Self {
            name: text("name").or_else(|| text("id")),
            version: text("version").or_else(|| documents::text(metadata?, "version")),
            license: text("license").or_else(|| documents::text(metadata?, "license")),
            author: text("author").or_else(|| documents::text(author?, "name")),
        }
    }

    /// Puts it into an item.
    pub(crate) fn into(self, item: &mut Item, marketplace: Option<String>, ours: bool) {
        if let Some(name) = self.name {
            item.name = name;
        }
        item.version = self.version.or(item.version.take());
        item.details = Details::Extension {
            license: self.license,
            author: self.author,
            marketplace,
            ours,
        };
    }
}

/// What a skill's `SKILL.md`, the one that lies least deep, says.
pub(crate) fn skill(artifact: &Artifact) -> Said {
    let main = artifact.files.iter().filter(|file| is_skill(&file.path));
    let main = main.min_by_key(|file| (file.path.matches('/').count(), file.path.clone()));
    main.map(document).unwrap_or_default()
}

/// What a document says before its text.
pub(crate) fn document(file: &ArtifactFile) -> Said {
    Said::of(&documents::front(&String::from_utf8_lossy(&file.bytes)))
}

fn is_skill(path: &str) -> bool {
    path.rsplit('/')
        .next()
        .is_some_and(|name| name.eq_ignore_ascii_case("SKILL.md"))
}

/// Whether files are a marketplace's and no plugin's.
pub(crate) fn is_marketplace(artifact: &Artifact) -> bool {
    file(artifact, names::MARKETPLACE).is_some() && manifest(artifact).is_none()
}

/// What a plugin's or a marketplace's manifest says.
pub(crate) fn plugin(artifact: &Artifact) -> Said {
    let read = |file: &ArtifactFile| serde_json::from_slice::<Map<String, Value>>(&file.bytes).ok();
    let manifest = manifest(artifact).or_else(|| file(artifact, names::MARKETPLACE));
    manifest
        .and_then(read)
        .map(|fields| Said::of(&fields))
        .unwrap_or_default()
}

fn manifest(artifact: &Artifact) -> Option<&ArtifactFile> {
    names::MANIFESTS.iter().find_map(|path| file(artifact, path))
}

fn file<'a>(artifact: &'a Artifact, path: &str) -> Option<&'a ArtifactFile> {
    artifact.files.iter().find(|file| file.path == path)
}

/// Whether a plugin is DefenseClaw's own: the very bytes that set-up writes, and nothing beside them.
pub(crate) fn is_ours(artifact: &Artifact, connectors: &[String]) -> bool {
    connectors.iter().any(|connector| {
        let own = shims::files(connector);
        let same = |file: &ArtifactFile| {
            own.iter()
                .any(|shim| shim.path == file.path && shim.content.as_bytes() == file.bytes.as_slice())
        };
        !own.is_empty() && artifact.files.len() == own.len() && artifact.files.iter().all(same)
    })
}

/// What a plugin brings along: skills, prompts, servers, hooks and tools, as parts of it.
pub(crate) fn parts(plugin: &Item, named: &Path, artifact: &Artifact) -> (Vec<Part>, Vec<Trouble>) {
    let mut gathered = Parts {
        plugin,
        named,
        found: Vec::new(),
        troubles: Vec::new(),
    };
    for file in artifact.files.iter().filter(|file| file.nesting == 0) {
        if gathered.found.len() >= MAX_PARTS {
            let message = format!("The plugin has more than {MAX_PARTS} parts: the rest is not listed");
            gathered
                .troubles
                .push(Trouble::new(plugin.path.clone(), "limit", message));
            break;
        }
        gathered.file(file, artifact);
    }
    (gathered.found, gathered.troubles)
}

/// One part, and the path in the plugin that findings about it begin with.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) item: Item,
    pub(crate) within: String,
    /// A server's definition, for the scanner.
    pub(crate) definition: Option<Value>,
}

struct Parts<'a> {
    plugin: &'a Item,
    named: &'a Path,
    found: Vec<Part>,
    troubles: Vec<Trouble>,
}

impl Parts<'_> {
    fn file(&mut self, file: &ArtifactFile, artifact: &Artifact) {
        let path = file.path.as_str();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if is_skill(path) && folder.split('/').any(|part| part == "skills" || part == "skill") {
            self.skill(file, folder, artifact);
        } else if path.ends_with(".md") && matches!(folder.split('/').next(), Some("commands" | "agents")) {
            let said = document(file);
            let name = path
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .trim_end_matches(".md");
            let mut item = self.item(ItemKind::Prompt, name, path);
            item.digest = Some(sha256_of(&file.bytes));
            item.size = Some(file.size);
            said.into(&mut item, None, false);
            self.push(item, path, None);
        } else if path.ends_with(".json") && is_of_settings(path) {
            self.settings(file);
        }
    }

    fn skill(&mut self, file: &ArtifactFile, folder: &str, artifact: &Artifact) {
        let said = document(file);
        let mut item = self.item(
            ItemKind::Skill,
            folder.rsplit('/').next().unwrap_or_default(),
            folder,
        );
        let prefix = format!("{folder}/");
        let own = || {
            artifact
                .files
                .iter()
                .filter(|file| file.path.starts_with(&prefix) && file.nesting == 0)
        };
        item.files = Some(own().count() as u64);
        item.size = Some(own().map(|file| file.size).sum());
        // Read by itself, so that it is the digest that the gate and `scan` have of it.
        let alone = defenseclaw_detect::scan::artifact::read(&Path::new(&self.plugin.path).join(folder));
        item.digest = alone.ok().map(|alone| digest_of(&alone));
        said.into(&mut item, None, false);
        self.push(item, folder, None);
    }

    /// Servers, hooks and tools that a file names.
    fn settings(&mut self, file: &ArtifactFile) {
        let full = Path::new(&self.plugin.path).join(&file.path);
        let value = match settings::parse(&full, &String::from_utf8_lossy(&file.bytes)) {
            Ok(value) => value,
            Err(trouble) => return self.troubles.push(trouble),
        };
        let named = self.named.join(&file.path).display().to_string();
        let read = if file.path.ends_with(".mcp.json") {
            servers::of_server_file
        } else {
            servers::of
        };
        let (found, _) = read(&value, &named, self.plugin.level);
        for server in found {
            let (item, tools) = (server.item, server.tools);
            self.push(item, &file.path, Some(server.definition));
            for tool in tools {
                self.push(tool, &file.path, None);
            }
        }
        for hook in hooks::of(&value, &named, self.plugin.level) {
            self.push(hook, &file.path, None);
        }
        let declared = [value.get("tools"), value.pointer("/contracts/tools")];
        for list in declared.into_iter().flatten() {
            for tool in servers::tools(Some(list), self.plugin, "manifest") {
                self.push(tool, &file.path, None);
            }
        }
    }

    fn item(&self, kind: ItemKind, name: &str, path: &str) -> Item {
        let named = self.named.join(path).display().to_string();
        Item::new(kind, &tidy::name(name), path, self.plugin.level, (&named, ""))
    }

    fn push(&mut self, mut item: Item, within: &str, definition: Option<Value>) {
        // Where it lies now, whatever its identity goes by.
        item.path = Path::new(&self.plugin.path).join(within).display().to_string();
        item.connectors.clone_from(&self.plugin.connectors);
        item.owner_uid = self.plugin.owner_uid;
        item.part_of = item.part_of.or_else(|| Some(self.plugin.id.clone()));
        self.found.push(Part {
            item,
            within: within.to_owned(),
            definition,
        });
    }
}

/// Whether a JSON file of a plugin is one that its harness reads for servers, hooks or tools.
fn is_of_settings(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    names::MANIFESTS.contains(&path) && name != "package.json"
        || matches!(name, ".mcp.json" | "mcp.json" | "hooks.json")
        || path.starts_with("hooks/")
}

/// The findings about what lies at a path of the artifact or below it.
pub(crate) fn findings_within(findings: &[ScanFinding], within: &str) -> Vec<ScanFinding> {
    let below = |file: &str| {
        file == within
            || file
                .strip_prefix(within)
                .is_some_and(|rest| rest.starts_with(['/', '!']))
    };
    findings
        .iter()
        .filter(|finding| below(&finding.file))
        .cloned()
        .collect()
}

/// An artifact's digest as admissions write it: with the name of the hash before it.
pub(crate) fn digest_of(artifact: &Artifact) -> String {
    let hex = artifact
        .digest
        .strip_prefix("sha256:")
        .unwrap_or(&artifact.digest);
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Scope;
    use defenseclaw_detect::scan::artifact::from_memory;

    fn artifact(files: &[(&str, &str)]) -> Artifact {
        from_memory(
            files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())),
        )
    }

    #[test]
    fn a_skill_is_called_as_it_says() {
        let said = skill(&artifact(&[
            ("a/SKILL.md", "---\nname: other\n---\n"),
            (
                "SKILL.md",
                "---\nname: notes\nversion: '2'\nlicense: MIT\nmetadata:\n  author: x\n---\n",
            ),
        ]));
        assert_eq!(
            (said.name.as_deref(), said.version.as_deref()),
            (Some("notes"), Some("2"))
        );
        assert_eq!(skill(&artifact(&[("README.md", "x")])), Said::default());
    }

    #[test]
    fn a_plugin_brings_its_parts_along() {
        let files = artifact(&[
            (
                ".claude-plugin/plugin.json",
                r#"{"name": "p", "version": "1.0.0", "author": {"name": "A"}}"#,
            ),
            ("skills/s/SKILL.md", "---\nname: s1\n---\n"),
            ("skills/s/x.sh", "echo\n"),
            ("commands/go.md", "Go"),
            (".mcp.json", r#"{"db": {"command": "npx", "args": ["p@1.0.0"]}}"#),
            (
                "hooks/hooks.json",
                r#"{"hooks": {"Stop": [{"hooks": [{"command": "x"}]}]}}"#,
            ),
            ("docs/other.json", "no json at all"),
        ]);
        let mut item = Item::new(ItemKind::Plugin, "p", "/c/m/p/1", Scope::User, ("/c/m/p", ""));
        plugin(&files).into(&mut item, Some("m".to_owned()), false);
        assert_eq!(item.version.as_deref(), Some("1.0.0"));
        let (parts, troubles) = parts(&item, Path::new("/c/m/p"), &files);
        assert_eq!(troubles, []);
        let told: Vec<_> = parts
            .iter()
            .map(|part| {
                format!(
                    "{} {} {}",
                    part.item.kind.as_str(),
                    part.item.name,
                    part.item.path
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "mcp_server db /c/m/p/1/.mcp.json",
                "prompt go /c/m/p/1/commands/go.md",
                "hook Stop /c/m/p/1/hooks/hooks.json",
                "skill s1 /c/m/p/1/skills/s",
            ]
        );
        assert!(
            parts
                .iter()
                .all(|part| part.item.part_of.as_ref() == Some(&item.id))
        );
        let (later, _) = super::parts(
            &Item {
                path: "/c/m/p/2".to_owned(),
                ..item
            },
            Path::new("/c/m/p"),
            &files,
        );
        assert_eq!(
            later[0].item.id, parts[0].item.id,
            "a new version's parts are the same parts"
        );
    }

    #[test]
    fn a_marketplace_is_no_plugin_and_a_bad_manifest_is_told() {
        assert!(is_marketplace(&artifact(&[(
            names::MARKETPLACE,
            "{\"name\": \"m\"}"
        )])));
        assert!(!is_marketplace(&artifact(&[
            (names::MARKETPLACE, "{}"),
            (names::MANIFESTS[0], "{}")
        ])));
        let item = Item::new(ItemKind::Plugin, "p", "/p", Scope::User, ("/p", ""));
        let (_, troubles) = parts(
            &item,
            Path::new("/p"),
            &artifact(&[(names::MANIFESTS[0], "{\"name\": ")]),
        );
        assert_eq!(troubles[0].kind, "invalid");
    }

    #[test]
    fn our_own_plugin_is_known_by_its_bytes() {
        let own = shims::files("opencode")[0].clone();
        let connectors = ["opencode".to_owned()];
        assert!(is_ours(&artifact(&[(own.path, own.content)]), &connectors));
        let changed = format!("{}\nrequire('x')", own.content);
        assert!(!is_ours(&artifact(&[(own.path, &changed)]), &connectors));
        assert!(!is_ours(
            &artifact(&[(own.path, own.content), ("more.js", "x")]),
            &connectors
        ));
        assert!(!is_ours(&artifact(&[]), &["codex".to_owned()]));
    }
}
