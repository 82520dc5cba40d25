//! What the gate does for those who mean no harm, and with what is hostile.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use defenseclaw_model::decision::Mode;
use defenseclaw_model::gate::{GateScan, GateScope, QuarantineOutcome, QuarantineVerb};
use defenseclaw_model::wire::Tier;

use crate::stage::{Gateway, HOSTILE, Stage, is_kept_from, opens};

#[test]
fn an_open_waits_for_admission_and_asks_once() {
    let Some(stage) = Stage::new() else { return };
    let skill = stage.install("tidy", "# Tidy\n");
    assert_eq!(fs::read_to_string(skill.join("SKILL.md")).unwrap(), "# Tidy\n");
    assert!(opens(&skill.join("run.sh")) && opens(&skill.join("SKILL.md")));
    assert_eq!(stage.questions(), 1);
    let log = stage.log.lock().unwrap();
    let question = &log.questions[0];
    assert_eq!(
        (question.artifact.name.as_str(), question.artifact.files),
        ("tidy", 2)
    );
    assert_eq!(question.artifact.path, skill.to_string_lossy());
    assert_eq!(
        question.artifact.digest,
        defenseclaw_artifact::Manifest::of(&skill).unwrap().digest()
    );
    assert_eq!(
        question.opener,
        std::env::current_exe().unwrap().to_string_lossy()
    );
    assert!(matches!(&question.scan, GateScan::Report { json } if json.contains("\"hostile\":false")));
    assert_eq!(stage.gate().family().tier, Tier::Fanotify);
}

#[test]
fn what_is_blocked_is_refused_taken_away_and_can_be_put_back() {
    let Some(stage) = Stage::new() else { return };
    let skill = stage.install("evil", HOSTILE);
    assert!(!opens(&skill.join("SKILL.md")));
    assert!(!skill.exists());
    assert_eq!(fs::read_dir(stage.skills()).unwrap().count(), 0);
    stage.until("it was not told", |log| !log.quarantined.is_empty());
    let QuarantineOutcome::Done { entries } = stage.obey(QuarantineVerb::List) else {
        panic!()
    };
    assert_eq!((entries.len(), entries[0].artifact.name.as_str()), (1, "evil"));
    // What is put back is judged again when it is opened.
    let id = entries[0].id.clone();
    stage.obey(QuarantineVerb::Restore { id });
    stage.list();
    assert!(skill.join("SKILL.md").exists());
    assert!(is_kept_from(&skill.join("SKILL.md")));
    assert!(!skill.exists());
}

#[test]
fn without_quarantine_it_stays_and_every_open_is_refused() {
    let Some(stage) = Stage::with("plain", |config| config.gate.quarantine = false) else {
        return;
    };
    let (evil, tidy) = (stage.install("evil", HOSTILE), stage.install("tidy", "x"));
    for _ in 0..3 {
        assert!(
            !opens(&evil.join("SKILL.md")) && !opens(&evil.join("run.sh")) && opens(&tidy.join("run.sh"))
        );
    }
    assert_eq!(stage.questions(), 2);
    // Whoever has it may still remove it.
    fs::remove_dir_all(&evil).unwrap();
}

#[test]
fn an_execution_waits_too() {
    let Some(stage) = Stage::with("plain", |config| config.gate.quarantine = false) else {
        return;
    };
    let run = |name: &str, text: &str| {
        let skill = stage.install(name, text);
        fs::copy("/bin/true", skill.join("program")).unwrap();
        loop {
            match Command::new(skill.join("program")).status() {
                // A child that another test is starting still holds the descriptor that wrote the program.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {}
                other => return other,
            }
        }
    };
    assert!(run("tidy", "x").unwrap().success());
    assert_eq!(
        run("evil", HOSTILE).unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
}

#[test]
fn what_was_changed_is_judged_anew() {
    let Some(stage) = Stage::new() else { return };
    let skill = stage.install("tidy", "x");
    assert!(opens(&skill.join("SKILL.md")));
    fs::write(skill.join("SKILL.md"), "another text").unwrap();
    assert!(opens(&skill.join("SKILL.md")));
    assert_eq!(stage.questions(), 2);
    fs::write(skill.join("new.md"), "a new file").unwrap();
    assert!(opens(&skill.join("new.md")) && opens(&skill.join("SKILL.md")));
    assert_eq!(stage.questions(), 3);
    fs::write(skill.join("SKILL.md"), HOSTILE).unwrap();
    assert!(!opens(&skill.join("SKILL.md")));
}

#[test]
fn a_new_revision_asks_again_without_a_scan() {
    let Some(stage) = Stage::with("plain", |config| config.gate.quarantine = false) else {
        return;
    };
    let skill = stage.install("tidy", "x");
    assert!(opens(&skill.join("SKILL.md")));
    stage.gateway(Gateway::Blocks);
    assert!(
        opens(&skill.join("SKILL.md")),
        "the answer holds under its revision"
    );
    let revision = |revision| GateScope {
        revision,
        ..GateScope::default()
    };
    stage.gate().scope(revision(1));
    assert!(!opens(&skill.join("SKILL.md")));
    stage.gateway(Gateway::Judges);
    stage.gate().scope(revision(2));
    assert!(opens(&skill.join("SKILL.md")));
    assert_eq!(stage.questions(), 3);
}

#[test]
fn who_installs_is_not_held() {
    let Some(stage) = Stage::new() else { return };
    stage.gateway(Gateway::Blocks);
    let skill = stage.skills().join("tidy");
    fs::create_dir(&skill).unwrap();
    for n in 0..20 {
        let path = skill.join(format!("{n}.md"));
        fs::write(&path, "first").unwrap();
        // The second time it is not empty any more.
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, b"second").unwrap();
    }
    stage.list();
    assert_eq!(stage.questions(), 0);
    assert!(!opens(&skill.join("3.md")));
}

#[test]
fn a_place_that_comes_into_being_is_governed() {
    let Some(stage) = Stage::new() else { return };
    let home = stage.root().join("home");
    let place = home.join(".gemini/extensions");
    let made = stage.root().join("made");
    fs::create_dir_all(made.join("evil")).unwrap();
    fs::write(made.join("evil/x.js"), HOSTILE).unwrap();
    fs::create_dir_all(&place).unwrap();
    // Until the new folder has its mark nothing tells of what is opened in it.
    stage.wait("the new place was not marked", || {
        fs::read_dir(&place).unwrap().for_each(drop);
        stage.gate().watches(&place)
    });
    fs::rename(made.join("evil"), place.join("evil")).unwrap();
    fs::read_dir(&place).unwrap().for_each(drop);
    assert!(!opens(&place.join("evil/x.js")));
    let log = stage.log.lock().unwrap();
    assert_eq!(log.questions[0].artifact.connector, "gemini-cli");
}

#[test]
fn a_project_is_governed_once_the_gateway_names_it() {
    let Some(stage) = Stage::new() else { return };
    let project = stage.root().join("project");
    fs::create_dir_all(project.join(".claude/commands")).unwrap();
    let evil = project.join(".claude/commands/evil.md");
    fs::write(&evil, HOSTILE).unwrap();
    assert!(opens(&evil));
    stage.gate().scope(GateScope {
        projects: vec![project.to_string_lossy().into_owned()],
        ..GateScope::default()
    });
    stage.wait("the project was not marked", || {
        stage.gate().watches(&project.join(".claude/commands"))
    });
    assert!(!opens(&evil));
    assert!(!evil.exists());
}

#[test]
fn settings_that_hold_more_than_servers_are_told_and_never_refused() {
    let Some(stage) = Stage::new() else { return };
    let home = stage.root().join("home");
    stage.gateway(Gateway::Blocks);
    let settings = home.join(".claude.json");
    fs::write(&settings, "{}").unwrap();
    assert!(opens(&settings));
    stage.until("it was not asked about", |log| log.questions.len() == 1);
    assert!(opens(&settings));
    let servers = home.join(".cursor/mcp.json");
    fs::write(&servers, "{}").unwrap();
    assert!(!opens(&servers));
    assert!(settings.exists() && servers.exists(), "no settings are moved");
    // Its neighbours are nobody's business.
    fs::write(home.join(".bashrc"), "x").unwrap();
    assert!(opens(&home.join(".bashrc")));
}

#[test]
fn where_nothing_is_enforced_nothing_is_refused() {
    for configured in [true, false] {
        let change = |config: &mut defenseclaw_model::config::Config| {
            if configured {
                config.mode = Mode::Observe;
            }
        };
        let Some(stage) = Stage::with("plain", change) else {
            return;
        };
        stage.gateway(Gateway::Observes);
        let skill = stage.install("evil", HOSTILE);
        for _ in 0..3 {
            assert!(opens(&skill.join("SKILL.md")));
        }
        stage.until("it was not judged", |log| !log.questions.is_empty());
        assert!(opens(&skill.join("run.sh")) && skill.exists());
        assert_eq!(stage.log.lock().unwrap().quarantined.len(), 0);
    }
}

#[test]
fn owners_are_kept_and_the_state_is_roots() {
    let Some(stage) = Stage::new() else { return };
    let skill = stage.install("evil", HOSTILE);
    std::os::unix::fs::chown(skill.join("SKILL.md"), Some(1234), Some(1234)).unwrap();
    assert!(!opens(&skill.join("SKILL.md")));
    let store = stage.root().join("state/quarantine").metadata().unwrap();
    assert_eq!((store.uid(), store.mode() & 0o777), (0, 0o700));
    let QuarantineOutcome::Done { entries } = stage.obey(QuarantineVerb::List) else {
        panic!()
    };
    stage.gateway(Gateway::Trusts);
    stage.obey(QuarantineVerb::Restore {
        id: entries[0].id.clone(),
    });
    assert_eq!(skill.join("SKILL.md").metadata().unwrap().uid(), 1234);
}
