//! One attack or twin, run in one cage, and its result.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::libc;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::cage::Cage;
use super::ground::{Ground, difference};
use super::scene::{Noticed, Outside, Scene};
use super::{CaseInfo, Judge};

/// How long one program may take; the longest attack tries for a second.
const DEADLINE: Duration = Duration::from_secs(30);
/// What was sent last may still be on its way to the process outside.
const SETTLE: Duration = Duration::from_millis(25);
/// The same where the attack says that it was sent, and nobody has it yet: a guest without a processor of its own is slow.
const SETTLE_LATE: Duration = Duration::from_secs(1);
/// Begins the line on standard output that says how it went.
pub const RESULT: &str = "ESCAPE-RESULT ";
/// First line of standard output: the program runs.
pub const STARTED: &str = "ESCAPE-STARTED";

/// Which of the two is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The hostile program.
    Attack,
    /// Its benign twin.
    Twin,
}

/// How it went. For a twin, `Held` means that it was refused and `Escaped` that it worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Refused, or without effect outside.
    Held,
    /// Done.
    Escaped,
    /// There is nothing here to attack or to use.
    Absent,
    /// It did not run, or ended in a way that says nothing.
    Broken,
}

/// The line after [`RESULT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// How it went, as seen from inside.
    pub verdict: Verdict,
    /// What was had, or what refused.
    pub detail: String,
}

/// A trial's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it went.
    pub verdict: Verdict,
    /// What was had, what changed outside, or what refused.
    pub detail: String,
    /// Empty files and folders that the sandbox left in the project.
    pub left: Vec<String>,
}

impl Outcome {
    /// How it went, knowing how the same went without any sandbox: what is there on this host and not in the sandbox was
    /// held, and what is held without a sandbox is not the sandbox's work.
    pub fn verdict_beside(&self, control: &Self) -> Verdict {
        match (self.verdict, control.verdict) {
            (Verdict::Absent, Verdict::Escaped) => Verdict::Held,
            (Verdict::Held, Verdict::Absent) => Verdict::Absent,
            (verdict, _) => verdict,
        }
    }
}

/// What `escape enter` is to prepare before it starts a program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entrance {
    /// User and group to become, when started by root.
    pub user: u32,
    /// Whether to mount the stand-in over `/run` (root only).
    pub mounts: bool,
    /// Whether standard input is to be a terminal.
    pub terminal: bool,
    /// Whether to leave descriptors open.
    pub descriptors: bool,
    /// The scene.
    pub scene: Scene,
}

/// The program `escape` where every user may run it, and what all trials share.
#[derive(Debug)]
pub struct Trials {
    folder: TempDir,
    program: PathBuf,
    /// Where `defenseclaw-cli` lies, for attacks on it.
    launcher: PathBuf,
}

impl Trials {
    /// Copies `escape`, because the checkout may lie where nobody else may look.
    pub fn new(escape: &Path, launcher: &Path) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let ground = super::ground::folder("escape-programs-")?;
        fs::set_permissions(ground.path(), fs::Permissions::from_mode(0o755))?;
        let program = ground.path().join("escape");
        fs::copy(escape, &program)?;
        fs::copy(escape, ground.path().join("set-user-id"))?;
        if nix::unistd::geteuid().is_root() {
            let mode = fs::Permissions::from_mode(0o4755);
            fs::set_permissions(ground.path().join("set-user-id"), mode)?;
        }
        let mut copy = launcher.to_owned();
        if launcher.exists() {
            copy = ground.path().join("defenseclaw-cli");
            fs::copy(launcher, &copy).with_context(|| format!("cannot copy {}", launcher.display()))?;
            // The small program hands what it cannot do to the whole tool.
            let whole = launcher.with_file_name("lib").join("defenseclaw-cli");
            if whole.is_file() {
                let folder = ground.path().join("lib");
                fs::create_dir(&folder)?;
                fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
                fs::copy(&whole, folder.join("defenseclaw-cli"))?;
            }
        }
        Ok(Self {
            folder: ground,
            program,
            launcher: copy,
        })
    }

    /// The copy of `defenseclaw-cli` that every user may run.
    pub fn launcher(&self) -> &Path {
        &self.launcher
    }

    /// Runs one case as `user`.
    pub fn run(&self, case: &CaseInfo, role: Role, cage: &Cage, user: u32) -> Result<Outcome> {
        let root = nix::unistd::geteuid().is_root();
        let mut ground = Ground::make(user)?;
        ground.scene.launcher.clone_from(&self.launcher);
        let inside = ground.scene.project.join("escape");
        fs::hard_link(&self.program, &inside)?;
        fs::hard_link(&self.program, ground.scene.home.join(".gnupg/program"))?;
        if root {
            let tool = ground.scene.project.join("tool");
            fs::hard_link(self.folder.path().join("set-user-id"), &tool)?;
            ground.scene.set_user_id = Some(tool);
        }
        ground.scene.run_stand_in = root;
        ground.scene.flood = case.name.ends_with("-flood");
        let mut entrance = Entrance {
            user,
            mounts: root,
            terminal: false,
            descriptors: false,
            scene: ground.scene.clone(),
        };
        let mut outside = Watch::start(&self.program, &entrance)?;
        ground.scene.outside = outside.offers.clone();
        entrance = Entrance {
            terminal: case.terminal,
            descriptors: case.theme == "descriptors",
            scene: ground.scene.clone(),
            ..entrance
        };
        let verb = match role {
            Role::Attack => "run",
            Role::Twin => "twin",
        };
        let inner = vec![
            inside.display().to_string(),
            verb.to_owned(),
            case.name.clone(),
            serde_json::to_string(&ground.scene)?,
        ];
        let before = ground.snapshot()?;
        let mut command = self.enter(&entrance)?;
        command.args(cage.command(&ground.scene, inner)?);
        let ended = ended(&mut command)?;
        std::thread::sleep(SETTLE);
        let mut noticed = outside.noticed()?.events;
        let (changed, left) = difference(&before, &ground.snapshot()?, &ground.scene.project);
        let says_so = role == Role::Attack && told(&ended).verdict == Verdict::Escaped;
        let waits = case.judge == Judge::Outside && says_so && changed.is_empty();
        let late = Instant::now() + SETTLE_LATE;
        while waits && noticed.is_empty() && Instant::now() < late {
            std::thread::sleep(SETTLE);
            noticed = outside.noticed()?.events;
        }
        noticed.extend(changed);
        Ok(judged(case.judge, role, &ended, &noticed, left))
    }

    /// A command that prepares what is asked and becomes the program whose arguments follow.
    fn enter(&self, entrance: &Entrance) -> Result<Command> {
        let scene = &entrance.scene;
        let mut command = Command::new(&self.program);
        command
            .args(["enter", &serde_json::to_string(entrance)?])
            .env("HOME", &scene.home)
            .env("TMPDIR", &scene.tmp)
            .env("ESCAPE_TOKEN", super::scene::SECRET)
            .env("AWS_SECRET_ACCESS_KEY", super::scene::SECRET)
            .env_remove("XDG_RUNTIME_DIR")
            .current_dir(&scene.project);
        Ok(command)
    }
}

/// The process outside. Dropping it ends it.
struct Watch {
    process: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    offers: Outside,
}

impl Watch {
    fn start(program: &Path, entrance: &Entrance) -> Result<Self> {
        let scene = &entrance.scene;
        let mut process = Command::new(program)
            .args(["enter", &serde_json::to_string(entrance)?])
            .arg(program)
            .args(["outside", &serde_json::to_string(scene)?])
            .env("ESCAPE_TOKEN", super::scene::SECRET)
            .current_dir(scene.home.join(".ssh"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the process outside")?;
        let ask = process.stdin.take();
        let answers = process.stdout.take().context("no standard output")?;
        let mut watch = Self {
            process,
            ask,
            answers: BufReader::new(answers),
            offers: Outside::default(),
        };
        watch.offers = serde_json::from_str(&watch.line()?).context("the process outside said nonsense")?;
        Ok(watch)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            bail!("the process outside has ended");
        }
        Ok(line)
    }

    /// An attack that ends the process outside is noticed by just that.
    fn noticed(&mut self) -> Result<Noticed> {
        let mut ask = || -> Result<Noticed> {
            let input = self.ask.as_mut().context("no standard input")?;
            writeln!(input, "report")?;
            let line = self.line()?;
            Ok(serde_json::from_str(&line)?)
        };
        Ok(ask().unwrap_or_else(|error| Noticed {
            events: vec![format!("the process outside no longer answers: {error:#}")],
        }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.ask.take());
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            if matches!(self.process.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // Ours, and not yet waited for: the number is still its own.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a program left behind.
struct Ended {
    status: ExitStatus,
    output: String,
    errors: String,
    late: bool,
}

/// Runs to the end of its output: what an attack leaves in the background holds it open, and is waited for.
fn ended(command: &mut Command) -> Result<Ended> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("cannot start escape enter")?;
    let output = reader(child.stdout.take());
    let errors = reader(child.stderr.take());
    let deadline = Instant::now() + DEADLINE;
    let mut late = false;
    while !output.is_finished() || !errors.is_finished() {
        if Instant::now() > deadline && !late {
            late = true;
            let group = Pid::from_raw(i32::try_from(child.id())?);
            // Our child has not been waited for: the group is still its own.
            let _ = killpg(group, Signal::SIGKILL);
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let status = child.wait()?;
    // After a deadline whoever still holds the pipe is beyond reach, and its words no longer matter.
    let text = |thread: std::thread::JoinHandle<String>| {
        if late {
            String::new()
        } else {
            thread.join().unwrap_or_default()
        }
    };
    Ok(Ended {
        status,
        output: text(output),
        errors: text(errors),
        late,
    })
}

fn reader(from: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            // What came until it broke is what there is to show.
            let _ = BufReader::new(from).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The last word of the program, what was noticed outside, and who knows better.
fn judged(judge: Judge, role: Role, ended: &Ended, noticed: &[String], left: Vec<String>) -> Outcome {
    let told = told(ended);
    let (verdict, detail) = match role {
        Role::Twin => (told.verdict, told.detail),
        Role::Attack if !noticed.is_empty() => (
            Verdict::Escaped,
            format!("{}; outside: {}", told.detail, noticed.join("; ")),
        ),
        Role::Attack if judge == Judge::Outside && told.verdict == Verdict::Escaped => {
            (Verdict::Held, format!("only inside: {}", told.detail))
        }
        Role::Attack => (told.verdict, told.detail),
    };
    Outcome {
        verdict,
        detail,
        left,
    }
}

fn told(ended: &Ended) -> Told {
    let broken = |why: String| Told {
        verdict: Verdict::Broken,
        detail: why,
    };
    let last = ended
        .output
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(RESULT));
    if let Some(line) = last {
        return serde_json::from_str(line).unwrap_or_else(|error| broken(error.to_string()));
    }
    let errors = ended.errors.trim();
    if ended.late {
        return broken(format!("not over after {} s: {errors}", DEADLINE.as_secs()));
    }
    let signal = ended
        .status
        .signal()
        .or_else(|| ended.status.code().map(|code| code - 128));
    if ended.output.starts_with(STARTED) && signal == Some(libc::SIGSYS) {
        return Told {
            verdict: Verdict::Held,
            detail: "killed by SIGSYS".to_owned(),
        };
    }
    broken(format!("{}: {errors}", ended.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(output: &str, status: i32) -> Ended {
        Ended {
            status: ExitStatus::from_raw(status),
            output: output.to_owned(),
            errors: String::new(),
            late: false,
        }
    }

    #[test]
    fn the_outside_knows_better_than_the_attack() {
        let held = program(
            &format!("{STARTED}\n{RESULT}{{\"verdict\":\"held\",\"detail\":\"\"}}\n"),
            0,
        );
        let done = program(
            &format!("{STARTED}\n{RESULT}{{\"verdict\":\"escaped\",\"detail\":\"\"}}\n"),
            0,
        );
        let noticed = ["a file is gone".to_owned()];
        let verdict = |judge, ended, noticed| judged(judge, Role::Attack, ended, noticed, vec![]).verdict;
        assert_eq!(verdict(Judge::Attack, &held, &noticed), Verdict::Escaped);
        assert_eq!(verdict(Judge::Outside, &done, &[]), Verdict::Held);
        assert_eq!(verdict(Judge::Attack, &done, &[]), Verdict::Escaped);
        assert_eq!(verdict(Judge::Attack, &held, &[]), Verdict::Held);
    }

    #[test]
    fn a_program_that_never_ran_proves_nothing() {
        let verdict = |ended: &Ended| told(ended).verdict;
        assert_eq!(verdict(&program("", 125 << 8)), Verdict::Broken);
        assert_eq!(verdict(&program("", libc::SIGSYS)), Verdict::Broken);
        assert_eq!(verdict(&program(STARTED, libc::SIGSYS)), Verdict::Held);
        assert_eq!(verdict(&program(STARTED, libc::SIGSEGV)), Verdict::Broken);
    }
}
