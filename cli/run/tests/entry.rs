//! What the standard library does before `main`, and this program's entry does in its place.

use std::process::Command;

#[test]
fn the_command_gets_its_streams_and_signals_as_any_program_does() {
    let home = std::env::var_os("HOME").unwrap();
    let folder = tempfile::Builder::new()
        .prefix("dc-front-")
        .tempdir_in(home)
        .unwrap();
    let look = "ls -l /proc/self/fd | sed -n 's/.* \\([012]\\) -> /\\1 /p'; grep SigIgn /proc/self/status";
    let ask = |line: &str| {
        let output = Command::new("sh")
            .args(["-c", line, env!("CARGO_BIN_EXE_defenseclaw-run"), look])
            .current_dir(folder.path())
            .env("DEFENSECLAW_SOCKET", folder.path().join("no.sock"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let signals = |told: &str| told.lines().last().unwrap().to_owned();
    let plain = ask("sh -c \"$1\"");
    let inside = ask("\"$0\" run -- sh -c \"$1\"");
    assert_eq!(signals(&plain), signals(&inside), "{inside}");
    // Closed streams are nobody's files.
    let closed = ask("\"$0\" run -- sh -c \"$1\" <&- 2>&-");
    assert!(closed.contains("0 /dev/null\n"), "{closed}");
    assert!(closed.contains("2 /dev/null\n"), "{closed}");
    // A reader who is gone is no signal: the command runs all the same.
    let gone = ask("(sleep 0.3; \"$0\" run --explain -- touch ran) 2>&1 | true; sleep 1; ls");
    assert_eq!(gone, "ran\n");
}
