//! All of it in order, then the command.

#[cfg(feature = "supervise")]
mod supervised;

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
#[cfg(feature = "supervise")]
use std::sync::Arc;

use crate::canary::Witnesses;
use crate::host;
use crate::keeper;
use crate::landlock::{self, LandlockError};
use crate::mounts::{self, MountError, Namespace};
use crate::places::Places;
use crate::plan::{self, MAX_FOLDERS, MAX_SOCKETS, Plan, PlanError, Setting};
use crate::privileges;
use crate::profile::{Family, NetworkMode, Profile, Tmp, UnixSockets};
use crate::renew::{self, Renew};
use crate::report::{Mechanism, Proof, Protection, Report};
#[cfg(feature = "supervise")]
use crate::supervise::{People, SuperviseError};
use crate::syscalls::{self, SyscallError, Wishes};

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No plan.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// A mount failed.
    #[error("{0}")]
    Mount(#[from] MountError),
    /// Landlock.
    #[error("{0}")]
    Landlock(#[from] LandlockError),
    /// The system call filter.
    #[error("{0}")]
    Syscalls(#[from] SyscallError),
    /// Supervised mode.
    #[cfg(feature = "supervise")]
    #[error("{0}")]
    Supervise(#[from] SuperviseError),
    /// A step on the process itself.
    #[error("{what}: {source}")]
    Process {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The profile requires what this host has not.
    #[error(
        "not started: the profile {profile} requires what cannot be had here\n{lacking}\n\
         Use a profile that does not require it, or --best-effort to start without it"
    )]
    Unprotected {
        /// Which profile.
        profile: String,
        /// One line for each.
        lacking: String,
    },
    /// This program was built without it.
    #[error("this launcher has no supervised mode, which named hosts and questions need")]
    NoSupervisor,
    /// The command cannot be executed.
    #[error("{command}: {source}")]
    Command {
        /// Which.
        command: String,
        /// Why.
        source: io::Error,
    },
}

impl LaunchError {
    /// The exit status that tells a caller, as `env` and `timeout` do: 127 not found, 126 cannot be executed, 125 the launcher's own.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Command { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Command { .. } => 126,
            _ => 125,
        }
    }
}

/// A command that is to run in a sandbox.
pub struct Launch {
    /// The sandbox's profile.
    pub profile: Profile,
    /// Where.
    pub setting: Setting,
    /// Whether to go on without what the profile requires and this host has not.
    pub best_effort: bool,
    /// Whether covers are renewed while the command runs.
    pub renew: Renew,
    /// Who is asked about what lies outside of the profile; without anybody it fails at once.
    #[cfg(feature = "supervise")]
    pub people: Option<Arc<dyn People>>,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

impl Launch {
    /// A launch that asks nobody.
    pub fn new(profile: Profile, setting: Setting, best_effort: bool, command: Vec<OsString>) -> Self {
        Self {
            profile,
            setting,
            best_effort,
            renew: Renew::Never,
            #[cfg(feature = "supervise")]
            people: None,
            command,
        }
    }

    /// Whether the profile's promises need a supervisor, also where nobody is asked.
    pub fn needs_supervisor(&self) -> bool {
        self.profile.network.mode == NetworkMode::Allowlist
    }

    /// Closes the sandbox around this process, shows `told` what is in force, and becomes the command. Returns only if that fails.
    /// `told` also gets a connection to the gateway, made before that was out of reach.
    ///
    /// The process must have one thread: namespaces and Landlock are per thread.
    ///
    /// # Errors
    /// When the sandbox cannot be closed as the profile requires, or the command cannot be executed. What was closed until then
    /// stays closed: the caller can print and exit, no more.
    pub fn run(&self, told: impl FnOnce(&Report, io::Result<UnixStream>)) -> Result<Infallible, LaunchError> {
        let mut gateway = Err(io::ErrorKind::NotFound.into());
        let report = self.close(|| {
            if let Some(socket) = &self.setting.gateway {
                gateway = UnixStream::connect(socket);
            }
        })?;
        told(&report, gateway);
        self.execute()
    }

    /// Closes the sandbox around this process, for good.
    ///
    /// # Errors
    /// As [`Launch::run`].
    pub fn enter(&self) -> Result<Report, LaunchError> {
        self.close(|| {})
    }

    /// Does `first` in the process that becomes the command, before anything is closed.
    fn close(&self, first: impl FnOnce()) -> Result<Report, LaunchError> {
        let folder = std::env::current_dir().ok();
        #[cfg_attr(
            not(feature = "supervise"),
            expect(unused_mut, reason = "only named hosts change it")
        )]
        let mut plan = Plan::new(&self.profile, &self.setting)?;
        #[cfg(feature = "supervise")]
        let outside = self.outside(&mut plan)?;
        #[cfg(not(feature = "supervise"))]
        self.outside(&plan)?;
        first();
        // Here, so that nothing of it stays open in a process that stays outside.
        let witnesses = Witnesses::find(&plan, &self.profile, self.setting.home.as_deref());
        let mounts = plan.wants_mounts() || self.renew != Renew::Never;
        let (namespace, why_none) = match mounts.then(mounts::enter) {
            Some(Ok(namespace)) => {
                keeper::tenure::leave_namespace();
                (Some(namespace), String::new())
            }
            Some(Err(error)) => (None, error.to_string()),
            None => (None, String::new()),
        };
        let abi = host::landlock_abi();
        let mut report = self.report(&plan, abi, namespace, &why_none);
        #[cfg(feature = "supervise")]
        outside.tell(&mut report);
        self.refuse_unprotected(&report)?;
        let gone = match namespace {
            Some(_) => self.mount(&plan, &mut report)?,
            None => self.unrenewed(&mut report, &why_none).map(|()| Vec::new())?,
        };
        // The folder that this process stands in may lie under a mount now: enter it again, by its name.
        if let Some(folder) = &folder {
            let _ = std::env::set_current_dir(folder);
        }
        self.restrict(&plan, abi, namespace.is_some())?;
        witnesses.test(&mut report, namespace.is_some(), &gone);
        #[cfg(feature = "supervise")]
        outside.install(&witnesses, &mut report)?;
        self.refuse_unprotected(&report)?;
        Ok(report)
    }

    /// Makes the mounts, and has them renewed where that is wanted. Gives what was gone before it could be covered.
    fn mount(&self, plan: &Plan, report: &mut Report) -> Result<Vec<PathBuf>, LaunchError> {
        let made = mounts::make(plan, self.renew != Renew::Never)?;
        if let Some(stock) = made.stock {
            match renew::start(plan, self.renew, stock, keeper::companion::lifeline()) {
                Ok(()) => report
                    .protections
                    .iter_mut()
                    .filter(|p| p.by == Mechanism::MountNamespace)
                    .filter(|p| {
                        matches!(
                            p.family,
                            Family::ClosedFiles | Family::SealedFiles | Family::UnixSockets
                        )
                    })
                    .for_each(|p| p.detail.push_str(", renewed when replaced")),
                Err(error) => self.unrenewed(report, &error.to_string())?,
            }
        }
        Ok(made.gone)
    }

    /// What closes files by mounts cannot be renewed here.
    fn unrenewed(&self, report: &mut Report, why: &str) -> Result<(), LaunchError> {
        match self.renew {
            Renew::All if !self.best_effort => Err(of("covers cannot be renewed here")(io::Error::other(
                why.to_owned(),
            ))),
            Renew::All | Renew::Known => {
                report.notes.push(format!("covers are not renewed: {why}"));
                Ok(())
            }
            Renew::Never => Ok(()),
        }
    }

    /// Takes away from this process what the sandbox does not have.
    fn restrict(&self, plan: &Plan, abi: i32, namespace: bool) -> Result<(), LaunchError> {
        privileges::close_descriptors().map_err(of("cannot close descriptors"))?;
        privileges::no_new_privileges().map_err(of("cannot give up new privileges"))?;
        let root = nix::unistd::geteuid().is_root();
        privileges::drop_capabilities(!root).map_err(of("cannot drop capabilities"))?;
        if abi > 0 {
            let inside = self.profile.unix_sockets == UnixSockets::Inside;
            let gateway = self.setting.gateway.as_deref();
            landlock::rules(plan, abi, !namespace, inside, gateway)?.enforce()?;
        }
        let filter = syscalls::filter(Wishes {
            network: self.profile.network.mode,
            truncate: !landlock::reach(abi).truncate,
        })?;
        syscalls::enforce(&filter)?;
        Ok(())
    }

    /// Leaves a process outside where one is needed.
    #[cfg(not(feature = "supervise"))]
    fn outside(&self, plan: &Plan) -> Result<(), LaunchError> {
        if self.needs_supervisor() {
            return Err(LaunchError::NoSupervisor);
        }
        self.divide(plan, None)
    }

    /// Leaves processes outside where they are needed: to hold places, to do `service`, or as what renews covers ends with.
    fn divide(&self, plan: &Plan, service: Option<keeper::Service<'_>>) -> Result<(), LaunchError> {
        let places = Places::take(&plan.reserved, &plan.sealed).map_err(of("cannot hold a place"))?;
        let renews = self.renew != Renew::Never;
        if service.is_none() && !renews && places.is_empty() {
            return Ok(());
        }
        keeper::stay(places, service, renews).map_err(of("cannot start the processes that stay outside"))
    }

    fn refuse_unprotected(&self, report: &Report) -> Result<(), LaunchError> {
        let lacking: Vec<String> = report
            .lacking()
            .map(|protection| {
                let failed = if protection.proof == Proof::Failed {
                    "its canary got through; "
                } else {
                    ""
                };
                format!("  {}: {failed}{}", protection.family, protection.detail)
            })
            .collect();
        if lacking.is_empty() || self.best_effort {
            return Ok(());
        }
        Err(LaunchError::Unprotected {
            profile: self.profile.name.clone(),
            lacking: lacking.join("\n"),
        })
    }

    fn execute(&self) -> Result<Infallible, LaunchError> {
        let (program, arguments) = self.command.split_first().ok_or(LaunchError::Command {
            command: String::new(),
            source: io::ErrorKind::NotFound.into(),
        })?;
        let environment = plan::environment(&self.profile, std::env::vars_os());
        keeper::restore_signals();
        let source = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(environment)
            .exec();
        Err(LaunchError::Command {
            command: program.to_string_lossy().into_owned(),
            source,
        })
    }

    /// What is going to be in force, before anything is proven.
    fn report(&self, plan: &Plan, abi: i32, namespace: Option<Namespace>, why_none: &str) -> Report {
        let profile = &self.profile;
        let reach = landlock::reach(abi);
        let mut report = Report {
            profile: profile.name.clone(),
            project: plan.project.display().to_string(),
            landlock_abi: abi,
            best_effort: self.best_effort,
            protections: Vec::new(),
            notes: Vec::new(),
        };
        let mut add = |family, by, detail: String| {
            report.protections.push(Protection {
                family,
                by,
                required: profile.requires.contains(&family),
                proof: match by {
                    Mechanism::Open | Mechanism::Missing => Proof::NotNeeded,
                    _ => Proof::NoWitness,
                },
                detail,
            });
        };
        use Mechanism as By;
        let landlock_from = |version: i32, bounded: bool, what: &str| match bounded {
            true => (By::Landlock, what.to_owned()),
            false => (
                By::Missing,
                format!("needs Landlock ABI {version}; this kernel has {abi}"),
            ),
        };
        let mounted = |what: String| match namespace {
            Some(Namespace::Root) => (By::MountNamespace, what),
            Some(Namespace::User) => (By::MountNamespace, format!("{what}, in a user namespace")),
            None => (By::Missing, why_none.to_owned()),
        };
        let (by, detail) = landlock_from(1, abi > 0, &format!("writes only in {}", names(&plan.write)));
        add(Family::FileWrites, by, detail);
        let everything = plan.read.iter().any(|path| path.parent().is_none());
        let (by, detail) = match everything {
            true => (By::Open, "reads everything but what is closed".to_owned()),
            false => landlock_from(1, abi > 0, &format!("reads only in {}", names(&plan.read))),
        };
        add(Family::FileReads, by, detail);
        let within_written = plan
            .closed
            .iter()
            .find(|path| plan.write.iter().any(|root| path.starts_with(root)));
        let (by, detail) = match (plan.closed.len(), namespace, within_written) {
            (0, ..) => (By::Open, "nothing here that is to be closed".to_owned()),
            (count, Some(_), _) => mounted(format!("{count} covered")),
            (_, None, Some(path)) => (
                By::Missing,
                format!("{} lies in what may be written; {why_none}", path.display()),
            ),
            (count, None, None) => landlock_from(
                1,
                abi > 0,
                &format!("granted around {count}; their names can be listed"),
            ),
        };
        add(Family::ClosedFiles, by, detail);
        let (by, detail) = match (plan.sealed.len(), plan.reserved.len()) {
            (0, 0) => (By::Open, "nothing here that is to be sealed".to_owned()),
            (sealed, 0) => mounted(format!("{sealed} read-only")),
            (sealed, reserved) => mounted(format!("{sealed} read-only, {reserved} kept from being made")),
        };
        add(Family::SealedFiles, by, detail);
        let (by, detail) = match profile.network.mode {
            NetworkMode::Full => (By::Open, "TCP and UDP".to_owned()),
            NetworkMode::None => (By::Seccomp, "no internet sockets".to_owned()),
            NetworkMode::Allowlist if namespace.is_some() => (By::Supervisor, String::new()),
            NetworkMode::Allowlist => mounted(String::new()),
        };
        add(Family::Network, by, detail);
        let (by, detail) = match (profile.unix_sockets, reach.unix) {
            (UnixSockets::Any, _) => (By::Open, "all that this user reaches".to_owned()),
            (UnixSockets::Inside, true) => (By::Landlock, "only those in what may be written".to_owned()),
            (UnixSockets::Inside, false) if plan.sockets_cut => (
                By::Missing,
                format!("there are more than {MAX_SOCKETS} sockets on this host; Linux 7.1 closes them all"),
            ),
            (UnixSockets::Inside, false) if plan.sockets.is_empty() => {
                (By::Open, "none on this host".to_owned())
            }
            (UnixSockets::Inside, false) => mounted(format!("{} covered, as of now", plan.sockets.len())),
        };
        add(Family::UnixSockets, by, detail);
        let (by, detail) = landlock_from(6, reach.scopes, "only the sandbox's own");
        add(Family::AbstractSockets, by, detail.clone());
        add(Family::Signals, by, detail);
        let (by, detail) = landlock_from(5, reach.ioctl, &format!("{} nodes", plan.devices.len()));
        add(Family::Devices, by, detail);
        add(
            Family::SystemCalls,
            By::Seccomp,
            "namespaces, mounts, rings, keys, kernel interfaces, foreign call numbers".to_owned(),
        );
        let (by, detail) = match profile.tmp {
            Tmp::Shared => (By::Open, "the host's".to_owned()),
            Tmp::Private => mounted(format!("{} of its own", names(&plan.private_tmp))),
        };
        add(Family::PrivateTmp, by, detail);
        add(Family::NewPrivileges, By::Process, String::new());
        add(Family::Capabilities, By::Process, String::new());
        add(
            Family::Descriptors,
            By::Process,
            "all but 0, 1 and 2 are closed".to_owned(),
        );
        if plan.search_cut {
            report.notes.push(format!(
                "the project has more than {MAX_FOLDERS} folders near its top: secret files were not looked for in all of them"
            ));
        }
        report
    }
}

fn of(what: &'static str) -> impl FnOnce(io::Error) -> LaunchError {
    move |source| LaunchError::Process { what, source }
}

/// The first few paths, for a line.
fn names(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 4;
    let mut shown: Vec<String> = paths
        .iter()
        .take(SHOWN)
        .map(|path| path.display().to_string())
        .collect();
    match paths.len() {
        0 => return "nothing".to_owned(),
        count if count > SHOWN => shown.push(format!("{} more", count - SHOWN)),
        _ => {}
    }
    shown.join(", ")
}

/// The user's home folder, from the variable that says so and else from the list of users.
pub fn home() -> Option<PathBuf> {
    let variable = std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from);
    let listed = || Some(nix::unistd::User::from_uid(nix::unistd::getuid()).ok()??.dir);
    variable.or_else(listed).filter(|home| fs::metadata(home).is_ok())
}
