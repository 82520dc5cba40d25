//! Benchmarks. Each prints its method and its machine beside its numbers, and no number is ever asserted.
#![expect(clippy::print_stdout, reason = "a benchmark is what it prints")]

mod decide;
mod gate;
mod sandbox;
mod scan;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use defenseclaw_model::decision::Mode;
use defenseclaw_testkit::script::{Call, Script, Turn};
use defenseclaw_testkit::scripted_agent::Running;
use defenseclaw_testkit::statistics::Samples;
use defenseclaw_testkit::workplace::{Workplace, outside};
use defenseclaw_testkit::{Stack, StackOptions, helper};
use serde_json::{Value, json};

/// Samples of each contender in `hook`.
const HOOK_RUNS: usize = 600;
/// Where agents pin their kernel programs.
const PINS: &str = "/sys/fs/bpf/defenseclaw";
/// Tool calls in `decision`.
const DECISIONS: usize = 500;

/// Takes the folder of programs, gives one object per line of its table.
type Benchmark = fn(&Path) -> Result<Vec<Value>>;

struct Arguments {
    programs: PathBuf,
    /// Which benchmarks; all if none is named.
    names: Vec<String>,
    json: bool,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut parsed = Self {
            programs: PathBuf::new(),
            names: Vec::new(),
            json: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--bin-dir" => parsed.programs = words.next().context("--bin-dir needs a folder")?.into(),
                "--json" => parsed.json = true,
                name => parsed.names.push(name.to_owned()),
            }
        }
        Ok(parsed)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse()?;
    let machine = machine();
    warn_of_probes();
    if !arguments.json {
        println!("machine: {machine}\n");
    }
    let all: [(&str, Benchmark); 8] = [
        ("hook", hook),
        ("decision", decision),
        ("decide", decide::run),
        ("append", append),
        ("memory", memory),
        ("sandbox", sandbox::run),
        ("gate", gate::run),
        ("scan", scan::run),
    ];
    if let Some(unknown) = arguments
        .names
        .iter()
        .find(|name| all.iter().all(|(known, _)| name != known))
    {
        let known: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        bail!("there is no benchmark {unknown:?}; known: {}", known.join(", "));
    }
    for (name, run) in all {
        if !arguments.names.is_empty() && arguments.names.iter().all(|only| only != name) {
            continue;
        }
        for mut result in run(&arguments.programs).with_context(|| format!("benchmark {name}"))? {
            if arguments.json {
                result["bench"] = json!(name);
                result["machine"] = json!(machine);
                println!("{result}");
            } else {
                println!("{name:<9} {}", human(&result));
            }
        }
    }
    Ok(())
}

/// `key value` pairs in the order in which they were put in.
fn human(result: &Value) -> String {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let name = result["what"].as_str().unwrap_or_default();
    let rest: Vec<String> = result
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != "what" && *key != "method")
        .map(|(key, value)| format!("{key} {}", plain(value)))
        .collect();
    format!(
        "{name:<34} {}\n          ({})",
        rest.join("  "),
        plain(&result["method"])
    )
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map(|(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cores} x {}, Linux {}",
        model.unwrap_or(std::env::consts::ARCH),
        kernel.trim()
    )
}

/// An agent that was killed leaves its kernel programs in force, which is its purpose; here they slow down every system call that is
/// measured, ours and the others'.
fn warn_of_probes() {
    let left = fs::read_dir(PINS).map_or(0, Iterator::count);
    if left > 0 {
        eprintln!(
            "warning: kernel programs of {left} agents are in force on this machine ({PINS}) and slow down what is measured. \
             Where none of them is wanted: `defenseclaw-agent unload` with each one's configuration, or remove that folder's content."
        );
    }
}

fn summary(what: &str, method: &str, samples: &Samples) -> Value {
    let us = |percent| u64::try_from(samples.percentile(percent).as_micros()).unwrap_or(u64::MAX);
    json!({"what": what, "p50_us": us(50), "p99_us": us(99), "samples": samples.len(), "method": method})
}

fn stack(programs: &Path) -> Result<Stack> {
    let agent = nix::unistd::geteuid().is_root();
    if !agent {
        eprintln!("Without root the agent cannot run: these numbers are of the gateway alone.");
    }
    Stack::start(StackOptions {
        programs: Some(programs.to_owned()),
        mode: Mode::Observe,
        agent,
        ..StackOptions::default()
    })
}

fn payload(session: &str, call: &str, command: &str) -> String {
    json!({
        "session_id": session, "transcript_path": "/tmp/none.jsonl", "cwd": "/tmp", "permission_mode": "default",
        "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_use_id": call,
        "tool_input": {"command": command, "description": "Look at the project"},
    })
    .to_string()
}

/// Spawn to exit of the hook client, beside a client that only echoes and beside bash, curl and jq, in turn.
fn hook(programs: &Path) -> Result<Vec<Value>> {
    let stack = stack(programs)?;
    let echo = stack.folder().join("echo.sock");
    let listener = UnixListener::bind(&echo)?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut bytes = Vec::new();
            if stream.read_to_end(&mut bytes).is_ok() {
                stream.write_all(&bytes).ok();
            }
        }
    });
    let script = stack.folder().join("hook.sh");
    fs::write(&script, SHELL_HOOK)?;
    let mut ours = stack.command("defenseclaw-hook");
    ours.arg("claude-code");
    let mut echoing = Command::new(helper("echo-client-static")?);
    echoing.arg(&echo);
    let mut shell = Command::new("bash");
    shell.arg(&script).arg(stack.socket());
    let mut contenders = [
        ("defenseclaw-hook", ours, Vec::new()),
        ("static echo client", echoing, Vec::new()),
        ("bash + curl + jq", shell, Vec::new()),
    ];
    for run in 0..HOOK_RUNS + 20 {
        for (name, command, samples) in &mut contenders {
            let call = format!("{}-{run}", name.split(' ').next().unwrap_or(name));
            // What the sensor saw of the contender before is judged behind its back; that is not this one's time.
            std::thread::sleep(BETWEEN_RUNS);
            let took = timed(command, &payload("bench", &call, "git status && ls -la"))?;
            // The first runs warm caches.
            if run >= 20 {
                samples.push(took);
            }
        }
    }
    assert_answered(&stack)?;
    let method = "spawn to exit, same payload, contenders in turn, 20 ms apart; hook and shell against the same gateway, echo against an echo server";
    let mut results = Vec::new();
    let mut medians = Vec::new();
    for (name, _, samples) in contenders {
        let samples = Samples::new(samples);
        medians.push(samples.percentile(50).as_secs_f64());
        results.push(summary(name, method, &samples));
    }
    for (result, index) in results.iter_mut().zip(0..) {
        let ratio: f64 =
            medians.get(index).copied().unwrap_or_default() / medians.get(1).copied().unwrap_or(1.0);
        result["times_echo"] = json!((ratio * 100.0).round() / 100.0);
    }
    Ok(results)
}

/// Pause before each timed run: far less than lies between the calls of an agent.
const BETWEEN_RUNS: Duration = Duration::from_millis(20);

/// What a hook of shell tools does at the least: read, check, post, answer.
const SHELL_HOOK: &str = r#"payload=$(cat)
event=$(printf '%s' "$payload" | jq -r .hook_event_name)
[ -n "$event" ] || exit 1
answer=$(printf '%s' "$payload" | curl -s --unix-socket "$1" -H 'content-type: application/json' --data-binary @- http://localhost/v1/hooks/claude-code)
[ -z "$answer" ] || printf '%s' "$answer" | jq -c .
"#;

fn timed(command: &mut Command, payload: &str) -> Result<Duration> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("no pipe")?
        .write_all(payload.as_bytes())?;
    let output = child.wait_with_output()?;
    let took = start.elapsed();
    if !output.status.success() {
        bail!(
            "a contender failed: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(took)
}

/// A gateway that answers by its fail mode answers faster than one that decides.
fn assert_answered(stack: &Stack) -> Result<()> {
    let hooks = stack.status()?.hooks;
    if hooks.failed + hooks.bad > 0 {
        bail!(
            "the gateway did not decide every request ({hooks:?}): the times would mean nothing\n{}",
            stack.logs()
        );
    }
    Ok(())
}

/// From a request's arrival to the decision, as the gateway itself notes it with every call.
fn decision(programs: &Path) -> Result<Vec<Value>> {
    let mut stack = stack(programs)?;
    let commands = [
        "git status && ls -la",
        "cargo test --workspace 2>&1 | tail -n 40",
        "rm -rf build && mkdir build",
    ];
    for index in 0..DECISIONS {
        let command = commands[index % commands.len()];
        timed(
            stack.command("defenseclaw-hook").arg("claude-code"),
            &payload("bench", &format!("d-{index}"), command),
        )?;
    }
    stack.settle()?;
    assert_answered(&stack)?;
    let lines = stack.cli(&[
        "audit",
        "query",
        "--kind",
        "tool_call",
        "--limit",
        "100000",
        "--json",
    ])?;
    let mut samples = Vec::new();
    for line in lines.lines() {
        let record: Value = serde_json::from_str(line)?;
        let us = find(&record, "decision_us")
            .and_then(Value::as_u64)
            .context("a call without decision_us")?;
        samples.push(Duration::from_micros(us));
    }
    let method = "the ledger's decision_us: parse, facts, Rego, registration with the agent";
    Ok(vec![summary(
        "request to decision",
        method,
        &Samples::new(samples),
    )])
}

/// A field wherever it stands.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => fields
            .get(name)
            .or_else(|| fields.values().find_map(|value| find(value, name))),
        _ => None,
    }
}

/// The audit crate measures its own appends.
fn append(_: &Path) -> Result<Vec<Value>> {
    let own = std::env::current_exe()?;
    let program = own.with_file_name("examples").join("append_cost");
    let output = Command::new(&program)
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if !output.status.success() {
        bail!(
            "{} failed: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines
        .map(|line| {
            let mut result = serde_json::from_str(line).unwrap_or_else(|_| json!({"what": line}));
            // Its own name for what it measured; ours for all of it is the benchmark's.
            if let Some(what) = result.as_object_mut().and_then(|fields| fields.remove("bench")) {
                result["what"] = what;
            }
            result["method"] = json!("gateway/audit/examples/append_cost.rs");
            result
        })
        .collect())
}

/// Resident and proportional memory of both daemons, before and after a session.
fn memory(programs: &Path) -> Result<Vec<Value>> {
    let mut stack = stack(programs)?;
    let mut results = Vec::new();
    std::thread::sleep(Duration::from_secs(2));
    results.extend(footprint(&stack, "at rest")?);
    let place = Workplace::make(stack.folder(), outside()?)?;
    let calls = (0..50)
        .map(|n| Call::bash(&format!("m-{n}"), "git status && ls -la"))
        .collect();
    let script = Script {
        prompt: "go".into(),
        turns: vec![Turn::serial(calls)],
    };
    Running::start(
        &script,
        &stack.hook_command(),
        &place.project,
        &stack.environment(),
    )?
    .finish()?;
    stack.settle()?;
    results.extend(footprint(&stack, "after a session of 50 calls")?);
    Ok(results)
}

fn footprint(stack: &Stack, when: &str) -> Result<Vec<Value>> {
    let daemons = [("gateway", stack.gateway_pid()), ("agent", stack.agent_pid())];
    let mut results = Vec::new();
    let (mut rss, mut pss) = (0, 0);
    for (name, pid) in daemons.into_iter().filter_map(|(name, pid)| Some((name, pid?))) {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let kib = |field: &str| -> Result<u64> {
            let line = rollup
                .lines()
                .find_map(|line| line.strip_prefix(field))
                .context("smaps_rollup lacks a field")?;
            Ok(line.trim().trim_end_matches(" kB").parse()?)
        };
        let (own_rss, own_pss) = (kib("Rss:")?, kib("Pss:")?);
        (rss, pss) = (rss + own_rss, pss + own_pss);
        results.push(memory_line(&format!("{name} {when}"), own_rss, own_pss));
    }
    results.push(memory_line(&format!("together {when}"), rss, pss));
    Ok(results)
}

fn memory_line(what: &str, rss: u64, pss: u64) -> Value {
    json!({"what": what, "rss_kib": rss, "pss_kib": pss, "method": "/proc/PID/smaps_rollup"})
}
