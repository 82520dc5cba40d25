//! The small program in the tool's place: what it does itself, and what it hands over.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// Stands for the whole tool: tells how it was called.
const TOOL: &str = r#"#!/bin/sh
echo "tool: $*"
echo "preload=$LD_PRELOAD audit=$LD_AUDIT libraries=$LD_LIBRARY_PATH kept=$DEFENSECLAW_LD_LIBRARY_PATH"
exit 7
"#;

fn run(front: &Path, arguments: &[&str]) -> Output {
    Command::new(front)
        .args(arguments)
        .current_dir(front.parent().unwrap())
        .env("DEFENSECLAW_SOCKET", front.with_file_name("no.sock"))
        .env("LD_LIBRARY_PATH", "/nowhere/lib")
        // A library that is not there is only warned of by programs that load any.
        .env("LD_AUDIT", "/nowhere/audit.so")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

// One test: a program cannot be executed while a sibling's child still has it open for writing.
#[test]
fn run_is_done_here_and_everything_else_by_the_tool() {
    let home = std::env::var_os("HOME").unwrap();
    let folder = tempfile::Builder::new()
        .prefix("dc-front-")
        .tempdir_in(home)
        .unwrap();
    let front = folder.path().join("defenseclaw-cli");
    fs::copy(env!("CARGO_BIN_EXE_defenseclaw-run"), &front).unwrap();

    let missing = run(&front, &["status"]);
    assert_eq!(missing.status.code(), Some(127));
    let said = text(&missing.stderr);
    assert!(
        said.contains("lib/defenseclaw/defenseclaw-cli") && said.contains("Install"),
        "{said}"
    );

    // Without the tool, too.
    let own = run(
        &front,
        &[
            "run",
            "--",
            "/bin/sh",
            "-c",
            "echo \"in $LD_LIBRARY_PATH\"; exit 5",
        ],
    );
    assert_eq!(
        (own.status.code(), text(&own.stdout).as_str()),
        (Some(5), "in /nowhere/lib\n"),
        "{own:?}"
    );
    let unknown = run(&front, &["run", "--profile", "made-up", "--", "true"]);
    assert_eq!(unknown.status.code(), Some(125));
    assert!(text(&unknown.stderr).contains("made-up"), "{unknown:?}");

    let tool = folder.path().join("lib/defenseclaw-cli");
    fs::create_dir(tool.parent().unwrap()).unwrap();
    fs::write(&tool, TOOL).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    for arguments in [
        &["status", "--json"][..],
        &["--help"],
        &["run", "--help"],
        &["run", "--no-such-option"],
        &["run", "--supervise", "--", "true"],
        &["run", "--profile", "network-allowlist", "--", "true"],
        &[],
    ] {
        let handed = run(&front, arguments);
        let told = text(&handed.stdout);
        assert_eq!(handed.status.code(), Some(7), "{arguments:?}: {handed:?}");
        assert!(
            told.starts_with(&format!("tool: {}\n", arguments.join(" "))),
            "{arguments:?}: {told}"
        );
        assert!(
            told.ends_with("preload= audit= libraries= kept=/nowhere/lib\n"),
            "{arguments:?}: {told}"
        );
    }
    // What the tool hands on to the command is as it was.
    let whole = Command::new(&front)
        .args([
            "run",
            "--",
            "/bin/sh",
            "-c",
            "echo \"$LD_LIBRARY_PATH|$DEFENSECLAW_LD_LIBRARY_PATH\"",
        ])
        .current_dir(folder.path())
        .env("DEFENSECLAW_LD_LIBRARY_PATH", "/kept")
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap();
    assert_eq!(text(&whole.stdout), "/kept|\n", "{whole:?}");
}
