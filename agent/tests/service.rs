//! The real agent under a service manager: what it tells, signs of life that have to be earned, and what stays in the kernel.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that fails")]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use defenseclaw_testkit::{Need, require};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};

/// No step takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

struct Host {
    folder: tempfile::TempDir,
    manager: UnixDatagram,
}

impl Host {
    fn new() -> Option<Self> {
        if !require(&[Need::Root, Need::Bpf]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("state")).unwrap();
        let config = format!(
            "state: {0}/state\nsocket: {0}/gateway.sock\ngate: {{ homes: [] }}\n",
            folder.path().display()
        );
        fs::write(folder.path().join("config.yaml"), config).unwrap();
        let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(Self { folder, manager })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_defenseclaw-agent"));
        command
            .args(arguments)
            .env("DEFENSECLAW_CONFIG", self.folder.path().join("config.yaml"))
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .env("WATCHDOG_USEC", "4000000")
            .stdin(Stdio::null())
            .stderr(
                fs::File::options()
                    .append(true)
                    .create(true)
                    .open(self.folder.path().join("log"))
                    .unwrap(),
            );
        command
    }

    fn next(&self) -> String {
        let mut buffer = [0; 1024];
        let count = self.manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    fn until(&self, what: &str) {
        while !self.next().contains(what) {}
    }

    /// Where this instance's kernel programs are pinned.
    fn pins(&self) -> PathBuf {
        let digest = Sha256::digest(self.folder.path().join("state").as_os_str().as_encoded_bytes());
        let name: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        Path::new("/sys/fs/bpf/defenseclaw").join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

fn end(mut agent: Child) {
    kill(Pid::from_raw(agent.id() as i32), Signal::SIGTERM).unwrap();
    assert!(agent.wait().unwrap().success());
}

/// The threads of a process with that name.
fn thread(process: u32, name: &str) -> Pid {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let named = tasks
        .map(|task| task.unwrap().path())
        .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name));
    Pid::from_raw(
        named
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .unwrap(),
    )
}

#[test]
fn it_gives_signs_of_life_only_while_the_thread_answers_that_holds_opens() {
    let Some(host) = Host::new() else { return };
    let agent = host.command(&[]).spawn().unwrap();
    let ready = host.next();
    assert!(
        ready.starts_with("READY=1\nSTATUS=watches and holds the install gate; waits for the gateway"),
        "{ready}\n{}",
        host.log()
    );
    assert!(
        host.pins().is_dir(),
        "it is ready only when the kernel programs are there"
    );
    host.until("WATCHDOG=1");
    host.until("WATCHDOG=1");
    let opens = thread(agent.id(), "gate-opens");
    ptrace::seize(opens, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(opens).unwrap();
    waitpid(opens, Some(WaitPidFlag::__WALL)).unwrap();
    // The first of these may be of a slow moment before it stood still.
    host.until("STATUS=stuck");
    host.until("STATUS=stuck");
    for _ in 0..2 {
        assert!(host.next().starts_with("STATUS=stuck"));
    }
    ptrace::detach(opens, None).unwrap();
    host.until("WATCHDOG=1");
    end(agent);
    host.until("STOPPING=1");
    assert!(!host.pins().exists(), "told to stop, it takes its programs away");
}

#[test]
fn told_to_leave_the_sensor_it_stays_for_the_next_one_until_it_is_unloaded() {
    let Some(host) = Host::new() else { return };
    let names = || -> Vec<_> {
        let entries = fs::read_dir(host.pins()).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    let agent = host.command(&["--leave-sensor"]).spawn().unwrap();
    host.until("READY=1");
    let before = names();
    assert_eq!(before.len(), 1);
    end(agent);
    assert_eq!(names(), before, "the very sensor goes on");
    let next = host.command(&["--leave-sensor"]).spawn().unwrap();
    host.until("READY=1");
    assert_eq!(names(), before);
    assert!(host.log().contains("took_over=true"), "{}", host.log());
    end(next);
    let unloaded = host.command(&["unload"]).status().unwrap();
    assert!(unloaded.success());
    assert!(!host.pins().exists());
    // Where nothing is there is nothing to do.
    assert!(host.command(&["unload"]).status().unwrap().success());
}
