//! What a skill has besides its files: `SKILL.md`, and what stands before it.

use defenseclaw_model::decision::Severity;
use serde_json::{Map, Value};

use super::artifact::{ArtifactFile, Format, format_of};
use super::lines::numbered;
use super::{Identity, Pass, Told, markdown};

const NO_SKILL: Told = (
    "skill.missing",
    "artifact",
    Severity::Medium,
    80,
    "Name the folder that holds SKILL.md",
);
const NO_SETTINGS: Told = (
    "skill.no-front-matter",
    "artifact",
    Severity::Low,
    80,
    "Begin SKILL.md with name and description between two lines of ---",
);
const BAD_SETTINGS: Told = (
    "skill.bad-front-matter",
    "artifact",
    Severity::Low,
    70,
    "Write it as YAML that every reader understands alike: quote texts that hold a colon",
);
const TWICE: Told = (
    "skill.field-twice",
    "artifact",
    Severity::Medium,
    70,
    "Keep one of them: readers differ in which one they take",
);
const BROAD: Told = (
    "permissions.broad-tools",
    "permissions",
    Severity::Medium,
    75,
    "Name the commands that it needs, as in Bash(git diff:*)",
);
const ANY_COMMAND: Told = (
    "permissions.any-command",
    "permissions",
    Severity::Low,
    70,
    "Name the commands that it needs, as in Bash(git diff:*)",
);
const NAME: Told = (
    "skill.name",
    "tool-poisoning",
    Severity::Medium,
    60,
    "Use lower-case letters, digits and hyphens, and no vendor's name",
);
const LOOK_ALIKE: Told = (
    "skill.look-alike-name",
    "tool-poisoning",
    Severity::High,
    85,
    "Write the name in one script",
);

/// Longest settings that are read as YAML (bytes).
const MAX_SETTINGS: usize = 64 << 10;

/// Whether a path is a skill's main file.
pub(super) fn is_skill(path: &str) -> bool {
    path.rsplit('/')
        .next()
        .is_some_and(|name| name.eq_ignore_ascii_case("SKILL.md"))
}

/// Whether a file stands by itself and is a text that models are given.
fn is_document(path: &str) -> bool {
    let ending = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    !path.contains('/') && ["md", "mdc", "markdown", "txt", "toml"].contains(&ending.as_str())
}

impl Pass<'_> {
    /// The skill's own file: the one that lies least deep.
    pub(super) fn skill(&mut self) {
        let artifact = self.artifact;
        let mut main: Vec<&ArtifactFile> = artifact
            .files
            .iter()
            .filter(|file| is_skill(&file.path))
            .collect();
        main.sort_by_key(|file| (file.path.matches('/').count(), file.path.as_str()));
        let Some(first) = main.first() else {
            // A command or an agent of a harness: one document, which is a skill in all but its name.
            if let [file] = artifact.files.as_slice()
                && !artifact.packed
                && is_document(&file.path)
            {
                return;
            }
            let message = "There is no SKILL.md: this is no skill".to_owned();
            return self.tell(NO_SKILL, ("", 0), message, "");
        };
        let identity = self.settings_of(first);
        self.identity.name = identity.name;
        self.identity.version = identity.version;
        for file in main.iter().skip(1) {
            self.settings_of(file);
        }
    }

    /// Reads and judges what stands before a skill's text.
    fn settings_of(&mut self, file: &ArtifactFile) -> Identity {
        if format_of(&file.bytes) != Format::Text {
            return Identity::default();
        }
        let text = String::from_utf8_lossy(&file.bytes);
        let path = file.path.as_str();
        let Some((front, first)) = markdown::read(&text).front else {
            let message = "It has no settings with name and description".to_owned();
            self.tell(NO_SETTINGS, (path, 1), message, "");
            return Identity::default();
        };
        let mut seen = std::collections::HashSet::new();
        for (number, line) in numbered(front, first) {
            let field = line.split_once(':').map(|(field, _)| field);
            let own = field.filter(|field| !field.starts_with([' ', '\t', '#', '-']));
            if own.is_some_and(|field| !seen.insert(field)) {
                let message = "A field of its settings stands there twice".to_owned();
                self.tell(TWICE, (path, number), message, line);
            }
        }
        let fields = self.fields(front, (path, first));
        let line = |name: &str| {
            let at = numbered(front, first).find(|(_, line)| line.starts_with(&format!("{name}:")));
            at.map_or(first, |(number, _)| number)
        };
        let text_at = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let (name, description) = (text_at("name"), text_at("description"));
        self.judge_name(name, (path, line("name")));
        // It is always before the model's eyes, whether the skill is used or not.
        let at = line("description");
        let lines: Vec<(u32, &str)> = description.lines().map(|text| (at, text)).collect();
        self.prose(path, &lines, super::rules::Shown::Plainly);
        self.further_settings(front, first, path);
        let tools = fields
            .get("allowed-tools")
            .or_else(|| fields.get("allowed_tools"))
            .or_else(|| fields.get("tools"));
        if let Some(tools) = tools {
            self.judge_tools(tools, (path, line("allowed-tools")));
        }
        let version = fields
            .get("version")
            .or_else(|| fields.get("metadata")?.get("version"));
        Identity {
            name: Some(name).filter(|name| !name.is_empty()).map(str::to_owned),
            version: version.map(|version| {
                version
                    .as_str()
                    .map_or_else(|| version.to_string(), str::to_owned)
            }),
            ..Identity::default()
        }
    }

    /// Settings that no program asks for may still be read by a model; comments among them are seen by nobody else.
    fn further_settings(&mut self, front: &str, first: u32, path: &str) {
        const READ: &[&str] = &["description:", "allowed-tools:", "allowed_tools:", "tools:"];
        let mut known = false;
        let mut lines = Vec::new();
        for (number, line) in numbered(front, first) {
            if !line.starts_with([' ', '\t', '-']) {
                known = READ.iter().any(|field| line.starts_with(field));
            }
            match line.split_once('#') {
                Some((before, comment)) if before.trim().is_empty() => {
                    self.prose(path, &[(number, comment)], super::rules::Shown::Hidden);
                }
                _ if !known => lines.push((number, line)),
                _ => {}
            }
        }
        self.prose(path, &lines, super::rules::Shown::Plainly);
    }

    /// The fields; where YAML is broken, those that stand plainly on their lines.
    pub(super) fn fields(&mut self, front: &str, (path, first): (&str, u32)) -> Map<String, Value> {
        let parsed = if front.len() > MAX_SETTINGS {
            Err("it is too long".to_owned())
        } else {
            defenseclaw_yaml::from_str::<Value>(front).map_err(|error| error.to_string())
        };
        match parsed {
            Ok(Value::Object(fields)) => return fields,
            Ok(Value::Null) => return Map::new(),
            Ok(_) => {
                let message = "Its settings are no fields with values".to_owned();
                self.tell(BAD_SETTINGS, (path, first), message, "");
            }
            Err(why) => {
                let why = why.lines().next().unwrap_or_default().to_owned();
                let message = "Its settings are no valid YAML".to_owned();
                self.tell(BAD_SETTINGS, (path, first), message, &why);
            }
        }
        front
            .lines()
            .filter(|line| !line.starts_with([' ', '\t', '#', '-']))
            .filter_map(|line| line.split_once(':'))
            .map(|(field, value)| {
                let value = value.trim().trim_matches(['"', '\'']);
                (field.trim().to_owned(), Value::from(value))
            })
            .collect()
    }

    /// A name that looks like another, or claims a vendor's.
    pub(super) fn judge_name(&mut self, name: &str, at: (&str, u32)) {
        const VENDORS: &[&str] = &["anthropic", "claude", "openai", "official"];
        let latin = name.chars().any(|c| c.is_ascii_alphabetic());
        let other = name
            .chars()
            .any(|c| matches!(c, '\u{370}'..='\u{3ff}' | '\u{400}'..='\u{52f}' | '\u{ff00}'..='\u{ffef}'));
        if latin && other {
            let message = "Its name mixes letters of several scripts that look alike".to_owned();
            self.tell(LOOK_ALIKE, at, message, name);
        }
        let lower = name.to_ascii_lowercase();
        if VENDORS
            .iter()
            .any(|vendor| lower.split(['-', '_', ' ']).any(|word| word == *vendor))
        {
            let (rule, category, _, confidence, remedy) = NAME;
            let message = "Its name claims to be a vendor's".to_owned();
            self.tell(
                (rule, category, Severity::Low, confidence, remedy),
                at,
                message,
                name,
            );
        }
        if name.len() > 128 || name.chars().any(char::is_control) {
            self.tell(NAME, at, "Its name is no plain name".to_owned(), name);
        }
    }

    /// Tools that are allowed without asking.
    pub(super) fn judge_tools(&mut self, tools: &Value, at: (&str, u32)) {
        for tool in &listed(tools) {
            let tool = tool.trim();
            let inside = tool
                .split_once('(')
                .map(|(_, inside)| inside.trim_end_matches(')').trim());
            let shell = ["bash", "shell", "execute", "run_command", "terminal"];
            let is_shell = shell
                .iter()
                .any(|name| tool.to_ascii_lowercase().starts_with(name));
            let powerful = ["sudo", "rm", "curl", "sh", "bash", "eval", "ssh"];
            let program = inside.and_then(|inside| inside.split([':', ' ', '*']).next());
            if tool == "*" || (is_shell && matches!(inside, Some("*" | "*:*" | ":*" | ""))) {
                let message = "It may use any tool or run any command without asking".to_owned();
                self.tell(BROAD, at, message, tool);
            } else if is_shell && program.is_some_and(|program| powerful.contains(&program)) {
                let message = "It may run a program that runs anything, without asking".to_owned();
                self.tell(BROAD, at, message, tool);
            } else if is_shell && inside.is_none() {
                let message = "It may run any command without asking".to_owned();
                self.tell(ANY_COMMAND, at, message, tool);
            }
        }
    }
}

/// The tools that a document's own settings allow, written as a list or in one text.
pub(super) fn listed(tools: &Value) -> Vec<String> {
    match tools {
        Value::String(text) => split(text),
        Value::Array(items) => items
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

/// Tools in one text: separated by commas or blanks that are not in parentheses.
fn split(text: &str) -> Vec<String> {
    let (mut tools, mut one, mut depth) = (Vec::new(), String::new(), 0_usize);
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' | ' ' | '\n' if depth == 0 => {
                tools.push(std::mem::take(&mut one));
                continue;
            }
            _ => {}
        }
        one.push(c);
    }
    tools.push(one);
    tools.retain(|tool| !tool.trim().is_empty());
    tools
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_listed_however_they_are_written() {
        let tools = ["Bash(git diff:*, git log:*)", "Read", "Write"];
        assert_eq!(listed(&"Bash(git diff:*, git log:*), Read Write".into()), tools);
        assert_eq!(listed(&serde_json::json!(tools)), tools);
        assert!(listed(&Value::Null).is_empty());
    }
}
