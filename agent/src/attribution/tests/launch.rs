//! What leads into a sandbox, and whose a process is.

use super::*;
use crate::attribution::Own;

#[test]
fn a_process_is_its_session_s_however_it_was_started_and_whatever_became_of_the_session() {
    let mut scene = Scene::new();
    scene.run(200, HARNESS, "/usr/bin/bash", &["bash"]);
    scene.run(
        201,
        200,
        "/usr/bin/defenseclaw-cli",
        &["defenseclaw-cli", "approvals"],
    );
    // Its parents end, it belongs to init: the label stays.
    scene.host.processes.remove(&200);
    scene.host.processes.get_mut(&201).unwrap().process.ppid = 1;
    scene.host.spawn(300, 1, "/usr/bin/bash", &["bash"]);
    let session = Some(scene.session.clone());
    let whose = |scene: &mut Scene, pid| scene.attributor.whose(&mut scene.host, pid);
    assert_eq!(
        whose(&mut scene, 201),
        Whose::Session {
            session: session.clone()
        }
    );
    assert_eq!(whose(&mut scene, HARNESS), Whose::Session { session });
    assert_eq!(whose(&mut scene, 300), Whose::Nobody);
    assert!(matches!(whose(&mut scene, 4242), Whose::Unknown { reason } if reason.contains("4242")));

    // An attributor that never heard of the session still sees the label.
    let host = &mut scene.host;
    let strange = Attributor::new(Vec::new()).whose(host, 201);
    assert_eq!(strange, Whose::Session { session: None });

    // Another process under a pid whose label was left behind.
    host.processes.get_mut(&201).unwrap().process.id.start_ns += 1;
    assert_eq!(scene.attributor.whose(&mut scene.host, 201), Whose::Nobody);
}

/// A harness that hands its shell lines to our program: its hooks are hooks, and its calls are calls.
#[test]
fn lines_that_a_harness_hands_to_our_shell_stay_what_they_are() {
    let mut scene = Scene::new();
    let attributor = std::mem::replace(&mut scene.attributor, Attributor::new(Vec::new()));
    scene.attributor = attributor.with_own(Own {
        shells: vec![SHELL_FILE],
        launchers: vec![LAUNCHER_FILE],
        tools: vec![TOOL_FILE],
    });
    let (shell, hook) = ("/usr/bin/defenseclaw-shell", "/usr/bin/defenseclaw-hook");
    let line = "/usr/bin/defenseclaw-shell '/usr/bin/defenseclaw-hook claude-code'";
    assert_eq!(
        scene.run(500, HARNESS, "/usr/bin/dash", &["/bin/sh", "-c", line]),
        None
    );
    scene.host.spawn(501, 500, "/usr/bin/dash", &["/bin/sh"]);
    let arguments = [shell, "/usr/bin/defenseclaw-hook claude-code"];
    assert_eq!(scene.exec(501, shell, &arguments), None);
    assert_eq!(scene.exec(501, hook, &[hook, "--shell", "claude-code"]), None);
    let declared = CallKind::Command {
        command: "make all".into(),
        background: false,
    };
    let call = declaration("t1", declared, Facts::default());
    let binding = scene
        .attributor
        .register(&mut scene.host, &scene.session, 501, Some(call), false);
    assert_eq!(binding, Binding::Bound);

    let inner = "source /s && eval 'make all' < /dev/null && pwd -P >| /tmp/claude-1-cwd";
    let outer = format!("{shell} '{}'", inner.replace('\'', "'\"'\"'"));
    let bash = scene
        .run(600, HARNESS, "/usr/bin/bash", &["/bin/bash", "-c", &outer])
        .unwrap();
    assert_eq!(bash.attribution.basis, Basis::Argv);
    let launcher = "/usr/bin/defenseclaw-cli";
    let tool = "/usr/lib/defenseclaw/defenseclaw-cli";
    let steps: [(&str, &[&str]); 5] = [
        (shell, &[shell, inner]),
        (launcher, &[launcher, "run", "--", "/bin/bash", "-c", inner]),
        (tool, &[tool, "run", "--", "/bin/bash", "-c", inner]),
        ("/usr/bin/bash", &["/bin/bash", "-c", inner]),
        ("/usr/bin/make", &["make", "all"]),
    ];
    for (path, argv) in steps {
        let attribution = scene.exec(600, path, argv).unwrap().attribution;
        assert_eq!(
            attribution.call.as_ref().map(|call| call.as_str()),
            Some("t1"),
            "{path}"
        );
        assert_ne!(attribution.explained, Explained::Unexplained, "{path}");
        let read = scene.open(600, "/etc/shadow", FileAccess::Read);
        assert_eq!(
            read.is_none(),
            path == launcher || path == tool,
            "{path}: what the launcher tries is no act of the call"
        );
    }
    // The person's own hook, handed over likewise, is nobody's call.
    let own = "/usr/bin/defenseclaw-shell 'prettier --write .'";
    let stranger = scene
        .run(700, HARNESS, "/usr/bin/dash", &["/bin/sh", "-c", own])
        .unwrap();
    assert_eq!(stranger.attribution.call, None);
}

/// A launcher that an agent starts could have been made to run something else first: what it opens is told.
#[test]
fn a_launcher_that_an_agent_starts_is_watched_like_any_program() {
    let launcher = "/usr/bin/defenseclaw-cli";
    for (number, command) in [
        "LD_PRELOAD=/tmp/x.so /usr/bin/defenseclaw-cli run -- ls",
        "true && /usr/bin/defenseclaw-cli run -- ls",
        "/usr/bin/defenseclaw-cli inspect --jsonl",
    ]
    .into_iter()
    .enumerate()
    {
        let mut scene = Scene::new();
        scene.attributor =
            std::mem::replace(&mut scene.attributor, Attributor::new(Vec::new())).with_own(Own {
                shells: vec![SHELL_FILE],
                launchers: vec![LAUNCHER_FILE],
                tools: vec![TOOL_FILE],
            });
        scene.command("t1", command, Facts::default());
        let pid = 600 + number as u32;
        scene
            .run(pid, HARNESS, "/usr/bin/bash", &["/bin/bash", "-c", command])
            .unwrap();
        let argv: Vec<&str> = command
            .split("defenseclaw-cli ")
            .nth(1)
            .unwrap()
            .split(' ')
            .collect();
        scene
            .exec(pid, launcher, &[&[launcher][..], &argv].concat())
            .unwrap();
        assert!(
            scene.open(pid, "/etc/shadow", FileAccess::Read).is_some(),
            "{command}"
        );
    }
}
