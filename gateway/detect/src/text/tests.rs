use proptest::prelude::*;

use super::*;

fn rules() -> TextRules {
    TextRules::load(EMBEDDED).unwrap()
}

#[test]
fn every_rules_tests_hold() {
    let report = rules().test();
    assert!(report.rules > 150 && report.tests > 400, "{report:?}");
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
}
