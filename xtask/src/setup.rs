//! Says what is missing, then installs it.
//!
//! Everything is found by looking at what is there, never by a distribution's name. A plan is made, printed and carried
//! out; then the machine is looked at again, because what comes next can depend on it (the linker's LLVM on the
//! compiler). When nothing is missing, nothing is printed and nothing is run.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::arch::Architecture;
use crate::cross;
use crate::host::{Host, describe, find_in_path, run, step, succeeds};
use crate::toolchain::{self, Compiler};

/// What the caller is going to do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    /// Build the kernel programs.
    pub(crate) ebpf: bool,
    /// Boot guests.
    pub(crate) guests: bool,
    /// Boot guests of that architecture with a root file system of their own.
    pub(crate) systems: Option<Architecture>,
    /// Run the real client.
    pub(crate) client: bool,
    /// Check licences.
    pub(crate) deny: bool,
    /// Compare with `bash`, `curl` and `jq`.
    pub(crate) bench: bool,
    /// Make packages.
    pub(crate) packages: bool,
    /// Install packages in a clean root.
    pub(crate) clean_root: bool,
    /// Build for this architecture.
    pub(crate) arch: Architecture,
}

impl Wanted {
    pub(crate) fn everything() -> Self {
        Self {
            ebpf: true,
            guests: true,
            systems: Some(Architecture::own()),
            client: true,
            deny: true,
            bench: true,
            packages: true,
            clean_root: true,
            arch: Architecture::own(),
        }
    }

    pub(crate) fn build() -> Self {
        Self {
            ebpf: true,
            ..Self::default()
        }
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) why: String,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The distribution's lists of packages.
    AptLists,
    /// Packages of the distribution.
    Apt(Vec<String>),
    /// Packages of another architecture beside this machine's.
    Foreign(&'static str),
    /// A rustup toolchain with the library source.
    Rustup,
    /// The standard library of another target, from rustup.
    RustupTarget(&'static str),
    /// A program from crates.io, built with these variables.
    Cargo {
        name: &'static str,
        arguments: Vec<String>,
        variables: Vec<(&'static str, PathBuf)>,
    },
}

/// Installs what `wanted` needs and the machine lacks.
pub(crate) fn install(host: &Host, wanted: Wanted) -> Result<()> {
    let mut rustup_failed = false;
    let mut before = Vec::new();
    loop {
        let plan = plan(host, wanted, rustup_failed)?;
        if plan.is_empty() {
            return Ok(());
        }
        if plan == before {
            bail!("set-up ran, and still this is missing:\n{}", list(host, &plan));
        }
        eprintln!(
            "This machine lacks something that is needed. About to run:\n{}",
            list(host, &plan)
        );
        check_privilege(host, &plan)?;
        for action in &plan {
            let outcome = step(&action.kind.title(), || action.kind.run(host));
            match (&action.kind, outcome) {
                // No network to rustup's server, or no such component: the distribution may have it.
                (Kind::Rustup | Kind::RustupTarget(_), Err(error)) => {
                    eprintln!("{error:#}\nrustup cannot provide it; looking for the distribution's instead.");
                    rustup_failed = true;
                }
                (_, outcome) => outcome?,
            }
        }
        before = plan;
    }
}

fn plan(host: &Host, wanted: Wanted, rustup_failed: bool) -> Result<Vec<Action>> {
    let mut plan = Vec::new();
    let mut packages: BTreeSet<String> = BTreeSet::new();
    let mut reasons = Vec::new();
    for (needed, what, names, why) in PROGRAMS {
        let there = if what.starts_with('/') {
            Path::new(what).exists()
        } else {
            find_in_path(what).is_some()
        };
        if needed(&wanted) && !there {
            packages.extend(names.iter().map(ToString::to_string));
            reasons.push(format!("{what} ({why})"));
        }
    }
    if wanted.ebpf && toolchain::complete(host).is_none() {
        if apt_never_updated() {
            let why = "this machine never fetched its lists of packages".into();
            return Ok(vec![Action {
                why,
                kind: Kind::AptLists,
            }]);
        }
        plan.push(plan_ebpf(rustup_failed)?);
    }
    plan.extend(cross::plan(wanted.arch, rustup_failed));
    if wanted.deny && host.find("cargo-deny").is_none() {
        plan.push(Action {
            why: "checks licences and sources of every dependency".into(),
            kind: Kind::Cargo {
                name: "cargo-deny",
                arguments: ["--locked", "--debug", "--version", DENY_VERSION]
                    .map(Into::into)
                    .into(),
                // It runs for a second: optimising it would take minutes.
                variables: vec![("CARGO_PROFILE_DEV_DEBUG", "0".into())],
            },
        });
    }
    if !packages.is_empty() {
        let packages = packages.into_iter().collect();
        plan.insert(
            0,
            Action {
                why: reasons.join(", "),
                kind: Kind::Apt(packages),
            },
        );
    }
    Ok(plan)
}

/// Who needs it, the program or file to look for, the packages that bring it, and what it is for.
type Program = (
    fn(&Wanted) -> bool,
    &'static str,
    &'static [&'static str],
    &'static str,
);

const PROGRAMS: [Program; 15] = [
    (|_| true, "cc", &["gcc", "libc6-dev"], "compiles SQLite and links"),
    (
        |_| true,
        "git",
        &["git"],
        "the sessions work in small repositories",
    ),
    (
        |_| true,
        "/usr/include/seccomp.h",
        &["libseccomp-dev"],
        "builds the supervisor of sandboxes",
    ),
    (
        |w| w.guests || w.systems == Some(Architecture::Amd64),
        "qemu-system-x86_64",
        &["qemu-system-x86", "ipxe-qemu", "seabios"],
        "boots the test guests",
    ),
    (
        |w| w.systems == Some(Architecture::Arm64),
        "qemu-system-aarch64",
        &["qemu-system-arm", "ipxe-qemu"],
        "boots the test guests of the other architecture",
    ),
    (
        |w| w.systems.is_some(),
        "mke2fs",
        &["e2fsprogs"],
        "makes the test guests' disks",
    ),
    (
        |w| w.guests || w.systems.is_some() || w.clean_root,
        DEBIAN_KEYS,
        &["debian-archive-keyring"],
        "checks the test guests' kernels, and the clean root",
    ),
    (|w| w.client, "npm", &["npm"], "fetches the real Claude Code"),
    (|w| w.packages, "dpkg-deb", &["dpkg"], "writes packages"),
    (
        |w| w.packages || w.systems.is_some(),
        "xz",
        &["xz-utils"],
        "compresses the repository's lists, unpacks the modules of guests' kernels",
    ),
    (
        |w| w.packages,
        "lintian",
        &["lintian"],
        "checks packages against Debian's rules",
    ),
    (
        |w| w.packages,
        "gpg",
        &["gpg", "gpg-agent"],
        "signs the repository",
    ),
    (
        |w| w.clean_root || w.systems.is_some(),
        "debootstrap",
        &["debootstrap"],
        "makes the roots that packages are tried in",
    ),
    (|w| w.bench, "curl", &["curl"], "the benchmark's comparison"),
    (|w| w.bench, "jq", &["jq"], "the benchmark's comparison"),
];
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Pinned: it is built from source, and a newer one may want a newer compiler.
const DENY_VERSION: &str = "0.20.2";
/// Pinned, for the same reason.
const LINKER_VERSION: &str = "0.13.0";

/// What comes next on the way to a compiler with its library source and the linker that holds its LLVM.
fn plan_ebpf(rustup_failed: bool) -> Result<Action> {
    let compilers: Vec<Compiler> = toolchain::compilers().collect();
    if let Some((compiler, prefix)) = compilers
        .iter()
        .find_map(|c| Some((c, toolchain::llvm_prefix(c.llvm)?)))
    {
        return Ok(plan_linker(compiler, prefix));
    }
    let names = |llvm: u32| vec![format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")];
    if let Some(compiler) = compilers
        .iter()
        .find(|c| names(c.llvm).iter().all(|name| apt_has(name)))
    {
        let why = format!(
            "LLVM {}, as in {}, to build bpf-linker with",
            compiler.llvm,
            compiler.rustc.display()
        );
        return Ok(Action {
            why,
            kind: Kind::Apt(names(compiler.llvm)),
        });
    }
    // A compiler whose LLVM is not to be had does not help: another one may.
    let pinned = compilers
        .iter()
        .any(|compiler| compiler.release == toolchain::RUSTUP_RELEASE);
    match plan_compiler(rustup_failed || pinned) {
        Ok(action) => Ok(action),
        Err(error) => match compilers.first() {
            None => Err(error),
            Some(compiler) => bail!(
                "bpf-linker needs LLVM {llvm}, the one inside {} ({}), and this machine's apt sources lack {names}.\n\
                 Add LLVM's own repository, then run this again:\n  \
                 wget https://apt.llvm.org/llvm.sh && sudo bash llvm.sh {llvm} && sudo apt-get install {names}",
                compiler.rustc.display(),
                compiler.release,
                llvm = compiler.llvm,
                names = names(compiler.llvm).join(" "),
            ),
        },
    }
}

fn plan_linker(compiler: &Compiler, prefix: PathBuf) -> Action {
    let feature = format!("llvm-{}", compiler.llvm);
    let arguments = [
        "--locked",
        "--version",
        LINKER_VERSION,
        "--no-default-features",
        "--features",
        &feature,
    ];
    Action {
        why: format!(
            "links the kernel programs; it must hold LLVM {}, as {} does",
            compiler.llvm,
            compiler.rustc.display()
        ),
        kind: Kind::Cargo {
            name: "bpf-linker",
            arguments: arguments.map(Into::into).into(),
            variables: vec![("LLVM_PREFIX", prefix)],
        },
    }
}

fn plan_compiler(rustup_failed: bool) -> Result<Action> {
    let why =
        "a Rust compiler with its library source: the kernel programs need `core` built for the BPF target"
            .into();
    if find_in_path("rustup").is_some() && !rustup_failed {
        return Ok(Action {
            why,
            kind: Kind::Rustup,
        });
    }
    // Debian names its newest compiler, the one that its browsers are built with, `rustc-web`.
    for (compiler, source) in [("rustc-web", "rust-web-src"), ("rustc", "rust-src")] {
        if apt_has(compiler) && apt_has(source) && !Path::new("/usr/lib/rustlib/src/rust").exists() {
            return Ok(Action {
                why,
                kind: Kind::Apt(vec![compiler.into(), source.into()]),
            });
        }
    }
    bail!(
        "the kernel programs need a Rust compiler with its library source. Either of these provides one:\n  \
         rustup toolchain install {} --profile minimal --component rust-src\n  \
         apt-get install rustc-web rust-web-src      (Debian)",
        toolchain::RUSTUP_RELEASE
    )
}

/// Whether apt knows a package that it could install.
pub(crate) fn apt_has(package: &str) -> bool {
    let policy = crate::host::output(Command::new("apt-cache").args(["policy", package])).unwrap_or_default();
    policy
        .lines()
        .any(|line| line.trim().starts_with("Candidate: ") && !line.contains("(none)"))
}

/// Whether this machine has apt, but never fetched its lists of packages: then `apt_has` would deny everything.
fn apt_never_updated() -> bool {
    let lists = std::fs::read_dir("/var/lib/apt/lists").map(|entries| {
        let names = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.contains("_Packages")).count()
    });
    find_in_path("apt-get").is_some() && lists.is_ok_and(|count| count == 0)
}

impl Kind {
    fn title(&self) -> String {
        match self {
            Self::AptLists => "apt-get update".into(),
            Self::Apt(packages) => format!("apt-get install {}", packages.join(" ")),
            Self::Foreign(arch) => format!("dpkg --add-architecture {arch}"),
            Self::Rustup => format!("rustup toolchain install {}", toolchain::RUSTUP_RELEASE),
            Self::RustupTarget(triple) => format!("rustup target add {triple}"),
            Self::Cargo { name, .. } => format!("cargo install {name}"),
        }
    }

    fn commands(&self, host: &Host) -> Vec<Command> {
        match self {
            Self::AptLists => {
                let mut update = privileged("apt-get");
                update.arg("update");
                vec![update]
            }
            Self::Apt(packages) => {
                let mut install = privileged("apt-get");
                install
                    .args(["install", "-y", "--no-install-recommends"])
                    .args(packages);
                vec![install]
            }
            Self::Foreign(arch) => {
                let mut add = privileged("dpkg");
                add.args(["--add-architecture", arch]);
                let mut update = privileged("apt-get");
                update.arg("update");
                vec![add, update]
            }
            Self::RustupTarget(triple) => {
                let mut command = Command::new("rustup");
                command.args(["target", "add", triple]);
                vec![command]
            }
            Self::Rustup => {
                let mut command = Command::new("rustup");
                command.args([
                    "toolchain",
                    "install",
                    toolchain::RUSTUP_RELEASE,
                    "--no-self-update",
                ]);
                command.args(["--profile", "minimal", "--component", "rust-src"]);
                vec![command]
            }
            Self::Cargo {
                name,
                arguments,
                variables,
            } => {
                let mut command = host.cargo(["install", name]);
                command.args(arguments).arg("--root").arg(host.tools());
                command.env("CARGO_TARGET_DIR", host.tools().join("build"));
                command.envs(variables.iter().map(|(name, value)| (name, value)));
                vec![command]
            }
        }
    }

    fn run(&self, host: &Host) -> Result<()> {
        self.commands(host).iter_mut().try_for_each(run)
    }
}

/// A command as root: as we are, or through sudo.
fn privileged(program: &str) -> Command {
    if is_root() {
        let mut command = Command::new(program);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        return command;
    }
    let mut command = Command::new("sudo");
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    command
}

/// Whether this process may do everything: the effective uid in `/proc/self/status` is 0.
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uids.and_then(|line| line.split_whitespace().nth(1)) == Some("0")
}

/// Without root and without sudo there is nothing to run: the list that was just printed is what a person can do.
fn check_privilege(host: &Host, plan: &[Action]) -> Result<()> {
    let apt: Vec<&Action> = plan
        .iter()
        .filter(|action| matches!(action.kind, Kind::Apt(_) | Kind::AptLists | Kind::Foreign(_)))
        .collect();
    if apt.is_empty() || is_root() {
        return Ok(());
    }
    if find_in_path("apt-get").is_none() {
        bail!("this machine has no apt-get: install what the list above names with its own package manager");
    }
    let sudo = find_in_path("sudo").is_some()
        && (succeeds(Command::new("sudo").args(["-n", "true"])) || std::io::stdin().is_terminal());
    if sudo {
        return Ok(());
    }
    let commands: Vec<String> = apt
        .iter()
        .flat_map(|action| action.kind.commands(host))
        .map(|command| describe(&command).replace("sudo DEBIAN_FRONTEND=noninteractive ", ""))
        .collect();
    bail!(
        "this needs root, and neither root nor sudo is at hand. As root, run:\n  {}",
        commands.join("\n  ")
    )
}

fn list(host: &Host, plan: &[Action]) -> String {
    let mut text = String::new();
    for action in plan {
        text.push_str(&format!("  # {}\n", action.why));
        for command in action.kind.commands(host) {
            let variables: String = command
                .get_envs()
                .filter(|(name, _)| *name != "CARGO_TARGET_DIR")
                .filter_map(|(name, value)| Some(format!("{}={} ", name.to_str()?, value?.to_str()?)))
                .collect();
            text.push_str(&format!("  {variables}{}\n", describe(&command)));
        }
    }
    text
}
