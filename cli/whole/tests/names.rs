//! The program as it is installed: which of the two it is.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// A folder as packages make it: the program, and its second name. Made once, before anything is started: who starts a program while
/// another thread writes one holds that one open for a moment.
static INSTALLED: LazyLock<(tempfile::TempDir, PathBuf, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let tool = folder.path().join("defenseclaw-cli");
    std::fs::copy(env!("CARGO_BIN_EXE_defenseclaw-whole"), &tool).unwrap();
    let gateway = folder.path().join("defenseclaw-gateway");
    symlink("defenseclaw-cli", &gateway).unwrap();
    (folder, tool, gateway)
});

fn version(command: &mut Command) -> String {
    let output = command.arg("--version").output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(' ').next().unwrap().to_owned()
}

#[test]
fn the_name_of_the_file_that_is_started_decides() {
    let (folder, tool, gateway) = &*INSTALLED;
    assert_eq!(version(&mut Command::new(tool)), "defenseclaw-cli");
    assert_eq!(version(&mut Command::new(gateway)), "defenseclaw-gateway");
    let here = version(Command::new("./defenseclaw-gateway").current_dir(folder.path()));
    assert_eq!(here, "defenseclaw-gateway");
    let found = Command::new("/bin/sh")
        .args(["-c", "defenseclaw-gateway --version"])
        .env("PATH", folder.path())
        .output()
        .unwrap();
    assert!(found.stdout.starts_with(b"defenseclaw-gateway "), "{found:?}");
}

#[test]
fn what_a_caller_calls_it_decides_nothing() {
    let (_, tool, gateway) = &*INSTALLED;
    let said = |program: &Path, name: &str| version(Command::new(program).arg0(name));
    assert_eq!(said(tool, "defenseclaw-gateway"), "defenseclaw-cli");
    assert_eq!(
        said(tool, "/usr/lib/defenseclaw/defenseclaw-gateway"),
        "defenseclaw-cli"
    );
    assert_eq!(said(gateway, "defenseclaw-cli"), "defenseclaw-gateway");
    let named = version(Command::new(tool).env("_", "defenseclaw-gateway"));
    assert_eq!(named, "defenseclaw-cli");
    let argument = Command::new(tool).arg("defenseclaw-gateway").output().unwrap();
    assert_eq!(argument.status.code(), Some(2));
}
