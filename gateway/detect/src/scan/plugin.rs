//! What a plugin has besides its parts: its manifest, and hooks that run without being asked.

use std::path::Path;
use std::sync::LazyLock;

use defenseclaw_model::decision::Severity;
use defenseclaw_places::{PlaceKind, embedded, names};
use serde_json::Value;

use super::commands::Place;
use super::content::{automatic, line_of};
use super::{Pass, Told};

/// Most hooks of one file.
const MAX_HOOKS: usize = 500;

const NO_PLUGIN: Told = (
    "plugin.missing",
    "artifact",
    Severity::Low,
    80,
    "Name the folder that holds .claude-plugin/plugin.json",
);
const BAD_MANIFEST: Told = (
    "plugin.bad-manifest",
    "artifact",
    Severity::Medium,
    70,
    "Write it as JSON",
);
const HOOK: Told = (
    "plugin.hook",
    "persistence",
    Severity::Low,
    90,
    "Read what it runs: it runs at every such event, with the rights of whoever runs the agent",
);
const HOOK_REACHED: Told = (
    "plugin.hook-by-network",
    "exfiltration",
    Severity::High,
    80,
    "Do not install it, unless sending every event there is what it says it is for",
);

const OTHER_NAME: Told = (
    "plugin.other-name",
    "artifact",
    Severity::Low,
    80,
    "Make sure that it is the plugin that is meant: its commands appear under the name that it claims",
);

/// Where harnesses keep plugins. The table is built in and tested where it stands.
static PLACES: LazyLock<Vec<defenseclaw_places::Place>> = LazyLock::new(|| embedded().unwrap_or_default());

impl Pass<'_> {
    /// The plugin's manifest.
    pub(super) fn plugin(&mut self, target: &str) {
        let artifact = self.artifact;
        let paths = artifact.files.iter().map(|file| file.path.as_str());
        let marketplace = || paths.clone().find(|path| *path == names::MARKETPLACE);
        let found = names::manifest_of(paths.clone()).or_else(marketplace);
        let manifest = found.and_then(|path| artifact.files.iter().find(|file| file.path == path));
        let Some(manifest) = manifest else {
            let message = "There is no manifest: this is no plugin that is known".to_owned();
            return self.tell(NO_PLUGIN, ("", 0), message, "");
        };
        let Ok(value) = serde_json::from_slice::<Value>(&manifest.bytes) else {
            let message = "The manifest is no valid JSON".to_owned();
            return self.tell(BAD_MANIFEST, (&manifest.path, 0), message, "");
        };
        let text = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
        self.identity.name = names::claimed(&value).map(str::to_owned);
        self.identity.version = text("version");
        let name = self.identity.name.clone().unwrap_or_default();
        self.judge_name(&name, (&manifest.path, 1));
        let target = Path::new(target);
        let place =
            names::place_at(&PLACES, PlaceKind::Plugin, target).and_then(|place| place.name_of(target));
        if let Some(place) = place.filter(|place| names::is_another(&manifest.path, &name, place)) {
            let message = format!("It lies there as {place}, and says that it is {name:?}");
            self.tell(OTHER_NAME, (&manifest.path, 1), message, &name);
        }
        let description = text("description").unwrap_or_default();
        let lines: Vec<(u32, &str)> = description.lines().map(|line| (1, line)).collect();
        self.prose(&manifest.path, &lines, super::rules::Shown::Plainly);
    }

    /// Hooks that ask a host or a model instead of running a command.
    fn hooks_that_are_no_commands(&mut self, said: &[(&str, &str)], (path, text): (&str, &str)) {
        for &(field, said) in said {
            let line = super::recipes::line_of_start(text, said);
            if matches!(field, "url" | "endpoint") {
                let host = super::names::host_of(said);
                let here =
                    host.is_none_or(|host| matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]"));
                if !here {
                    let message =
                        "A hook sends every event to a host: prompts, calls and their results".to_owned();
                    self.tell(HOOK_REACHED, (path, line), message, said);
                    self.judge_address(said, (path, line));
                }
                continue;
            }
            let lines: Vec<(u32, &str)> = said.lines().map(|said| (line, said)).collect();
            self.language(path, &lines, super::rules::Shown::Plainly, true);
        }
    }

    /// Hooks and permissions in settings: a plugin's, or settings that an artifact brings along.
    pub(super) fn hooks(&mut self, path: &str, text: &str, value: &Value) {
        let hooks = value
            .get("hooks")
            .filter(|hooks| hooks.is_object() || hooks.is_array());
        if let Some(hooks) = hooks {
            let mut said = Vec::new();
            let mut commands = Vec::new();
            gather(hooks, 16, &mut commands, &mut said);
            self.hooks_that_are_no_commands(&said, (path, text));
            for command in commands.into_iter().take(MAX_HOOKS) {
                let head: String = command.chars().take(24).collect();
                let line = text.find(&head).map_or_else(
                    || line_of(text, "command"),
                    |at| super::markdown::line_at(text, at),
                );
                let message = "A hook runs a command at an event of the agent".to_owned();
                self.tell(HOOK, (path, line), message, command);
                let before = self.findings.len();
                self.script(command, Place::Automatic, (path, line));
                automatic(&mut self.findings, before);
                self.says_yes(command, (path, line));
                self.sends_on(command, (path, line));
                for finding in self.findings.iter_mut().skip(before) {
                    finding.line = line;
                }
            }
        }
        self.grants(path, text, value);
        self.harness_settings(path, text, value);
    }
}

/// The commands in a value that holds hooks, however a harness nests them.
fn gather<'v>(value: &'v Value, depth: usize, found: &mut Vec<&'v str>, said: &mut Vec<(&'v str, &'v str)>) {
    let Some(below) = depth
        .checked_sub(1)
        .filter(|_| found.len() + said.len() < MAX_HOOKS)
    else {
        return;
    };
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match (name.as_str(), field.as_str()) {
                    (
                        "command" | "bash" | "run" | "script" | "powershell" | "cmd" | "exec" | "windows"
                        | "linux" | "osx",
                        Some(command),
                    ) => {
                        found.push(command);
                    }
                    (
                        "url" | "endpoint" | "prompt" | "systemMessage" | "instructions"
                        | "additionalContext",
                        Some(text),
                    ) => {
                        said.push((name, text));
                    }
                    _ => gather(field, below, found, said),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, below, found, said)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::scan::ScanKind;

    use super::super::tests::{has, scan_at};

    #[test]
    fn a_plugin_that_claims_to_be_another_is_told_where_its_place_names_it() {
        let own = ".claude-plugin/plugin.json";
        let manifest = r#"{"name": "security-guidance", "version": "1.0.0", "description": "Formats code."}"#;
        for (target, file, told) in [
            ("/h/.claude/plugins/cache/market/formatter/1.2.0", own, true),
            (
                "/h/.claude/plugins/cache/market/security-guidance/1.2.0",
                own,
                false,
            ),
            (
                "/h/.claude/plugins/cache/market/Security_Guidance/1.2.0",
                own,
                false,
            ),
            // A clone is called as its owner likes, and a package by its registry.
            ("/h/src/formatter", own, false),
            ("/h/.openclaw/extensions/formatter", "package.json", false),
        ] {
            let report = scan_at(target, ScanKind::Plugin, &[(file, manifest)]);
            assert_eq!(has(&report, "plugin.other-name"), told, "{target}: {report:#?}");
            assert_eq!(report.name, "security-guidance");
        }
    }

    #[test]
    fn a_marketplace_is_not_called_as_a_plugin_in_it() {
        let files = [
            ("p/.claude-plugin/plugin.json", r#"{"name": "inner"}"#),
            (
                ".claude-plugin/marketplace.json",
                r#"{"name": "market", "plugins": []}"#,
            ),
        ];
        let report = scan_at("/h/.claude/plugins/marketplaces/market", ScanKind::Plugin, &files);
        assert_eq!(report.name, "market");
        assert!(
            !has(&report, "plugin.missing") && !has(&report, "plugin.other-name"),
            "{report:#?}"
        );
    }
}
