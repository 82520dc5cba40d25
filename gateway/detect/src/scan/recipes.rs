//! Commands in files that are no scripts: recipes of builds and pipelines, units, entries of menus, settings that run something.

use serde_json::Value;

use super::commands::Place;
use super::markdown::line_at;

/// Most commands of one file.
const MAX_COMMANDS: usize = 400;

/// How deep they may lie in settings.
const MAX_DEPTH: usize = 24;

/// A command, the line on which it stands, and whether it runs without being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) line: u32,
    pub(super) command: String,
    pub(super) place: Place,
}

/// Fields of settings that are run when a folder is opened, a package installed or a container made.
const BY_THEMSELVES: &[&str] = &[
    "postCreateCommand",
    "onCreateCommand",
    "postStartCommand",
    "postAttachCommand",
    "updateContentCommand",
    "initializeCommand",
    "post-install-cmd",
    "post-update-cmd",
    "pre-install-cmd",
    "post-autoload-dump",
    "post-create-project-cmd",
    "ExecStart",
    "ExecStartPre",
    "ExecStartPost",
    "postinstall",
    "preinstall",
    "post_install",
    "setup_command",
    "startupCommand",
    "onEnter",
];

/// Fields that hold commands which somebody asks for.
const ASKED_FOR: &[&str] = &[
    "run",
    "script",
    "before_script",
    "after_script",
    "cmd",
    "cmds",
    "entry",
    "entrypoint",
    "command",
    "shell",
];

/// The commands in a file, by its name and its values.
pub(super) fn commands_in(path: &str, text: &str, value: Option<&Value>) -> Vec<Found> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    let ending = lower.rsplit_once('.').map_or("", |(_, ending)| ending);
    let mut found = if lower.starts_with("dockerfile")
        || lower.starts_with("containerfile")
        || ending == "dockerfile"
    {
        of_dockerfile(text)
    } else if lower.starts_with("makefile") || lower == "gnumakefile" || lower == "justfile" || ending == "mk"
    {
        indented(text)
    } else if matches!(ending, "service" | "desktop" | "timer" | "path") {
        of_unit(text)
    } else if ending == "plist" {
        of_plist(text)
    } else if lower.contains("crontab") || path.contains("cron.d/") {
        of_crontab(text)
    } else if lower == "procfile" {
        behind_colon(text)
    } else if lower == ".envrc" {
        vec![Found {
            line: 1,
            command: text.to_owned(),
            place: Place::Automatic,
        }]
    } else {
        Vec::new()
    };
    if let Some(value) = value {
        let recipe = matches!(ending, "yml" | "yaml")
            || lower == "devcontainer.json"
            || lower == "composer.json"
            || path.contains(".devcontainer/");
        gather(value, text, recipe, MAX_DEPTH, &mut found);
    }
    found.truncate(MAX_COMMANDS);
    found
}

/// Whether a script runs by itself where it lies: hooks of git and of package managers.
pub(super) fn runs_where_it_lies(path: &str) -> bool {
    let slashed = format!("/{path}");
    [
        "/.git/hooks/",
        "/.githooks/",
        "/git-hooks/",
        "/.husky/",
        "/profile.d/",
        "/init.d/",
        "/cron.daily/",
        "/cron.hourly/",
        "/autostart/",
    ]
    .iter()
    .any(|folder| slashed.contains(folder))
        || ["/postinst", "/preinst", "/postrm", "/prerm"]
            .iter()
            .any(|name| slashed.ends_with(name))
}

fn of_dockerfile(text: &str) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut open = false;
    for (number, line) in super::lines::numbered(text, 1) {
        let plain = line.trim();
        let goes_on = plain.ends_with('\\');
        if open {
            if let Some(last) = found.last_mut() {
                last.command.push('\n');
                last.command.push_str(plain);
            }
        } else {
            let instruction = plain
                .split_ascii_whitespace()
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase();
            if ["RUN", "CMD", "ENTRYPOINT", "ONBUILD", "HEALTHCHECK"].contains(&instruction.as_str()) {
                let rest = plain.get(instruction.len()..).unwrap_or_default().trim_start();
                found.push(Found {
                    line: number,
                    command: rest.to_owned(),
                    place: Place::Script,
                });
                open = goes_on;
            }
            continue;
        }
        open = goes_on;
    }
    found
}

/// Recipes of make and just: lines that are indented.
fn indented(text: &str) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut last = 0;
    for (number, line) in super::lines::numbered(text, 1) {
        if !line.starts_with(['\t', ' ']) || line.trim().is_empty() {
            continue;
        }
        let command = line.trim().trim_start_matches(['@', '-']).replace("$$", "$");
        match found.last_mut().filter(|_| last + 1 == number) {
            Some(before) => {
                before.command.push('\n');
                before.command.push_str(&command);
            }
            None => found.push(Found {
                line: number,
                command,
                place: Place::Script,
            }),
        }
        last = number;
    }
    found
}

fn of_unit(text: &str) -> Vec<Found> {
    let lines = super::lines::numbered(text, 1);
    lines
        .filter_map(|(line, said)| {
            let (name, command) = said.split_once('=')?;
            let runs = name.trim().starts_with("Exec");
            let command = command.trim_start_matches(['-', '@', '+', '!', ':']).to_owned();
            runs.then_some(Found {
                line,
                command,
                place: Place::Automatic,
            })
        })
        .collect()
}

/// The words of a launch agent, one behind the other.
fn of_plist(text: &str) -> Vec<Found> {
    let Some(at) = text.find("ProgramArguments") else {
        return Vec::new();
    };
    let list = text.get(at..).unwrap_or_default();
    let list = list.split("</array>").next().unwrap_or_default();
    let words: Vec<String> = list
        .split("<string>")
        .skip(1)
        .filter_map(|word| word.split("</string>").next())
        .map(|word| {
            word.replace("&amp;", "&")
                .replace("&gt;", ">")
                .replace("&lt;", "<")
                .replace("&quot;", "\"")
        })
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    vec![Found {
        line: line_at(text, at),
        command: crate::tools::command_line(&words),
        place: Place::Automatic,
    }]
}

fn of_crontab(text: &str) -> Vec<Found> {
    let lines = super::lines::numbered(text, 1);
    lines
        .filter_map(|(line, said)| {
            let said = said.trim();
            let fields = if said.starts_with('@') { 1 } else { 5 };
            let timed = said.starts_with(|c: char| c.is_ascii_digit() || c == '*' || c == '@');
            let command = timed.then(|| {
                said.split_ascii_whitespace()
                    .skip(fields)
                    .collect::<Vec<_>>()
                    .join(" ")
            })?;
            Some(Found {
                line,
                command,
                place: Place::Automatic,
            })
        })
        .collect()
}

fn behind_colon(text: &str) -> Vec<Found> {
    let lines = super::lines::numbered(text, 1);
    lines
        .filter_map(|(line, said)| {
            let (_, command) = said.split_once(':')?;
            Some(Found {
                line,
                command: command.trim().to_owned(),
                place: Place::Script,
            })
        })
        .collect()
}

fn gather(value: &Value, text: &str, recipe: bool, depth: usize, found: &mut Vec<Found>) {
    let Some(below) = depth.checked_sub(1).filter(|_| found.len() < MAX_COMMANDS) else {
        return;
    };
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let place = if BY_THEMSELVES.contains(&name.as_str()) {
                    Some(Place::Automatic)
                } else if recipe && ASKED_FOR.contains(&name.as_str()) {
                    Some(Place::Script)
                } else {
                    None
                };
                if let Some(place) = place {
                    for command in texts(field) {
                        let line = line_of_start(text, &command);
                        found.push(Found { line, command, place });
                    }
                }
                gather(field, text, recipe, below, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                gather(item, text, recipe, below, found);
            }
        }
        _ => {}
    }
}

/// The commands that a field holds: one, the words of one, or several by name.
fn texts(field: &Value) -> Vec<String> {
    match field {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => {
            let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            if words.iter().any(|word| word.contains(' '))
                && !matches!(words.first(), Some(&("sh" | "bash" | "/bin/sh" | "/bin/bash")))
            {
                words.into_iter().map(str::to_owned).collect()
            } else if words.is_empty() {
                Vec::new()
            } else {
                vec![crate::tools::command_line(&words)]
            }
        }
        Value::Object(fields) => fields
            .values()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

/// The line on which a text begins that was written in a file, perhaps otherwise quoted.
pub(super) fn line_of_start(text: &str, said: &str) -> u32 {
    const HEAD: usize = 32;
    let head = said
        .trim_start()
        .split(['\n', '"', '\\'])
        .next()
        .unwrap_or_default();
    let head = head
        .get(..head.floor_char_boundary(HEAD.min(head.len())))
        .unwrap_or_default();
    let at = if head.len() >= 4 { text.find(head) } else { None };
    at.map_or(1, |at| line_at(text, at))
}

#[cfg(test)]
mod tests {
    use super::super::values;
    use super::*;

    fn commands(path: &str, text: &str) -> Vec<(u32, String, Place)> {
        let value = values::of_json(text).or_else(|| values::of_yaml(text));
        let found = commands_in(path, text, value.as_ref());
        found
            .into_iter()
            .map(|one| (one.line, one.command, one.place))
            .collect()
    }

    #[test]
    fn commands_are_found_in_recipes() {
        assert_eq!(
            commands("Dockerfile", "FROM a\nRUN curl -s x \\\n  | sh\nCMD [\"a\"]\n"),
            [
                (2, "curl -s x \\\n| sh".to_owned(), Place::Script),
                (4, "[\"a\"]".to_owned(), Place::Script)
            ]
        );
        assert_eq!(
            commands("Makefile", "all:\n\t@echo a\n\tmake b\n"),
            [(2, "echo a\nmake b".to_owned(), Place::Script)]
        );
        assert_eq!(
            commands("x.service", "[Service]\nExecStart=-/bin/a b\n"),
            [(2, "/bin/a b".to_owned(), Place::Automatic)]
        );
        assert_eq!(
            commands("crontab", "# c\n@reboot /x y\n*/5 * * * * z\n"),
            [
                (2, "/x y".to_owned(), Place::Automatic),
                (3, "z".to_owned(), Place::Automatic)
            ]
        );
        assert_eq!(
            commands(
                ".devcontainer/devcontainer.json",
                "{\"postCreateCommand\": \"make setup\"}"
            ),
            [(1, "make setup".to_owned(), Place::Automatic)]
        );
        assert_eq!(
            commands(
                ".github/workflows/a.yml",
                "jobs:\n  b:\n    steps:\n      - run: make test\n"
            ),
            [(4, "make test".to_owned(), Place::Script)]
        );
        assert_eq!(
            commands(
                "a.plist",
                "<key>ProgramArguments</key><array><string>sh</string><string>-c</string><string>a b</string></array>"
            ),
            [(1, "a b".to_owned(), Place::Automatic)]
        );
    }

    #[test]
    fn hooks_are_told_by_where_they_lie() {
        assert!(runs_where_it_lies(".git/hooks/post-checkout"));
        assert!(runs_where_it_lies(".husky/pre-commit"));
        assert!(!runs_where_it_lies("scripts/run.sh"));
    }
}
