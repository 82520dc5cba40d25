//! `run`: what a command keeps of its caller, and what it does not reach.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// A home with a project, outside of the temporary folders, which every sandbox may write.
pub(crate) struct House {
    _folder: tempfile::TempDir,
    pub(crate) home: PathBuf,
    pub(crate) project: PathBuf,
}

impl House {
    pub(crate) fn new() -> Self {
        let home = std::env::var("HOME").expect("a home");
        let outside = [env!("CARGO_TARGET_TMPDIR"), home.as_str()]
            .into_iter()
            .find(|folder| {
                !["/tmp", "/var/tmp", "/dev/shm"]
                    .iter()
                    .any(|tmp| folder.starts_with(tmp))
            })
            .expect("a folder that is not temporary");
        let folder = tempfile::tempdir_in(outside).expect("a folder");
        let home = fs::canonicalize(folder.path()).expect("there");
        let project = home.join("project");
        fs::create_dir_all(project.join(".git/hooks")).expect("made");
        fs::create_dir_all(project.join(".git/objects")).expect("made");
        fs::create_dir_all(home.join(".ssh")).expect("made");
        fs::write(home.join(".ssh/id_ed25519"), "the key").expect("written");
        fs::write(project.join(".env"), "the secret").expect("written");
        fs::write(project.join("README"), "hello").expect("written");
        Self {
            _folder: folder,
            home,
            project,
        }
    }

    pub(crate) fn run(&self, options: &[&str], command: &[&str]) -> Command {
        let mut run = Command::new(env!("CARGO_BIN_EXE_defenseclaw-cli"));
        run.arg("run")
            .args(options)
            .env("HOME", &self.home)
            .env_remove("DEFENSECLAW_CONFIG")
            .current_dir(&self.project);
        if !command.is_empty() {
            run.arg("--").args(command);
        }
        run
    }

    /// A folder with the profile `narrow`, which reaches that port of this host and nothing else.
    pub(crate) fn narrow(&self, port: u16) -> String {
        let profiles = self.home.join("profiles");
        fs::create_dir(&profiles).expect("made");
        fs::write(
            profiles.join("narrow.yaml"),
            format!(
                "version: 1\nname: narrow\nextends: workspace\nsummary: One host.\n\
                 network: {{mode: allowlist, hosts: [\"localhost:{port}\"]}}\nrequires: [network]\n"
            ),
        )
        .expect("written");
        profiles.display().to_string()
    }

    pub(crate) fn sh(&self, options: &[&str], script: &str) -> Output {
        self.run(options, &["sh", "-c", script])
            .output()
            .expect("started")
    }
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_command_keeps_what_is_its_caller_s() {
    let house = House::new();
    let mut child = house
        .run(
            &[],
            &["sh", "-c", "pwd; cat; echo \"$1\" >&2; exit 41", "sh", "a b\n'c'"],
        )
        .env("PLAIN", "kept")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"through and through").expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("ended");
    assert_eq!(
        out(&output),
        format!("{}\nthrough and through", house.project.display())
    );
    assert_eq!(err(&output), "a b\n'c'\n");
    assert_eq!(output.status.code(), Some(41));
}

#[test]
fn the_command_has_the_launcher_s_process_id() {
    let house = House::new();
    let child = house
        .run(&[], &["sh", "-c", "echo $$"])
        // At a terminal a second process would stay, to renew covers.
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let id = child.id();
    let output = child.wait_with_output().expect("ended");
    assert_eq!(out(&output).trim(), id.to_string());
}

#[test]
fn what_cannot_be_started_says_so_as_env_does() {
    let house = House::new();
    let status = |options: &[&str], command: &[&str]| {
        let output = house.run(options, command).output().expect("started");
        (output.status.code(), err(&output))
    };
    let (code, text) = status(&[], &["no-such-program-anywhere"]);
    assert_eq!(code, Some(127), "{text}");
    let (code, text) = status(&[], &["./README"]);
    assert_eq!(code, Some(126), "{text}");
    let (code, text) = status(&["--profile", "workspce"], &["true"]);
    assert_eq!(code, Some(125), "{text}");
    assert!(text.contains("there is no profile \"workspce\""), "{text}");
    let (code, text) = status(&["--project", "/"], &["true"]);
    assert_eq!(code, Some(125), "{text}");
    assert!(text.contains("--project"), "{text}");
}

#[test]
fn a_profile_that_cannot_be_had_is_refused_unless_told() {
    let house = House::new();
    let launcher = env!("CARGO_BIN_EXE_defenseclaw-cli");
    // Inside a sandbox nobody gets a mount namespace, so that a second one cannot seal or close anything.
    let inner = |option: &str| house.sh(&[], &format!("{launcher} run {option} -- echo ran"));
    let output = inner("");
    assert_eq!(output.status.code(), Some(125), "{}", err(&output));
    assert_eq!(out(&output), "");
    assert!(err(&output).contains("sealed-files: "), "{}", err(&output));
    let output = inner("--best-effort");
    assert_eq!(out(&output), "ran\n");
    assert!(err(&output).contains("without sealed-files"), "{}", err(&output));
}

#[test]
fn named_hosts_are_reached_and_no_others() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let other = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
    let profiles = house.narrow(port(&listener));
    let options = ["--profiles", &profiles, "--profile", "narrow"];
    let to = |port: u16| {
        let script = format!("exec 3<>/dev/tcp/localhost/{port} && echo connected");
        house
            .run(&options, &["bash", "-c", &script])
            .output()
            .expect("started")
    };
    assert_eq!(out(&to(port(&listener))), "connected\n");
    let refused = to(port(&other));
    assert_eq!(out(&refused), "");
    assert!(err(&refused).contains("Permission denied"), "{}", err(&refused));
    let output = house
        .run(&[&options[..], &["--explain"]].concat(), &[])
        .output()
        .expect("started");
    let line = out(&output)
        .lines()
        .find(|line| line.starts_with("network"))
        .map(str::to_owned);
    assert!(
        line.as_ref()
            .is_some_and(|line| line.contains("supervisor") && line.contains("proven")),
        "{line:?} {}",
        err(&output)
    );
    let output = house.sh(&options, "getent hosts example.org; echo $?");
    assert_eq!(out(&output), "2\n", "no DNS");
}

#[test]
fn what_nobody_can_be_asked_about_is_refused() {
    let house = House::new();
    let output = house
        .run(
            &["--supervise"],
            &[
                "sh",
                "-c",
                "cat README; echo in > made; cat made; echo out > ../outside; echo $?",
            ],
        )
        .env("DEFENSECLAW_SOCKET", house.home.join("nobody.sock"))
        .output()
        .expect("started");
    assert_eq!(out(&output), "helloin\n2\n", "{}", err(&output));
    assert!(!house.home.join("outside").exists());
}

#[test]
fn a_learned_profile_is_enough_for_what_it_was_learned_from() {
    let house = House::new();
    fs::write(house.home.join("notes"), "a note").expect("written");
    fs::write(house.home.join("other"), "another").expect("written");
    let folder = house.home.join("profiles");
    fs::create_dir(&folder).expect("made");
    let file = folder.join("notes.yaml").display().to_string();
    let learn = Command::new(env!("CARGO_BIN_EXE_defenseclaw-cli"))
        .args(["sandbox", "learn", "--name", "notes", "--output", &file, "--"])
        .args(["sh", "-c", "cat ../notes; echo x > made"])
        .env("HOME", &house.home)
        .current_dir(&house.project)
        .output()
        .expect("started");
    assert!(learn.status.success(), "{}", err(&learn));
    let folder = folder.display().to_string();
    let output = house.sh(
        &["--profiles", &folder, "--profile", "notes"],
        "cat ../notes; echo y > made && cat made; cat ../other; echo z > ../other",
    );
    assert_eq!(out(&output), "a notey\n", "{}", err(&output));
    assert_eq!(
        fs::read_to_string(house.home.join("other")).expect("there"),
        "another"
    );
    let diff = Command::new(env!("CARGO_BIN_EXE_defenseclaw-cli"))
        .args(["sandbox", "diff", "workspace", &file])
        .output()
        .expect("started");
    assert_eq!(diff.status.code(), Some(1));
    assert!(
        out(&diff).contains("- read /\n") && out(&diff).contains("+ read {home}/notes\n"),
        "{}",
        out(&diff)
    );
    let same = Command::new(env!("CARGO_BIN_EXE_defenseclaw-cli"))
        .args(["sandbox", "diff", "strict", "strict"])
        .output()
        .expect("started");
    assert_eq!(
        (same.status.code(), out(&same).as_str()),
        (Some(0), "no difference\n")
    );
}

#[test]
fn secrets_are_out_of_reach_and_the_project_is_not() {
    let house = House::new();
    let output = house.sh(
        &[],
        "echo x > .env; cat .env ../.ssh/id_ed25519; echo new > made && cat made README; cat .env > copied; ls ../.ssh",
    );
    let told = out(&output);
    assert!(told.contains("new\nhello"), "{told}{}", err(&output));
    assert!(
        !told.contains("secret") && !told.contains("key") && !told.contains("id_ed25519"),
        "{told}"
    );
    assert_eq!(
        fs::read_to_string(house.project.join(".env")).expect("there"),
        "the secret"
    );
}

/// Covers are made below what the kernel tells of itself: nothing of them comes into sight, and what lay there is as before.
#[test]
fn the_kernel_s_own_files_are_there_and_read_only_and_nothing_else_is() {
    let house = House::new();
    let script = "stat -f -c %T /sys; stat -c %F /sys/kernel; grep ' /sys ' /proc/self/mountinfo | grep -v -c ' ro,'; \
                  for name in file folder reserved hosts; do [ ! -e /sys/$name ] || echo $name; done; \
                  (echo 1 >/sys/kernel/uevent_helper) 2>/dev/null && echo written; \
                  cat ~/.ssh/id_ed25519 >/dev/null 2>&1 || echo closed";
    for options in [&["--profile", "workspace"][..], &["--profile", "strict"]] {
        let output = house.sh(options, script);
        let text = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines, ["sysfs", "directory", "0", "closed"], "{options:?}");
    }
}

#[test]
fn what_runs_outside_cannot_be_planted() {
    let house = House::new();
    fs::create_dir(house.home.join(".claude")).expect("made");
    let output = house.sh(
        &[],
        "echo x > .git/hooks/pre-commit; mv .git moved; mkdir -p .claude; echo x > .claude/settings.json; \
         rmdir .claude; ln -s /tmp .claude; git init -q sub 2>/dev/null; mkdir other; echo fine > other/file; true",
    );
    assert!(output.status.success(), "{}", err(&output));
    assert!(!house.project.join(".git/hooks/pre-commit").exists());
    assert!(!house.project.join("moved").exists());
    assert!(
        fs::symlink_metadata(house.project.join(".claude")).is_err(),
        "the place holder went"
    );
    assert!(house.project.join("other/file").exists());
}

#[test]
fn descriptors_and_secrets_of_the_environment_stay_behind() {
    let house = House::new();
    let script = "exec 7</etc/passwd; exec \"$@\"";
    let launcher = env!("CARGO_BIN_EXE_defenseclaw-cli");
    let output = Command::new("sh")
        .args(["-c", script, "sh", launcher, "run", "--", "sh", "-c"])
        .arg("cat <&7 | head -1; echo \"[$GITHUB_TOKEN]$OTHER\"")
        .env("HOME", &house.home)
        .env("GITHUB_TOKEN", "ghp")
        .env("OTHER", "stays")
        .current_dir(&house.project)
        .output()
        .expect("started");
    assert!(!out(&output).contains("root:"), "{}", out(&output));
    assert!(out(&output).contains("[]stays"), "{}", out(&output));
}

#[test]
fn signals_end_the_command_and_its_caller_sees_which() {
    let house = House::new();
    // Once with the launcher becoming the command, once with a process that stays outside.
    for reserved in [false, true] {
        if reserved {
            fs::create_dir(house.home.join(".claude")).expect("made");
        }
        let output = house.sh(&[], "kill -TERM $$");
        assert_eq!(
            output.status.signal(),
            Some(Signal::SIGTERM as i32),
            "reserved: {reserved}"
        );
        let mut child = house
            .run(
                &[],
                &[
                    "sh",
                    "-c",
                    "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done",
                ],
            )
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut line).expect("ready");
        let id = i32::try_from(child.id()).expect("an id");
        signal::kill(Pid::from_raw(id), Signal::SIGTERM).expect("sent");
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut stdout, &mut rest).expect("read");
        assert_eq!(rest, "caught\n");
        assert_eq!(
            child.wait().expect("ended").code(),
            Some(9),
            "reserved: {reserved}"
        );
    }
    assert!(fs::symlink_metadata(house.project.join(".claude")).is_err());
}

#[test]
fn explain_proves_what_it_tells() {
    let house = House::new();
    let output = house
        .run(&["--profile", "strict", "--explain", "--json"], &[])
        .output()
        .expect("started");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["profile"], "strict");
    let of = |family: &str| {
        report["protections"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|protection| protection["family"] == family)
            .unwrap_or_else(|| panic!("no {family}"))
            .clone()
    };
    for family in [
        "closed-files",
        "sealed-files",
        "network",
        "system-calls",
        "private-tmp",
    ] {
        assert_eq!(of(family)["proof"], "proven", "{}", of(family));
    }
    assert_eq!(of("file-writes")["by"], "landlock");
}

/// The output's lines as they come, each within some seconds.
fn line_of(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> String {
    lines.next().expect("not ended").expect("text")
}

#[test]
fn what_is_replaced_or_made_meanwhile_is_closed_again() {
    let house = House::new();
    let settings = house.project.join(".git/config");
    fs::write(&settings, "[core]\n").expect("written");
    // Root opens a cover, and finds nothing in it.
    let script = "while read -r name; do test -n \"$(cat \"$name\" 2> /dev/null)\" && echo open || echo closed; \
                  (echo x >> .git/config) 2> /dev/null && echo written || echo sealed; done";
    let mut child = house
        .run(&["--watch"], &["sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut ask = |name: &str| {
        writeln!(stdin, "{name}").expect("written");
        (line_of(&mut lines), line_of(&mut lines))
    };
    let both = ("closed".to_owned(), "sealed".to_owned());
    assert_eq!(ask(".env"), both);
    let save = |path: &Path, text: &str| {
        let new = house.home.join("new");
        fs::write(&new, text).expect("written");
        fs::rename(&new, path).expect("renamed");
    };
    for round in 0..20 {
        save(&house.project.join(".env"), "the new secret");
        save(&settings, "[core]\n");
        let late = format!(".env.{round}");
        fs::create_dir_all(house.project.join("a/b")).expect("made");
        fs::write(house.project.join("a/b").join(&late), "a later secret").expect("written");
        for name in [".env", &format!("a/b/{late}")] {
            assert!(soon(|| ask(name) == both), "round {round}: {name} stays open");
        }
        assert_eq!(ask("README").0, "open");
    }
    // A folder above is replaced with all that it holds.
    fs::rename(house.project.join(".git"), house.home.join("git")).expect("renamed");
    fs::create_dir(house.project.join(".git")).expect("made");
    save(&settings, "[core]\n");
    assert!(soon(|| ask(".env") == both), "the folder's settings stay open");
    drop(stdin);
    assert!(child.wait().expect("ended").success());
}

#[test]
fn the_end_of_what_renews_is_told_and_it_ends_with_the_command() {
    let house = House::new();
    let start = || {
        house
            .run(
                &["--watch"],
                &["sh", "-c", "read -r line; sleep 0.2 & wait; echo done"],
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started")
    };
    for kills in [true, false] {
        let mut child = start();
        let renewer = renewer_of(child.id());
        if kills {
            signal::kill(renewer, Signal::SIGKILL).expect("killed");
        }
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(b"\n")
            .expect("written");
        let output = child.wait_with_output().expect("ended");
        assert_eq!(out(&output), "done\n", "the command goes on");
        assert_eq!(
            err(&output).contains("what renews covers has ended"),
            kills,
            "{}",
            err(&output)
        );
        assert!(signal::kill(renewer, None).is_err(), "it ends with the command");
    }
}

/// What the command left behind keeps what renews its covers, and neither holds up whoever reads the command's words.
#[test]
fn covers_of_what_runs_on_are_renewed_too() {
    let house = House::new();
    let secret = house.project.join(".env");
    fs::write(&secret, "SECRET=1\n").expect("written");
    let line = "(while [ ! -e go ]; do sleep 0.02; done; cat .env > seen 2>&1; echo over >> seen) \
                </dev/null >/dev/null 2>&1 & echo started";
    let output = house
        .run(&["--profile", "workspace", "--watch"], &["sh", "-c", line])
        .stdin(Stdio::null())
        .output()
        .expect("started");
    assert_eq!(out(&output), "started\n", "{}", err(&output));
    let fresh = house.project.join(".env.new");
    fs::write(&fresh, "SECRET=2\n").expect("written");
    fs::rename(&fresh, &secret).expect("replaced");
    // The event is heard within moments; the job looks later.
    std::thread::sleep(std::time::Duration::from_millis(500));
    fs::write(house.project.join("go"), "").expect("written");
    let seen = house.project.join("seen");
    let read = || fs::read_to_string(&seen).unwrap_or_default();
    assert!(soon(|| read().ends_with("over\n")), "{}", read());
    assert!(!read().contains("SECRET"), "{}", read());
}

/// What takes a tenth of a millisecond on an idle machine may take longer on a busy one; not for good.
fn soon(mut holds: impl FnMut() -> bool) -> bool {
    (0..100).any(|_| {
        let now = holds();
        if !now {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        now
    })
}

/// The process beside the command, once it has begun.
fn renewer_of(keeper: u32) -> Pid {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while std::time::Instant::now() < deadline {
        let children = |of: &str| -> Vec<String> {
            let list = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
            list.split_whitespace().map(str::to_owned).collect()
        };
        // The keeper's child is the warden, and its children the command and this one.
        for child in children(&keeper.to_string())
            .iter()
            .flat_map(|warden| children(warden))
        {
            if fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name == "dc-renew\n") {
                return Pid::from_raw(child.parse().expect("a number"));
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("nothing renews covers");
}
