//! Instructions that want to steer the agent: signals of several techniques, weighed together.
//!
//! A phrase alone says little; several techniques near each other say much, and more where the text was hidden or encoded.
//! A text about injections (an article, a filter's code) quotes them: quoted phrases near such words count little.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use defenseclaw_model::decision::{Finding, Severity};
use defenseclaw_yaml::Text;

use super::anchors::{Anchors, Spec};
use super::fold::{Folded, fold, fold_phrase};
use super::pack::{self, Carrier, InjectionPack, InjectionRule, SurfaceName, Tests};
use super::secrets::SecretRules;
use super::{decode, hidden};
use crate::detector::{PackError, Surface};
use crate::mask::mask_text;

/// Sums of weights from which on a passage has a severity, and how sure that is.
const LEVELS: [(f64, Severity, u8); 3] = [
    (7.0, Severity::High, 85),
    (4.0, Severity::Medium, 75),
    (2.5, Severity::Low, 50),
];

/// What a passage's being hidden or encoded adds: nobody hides an instruction that is meant for the reader.
const HIDDEN: f64 = 3.0;

/// Weight from which on a hidden passage instructs.
const LEAST_CARRIED: f64 = 2.0;

/// What a further signal of the same technique adds, and at most.
const FURTHER: f64 = 0.75;
const MAX_FURTHER: f64 = 1.5;

/// Signals farther apart than this (bytes) belong to different passages.
const GAP: usize = 500;

/// Longest passage whose signals are weighed together (bytes), so that the weak ones of a long page do not add up.
const MAX_CLUSTER: usize = 3000;

/// How near a word about injections must stand (bytes, either side).
const DISCUSSED_WITHIN: usize = 500;

/// What counts of a signal that is quoted where injections are discussed, of one that is not quoted there.
const QUOTED_IN_DISCUSSION: f64 = 0.3;
const IN_DISCUSSION: f64 = 0.6;

/// What counts where the agent itself writes: code, documents and reports quote what they are about.
const FROM_AGENT: f64 = 0.6;

/// Most signals that are weighed in one text.
const MAX_SIGNALS: usize = 4096;

/// Most findings of one text.
const MAX_FINDINGS: usize = 8;

/// Longest excerpt in the evidence (bytes).
const EXCERPT: usize = 120;

/// Zero-width characters inside words from which on words were split on purpose: a page has a soft hyphen here and there.
const SPLIT_WORDS: usize = 4;

/// The pack of injections, compiled.
#[derive(Debug)]
pub(super) struct InjectionRules {
    rules: Vec<InjectionRule>,
    anchors: Anchors,
    /// For each pattern: its rule and signal.
    signals: Vec<(usize, usize)>,
    discussion: AhoCorasick,
    /// How many core words there are. Behind the patterns they are searched for twice: first turned by thirteen places,
    /// then backwards.
    core_words: usize,
    remedy: String,
}

/// A signal in a folded text.
#[derive(Debug, Clone, Copy)]
struct Sign {
    start: usize,
    end: usize,
    rule: usize,
    weight: f64,
}

/// How many core words stand in a text turned by thirteen places, and backwards.
#[derive(Debug, Clone, Copy, Default)]
struct Respelled {
    turned: usize,
    backwards: usize,
}

/// What the signals of one passage amount to.
#[derive(Debug, Clone)]
struct Weighed {
    total: f64,
    /// The techniques, the weightiest first.
    rules: Vec<usize>,
    excerpt: String,
}

impl InjectionRules {
    pub(super) fn load(file: &str, text: Text<'_>) -> Result<Self, PackError> {
        let pack: InjectionPack = pack::parse(file, text)?;
        let (mut shapes, mut signals) = (Vec::new(), Vec::new());
        for (number, rule) in pack.rules.iter().enumerate() {
            pack::check_rule(file, &rule.id, 0, Some(&rule.tests))?;
            if rule.signals.is_empty() == rule.carrier.is_none() {
                return Err(pack::refuse(
                    file,
                    &rule.id,
                    "give it either signals or a carrier",
                ));
            }
            for (at, signal) in rule.signals.iter().enumerate() {
                for shape in &signal.shapes {
                    shapes.push(shape);
                    signals.push((number, at));
                }
            }
        }
        let folded: Vec<String> = shapes.iter().map(|shape| fold_phrase(&shape.value)).collect();
        let specs: Vec<Spec<'_>> = folded
            .iter()
            .map(|shape| Spec {
                shape,
                nocase: false,
                inside: false,
            })
            .collect();
        let invalid = |why: String| PackError::Invalid {
            file: file.to_owned(),
            why,
        };
        let turned = pack.core_words.iter().map(|word| decode::rot13(word));
        let backwards = pack.core_words.iter().map(|word| word.chars().rev().collect());
        let respelled: Vec<String> = turned.chain(backwards).collect();
        let anchors = Anchors::with_words(&specs, &respelled).map_err(|(number, why)| {
            let line = shapes.get(number).map_or(0, |shape| shape.defined.line());
            let id = signals
                .get(number)
                .and_then(|&(rule, _)| pack.rules.get(rule))
                .map_or("", |rule| &rule.id.value);
            invalid(format!("rule {id:?}, line {line}: {why}"))
        })?;
        let discussion = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(pack.discussion)
            .map_err(|error| invalid(format!("its words do not fit together: {error}")))?;
        Ok(Self {
            discussion,
            core_words: pack.core_words.len(),
            anchors,
            signals,
            remedy: pack.remedy,
            rules: pack.rules,
        })
    }

    pub(super) fn tests(&self) -> impl Iterator<Item = (&str, &Tests)> {
        self.rules
            .iter()
            .map(|rule| (rule.id.value.as_str(), &rule.tests))
    }

    /// What is to be said of the instructions in `text`. `secrets` are looked for in what is encoded.
    pub(super) fn find(&self, surface: Surface, text: &str, secrets: &[Arc<SecretRules>]) -> Vec<Finding> {
        let folded = fold(text);
        let mut findings = Vec::new();
        let mut known = 0.0_f64;
        let (signs, respelled) = self.signs(surface, &folded.text);
        for weighed in self.weigh_signs(surface, &signs, &folded.text, 0.0) {
            known = known.max(weighed.total);
            findings.extend(self.plain_finding(surface, &weighed));
        }
        self.unseen(surface, &folded, &mut findings);
        for (how, passage) in hidden::passages(text) {
            self.carried(surface, (Carrier::Hidden, how), &passage, 0.0, &mut findings);
        }
        for (how, passage) in decode::passages(text) {
            for rules in secrets.iter().filter(|_| matches!(how, "base64" | "hexadecimal")) {
                findings.extend(rules.find(surface, &passage));
            }
            // A passage of its own, or the whole text in another reading.
            let known = if matches!(how, "base64" | "hexadecimal") {
                0.0
            } else {
                known
            };
            self.carried(surface, (Carrier::Encoded, how), &passage, known, &mut findings);
        }
        self.respelled(surface, &folded.text, respelled, known, &mut findings);
        if surface != Surface::ToolInput {
            for host in hidden::data_pictures(text) {
                self.carrier_finding(surface, Carrier::DataPicture, None, host, &mut findings);
            }
        }
        tidy(findings)
    }

    /// Writing that only turned letters, directions or digits hide.
    fn respelled(
        &self,
        surface: Surface,
        folded: &str,
        words: Respelled,
        known: f64,
        findings: &mut Vec<Finding>,
    ) {
        // One word may be there by chance.
        if words.turned >= 2 {
            let carrier = (Carrier::Encoded, "letters turned by thirteen places");
            self.carried(surface, carrier, &decode::rot13(folded), known, findings);
        }
        if words.backwards >= 2 {
            let carrier = (Carrier::Encoded, "writing backwards");
            let turned: String = folded.chars().rev().collect();
            self.carried(surface, carrier, &turned, known, findings);
        }
        if let Some(plain) = decode::unleet(folded) {
            self.carried(
                surface,
                (Carrier::Encoded, "digits for letters"),
                &plain,
                known,
                findings,
            );
        }
    }

    /// What invisible characters carry is told by itself: nothing legitimate writes so.
    fn unseen(&self, surface: Surface, folded: &Folded, findings: &mut Vec<Finding>) {
        for (how, said) in &folded.smuggled {
            let excerpt = mask_text(&fold(said).text, EXCERPT);
            let weighed = self.weigh(surface, &fold(said).text, HIDDEN).into_iter().next();
            self.carrier_finding(
                surface,
                Carrier::Invisible,
                weighed.as_ref(),
                format!("{how}: {excerpt:?}"),
                findings,
            );
        }
        if folded.split_words >= SPLIT_WORDS {
            let what = format!(
                "{} words are split by characters that are not seen",
                folded.split_words
            );
            let weighed = self.weigh(surface, &folded.text, HIDDEN).into_iter().next();
            self.carrier_finding(surface, Carrier::SplitWords, weighed.as_ref(), what, findings);
        }
        if folded.overrides > 0 {
            let what = format!(
                "{} characters that force the direction of writing",
                folded.overrides
            );
            self.carrier_finding(surface, Carrier::Direction, None, what, findings);
        }
    }

    /// A passage that is hidden or encoded is a finding where it instructs more than is `known` without it.
    fn carried(
        &self,
        surface: Surface,
        (carrier, how): (Carrier, &str),
        passage: &str,
        known: f64,
        findings: &mut Vec<Finding>,
    ) {
        let folded = fold(passage);
        for weighed in self.weigh(surface, &folded.text, HIDDEN) {
            // What is hidden must instruct by itself; being hidden only adds to that.
            if weighed.total - HIDDEN >= LEAST_CARRIED + known {
                let evidence = format!("{how}: {:?}", weighed.excerpt);
                self.carrier_finding(surface, carrier, Some(&weighed), evidence, findings);
            }
        }
    }

    fn carrier_finding(
        &self,
        surface: Surface,
        carrier: Carrier,
        weighed: Option<&Weighed>,
        what: String,
        findings: &mut Vec<Finding>,
    ) {
        let Some(rule) = self.rules.iter().find(|rule| rule.carrier == Some(carrier)) else {
            return;
        };
        let (mut severity, mut confidence) = (rule.severity, rule.confidence);
        let mut evidence = vec![what];
        if let Some(weighed) = weighed {
            if let Some((said, sure)) = level(weighed.total).filter(|(said, _)| *said >= severity) {
                (severity, confidence) = (said, sure.max(confidence));
            }
            evidence.insert(0, self.names(&weighed.rules));
        }
        findings.push(Finding {
            rule: rule.id.value.clone(),
            category: "injection".to_owned(),
            severity,
            message: format!("{} holds {}", super::place(surface), rule.what),
            remedy: self.remedy.clone(),
            evidence,
            confidence,
        });
    }

    fn plain_finding(&self, surface: Surface, weighed: &Weighed) -> Option<Finding> {
        let (severity, confidence) = level(weighed.total)?;
        let rule = weighed.rules.first().and_then(|&rule| self.rules.get(rule))?;
        Some(Finding {
            rule: rule.id.value.clone(),
            category: "injection".to_owned(),
            severity,
            message: format!("{} holds {}", super::place(surface), rule.what),
            remedy: self.remedy.clone(),
            evidence: vec![self.names(&weighed.rules), format!("{:?}", weighed.excerpt)],
            confidence,
        })
    }

    fn names(&self, rules: &[usize]) -> String {
        let names: Vec<&str> = rules
            .iter()
            .filter_map(|&rule| Some(self.rules.get(rule)?.id.value.as_str()))
            .collect();
        names.join(", ")
    }

    /// The passages of a folded text that have signals, weighed; `more` is added to each.
    fn weigh(&self, surface: Surface, folded: &str, more: f64) -> Vec<Weighed> {
        self.weigh_signs(surface, &self.signs(surface, folded).0, folded, more)
    }

    fn weigh_signs(&self, surface: Surface, signs: &[Sign], folded: &str, more: f64) -> Vec<Weighed> {
        if signs.is_empty() {
            return Vec::new();
        }
        let discussed: Vec<usize> = self
            .discussion
            .find_iter(folded)
            .filter(|found| !of_an_address(folded.as_bytes(), found.start(), found.end()))
            .map(|found| found.start())
            .collect();
        let factor = match surface {
            Surface::ToolInput | Surface::Completion => FROM_AGENT,
            Surface::Prompt | Surface::ToolResult => 1.0,
        };
        let mut weighed = Vec::new();
        let mut rest = signs;
        while let Some(first) = rest.first() {
            let mut last = first.end;
            let count = rest
                .iter()
                .take_while(|sign| {
                    let near = sign.start <= last + GAP && sign.start <= first.start + MAX_CLUSTER;
                    last = last.max(sign.end);
                    near
                })
                .count();
            let (cluster, behind) = rest.split_at(count.max(1));
            rest = behind;
            let mut one = weigh_cluster(cluster, folded, &discussed);
            one.total = one.total * factor + more;
            weighed.push(one);
        }
        weighed
    }

    fn signs(&self, surface: Surface, folded: &str) -> (Vec<Sign>, Respelled) {
        let mut signs = Vec::new();
        let mut respelled = Respelled::default();
        for hit in self.anchors.hits(folded.as_bytes()) {
            let Some(&(rule, signal)) = self.signals.get(hit.pattern) else {
                let turned = hit.pattern - self.signals.len() < self.core_words;
                respelled.turned += usize::from(turned);
                respelled.backwards += usize::from(!turned);
                continue;
            };
            let Some(signal) = self.rules.get(rule).and_then(|rule| rule.signals.get(signal)) else {
                continue;
            };
            if !signal.on.is_empty()
                && !signal
                    .on
                    .iter()
                    .any(|&on: &SurfaceName| Surface::from(on) == surface)
            {
                continue;
            }
            if demanded(folded.as_bytes(), hit.start) {
                continue;
            }
            signs.push(Sign {
                start: hit.start,
                end: hit.end,
                rule,
                weight: signal.weight,
            });
            if signs.len() >= MAX_SIGNALS {
                break;
            }
        }
        (signs, respelled)
    }
}

/// Whether a word stands in a host's name or a mail address: `attacker@mail.test` discusses nothing.
fn of_an_address(folded: &[u8], start: usize, end: usize) -> bool {
    let before = start.checked_sub(1).and_then(|at| folded.get(at));
    let behind = folded.get(end..).unwrap_or_default();
    matches!(before, Some(b'@' | b'/' | b'.'))
        || matches!(behind, [b'@', ..])
        || matches!(behind, [b'.' | b'-', next, ..] if next.is_ascii_alphanumeric())
}

/// Whether what begins at `start` is what somebody must not do: "never commit without asking the user" asks for it.
fn demanded(folded: &[u8], start: usize) -> bool {
    const REACH: usize = 80;
    if !folded
        .get(start..)
        .is_some_and(|rest| rest.starts_with(b"without "))
    {
        return false;
    }
    let before = folded.get(start.saturating_sub(REACH)..start).unwrap_or_default();
    let sentence = before
        .iter()
        .rposition(|byte| matches!(byte, b'.' | b';' | b':' | b'!' | b'?'))
        .map_or(before, |at| before.get(at..).unwrap_or_default());
    const LIMITS: [&[u8]; 5] = [b"never ", b" not ", b"n't ", b"cannot ", b"no one "];
    LIMITS
        .iter()
        .any(|limit| memchr::memmem::find(sentence, limit).is_some())
}

fn weigh_cluster(cluster: &[Sign], folded: &str, discussed: &[usize]) -> Weighed {
    let mut by_rule: Vec<(usize, f64, f64)> = Vec::new();
    let mut strongest = (0.0, 0, 0);
    let mut end = 0;
    for sign in cluster {
        let weight = sign.weight * discount(sign, folded, discussed);
        if weight > strongest.0 {
            strongest = (weight, sign.start, sign.end);
        }
        match by_rule.iter_mut().find(|(rule, _, _)| *rule == sign.rule) {
            // Two readings of the same words are one signal.
            Some((_, most, _)) if sign.start < end => *most = most.max(weight),
            Some((_, most, further)) => {
                *most = most.max(weight);
                *further = (*further + FURTHER.min(weight)).min(MAX_FURTHER);
            }
            None => by_rule.push((sign.rule, weight, 0.0)),
        }
        end = end.max(sign.end);
    }
    by_rule.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (_, from, to) = strongest;
    let excerpt = folded
        .get(folded.floor_char_boundary(from)..folded.ceil_char_boundary(to.min(folded.len())))
        .unwrap_or_default();
    Weighed {
        total: by_rule.iter().map(|(_, most, further)| most + further).sum(),
        rules: by_rule.iter().map(|&(rule, _, _)| rule).collect(),
        excerpt: mask_text(excerpt, EXCERPT),
    }
}

fn discount(sign: &Sign, folded: &str, discussed: &[usize]) -> f64 {
    let after = discussed.partition_point(|&at| at + DISCUSSED_WITHIN < sign.start);
    let near = discussed
        .get(after)
        .is_some_and(|&at| at <= sign.end + DISCUSSED_WITHIN);
    match (near, quoted(sign, folded.as_bytes())) {
        (true, true) => QUOTED_IN_DISCUSSION,
        (true, false) => IN_DISCUSSION,
        (false, _) => 1.0,
    }
}

/// Whether a quotation begins shortly before a signal and ends behind it.
fn quoted(sign: &Sign, folded: &[u8]) -> bool {
    const REACH: usize = 160;
    let before = folded
        .get(sign.start.saturating_sub(REACH)..sign.start)
        .unwrap_or_default();
    let behind = folded
        .get(sign.end..folded.len().min(sign.end + REACH))
        .unwrap_or_default();
    let opens = |(at, &byte): (usize, &u8)| {
        let first = at
            .checked_sub(1)
            .and_then(|at| before.get(at))
            .is_none_or(|&byte| !byte.is_ascii_alphanumeric());
        matches!(byte, b'"' | b'`') || (matches!(byte, b'\'' | b'/') && first)
    };
    let open = before
        .iter()
        .enumerate()
        .rev()
        .find(|&found| opens(found))
        .map(|(_, &byte)| byte);
    open.is_some_and(|quote| {
        if quote == b'/' {
            // An expression of a script, not a path.
            const CLOSES: [&[u8]; 4] = [b"/i", b"/g", b"/,", b"/]"];
            return CLOSES
                .iter()
                .any(|close| memchr::memmem::find(behind, close).is_some());
        }
        // An even number of the same quotes in between would mean that the quotation had ended.
        behind.contains(&quote) && before.iter().filter(|&&byte| byte == quote).count() % 2 == 1
    })
}

fn level(total: f64) -> Option<(Severity, u8)> {
    LEVELS
        .iter()
        .find(|(least, _, _)| total >= *least)
        .map(|&(_, severity, confidence)| (severity, confidence))
}

/// The gravest of each rule, the gravest first, at most as many as a person reads.
fn tidy(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| std::cmp::Reverse((finding.severity, finding.confidence)));
    let mut known = std::collections::HashSet::new();
    findings.retain(|finding| finding.category == "secret" || known.insert(finding.rule.clone()));
    findings.truncate(MAX_FINDINGS);
    findings
}
