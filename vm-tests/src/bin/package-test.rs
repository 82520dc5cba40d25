//! Boots a Debian release with systemd and tries the packages of a repository in it. The table is printed, and written beside the
//! guest's console.
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool: what it prints is its product"
)]

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use defenseclaw_vm_tests::arch::Arch;
use defenseclaw_vm_tests::cases::Cases;
use defenseclaw_vm_tests::guest::{Disk, Guest, Report, boot, listen};
use defenseclaw_vm_tests::{disk, root};

/// What the second disk holds beside the repository.
const TESTS: [(&str, &[u8]); 6] = [
    ("here.sh", include_bytes!("../../guest/here.sh")),
    ("packages.sh", include_bytes!("../../guest/packages.sh")),
    ("tools.sh", include_bytes!("../../guest/tools.sh")),
    ("cases.sh", include_bytes!("../../guest/cases.sh")),
    ("harness.sh", include_bytes!("../../guest/harness.sh")),
    ("guest.service", include_bytes!("../../guest/guest.service")),
];
/// No logins, no messages of the service manager between those of the tests.
const WORDS: &str = "systemd.getty_auto=no systemd.show_status=no systemd.firstboot=no";
/// It comes up, restarts, and loses its power.
const BOOTS: u32 = 3;
/// Room for file system and journal of the second disk (bytes).
const SPARE: u64 = 32 << 20;
/// The third disk: 2048 ids.
const RAW: u64 = 1 << 20;
/// How much of the console is shown where a guest hangs.
const TAIL: usize = 40;

struct Arguments {
    release: root::Release,
    arch: Arch,
    cache: PathBuf,
    repository: PathBuf,
    lsm: String,
    /// In namespaces of this machine's kernel, and not in a guest.
    here: bool,
    kills: u32,
    back_within: u32,
    ready_within: u32,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut parsed = Self {
            release: root::Release::numbered("13")?,
            arch: Arch::own(),
            cache: PathBuf::new(),
            repository: PathBuf::new(),
            lsm: String::new(),
            here: false,
            kills: 10,
            back_within: 60,
            ready_within: 30,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            let number = || value.parse().with_context(|| format!("{word} needs a number"));
            match word.as_str() {
                "--release" => parsed.release = root::Release::numbered(&value)?,
                "--arch" => parsed.arch = Arch::named(&value)?,
                "--cache" => parsed.cache = value.into(),
                "--repository" => parsed.repository = value.into(),
                "--lsm" => parsed.lsm = value,
                "--place" => {
                    parsed.here = match value.as_str() {
                        "here" => true,
                        "guest" => false,
                        _ => bail!("no place {value:?} is known: use guest or here"),
                    }
                }
                "--kills" => parsed.kills = number()?,
                "--back-within" => parsed.back_within = number()?,
                "--ready-within" => parsed.ready_within = number()?,
                _ => bail!(
                    "usage: package-test --release 12|13 --arch amd64|arm64 --cache FOLDER --repository FOLDER --lsm LIST \
                     [--place guest|here] [--kills N] [--back-within SECONDS] [--ready-within SECONDS]"
                ),
            }
        }
        Ok(parsed)
    }

    /// How long one case may take in the guest (seconds): those with kills are the longest.
    fn case_limit(&self) -> u32 {
        600 + self.kills * (self.back_within + 10)
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
    fs::create_dir_all(&arguments.cache)?;
    // apt takes a relative folder as one below its own.
    let cache = fs::canonicalize(&arguments.cache)?;
    let (release, arch) = (arguments.release, arguments.arch);
    let root = root::ensure(&cache, release, arch, &mut |line| println!("  guest | {line}"))?;
    let place = if arguments.here { "-here" } else { "" };
    let name = format!("packages-{}-{}{place}", release.number, arch.debian());
    let (folder, console) = (
        cache.join(format!("{name}.folder")),
        cache.join(format!("{name}.console")),
    );
    fill(&arguments, &folder)?;
    // Two cases take the longest, and the others together no longer than one of them.
    let limit = Duration::from_secs(u64::from(arguments.case_limit()) * 3);
    let (cases, report, kernel) = if arguments.here {
        if arch != Arch::own() {
            bail!("this machine's kernel runs programs of its own architecture");
        }
        let (script, work) = (folder.join("here.sh"), cache.join(format!("{name}.work")));
        fs::create_dir_all(&work)?;
        let mut command = Command::new("/bin/sh");
        command.arg(script).arg(&root.disk).arg(&folder).arg(&work);
        let (cases, report) = watch(&console, &mut |hear| listen(&mut command, 1, limit, hear))?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        (cases, report, format!("this machine's Linux {}", kernel.trim()))
    } else {
        let tests = cache.join(format!("{name}.ext4"));
        disk::make(&folder, &tests, disk::size(&folder)? * 5 / 4 + SPARE)?;
        let raw = cache.join(format!("{name}.raw"));
        File::create(&raw).and_then(|file| file.set_len(RAW))?;
        let guest = Guest {
            kernel: &root.kernel.image,
            initramfs: &root.initramfs,
            lsm: &arguments.lsm,
            memory: root::MEMORY,
            arch,
            disks: &[&root.disk, &tests, &raw].map(|file| Disk { file, kept: false }),
            words: WORDS,
            boots: BOOTS,
            limit,
        };
        let (cases, report) = watch(&console, &mut |hear| boot(guest, hear))?;
        (
            cases,
            report,
            format!("Linux {}, lsm={}", release.kernel, arguments.lsm),
        )
    };
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    let about = format!("Debian {} ({}), {kernel}", release.number, arch.debian());
    let (passed, all) = cases.counts();
    let table = format!("{about}\n\n{cases}\n{passed} of {all} cases passed\n");
    print!("\n{table}");
    let file = cache.join(format!("{name}.table"));
    fs::write(&file, table).with_context(|| format!("cannot write {}", file.display()))?;
    let report = report?;
    if !report.success || !cases.passed() {
        bail!(
            "what was tried of the packages failed on {about}: {}; console: {}",
            report.verdict,
            console.display()
        );
    }
    Ok(())
}

/// What boots a system, and tells each line that it prints.
type Boot<'b> = dyn FnMut(&mut dyn FnMut(&str)) -> Result<Report> + 'b;

/// Boots, keeps the console, and shows how each case ends.
fn watch(console: &Path, boot: &mut Boot<'_>) -> Result<(Cases, Result<Report>)> {
    let open = File::create(console).with_context(|| format!("cannot write {}", console.display()))?;
    let mut log = BufWriter::new(open);
    let (mut cases, mut tail, mut unwritten) = (Cases::default(), VecDeque::new(), None);
    let report = boot(&mut |line| {
        if let Err(error) = writeln!(log, "{line}").and_then(|()| log.flush()) {
            unwritten = Some(error);
        }
        if cases.hear(line) {
            println!("  {line}");
        }
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
    });
    if let Some(error) = unwritten {
        return Err(error).with_context(|| format!("cannot write {}", console.display()));
    }
    if report.is_err() {
        for line in tail {
            println!("  guest | {line}");
        }
    }
    Ok((cases, report))
}

/// The folder with the repository, the tests and their settings.
fn fill(arguments: &Arguments, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder)?;
    let copied = Command::new("cp")
        .arg("-R")
        .arg(&arguments.repository)
        .arg(folder.join("repo"))
        .status()
        .context("cannot start cp")?;
    if !copied.success() {
        bail!("{} cannot be copied: {copied}", arguments.repository.display());
    }
    for (name, content) in TESTS {
        let file = folder.join(name);
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let settings = format!(
        "PLACE={}\nKILLS={}\nBACK_WITHIN={}\nREADY_WITHIN={}\nCASE_LIMIT={}\n",
        if arguments.here { "here" } else { "guest" },
        arguments.kills,
        arguments.back_within,
        arguments.ready_within,
        arguments.case_limit()
    );
    fs::write(folder.join("settings"), settings)?;
    open_to_all(folder)
}

/// apt reads as a user of its own, whatever the mask here is.
fn open_to_all(path: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() {
        return Ok(fs::set_permissions(path, PermissionsExt::from_mode(0o644))?);
    }
    fs::set_permissions(path, PermissionsExt::from_mode(0o755))?;
    for entry in fs::read_dir(path)? {
        open_to_all(&entry?.path())?;
    }
    Ok(())
}
