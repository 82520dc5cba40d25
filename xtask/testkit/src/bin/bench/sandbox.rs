//! What a sandbox costs: starting a command in it, and a build inside, beside other sandboxes that are there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use defenseclaw_testkit::statistics::Samples;
use serde_json::{Value, json};

use super::summary;

/// Samples of each contender's start.
const STARTS: usize = 200;
/// Samples of each contender's build.
const BUILDS: usize = 5;
/// Files of the build.
const SOURCES: usize = 40;

/// A sandbox, and the words that stand before the command.
struct Contender {
    name: &'static str,
    words: Vec<String>,
}

/// Runs both.
pub(super) fn run(programs: &Path) -> Result<Vec<Value>> {
    // Not below a temporary folder, which sandboxes grant anyhow.
    let programs = &fs::canonicalize(programs)?;
    let folder = tempfile::tempdir_in(programs)?;
    let home = fs::canonicalize(folder.path())?;
    let project = home.join("project");
    fs::create_dir_all(project.join(".git/hooks"))?;
    fs::create_dir_all(project.join(".git/objects"))?;
    fs::write(project.join(".env"), "SECRET=1\n")?;
    fs::create_dir_all(home.join(".ssh"))?;
    for number in 0..SOURCES {
        let text = format!(
            "#include <stdio.h>\nint f{number}(int n) {{ printf(\"%d\\n\", n); return n * {number}; }}\n"
        );
        fs::write(project.join(format!("f{number}.c")), text)?;
    }
    let contenders = contenders(programs, &home, &project);
    let mut results = starts(&contenders, &home, &project)?;
    results.extend(builds(&contenders, &home, &project)?);
    Ok(results)
}

fn contenders(programs: &Path, home: &Path, project: &Path) -> Vec<Contender> {
    let own = programs.join("defenseclaw-cli").display().to_string();
    let (home, project) = (home.display().to_string(), project.display().to_string());
    let words = |line: &[&str]| line.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut all = vec![
        Contender {
            name: "plain",
            words: Vec::new(),
        },
        Contender {
            name: "defenseclaw run, workspace",
            words: words(&[&own, "run", "--profile", "workspace", "--"]),
        },
        Contender {
            name: "defenseclaw run, strict",
            words: words(&[&own, "run", "--profile", "strict", "--"]),
        },
    ];
    let ssh = format!("{home}/.ssh");
    let env = format!("{project}/.env");
    let hooks = format!("{project}/.git/hooks");
    let peers = [
        (
            "bubblewrap",
            "bwrap",
            words(&[
                "--ro-bind",
                "/",
                "/",
                "--dev",
                "/dev",
                "--proc",
                "/proc",
                "--bind",
                &project,
                &project,
                "--ro-bind",
                &hooks,
                &hooks,
                "--ro-bind",
                "/dev/null",
                &env,
                "--tmpfs",
                &ssh,
                "--unshare-net",
                "--unshare-ipc",
                "--",
            ]),
        ),
        (
            "firejail",
            "firejail",
            words(&[
                "--quiet",
                "--noprofile",
                "--net=none",
                "--caps.drop=all",
                "--seccomp",
                "--read-only=/usr",
            ]),
        ),
    ];
    for (name, program, options) in peers {
        match find(program) {
            Some(path) => {
                let mut words = vec![path.display().to_string()];
                words.extend(options);
                all.push(Contender { name, words });
            }
            None => eprintln!("{name} is not installed here: not measured."),
        }
    }
    // Real clients' own sandboxes, where the caller says where they are.
    for (name, variable, options) in [
        (
            "codex sandbox",
            "DEFENSECLAW_CODEX",
            words(&["sandbox", "-c", r#"sandbox_mode="workspace-write""#, "--"]),
        ),
        ("srt", "DEFENSECLAW_SRT", Vec::new()),
    ] {
        match std::env::var(variable) {
            Ok(path) => {
                let mut words = vec![path];
                words.extend(options);
                all.push(Contender { name, words });
            }
            Err(_) => eprintln!("{name}: {variable} does not name it: not measured."),
        }
    }
    all
}

pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn timed(contender: &Contender, home: &Path, project: &Path, command: &[&str]) -> Result<Duration> {
    let mut words = contender
        .words
        .iter()
        .map(String::as_str)
        .chain(command.iter().copied());
    let Some(program) = words.next() else {
        bail!("nothing to run");
    };
    let mut run = Command::new(program);
    run.args(words)
        .current_dir(project)
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let start = Instant::now();
    let output = run.spawn()?.wait_with_output()?;
    let took = start.elapsed();
    if !output.status.success() {
        bail!(
            "{} failed: {}\n{}",
            contender.name,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(took)
}

/// Runs `command` in each contender in turn; one that fails is told and left out.
fn series(
    contenders: &[Contender],
    (home, project): (&Path, &Path),
    runs: usize,
    command: &[&str],
) -> Vec<(&'static str, Samples)> {
    let mut all: Vec<(&Contender, Vec<Duration>, bool)> = contenders
        .iter()
        .map(|contender| (contender, Vec::new(), true))
        .collect();
    for run in 0..=runs {
        for (contender, samples, works) in &mut all {
            if !*works {
                continue;
            }
            match timed(contender, home, project, command) {
                // The first run warms caches.
                Ok(took) if run > 0 => samples.push(took),
                Ok(_) => {}
                Err(error) => {
                    eprintln!("{error:#}\nnot measured further.");
                    *works = false;
                }
            }
        }
    }
    all.into_iter()
        .filter(|(_, _, works)| *works)
        .map(|(contender, samples, _)| (contender.name, Samples::new(samples)))
        .collect()
}

fn told(what: &str, method: &str, series: &[(&'static str, Samples)]) -> Vec<Value> {
    let plain = series
        .first()
        .map(|(_, samples)| samples.percentile(50))
        .unwrap_or_default();
    series
        .iter()
        .map(|(name, samples)| {
            let mut line = summary(&format!("{what}, {name}"), method, samples);
            let median = samples.percentile(50);
            let over = i64::try_from(median.as_micros()).unwrap_or(0)
                - i64::try_from(plain.as_micros()).unwrap_or(0);
            line["over_plain_us"] = json!(over);
            let ratio = median.as_secs_f64() / plain.as_secs_f64().max(f64::EPSILON);
            line["times_plain"] = json!((ratio * 100.0).round() / 100.0);
            line
        })
        .collect()
}

fn starts(contenders: &[Contender], home: &Path, project: &Path) -> Result<Vec<Value>> {
    let series = series(contenders, (home, project), STARTS, &["/bin/true"]);
    Ok(told(
        "start",
        "spawn to exit of /bin/true, contenders in turn",
        &series,
    ))
}

fn builds(contenders: &[Contender], home: &Path, project: &Path) -> Result<Vec<Value>> {
    let script = "for f in *.c; do cc -O1 -c $f -o ${f%.c}.o || exit 1; done";
    let series = series(contenders, (home, project), BUILDS, &["/bin/sh", "-c", script]);
    let method = format!("cc over {SOURCES} files, one process each, contenders in turn");
    Ok(told("build", &method, &series))
}
