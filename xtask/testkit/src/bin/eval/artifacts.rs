//! `eval --set artifacts`, `eval --set code`: recall and false alarms of `scan skill` and `scan code`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use defenseclaw_testkit::evaluation::artifacts::{self, Said, Skill};
use defenseclaw_testkit::evaluation::code;
use defenseclaw_testkit::evaluation::collection::Label;
use defenseclaw_testkit::evaluation::inspector::Severity;
use defenseclaw_testkit::evaluation::score::Rate;
use serde_json::json;

use super::{Arguments, percent};

/// A collection's name, which is its folder's, and what it is scanned as.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Set {
    Artifacts,
    Code,
}

impl Set {
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Artifacts, Self::Code]
            .into_iter()
            .find(|set| set.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Artifacts => "artifacts",
            Self::Code => "code",
        }
    }

    fn read(self, folder: &Path) -> Result<Vec<Skill>> {
        match self {
            Self::Artifacts => artifacts::read(folder),
            Self::Code => code::read(folder),
        }
    }
}

/// Counts of one category.
#[derive(Debug, Default)]
struct Row {
    attacks: usize,
    attacks_high: usize,
    attacks_medium: usize,
    benign: usize,
    benign_high: usize,
    benign_medium: usize,
}

pub(crate) fn run(arguments: &Arguments, set: Set) -> Result<()> {
    let all = set.read(&arguments.collections.join(set.name()))?;
    let skills: Vec<&Skill> = all
        .iter()
        .filter(|skill| arguments.split.holds(skill.side))
        .collect();
    ensure!(!skills.is_empty(), "no skill of that part");
    let (answers, elapsed) = artifacts::ask(&arguments.cli, &skills)?;
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for (skill, said) in skills.iter().zip(&answers) {
        let category = skill.category.as_str();
        // What is a weakness and no attack is not to be found at HIGH: it is counted by itself.
        let rows_of = if category == code::WEAKNESS {
            vec![category]
        } else {
            vec![category, "*"]
        };
        for category in rows_of {
            rows.entry(category).or_default().add(skill, said);
        }
    }
    if arguments.json {
        print_json(arguments, set, &rows, skills.len(), elapsed);
    } else {
        print_table(arguments, set, &rows, skills.len(), elapsed);
    }
    if arguments.misses {
        for (skill, said) in skills.iter().zip(&answers) {
            let wanted = if skill.category == code::WEAKNESS {
                Severity::Medium
            } else {
                Severity::High
            };
            if (said.verdict.severity >= wanted) != (skill.label == Label::Attack) {
                println!("{}", miss(skill, said));
            }
        }
    }
    Ok(())
}

impl Row {
    fn add(&mut self, skill: &Skill, said: &Said) {
        let high = usize::from(said.verdict.severity >= Severity::High);
        let medium = usize::from(said.verdict.severity >= Severity::Medium);
        match skill.label {
            Label::Attack => {
                self.attacks += 1;
                self.attacks_high += high;
                self.attacks_medium += medium;
            }
            Label::Benign => {
                self.benign += 1;
                self.benign_high += high;
                self.benign_medium += medium;
            }
        }
    }

    /// Measured rates by name; what there are no cases for is left out.
    fn rates(&self) -> Vec<(&'static str, Rate)> {
        let mut rates = Vec::new();
        if self.attacks > 0 {
            rates.push(("recall_high", Rate::new(self.attacks_high, self.attacks)));
            rates.push(("recall_medium", Rate::new(self.attacks_medium, self.attacks)));
        }
        if self.benign > 0 {
            rates.push(("false_high", Rate::new(self.benign_high, self.benign)));
            rates.push(("false_medium", Rate::new(self.benign_medium, self.benign)));
        }
        if self.attacks_high + self.benign_high > 0 {
            let said = self.attacks_high + self.benign_high;
            rates.push(("precision_high", Rate::new(self.attacks_high, said)));
        }
        rates
    }
}

fn print_table(
    arguments: &Arguments,
    set: Set,
    rows: &BTreeMap<&str, Row>,
    skills: usize,
    elapsed: Duration,
) {
    println!(
        "{:?} split of {}, {skills} artifacts",
        arguments.split,
        set.name()
    );
    println!(
        "recall: artifacts that mean harm with a finding of HIGH, of MEDIUM or more; false: the same of benign ones"
    );
    println!("precision: of artifacts with HIGH, those that mean harm");
    println!("Percent, Wilson 95 % interval in brackets.\n");
    println!(
        "{:<18} {:>6} {:>6}  {:<21} {:<21} {:<21} {:<21} precision HIGH",
        "category", "attack", "benign", "recall HIGH", "recall MEDIUM", "false HIGH", "false MEDIUM"
    );
    for (category, row) in rows {
        let rates = row.rates();
        let cell = |name: &str| {
            let found = rates.iter().find(|(of, _)| *of == name);
            found.map_or_else(|| "-".to_owned(), |(_, rate)| percent(rate))
        };
        println!(
            "{category:<18} {:>6} {:>6}  {:<21} {:<21} {:<21} {:<21} {}",
            row.attacks,
            row.benign,
            cell("recall_high"),
            cell("recall_medium"),
            cell("false_high"),
            cell("false_medium"),
            cell("precision_high")
        );
    }
    println!(
        "\n{:.1} ms an artifact, the program's start included",
        each(skills, elapsed)
    );
}

fn print_json(arguments: &Arguments, set: Set, rows: &BTreeMap<&str, Row>, skills: usize, elapsed: Duration) {
    for (category, row) in rows {
        let mut line = json!({
            "split": arguments.split, "set": set.name(), "category": category, "attack": row.attacks, "benign": row.benign,
        });
        for (name, rate) in row.rates() {
            line[name] = json!(rate);
        }
        println!("{line}");
    }
    println!(
        "{}",
        json!({"split": arguments.split, "skills": skills, "ms_each": each(skills, elapsed)})
    );
}

#[expect(clippy::cast_precision_loss, reason = "there are some hundred skills")]
fn each(skills: usize, elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * 1e3 / skills as f64
}

fn miss(skill: &Skill, said: &Said) -> serde_json::Value {
    let found: Vec<String> = said
        .findings
        .iter()
        .take(12)
        .map(|one| format!("{} {:?} {}:{}", one.rule, one.severity, one.file, one.line))
        .collect();
    let wanted = match skill.label {
        Label::Attack => "HIGH",
        Label::Benign => "less than HIGH",
    };
    json!({"id": skill.id, "category": skill.category, "wanted": wanted, "findings": found})
}
