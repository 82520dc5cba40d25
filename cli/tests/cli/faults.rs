//! What cannot be done says so, says what to do, and exits as promised; and every help text.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use crate::common::{Answer, Host};
use crate::story;

#[test]
fn help_is_complete() {
    let host = Host::new();
    let commands: [&[&str]; 51] = [
        &["--help"],
        &["setup", "--help"],
        &["teardown", "--help"],
        &["doctor", "--help"],
        &["doctor", "bundle", "--help"],
        &["status", "--help"],
        &["audit", "--help"],
        &["audit", "tail", "--help"],
        &["audit", "query", "--help"],
        &["audit", "show", "--help"],
        &["audit", "verify", "--help"],
        &["audit", "export", "--help"],
        &["session", "--help"],
        &["session", "list", "--help"],
        &["session", "show", "--help"],
        &["approvals", "--help"],
        &["approvals", "list", "--help"],
        &["approvals", "approve", "--help"],
        &["approvals", "deny", "--help"],
        &["approvals", "grants", "--help"],
        &["approvals", "revoke", "--help"],
        &["inspect", "--help"],
        &["explain", "--help"],
        &["artifact", "--help"],
        &["artifact", "manifest", "--help"],
        &["artifact", "keygen", "--help"],
        &["artifact", "sign", "--help"],
        &["artifact", "verify", "--help"],
        &["gate", "--help"],
        &["gate", "list", "--help"],
        &["gate", "show", "--help"],
        &["gate", "restore", "--help"],
        &["gate", "release", "--help"],
        &["gate", "delete", "--help"],
        &["gate", "status", "--help"],
        &["gate", "allow", "--help"],
        &["gate", "block", "--help"],
        &["gate", "lists", "--help"],
        &["gate", "forget", "--help"],
        &["run", "--help"],
        &["sandbox", "--help"],
        &["sandbox", "list", "--help"],
        &["sandbox", "show", "--help"],
        &["sandbox", "validate", "--help"],
        &["sandbox", "learn", "--help"],
        &["sandbox", "diff", "--help"],
        &["policy", "--help"],
        &["policy", "check", "--help"],
        &["policy", "validate", "--help"],
        &["policy", "test", "--help"],
        &["policy", "reload", "--help"],
    ];
    let mut whole = String::new();
    for command in commands {
        let help = host.run(command).done();
        if command.len() == 3 || ["status", "inspect", "explain"].contains(&command[0]) {
            assert!(help.contains("Examples:"), "{command:?}: {help}");
        }
        whole.push_str(&format!("$ defenseclaw-cli {}\n{help}\n", command.join(" ")));
    }
    insta::assert_snapshot!("help", whole);
}

#[test]
fn usage_errors_exit_2() {
    let host = Host::new();
    story::tell(&host);
    let commands: [&[&str]; 10] = [
        &["nonsense"],
        &["audit", "query", "--since", "yesterday"],
        &["audit", "query", "--since", "1h", "--until", "2h"],
        &["audit", "query", "--severity", "terrible"],
        &["audit", "query", "--kind", "tool-call"],
        &["audit", "query", "--call", ""],
        &["audit", "query", "--follow", "--limit", "3"],
        &["audit", "show", "0"],
        &["audit", "verify", "--head", "12"],
        &["session", "show"],
    ];
    let mut whole = String::new();
    for command in commands {
        let answer = host.run(command);
        assert_eq!(answer.status, 2, "{command:?}: {}", answer.whole());
        whole.push_str(&format!("$ {}\n{}\n", command.join(" "), answer.notes));
    }
    insta::assert_snapshot!("usage", whole);
}

#[test]
fn a_missing_ledger_exits_3_and_says_where_it_was_looked_for() {
    let host = Host::new();
    insta::assert_snapshot!("no_ledger", host.run(&["audit", "tail"]).whole());
    for command in [
        &["audit", "verify"][..],
        &["session", "list"],
        &["audit", "show", "1"],
    ] {
        assert_eq!(host.run(command).status, 3, "{command:?}");
    }
}

#[test]
fn a_file_that_is_no_ledger_exits_3() {
    let host = Host::new();
    std::fs::write(
        host.ledger(),
        "not a database, whatever it is called, and longer than a header is",
    )
    .unwrap();
    let answer = host.run(&["audit", "tail"]);
    assert_eq!(answer.status, 3, "{}", answer.whole());
    assert!(answer.notes.contains("/state/ledger.db"), "{}", answer.notes);
    std::fs::remove_file(host.ledger()).unwrap();
    std::fs::create_dir(host.ledger()).unwrap();
    assert_eq!(host.run(&["audit", "tail"]).status, 3);
}

/// The command as a user without rights. Root would be let in everywhere, so a root test run steps down.
pub(crate) fn as_nobody(host: &Host, arguments: &[&str]) -> Answer {
    use std::os::unix::process::CommandExt;
    let mut command = host.command(arguments);
    if nix::unistd::geteuid().is_root() {
        // The binary may lie below a folder that only root may enter: a copy in the open folder does not.
        let copy = host.path().join("cli");
        std::fs::copy(env!("CARGO_BIN_EXE_defenseclaw-cli"), &copy).unwrap();
        let mut stepped = std::process::Command::new(copy);
        stepped.args(arguments).env_clear().uid(65_534).gid(65_534);
        for (name, value) in command.get_envs() {
            stepped.env(name, value.unwrap());
        }
        command = stepped;
    }
    let mut output = command.output();
    // A test beside this one may fork while the copy is still open for writing, and hold it open until its own exec.
    while output
        .as_ref()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ExecutableFileBusy)
    {
        std::thread::sleep(std::time::Duration::from_millis(10));
        output = command.output();
    }
    Answer::of(output.unwrap(), host.path())
}

#[test]
fn what_this_user_may_not_read_exits_4() {
    let host = Host::new();
    story::tell(&host);
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(host.path(), 0o755);
    mode(&host.ledger(), 0o000);
    insta::assert_snapshot!("forbidden_ledger", as_nobody(&host, &["audit", "tail"]).whole());
    assert_eq!(as_nobody(&host, &["audit", "verify"]).status, 4);
    assert_eq!(
        as_nobody(&host, &["audit", "tail", "-f"]).status,
        4,
        "it does not wait for what is there"
    );

    let socket = host.path().join("gateway.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    mode(&socket, 0o000);
    insta::assert_snapshot!("forbidden_socket", as_nobody(&host, &["status"]).whole());

    mode(&host.path().join("config.yaml"), 0o000);
    assert_eq!(as_nobody(&host, &["session", "list"]).status, 4);
}

#[test]
fn a_bad_configuration_exits_2_and_names_file_and_key() {
    let host = Host::new();
    std::fs::write(host.path().join("config.yaml"), "mode: action\nsockett: /x\n").unwrap();
    let answer = host.run(&["status"]);
    assert_eq!(answer.status, 2, "{}", answer.whole());
    assert!(answer.notes.contains("/state/config.yaml"), "{}", answer.notes);
    assert!(
        answer.notes.contains("did you mean `socket`?"),
        "{}",
        answer.notes
    );
}
