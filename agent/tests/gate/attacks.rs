//! How one would get hostile text past the gate, and the same done honestly.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use defenseclaw_model::gate::GateScan;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

use crate::stage::{Gateway, HOSTILE, Stage, is_kept_from, opens};

/// One stage with quarantine off: what is blocked stays where the attack left it.
fn staying() -> Option<Stage> {
    Stage::with("plain", |config| config.gate.quarantine = false)
}

#[test]
fn a_file_that_replaces_an_admitted_one_is_judged() {
    let Some(stage) = staying() else { return };
    for (name, text, goes) in [("tidy", "new", true), ("evil", HOSTILE, false)] {
        let skill = stage.install(name, "old");
        assert!(opens(&skill.join("SKILL.md")));
        let new = stage.root().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, skill.join("SKILL.md")).unwrap();
        assert_eq!(opens(&skill.join("SKILL.md")), goes);
    }
}

#[test]
fn a_folder_that_replaces_an_admitted_one_is_judged() {
    let Some(stage) = staying() else { return };
    let skill = stage.install("tidy", "old");
    assert!(opens(&skill.join("SKILL.md")));
    fs::rename(&skill, stage.root().join("away")).unwrap();
    let skill = stage.install("tidy", HOSTILE);
    assert!(!opens(&skill.join("SKILL.md")));
    // What was moved out is nobody's business any more.
    assert!(opens(&stage.root().join("away/SKILL.md")));
}

#[test]
fn times_that_are_set_back_hide_nothing() {
    let Some(stage) = staying() else { return };
    let skill = stage.install("tidy", "seven77");
    let file = skill.join("SKILL.md");
    assert!(opens(&file));
    let before = file.metadata().unwrap().modified().unwrap();
    fs::write(&file, HOSTILE).unwrap();
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(before)
        .unwrap();
    assert_eq!(file.metadata().unwrap().len(), 7);
    assert!(!opens(&file));
}

#[test]
fn another_name_of_the_file_is_held_as_well() {
    let Some(stage) = staying() else { return };
    for (name, text, goes) in [("tidy", "x", true), ("evil", HOSTILE, false)] {
        let skill = stage.install(name, text);
        let link = stage.root().join(format!("link-{name}"));
        fs::hard_link(skill.join("SKILL.md"), &link).unwrap();
        assert_eq!(opens(&link), goes);
        assert_eq!(opens(&skill.join("SKILL.md")), goes);
    }
}

#[test]
fn another_mount_of_the_place_is_held_as_well() {
    let Some(stage) = staying() else { return };
    let (tidy, evil) = (stage.install("tidy", "x"), stage.install("evil", HOSTILE));
    let there = stage.root().join("there");
    fs::create_dir(&there).unwrap();
    let see = |skill: &Path| {
        // A thread with mounts of its own.
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNS).unwrap();
                    let none = None::<&str>;
                    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
                    mount(Some(skill), &there, none, MsFlags::MS_BIND, none).unwrap();
                    opens(&there.join("SKILL.md"))
                })
                .join()
                .unwrap()
        })
    };
    assert!(!see(&evil));
    assert!(see(&tidy));
}

#[test]
fn what_is_changed_while_it_is_scanned_is_not_what_was_admitted() {
    for (text, goes) in [("harmless too", true), (HOSTILE, false)] {
        let Some(stage) = Stage::with("slow", |config| config.gate.quarantine = false) else {
            return;
        };
        let skill = stage.install("tidy", "harmless");
        let file = skill.join("SKILL.md");
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| opens(&file));
            std::thread::sleep(Duration::from_millis(150));
            fs::write(&file, text).unwrap();
            assert_eq!(reader.join().unwrap(), goes);
        });
    }
}

#[test]
fn what_is_replaced_while_it_is_scanned_is_not_read() {
    let Some(stage) = Stage::with("slow", |config| config.gate.quarantine = false) else {
        return;
    };
    let skill = stage.install("evil", HOSTILE);
    let file = skill.join("SKILL.md");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| opens(&file));
        std::thread::sleep(Duration::from_millis(50));
        // The harmless file is what a later copy would find in its place.
        let new = stage.root().join("new");
        fs::write(&new, "harmless").unwrap();
        fs::rename(&new, &file).unwrap();
        assert!(!reader.join().unwrap());
    });
    assert!(opens(&file));
}

#[test]
fn a_shared_mapping_is_no_way_to_change_what_was_admitted() {
    let Some(stage) = Stage::with("plain", |config| config.gate.timeout_ms = 700) else {
        return;
    };
    let skill = stage.install("tidy", "x");
    let file = skill.join("SKILL.md");
    let writer = fs::OpenOptions::new().read(true).write(true).open(&file).unwrap();
    let length = std::num::NonZeroUsize::new(1).unwrap();
    use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses; nobody else uses it.
    let mapped = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, &writer, 0) }.unwrap();
    drop(writer);
    assert!(!opens(&file), "the mapping may still write");
    // SAFETY: the mapping made above, unused from now on.
    unsafe { munmap(mapped, 1) }.unwrap();
    stage.wait("it was never let through", || opens(&file));
    let log = stage.log.lock().unwrap();
    assert!(
        log.records
            .iter()
            .any(|record| format!("{record:?}").contains("did not come to rest"))
    );
}

#[test]
fn a_fifo_in_a_skill_is_judged_without_being_opened() {
    let Some(stage) = Stage::new() else { return };
    let made = stage.root().join("made");
    fs::create_dir(&made).unwrap();
    nix::unistd::mkfifo(&made.join("SKILL.md"), Mode::from_bits_truncate(0o644)).unwrap();
    let skill = stage.skills().join("evil");
    fs::rename(&made, &skill).unwrap();
    // Nobody opens it: the gate looks at what it cannot hold.
    stage.until("it was not taken away", |log| !log.quarantined.is_empty());
    assert!(!skill.exists());
    let tidy = stage.install("tidy", "x");
    assert!(opens(&tidy.join("SKILL.md")) && tidy.exists());
}

#[test]
fn a_skill_behind_a_link_is_held_and_only_the_link_is_taken() {
    let Some(stage) = Stage::new() else { return };
    for (name, text) in [("tidy", "x"), ("evil", HOSTILE)] {
        let real = stage.root().join(format!("real-{name}"));
        fs::create_dir(&real).unwrap();
        fs::write(real.join("SKILL.md"), text).unwrap();
        symlink(&real, stage.skills().join(name)).unwrap();
    }
    stage.list();
    assert!(opens(&stage.skills().join("tidy/SKILL.md")));
    assert!(!opens(&stage.skills().join("evil/SKILL.md")));
    assert!(!stage.skills().join("evil").is_symlink());
    assert!(stage.root().join("real-evil/SKILL.md").exists());
    let log = stage.log.lock().unwrap();
    assert_eq!(
        log.questions[1].artifact.path,
        stage.skills().join("evil").to_string_lossy()
    );
}

#[test]
fn a_link_to_what_belongs_to_others_has_nothing_held_but_is_judged() {
    let Some(stage) = Stage::new() else { return };
    let theirs = stage.root().join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("file"), HOSTILE).unwrap();
    let made = stage.root().join("made");
    symlink(&theirs, &made).unwrap();
    std::os::unix::fs::lchown(&made, Some(1234), Some(1234)).unwrap();
    let link = stage.skills().join("evil");
    fs::rename(&made, &link).unwrap();
    stage.until("the link was not taken away", |log| !log.quarantined.is_empty());
    assert!(!link.is_symlink());
    assert!(!stage.gate().watches(&theirs) && opens(&theirs.join("file")));
}

#[test]
fn links_in_a_circle_end() {
    let Some(stage) = Stage::new() else { return };
    let skills = stage.skills();
    symlink(skills.join("b"), skills.join("a")).unwrap();
    symlink(skills.join("a"), skills.join("b")).unwrap();
    symlink(stage.root().join("home"), skills.join("up")).unwrap();
    let tidy = stage.install("tidy", "x");
    symlink("..", tidy.join("up")).unwrap();
    symlink("self", tidy.join("self")).unwrap();
    stage.list();
    assert!(opens(&tidy.join("SKILL.md")));
    let log = stage.log.lock().unwrap();
    let asked: Vec<_> = log
        .questions
        .iter()
        .filter(|asked| asked.artifact.name == "tidy")
        .collect();
    assert_eq!((asked.len(), asked[0].artifact.files), (1, 2));
    assert!(!stage.gate().watches(&stage.root()));
}

#[test]
fn folders_that_are_swapped_never_show_what_was_not_judged() {
    let Some(stage) = Stage::with("plain", |config| {
        config.gate.quarantine = false;
        config.gate.timeout_ms = 300;
    }) else {
        return;
    };
    let (tidy, evil) = (stage.install("tidy", "harmless"), stage.install("evil", HOSTILE));
    stage.wait("it was never let through", || opens(&tidy.join("SKILL.md")));
    assert!(!opens(&evil.join("SKILL.md")));
    assert!(opens(&tidy.join("SKILL.md")) && !opens(&evil.join("SKILL.md")));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let swap = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                let here = nix::fcntl::AT_FDCWD;
                nix::fcntl::renameat2(here, &tidy, here, &evil, swap).unwrap();
            }
        });
        for _ in 0..50 {
            if let Ok(text) = fs::read_to_string(tidy.join("SKILL.md")) {
                assert_eq!(text, "harmless");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn the_gates_own_names_are_no_way_in() {
    let Some(stage) = staying() else { return };
    let hidden = stage.install(".defenseclaw-q-000000000000", "x");
    assert!(!opens(&hidden.join("SKILL.md")));
    let tidy = stage.install("tidy", "x");
    assert!(opens(&tidy.join("SKILL.md")));
    assert_eq!(stage.questions(), 1);
}

#[test]
fn whoever_reads_by_an_open_for_writing_is_no_reader_of_what_is_blocked() {
    let Some(stage) = staying() else { return };
    let evil = stage.install("evil", HOSTILE).join("SKILL.md");
    assert!(!opens(&evil));
    let writes = |path: &Path| {
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(0)
            .open(path)
            .is_ok()
    };
    assert!(!writes(&evil));
    let tidy = stage.install("tidy", "x").join("SKILL.md");
    assert!(opens(&tidy) && writes(&tidy));
}

#[test]
fn what_goes_over_a_bound_is_not_admitted_unseen() {
    let Some(stage) = Stage::new() else { return };
    let huge = |name: &str| {
        let skill = stage.install(name, "x");
        fs::File::create(skill.join("weights"))
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        skill
    };
    let skill = huge("huge");
    assert!(is_kept_from(&skill.join("SKILL.md")));
    assert!(!skill.exists());
    {
        let log = stage.log.lock().unwrap();
        assert!(matches!(&log.questions[0].scan, GateScan::Failed { reason } if reason.contains("MiB")));
    }
    // Whoever answers for the policy may let it pass.
    stage.gateway(Gateway::Trusts);
    assert!(opens(&huge("trusted").join("SKILL.md")));
}
