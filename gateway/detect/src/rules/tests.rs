//! What holds for the engine as a whole, and for the packs that come with the program.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use crate::detector::Detector;

#[test]
fn every_rule_passes_its_own_tests() {
    let report = Detector::embedded().unwrap().test();
    let failures: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
    assert!(
        failures.is_empty(),
        "{} of {} samples\n{}",
        failures.len(),
        report.samples,
        failures.join("\n")
    );
}
