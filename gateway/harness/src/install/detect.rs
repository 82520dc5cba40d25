//! Which harnesses are on this host, and which of their sessions run.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::site::Site;
use super::spec::Spec;

/// How long a harness may take to tell its version. Some start a runtime of their own first.
const VERSION_DEADLINE: Duration = Duration::from_secs(5);
/// How often to look whether it is done.
const VERSION_PAUSE: Duration = Duration::from_millis(20);
/// Longest version that is taken (bytes).
const MAX_VERSION: usize = 200;
/// Words of a command line that are looked at: an interpreter, its options, and the script.
const MAX_WORDS: usize = 8;

/// A harness on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Detected {
    /// Its program, if it is on the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<PathBuf>,
    /// What it says of its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What shows that it was used.
    pub traces: Vec<PathBuf>,
}

impl Detected {
    /// Whether it is here at all.
    pub fn is_here(&self) -> bool {
        self.program.is_some() || !self.traces.is_empty()
    }
}

/// Looks for a harness, and asks it for its version.
pub fn detect(site: &Site, spec: &Spec) -> Detected {
    let detected = look(site, spec);
    let program = detected.program.as_deref();
    let version = program
        .filter(|path| may_start(site, path))
        .and_then(|path| version(path, spec));
    Detected { version, ..detected }
}

/// Looks for a harness, and starts nothing.
pub fn look(site: &Site, spec: &Spec) -> Detected {
    let program = site
        .programs
        .iter()
        .flat_map(|folder| spec.detect.programs.iter().map(move |name| folder.join(name)))
        .find(|path| is_program(path));
    let traces = spec.detect.traces.iter().map(|trace| site.user.home.join(trace));
    Detected {
        program,
        version: None,
        traces: traces.filter(|trace| trace.exists()).collect(),
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0)
}

/// A program that a user put there is not started with more rights than that user has.
fn may_start(site: &Site, path: &Path) -> bool {
    !site.privileged
        || path
            .metadata()
            .is_ok_and(|meta| meta.uid() == 0 && meta.mode() & 0o022 == 0)
}

fn version(program: &Path, spec: &Spec) -> Option<String> {
    if spec.detect.version.is_empty() {
        return None;
    }
    let mut child = Command::new(program)
        .args(&spec.detect.version)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if begun.elapsed() < VERSION_DEADLINE => std::thread::sleep(VERSION_PAUSE),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
    let output = child.wait_with_output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text
        .lines()
        .find(|line| line.chars().any(|c| c.is_ascii_digit()))?
        .trim();
    let end = (0..=line.len().min(MAX_VERSION))
        .rev()
        .find(|at| line.is_char_boundary(*at))?;
    Some(line[..end].chars().filter(|c| !c.is_control()).collect())
}

/// A running process of a harness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Running {
    /// Its process id.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

/// The processes of a harness that run now, of one user or of all. `proc` is `/proc`.
pub fn running(proc: &Path, spec: &Spec, uid: Option<u32>) -> Vec<Running> {
    let Ok(entries) = std::fs::read_dir(proc) else {
        return Vec::new();
    };
    let own = std::process::id();
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let owner = entry.metadata().ok()?.uid();
            let wanted = pid != own && uid.is_none_or(|uid| uid == owner);
            (wanted && is_harness(&entry.path(), spec)).then_some(Running { pid, uid: owner })
        })
        .collect();
    found.sort_unstable_by_key(|process| process.pid);
    found
}

/// By the executable's name, or by the script that it runs: most harnesses are programs of Node or Python.
fn is_harness(process: &Path, spec: &Spec) -> bool {
    let known = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
        spec.detect.processes.iter().any(|known| known == name)
    };
    if std::fs::read_link(process.join("exe")).is_ok_and(|exe| known(&exe)) {
        return true;
    }
    let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0)
        .take(MAX_WORDS)
        .map(|word| PathBuf::from(String::from_utf8_lossy(word).into_owned()))
        .take_while(|word| word.as_os_str() != "-c" && word.as_os_str() != "-e")
        .filter(|word| word.is_absolute())
        .any(|word| known(&word))
}
