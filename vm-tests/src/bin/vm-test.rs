//! Boots a guest kernel, runs the sensor's smoke test in it, and says how it went.
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool: what it prints is its product"
)]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use defenseclaw_vm_tests::guest::boot;
use defenseclaw_vm_tests::initramfs::Initramfs;
use defenseclaw_vm_tests::{COMMAND_FILE, kernel};

/// With `bpf` in the list, as an administrator would add it; the plain sensor must work either way.
const LSM: &str = "landlock,lockdown,yama,bpf";

#[derive(Default)]
struct Arguments {
    kernel: String,
    cache: PathBuf,
    agent: PathBuf,
    init: PathBuf,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut parsed = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--kernel" => parsed.kernel = value,
                "--cache" => parsed.cache = value.into(),
                "--agent" => parsed.agent = value.into(),
                "--init" => parsed.init = value.into(),
                _ => bail!("usage: vm-test --kernel VERSION --cache FOLDER --agent PROGRAM --init PROGRAM"),
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
    let image = kernel::fetch(&cache, &arguments.kernel)?;
    let mut archive = Initramfs::new();
    archive.program("/init", &arguments.init)?;
    archive.program("/bin/defenseclaw-agent", &arguments.agent)?;
    archive.file(COMMAND_FILE, b"/bin/defenseclaw-agent\nselftest\n");
    let packed = cache.join("initramfs.cpio");
    fs::write(&packed, archive.finish()).with_context(|| format!("cannot write {}", packed.display()))?;
    let report = boot(&image, &packed, LSM, &mut |line| println!("  guest | {line}"))?;
    println!(
        "Linux {}: {} (boot to power-off {:.1} s)",
        arguments.kernel,
        report.verdict,
        report.took.as_secs_f64()
    );
    if !report.success {
        bail!("the smoke test failed on Linux {}", arguments.kernel);
    }
    Ok(())
}
