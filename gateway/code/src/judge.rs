//! Which flows are findings, and what is said of them.

use defenseclaw_detect::mask::mask_text;
use defenseclaw_detect::scan::code::SourceFile;
use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::ScanFinding;

use crate::graph::{Node, Spot};
use crate::labels::{Label, Labels};
use crate::table::{FlowRule, Rules};
use crate::world::{Sink, World};

/// Longest excerpt in the evidence (bytes).
const EXCERPT: usize = 160;

/// Most findings of one artifact that ways are looked for; the report keeps fewer.
const MAX_FINDINGS: usize = 1000;

/// Most lines between source and end that are named.
const MAX_STEPS: usize = 6;

/// In an artifact of more values than this, a way of more places than that is no sure one: functions are joined whoever calls them,
/// and a large library has a way from everywhere to everywhere. Some 400 KiB of text have so many values.
const LARGE: usize = 200_000;
const LONG_WAY: usize = 20;

/// What is said of an artifact's code.
pub(crate) fn judge(world: &World, rules: &Rules, sources: &[SourceFile<'_>]) -> Vec<ScanFinding> {
    let judge = Judge {
        world,
        rules,
        sources,
    };
    let mut findings = judge.unread();
    findings.extend(judge.hidden());
    findings.extend(judge.settings());
    for sink in &world.sinks {
        if findings.len() >= MAX_FINDINGS {
            break;
        }
        findings.extend(judge.sink(sink));
    }
    findings
}

struct Judge<'w> {
    world: &'w World,
    rules: &'w Rules,
    sources: &'w [SourceFile<'w>],
}

impl Judge<'_> {
    fn path(&self, spot: Spot) -> &str {
        self.world
            .files
            .get(spot.file as usize)
            .map_or("", |unit| &unit.path)
    }

    /// Files of which not all was read: what stands there is not known.
    fn unread(&self) -> Vec<ScanFinding> {
        let cut = self.world.files.iter().filter_map(|unit| Some((unit, unit.cut?)));
        let mut findings: Vec<ScanFinding> = cut
            .map(|(unit, why)| {
                unread(
                    &unit.path,
                    &format!("The syntax of this file was not read to its end: {why}"),
                )
            })
            .collect();
        if !self.world.graph.is_whole() {
            findings.push(unread(
                "",
                "Not every flow of data was followed: there are too many",
            ));
        }
        findings
    }

    fn hidden(&self) -> Vec<ScanFinding> {
        let named = self.world.hidden.iter().filter(|(_, name)| {
            let last = name.rsplit('.').next().unwrap_or(name);
            self.rules
                .hidden
                .iter()
                .any(|hidden| hidden == name || hidden == last)
        });
        named
            .take(MAX_FINDINGS)
            .map(|(node, name)| {
                let spot = self.world.graph.spot(*node);
                let mut finding = self.finding("code.hidden-name", "obfuscation", spot);
                finding.severity = Severity::High;
                finding.confidence = 90;
                finding.message =
                    format!("A name is put together from pieces so that nobody reads it: {name}");
                "Write the name as it is, or remove it".clone_into(&mut finding.remedy);
                finding
            })
            .collect()
    }

    fn settings(&self) -> Vec<ScanFinding> {
        let mut findings = Vec::new();
        for (node, key, value) in &self.world.settings {
            let fits = |known: &[String], said: &String| known.iter().any(|one| one == said);
            for rule in &self.rules.settings {
                if findings.len() < MAX_FINDINGS && fits(&rule.keys, key) && fits(&rule.values, value) {
                    let spot = self.world.graph.spot(*node);
                    let mut finding = self.finding(&rule.id, &rule.category, spot);
                    finding.severity = if self.is_test(spot) {
                        Severity::Low
                    } else {
                        rule.severity
                    };
                    finding.confidence = rule.confidence;
                    finding.message = format!("{}: {key} is {value}", rule.message);
                    finding.remedy.clone_from(&rule.remedy);
                    findings.push(finding);
                }
            }
        }
        findings
    }

    fn sink(&self, sink: &Sink) -> Vec<ScanFinding> {
        let graph = &self.world.graph;
        let all = sink
            .targets
            .iter()
            .fold(Labels::NONE, |all, &target| all.plus(graph.labels(target)));
        if all == Labels::NONE {
            return Vec::new();
        }
        let of_kind = self
            .rules
            .flows
            .iter()
            .filter(|rule| rule.sinks.contains(&sink.kind));
        of_kind
            .filter(|rule| rule.holds(all))
            .filter_map(|rule| self.flow(rule, sink))
            .collect()
    }

    /// The finding of one flow, with its way.
    fn flow(&self, rule: &FlowRule, sink: &Sink) -> Option<ScanFinding> {
        let graph = &self.world.graph;
        let from = Labels::of(&rule.from);
        let (target, bit) = sink.targets.iter().find_map(|&target| {
            let bits = graph.labels(target).0 & from.0;
            (bits != 0).then(|| (target, bits & bits.wrapping_neg()))
        })?;
        let end = graph.spot(sink.at);
        let mut finding = self.finding(&rule.id, &rule.category, end);
        finding.severity = self.severity(rule, end);
        finding.confidence = rule.confidence;
        finding.message = format!("{}: {}", rule.message, self.told(target, bit, sink));
        if graph.len() > LARGE && graph.way(target, bit).len() > LONG_WAY {
            finding.severity = finding.severity.min(Severity::Medium);
            finding.confidence = finding.confidence.saturating_sub(30);
            finding.message.push_str("; the way is long, and may be none");
        }
        finding.remedy.clone_from(&rule.remedy);
        Some(finding)
    }

    fn severity(&self, rule: &FlowRule, end: Spot) -> Severity {
        let path = self.path(end);
        let name = path.rsplit('/').next().unwrap_or(path);
        if rule.automatic && self.rules.automatic.iter().any(|one| one == name) {
            return match rule.severity {
                Severity::Low => Severity::Medium,
                Severity::Medium => Severity::High,
                _ => Severity::Critical,
            };
        }
        if !rule.automatic && self.is_test(end) {
            Severity::Low
        } else {
            rule.severity
        }
    }

    fn is_test(&self, spot: Spot) -> bool {
        let path = format!("/{}", self.path(spot));
        self.rules.tests.iter().any(|part| path.contains(part.as_str()))
    }

    /// Where it comes from, where it ends, and what lies between.
    fn told(&self, target: Node, bit: u32, sink: &Sink) -> String {
        let graph = &self.world.graph;
        let way = graph.way(target, bit);
        let end = graph.spot(sink.at);
        let origin = way.iter().find(|spot| spot.line > 0).copied().unwrap_or(end);
        let noun = Label::noun(graph.origin(target, bit));
        let noun = if noun == "a value" { Label::noun(bit) } else { noun };
        let place = |spot: Spot| {
            if spot.file == end.file {
                format!("line {}", spot.line)
            } else {
                format!("{} line {}", self.path(spot), spot.line)
            }
        };
        let mut between: Vec<Spot> = Vec::new();
        for &spot in &way {
            let ends = spot == origin || spot == end || spot.line == 0;
            if !ends && between.last() != Some(&spot) && !between.contains(&spot) {
                between.push(spot);
            }
            if between.len() > MAX_STEPS {
                break;
            }
        }
        let more = if between.len() > MAX_STEPS { ", …" } else { "" };
        let steps: Vec<String> = between.iter().take(MAX_STEPS).map(|&spot| place(spot)).collect();
        let steps = match steps.is_empty() {
            true => String::new(),
            false => format!(" through {}{more}", steps.join(", ")),
        };
        let callee = mask_text(&sink.callee, 80);
        format!(
            "{noun} ({}) reaches {callee} ({}){steps}",
            place(origin),
            place(end)
        )
    }

    fn finding(&self, id: &str, category: &str, spot: Spot) -> ScanFinding {
        let source = self
            .sources
            .iter()
            .find(|source| source.path == self.path(spot) && spot.line >= source.line);
        let line = source.and_then(|source| {
            let behind = spot.line.checked_sub(source.line)?;
            source.text.lines().nth(behind as usize)
        });
        ScanFinding {
            rule: id.to_owned(),
            category: category.to_owned(),
            severity: Severity::Medium,
            confidence: 80,
            file: self.path(spot).to_owned(),
            line: spot.line,
            message: String::new(),
            evidence: mask_text(line.unwrap_or_default().trim(), EXCERPT),
            remedy: String::new(),
        }
    }
}

/// What was not read is told of, and never taken for harmless.
fn unread(file: &str, message: &str) -> ScanFinding {
    ScanFinding {
        rule: "code.not-read-to-end".to_owned(),
        category: "artifact".to_owned(),
        severity: Severity::Medium,
        confidence: 90,
        file: file.to_owned(),
        line: 0,
        message: message.to_owned(),
        evidence: String::new(),
        remedy: "Read it yourself, or ask for its source in files that people can read".to_owned(),
    }
}
