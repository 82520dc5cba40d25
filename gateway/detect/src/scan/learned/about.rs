//! What an artifact says that it is for, and what all of it holds: that which a passage is measured against.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::hosts;
use super::json::{self, Value};
use super::passages::Passage;
use crate::linear::Lexicon;
use crate::text::fold::fold;

/// Most of what it says of itself that is read (bytes), and most of one file's part in that.
const MAX_SAID: usize = 6000;
const MAX_FIELD: usize = 400;
const MAX_FRONT: usize = 800;
const MAX_README: usize = 500;

/// Most of all files that is counted (bytes).
const MAX_COUNTED: usize = 2 << 20;

/// Words of artifacts whose subject is attacks.
const ATTACKS: &[&str] = &[
    "injection",
    "red team",
    "red-team",
    "redteam",
    "malware",
    "forensic",
    "incident",
    "security audit",
    "security review",
    "malicious",
    "phishing",
    "intrusion",
    "threat",
    "pentest",
    "penetration",
    "vulnerab",
    "jailbreak",
    "secret scan",
    "hardening",
    "恶意",
];

/// An artifact as a whole.
#[derive(Debug, Default)]
pub(super) struct About {
    /// The words of what it says of itself.
    pub(super) topic: HashSet<String>,
    /// The concepts in that.
    pub(super) concepts: HashSet<usize>,
    /// How often each word stands anywhere.
    pub(super) words: HashMap<String, u32>,
    /// How often each host stands anywhere.
    pub(super) hosts: HashMap<String, u32>,
    /// What the code of each file does.
    pub(super) acts: Vec<BTreeSet<usize>>,
    /// Whether its subject is attacks.
    pub(super) attacks: bool,
}

impl About {
    pub(super) fn of(files: &[(&str, &str)], passages: &[Passage]) -> Self {
        let lexicon = Lexicon::embedded();
        let said = fold(&said(files)).text;
        let mut about = Self {
            topic: words(&said).map(str::to_owned).collect(),
            attacks: ATTACKS.iter().any(|word| said.contains(word)),
            acts: vec![BTreeSet::new(); files.len()],
            ..Self::default()
        };
        let mut hits = Vec::new();
        lexicon.find(&said, &mut hits);
        about.concepts = hits.iter().map(|hit| hit.concept).collect();
        let mut left = MAX_COUNTED;
        for (_, text) in files {
            let text = head(text, left);
            left -= text.len();
            if text.contains('\0') {
                continue;
            }
            let lower = text.to_lowercase();
            for word in words(&lower) {
                match about.words.get_mut(word) {
                    Some(count) => *count += 1,
                    None => drop(about.words.insert(word.to_owned(), 1)),
                }
            }
            for host in hosts::named(&lower) {
                *about.hosts.entry(host.name.to_owned()).or_default() += 1;
            }
        }
        for passage in passages {
            hits.clear();
            lexicon.find(&passage.text.to_lowercase(), &mut hits);
            let of_code = |concept: &usize| lexicon.concept(*concept).is_some_and(|one| one.in_code);
            if let Some(acts) = about.acts.get_mut(passage.file) {
                acts.extend(hits.iter().map(|hit| hit.concept).filter(of_code));
            }
        }
        about
    }

    /// How often a word in lower case stands anywhere.
    pub(super) fn count(&self, word: &str) -> u32 {
        self.words.get(word).copied().unwrap_or(0)
    }
}

/// The words of a text.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
}

fn head(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most.min(text.len())))
        .unwrap_or_default()
}

/// What a file is to an artifact, by its path.
pub(super) fn file_role(path: &str) -> &'static str {
    let path = path.to_ascii_lowercase();
    let name = path.rsplit('/').next().unwrap_or_default();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match name {
        "skill.md" => return "skill",
        "package.json" | "plugin.json" | "pyproject.toml" | "setup.py" | "cargo.toml" | "composer.json" => {
            return "manifest";
        }
        _ => {}
    }
    if ["readme", "changelog", "contributing"]
        .iter()
        .any(|begin| name.starts_with(begin))
    {
        return "readme";
    }
    if path.contains("hook") {
        return "hook";
    }
    if ending == "json" && (name.contains("mcp") || name.contains("claude_desktop")) {
        return "servers";
    }
    match name {
        _ if name.ends_with("tools.json") => "tools",
        "settings.json" | "settings.local.json" | "config.toml" => "settings",
        "dockerfile" | "makefile" | "justfile" => "recipe",
        _ if matches!(ending, "yml" | "yaml") => "recipe",
        _ if path.contains("commands/") => "command",
        _ if path.contains("agents/") => "agent",
        _ if path.contains("test") || path.contains("fixture") => "test",
        _ if path.contains("reference") || path.contains("docs/") => "reference",
        "claude.md" | "agents.md" | "gemini.md" | ".cursorrules" => "steering",
        _ => match ending {
            "md" | "txt" | "rst" | "mdc" => "doc",
            "json" | "toml" | "ini" | "cfg" | "env" | "conf" => "data",
            "sh" | "bash" | "zsh" => "script",
            "" => "bare",
            _ => "source",
        },
    }
}

/// What an artifact says of itself: names, descriptions, the beginning of what is for people.
fn said(files: &[(&str, &str)]) -> String {
    let mut said = String::new();
    for (path, text) in files {
        if said.len() >= MAX_SAID {
            break;
        }
        said.push(' ');
        if path.ends_with(".json") {
            of_json(text, &mut said);
        }
        match file_role(path) {
            "skill" | "command" | "agent" => {
                if let Some(front) = text
                    .strip_prefix("---")
                    .and_then(|rest| rest.split("\n---").next())
                {
                    said.push_str(head(front, MAX_FRONT));
                    said.push(' ');
                }
                said.push_str(
                    text.lines()
                        .find(|line| line.starts_with("# "))
                        .unwrap_or_default(),
                );
            }
            "readme" => said.push_str(head(text, MAX_README)),
            "source" => said.push_str(head(text, MAX_README / 2)),
            _ => {}
        }
        said.push(' ');
        said.push_str(path);
    }
    said.truncate(said.floor_char_boundary(MAX_SAID));
    said
}

/// A manifest's name and description, and the names of servers and tools.
fn of_json(text: &str, said: &mut String) {
    let Some(node) = json::read(head(text, 64 << 10)) else {
        return;
    };
    let Value::Many(fields) = node.value else { return };
    let told = |said: &mut String, text: &str| {
        said.push_str(head(text, MAX_FIELD));
        said.push(' ');
    };
    for field in &fields {
        match (&field.value, field.key.as_str()) {
            (Value::Text(text), "name" | "description" | "homepage" | "repository" | "title") => {
                told(said, text)
            }
            (Value::Many(servers), "mcpServers" | "servers") => {
                servers.iter().for_each(|server| told(said, &server.key));
            }
            (Value::Many(tools), "tools") => {
                for tool in tools {
                    let Value::Many(fields) = &tool.value else {
                        continue;
                    };
                    for field in fields.iter().filter(|field| field.key == "name") {
                        if let Value::Text(name) = &field.value {
                            told(said, name);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_says_what_it_is_for() {
        let files = [
            (
                "SKILL.md",
                "---\nname: pdf-forms\ndescription: Fills forms.\n---\n# Forms\n\nSecret text.\n",
            ),
            (
                ".mcp.json",
                "{\"mcpServers\": {\"weather\": {\"command\": \"x\"}}}",
            ),
        ];
        let about = About::of(&files, &[]);
        for word in ["pdf", "forms", "weather"] {
            assert!(about.topic.contains(word), "{word}");
        }
        assert!(!about.topic.contains("secret") && about.count("secret") == 1 && !about.attacks);
    }

    #[test]
    fn files_are_told_by_their_paths() {
        for (path, role) in [
            ("SKILL.md", "skill"),
            ("hooks/hooks.json", "hook"),
            ("a/.mcp.json", "servers"),
            ("run.sh", "script"),
            ("tests/x.py", "test"),
            ("Makefile", "recipe"),
            ("x.go", "source"),
        ] {
            assert_eq!(file_role(path), role, "{path}");
        }
    }
}
