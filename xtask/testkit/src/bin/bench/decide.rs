//! `decide`: decisions over the gateway's socket, at rest and with many sessions at once, and what of them is deciding.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use defenseclaw_model::decision::Mode;
use defenseclaw_testkit::statistics::Samples;
use defenseclaw_testkit::{Stack, StackOptions};
use serde_json::{Value, json};

use crate::{assert_answered, payload, summary};

/// Sessions that ask at once.
const SESSIONS: usize = 50;
/// Decisions of each of them.
const ROUNDS: usize = 400;
/// Decisions, one after the other, at rest.
const AT_REST: usize = 4_000;
/// Answers that warm caches and are not counted.
const WARM_UP: usize = 200;

/// What developers' agents run, from short to about 1 KiB; asked in turn.
const COMMANDS: [&str; 8] = [
    "git status && ls -la",
    "cargo test --workspace 2>&1 | tail -n 40",
    "rm -rf build && mkdir build && cmake -S . -B build -G Ninja && cmake --build build",
    "grep -rn 'fn main' --include='*.rs' src crates | head -20",
    "npm ci && npm run build && npx vitest run --coverage",
    "docker compose ps --format json | jq -r '.[].State' | sort | uniq -c",
    "python3 -m pytest -q tests/test_api.py -k 'not slow' --maxfail=3 2>&1 | tail -30",
    "cat > src/config.ts <<'EOF'\nexport const config = {\n  host: process.env.HOST ?? 'localhost',\n  port: 8080,\n};\nEOF\nnpx tsc --noEmit",
];

/// A script of 1 KiB as agents write them: some set-up, a loop, a check at the end.
const ONE_KIB: &str = include_str!("one_kib.sh");

/// See the module.
pub(crate) fn run(programs: &Path) -> Result<Vec<Value>> {
    let mut results = in_process()?;
    let stack = Stack::start(StackOptions {
        programs: Some(programs.to_owned()),
        mode: Mode::Action,
        agent: false,
        ..StackOptions::default()
    })?;
    let floor = at_rest("echo over a Unix socket, 1 KiB", &echo(stack.folder())?)?;
    let ours = at_rest("decision over the socket, 1 KiB Bash", &stack.socket())?;
    let (floor_median, median) = (floor.1.percentile(50), ours.1.percentile(50));
    let mut line = ours.0;
    line["times_echo"] = json!((10.0 * median.as_secs_f64() / floor_median.as_secs_f64()).round() / 10.0);
    results.extend([
        floor.0,
        line,
        many(&stack.socket(), COMMANDS.as_slice(), "short commands")?,
    ]);
    results.push(many(&stack.socket(), &[ONE_KIB], "1 KiB Bash")?);
    assert_answered(&stack)?;
    Ok(results)
}

/// The gateway's own measure of what it does between a payload and its reply, without socket and ledger.
fn in_process() -> Result<Vec<Value>> {
    let program = std::env::current_exe()?
        .with_file_name("examples")
        .join("decide_cost");
    let output = Command::new(&program)
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// A server that gives back what it gets: what the socket alone costs.
fn echo(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("echo-http.sock");
    let listener = UnixListener::bind(&path)?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {count}\r\n\r\n");
                    let mut answer = head.into_bytes();
                    answer.extend_from_slice(&buffer[..count]);
                    if stream.write_all(&answer).is_err() {
                        break;
                    }
                }
            });
        }
    });
    Ok(path)
}

fn at_rest(what: &str, socket: &Path) -> Result<(Value, Samples)> {
    let mut client = Client::connect(socket)?;
    let mut samples = Vec::with_capacity(AT_REST);
    for round in 0..AT_REST + WARM_UP {
        let request = request("bench-rest", &format!("r-{round}"), ONE_KIB);
        let started = Instant::now();
        client.ask(&request)?;
        if round >= WARM_UP {
            samples.push(started.elapsed());
        }
    }
    let samples = Samples::new(samples);
    let method = "one connection, one request after the other, ledger on, no agent";
    Ok((summary(what, method, &samples), samples))
}

fn many(socket: &Path, commands: &[&str], what: &str) -> Result<Value> {
    let barrier = Barrier::new(SESSIONS);
    let outcomes: Vec<Result<(Instant, Instant, Vec<Duration>)>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..SESSIONS)
            .map(|session| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let mut client = Client::connect(socket)?;
                    let name = format!("bench-{what}-{session}").replace(' ', "-");
                    let requests: Vec<_> = (0..ROUNDS)
                        .map(|round| {
                            request(
                                &name,
                                &format!("m-{session}-{round}"),
                                commands[round % commands.len()],
                            )
                        })
                        .collect();
                    barrier.wait();
                    let began = Instant::now();
                    let mut samples = Vec::with_capacity(ROUNDS);
                    for request in &requests {
                        let started = Instant::now();
                        client.ask(request)?;
                        samples.push(started.elapsed());
                    }
                    Ok((began, Instant::now(), samples))
                })
            })
            .collect();
        let ended = threads.into_iter().map(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("a session's thread panicked"),
        });
        ended.collect()
    });
    let mut samples = Vec::new();
    let (mut first, mut last) = (None, None);
    for outcome in outcomes {
        let (began, ended, own) = outcome?;
        first = Some(first.map_or(began, |first: Instant| first.min(began)));
        last = Some(last.map_or(ended, |last: Instant| last.max(ended)));
        samples.extend(own);
    }
    let (Some(first), Some(last)) = (first, last) else {
        bail!("no session asked");
    };
    let took = last.duration_since(first).as_secs_f64();
    let method = "50 connections, each one request after the other from its own session, ledger on, no agent; the asking runs on the same cores";
    let decisions = samples.len();
    let mut line = summary(
        &format!("50 sessions at once, {what}"),
        method,
        &Samples::new(samples),
    );
    line["decisions_per_s"] = json!((decisions as f64 / took).round());
    Ok(line)
}

fn request(session: &str, call: &str, command: &str) -> Vec<u8> {
    let body = payload(session, call, command);
    let length = body.len();
    format!(
        "POST /v1/hooks/claude-code HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// As little of HTTP as the answers need.
struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(socket: &Path) -> Result<Self> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("cannot reach {}", socket.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(16 << 10),
        })
    }

    fn ask(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        let mut chunk = [0; 8 << 10];
        loop {
            let count = self.stream.read(&mut chunk)?;
            ensure!(count > 0, "the gateway closed the connection");
            self.buffer.extend_from_slice(&chunk[..count]);
            if let Some(whole) = whole_answer(&self.buffer)? {
                ensure!(self.buffer.len() == whole, "more came than one answer");
                return Ok(());
            }
        }
    }
}

/// The length of the answer at the start of `bytes`, once it is there.
fn whole_answer(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..head])?;
    ensure!(text.starts_with("HTTP/1.1 200"), "no answer, but {text}");
    let length: usize = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| key.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, value)| value.parse())?;
    let whole = head + 4 + length;
    Ok((bytes.len() >= whole).then_some(whole))
}
