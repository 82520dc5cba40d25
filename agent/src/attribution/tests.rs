//! The state machine on a host of paper.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use defenseclaw_abi::{LABEL_INHERITED, LABEL_ROOT, Label};
use defenseclaw_model::activity::{
    Action, Activity, Basis, ExitStatus, Explained, FileAccess, FileId, Protocol,
};
use defenseclaw_model::call::{CallDeclaration, CallKind};
use defenseclaw_model::facts::{Facts, HostFact, PathFact, Program};
use defenseclaw_model::ids::{CallId, ImageId, ProcessId, SessionId};
use defenseclaw_model::record::{Binding, RecordBody};
use defenseclaw_model::wire::{OpenSession, Whose};

use super::{Attributor, Hook, Host, Process};
use crate::sensor::record::{Event, EventKind, Exec};

const HOOK_FILE: FileId = FileId { dev: 1, ino: 99 };
const SHELL_FILE: FileId = FileId { dev: 1, ino: 77 };
const LAUNCHER_FILE: FileId = FileId { dev: 1, ino: 78 };
const TOOL_FILE: FileId = FileId { dev: 1, ino: 79 };
const HARNESS: u32 = 100;

mod binding;
mod launch;

struct Paper {
    process: Process,
    argv: Vec<String>,
    exe: String,
}

/// A host of paper: processes are entries, labels are inherited by `fork` as the kernel programs do it.
#[derive(Default)]
struct PaperHost {
    processes: HashMap<u32, Paper>,
    labels: HashMap<u32, Label>,
    calls: HashMap<ProcessId, u64>,
    watched: Vec<FileId>,
    clock: u64,
}

impl PaperHost {
    fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn spawn(&mut self, pid: u32, ppid: u32, exe: &str, argv: &[&str]) {
        let start_ns = self.now();
        let process = Process {
            id: ProcessId { tgid: pid, start_ns },
            ppid,
        };
        let argv = argv.iter().map(|&text| text.to_owned()).collect();
        self.processes.insert(
            pid,
            Paper {
                process,
                argv,
                exe: exe.into(),
            },
        );
        if let Some(label) = self.labels.get(&ppid).copied() {
            let (flags, call) = (label.flags & LABEL_INHERITED, self.call_in_force(ppid, &label));
            self.labels.insert(
                pid,
                Label {
                    call,
                    start_ns,
                    flags,
                    ..label
                },
            );
        }
    }

    /// What was noted for a process goes before what it was born with.
    fn call_in_force(&self, tgid: u32, label: &Label) -> u64 {
        let process = ProcessId {
            tgid,
            start_ns: label.start_ns,
        };
        self.calls.get(&process).copied().unwrap_or(label.call)
    }

    fn event(&self, pid: u32, kind: EventKind) -> Event {
        let label = self.labels[&pid];
        Event {
            seq: 0,
            boot_ns: self.clock,
            session: label.session,
            call: self.call_in_force(pid, &label),
            process: ProcessId {
                tgid: pid,
                start_ns: label.start_ns,
            },
            image: ImageId {
                tgid: label.exec_tgid,
                exec_ns: label.exec_ns,
            },
            uid: 0,
            comm: "x".into(),
            kind,
        }
    }
}

impl Host for PaperHost {
    fn processes(&mut self) -> Vec<Process> {
        self.processes.values().map(|paper| paper.process).collect()
    }
    fn parent(&self, pid: u32) -> Option<u32> {
        self.processes.get(&pid).map(|paper| paper.process.ppid)
    }
    fn arguments(&self, pid: u32) -> Vec<String> {
        self.processes
            .get(&pid)
            .map(|paper| paper.argv.clone())
            .unwrap_or_default()
    }
    fn executable(&self, pid: u32) -> String {
        self.processes
            .get(&pid)
            .map(|paper| paper.exe.clone())
            .unwrap_or_default()
    }
    fn executable_file(&self, pid: u32) -> Option<FileId> {
        self.executable(pid)
            .ends_with("defenseclaw-hook")
            .then_some(HOOK_FILE)
    }
    fn home(&self, _pid: u32) -> String {
        "/home/u".into()
    }
    fn file(&self, path: &str) -> Option<FileId> {
        (path == "/home/u/.aws/credentials").then_some(FileId { dev: 1, ino: 5 })
    }
    fn is_alive(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }
    fn label(&self, tgid: u32) -> Option<Label> {
        self.labels.get(&tgid).copied()
    }
    fn labels(&self) -> Vec<(u32, Label)> {
        self.labels.iter().map(|(tgid, label)| (*tgid, *label)).collect()
    }
    fn set_label(&mut self, tgid: u32, label: Label) -> Result<(), String> {
        self.labels.insert(tgid, label);
        Ok(())
    }
    fn remove_label(&mut self, tgid: u32) {
        self.labels.remove(&tgid);
    }
    fn set_call(&mut self, process: ProcessId, call: u64) {
        self.calls.insert(process, call);
    }
    fn call(&self, process: ProcessId) -> Option<u64> {
        self.calls.get(&process).copied()
    }
    fn remove_call(&mut self, process: ProcessId) {
        self.calls.remove(&process);
    }
    fn watch_file(&mut self, file: FileId) {
        self.watched.push(file);
    }
}

struct Scene {
    host: PaperHost,
    attributor: Attributor,
    session: SessionId,
    next_hook: u32,
}

impl Scene {
    fn new() -> Self {
        let mut host = PaperHost::default();
        host.spawn(HARNESS, 1, "/opt/claude/claude", &["claude"]);
        let hook = Hook {
            path: "/usr/bin/defenseclaw-hook".into(),
            file: HOOK_FILE,
        };
        let session = SessionId::new("claude-code", "s1").unwrap();
        let mut scene = Self {
            host,
            attributor: Attributor::new(vec![hook]),
            session,
            next_hook: 9000,
        };
        assert_eq!(scene.hook(HARNESS, None, false), Binding::Bound);
        scene
    }

    /// A hook call through `sh -c`, as the harness `parent` makes it.
    fn hook(&mut self, parent: u32, call: Option<CallDeclaration>, denied: bool) -> Binding {
        let (shell, hook) = (self.next_hook, self.next_hook + 1);
        self.next_hook += 2;
        let line = "/usr/bin/defenseclaw-hook claude-code";
        self.run(shell, parent, "/usr/bin/dash", &["/bin/sh", "-c", line]);
        self.run(
            hook,
            shell,
            "/usr/bin/defenseclaw-hook",
            &["/usr/bin/defenseclaw-hook", "claude-code"],
        );
        let binding = self
            .attributor
            .register(&mut self.host, &self.session, hook, call, denied);
        for pid in [hook, shell] {
            self.host.processes.remove(&pid);
            self.host.labels.remove(&pid);
        }
        binding
    }

    fn declare(&mut self, id: &str, kind: CallKind, facts: Facts) {
        assert_eq!(
            self.hook(HARNESS, Some(declaration(id, kind, facts)), false),
            Binding::Bound
        );
    }

    fn command(&mut self, id: &str, command: &str, facts: Facts) {
        self.declare(
            id,
            CallKind::Command {
                command: command.into(),
                background: false,
            },
            facts,
        );
    }

    fn take(&mut self, event: &Event) -> Option<Activity> {
        match self.attributor.event(&mut self.host, event, 0)?.body {
            RecordBody::Activity { activity } => Some(activity),
            other => panic!("{other:?}"),
        }
    }

    /// Forks and execs; the result is what the attributor says of the exec, if the process is labelled.
    fn run(&mut self, pid: u32, parent: u32, path: &str, argv: &[&str]) -> Option<Activity> {
        self.host.spawn(pid, parent, path, argv);
        self.exec(pid, path, argv)
    }

    fn exec(&mut self, pid: u32, path: &str, argv: &[&str]) -> Option<Activity> {
        let event = self.exec_untold(pid, path, argv)?;
        self.take(&event)
    }

    /// Execs; the event still waits in the ring.
    fn exec_untold(&mut self, pid: u32, path: &str, argv: &[&str]) -> Option<Event> {
        let exec_ns = self.host.now();
        let old = self.host.labels.get(&pid).copied()?;
        self.host.labels.insert(
            pid,
            Label {
                exec_ns,
                exec_tgid: pid,
                ..old
            },
        );
        let file = if path.ends_with("defenseclaw-hook") {
            HOOK_FILE
        } else if path.ends_with("defenseclaw-shell") {
            SHELL_FILE
        } else if path.ends_with("lib/defenseclaw/defenseclaw-cli") {
            TOOL_FILE
        } else if path.ends_with("defenseclaw-cli") {
            LAUNCHER_FILE
        } else {
            FileId { dev: 1, ino: 7 }
        };
        let exec = Exec {
            parent: ImageId {
                tgid: old.exec_tgid,
                exec_ns: old.exec_ns,
            },
            ppid: 0,
            filename: path.into(),
            path: path.into(),
            cwd: "/p".into(),
            argv: argv.iter().map(|&text| text.to_owned()).collect(),
            argv_truncated: false,
            file,
        };
        Some(self.host.event(pid, EventKind::Exec(Box::new(exec))))
    }

    /// Runs a command as the harness does.
    fn shell(&mut self, pid: u32, command: &str) -> Activity {
        let line = format!("source /s.sh && eval '{command}' < /dev/null && pwd -P >| /tmp/claude-1-cwd");
        self.run(pid, HARNESS, "/usr/bin/bash", &["/bin/bash", "-c", &line])
            .unwrap()
    }

    fn open(&mut self, pid: u32, path: &str, access: FileAccess) -> Option<Activity> {
        let event = self.host.event(
            pid,
            EventKind::Open {
                path: path.into(),
                path_truncated: false,
                access,
                file: FileId {
                    dev: 1,
                    ino: path.len() as u64 + 1000,
                },
                watched_file: false,
            },
        );
        self.take(&event)
    }

    fn connect(&mut self, pid: u32, address: [u8; 4]) -> Activity {
        let kind = EventKind::Connect {
            protocol: Protocol::Tcp,
            address: IpAddr::V4(Ipv4Addr::from(address)),
            port: 80,
        };
        let event = self.host.event(pid, kind);
        self.take(&event).unwrap()
    }
}

fn declaration(id: &str, kind: CallKind, facts: Facts) -> CallDeclaration {
    CallDeclaration {
        call: CallId::new(id).unwrap(),
        tool: "T".into(),
        kind,
        cwd: Some("/p".into()),
        facts,
    }
}

fn program(name: &str) -> Program {
    Program {
        name: name.into(),
        argv: vec![name.into()],
    }
}

fn path(path: &str) -> PathFact {
    PathFact {
        path: path.into(),
        class: None,
        by: Vec::new(),
    }
}

fn told(activity: &Activity) -> (Option<&str>, Basis, Explained) {
    let attribution = &activity.attribution;
    (
        attribution.call.as_ref().map(CallId::as_str),
        attribution.basis,
        attribution.explained,
    )
}

#[test]
fn a_command_takes_over_its_subtree() {
    let mut scene = Scene::new();
    scene.command(
        "c1",
        "make all",
        Facts {
            programs: vec![program("make")],
            ..Facts::default()
        },
    );
    assert_eq!(
        told(&scene.shell(200, "make all")),
        (Some("c1"), Basis::Argv, Explained::Declared)
    );
    let make = scene.run(201, 200, "/usr/bin/make", &["make", "all"]).unwrap();
    assert_eq!(told(&make), (Some("c1"), Basis::Lineage, Explained::Declared));
    let cc = scene.run(202, 201, "/usr/bin/cc", &["cc"]).unwrap();
    assert_eq!(told(&cc), (Some("c1"), Basis::Lineage, Explained::Derived));
    let written = scene.open(202, "/p/a.o", FileAccess::Create).unwrap();
    assert_eq!(told(&written), (Some("c1"), Basis::Lineage, Explained::Derived));
}

#[test]
fn parallel_calls_are_told_apart() {
    let mut scene = Scene::new();
    for (id, command) in [("c1", "sleep 1"), ("c2", "sleep 12"), ("c3", "sleep 1")] {
        scene.command(id, command, Facts::default());
    }
    assert_eq!(told(&scene.shell(202, "sleep 12")).0, Some("c2"));
    assert_eq!(told(&scene.shell(201, "sleep 1")).0, Some("c1"));
    assert_eq!(
        told(&scene.shell(203, "sleep 1")).0,
        Some("c3"),
        "the same command twice is two calls"
    );
}

#[test]
fn a_background_process_belongs_to_its_call_after_the_end() {
    let mut scene = Scene::new();
    scene.command("c1", "server &", Facts::default());
    scene.shell(200, "server &");
    scene.run(201, 200, "/p/server", &["server"]).unwrap();
    scene
        .attributor
        .call_end(&scene.session.clone(), &CallId::new("c1").unwrap());
    let late = scene.connect(201, [127, 0, 0, 1]);
    assert_eq!(told(&late), (Some("c1"), Basis::Lineage, Explained::Derived));
    assert!(late.attribution.after_call);
}

#[test]
fn declared_files_and_hosts_are_told_from_derived_ones() {
    let mut scene = Scene::new();
    let facts = Facts {
        writes: vec![path("/p/out")],
        hosts: vec![HostFact {
            host: "192.0.2.1".into(),
            port: None,
        }],
        ..Facts::default()
    };
    scene.command("c1", "x", facts);
    scene.shell(200, "x");
    assert_eq!(
        told(&scene.open(200, "/p/out", FileAccess::Create).unwrap()).2,
        Explained::Declared
    );
    assert_eq!(
        told(&scene.open(200, "/p/other", FileAccess::Create).unwrap()).2,
        Explained::Derived
    );
    assert_eq!(told(&scene.connect(200, [192, 0, 2, 1])).2, Explained::Declared);
    assert_eq!(told(&scene.connect(200, [192, 0, 2, 2])).2, Explained::Derived);
}

#[test]
fn the_harness_edits_files_itself() {
    let mut scene = Scene::new();
    scene.declare(
        "w1",
        CallKind::FileWrite {
            paths: vec!["/p/a.rs".into()],
        },
        Facts::default(),
    );
    let direct = scene
        .open(HARNESS, "/p/a.rs.tmp.100.0123456789ab", FileAccess::Create)
        .unwrap();
    assert_eq!(told(&direct), (Some("w1"), Basis::Path, Explained::Declared));
    let own = scene
        .open(HARNESS, "/home/u/.claude/projects/x.jsonl", FileAccess::Write)
        .unwrap();
    assert_eq!(told(&own), (None, Basis::Contract, Explained::Declared));
    let stray = scene.open(HARNESS, "/home/u/.bashrc", FileAccess::Write).unwrap();
    assert_eq!(told(&stray), (None, Basis::None, Explained::Unexplained));
    // Through a symbolic link the kernel shows another folder.
    let linked = scene.open(HARNESS, "/real/a.rs", FileAccess::Create).unwrap();
    assert_eq!(told(&linked), (Some("w1"), Basis::Window, Explained::Derived));
}

#[test]
fn what_no_call_explains_is_unexplained_and_so_are_its_children() {
    let mut scene = Scene::new();
    scene.command("c1", "ls", Facts::default());
    let stray = scene
        .run(200, HARNESS, "/usr/bin/curl", &["curl", "evil"])
        .unwrap();
    assert_eq!(told(&stray), (None, Basis::None, Explained::Unexplained));
    let child = scene.run(201, 200, "/usr/bin/ls", &["ls"]).unwrap();
    assert_eq!(told(&child), (None, Basis::None, Explained::Unexplained));
}

#[test]
fn housekeeping_is_explained_but_not_what_it_was_made_to_run() {
    let mut scene = Scene::new();
    let status = scene
        .run(
            200,
            HARNESS,
            "/usr/bin/git",
            &["git", "--no-optional-locks", "status", "--short"],
        )
        .unwrap();
    assert_eq!(told(&status), (None, Basis::Contract, Explained::Declared));
    // core.fsmonitor of a hostile repository.
    let monitor = scene
        .run(201, 200, "/p/.git/monitor.sh", &["monitor.sh"])
        .unwrap();
    assert_eq!(told(&monitor), (None, Basis::None, Explained::Unexplained));
    let out = scene.connect(200, [192, 0, 2, 1]);
    assert_eq!(
        told(&out).2,
        Explained::Unexplained,
        "git status does not connect"
    );
}

#[test]
fn a_refused_command_that_runs_all_the_same_is_known_and_unexplained() {
    let mut scene = Scene::new();
    let kind = CallKind::Command {
        command: "rm -rf /".into(),
        background: false,
    };
    scene.hook(HARNESS, Some(declaration("d1", kind, Facts::default())), true);
    let ran = scene.shell(200, "rm -rf /");
    assert_eq!(told(&ran), (Some("d1"), Basis::Argv, Explained::Unexplained));
    let child = scene.run(201, 200, "/usr/bin/rm", &["rm", "-rf", "/"]).unwrap();
    assert_eq!(told(&child), (Some("d1"), Basis::Lineage, Explained::Unexplained));
}

#[test]
fn only_watched_reads_become_activities() {
    let mut scene = Scene::new();
    scene.command(
        "c1",
        "x",
        Facts {
            reads: vec![path("/home/u/.aws/credentials")],
            ..Facts::default()
        },
    );
    scene.shell(200, "x");
    let before = scene.attributor.filtered();
    assert!(scene.open(200, "/p/credentials", FileAccess::Read).is_none());
    assert_eq!(scene.attributor.filtered(), before + 1);
    let read = scene
        .open(200, "/home/u/.aws/credentials", FileAccess::Read)
        .unwrap();
    assert_eq!(told(&read).2, Explained::Declared);
    assert!(matches!(read.action, Action::Open { class: Some(_), .. }));
    let linked = Event {
        kind: EventKind::Open {
            path: "/p/innocent.txt".into(),
            path_truncated: false,
            access: FileAccess::Read,
            file: FileId { dev: 1, ino: 5 },
            watched_file: true,
        },
        ..scene.host.event(200, EventKind::LabelLost)
    };
    let hard_link = scene.take(&linked).unwrap();
    assert!(
        matches!(hard_link.action, Action::Open { class: Some(_), .. }),
        "known by identity, not by name"
    );
}

#[test]
fn the_harness_connects_to_its_model_and_fetches_for_a_call() {
    let mut scene = Scene::new();
    assert_eq!(
        told(&scene.connect(HARNESS, [192, 0, 2, 9])),
        (None, Basis::Contract, Explained::Declared)
    );
    scene.declare(
        "n1",
        CallKind::Network {
            targets: vec!["https://a".into()],
        },
        Facts::default(),
    );
    assert_eq!(
        told(&scene.connect(HARNESS, [192, 0, 2, 9])),
        (Some("n1"), Basis::Window, Explained::Derived)
    );
}

#[test]
fn exits_are_attributed_and_forget_the_call() {
    let mut scene = Scene::new();
    scene.command("c1", "x", Facts::default());
    scene.shell(200, "x");
    let event = scene.host.event(200, EventKind::Exit(ExitStatus::Code(0)));
    assert_eq!(told(&scene.take(&event).unwrap()).0, Some("c1"));
    assert!(scene.host.calls.is_empty());
}
