//! Wrapped commands, read by real shells.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use proptest::prelude::*;

use super::*;

fn call(id: &str) -> CallId {
    CallId::new(id).unwrap()
}

/// A launcher that executes what stands behind `--`.
fn launcher(folder: &Path) -> PathBuf {
    let path = folder.join("it's a folder").join(LAUNCHER);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text = "#!/bin/sh\n[ \"$1\" = run ] || exit 125\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n";
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn output(shell: &str, line: &str, folder: &Path) -> Output {
    Command::new(shell)
        .args(["-c", line, "name", "one", "two words"])
        .env("KEPT", "as it was")
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn shells() -> Vec<&'static str> {
    let shells = ["/bin/sh", "/bin/bash", "/bin/zsh", "/usr/bin/zsh"];
    shells
        .into_iter()
        .filter(|shell| Path::new(shell).exists())
        .collect()
}

fn same(command: &str, folder: &Path, launcher: &Path) {
    let wrapping = Wrapping {
        launcher,
        profile: "workspace",
        project: Some("/a b/c'd"),
        exec: true,
    };
    let wrapped = wrap(command, &call("toolu_1"), wrapping).unwrap();
    for shell in shells() {
        let (plain, inside) = (output(shell, command, folder), output(shell, &wrapped, folder));
        assert_eq!(plain.status.code(), inside.status.code(), "{shell}: {command:?}");
        assert_eq!(plain.stdout, inside.stdout, "{shell}: {command:?}");
        assert_eq!(
            String::from_utf8_lossy(&plain.stderr),
            String::from_utf8_lossy(&inside.stderr),
            "{shell}: {command:?}"
        );
    }
}

#[test]
fn a_wrapped_command_says_and_ends_as_it_would_have() {
    let folder = tempfile::tempdir().unwrap();
    let launcher = launcher(folder.path());
    for command in [
        "echo one; exit 7",
        "printf '%s|' \"$0\" \"$@\"",
        "echo \"it's $KEPT\" 'and \"quoted\"' \\$HOME",
        "cat <<'EOF'\n'single' \"double\" $HOME `tick` \\\nEOF",
        "nonexistent-program-of-a-test",
        "false",
        "kill -TERM $$",
        "pwd; cd /; pwd",
        "for i in 1 2 3; do echo $i; done | while read -r x; do echo \"<$x>\"; done",
        "",
        "   ",
        "# nothing",
        "if then",
        "echo \"$(printf 'a\\nb')\" >&2",
        "exit 300",
        "(exit 3) || echo three",
        "echo ü 漢 🙂",
        "cat",
    ] {
        same(command, folder.path(), &launcher);
    }
}

#[test]
fn a_shell_that_goes_on_outlives_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let launcher = launcher(folder.path());
    let wrapping = Wrapping {
        launcher: &launcher,
        profile: "build",
        project: None,
        exec: false,
    };
    let wrapped = wrap("echo inside; exit 4", &call("c"), wrapping).unwrap();
    for shell in shells() {
        let told = output(shell, &format!("{wrapped}; echo \"$?, and on\""), folder.path());
        assert_eq!(
            String::from_utf8_lossy(&told.stdout),
            "inside\n4, and on\n",
            "{shell}"
        );
    }
}

#[test]
fn what_cannot_be_wrapped_is_not() {
    let wrapping = Wrapping {
        launcher: Path::new("/x/defenseclaw-cli"),
        profile: "strict",
        project: None,
        exec: false,
    };
    assert!(wrap(&"x".repeat(MAX_ARGUMENT), &call("c"), wrapping).is_none());
    assert!(wrap("a\0b", &call("c"), wrapping).is_none());
}

#[test]
fn only_what_has_exactly_that_form_is_taken_apart() {
    let wrapping = Wrapping {
        launcher: Path::new("/x/defenseclaw-cli"),
        profile: "strict",
        project: None,
        exec: false,
    };
    let wrapped = wrap("ls", &call("c"), wrapping).unwrap();
    assert_eq!(unwrap(&wrapped).unwrap().command, "ls");
    for other in [
        "ls".to_owned(),
        format!("{wrapped}; rm -rf /"),
        format!("true; {wrapped}"),
        wrapped.replace("defenseclaw-cli", "defenseclaw-clj"),
        wrapped.replace("strict", "st$rict"),
        wrapped.replace(" run ", " run --best-effort "),
        wrapped.replace("-c 'ls'", "-c 'ls'; 'ls'"),
        wrapped.replace("-c 'ls'", "-c ls"),
    ] {
        assert_eq!(unwrap(&other), None, "{other}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_command_is_taken_off_as_it_was_put_on(
        command in "[^\\x00]{0,80}",
        id in "[!-~]{1,20}",
        project in proptest::option::of("/[^\\x00]{0,20}"),
        exec: bool,
    ) {
        prop_assume!(CallId::new(&id).is_ok());
        let wrapping = Wrapping {
            launcher: Path::new("/opt/x y/defenseclaw-cli"),
            profile: "network-none",
            project: project.as_deref(),
            exec,
        };
        let wrapped = unwrap(&wrap(&command, &call(&id), wrapping).unwrap()).unwrap();
        prop_assert_eq!(wrapped, Wrapped { profile: "network-none".into(), call: id, command });
    }

    #[test]
    fn any_text_means_to_a_shell_what_it_meant_before(text in "[^\\x00]{0,40}") {
        // As a word, so that the shell runs nothing of it.
        let mut command = "printf %s ".to_owned();
        quote(&mut command, &text);
        let folder = tempfile::tempdir().unwrap();
        let launcher = launcher(folder.path());
        same(&command, folder.path(), &launcher);
    }

    #[test]
    fn no_text_makes_taking_it_off_panic(text in ".{0,200}") {
        unwrap(&text);
        unwrap(&format!("'/x/defenseclaw-cli' run --profile {text}"));
    }
}
