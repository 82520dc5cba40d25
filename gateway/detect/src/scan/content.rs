//! What is done with each file of an artifact.

use std::borrow::Cow;

use defenseclaw_model::decision::{Finding, Severity};
use defenseclaw_model::scan::{ScanFinding, ScanKind};

use super::artifact::{ArtifactFile, Format, format_of};
use super::code::{Language, SourceFile};
use super::commands::{self, Place};
use super::forbidden::Forbidden;
use super::frames::Setting;
use super::kinds::{Kind, kind_of};
use super::lines::{Lines, numbered};
use super::markdown::{self, Passage};
use super::pieces::{
    decoded, is_command, is_for_people, paragraphs, pieces, runs_by_itself, without_prompts,
};
use super::rules::{Shown, Side, raised};
use super::{Pass, Told, held, packages, topic, values};
use crate::Surface;

/// Techniques of injections that are ordinary in what instructs an agent, which a skill is for. Alone they say nothing.
const ORDINARY: &[&str] = &[
    "injection.addresses-agent",
    "injection.tool-steering",
    "injection.persona",
    "injection.coercion",
    "injection.authority",
    "injection.memory",
];

const PROGRAM: Told = (
    "binary.program",
    "binary",
    Severity::High,
    70,
    "Ask for its source, or for a package of a known registry",
);
const DISGUISED: Told = (
    "binary.disguised",
    "binary",
    Severity::Critical,
    90,
    "Remove it: what claims to be something else has a reason for it",
);
const UNKNOWN: Told = (
    "binary.unknown",
    "binary",
    Severity::Low,
    50,
    "See what it is for",
);
const MACROS: Told = (
    "binary.macros",
    "binary",
    Severity::High,
    70,
    "Save the document without macros",
);
const NESTED_SCRIPT: Told = (
    "archive.script",
    "archive",
    Severity::Medium,
    60,
    "Put the file beside the others, where people see it",
);

impl Pass<'_> {
    /// Looks at every file.
    pub(super) fn files(&mut self) {
        let artifact = self.artifact;
        let texts: Vec<(&ArtifactFile, Option<Cow<'_, str>>)> = artifact
            .files
            .iter()
            .map(|file| (file, self.text_of(file)))
            .collect();
        let mut sources = Vec::new();
        for (file, text) in &texts {
            let Some(text) = text else { continue };
            let kind = kind_of(&file.path, text);
            if let Kind::Source(language) = kind {
                sources.push(SourceFile {
                    path: &file.path,
                    line: 1,
                    language,
                    text,
                });
            }
            if file.nesting > 0 && matches!(kind, Kind::Shell | Kind::Source(_)) && !self.artifact.packed {
                let message = "A script lies in an archive, where nobody looks for it".to_owned();
                self.tell(NESTED_SCRIPT, (&file.path, 0), message, "");
            }
            let before = self.findings.len();
            self.one(kind, &file.path, text);
            self.raise_automatic(&file.path, before);
        }
        let before = self.findings.len();
        let found = self.scan_code(&sources);
        self.findings.extend(found);
        for source in &sources {
            self.raise_of(source.path, before);
        }
        let found = self.scan_inline();
        self.findings.extend(found);
    }

    /// The same for what was said of one file among others.
    fn raise_of(&mut self, path: &str, from: usize) {
        if !self.is_automatic(path) {
            return;
        }
        for finding in self.findings.iter_mut().skip(from) {
            if finding.file == path && finding.rule == "conduct.event-sent" {
                finding.severity = Severity::High;
            }
        }
    }

    /// A file's text; what is none is told of here.
    fn text_of<'f>(&mut self, file: &'f ArtifactFile) -> Option<Cow<'f, str>> {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let ending = name
            .rsplit_once('.')
            .map_or("", |(_, ending)| ending)
            .to_ascii_lowercase();
        let at = (file.path.as_str(), 0);
        match format_of(&file.bytes) {
            Format::Text => return Some(decoded(&file.bytes)),
            Format::Program(what) => {
                const HARMLESS: &[&str] = &[
                    "png", "jpg", "jpeg", "gif", "webp", "ico", "svg", "pdf", "txt", "md", "json", "csv",
                    "dat", "ttf", "woff", "woff2", "mp3", "mp4", "wav", "yaml", "yml", "log", "html", "css",
                ];
                let message = format!("It holds {what}, which nobody can read");
                if HARMLESS.contains(&ending.as_str()) {
                    let message = format!("{what} that calls itself .{ending}");
                    self.tell(DISGUISED, at, message, "");
                } else if ending == "pyc" && self.has_source(&file.path) {
                    let (id, category, _, confidence, remedy) = PROGRAM;
                    let told = (id, category, Severity::Low, confidence, remedy);
                    self.tell(told, at, format!("{message}; its source lies beside it"), "");
                } else {
                    self.tell(PROGRAM, at, message, "");
                }
            }
            Format::Unknown => {
                let message = "It is neither text nor anything that is known".to_owned();
                self.tell(UNKNOWN, at, message, "");
            }
            Format::Zip | Format::Gzip | Format::Tar | Format::OtherArchive(_) => {}
            Format::Media => self.media(file),
        }
        if name.eq_ignore_ascii_case("vbaProject.bin") {
            self.tell(MACROS, at, "The document holds macros".to_owned(), "");
        }
        None
    }

    /// Whether what Python kept of a module lies where its source does: it is made anew from that where they differ.
    fn has_source(&self, path: &str) -> bool {
        let Some((folder, name)) = path.split_once("__pycache__/") else {
            return false;
        };
        let module = name.split('.').next().unwrap_or_default();
        let source = format!("{folder}{module}.py");
        self.artifact.files.iter().any(|file| file.path == source)
    }

    fn one(&mut self, kind: Kind, path: &str, text: &str) {
        self.secrets(kind, path, text);
        self.held(path, text);
        self.origins(path, text);
        match kind {
            Kind::Document => self.document(path, text),
            Kind::Shell => {
                let place = if self.is_automatic(path) {
                    Place::Automatic
                } else {
                    Place::Script
                };
                let before = self.findings.len();
                self.script(text, place, (path, 1));
                if place == Place::Automatic {
                    reaching(&mut self.findings, before);
                }
                self.passages(&markdown::hidden_in(text), path, true);
                self.printed(path, text);
                self.start_of_python(path, text);
            }
            Kind::Source(_) => {
                self.passages(&markdown::hidden_in(text), path, true);
                self.spoken(path, text);
            }
            Kind::Json => self.json(path, text),
            Kind::Requirements => {
                let packages = packages::of_requirements(text);
                self.judge_packages(&packages, path);
                self.settings(path, text);
            }
            Kind::Toml => {
                let value = values::of_toml(text);
                self.settings(path, text);
                self.structured(path, text, value.as_ref());
            }
            Kind::Yaml => {
                let value = values::of_yaml(text);
                self.settings(path, text);
                self.structured(path, text, value.as_ref());
            }
            Kind::Prose => {
                self.document(path, text);
                self.settings(path, text);
            }
            Kind::Markup => {
                self.page(path, text);
                self.passages(&markdown::hidden_in(text), path, false);
                let found = self.tokens(text, (path, 1), Shown::Plainly);
                self.findings.extend(found);
            }
            Kind::Settings => {
                self.settings(path, text);
                self.structured(path, text, None);
                if path.ends_with(".csv") || path.ends_with(".tsv") {
                    self.table(path, text);
                }
            }
        }
    }

    /// Secrets and characters that no one sees: the same in every kind of file.
    fn secrets(&mut self, kind: Kind, path: &str, text: &str) {
        for (piece, line) in pieces(text) {
            for finding in self.detector().text(Surface::ToolInput, piece) {
                let secret = finding.category == "secret";
                let anywhere = secret
                    || matches!(
                        finding.rule.as_str(),
                        "injection.invisible-text" | "injection.direction"
                    );
                // Documents are asked by paragraphs. Code quotes what it looks for and what it asks models for.
                let quoted = finding.category == "injection"
                    && !matches!(kind, Kind::Document | Kind::Prose)
                    && finding.severity >= Severity::High;
                if !anywhere && !quoted {
                    continue;
                }
                let line = place_of(&finding, piece, line);
                let turned = finding.rule == "injection.direction" && turns_back(piece);
                let mut found = commands::of_text(finding, (path, line));
                // What an artifact holds, everybody has who has the artifact.
                let in_plain = secret && !held::is_test(path);
                if let Some(finding) = found.as_mut().filter(|_| turned || in_plain) {
                    finding.severity = finding.severity.max(Severity::High);
                }
                if let Some(finding) = found.as_mut().filter(|_| !anywhere) {
                    finding.severity = Severity::Medium;
                }
                self.findings.extend(found);
            }
        }
    }

    /// A document: prose, code in it, what is hidden.
    fn document(&mut self, path: &str, text: &str) {
        let document = markdown::read(text);
        let forbidden = Forbidden::of(&document);
        let before = self.findings.len();
        self.phrases(path, &document.prose, Shown::Plainly);
        for finding in self.findings.iter_mut().skip(before) {
            if forbidden.line(finding.line) {
                finding.severity = finding.severity.min(Severity::Low);
            }
        }
        // What a block of code does is weighed with the sentences beside it.
        let parts = Lines::parts(document.parts());
        self.framed(path, &parts, (Shown::Plainly, false), Some(&forbidden));
        let mut hidden = document.hidden.clone();
        // What a block of code holds of a page is what it shows.
        let blocks = document.block_lines();
        let in_block = |line: u32| blocks.iter().any(|block| block.contains(&line));
        hidden.retain(|passage| passage.is_anywhere() || !in_block(passage.line));
        self.passages(&hidden, path, false);
        if let Some((front, _)) = document.front {
            self.front(path, text, front);
        }
        for block in &document.blocks {
            let shown = forbidden.block(block.line);
            let place = if shown { Place::Quotation } else { Place::Example };
            let before = self.findings.len();
            match Language::of_name(block.language) {
                Some(Language::Shell) => self.script(block.text, place, (path, block.line)),
                Some(language) => {
                    let found = self.tokens(block.text, (path, block.line), Shown::Plainly);
                    self.findings.extend(found);
                    if !shown {
                        self.keep_inline((path, block.line), language, block.text);
                    }
                }
                // Settings that are to be written somewhere.
                None if matches!(block.language, "json" | "jsonc" | "json5") => {
                    if let Some(value) = values::of_json(block.text) {
                        self.grants(path, block.text, &value);
                        self.harness_settings(path, block.text, &value);
                    }
                    for finding in self.findings.iter_mut().skip(before) {
                        finding.line = finding.line.saturating_add(block.line.saturating_sub(1));
                    }
                    self.script(block.text, place, (path, block.line));
                }
                // Nobody says what it is: commands are told by what they do.
                None => {
                    self.script(block.text, place, (path, block.line));
                    // Or a text that is to be written somewhere.
                    if matches!(
                        block.language,
                        "" | "text" | "txt" | "md" | "markdown" | "mdc" | "yaml" | "prompt"
                    ) {
                        let lines: Vec<(u32, &str)> = numbered(block.text, block.line).collect();
                        self.prose(path, &lines, Shown::Plainly);
                    }
                }
            }
            if shown {
                for finding in self.findings.iter_mut().skip(before) {
                    finding.severity = finding.severity.min(Severity::Low);
                }
            }
        }
        self.spans(path, &document, &forbidden);
        for (line, paragraph) in paragraphs(&document.prose) {
            self.steering(path, line, &paragraph, Shown::Plainly);
        }
    }

    /// The rules about files that steer an agent. Alone they go by words; two families that agree are surer than one.
    fn steering(&mut self, path: &str, line: u32, text: &str, shown: Shown) {
        const FAMILIES: [&str; 3] = ["steering.", "injection.", "skill."];
        const FILE: &str = "/home/user/.claude/skills/it/SKILL.md";
        let mut found = commands::written(self.detector(), FILE, text, (path, line));
        found.retain(|finding| finding.rule.starts_with("steering."));
        if found.is_empty() {
            return;
        }
        let last = line.saturating_add(u32::try_from(text.lines().count()).unwrap_or(u32::MAX));
        let near = |finding: &&mut ScanFinding| {
            finding.file == path && (line..last.max(line + 1)).contains(&finding.line)
        };
        let agrees = |finding: &ScanFinding| {
            finding.severity >= Severity::Medium
                && FAMILIES
                    .iter()
                    .skip(1)
                    .any(|family| finding.rule.starts_with(family))
        };
        let agreed = self
            .findings
            .iter_mut()
            .filter(near)
            .any(|finding| agrees(finding));
        let rules = self.detector().artifact_rules();
        let about = topic::is_about_attacks(&self.identity.topic)
            || !rules
                .about_attacks(&Lines::prose(numbered(text, line)))
                .is_empty();
        // Words alone are for a person who looks anyway.
        let severity = if shown == Shown::Hidden || (agreed && !about) {
            Severity::High
        } else {
            Severity::Low
        };
        found.iter_mut().for_each(|finding| finding.severity = severity);
        self.findings.append(&mut found);
    }

    /// Commands within sentences. In a text about attacks they are what it is about.
    fn spans(&mut self, path: &str, document: &markdown::Document<'_>, forbidden: &Forbidden) {
        let read = Lines::prose(document.prose.iter().copied());
        let quoted = self.detector().artifact_rules().about_attacks(&read);
        let about = topic::is_about_attacks(&self.identity.topic);
        for &(line, span) in &document.spans {
            if is_command(span) {
                let read = document.prose.binary_search_by_key(&line, |&(number, _)| number);
                let said = read.ok().and_then(|at| document.prose.get(at));
                let said = said.map_or("", |&(_, text)| text);
                let by_itself = runs_by_itself(said, span);
                let denied = forbidden.span(line, said, span);
                let place = match about || denied || quoted.contains(&line) {
                    _ if by_itself => Place::Automatic,
                    true => Place::Quotation,
                    false => Place::Example,
                };
                let before = self.findings.len();
                self.script(span, place, (path, line));
                if by_itself {
                    automatic(&mut self.findings, before);
                }
            }
        }
    }

    /// Language for a person or a model.
    pub(super) fn prose(&mut self, path: &str, lines: &[(u32, &str)], shown: Shown) {
        self.language(path, lines, shown, false);
    }

    /// The same; `description` of what describes a tool to a model.
    pub(super) fn language(&mut self, path: &str, lines: &[(u32, &str)], shown: Shown, description: bool) {
        self.phrases(path, lines, shown);
        let read = Lines::prose(lines.iter().copied());
        self.framed(path, &read, (shown, description), None);
    }

    /// What prose asks for, whatever its wording.
    fn framed(
        &mut self,
        path: &str,
        read: &Lines,
        (shown, description): (Shown, bool),
        forbidden: Option<&Forbidden>,
    ) {
        let scanner = self.scanner;
        let rules = scanner.detector.artifact_rules();
        let setting = Setting {
            shown,
            topic: &self.identity.topic,
            about_attacks: topic::is_about_attacks(&self.identity.topic),
            for_people: is_for_people(path) || self.kind == ScanKind::Code,
            description,
            forbidden,
        };
        let found = rules
            .frames
            .find(read, path, setting, || rules.about_attacks(read));
        self.findings.extend(found);
    }

    /// What prose says in phrases that are known, and what it has of injections.
    fn phrases(&mut self, path: &str, lines: &[(u32, &str)], shown: Shown) {
        let read = Lines::prose(lines.iter().copied());
        let scanner = self.scanner;
        let rules = scanner.detector.artifact_rules();
        let about = topic::is_about_attacks(&self.identity.topic);
        let topic = &self.identity.topic;
        let mut found = rules.find((Side::Prose, shown), &read, (path, topic), &mut self.present);
        if about && shown == Shown::Plainly {
            // Where attacks are the subject, a quotation is one of them.
            let quotes = |line: u32| {
                let text = lines.iter().find(|&&(number, _)| number == line);
                text.is_some_and(|(_, text)| {
                    let text = text.trim_start();
                    text.starts_with(['>', '|']) || text.contains(['"', '`', '\u{201c}', '\u{ab}'])
                })
            };
            for finding in found.iter_mut().filter(|finding| quotes(finding.line)) {
                finding.severity = finding.severity.min(Severity::Low);
            }
        }
        self.findings.extend(found);
        let plain: Vec<&str> = lines.iter().map(|&(_, line)| line).collect();
        let plain = plain.join("\n");
        let first = lines.first().map_or(1, |&(line, _)| line);
        for (piece, _) in pieces(&plain) {
            for finding in self.detector().text(Surface::Prompt, piece) {
                let line = said_on(&finding, &read).unwrap_or(first);
                let said = lines.iter().find(|&&(number, _)| number == line);
                let own = shown == Shown::Plainly
                    && finding.rule == "injection.exfiltration"
                    && said.is_some_and(|(_, said)| goes_to_known(said, &self.identity.topic));
                let before = self.findings.len();
                self.injection(finding, (path, line), shown);
                if own {
                    let added = self.findings.iter_mut().skip(before);
                    added.for_each(|finding| finding.severity = finding.severity.min(Severity::Low));
                }
            }
        }
    }

    /// What is not shown to the reader: judged as prose and as code.
    fn passages(&mut self, passages: &[Passage], path: &str, in_code: bool) {
        for passage in passages {
            // A comment in a program's text is an ordinary thing; what is encoded in it is not.
            let encoded = matches!(
                passage.how,
                "base64" | "hexadecimal" | markdown::TURNED | markdown::FAR_RIGHT
            );
            if in_code && !encoded && passage.how != "tag characters" {
                continue;
            }
            let lines: Vec<(u32, &str)> = passage.text.lines().map(|line| (passage.line, line)).collect();
            let before = self.findings.len();
            self.prose(path, &lines, Shown::Hidden);
            if !in_code {
                self.steering(path, passage.line, &passage.text, Shown::Hidden);
            }
            if encoded || !in_code {
                let found = self.tokens(&passage.text, (path, passage.line), Shown::Hidden);
                self.findings.extend(found);
                let found = commands::shell(
                    self.detector(),
                    &passage.text,
                    Place::Script,
                    (path, passage.line),
                );
                // Letters that were turned by thirteen places look assembled, whatever they say.
                let turned = passage.how == markdown::TURNED;
                let worth = found.findings.into_iter().filter(|finding| {
                    finding.severity >= Severity::High
                        && !(turned && finding.rule == "command.assembled-code")
                });
                self.findings.extend(worth);
            }
            for finding in self.findings.iter_mut().skip(before) {
                finding.line = passage.line;
                if finding.evidence.is_empty() {
                    finding.evidence = passage.how.to_owned();
                }
            }
        }
    }

    fn injection(&mut self, finding: Finding, at: (&str, u32), shown: Shown) {
        if finding.category != "injection" {
            return;
        }
        let techniques = finding.evidence.first().map_or("", String::as_str);
        let ordinary = techniques.split(", ").all(|one| ORDINARY.contains(&one));
        let Some(mut finding) = commands::of_text(finding, at) else {
            return;
        };
        if shown == Shown::Hidden {
            finding.severity = raised(finding.severity).min(Severity::Critical);
        } else if ordinary {
            finding.severity = finding.severity.min(Severity::Low);
        } else if topic::is_about_attacks(&self.identity.topic) {
            finding.severity = match finding.severity {
                Severity::High | Severity::Critical => Severity::Medium,
                lower => lower.min(Severity::Low),
            };
        }
        finding.message = finding.message.replace("The prompt holds", "The text holds");
        self.findings.push(finding);
    }

    /// A shell's text.
    pub(super) fn script(&mut self, text: &str, place: Place, at: (&str, u32)) {
        let text = without_prompts(text);
        let judged = commands::shell(self.detector(), &text, place, at);
        self.findings.extend(judged.findings);
        let packages = packages::of_programs(&judged.programs, at.1);
        self.judge_packages(&packages, at.0);
        self.keep_inline_of(&text, &judged.programs, at);
        let mut found = self.tokens(&text, at, Shown::Plainly);
        if place == Place::Quotation {
            found
                .iter_mut()
                .for_each(|finding| finding.severity = finding.severity.min(Severity::Low));
        }
        self.findings.extend(found);
    }

    pub(super) fn judge_packages(&mut self, packages: &[packages::Package], path: &str) {
        let found = self.scanner.popular.judge(packages, path);
        self.findings.extend(found);
    }

    /// Settings, recipes and everything else that is text: what the path says of it, and what programs would run.
    fn settings(&mut self, path: &str, text: &str) {
        let found = commands::written(
            self.detector(),
            &format!("/home/user/project/{path}"),
            text,
            (path, 1),
        );
        self.findings.extend(found);
        let found = self.tokens(text, (path, 1), Shown::Plainly);
        self.findings.extend(found);
        self.passages(&markdown::hidden_in(text), path, true);
    }

    fn json(&mut self, path: &str, text: &str) {
        self.settings(path, text);
        let name = path.rsplit('/').next().unwrap_or_default();
        let Some(value) = values::of_json(text) else {
            return;
        };
        if name == "package.json" {
            let packages = packages::of_package_json(&value, text);
            self.judge_packages(&packages, path);
            self.package_scripts(path, text, &value);
            self.package_links(path, text, &value);
        }
        if name.ends_with(".ipynb") {
            self.notebook(path, &value);
        }
        self.structured(path, text, Some(&value));
    }
}

/// Whether a text has characters that turn what follows against the direction of its own letters. Languages that are written from
/// the right need none of these: they are for showing something else than what stands there.
fn turns_back(text: &str) -> bool {
    text.contains(['\u{202d}', '\u{202e}'])
}

/// The line on which a JSON field's name stands first.
pub(super) fn line_of(text: &str, name: &str) -> u32 {
    text.find(&format!("\"{name}\""))
        .map_or(1, |at| markdown::line_at(text, at))
}

/// The line of a finding in a text, by what it shows.
fn place_of(finding: &Finding, text: &str, first: u32) -> u32 {
    // A masked secret shows its prefix: `ghp_***[…]`.
    let shown = finding
        .evidence
        .iter()
        .find_map(|one| one.split_once("***").map(|(prefix, _)| prefix));
    let prefix = shown.and_then(|shown| shown.rsplit([' ', '"', '\'', '=']).next());
    let at = prefix
        .filter(|prefix| prefix.len() >= 3)
        .and_then(|prefix| text.find(prefix));
    at.map_or(first, |at| first + markdown::line_at(text, at) - 1)
}

/// The line that a finding about prose quotes.
fn said_on(finding: &Finding, lines: &Lines) -> Option<u32> {
    const HEAD: usize = 40;
    let excerpt = finding.evidence.get(1)?.trim_matches('"');
    let head = excerpt.get(..excerpt.floor_char_boundary(HEAD.min(excerpt.len())))?;
    let head = head.split(['\\', '…']).next()?;
    if head.len() < 4 { None } else { lines.line_of(head) }
}

/// Whether a line names addresses, all of hosts that are well known or what the artifact says that it is about.
fn goes_to_known(said: &str, topic: &str) -> bool {
    let ends = [' ', '"', '\'', '`', '(', ')', '<', '>', '|', ','];
    let mut addresses = said.split(ends).filter(|word| word.contains("://")).peekable();
    addresses.peek().is_some()
        && addresses.all(|address| super::frames::is_known(&address.to_lowercase(), topic))
}

/// Raises what reaches beyond the call in a script that nobody asked for.
fn reaching(findings: &mut [ScanFinding], from: usize) {
    const REACHING: &[&str] = &["persistence", "exfiltration", "remote-code", "credential-access"];
    for finding in findings.iter_mut().skip(from) {
        if finding.severity == Severity::Medium && REACHING.contains(&finding.category.as_str()) {
            finding.severity = Severity::High;
            finding.message.push_str("; it runs without being asked");
        }
    }
}

/// Adds to findings about a place that nobody asked for what runs there.
pub(super) fn automatic(findings: &mut [ScanFinding], from: usize) {
    for finding in findings.iter_mut().skip(from) {
        if finding.severity == Severity::Medium {
            finding.severity = Severity::High;
        }
        finding.message.push_str("; it runs without being asked");
    }
}
