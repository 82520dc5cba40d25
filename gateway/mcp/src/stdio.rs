//! A server that speaks on its standard streams, in its sandbox.

use std::io::{BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Incoming, Transport, trouble_of};
use crate::json::{self, JsonFault};
use crate::problem::{Problem, Trouble};
use crate::tree::Tree;

/// Longest message (bytes). The largest real lists of tools have some hundred kilobytes.
pub(crate) const MAX_MESSAGE: usize = 4 << 20;
/// Most of all messages together (bytes).
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// Most of its standard error that is kept, the last of it (bytes).
pub(crate) const MAX_STDERR: usize = 32 << 10;
/// Most processes of one server. Launchers, shells and a few helpers stay below ten.
pub(crate) const MAX_PROCESSES: usize = 64;
/// Most memory of all its processes (bytes). A server on node takes a tenth of it.
pub(crate) const MAX_MEMORY: u64 = 2 << 30;
/// Between two looks at what it takes.
const LOOK: Duration = Duration::from_millis(100);
/// Messages that are read ahead: a server that says more waits in its pipe.
const AHEAD: usize = 64;
/// Answers to a server that it has not read yet.
const BEHIND: usize = 256;
/// How long a server that has ended may still be about to say why.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// What the shell inside says when the sandbox is closed and the server not started yet.
pub(crate) const READY: &str = "defenseclaw-mcp-ready";

/// Bounds of each process that the kernel keeps, then the word that all is closed, then the server.
pub(crate) const SCRIPT: &str = "ulimit -c 0; ulimit -t 60; ulimit -n 1024; ulimit -f 524288; ulimit -d 4194304; \
     echo defenseclaw-mcp-ready; IFS= read -r go || exit 125; exec env -i \"$@\"";

enum Event {
    Line(Vec<u8>),
    TooLong,
    TooMuch,
    End,
}

/// A server that runs. Dropping it ends all its processes.
pub(crate) struct Running {
    child: Child,
    tree: Tree,
    out: Option<SyncSender<Vec<u8>>>,
    events: Receiver<Event>,
    stderr: Arc<Mutex<Vec<u8>>>,
    greedy: Arc<Mutex<Option<String>>>,
    stop: Sender<()>,
    watcher: Option<JoinHandle<()>>,
    stderr_ended: Arc<AtomicBool>,
}

impl Running {
    /// Starts `command`, which closes a sandbox, runs [`SCRIPT`] in it and becomes the server.
    pub(crate) fn start(mut command: Command, deadline: Instant) -> Result<Self, Problem> {
        let refused = |why: String| {
            Problem::new(
                Trouble::NoSandbox,
                "No sandbox could be closed around it, so it was not started",
            )
            .seen(why)
        };
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().map_err(|error| refused(error.to_string()))?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
            return Err(refused("it has no streams".to_owned()));
        };
        let (stop, _) = channel();
        let mut running = Self {
            tree: Tree::of(child.id()),
            child,
            out: Some(write_on(stdin)),
            events: read_on(stdout),
            stderr: Arc::default(),
            greedy: Arc::default(),
            stop,
            watcher: None,
            stderr_ended: Arc::default(),
        };
        running.keep_stderr(stderr);
        let wait = deadline.saturating_duration_since(Instant::now());
        match running.events.recv_timeout(wait) {
            Ok(Event::Line(line)) if line == READY.as_bytes() => {}
            Ok(_) => {
                let why = running.last_words();
                return Err(refused(why));
            }
            Err(_) => return Err(refused("it was not closed in time".to_owned())),
        }
        // The sandbox is closed, and nothing of the server has run yet.
        running.tree = Tree::of(running.child.id());
        running.watch();
        running.say(b"\n".to_vec())?;
        Ok(running)
    }

    /// The end of what it wrote on standard error.
    pub(crate) fn stderr(&self) -> String {
        let kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }

    fn keep_stderr(&self, stderr: ChildStderr) {
        let (kept, ended) = (Arc::clone(&self.stderr), Arc::clone(&self.stderr_ended));
        std::thread::spawn(move || {
            let mut stderr = stderr;
            let mut bytes = vec![0; 8 << 10];
            while let Ok(count @ 1..) = stderr.read(&mut bytes) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(bytes.get(..count).unwrap_or_default());
                let over = kept.len().saturating_sub(MAX_STDERR);
                kept.drain(..over);
            }
            ended.store(true, Ordering::Release);
        });
    }

    /// Ends a server that takes more than it may.
    fn watch(&mut self) {
        let (stop, stopped) = channel();
        self.stop = stop;
        let (tree, greedy) = (self.tree.clone(), Arc::clone(&self.greedy));
        self.watcher = Some(std::thread::spawn(move || {
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let (processes, memory) = tree.weight();
                let why = if processes > MAX_PROCESSES {
                    format!("It starts more than {MAX_PROCESSES} processes")
                } else if memory > MAX_MEMORY {
                    format!("It takes more than {} MiB of memory", MAX_MEMORY >> 20)
                } else {
                    continue;
                };
                greedy.lock().unwrap_or_else(PoisonError::into_inner).replace(why);
                tree.end();
                return;
            }
        }));
    }

    fn say(&self, bytes: Vec<u8>) -> Result<(), Problem> {
        let sent = self.out.as_ref().map(|out| out.try_send(bytes));
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(std::sync::mpsc::TrySendError::Full(_))) => Err(Problem::new(
                Trouble::Flood,
                "It asks and asks, and does not read the answers",
            )),
            _ => Err(self.ended()),
        }
    }

    fn last_words(&self) -> String {
        let until = Instant::now() + LAST_WORDS;
        while !self.stderr_ended.load(Ordering::Acquire) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.stderr()
    }

    fn ended(&self) -> Problem {
        let words = self.last_words();
        let greedy = self.greedy.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(why) = greedy {
            return Problem::new(Trouble::Greedy, why).seen(words);
        }
        let trouble = trouble_of(&words).unwrap_or(Trouble::Ended);
        let message = match trouble {
            Trouble::NeedsNetwork => "It ends without the network",
            Trouble::NeedsLogin => "It ends without a key or login",
            _ => "It ends before it has answered",
        };
        // Why it ended stands at the end.
        let from = words.ceil_char_boundary(words.len().saturating_sub(400));
        Problem::new(trouble, message).seen(words.get(from..).unwrap_or_default())
    }
}

impl Transport for Running {
    fn send(&mut self, message: &Value, _: Instant) -> Result<(), Problem> {
        let mut line = message.to_string().into_bytes();
        line.push(b'\n');
        self.say(line)
    }

    fn receive(&mut self, deadline: Instant) -> Result<Incoming, Problem> {
        loop {
            let wait = deadline.saturating_duration_since(Instant::now());
            let line = match self.events.recv_timeout(wait) {
                Ok(Event::Line(line)) if line.trim_ascii().is_empty() => continue,
                Ok(Event::Line(line)) => line,
                Ok(Event::TooLong) => return Err(too_large(MAX_MESSAGE)),
                Ok(Event::TooMuch) => {
                    let message = format!("Its answers have more than {MAX_BYTES} bytes in all");
                    return Err(Problem::new(Trouble::TooLarge, message));
                }
                Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(
                        Problem::new(Trouble::Silent, "It does not answer in time").seen(self.stderr())
                    );
                }
            };
            return incoming(&line);
        }
    }
}

pub(crate) fn too_large(bound: usize) -> Problem {
    Problem::new(
        Trouble::TooLarge,
        format!("It sends a message of more than {bound} bytes"),
    )
}

/// A message, or why it is none.
pub(crate) fn incoming(bytes: &[u8]) -> Result<Incoming, Problem> {
    let start = || {
        let start = bytes.get(..bytes.len().min(120)).unwrap_or_default();
        String::from_utf8_lossy(start).into_owned()
    };
    match json::parse(bytes) {
        Ok(message) => Ok(Incoming::Message(message)),
        Err(fault @ (JsonFault::Deep | JsonFault::Many)) => Err(Problem::new(
            Trouble::TooLarge,
            format!("It sends a message that is not read: {fault}"),
        )),
        Err(fault @ JsonFault::Twice(_)) => Err(Problem::new(
            Trouble::Twice,
            "It sends an object that has a name twice",
        )
        .seen(fault.to_string())),
        Err(JsonFault::NotUtf8 | JsonFault::Syntax(_)) => Ok(Incoming::Fault(
            Problem::new(
                Trouble::Noise,
                "It writes what is no message between its messages",
            )
            .seen(start()),
        )),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // In this order: what is killed writes and reads no more, so that no thread waits for it.
        let _ = self.stop.send(());
        self.out.take();
        self.tree.end();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

/// Writes what it is given, on a thread of its own: a server that does not read must not stop us.
fn write_on(mut stdin: ChildStdin) -> SyncSender<Vec<u8>> {
    let (send, receive) = sync_channel::<Vec<u8>>(BEHIND);
    std::thread::spawn(move || {
        for bytes in receive {
            if stdin.write_all(&bytes).and_then(|()| stdin.flush()).is_err() {
                return;
            }
        }
    });
    send
}

/// Lines as they come, within bounds.
fn read_on(stdout: ChildStdout) -> Receiver<Event> {
    let (send, receive) = sync_channel(AHEAD);
    std::thread::spawn(move || {
        // Nobody listens any more where a word cannot be handed on.
        let _ = lines(BufReader::new(stdout), &send);
    });
    receive
}

fn lines(mut from: impl Read, to: &SyncSender<Event>) -> Result<(), std::sync::mpsc::SendError<Event>> {
    let mut bytes = vec![0; 64 << 10];
    let (mut line, mut all) = (Vec::new(), 0_usize);
    loop {
        let count = match from.read(&mut bytes) {
            Ok(0) | Err(_) => {
                if !line.is_empty() {
                    to.send(Event::Line(line))?;
                }
                return to.send(Event::End);
            }
            Ok(count) => count,
        };
        all += count;
        if all > MAX_BYTES {
            return to.send(Event::TooMuch);
        }
        let mut rest = bytes.get(..count).unwrap_or_default();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = rest.split_at(end);
            line.extend_from_slice(head);
            rest = tail.get(1..).unwrap_or_default();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            to.send(Event::Line(std::mem::take(&mut line)))?;
        }
        line.extend_from_slice(rest);
        if line.len() > MAX_MESSAGE {
            return to.send(Event::TooLong);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<String> {
        let (send, receive) = sync_channel(1_000);
        lines(text, &send).unwrap();
        drop(send);
        let word = |event| match event {
            Event::Line(line) => String::from_utf8(line).unwrap(),
            Event::TooLong => "(too long)".to_owned(),
            Event::TooMuch => "(too much)".to_owned(),
            Event::End => "(end)".to_owned(),
        };
        receive.into_iter().map(word).collect()
    }

    #[test]
    fn lines_are_bounded_one_by_one_and_together() {
        assert_eq!(read(b"a\r\nb\n\nc"), ["a", "b", "", "c", "(end)"]);
        assert_eq!(read(&vec![b'x'; MAX_MESSAGE + 70_000]), ["(too long)"]);
        let line = [vec![b'x'; MAX_MESSAGE / 2], vec![b'\n']].concat();
        let read = read(&line.repeat(10));
        assert_eq!(read.last().unwrap(), "(too much)");
        assert!(read.len() <= 9);
    }

    #[test]
    fn what_is_no_message_is_told_and_what_is_too_much_ends_it() {
        assert!(matches!(incoming(b"{\"a\":1}"), Ok(Incoming::Message(_))));
        for noise in [&b"Server started"[..], b"\xff\xfe"] {
            assert!(
                matches!(incoming(noise), Ok(Incoming::Fault(problem)) if problem.trouble == Trouble::Noise)
            );
        }
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert!(matches!(incoming(deep.as_bytes()), Err(problem) if problem.trouble == Trouble::TooLarge));
        assert!(matches!(incoming(br#"{"a":1,"a":2}"#), Err(problem) if problem.trouble == Trouble::Twice));
    }

    /// A command in the place of a sandbox: it says that it is ready, waits, and becomes what it is given.
    fn started(server: &str) -> Result<Running, Problem> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "sh", "PATH=/usr/bin:/bin", "/bin/sh", "-c", server]);
        Running::start(command, Instant::now() + Duration::from_secs(20))
    }

    #[test]
    fn a_server_that_ends_says_why() {
        let soon = || Instant::now() + Duration::from_secs(20);
        let mut running = started("echo 'getaddrinfo ENOTFOUND api.example.org' >&2; exit 1").unwrap();
        let problem = running.receive(soon()).unwrap_err();
        assert_eq!(problem.trouble, Trouble::NeedsNetwork);
        let mut running = started("echo 'GITHUB_TOKEN is not set' >&2; exit 1").unwrap();
        assert_eq!(running.receive(soon()).unwrap_err().trouble, Trouble::NeedsLogin);
        let mut running = started("echo oops >&2; exit 7").unwrap();
        let problem = running.receive(soon()).unwrap_err();
        assert!(
            problem.trouble == Trouble::Ended && problem.evidence.contains("oops"),
            "{problem:?}"
        );
        let mut running = started("exec sleep 60").unwrap();
        assert_eq!(
            running.receive(Instant::now()).unwrap_err().trouble,
            Trouble::Silent
        );
    }

    #[test]
    fn a_server_that_is_never_ready_was_not_started() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo 'no namespaces here' >&2; exit 125"]);
        let problem = Running::start(command, Instant::now() + Duration::from_secs(20))
            .err()
            .unwrap();
        assert!(
            problem.trouble == Trouble::NoSandbox && problem.evidence.contains("no namespaces"),
            "{problem:?}"
        );
        let problem = Running::start(Command::new("/nowhere/x"), Instant::now())
            .err()
            .unwrap();
        assert_eq!(problem.trouble, Trouble::NoSandbox);
    }

    #[test]
    fn a_storm_of_processes_is_ended() {
        let mut running = started("for i in $(seq 100); do sleep 60 & done; wait").unwrap();
        let problem = running
            .receive(Instant::now() + Duration::from_secs(60))
            .unwrap_err();
        assert_eq!(problem.trouble, Trouble::Greedy, "{problem:?}");
        assert_eq!(running.tree.weight().0, 0);
    }

    #[test]
    fn a_server_that_does_not_read_stops_nobody() {
        let mut running = started("exec sleep 60").unwrap();
        let message = Value::from("x".repeat(4_000));
        let sent = (0..BEHIND * 2).map(|_| running.send(&message, Instant::now()));
        let refused = sent.filter_map(Result::err).next().unwrap();
        assert_eq!(refused.trouble, Trouble::Flood);
    }
}
