//! `cargo xtask vm-test --packages`: the Debian packages in a guest with systemd, from the repository to the purge.
//!
//! The packages are those of `target/deb`. What an upgrade goes from are the same ones under lower version numbers: their programs
//! are equal, and what is tried is what the package manager, the maintainer scripts and the service manager do with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::arch::Architecture;
use crate::host::{Host, output, run, step};
use crate::repo;
use crate::setup::{self, Wanted};

/// What to boot, and what to ask of it.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Install the packages of target/deb in a guest with systemd, from a signed repository, and try what a host does with them
    /// over its life (a quarter of an hour). It has the kernel of its release.
    #[arg(long, conflicts_with_all = ["sandbox", "kernel"])]
    pub(crate) packages: bool,
    /// With --packages: the guest's Debian.
    #[arg(long, default_value = "13", value_parser = ["12", "13"])]
    release: String,
    /// With --packages or --sandbox: the guest's architecture.
    #[arg(long, value_enum, default_value_t = Architecture::own())]
    pub(crate) arch: Architecture,
    /// With --packages: not in a guest but in namespaces, with the kernel of this machine at its full speed; what a restart or a cut
    /// of the power shows is left out. Root's rights are needed.
    #[arg(long, requires = "packages", conflicts_with = "lsm")]
    here: bool,
    /// With --packages: another folder with packages.
    #[arg(long, value_name = "DIR", requires = "packages")]
    debs: Option<PathBuf>,
    /// With --packages: how often each service is killed.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    kills: u32,
    /// With --packages: how long a killed service may take to be back, by the guest's clock, in seconds. The guest is emulated, some
    /// thirty times slower than a machine; two seconds there are a minute here.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    back_within: u32,
    /// With --packages: how long both services may take until they are active, by the guest's clock, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    ready_within: u32,
}

/// With `bpf` in the list, as an administrator would add it.
const LSM: &str = "landlock,lockdown,yama,bpf";
/// Where the guest finds the repository.
const URL: &str = "file:/srv/test/repo";
/// What is appended to the version for what an upgrade goes from: each is lower than the one after it, and all than the version.
const BEFORE: [&str; 2] = ["~1", "~2"];

pub(super) fn test(host: &Host, options: &Options, lsm: Option<&str>) -> Result<()> {
    setup::install(
        host,
        Wanted {
            systems: Some(options.arch),
            packages: true,
            ..Wanted::default()
        },
    )?;
    let debs = options.debs.clone().unwrap_or_else(|| host.target.join("deb"));
    let repository = step("repository with three versions", || {
        repository(host, options, &debs)
    })?;
    run(&mut host.release(["build", "--release", "--package=defenseclaw-vm-tests"])?)?;
    let mut command = Command::new(host.release_folder().join("package-test"));
    command
        .args(["--release", &options.release, "--arch", options.arch.debian()])
        .arg("--cache")
        .arg(host.target.join("vm"))
        .arg("--repository")
        .arg(repository)
        .args(["--lsm", lsm.unwrap_or(LSM)])
        .args(["--place", if options.here { "here" } else { "guest" }])
        .args(["--kills", &options.kills.to_string()])
        .args(["--back-within", &options.back_within.to_string()])
        .args(["--ready-within", &options.ready_within.to_string()]);
    run(&mut command)
}

/// A signed repository of the package and of what an upgrade goes from.
fn repository(host: &Host, options: &Options, debs: &Path) -> Result<PathBuf> {
    let work =
        host.target
            .join("guest-packages")
            .join(format!("{}-{}", options.release, options.arch.debian()));
    let (pool, out) = (work.join("debs"), work.join("repo"));
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    }
    fs::create_dir_all(&pool).with_context(|| format!("cannot create {}", pool.display()))?;
    let package = newest(debs, options.arch)?;
    fs::copy(&package, pool.join(package.file_name().unwrap_or_default()))
        .with_context(|| format!("cannot copy {}", package.display()))?;
    for suffix in BEFORE {
        under_other_version(&package, suffix, &work, &pool)?;
    }
    repo::repo(host, &repo::Options::for_tries(URL, pool, out.clone()))?;
    Ok(out)
}

/// The package of that architecture; of several the one that was made last.
fn newest(debs: &Path, arch: Architecture) -> Result<PathBuf> {
    let ending = format!("_{}.deb", arch.debian());
    let mut found = Vec::new();
    for entry in fs::read_dir(debs).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("defenseclaw_") && name.ends_with(&ending) {
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    found.sort();
    match found.pop() {
        Some((_, package)) => Ok(package),
        None => bail!(
            "{} holds no package for {arch}: run `cargo xtask deb --arch {arch}` first",
            debs.display(),
            arch = arch.debian()
        ),
    }
}

/// The same package under its version with `suffix`, packed for speed.
fn under_other_version(package: &Path, suffix: &str, work: &Path, pool: &Path) -> Result<()> {
    let field = |name: &str| -> Result<String> {
        Ok(
            output(Command::new("dpkg-deb").arg("--field").arg(package).arg(name))?
                .trim()
                .to_owned(),
        )
    };
    let (version, arch) = (field("Version")?, field("Architecture")?);
    let folder = work.join(format!("unpacked{suffix}"));
    run(Command::new("dpkg-deb")
        .arg("--raw-extract")
        .arg(package)
        .arg(&folder))?;
    let control = folder.join("DEBIAN/control");
    let text = fs::read_to_string(&control).with_context(|| format!("cannot read {}", control.display()))?;
    fs::write(&control, with_suffix(&text, suffix))
        .with_context(|| format!("cannot write {}", control.display()))?;
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Zgzip", "-z1", "--build"])
        .arg(&folder)
        .arg(pool.join(format!("defenseclaw_{version}{suffix}_{arch}.deb"))))?;
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// A control file with another version in it.
fn with_suffix(control: &str, suffix: &str) -> String {
    let mut text = String::new();
    for line in control.lines() {
        text.push_str(line.trim_end());
        if line.starts_with("Version:") {
            text.push_str(suffix);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_is_another() {
        let control = "Package: a\nVersion: 0.1.0-1\nDepends: b (>= 1)\nDescription: x\n Version: 3\n";
        assert_eq!(
            with_suffix(control, "~1"),
            "Package: a\nVersion: 0.1.0-1~1\nDepends: b (>= 1)\nDescription: x\n Version: 3\n"
        );
    }

    #[test]
    fn versions_before_are_before() {
        let order: Vec<String> = BEFORE.iter().map(|suffix| format!("0.1.0-1{suffix}")).collect();
        for (older, newer) in [(&order[0], &order[1]), (&order[1], &"0.1.0-1".to_owned())] {
            let compared = Command::new("dpkg")
                .args(["--compare-versions", older, "lt", newer])
                .status()
                .unwrap();
            assert!(compared.success(), "{older} < {newer}");
        }
    }
}
