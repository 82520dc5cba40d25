//! `run`: what a command leaves behind, and what its caller sees of it while processes stay outside.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::{Pid, getpgid, getsid};

use crate::sandbox::{House, err, out};

/// Long, for a host that has other things to do.
const PATIENCE: Duration = Duration::from_secs(30);

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits in a shell until the test makes the file, or for half of [`PATIENCE`].
fn until(file: &str) -> String {
    format!("n=0; while [ ! -e {file} ] && [ $n -lt 300 ]; do n=$((n+1)); sleep 0.05; done")
}

/// A job that holds none of its caller's streams.
fn job(script: &str) -> String {
    format!("({script}) </dev/null >/dev/null 2>&1 &")
}

fn number(file: &Path) -> i32 {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("{text:?} in {}", file.display()))
}

/// The third field of `/proc/PID/stat`; `X` of a process that is gone. The names of these have no spaces.
fn state(pid: i32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.split(' ').nth(2).unwrap_or("X").to_owned()
}

fn is_over(pid: i32) -> bool {
    ["X", "Z"].contains(&state(pid).as_str())
}

#[test]
fn what_is_left_in_the_background_stays_supervised() {
    let house = House::new();
    let script = [
        until("go"),
        "cat README > late; echo x > ../outside; echo $? > refused".to_owned(),
        "sleep 5 & head -c 4 /proc/$!/environ > kin; kill $!".to_owned(),
        "sh -c 'echo $PPID' > own; read -r own < own; read -r a b c parent d < /proc/$own/stat".to_owned(),
        "cat /proc/$parent/environ /proc/$parent/task/*/environ > spied".to_owned(),
        "echo $parent > warden; echo > over".to_owned(),
        until("end"),
    ]
    .join("; ");
    let output = house.sh(
        &["--supervise"],
        &format!("{} echo started; exit 7", job(&script)),
    );
    assert_eq!(out(&output), "started\n", "{}", err(&output));
    assert_eq!(output.status.code(), Some(7));
    let file = |name: &str| house.project.join(name);
    assert!(!file("over").exists(), "the caller did not wait for it");
    fs::write(file("go"), "").expect("written");
    wait_for("the job goes on", || file("over").exists());
    let content = |name: &str| fs::read_to_string(file(name)).unwrap_or_default();
    assert_eq!(content("late"), "hello", "what the profile grants is opened");
    assert_eq!(content("refused"), "2\n", "what it does not grant is not");
    assert!(!house.home.join("outside").exists());
    assert!(
        !content("kin").is_empty(),
        "it looks into its own child, though the command is gone"
    );
    assert_eq!(content("spied"), "", "it does not look into who stays outside");
    let warden = number(&file("warden"));
    for stream in 0..3 {
        let to = fs::read_link(format!("/proc/{warden}/fd/{stream}")).expect("open");
        assert_eq!(
            to,
            Path::new("/dev/null"),
            "a reader of stream {stream} would wait"
        );
    }
    let session = |pid: Option<i32>| getsid(pid.map(Pid::from_raw)).expect("there");
    assert_ne!(
        session(Some(warden)),
        session(None),
        "no terminal of the caller's"
    );
    fs::write(file("end"), "").expect("written");
    wait_for("nothing stays when the last job has ended", || is_over(warden));
}

#[test]
fn a_caller_is_not_held_back_by_the_background() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("bound").port();
    // With a place to hold, supervised because of asking, and because of named hosts.
    for kind in ["reserved", "asking", "hosts"] {
        let house = House::new();
        fs::create_dir(house.home.join(".claude")).expect("made");
        let profiles = house.narrow(port);
        let options: &[&str] = match kind {
            "reserved" => &[],
            "asking" => &["--supervise"],
            _ => &["--profiles", &profiles, "--profile", "narrow"],
        };
        let script = format!("{}; echo > over", until("go"));
        let output = house.sh(options, &format!("{} echo started; kill -TERM $$", job(&script)));
        assert_eq!(out(&output), "started\n", "{kind}: {}", err(&output));
        assert_eq!(output.status.signal(), Some(Signal::SIGTERM as i32), "{kind}");
        let over = house.project.join("over");
        assert!(!over.exists(), "{kind}: the caller has waited");
        fs::write(house.project.join("go"), "").expect("written");
        wait_for(kind, || over.exists());
        wait_for("the place is given back", || {
            !house.project.join(".claude").exists()
        });
    }
}

#[test]
fn named_hosts_are_reached_and_no_others_when_the_command_has_ended() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let other = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
    let profiles = house.narrow(port(&listener));
    let to = |port: u16, file: &str| format!("(exec 3<>/dev/tcp/localhost/{port}) && echo > {file}");
    let script = format!(
        "{}; {}; {}; echo > over",
        until("go"),
        to(port(&listener), "reached"),
        to(port(&other), "strayed")
    );
    let output = house
        .run(
            &["--profiles", &profiles, "--profile", "narrow"],
            &["bash", "-c", &job(&script)],
        )
        .output()
        .expect("started");
    assert!(output.status.success(), "{}", err(&output));
    fs::write(house.project.join("go"), "").expect("written");
    wait_for("the job goes on", || house.project.join("over").exists());
    assert!(house.project.join("reached").exists());
    assert!(!house.project.join("strayed").exists());
    other.set_nonblocking(true).expect("set");
    assert!(other.accept().is_err(), "nobody has come");
}

#[test]
fn a_place_is_held_until_the_last_that_needs_it_has_ended() {
    for options in [&[][..], &["--supervise"]] {
        let house = House::new();
        fs::create_dir(house.home.join(".claude")).expect("made");
        let file = |name: &str| house.project.join(name);
        let plant = "rmdir .claude; mkdir .claude; echo x > .claude/settings.json";
        // The first makes the place, and leaves a job behind; the second finds it made.
        let first = format!("{}; {plant}; echo > first", until("go"));
        assert!(house.sh(options, &job(&first)).status.success());
        assert!(file(".claude").is_dir());
        let second = format!("echo ready; {}; {plant}; echo > second", until("gone"));
        let mut running = house
            .run(options, &["sh", "-c", &second])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut line = String::new();
        let stdout = running.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("read");
        assert_eq!(line, "ready\n");
        fs::write(file("go"), "").expect("written");
        wait_for("the first job", || file("first").exists());
        // Whoever was outside for the first does now what it does last.
        std::thread::sleep(Duration::from_millis(300));
        fs::write(file("gone"), "").expect("written");
        running.wait().expect("ended");
        assert!(file("second").exists());
        assert!(!file(".claude/settings.json").exists(), "{options:?}");
        wait_for("the place is given back", || !file(".claude").exists());
    }
}

#[test]
fn job_control_is_as_if_nobody_stood_between() {
    let house = House::new();
    let script = "read -r a b c d group session rest < /proc/$$/stat; echo $group $session; echo $$ > pid; \
                  kill -STOP $$; echo went on; exit 9";
    let mut child = house
        .run(&["--supervise"], &["sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let pid = i32::try_from(child.id()).expect("an id");
    let own = Pid::from_raw(pid);
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("read");
    let (group, session) = (
        getpgid(Some(own)).expect("there"),
        getsid(Some(own)).expect("there"),
    );
    assert_eq!(line, format!("{group} {session}\n"));
    wait_for("the caller sees it stop", || state(pid) == "T");
    let command = number(&house.project.join("pid"));
    assert_eq!(state(command), "T");
    signal::kill(own, Signal::SIGCONT).expect("sent");
    let mut line = String::new();
    stdout.read_line(&mut line).expect("read");
    assert_eq!(line, "went on\n");
    assert_eq!(child.wait().expect("ended").code(), Some(9));
}

#[test]
fn who_kills_the_process_that_he_knows_kills_the_command_and_not_its_jobs() {
    let house = House::new();
    let script = format!(
        "{} echo $$ > pid; exec sleep 60",
        job(&format!("{}; cat README > late", until("go")))
    );
    let mut child = house
        .run(&["--supervise"], &["sh", "-c", &script])
        .spawn()
        .expect("started");
    let file = |name: &str| house.project.join(name);
    wait_for("it runs", || {
        fs::read_to_string(file("pid")).is_ok_and(|text| text.ends_with('\n'))
    });
    child.kill().expect("killed");
    assert_eq!(
        child.wait().expect("ended").signal(),
        Some(Signal::SIGKILL as i32)
    );
    let command = number(&file("pid"));
    wait_for("the command has ended too", || is_over(command));
    fs::write(file("go"), "").expect("written");
    wait_for("the job is supervised", || {
        fs::read_to_string(file("late")).is_ok_and(|text| text == "hello")
    });
}

#[test]
fn without_its_warden_nothing_goes_on() {
    let house = House::new();
    let script = "echo $PPID > warden; echo $$ > pid; exec sleep 60";
    let mut child = house
        .run(&["--supervise"], &["sh", "-c", script])
        .spawn()
        .expect("started");
    let file = |name: &str| house.project.join(name);
    wait_for("it runs", || {
        fs::read_to_string(file("pid")).is_ok_and(|text| text.ends_with('\n'))
    });
    signal::kill(Pid::from_raw(number(&file("warden"))), Signal::SIGKILL).expect("sent");
    assert_eq!(
        child.wait().expect("ended").signal(),
        Some(Signal::SIGKILL as i32)
    );
    let command = number(&file("pid"));
    wait_for("the command has ended too", || is_over(command));
}

#[test]
fn a_caller_that_ignores_ends_of_children_gets_the_status() {
    let house = House::new();
    let cli = env!("CARGO_BIN_EXE_defenseclaw-cli");
    let ignoring = |command: &str| {
        Command::new("bash")
            .args([
                "-c",
                &format!("trap '' CHLD; exec {cli} run --supervise -- {command}"),
            ])
            .env("HOME", &house.home)
            .current_dir(&house.project)
            .output()
            .expect("started")
    };
    let output = ignoring("sh -c 'exit 5'");
    assert_eq!(output.status.code(), Some(5), "{}", err(&output));
    // No shell: they handle this signal themselves.
    let told = out(&ignoring("grep SigIgn /proc/self/status"));
    let mask = told.split_whitespace().nth(1).expect("a mask");
    let mask = u64::from_str_radix(mask, 16).expect("a number");
    let bit = 1 << (Signal::SIGCHLD as i32 - 1);
    assert_ne!(mask & bit, 0, "the command ignores it, as it was started: {told}");
}

#[test]
fn the_gateway_is_out_of_reach_by_any_name_and_that_says_what_to_do() {
    let house = House::new();
    let hosts = house.narrow(9);
    // Where every sandbox may write, so that it can give the socket another name.
    let folder = tempfile::tempdir_in("/tmp").expect("a folder");
    let cli = env!("CARGO_BIN_EXE_defenseclaw-cli");
    for options in [
        &["--supervise"][..],
        &["--profiles", &hosts, "--profile", "narrow"],
    ] {
        let socket = folder.path().join("gateway.sock");
        let _ = fs::remove_file(&socket);
        let gateway = UnixListener::bind(&socket).expect("bound");
        gateway.set_nonblocking(true).expect("set");
        let script = format!(
            "{cli} status; echo $?; ln {0} {0}.hard; DEFENSECLAW_SOCKET={0}.hard {cli} status; echo $?; \
             mv {0} {0}.moved; DEFENSECLAW_SOCKET={0}.moved {cli} status; echo $?; rm -f {0}.hard {0}.moved",
            socket.display()
        );
        let output = house
            .run(options, &["sh", "-c", &script])
            .env("DEFENSECLAW_SOCKET", &socket)
            .output()
            .expect("started");
        assert_eq!(out(&output), "4\n4\n4\n", "{options:?}: {}", err(&output));
        assert!(
            err(&output).matches("supervised sandbox").count() == 3,
            "{options:?}: {}",
            err(&output)
        );
        // The launcher said what is in force before it was closed; nobody has come from inside.
        let (mut own, _) = gateway.accept().expect("the launcher's own word");
        let mut said = [0; 32];
        own.read_exact(&mut said).expect("said");
        assert!(said.starts_with(b"POST /v1/sandbox/entered "), "{said:?}");
        assert!(gateway.accept().is_err(), "nobody has come");
    }
    let output = house
        .run(&["--supervise", "--explain"], &[])
        .output()
        .expect("started");
    assert!(out(&output).contains("a whole agent"), "{}", out(&output));
}
