//! Says what is missing, then installs it.
//!
//! Everything is found by looking at what is there, never by a distribution's name. A plan is made, printed and carried
//! out; then the machine is looked at again, because what comes next can depend on it (the linker's LLVM on the
//! compiler). When nothing is missing, nothing is printed and nothing is run.
//!
//! | Module | Plans |
//! |---|---|
//! | [`programs`] | programs and files from the distribution's packages |
//! | [`kernel`] | the compiler and the linker of the kernel programs |
//! | [`apt`] | fetching apt's lists, before anything is decided by old ones |

mod apt;
mod kernel;
mod programs;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::arch::Architecture;
use crate::cross;
use crate::host::{Host, describe, find_in_path, run, step, succeeds};
use crate::toolchain;
use apt::Lists;
pub(crate) use apt::apt_has;

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

/// What of the plan has been tried in this run, and did not bring what it should have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tried {
    /// rustup cannot provide it.
    rustup_failed: bool,
    /// apt's lists were fetched, or could not be.
    lists: bool,
}

/// Installs what `wanted` needs and the machine lacks.
pub(crate) fn install(host: &Host, wanted: Wanted) -> Result<()> {
    carry_out(
        host,
        |tried| plan(host, wanted, tried),
        |plan| check_privilege(host, plan),
        |action| {
            let outcome = step(&action.kind.title(), || action.kind.run(host));
            outcome.or_else(|error| forgive(&action.kind, error, apt::are_there()))
        },
    )
}

/// No network to the mirror, or one of several is gone: what is needed may be in the lists that are there.
fn forgive(kind: &Kind, error: anyhow::Error, lists: bool) -> Result<()> {
    if *kind != Kind::AptLists || !lists {
        return Err(error);
    }
    eprintln!("{error:#}\nThe lists of packages could not be fetched; going on with those that are there.");
    Ok(())
}

/// Plans, and does what was planned, until nothing is missing.
fn carry_out(
    host: &Host,
    plan: impl Fn(Tried) -> Result<Vec<Action>>,
    check: impl Fn(&[Action]) -> Result<()>,
    mut run: impl FnMut(&Action) -> Result<()>,
) -> Result<()> {
    let mut tried = Tried::default();
    let mut before = Vec::new();
    loop {
        let plan = plan(tried)?;
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
        check(&plan)?;
        for action in &plan {
            let outcome = run(action);
            tried.lists |= action.kind == Kind::AptLists;
            match (&action.kind, outcome) {
                // No network to rustup's server, or no such component: the distribution may have it.
                (Kind::Rustup | Kind::RustupTarget(_), Err(error)) => {
                    eprintln!("{error:#}\nrustup cannot provide it; looking for the distribution's instead.");
                    tried.rustup_failed = true;
                }
                (_, outcome) => outcome?,
            }
        }
        before = plan;
    }
}

fn plan(host: &Host, wanted: Wanted, tried: Tried) -> Result<Vec<Action>> {
    let mut plan: Vec<Action> = programs::plan(&wanted).into_iter().collect();
    if wanted.ebpf && toolchain::complete(host).is_none() {
        let next = kernel::plan(tried.rustup_failed, Lists::look(tried.lists, may_be_root))?;
        if next.kind == Kind::AptLists {
            // What else is missing is decided, and fetched, by the new ones.
            return Ok(vec![next]);
        }
        plan.push(next);
    }
    plan.extend(cross::plan(wanted.arch, tried.rustup_failed));
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
    Ok(plan)
}

/// Pinned: it is built from source, and a newer one may want a newer compiler.
const DENY_VERSION: &str = "0.20.2";
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

/// Whether something can be run as root: by who we are, or through sudo.
fn may_be_root() -> bool {
    let sudo = || {
        find_in_path("sudo").is_some()
            && (succeeds(Command::new("sudo").args(["-n", "true"])) || std::io::stdin().is_terminal())
    };
    is_root() || sudo()
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
    if may_be_root() {
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use anyhow::anyhow;

    use super::*;

    fn host() -> Host {
        Host {
            root: "/nowhere".into(),
            target: "/nowhere/target".into(),
            cargo: "cargo".into(),
            triple: "x86_64-unknown-linux-gnu".into(),
            arch: Architecture::own(),
            cross: Vec::new(),
        }
    }

    fn action(kind: Kind) -> Vec<Action> {
        vec![Action {
            why: "it is needed".into(),
            kind,
        }]
    }

    fn llvm() -> Kind {
        Kind::Apt(vec!["llvm-22-dev".into()])
    }

    #[test]
    fn lists_are_fetched_once_and_what_they_then_name_is_installed() {
        let done: RefCell<Vec<Kind>> = RefCell::default();
        let plan = |tried: Tried| {
            Ok(match (tried.lists, done.borrow().contains(&llvm())) {
                (false, _) => action(Kind::AptLists),
                (true, false) => action(llvm()),
                (true, true) => Vec::new(),
            })
        };
        let run = |action: &Action| {
            done.borrow_mut().push(action.kind.clone());
            Ok(())
        };
        carry_out(&host(), plan, |_| Ok(()), run).unwrap();
        assert_eq!(done.into_inner(), [Kind::AptLists, llvm()]);
    }

    #[test]
    fn an_update_that_fails_stops_only_a_machine_without_lists() {
        let failed = || anyhow!("no network");
        assert!(forgive(&Kind::AptLists, failed(), true).is_ok());
        assert!(forgive(&Kind::AptLists, failed(), false).is_err());
        assert!(forgive(&llvm(), failed(), true).is_err());
    }

    #[test]
    fn what_was_installed_and_is_still_missing_ends_set_up() {
        let mut runs = 0;
        let run = |_: &Action| {
            runs += 1;
            Ok(())
        };
        let error = carry_out(&host(), |_| Ok(action(llvm())), |_| Ok(()), run).unwrap_err();
        let told = error.to_string();
        assert!(
            told.contains("still this is missing") && told.contains("llvm-22-dev"),
            "{told}"
        );
        assert_eq!(runs, 1);
    }

    #[test]
    fn rustup_may_fail_where_the_distribution_has_it_and_nothing_runs_that_may_not() {
        let plan = |tried: Tried| {
            Ok(if tried.rustup_failed {
                Vec::new()
            } else {
                action(Kind::Rustup)
            })
        };
        carry_out(&host(), plan, |_| Ok(()), |_| Err(anyhow!("no network"))).unwrap();
        let refused = carry_out(
            &host(),
            plan,
            |_| Err(anyhow!("no root")),
            |_| panic!("it may not run"),
        );
        assert_eq!(refused.unwrap_err().to_string(), "no root");
    }
}
