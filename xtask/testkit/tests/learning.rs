//! The models beside the rules: what they were made of, and that they know that again.
#![expect(clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};

use defenseclaw_code::CodeGuard;
use defenseclaw_detect::likeness;
use defenseclaw_detect::linear;
use defenseclaw_detect::scan::learned;
use defenseclaw_detect::scan::{Scanner, artifact};
use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::{ScanKind, ScanReport};
use defenseclaw_testkit::evaluation::artifacts::Skill;
use defenseclaw_testkit::evaluation::collection::{self, Label, Split};
use defenseclaw_testkit::learning::{EXAMINATIONS, calls, digest, material};

fn collections() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/evaluation/artifacts")
}

fn skills() -> Vec<Skill> {
    material(&collections()).expect("valid collections")
}

#[test]
fn the_weights_are_made_of_the_collections_in_this_tree() {
    let skills = skills();
    assert!(
        skills
            .iter()
            .all(|skill| skill.side == Split::Dev && !EXAMINATIONS.contains(&skill.set.as_str()))
    );
    let made_of = digest(&skills, linear::concepts());
    assert_eq!(learned::embedded().trained, made_of, "run `cargo xtask train`");
}

#[test]
fn what_was_learned_is_known_again_and_the_same_is_said_each_time() {
    let scanner = Scanner::embedded().expect("rules");
    let scanner = scanner.with_code(Box::new(CodeGuard::embedded().expect("tables")));
    let scan = |skill: &Skill| -> ScanReport {
        let kind: ScanKind = serde_json::from_value(skill.kind.clone().into()).expect("a kind");
        scanner.scan_read(
            kind,
            &artifact::from_memory(skill.files.clone()),
            &skill.id,
            &skill.id,
        )
    };
    let skills = skills();
    let plugins = || skills.iter().filter(|skill| skill.set == "plugins");
    let high = |label: Label| {
        let of_label: Vec<&Skill> = plugins().filter(|skill| skill.label == label).collect();
        let high = of_label
            .iter()
            .filter(|skill| scan(skill).verdict.severity >= Severity::High);
        (high.count(), of_label.len())
    };
    let (attacks, of) = high(Label::Attack);
    assert!(
        attacks * 10 >= of * 8,
        "{attacks} of {of}: run `cargo xtask train`"
    );
    let (benign, of) = high(Label::Benign);
    assert!(benign * 10 <= of, "{benign} of {of}: run `cargo xtask train`");
    for skill in plugins().take(5) {
        assert_eq!(scan(skill), scan(skill), "{}", skill.id);
    }
}

#[test]
fn the_weights_for_calls_are_made_of_the_collections_in_this_tree() {
    let cases = collection::read(&collections().join("..")).expect("valid collections");
    let (material, examination) = calls::material(cases);
    assert!(
        examination.len() > 300,
        "{} calls are examined",
        examination.len()
    );
    assert!(material.iter().all(|case| case.side() == Split::Dev));
    let made_of = calls::digest(&material, linear::concepts());
    assert_eq!(
        likeness::embedded().trained,
        made_of,
        "run `cargo xtask train calls`"
    );
}

#[test]
fn strangers_calls_are_told_apart_as_the_figures_say() {
    let cases = collection::read(&collections().join("..")).expect("valid collections");
    let examined = calls::known(&calls::material(cases).1).expect("rules");
    let share = |fits: fn(&calls::Known) -> bool| {
        let those = || examined.iter().filter(|one| fits(one));
        let both = those().filter(|one| {
            let scores = calls::scores_of(likeness::embedded(), one);
            calls::outcome(likeness::embedded(), one, scores).both
        });
        (
            both.count(),
            those().filter(|one| one.stopped).count(),
            those().count(),
        )
    };
    let (both, rules, of) = share(|one| one.lesson.attack);
    assert!(
        both > rules + of / 20,
        "{both} of {of} attacks, {rules} by rules alone"
    );
    let (both, rules, of) = share(|one| !one.lesson.attack);
    assert!(
        both <= rules + of / 100,
        "{both} of {of} harmless ones, {rules} by rules alone"
    );
}
