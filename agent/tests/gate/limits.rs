//! When the scanner or the gateway fails, and when there is much to do.

use std::fs;

use defenseclaw_model::config::FailMode;
use defenseclaw_model::gate::GateScan;
use defenseclaw_model::record::RecordBody;

use crate::stage::{Gateway, HOSTILE, Stage, is_kept_from, opens};

#[test]
fn a_scanner_that_fails_is_no_scan() {
    let ways = [
        ("crash", "ended"),
        ("garbage", "how long"),
        ("long", "longer"),
        ("huge", "larger"),
        ("hang", "in time"),
    ];
    for (does, says) in ways {
        let Some(stage) = Stage::with(does, |config| config.gate.timeout_ms = 4_000) else {
            return;
        };
        let skill = stage.install("tidy", "x");
        assert!(is_kept_from(&skill.join("SKILL.md")), "{does}");
        {
            let log = stage.log.lock().unwrap();
            assert!(
                matches!(&log.questions[0].scan, GateScan::Failed { reason } if reason.contains(says)),
                "{does}: {:?}",
                log.questions[0].scan
            );
        }
        stage.gateway(Gateway::Trusts);
        let other = stage.install("other", "x");
        assert!(opens(&other.join("SKILL.md")), "{does}");
    }
}

#[test]
fn a_scanner_that_is_not_there_or_whose_user_is_root_is_no_scan() {
    let users = [("root", "root"), ("no-such-user", "no-such-user")];
    for (user, says) in users {
        let change =
            |config: &mut defenseclaw_model::config::Config| config.gate.scanner_user = user.to_owned();
        let Some(stage) = Stage::with("plain", change) else {
            return;
        };
        let skill = stage.install("tidy", "x");
        assert!(is_kept_from(&skill.join("SKILL.md")));
        let log = stage.log.lock().unwrap();
        assert!(matches!(&log.questions[0].scan, GateScan::Failed { reason } if reason.contains(says)));
    }
}

fn unjudged(records: &[RecordBody]) -> usize {
    let is =
        |record: &&RecordBody| matches!(record, RecordBody::Gap { cause, .. } if cause == "gate_unjudged");
    records.iter().filter(is).count()
}

#[test]
fn without_a_gateway_the_fail_mode_answers_and_it_is_recorded_once() {
    for mode in [FailMode::Closed, FailMode::Open] {
        let Some(stage) = Stage::with("plain", |config| config.gate.fail_mode = Some(mode)) else {
            return;
        };
        let skill = stage.install("evil", HOSTILE);
        stage.gate().disconnected();
        for _ in 0..5 {
            assert_eq!(opens(&skill.join("SKILL.md")), mode == FailMode::Open);
        }
        stage.until("it was not recorded", |log| unjudged(&log.records) == 1);
        assert_eq!(stage.questions(), 0);
        // It is there again: what hostile is blocked, whatever the fail mode.
        stage.gate().connected();
        stage.wait("it was never judged", || {
            is_kept_from(&skill.join("SKILL.md")) && stage.questions() > 0
        });
        stage.until("it was not taken away", |log| !log.quarantined.is_empty());
    }
}

#[test]
fn a_gateway_that_says_nothing_is_waited_for_until_the_time_is_over() {
    for mode in [FailMode::Closed, FailMode::Open] {
        let Some(stage) = Stage::with("plain", |config| {
            config.gate.fail_mode = Some(mode);
            config.gate.timeout_ms = 500;
        }) else {
            return;
        };
        stage.gateway(Gateway::Silent);
        let skill = stage.install("tidy", "x");
        assert_eq!(opens(&skill.join("SKILL.md")), mode == FailMode::Open);
        stage.until("it was not recorded", |log| unjudged(&log.records) == 1);
    }
}

#[test]
fn the_end_of_the_gate_answers_who_waits() {
    let Some(mut stage) = Stage::new() else { return };
    stage.gateway(Gateway::Silent);
    let skill = stage.install("tidy", "x");
    let file = skill.join("SKILL.md");
    let reader = std::thread::spawn(move || opens(&file));
    stage.until("nothing was asked", |log| !log.questions.is_empty());
    assert!(!reader.is_finished());
    stage.end();
    assert!(!reader.join().unwrap(), "the fail mode is closed");
    // And nothing is held any more.
    assert!(opens(&skill.join("SKILL.md")));
}

#[test]
fn thousands_of_files_are_one_artifact_and_one_question() {
    let Some(stage) = Stage::new() else { return };
    let made = stage.root().join("made");
    for n in 0..3_000 {
        let folder = made.join(format!("{}", n % 60));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{n}.js")), format!("x = {n}\n")).unwrap();
    }
    let skill = stage.skills().join("large");
    fs::rename(&made, &skill).unwrap();
    stage.list();
    for n in 0..3_000 {
        assert!(opens(&skill.join(format!("{}/{n}.js", n % 60))));
    }
    assert_eq!(stage.questions(), 1);
}

#[test]
fn many_who_open_at_once_wait_for_one_scan() {
    let Some(stage) = Stage::with("slow", |_| {}) else {
        return;
    };
    let (tidy, evil) = (stage.install("tidy", "x"), stage.install("evil", HOSTILE));
    let all: Vec<_> = (0..40)
        .map(|n| {
            let file = if n % 2 == 0 { &tidy } else { &evil }.join("SKILL.md");
            std::thread::spawn(move || (n % 2 == 0, !is_kept_from(&file)))
        })
        .collect();
    for reader in all {
        let (harmless, went_on) = reader.join().unwrap();
        assert_eq!(harmless, went_on);
    }
    assert_eq!(stage.questions(), 2);
}

#[test]
fn two_gates_do_not_wait_for_each_other() {
    let (Some(one), Some(two)) = (Stage::new(), Stage::new()) else {
        return;
    };
    let skills = [one.install("tidy", "x"), two.install("tidy", "x")];
    for skill in &skills {
        assert!(opens(&skill.join("SKILL.md")));
    }
    assert_eq!((one.questions(), two.questions()), (1, 1));
}
