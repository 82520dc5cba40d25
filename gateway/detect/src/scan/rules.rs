//! Rules over an artifact's texts: groups of shapes that stand near each other, in prose or in code.
//!
//! All shapes of a side are searched in one pass; the rules then look at the places only. Work is linear in the text.

use aho_corasick::AhoCorasick;
use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::ScanFinding;

use super::frames::Frames;
use super::lines::Lines;
use super::pack::{Reach, Tests};
use crate::mask::mask_text;
use crate::text::anchors::Anchors;

/// Most places that are weighed in one text: a text with more of them repeats itself.
const MAX_SIGNS: usize = 8192;

/// Most findings of one rule in one text.
const MAX_SAME: usize = 3;

/// Longest excerpt in the evidence (bytes).
const EXCERPT: usize = 160;

/// How far before a place a word about attacks may stand, and behind it (bytes).
const DISCUSSED_BEFORE: usize = 320;
const DISCUSSED_BEHIND: usize = 160;

/// Where shapes are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// What a person or a model reads as language.
    Prose = 0,
    /// What a machine reads.
    Code = 1,
}

/// How a text is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// As it is.
    Plainly,
    /// In a comment, a link's title, characters that no one sees.
    Hidden,
}

/// Shapes that mean the same.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) side: Side,
    pub(crate) unless_told_not: bool,
    /// Whether an address of a well-known host, or of the artifact's own subject, is not meant.
    pub(crate) unless_known: bool,
}

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) category: String,
    pub(crate) severity: Severity,
    pub(crate) confidence: u8,
    pub(crate) message: String,
    pub(crate) remedy: String,
    pub(crate) all: Vec<usize>,
    pub(crate) not: Vec<usize>,
    pub(crate) within: usize,
    pub(crate) reach: Reach,
    pub(crate) discussed: bool,
    pub(crate) tests: Tests,
}

/// All packs about artifacts, compiled.
#[derive(Debug, Default)]
pub(crate) struct ArtifactRules {
    pub(crate) rules: Vec<Rule>,
    pub(crate) groups: Vec<Group>,
    pub(crate) anchors: [Option<Anchors>; 2],
    /// For each pattern of a side, its group.
    pub(crate) owners: [Vec<usize>; 2],
    pub(crate) discussion: Option<AhoCorasick>,
    pub(crate) frames: Frames,
    /// For each group, the rules that need it, and at which place in their list.
    needed: Vec<Vec<(usize, usize)>>,
}

/// Where a group stands in a text (bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sign {
    group: usize,
    start: usize,
    end: usize,
}

/// Which groups stand in an artifact, and where each stands first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Present(Vec<Option<(String, u32)>>);

impl ArtifactRules {
    /// Makes the index from groups to rules.
    pub(crate) fn index(&mut self) {
        self.needed = vec![Vec::new(); self.groups.len()];
        for (number, rule) in self.rules.iter().enumerate() {
            for (slot, &group) in rule.all.iter().enumerate() {
                if let Some(needed) = self.needed.get_mut(group) {
                    needed.push((number, slot));
                }
            }
        }
    }

    /// What the rules say of a text of `file`. Notes in `present` which groups stand there.
    pub(crate) fn find(
        &self,
        (side, shown): (Side, Shown),
        lines: &Lines,
        (file, topic): (&str, &str),
        present: &mut Present,
    ) -> Vec<ScanFinding> {
        let signs = self.signs(side, lines, topic);
        if signs.is_empty() {
            return Vec::new();
        }
        for sign in &signs {
            present.note(self.groups.len(), sign.group, file, lines.line(sign.start));
        }
        let discussed = self.discussed(lines);
        let mut findings = Vec::new();
        let mut matched = Matched::new(self);
        for sign in &signs {
            for &(number, slot) in self.needed.get(sign.group).into_iter().flatten() {
                let Some(rule) = self
                    .rules
                    .get(number)
                    .filter(|rule| rule.reach != Reach::Artifact)
                else {
                    continue;
                };
                if let Some((start, end)) = matched.step(number, slot, rule, *sign, lines, &signs) {
                    let about =
                        shown == Shown::Plainly && rule.discussed && discussed.near(lines, start, end);
                    findings.push(rule.finding(file, lines, (start, end), shown, about));
                }
            }
        }
        findings
    }

    /// What the rules say of groups that stand in different files.
    pub(crate) fn across(&self, present: &Present) -> Vec<ScanFinding> {
        let mut findings = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.reach == Reach::Artifact) {
            let places: Option<Vec<&(String, u32)>> =
                rule.all.iter().map(|&group| present.at(group)).collect();
            let spoiled = rule.not.iter().any(|&group| present.at(group).is_some());
            let Some(places) = places.filter(|_| !spoiled) else {
                continue;
            };
            let evidence: Vec<String> = places
                .iter()
                .map(|(file, line)| format!("{file}:{line}"))
                .collect();
            if let Some((file, line)) = places.last() {
                findings.push(rule.found(file, *line, evidence.join(" and ")));
            }
        }
        findings
    }

    fn signs(&self, side: Side, lines: &Lines, topic: &str) -> Vec<Sign> {
        let at = side as usize;
        let (Some(Some(anchors)), Some(owners)) = (self.anchors.get(at), self.owners.get(at)) else {
            return Vec::new();
        };
        let text = lines.text().as_bytes();
        let mut signs: Vec<Sign> = anchors
            .hits(text)
            .into_iter()
            .filter_map(|hit| {
                let group = *owners.get(hit.pattern)?;
                let what = self.groups.get(group)?;
                let told = what.unless_told_not && told_not(text, hit.start);
                let known = what.unless_known && is_known(lines.text(), hit.start, hit.end, topic);
                (!told && !known).then_some(Sign {
                    group,
                    start: hit.start,
                    end: hit.end,
                })
            })
            .take(MAX_SIGNS)
            .collect();
        signs.sort_by_key(|sign| (sign.start, sign.group));
        signs
    }

    fn discussed(&self, lines: &Lines) -> Discussed {
        let words = self.discussion.iter();
        let places = words
            .flat_map(|words| words.find_iter(lines.text()))
            .map(|found| found.start());
        Discussed(places.collect())
    }

    /// The lines of a text that stand near words about attacks.
    pub(crate) fn about_attacks(&self, lines: &Lines) -> std::collections::HashSet<u32> {
        let discussed = self.discussed(lines);
        let near = lines
            .places()
            .filter(|&(start, end, _)| discussed.near(lines, start, end));
        near.map(|(_, _, number)| number).collect()
    }

    /// How many rules there are, how many of their tests ran, and which failed.
    pub(crate) fn check(&self) -> (usize, usize, Vec<String>) {
        let (mut tests, mut failures) = (0, Vec::new());
        for rule in &self.rules {
            let cases = rule.tests.positive.iter().map(|text| (text, true));
            for (text, wanted) in cases.chain(rule.tests.negative.iter().map(|text| (text, false))) {
                tests += 1;
                if self.tells(rule, text) != wanted {
                    let what = if wanted {
                        "finds nothing in its positive"
                    } else {
                        "finds something in its negative"
                    };
                    failures.push(format!("{}: {what} test {text:?}", rule.id));
                }
            }
        }
        let framed = self.frames.check();
        failures.extend(framed.2);
        (self.rules.len() + framed.0, tests + framed.1, failures)
    }

    fn tells(&self, rule: &Rule, text: &str) -> bool {
        let mut present = Present::default();
        let prose = Lines::prose(super::lines::numbered(text, 1));
        let code = Lines::code(text, 1);
        let mut findings = self.find((Side::Prose, Shown::Plainly), &prose, ("f", ""), &mut present);
        findings.extend(self.find((Side::Code, Shown::Plainly), &code, ("f", ""), &mut present));
        findings.extend(self.across(&present));
        findings
            .iter()
            .any(|finding| finding.rule == rule.id && finding.severity == rule.severity)
    }
}

impl Present {
    fn note(&mut self, groups: usize, group: usize, file: &str, line: u32) {
        if self.0.is_empty() {
            self.0.resize(groups, None);
        }
        if let Some(place) = self.0.get_mut(group).filter(|place| place.is_none()) {
            *place = Some((file.to_owned(), line));
        }
    }

    fn at(&self, group: usize) -> Option<&(String, u32)> {
        self.0.get(group)?.as_ref()
    }
}

/// What each rule has seen so far in a text.
struct Matched {
    /// For each rule, the last sign of each of its groups.
    last: Vec<Vec<Option<Sign>>>,
    /// For each rule, how often it was found, and where the last one ended.
    told: Vec<(usize, usize)>,
}

impl Matched {
    fn new(rules: &ArtifactRules) -> Self {
        Self {
            last: rules
                .rules
                .iter()
                .map(|rule| vec![None; rule.all.len()])
                .collect(),
            told: vec![(0, 0); rules.rules.len()],
        }
    }

    /// Takes a sign for a rule; gives the place where with it the rule holds.
    fn step(
        &mut self,
        number: usize,
        slot: usize,
        rule: &Rule,
        sign: Sign,
        lines: &Lines,
        signs: &[Sign],
    ) -> Option<(usize, usize)> {
        let last = self.last.get_mut(number)?;
        *last.get_mut(slot)? = Some(sign);
        let told = self.told.get_mut(number)?;
        if told.0 >= MAX_SAME || (told.0 > 0 && sign.start < told.1) {
            return None;
        }
        let all: Vec<Sign> = last.iter().copied().collect::<Option<_>>()?;
        let start = all.iter().map(|sign| sign.start).min()?;
        let end = all.iter().map(|sign| sign.end).max()?;
        let near = rule.reach == Reach::File
            || (end - start <= rule.within.max(sign.end - sign.start)
                && lines.paragraph(start) == lines.paragraph(sign.start));
        if !near {
            return None;
        }
        if spoiled(rule, signs, start, end) {
            if rule.reach == Reach::File {
                // What spoils it stands in the file for good: no need to look again at each place.
                told.0 = MAX_SAME;
            }
            return None;
        }
        *told = (told.0 + 1, end);
        Some((start, end))
    }
}

/// Whether one of the groups that must not be there stands near.
fn spoiled(rule: &Rule, signs: &[Sign], start: usize, end: usize) -> bool {
    const AROUND: usize = 120;
    if rule.not.is_empty() {
        return false;
    }
    if rule.reach == Reach::File {
        return signs.iter().any(|sign| rule.not.contains(&sign.group));
    }
    let from = signs.partition_point(|sign| sign.start + AROUND < start);
    signs
        .get(from..)
        .into_iter()
        .flatten()
        .take_while(|sign| sign.start <= end + AROUND)
        .any(|sign| rule.not.contains(&sign.group))
}

/// Where words about attacks stand in a text.
struct Discussed(Vec<usize>);

impl Discussed {
    /// Whether the text is about attacks near a place: in the same paragraph, or in the one before where that announces it.
    fn near(&self, lines: &Lines, start: usize, end: usize) -> bool {
        let from = self.0.partition_point(|&at| at + DISCUSSED_BEFORE < start);
        let near = self.0.get(from..).unwrap_or_default();
        let here = lines.paragraph(start);
        near.iter()
            .take_while(|&&at| at <= end + DISCUSSED_BEHIND)
            .any(|&at| {
                let there = lines.paragraph(at);
                there == here || (there + 1 == here && lines.announces(there))
            })
    }
}

/// Whether what stands at a place ends in an address of a host that is well known, or what the artifact says it is about.
fn is_known(text: &str, start: usize, end: usize, topic: &str) -> bool {
    const ENDS: &[char] = &[' ', '"', '\'', '`', ')', '>', ']', '|', ','];
    const LONGEST: usize = 300;
    let found = text.get(start..end).unwrap_or_default();
    let Some(at) = found.rfind("http") else {
        return false;
    };
    let from = start + at;
    let address = text.get(from..text.floor_char_boundary((from + LONGEST).min(text.len())));
    let address = address.unwrap_or_default();
    let address = address
        .get(..address.find(ENDS).unwrap_or(address.len()))
        .unwrap_or_default();
    address.contains("://") && super::frames::is_known(address, topic)
}

/// Whether what begins at `start` is what shall not be done: "never send …", "do not upload …".
fn told_not(text: &[u8], start: usize) -> bool {
    const REACH: usize = 64;
    const NOT: [&[u8]; 13] = [
        b"never ",
        b"not ",
        b"don't ",
        b"n't ",
        b"cannot ",
        b"avoid ",
        b"without ",
        b"instead of ",
        b"rather than ",
        b"refuse to ",
        b"no need to ",
        b"nor ",
        b"forbidden to ",
    ];
    // What somebody else wants is told, and not wanted.
    const OTHERS: [&[u8]; 9] = [
        b"tells you to ",
        b"tell you to ",
        b"telling you to ",
        b"asks you to ",
        b"ask you to ",
        b"asking you to ",
        b"tells the agent to ",
        b"asks the agent to ",
        b"instructs you to ",
    ];
    // "do not hesitate to send" sends.
    const STILL: [&[u8]; 6] = [b"hesitate", b"forget", b"fail to", b"only", b"ask", b"wait"];
    const ENDS: [&[u8]; 7] = [b". ", b"; ", b": ", b"! ", b"? ", b" but ", b" then "];
    let before = text.get(start.saturating_sub(REACH)..start).unwrap_or_default();
    let from = ENDS
        .iter()
        .filter_map(|end| memchr::memmem::rfind(before, end).map(|at| at + end.len()))
        .max()
        .unwrap_or(0);
    let mut sentence = before.get(from..).unwrap_or_default();
    // A comma ends it too, but not in a list: "never print, log or send".
    if let Some(comma) = memchr::memmem::rfind(sentence, b", ") {
        let last = sentence.get(comma + 2..).unwrap_or_default();
        if memchr::memmem::find(last, b"or ").is_none() {
            sentence = last;
        }
    }
    if OTHERS.iter().any(|others| sentence.ends_with(others)) {
        return true;
    }
    let Some(at) = NOT
        .iter()
        .filter_map(|not| memchr::memmem::rfind(sentence, not))
        .max()
    else {
        return false;
    };
    let between = sentence.get(at..).unwrap_or_default();
    !STILL
        .iter()
        .any(|still| memchr::memmem::find(between, still).is_some())
        && memchr::memmem::find(between, b" and ").is_none()
}

impl Rule {
    fn finding(
        &self,
        file: &str,
        lines: &Lines,
        (start, end): (usize, usize),
        shown: Shown,
        discussed: bool,
    ) -> ScanFinding {
        let evidence = mask_text(lines.excerpt(start, end), EXCERPT);
        let mut finding = self.found(file, lines.line(start), evidence);
        if shown == Shown::Hidden {
            finding.severity = raised(finding.severity);
            finding.confidence = finding.confidence.saturating_add(10).min(98);
            finding
                .message
                .push_str(", in a place that its reader does not see");
        } else if lines.is_table(start) {
            // A row says what there is.
            finding.severity = finding.severity.min(Severity::Medium);
        } else if discussed {
            let most = if lines.is_quoted(start) {
                Severity::Low
            } else {
                Severity::Medium
            };
            finding.severity = finding.severity.min(most);
            finding.confidence = finding.confidence.saturating_sub(25);
        }
        finding
    }

    fn found(&self, file: &str, line: u32, evidence: String) -> ScanFinding {
        ScanFinding {
            rule: self.id.clone(),
            category: self.category.clone(),
            severity: self.severity,
            confidence: self.confidence,
            file: file.to_owned(),
            line,
            message: self.message.clone(),
            evidence,
            remedy: self.remedy.clone(),
        }
    }
}

/// One step worse.
pub(crate) fn raised(severity: Severity) -> Severity {
    match severity {
        Severity::None => Severity::None,
        Severity::Low => Severity::Medium,
        Severity::Medium => Severity::High,
        Severity::High | Severity::Critical => Severity::Critical,
    }
}
