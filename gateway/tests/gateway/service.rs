//! Under a service manager: what it is told, the sockets that it holds, and signs of life that have to be earned.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::world::World;

/// No step takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the gateway tells.
struct Manager(UnixDatagram);

impl Manager {
    fn of(world: &World) -> Self {
        let socket = UnixDatagram::bind(world.path("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn next(&self) -> String {
        let mut buffer = [0; 1024];
        let count = self.0.recv(&mut buffer).expect("the manager is told something");
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    /// The next message that says so.
    fn until(&self, what: &str) -> String {
        loop {
            let said = self.next();
            if said.contains(what) {
                return said;
            }
        }
    }
}

fn variable(world: &World) -> String {
    world.path("notify").to_str().unwrap().to_owned()
}

fn listen(path: &Path, mode: u32) -> UnixListener {
    let folder = path.parent().unwrap();
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    let listener = UnixListener::bind(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    listener
}

fn again(listener: &UnixListener) -> OwnedFd {
    listener.try_clone().unwrap().into()
}

#[test]
fn it_says_that_it_is_ready_when_it_answers_and_what_becomes_of_its_rules() {
    let mut world = World::prepare("mode: action");
    let (manager, notify) = (Manager::of(&world), variable(&world));
    world.start_service(&[("NOTIFY_SOCKET", &notify)], &[]);
    assert_eq!(manager.next(), "READY=1\nSTATUS=decides in mode action");
    // No waiting and no second attempt: whoever was told that it is ready finds it answering.
    assert!(world.bash("t", "deny-me").is_denied());
    let pid = Pid::from_raw(world.pid() as i32);
    kill(pid, Signal::SIGHUP).unwrap();
    assert!(manager.next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(manager.next(), "READY=1\nSTATUS=decides in mode action");
    fs::write(
        world.path("policy/lists.yaml"),
        "version: 1\nblock: [{ program: x }]\n",
    )
    .unwrap();
    kill(pid, Signal::SIGHUP).unwrap();
    manager.until("RELOADING=1");
    assert!(manager.next().contains("the new rules were refused"));
    assert!(
        world.bash("t2", "deny-me").is_denied(),
        "those before stay in force"
    );
    assert!(world.end(Signal::SIGTERM).success());
    assert!(manager.next().starts_with("STOPPING=1"));
    let states: Vec<_> = world.daemons().into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(
        states,
        ["started", "policy_reloaded", "policy_refused", "stopped"]
    );
}

#[test]
fn who_calls_while_it_is_away_is_answered_by_the_next_one() {
    let mut world = World::prepare("mode: action");
    let (manager, notify) = (Manager::of(&world), variable(&world));
    let (hooks, agent) = (
        listen(&world.socket(), 0o666),
        listen(&world.agent_socket(), 0o600),
    );
    let variables = [
        ("NOTIFY_SOCKET", notify.as_str()),
        ("LISTEN_FDNAMES", "gateway:agent"),
    ];
    let held = [again(&hooks), again(&agent)];
    world.start_service(&variables, &held);
    manager.until("READY=1");
    assert!(world.bash("t1", "deny-me").is_denied());
    let _connected = world.agent();
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        world.end(signal);
        let denied = std::thread::scope(|scope| {
            let call = scope.spawn(|| world.bash("t2", "deny-me").is_denied());
            // Its connection is made: the kernel has it, and nobody runs who could answer.
            world.until("the call waits", |_| has_waiting(&hooks));
            let mut next = world.service(&variables[1..], &held).spawn().unwrap();
            let denied = call.join().unwrap();
            kill(Pid::from_raw(next.id() as i32), Signal::SIGTERM).unwrap();
            assert!(next.wait().unwrap().success());
            denied
        });
        assert!(denied, "after {signal}");
        assert!(
            world.socket().exists() && world.agent_socket().exists(),
            "they are the manager's"
        );
        world.start_service(&variables, &held);
        manager.until("READY=1");
    }
    world.verify();
}

/// Whether a connection waits to be accepted.
fn has_waiting(listener: &UnixListener) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
}

#[test]
fn sockets_that_are_not_its_own_are_refused_before_anything_is_touched() {
    let world = World::prepare("");
    let right = listen(&world.socket(), 0o666);
    let elsewhere = listen(&world.path("run/other.sock"), 0o666);
    let loose = listen(&world.agent_socket(), 0o660);
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let cases: [(&str, OwnedFd, &str); 5] = [
        ("hooks", again(&right), "none of this gateway's"),
        ("gateway", again(&elsewhere), "other.sock"),
        ("gateway", everywhere.try_clone().unwrap().into(), "no path"),
        ("agent", again(&loose), "SocketMode=0600"),
        ("api", everywhere.into(), "not loopback"),
    ];
    for (name, descriptor, why) in cases {
        let output = world
            .service(&[("LISTEN_FDNAMES", name)], &[descriptor])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains(why), "{name}: {said}");
        assert!(
            !world.path("state").exists(),
            "{name}: nothing of it left a trace"
        );
    }
}

#[test]
fn the_api_is_there_when_its_socket_unit_is() {
    let ask = |world: &World, address| {
        let token = fs::read_to_string(world.path("state/api-token")).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET /v1/health HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
            token.trim()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let mut world = World::prepare("");
    let (manager, notify) = (Manager::of(&world), variable(&world));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let variables = [("NOTIFY_SOCKET", notify.as_str()), ("LISTEN_FDNAMES", "api")];
    world.start_service(&variables, &[listener.into()]);
    manager.until("READY=1");
    assert!(ask(&world, address).starts_with("HTTP/1.1 200"));
    // Another address than the configuration's is a contradiction.
    let world = World::prepare("api: { listen: \"127.0.0.1:1\" }");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = world
        .service(&[("LISTEN_FDNAMES", "api")], &[listener.into()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("`api.listen` is 127.0.0.1:1"),
        "{said}"
    );
}

/// One thread of the gateway, held still as a debugger would.
struct Still(Pid);

impl Still {
    /// All threads of that name.
    fn threads(process: u32, name: &str) -> Vec<Self> {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let named = tasks
            .map(|task| task.unwrap().path())
            .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name));
        let numbers = named.map(|task| task.file_name().unwrap().to_str().unwrap().parse().unwrap());
        let still: Vec<Self> = numbers.map(Self::thread).collect();
        assert!(!still.is_empty(), "no thread is called {name}");
        still
    }

    fn thread(number: i32) -> Self {
        let thread = Pid::from_raw(number);
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        Self(thread)
    }

    fn go_on(self) {
        ptrace::detach(self.0, None).unwrap();
    }
}

#[test]
fn a_gateway_whose_writer_or_deciding_threads_stand_still_gives_no_sign_of_life() {
    let mut world = World::prepare("");
    let (manager, notify) = (Manager::of(&world), variable(&world));
    world.start_service(&[("NOTIFY_SOCKET", &notify), ("WATCHDOG_USEC", "1500000")], &[]);
    manager.until("READY=1");
    manager.until("WATCHDOG=1");
    manager.until("WATCHDOG=1");

    let writer = Still::threads(world.pid(), "ledger");
    // Signs from before may still be under way, and so may words about a slow moment.
    manager.until("STATUS=stuck: the ledger's writer");
    manager.until("STATUS=stuck: the ledger's writer");
    for _ in 0..3 {
        assert_eq!(
            manager.next(),
            "STATUS=stuck: the ledger's writer does not answer"
        );
    }
    writer.into_iter().for_each(Still::go_on);
    manager.until("WATCHDOG=1");

    let answers = Still::threads(world.pid(), "decide");
    while manager.0.set_nonblocking(true).is_ok() && manager.0.recv(&mut [0; 1024]).is_ok() {}
    // Nothing else in the gateway speaks for it: not in three times the time.
    std::thread::sleep(Duration::from_millis(4500));
    assert!(
        manager.0.recv(&mut [0; 1024]).is_err(),
        "somebody said that it is alive"
    );
    answers.into_iter().for_each(Still::go_on);
    manager.0.set_nonblocking(false).unwrap();
    manager.until("WATCHDOG=1");
    let mut stream = UnixStream::connect(world.socket()).unwrap();
    stream
        .write_all(b"GET /v1/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn for_the_journal_each_line_has_its_priority() {
    use std::os::unix::fs::MetadataExt;
    let mut world = World::prepare("");
    let (manager, notify) = (Manager::of(&world), variable(&world));
    fs::write(world.path("log"), "").unwrap();
    let meta = fs::metadata(world.path("log")).unwrap();
    let stream = format!("{}:{}", meta.dev(), meta.ino());
    world.start_service(&[("NOTIFY_SOCKET", &notify), ("JOURNAL_STREAM", &stream)], &[]);
    manager.until("READY=1");
    world.end(Signal::SIGTERM);
    let log = world.log();
    assert!(
        log.lines().count() >= 2
            && log
                .lines()
                .all(|line| line.starts_with("<6>") || line.starts_with("<4>")),
        "{log}"
    );
    // A refusal is an error, and for a person it is a plain line.
    fs::write(world.path("config.yaml"), "mod: action\n").unwrap();
    world.start_service(&[("JOURNAL_STREAM", &stream)], &[]);
    world.until("it has said why", |world| world.log().contains("<3>"));
    world.end(Signal::SIGKILL);
    let plain = String::from_utf8(world.command().output().unwrap().stderr).unwrap();
    assert!(
        plain.starts_with("defenseclaw-gateway: configuration: "),
        "{plain}"
    );
}
