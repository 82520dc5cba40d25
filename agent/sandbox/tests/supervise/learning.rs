//! A real command is learned from, and its profile is what it used.

use std::path::PathBuf;
use std::sync::Arc;

use defenseclaw_sandbox::learn::{Mode, Places, Recorder, synthesise};

use crate::harness::{Run, folder};

#[test]
fn a_shell_command_is_learned() {
    let (project, home) = (folder(), folder());
    for name in ["a", "b", "c"] {
        std::fs::create_dir_all(project.path().join("src")).unwrap();
        std::fs::write(project.path().join("src").join(name), name).unwrap();
    }
    std::fs::create_dir(project.path().join("out")).unwrap();
    std::fs::write(project.path().join("log"), "").unwrap();
    std::fs::write(home.path().join(".settings"), "x").unwrap();
    std::os::unix::fs::symlink(home.path().join(".settings"), project.path().join("settings")).unwrap();
    let recorder = Arc::new(Recorder::default());
    let script =
        "cat src/a src/b src/c settings > out/all; echo done >> log; cat /etc/hostname >/dev/null; :";
    let run = Run {
        command: vec!["/bin/sh", "-c", script],
        judge: recorder.clone(),
        ..Run::new("", project.path())
    };
    assert_eq!(run.done().status, 0);
    assert_eq!(
        std::fs::read_to_string(project.path().join("out/all")).unwrap(),
        "abcx"
    );
    let places = Places {
        project: project.path().into(),
        home: home.path().into(),
        system: ["/usr", "/lib", "/etc/ld.so.cache", "/dev/null"]
            .map(PathBuf::from)
            .to_vec(),
        ..Places::default()
    };
    let learned = synthesise(&recorder.record(), &places, "cats", "strict");
    let strings = |set: &std::collections::BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
    assert_eq!(
        strings(&learned.profile.files.read),
        ["/etc/hostname", "{home}/.settings", "{project}/src"]
    );
    assert_eq!(
        strings(&learned.profile.files.write),
        ["{project}/log", "{project}/out"]
    );
    assert_eq!(learned.profile.network.mode, Mode::None);
    assert!(
        learned.profile.summary.contains("/cat"),
        "{}",
        learned.profile.summary
    );
    println!("{}", learned.to_yaml().unwrap());
}
