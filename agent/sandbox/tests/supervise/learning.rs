//! Real commands: they work under a supervisor, and a profile learned from one is what it used.

use std::path::PathBuf;
use std::sync::Arc;

use defenseclaw_sandbox::learn::{Mode, Places, Recorder, synthesise};

use defenseclaw_testkit::{Need, require};

use crate::harness::{Everything, Run, folder};

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

/// Programs of everyday work, with all their threads, locks, pipes and temporary files.
#[test]
fn everyday_programs_work() {
    let scripts: [(&str, &str); 6] = [
        (
            "git",
            "git init -q repo && cd repo && echo x > f && git add f && git -c user.name=a -c user.email=a@b commit -qm m && git log --oneline | grep -q m && git gc -q",
        ),
        (
            "cc",
            "printf 'int main(void){return 0;}' > a.c && cc -o a a.c && ./a",
        ),
        (
            "python3",
            "python3 -c 'import json, subprocess, threading, tempfile, multiprocessing; f = tempfile.NamedTemporaryFile(); subprocess.run([\"true\"], check=True); t = threading.Thread(target=lambda: open(\"/proc/self/status\").read()); t.start(); t.join()'",
        ),
        (
            "tar",
            "mkdir d && touch d/a d/b && tar cf d.tar d && tar tf d.tar | grep -q d/b && gzip d.tar && zcat d.tar.gz | wc -c",
        ),
        (
            "bash",
            "bash -c 'cat <(echo one) <<< two; exec 9> lock; flock -n 9; ( flock -n 9 ) 9>> lock2; diff <(echo a) <(echo a)'",
        ),
        (
            "make",
            "printf 'all: a b\\na:\\n\\techo a > a\\nb:\\n\\techo b > b\\n' > Makefile && make -s -j4 && cat a b",
        ),
    ];
    for (program, script) in scripts {
        if !require(&[Need::Program(program)]) {
            continue;
        }
        let folder = folder();
        for supervised in [false, true] {
            let place = folder.path().join(supervised.to_string());
            std::fs::create_dir(&place).unwrap();
            let run = Run {
                supervised,
                command: vec!["/bin/sh", "-ec", script],
                judge: Arc::new(Everything),
                ..Run::new("", &place)
            };
            assert_eq!(run.done().status, 0, "{program}, supervised: {supervised}");
        }
    }
}
