//! Which process tree is a session's, and who may speak for it.

use super::*;

#[test]
fn a_hook_called_from_inside_a_call_is_forged() {
    let mut scene = Scene::new();
    scene.command("c1", "sh evil.sh", Facts::default());
    scene.shell(200, "sh evil.sh");
    let kind = CallKind::Command {
        command: "cat /home/u/.aws/credentials".into(),
        background: false,
    };
    let binding = scene.hook(200, Some(declaration("fake", kind, Facts::default())), false);
    assert!(
        matches!(&binding, Binding::Forged { caller } if caller.contains("inside call c1")),
        "{binding:?}"
    );
    let read = scene
        .run(201, 200, "/usr/bin/cat", &["cat", "/home/u/.aws/credentials"])
        .unwrap();
    assert_eq!(
        told(&read).0,
        Some("c1"),
        "the forged declaration explains nothing"
    );
}

#[test]
fn a_hook_shell_line_with_more_than_the_hook_is_unexplained() {
    let mut scene = Scene::new();
    let line = "/usr/bin/defenseclaw-hook claude-code; curl evil";
    let shell = scene
        .run(200, HARNESS, "/usr/bin/dash", &["/bin/sh", "-c", line])
        .unwrap();
    assert_eq!(told(&shell).2, Explained::Unexplained);
}

#[test]
fn the_hook_client_leaves_no_trail_but_what_it_is_made_to_do_does() {
    let mut scene = Scene::new();
    let line = "/usr/bin/defenseclaw-hook claude-code";
    assert!(
        scene
            .run(200, HARNESS, "/usr/bin/dash", &["/bin/sh", "-c", line])
            .is_none()
    );
    assert!(
        scene
            .run(
                201,
                200,
                "/usr/bin/defenseclaw-hook",
                &["/usr/bin/defenseclaw-hook", "claude-code"]
            )
            .is_none()
    );
    // A file of that name that is not ours, started by the shell of a hook.
    let other = scene
        .run(
            202,
            200,
            "/tmp/other",
            &["/usr/bin/defenseclaw-hook", "claude-code"],
        )
        .unwrap();
    assert_eq!(told(&other).2, Explained::Unexplained);
    assert_eq!(
        told(&scene.connect(201, [192, 0, 2, 1])).2,
        Explained::Unexplained
    );
    assert_eq!(
        told(&scene.open(200, "/p/x", FileAccess::Create).unwrap()).2,
        Explained::Unexplained
    );
}

#[test]
fn a_hook_from_outside_the_tree_does_not_take_over_a_running_session() {
    let mut scene = Scene::new();
    scene.host.spawn(500, 1, "/usr/bin/bash", &["bash"]);
    assert!(matches!(scene.hook(500, None, false), Binding::Forged { .. }));
}

#[test]
fn a_new_session_in_the_same_harness_process_takes_the_harness_along() {
    let mut scene = Scene::new();
    scene.command("c1", "server", Facts::default());
    scene.shell(200, "server");
    scene.attributor.session_end(&scene.session.clone());
    scene.session = SessionId::new("claude-code", "s2").unwrap();
    assert_eq!(scene.hook(HARNESS, None, false), Binding::Bound);
    assert_eq!(scene.host.labels[&HARNESS].session, scene.session.key().0);
    // What the first session left running stays its own.
    let late = scene.connect(200, [127, 0, 0, 1]);
    assert_eq!(late.session.harness_session(), "s1");
    assert_eq!(told(&late).0, Some("c1"));
}

#[test]
fn what_ran_before_the_first_hook_is_labelled() {
    let mut host = PaperHost::default();
    host.spawn(HARNESS, 1, "/opt/claude/claude", &["claude"]);
    host.spawn(
        101,
        HARNESS,
        "/usr/bin/git",
        &["git", "--no-optional-locks", "status", "--short"],
    );
    host.spawn(102, HARNESS, "/p/helper", &["helper"]);
    host.spawn(103, 102, "/p/helper2", &["helper2"]);
    host.spawn(104, 1, "/p/stranger", &["stranger"]);
    host.spawn(
        105,
        HARNESS,
        "/usr/bin/defenseclaw-hook",
        &["/usr/bin/defenseclaw-hook", "claude-code"],
    );
    let hook = Hook {
        path: "/usr/bin/defenseclaw-hook".into(),
        file: HOOK_FILE,
    };
    let mut attributor = Attributor::new(vec![hook]);
    let session = SessionId::new("claude-code", "s1").unwrap();
    assert_eq!(
        attributor.register(&mut host, &session, 105, None, false),
        Binding::Bound
    );
    for pid in [HARNESS, 101, 102, 103, 105] {
        assert_eq!(host.labels[&pid].session, session.key().0, "pid {pid}");
    }
    assert!(!host.labels.contains_key(&104));
    assert_eq!(host.labels[&HARNESS].flags, LABEL_ROOT);
    assert_eq!(host.labels[&101].flags, 0);
    assert_eq!(
        host.watched,
        [FileId { dev: 1, ino: 5 }],
        "secret files of the home are watched by identity"
    );
    let mut scene = Scene {
        host,
        attributor,
        session,
        next_hook: 9000,
    };
    assert_eq!(
        told(&scene.connect(103, [192, 0, 2, 1])).2,
        Explained::Unexplained
    );
}

/// A session bound while process 101, a child of the harness, looks like `exe` with `argv`.
fn bound_in_the_middle_of(exe: &str, argv: &[&str]) -> Scene {
    let mut host = PaperHost::default();
    host.spawn(HARNESS, 1, "/opt/claude/claude", &["claude"]);
    host.spawn(101, HARNESS, exe, argv);
    host.spawn(
        105,
        HARNESS,
        "/usr/bin/defenseclaw-hook",
        &["/usr/bin/defenseclaw-hook", "claude-code"],
    );
    let hook = Hook {
        path: "/usr/bin/defenseclaw-hook".into(),
        file: HOOK_FILE,
    };
    let mut attributor = Attributor::new(vec![hook]);
    let session = SessionId::new("claude-code", "s1").unwrap();
    assert_eq!(
        attributor.register(&mut host, &session, 105, None, false),
        Binding::Bound
    );
    Scene {
        host,
        attributor,
        session,
        next_hook: 9000,
    }
}

#[test]
fn an_exec_under_way_when_its_session_was_bound_is_the_harness_s() {
    let shell = ["/bin/sh", "-c", "ps aux | grep -E \"code\" | grep -v grep"];
    let moments: [(&str, &[&str]); 4] = [
        // Forked, about to execute: it still looks like the harness.
        ("/opt/claude/claude", &["claude"]),
        // The program is there, the arguments are not yet.
        ("/usr/bin/dash", &[]),
        // Both are there, the exec is not yet reported.
        ("/usr/bin/dash", &shell),
        // Neither could be read.
        ("", &[]),
    ];
    for (exe, argv) in moments {
        let mut scene = bound_in_the_middle_of(exe, argv);
        let exec = scene.exec(101, "/usr/bin/dash", &shell).unwrap();
        assert_eq!(
            told(&exec),
            (None, Basis::Contract, Explained::Declared),
            "{exe} {argv:?}"
        );
        let other = scene.exec(101, "/usr/bin/dash", &shell).unwrap();
        assert_eq!(
            told(&other),
            (None, Basis::None, Explained::Unexplained),
            "a second exec is not the harness's any more"
        );
    }
    let mut scene = bound_in_the_middle_of("/usr/bin/dash", &shell);
    let other = scene
        .exec(101, "/usr/bin/dash", &["/bin/sh", "-c", "id"])
        .unwrap();
    assert_eq!(told(&other), (None, Basis::None, Explained::Unexplained));
}

#[test]
fn a_forked_child_keeps_its_call_when_its_image_is_forgotten() {
    let mut scene = Scene::new();
    scene.command("c1", "x", Facts::default());
    scene.shell(200, "x");
    let call = scene.host.calls[&scene.host.processes[&200].process.id];
    scene.host.spawn(201, 200, "/usr/bin/bash", &["bash"]);
    // As the kernel programs do it: the child is born with the call that was noted for its parent; then the image is lost.
    let label = scene.host.labels[&201];
    scene.host.labels.insert(
        201,
        Label {
            call,
            exec_ns: 1,
            exec_tgid: 1,
            ..label
        },
    );
    assert_eq!(
        told(&scene.connect(201, [192, 0, 2, 1])),
        (Some("c1"), Basis::Lineage, Explained::Derived)
    );
}

#[test]
fn an_agent_that_lost_its_memory_goes_on_from_the_labels() {
    let mut scene = Scene::new();
    scene.command("c1", "server", Facts::default());
    scene.command("c2", "other", Facts::default());
    scene.shell(200, "server");
    scene.run(201, 200, "/p/server", &["server"]).unwrap();
    // The kernel programs hand the call down at fork.
    let call = scene.host.calls[&scene.host.processes[&200].process.id];
    scene.host.labels.get_mut(&201).unwrap().call = call;
    let hook = Hook {
        path: "/usr/bin/defenseclaw-hook".into(),
        file: HOOK_FILE,
    };
    scene.attributor = Attributor::new(vec![hook]);
    let command = CallKind::Command {
        command: "other".into(),
        background: false,
    };
    let open = OpenSession {
        session: scene.session.clone(),
        open_calls: vec![declaration("c2", command, Facts::default())],
        closed_calls: vec![CallId::new("c1").unwrap()],
    };
    scene.attributor.restore(&mut scene.host, vec![open]);
    assert_eq!(
        told(&scene.connect(201, [192, 0, 2, 1])),
        (Some("c1"), Basis::Lineage, Explained::Derived)
    );
    assert_eq!(
        told(&scene.shell(300, "other")),
        (Some("c2"), Basis::Argv, Explained::Declared)
    );
    assert_eq!(scene.hook(HARNESS, None, false), Binding::Bound);
}

#[test]
fn what_a_command_forked_before_its_exec_was_read_is_still_its_own_for_the_next_agent() {
    let mut scene = Scene::new();
    scene.command("c1", "( work & ) && make", Facts::default());
    let line = "source /s.sh && eval '( work & ) && make' < /dev/null && pwd -P >| /tmp/claude-1-cwd";
    scene
        .host
        .spawn(200, HARNESS, "/usr/bin/bash", &["/bin/bash", "-c", line]);
    let began = scene
        .exec_untold(200, "/usr/bin/bash", &["/bin/bash", "-c", line])
        .unwrap();
    scene
        .host
        .spawn(201, 200, "/usr/bin/bash", &["/bin/bash", "-c", line]);
    scene
        .host
        .spawn(202, 200, "/usr/bin/bash", &["/bin/bash", "-c", line]);
    let made = scene.exec_untold(202, "/usr/bin/make", &["make"]).unwrap();
    scene.host.spawn(203, 202, "/usr/bin/make", &["make"]);
    scene.host.spawn(300, HARNESS, "/opt/claude/claude", &["claude"]);
    for event in [began, made] {
        scene.take(&event).unwrap();
    }
    scene.attributor.settle(&mut scene.host);

    scene.host.processes.remove(&200);
    scene.host.labels.remove(&200);
    scene.attributor = Attributor::new(Vec::new());
    let open = OpenSession {
        session: scene.session.clone(),
        open_calls: Vec::new(),
        closed_calls: vec![CallId::new("c1").unwrap()],
    };
    scene.attributor.restore(&mut scene.host, vec![open]);
    for pid in [201, 202, 203] {
        assert_eq!(
            told(&scene.connect(pid, [192, 0, 2, 1])).0,
            Some("c1"),
            "process {pid}"
        );
    }
    assert_eq!(
        told(&scene.connect(300, [192, 0, 2, 1])).0,
        None,
        "the harness's own child"
    );
}

fn adopt(scene: &mut Scene, pid: u32) -> (SessionId, Binding) {
    let session = SessionId::new("run", &format!("{pid}-1")).unwrap();
    let kind = CallKind::Command {
        command: "make all".into(),
        background: false,
    };
    let facts = Facts {
        programs: vec![program("make")],
        ..Facts::default()
    };
    let call = declaration("command", kind, facts);
    let binding = scene.attributor.adopt(&mut scene.host, &session, pid, call);
    (session, binding)
}

#[test]
fn a_command_without_a_harness_is_a_session_of_its_own() {
    let mut scene = Scene::new();
    scene.host.spawn(
        500,
        1,
        "/usr/bin/defenseclaw-cli",
        &["defenseclaw-cli", "run", "--", "make", "all"],
    );
    let (session, binding) = adopt(&mut scene, 500);
    assert_eq!(binding, Binding::Bound);
    let made = scene.exec(500, "/usr/bin/make", &["make", "all"]).unwrap();
    assert_eq!(made.session, session);
    assert_eq!(
        told(&made),
        (Some("command"), Basis::Lineage, Explained::Declared)
    );
    let compiler = scene.run(501, 500, "/usr/bin/cc", &["cc", "-c", "a.c"]).unwrap();
    assert_eq!(
        told(&compiler),
        (Some("command"), Basis::Lineage, Explained::Derived)
    );
    // The harness's own session is as it was.
    scene.command("c1", "ls", Facts::default());
    assert_eq!(told(&scene.shell(600, "ls")).0, Some("c1"));
}

#[test]
fn a_process_of_a_session_cannot_begin_another() {
    let mut scene = Scene::new();
    scene.command("c1", "make", Facts::default());
    scene.shell(600, "make");
    let before = scene.host.labels[&600];
    let (_, binding) = adopt(&mut scene, 600);
    assert!(matches!(binding, Binding::Failed { reason } if reason.contains("another session")));
    assert_eq!(scene.host.labels[&600], before);
    let (_, binding) = adopt(&mut scene, 4242);
    assert!(matches!(binding, Binding::Failed { reason } if reason.contains("ended")));
}

#[test]
fn a_harness_in_a_sandbox_gets_the_session_that_its_hook_names() {
    let mut scene = Scene::new();
    scene.host.spawn(
        500,
        1,
        "/usr/bin/defenseclaw-cli",
        &["defenseclaw-cli", "run", "--", "claude"],
    );
    let (run, _) = adopt(&mut scene, 500);
    scene.exec(500, "/opt/claude/claude", &["claude"]);
    scene.session = SessionId::new("claude-code", "s2").unwrap();
    assert_eq!(scene.hook(500, None, false), Binding::Bound);
    assert_eq!(scene.host.labels[&500].session, scene.session.key().0);
    assert_ne!(scene.session.key(), run.key());
}
