//! What findings mean together: harm that one part of an artifact does, and another part hides or prepares.
//!
//! Each finding alone leaves room for an honest reason. Reading a key is what an SSH guide does, and a summary may leave
//! out what nobody cares for; but who has a key read, something sent away, and the person not told, has no such reason.

use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::ScanFinding;

use super::pieces::is_for_people;

/// How far what is done may stand from what hides it (lines): a step with its block of code and its reason.
const NEAR: u32 = 14;

/// How far apart the steps of one thing stand in one file (lines).
const ONE_THING: u32 = 40;

/// Most findings that are compared with each other.
const MAX_COMPARED: usize = 200;

/// Fewest kinds of harm in one document that are no coincidence.
const MANY: usize = 3;

/// Categories of findings that say what is done to somebody.
const HARM: &[&str] = &[
    "exfiltration",
    "credential-access",
    "remote-code",
    "command-execution",
    "persistence",
    "permissions",
    "supply-chain",
    "obfuscation",
    "tool-poisoning",
];

/// Rules that say how: kept from the person, or without asking.
const STANCE: &[&str] = &[
    "frame.keeps-from-person",
    "frame.keeps-out-of-sight",
    "frame.secret-act",
    "frame.secret-run",
    "frame.says-otherwise",
    "frame.cover-story",
    "frame.mislabels",
    "frame.anything-unasked",
    "skill.hides",
    "skill.hidden-act",
];

const HIDDEN_HARM: super::Told = (
    "together.hidden-harm",
    "injection",
    Severity::High,
    75,
    "Do not install it; whoever has nothing to hide does not say so",
);
const TAKES_AND_SENDS: super::Told = (
    "together.takes-and-sends",
    "exfiltration",
    Severity::High,
    70,
    "See whether what is read is what is sent, and to whom",
);
const MANY_HARMS: super::Told = (
    "together.many-harms",
    "command-execution",
    Severity::High,
    65,
    "Read each of the findings: one may have a reason, so many have not",
);

/// What is to be told of findings together: rule, place, message and evidence.
pub(super) struct Together<'f> {
    pub(super) told: super::Told,
    pub(super) at: &'f ScanFinding,
    pub(super) message: String,
    pub(super) evidence: String,
}

/// What findings mean together. Nothing where one of them is grave by itself: then that is told already.
pub(super) fn judge(findings: &[ScanFinding]) -> Vec<Together<'_>> {
    if findings.iter().any(|finding| finding.severity >= Severity::High) {
        return Vec::new();
    }
    let harms: Vec<&ScanFinding> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Medium && HARM.contains(&finding.category.as_str()))
        .filter(|finding| !is_for_people(&finding.file))
        .take(MAX_COMPARED)
        .collect();
    let hidden = hidden(findings, &harms);
    let taken = taken(&harms);
    let many = many(&harms);
    hidden.into_iter().chain(taken).chain(many).take(1).collect()
}

/// Harm beside which stands that the person shall not know, or be asked.
fn hidden<'f>(findings: &'f [ScanFinding], harms: &[&'f ScanFinding]) -> Option<Together<'f>> {
    let stances: Vec<&ScanFinding> = findings
        .iter()
        .filter(|finding| STANCE.contains(&finding.rule.as_str()))
        .take(MAX_COMPARED)
        .collect();
    harms.iter().find_map(|harm| {
        let stance = stances.iter().find(|stance| {
            stance.rule != harm.rule && stance.file == harm.file && stance.line.abs_diff(harm.line) <= NEAR
        })?;
        let mut how = stance.message.chars();
        let how: String = how
            .next()
            .map(|c| c.to_ascii_lowercase())
            .into_iter()
            .chain(how)
            .collect();
        Some(Together {
            told: HIDDEN_HARM,
            at: harm,
            message: format!("{}; beside it, {how}", harm.message),
            evidence: format!("{} and {}", harm.evidence, stance.evidence),
        })
    })
}

/// Secrets that are read, and something that is sent.
fn taken<'f>(harms: &[&'f ScanFinding]) -> Option<Together<'f>> {
    let of = |category: &'static str| {
        harms
            .iter()
            .copied()
            .filter(move |harm| harm.category == category)
    };
    // In one file both are steps of one thing only where they stand near each other.
    let (read, sent) = of("credential-access").find_map(|read| {
        let mut sent = of("exfiltration");
        let sent = sent.find(|sent| sent.file != read.file || sent.line.abs_diff(read.line) <= ONE_THING)?;
        Some((read, sent))
    })?;
    Some(Together {
        told: TAKES_AND_SENDS,
        at: sent,
        message: "It reads what is secret in one place and sends something to another host in another"
            .to_owned(),
        evidence: format!("{}:{} and {}:{}", read.file, read.line, sent.file, sent.line),
    })
}

/// Many kinds of harm in one document.
fn many<'f>(harms: &[&'f ScanFinding]) -> Option<Together<'f>> {
    harms.iter().copied().find_map(|harm| {
        let mut kinds: Vec<&str> = harms
            .iter()
            .filter(|other| other.file == harm.file)
            .map(|other| other.category.as_str())
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        (kinds.len() >= MANY).then(|| Together {
            told: MANY_HARMS,
            at: harm,
            message: "One document asks for several things that are harmful each by itself".to_owned(),
            evidence: kinds.join(", "),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(rule: &str, category: &str, severity: Severity, line: u32) -> ScanFinding {
        ScanFinding {
            rule: rule.to_owned(),
            category: category.to_owned(),
            severity,
            confidence: 60,
            file: "SKILL.md".to_owned(),
            line,
            message: "It does that".to_owned(),
            evidence: "so".to_owned(),
            remedy: "No".to_owned(),
        }
    }

    fn told(findings: &[ScanFinding]) -> Vec<&'static str> {
        judge(findings).iter().map(|one| one.told.0).collect()
    }

    #[test]
    fn harm_that_is_hidden_is_grave_and_harm_alone_is_not() {
        let sent = finding("frame.sends-data", "exfiltration", Severity::Medium, 10);
        let near = finding("frame.keeps-from-person", "injection", Severity::Low, 16);
        let far = finding("frame.keeps-from-person", "injection", Severity::Low, 60);
        assert_eq!(told(&[sent.clone(), near.clone()]), ["together.hidden-harm"]);
        assert!(told(&[sent.clone(), far]).is_empty());
        assert!(told(std::slice::from_ref(&sent)).is_empty());
        assert!(told(&[near]).is_empty(), "nothing is hidden");
        let low = finding("frame.sends-data", "exfiltration", Severity::Low, 10);
        let near = finding("skill.hides", "injection", Severity::Low, 11);
        assert!(told(&[low, near]).is_empty(), "too little is done");
    }

    #[test]
    fn what_is_taken_in_one_file_and_sent_in_another_is_told() {
        let read = finding("frame.reads-private", "credential-access", Severity::Medium, 3);
        let mut sent = finding("script.sends", "exfiltration", Severity::Medium, 90);
        sent.file = "run.sh".to_owned();
        assert_eq!(told(&[read.clone(), sent.clone()]), ["together.takes-and-sends"]);
        assert!(told(&[sent]).is_empty() && told(&[read]).is_empty());
    }

    #[test]
    fn what_is_grave_already_is_not_told_again_and_what_is_for_people_does_not_add_up() {
        let read = finding("frame.reads-private", "credential-access", Severity::Medium, 3);
        let grave = finding("frame.sends-secrets", "exfiltration", Severity::High, 9);
        assert!(told(&[read.clone(), grave]).is_empty());
        let mut sent = finding("frame.sends-data", "exfiltration", Severity::Medium, 9);
        sent.file = "README.md".to_owned();
        assert!(told(&[read, sent]).is_empty());
    }

    #[test]
    fn three_kinds_of_harm_in_one_document_are_no_coincidence() {
        let harms = ["persistence", "permissions", "remote-code"];
        let found: Vec<ScanFinding> = (1..)
            .zip(harms)
            .map(|(line, category)| finding("x.y", category, Severity::Medium, line * 40))
            .collect();
        assert_eq!(told(&found), ["together.many-harms"]);
        assert!(told(&found[..2]).is_empty());
    }
}
