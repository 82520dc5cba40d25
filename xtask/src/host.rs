//! This checkout and this machine: paths, programs, running commands.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::arch::Architecture;
use crate::deb::Changelog;

/// Where things are.
#[derive(Clone)]
pub(crate) struct Host {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// Cargo's output folder.
    pub(crate) target: PathBuf,
    /// The cargo that runs us.
    pub(crate) cargo: PathBuf,
    /// The compiler's name for what is built for, for instance `x86_64-unknown-linux-gnu`: this machine unless
    /// [`Host::built_for`] says otherwise.
    pub(crate) triple: String,
    /// What is built for.
    pub(crate) arch: Architecture,
    /// What cargo is told where that is not this machine.
    pub(crate) cross: Vec<(String, OsString)>,
}

/// Where the checkout and cargo's sources seem to lie in what is shipped: the same everywhere.
const SHOWN_ROOT: &str = "/usr/src/defenseclaw";
const SHOWN_CARGO: &str = "/usr/src/cargo";

impl Host {
    pub(crate) fn look() -> Result<Self> {
        if !cfg!(target_os = "linux") {
            bail!("DefenseClaw is for Linux: its sensor is made of eBPF programs");
        }
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest)
            .parent()
            .context("xtask lies in the checkout's top folder")?
            .to_owned();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => root.join(folder),
            None => root.join("target"),
        };
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into()).into();
        let version = output(Command::new("rustc").arg("-vV"))?;
        let triple = field(&version, "host")
            .context("`rustc -vV` names no host")?
            .to_owned();
        Ok(Self {
            root,
            target,
            cargo,
            triple,
            arch: Architecture::own(),
            cross: Vec::new(),
        })
    }

    /// A cargo command in the checkout.
    pub(crate) fn cargo<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(&self.cargo);
        command
            .args(arguments)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .envs(self.cross.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A cargo command whose programs hold no path of this machine and no time of day: where and when they were built is none of what
    /// makes two builds differ. C compilers take their `__TIME__` from `SOURCE_DATE_EPOCH`. Everything of the profile `release` is built so, because other flags would build it all anew.
    pub(crate) fn release<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Result<Command> {
        let mut command = self.cargo(arguments);
        command
            .env(
                "CARGO_ENCODED_RUSTFLAGS",
                self.path_flags(&self.rustc())?.join("\x1f"),
            )
            .env("CFLAGS", self.c_flags()?)
            .env(
                "SOURCE_DATE_EPOCH",
                Changelog::newest(&self.root)?.epoch.to_string(),
            );
        Ok(command)
    }

    /// The compiler of what is built.
    pub(crate) fn rustc(&self) -> PathBuf {
        let own = self.cross.iter().find(|(name, _)| name == "RUSTC");
        own.map_or_else(|| "rustc".into(), |(_, rustc)| rustc.into())
    }

    /// What tells the compiler `rustc` to write other paths than those of this machine.
    pub(crate) fn path_flags(&self, rustc: &Path) -> Result<Vec<String>> {
        let sysroot = output(Command::new(rustc).args(["--print", "sysroot"]))?;
        let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
        let version = output(Command::new(rustc).arg("-vV"))?;
        // Of several that fit, the last one counts.
        let mut maps = vec![(source, shown_library(&version))];
        maps.extend(self.shown_paths().map(|(from, to)| (from, to.to_owned())));
        let flag = |(from, to): (PathBuf, String)| format!("--remap-path-prefix={}={to}", from.display());
        Ok(maps.into_iter().map(flag).collect())
    }

    /// Folders of this machine whose names must not be in what is built. One directly below `/` is left out: a text like `/src` is in
    /// many programs whoever built them. Of cargo's own it is those of sources: rules name the folder itself.
    pub(crate) fn private_paths(&self) -> Vec<PathBuf> {
        let [(cargo, _), (root, _), (target, _)] = self.shown_paths();
        [cargo.join("registry"), cargo.join("git"), root, target]
            .into_iter()
            .filter(|path| path.components().count() > 2 && !path.starts_with("/usr/src"))
            .collect()
    }

    fn c_flags(&self) -> Result<String> {
        let mut flags = Vec::new();
        for (from, to) in self.shown_paths() {
            let from = from.display().to_string();
            // The variable is split at blanks, and there is no way to quote.
            if from.contains(char::is_whitespace) {
                bail!("{from}: a folder whose name holds a blank cannot be built in; move the checkout");
            }
            flags.push(format!("-ffile-prefix-map={from}={to}"));
        }
        Ok(flags.join(" "))
    }

    fn shown_paths(&self) -> [(PathBuf, &'static str); 3] {
        let home = env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from);
        let cargo = env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
        [
            (cargo, SHOWN_CARGO),
            (self.root.clone(), SHOWN_ROOT),
            (self.target.clone(), "/usr/src/defenseclaw/target"),
        ]
    }

    /// Where cargo puts the programs of the profile `release`.
    pub(crate) fn release_folder(&self) -> PathBuf {
        if self.cross.is_empty() {
            self.target.join("release")
        } else {
            self.target.join(&self.triple).join("release")
        }
    }

    /// The same of the profile `kit`.
    pub(crate) fn kit_folder(&self) -> PathBuf {
        self.release_folder().with_file_name("kit")
    }

    /// Where our own copies of build tools go.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// What is shipped: `target/dist`, and `target/dist-ARCH` for the other architecture.
    pub(crate) fn dist(&self) -> PathBuf {
        if self.cross.is_empty() {
            self.target.join("dist")
        } else {
            self.target.join(format!("dist-{}", self.arch.debian()))
        }
    }

    /// Symbols of the programs in a folder like [`Host::dist`] lie beside it, as debuggers look for them.
    pub(crate) fn symbols(programs: &Path) -> PathBuf {
        let mut name = programs.file_name().unwrap_or_default().to_owned();
        name.push("-symbols");
        programs.with_file_name(name)
    }

    /// The C compiler of what is built, which also calls the linker.
    pub(crate) fn c_compiler(&self) -> String {
        if self.cross.is_empty() {
            "cc".into()
        } else {
            format!("{}-gcc", self.arch.gnu())
        }
    }

    /// The tool that takes symbols out of what is built.
    pub(crate) fn objcopy(&self) -> String {
        if self.cross.is_empty() {
            "objcopy".into()
        } else {
            format!("{}-objcopy", self.arch.gnu())
        }
    }

    /// A program in our tools folder or in `PATH`.
    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        let own = self.tools().join("bin").join(program);
        if own.is_file() {
            Some(own)
        } else {
            find_in_path(program)
        }
    }
}

/// Where the sources of Rust's own library seem to lie. A compiler that is installed without them writes the folder of its commit, so
/// one that has them is told to do the same.
fn shown_library(version: &str) -> String {
    match field(version, "commit-hash") {
        Some(commit) if commit != "unknown" => format!("/rustc/{commit}"),
        _ => "/usr/src/rust".to_owned(),
    }
}

/// A program in `PATH`, or in the places that an unprivileged `PATH` lacks.
pub(crate) fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/bin", "/usr/bin", "/usr/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The value of a `name: value` line.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The command as a person would type it.
pub(crate) fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| {
            let word = word.to_string_lossy();
            if word.contains([' ', '"', '*']) {
                format!("'{word}'")
            } else {
                word.into_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs a command whose output goes to the terminal.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", describe(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", describe(command));
    }
    Ok(())
}

/// Runs a command and takes its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", describe(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}\n{}",
            describe(command),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a command runs and ends well; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Announces a step, runs it, and says how long it took.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    eprintln!("── {name}");
    let result = work();
    let outcome = if result.is_ok() { "done" } else { "FAILED" };
    eprintln!("── {name}: {outcome} in {:.1} s", start.elapsed().as_secs_f64());
    std::io::stderr().flush().ok();
    result
}

/// Writes a file only if it changes, so that nothing that depends on it is rebuilt.
pub(crate) fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let new = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if std::fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    // A running program cannot be written to, but its name can be given to a new file.
    let fresh = to.with_extension("new");
    std::fs::copy(from, &fresh).with_context(|| format!("cannot write {}", fresh.display()))?;
    std::fs::rename(&fresh, to).with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_s_own_sources_seem_to_lie_where_a_compiler_without_them_says() {
        let version = |commit: &str| format!("rustc 1.95.0\nbinary: rustc\ncommit-hash: {commit}\nhost: x\n");
        assert_eq!(shown_library(&version("59807616e1fa")), "/rustc/59807616e1fa");
        assert_eq!(shown_library(&version("unknown")), "/usr/src/rust");
        assert_eq!(shown_library("rustc 1.95.0\n"), "/usr/src/rust");
    }

    #[test]
    fn what_is_built_bears_the_date_of_the_changelog() {
        let host = Host::look().unwrap();
        let command = host.release(["build"]).unwrap();
        let told = command.get_envs().find(|(name, _)| *name == "SOURCE_DATE_EPOCH");
        let epoch = Changelog::newest(&host.root).unwrap().epoch.to_string();
        assert_eq!(
            told,
            Some((OsStr::new("SOURCE_DATE_EPOCH"), Some(OsStr::new(&epoch))))
        );
    }

    #[test]
    fn no_folder_that_any_program_may_name_counts_as_private() {
        let mut host = Host::look().unwrap();
        let private = |host: &Host, path: &str| host.private_paths().contains(&PathBuf::from(path));
        for (root, counts) in [
            ("/home/ada/work", true),
            ("/src", false),
            ("/usr/src/defenseclaw", false),
        ] {
            host.root = root.into();
            assert_eq!(private(&host, root), counts, "{root}");
        }
    }
}
