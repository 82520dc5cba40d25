//! Boots a guest kernel, runs the sensor's smoke test in it, and says how it went.
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool: what it prints is its product"
)]

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use defenseclaw_vm_tests::arch::Arch;
use defenseclaw_vm_tests::guest::{Guest, boot};
use defenseclaw_vm_tests::initramfs::Initramfs;
use defenseclaw_vm_tests::system::System;
use defenseclaw_vm_tests::{COMMAND_FILE, kernel};

/// With `bpf` in the list, as an administrator would add it; the plain sensor must work either way.
const LSM: &str = "landlock,lockdown,yama,bpf";

/// How long a guest may take. It takes seconds; a busy machine may need ten times as long.
const QUICK: Duration = Duration::from_secs(120);
/// The same with some two thousand sandboxes in it, on an emulated processor.
const PATIENT: Duration = Duration::from_secs(3_600);
/// A guest's memory (MiB): the sensor's test has little to hold, the attacks copy programs.
const SMALL: u32 = 768;
const LARGE: u32 = 2_048;
/// How a line begins that tells one attack's result.
const RESULT: &str = r#"{"attack":"#;
/// What the sandbox's test needs.
const SANDBOX: [&str; 4] = ["defenseclaw-cli", "lib/defenseclaw-cli", "escape", "e2e_sandbox"];

/// Programs of the system that it needs, too.
const SYSTEM: [&str; 4] = ["sh", "true", "echo", "cat"];

struct Arguments {
    kernel: String,
    arch: Arch,
    cache: PathBuf,
    agent: PathBuf,
    init: PathBuf,
    /// The folder with the launcher, the hostile programs and their test; without it only the sensor is tested.
    sandbox: Option<PathBuf>,
    /// The kernel's list of security modules.
    lsm: Option<String>,
    /// Where the attacks' results go, one JSON object a line.
    report: Option<PathBuf>,
    /// Only the attacks whose names hold this.
    only: Option<String>,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut parsed = Self {
            kernel: String::new(),
            arch: Arch::own(),
            cache: PathBuf::new(),
            agent: PathBuf::new(),
            init: PathBuf::new(),
            sandbox: None,
            lsm: None,
            report: None,
            only: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--kernel" => parsed.kernel = value,
                "--arch" => parsed.arch = Arch::named(&value)?,
                "--cache" => parsed.cache = value.into(),
                "--agent" => parsed.agent = value.into(),
                "--init" => parsed.init = value.into(),
                "--sandbox" => parsed.sandbox = Some(value.into()),
                "--lsm" => parsed.lsm = Some(value),
                "--report" => parsed.report = Some(value.into()),
                "--only" => parsed.only = Some(value),
                _ => bail!(
                    "usage: vm-test --kernel VERSION [--arch amd64|arm64] --cache FOLDER --agent PROGRAM --init PROGRAM \
                     [--sandbox FOLDER [--report FILE] [--only PART]] [--lsm LIST]"
                ),
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
    fs::create_dir_all(&arguments.cache)?;
    // apt takes a relative folder as one below its own.
    let cache = fs::canonicalize(&arguments.cache)?;
    let image = kernel::fetch(&cache, &arguments.kernel, arguments.arch)?.image;
    let system = if arguments.arch == Arch::own() {
        None
    } else {
        Some(System::fetch(&cache, &arguments.kernel, arguments.arch)?)
    };
    let mut archive = system.clone().map_or_else(Initramfs::new, Initramfs::of);
    archive.program("/init", &arguments.init)?;
    archive.program("/bin/defenseclaw-agent", &arguments.agent)?;
    let mut commands = String::from("/bin/defenseclaw-agent\nselftest\n");
    if let Some(folder) = &arguments.sandbox {
        for program in SANDBOX {
            archive.program(&format!("/bin/{program}"), &folder.join(program))?;
        }
        // Hostile programs and their twins start some of the system's.
        for program in SYSTEM {
            let file = match &system {
                Some(system) => system.program(program)?,
                None => Path::new("/bin").join(program),
            };
            archive.program(&format!("/bin/{program}"), &file)?;
        }
        archive.file("/etc/passwd", b"root:x:0:0::/root:/bin/sh\n");
        // What a sandbox replaces, and what its attacks look for.
        archive.file("/etc/hosts", b"127.0.0.1 localhost\n");
        archive.file("/etc/resolv.conf", b"nameserver 127.0.0.1\n");
        // Its home lies outside of the temporary folders, which every sandbox may write.
        archive.file("/home/README", b"homes\n");
        commands = format!(
            "@DEFENSECLAW_BIN_DIR=/bin\n@CI=1\n@DEFENSECLAW_ESCAPE_REPORT=/dev/console\n@DEFENSECLAW_ESCAPE_IN_TURN=1\n@DEFENSECLAW_ESCAPE_ONLY={}\n\
             /bin/e2e_sandbox\n--test-threads=1\n",
            arguments.only.as_deref().unwrap_or_default()
        );
    }
    archive.file(COMMAND_FILE, commands.as_bytes());
    let packed = cache.join("initramfs.cpio");
    fs::write(&packed, archive.finish()).with_context(|| format!("cannot write {}", packed.display()))?;
    let (memory, limit) = match &arguments.sandbox {
        Some(_) => (LARGE, PATIENT),
        None => (SMALL, QUICK),
    };
    let guest = Guest {
        kernel: &image,
        initramfs: &packed,
        lsm: arguments.lsm.as_deref().unwrap_or(LSM),
        memory,
        arch: arguments.arch,
        disks: &[],
        words: "",
        boots: 1,
        limit,
    };
    let mut results = match &arguments.report {
        Some(file) => {
            let open = fs::File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
            Some(BufWriter::new(open))
        }
        None => None,
    };
    let mut unwritten = None;
    let report = boot(guest, &mut |line| match (&mut results, line.find(RESULT)) {
        (Some(file), Some(at)) => {
            if let Err(error) = writeln!(file, "{}", &line[at..]) {
                unwritten = Some(error);
            }
        }
        (None, Some(_)) => {}
        _ => println!("  guest | {line}"),
    })?;
    if let Some(error) = unwritten {
        return Err(error).context("the attacks' results cannot be written");
    }
    if let Some(mut file) = results {
        file.flush()?;
    }
    println!(
        "Linux {} on {}: {} (boot to power-off {:.1} s)",
        arguments.kernel,
        arguments.arch.debian(),
        report.verdict,
        report.took.as_secs_f64()
    );
    if !report.success {
        bail!("what was tested failed on Linux {}", arguments.kernel);
    }
    Ok(())
}
