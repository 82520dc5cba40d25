//! The part of a launch that needs a supervisor: named hosts, and questions.

use std::cell::Cell;
use std::io::{self, Write as _};
use std::rc::Rc;
use std::sync::Arc;

use super::{Launch, LaunchError, of};
use crate::canary::Witnesses;
use crate::hosts::Hosts;
use crate::judge::PlanJudge;
use crate::plan::Plan;
use crate::profile::{Family, NetworkMode};
use crate::report::Report;
use crate::supervise::{Errno, Filter, Handshake, Judge, NoPeople, Options, People, Supervisor, Watch};
use crate::{keeper, privileges};

/// What a supervised sandbox lacks, for whoever looks at it before putting an agent into it.
const OUT_OF_REACH: &str = "supervised: the gateway cannot be reached from inside, so a whole agent belongs into another profile, \
                            without --supervise";

/// What the child needs to be supervised.
pub(super) struct Supervision {
    filter: Filter,
    handshake: Rc<Cell<Option<Handshake>>>,
}

impl Supervision {
    /// Puts the filter in force, and waits for the supervisor.
    fn install(self) -> Result<(), LaunchError> {
        // What changed user or capabilities may not be looked into; the supervisor has to.
        // SAFETY: takes numbers alone.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
        let installed = match self.handshake.take() {
            Some(handshake) => self.filter.install(handshake),
            None => Err(Errno::EPIPE),
        };
        installed.map_err(|errno| LaunchError::Process {
            what: "cannot be supervised",
            source: errno.into(),
        })
    }
}

/// What a launch has outside of its sandbox.
pub(super) struct Outside {
    supervision: Option<Supervision>,
    /// How many of the profile's hosts are known, and which are not; `None` where it names none.
    hosts: Option<(usize, Vec<String>)>,
}

impl Outside {
    /// Says in the report what is out of reach, which hosts are reached, and which are not known.
    pub(super) fn tell(&self, report: &mut Report) {
        if self.supervision.is_some() {
            report.notes.push(OUT_OF_REACH.to_owned());
        }
        let Some((known, unknown)) = &self.hosts else {
            return;
        };
        report.notes.extend(
            unknown
                .iter()
                .map(|name| format!("{name} could not be looked up and cannot be reached")),
        );
        let hosts = format!("TCP to {known} hosts by name, no DNS");
        report
            .protections
            .iter_mut()
            .filter(|p| p.family == Family::Network)
            .for_each(|p| p.detail.clone_from(&hosts));
    }

    /// Puts this process under the supervisor, where there is one, and tries whether it holds.
    pub(super) fn install(self, witnesses: &Witnesses, report: &mut Report) -> Result<(), LaunchError> {
        if let Some(supervision) = self.supervision {
            supervision.install()?;
            witnesses.test_supervised(report);
        }
        Ok(())
    }
}

/// The supervisor, as what the process outside does.
fn supervise(
    handshake: Rc<Cell<Option<Handshake>>>,
    judge: Arc<dyn Judge>,
    people: Arc<dyn People>,
) -> keeper::Service<'static> {
    Box::new(move |child| {
        // It lends no right that the command has not.
        let dropped = privileges::drop_capabilities(!nix::unistd::geteuid().is_root());
        let started = match (handshake.take(), dropped) {
            (Some(handshake), Ok(())) => {
                Supervisor::start(handshake, child.as_raw(), Options::default(), judge, people)
                    .map_err(|error| error.to_string())
            }
            (None, _) => Err("it has no way to the command's process".to_owned()),
            (_, Err(error)) => Err(error.to_string()),
        };
        match started {
            Ok(supervisor) => Box::new(supervisor),
            Err(error) => {
                // The command is not started: its side finds nobody, and says that it ends. Here is why.
                let _ = writeln!(io::stderr(), "the supervisor could not start: {error}");
                Box::new(())
            }
        }
    })
}

impl Launch {
    /// The addresses of the hosts that the profile names, where it names some.
    fn look_up(&self, plan: &mut Plan) -> Result<Hosts, LaunchError> {
        if self.profile.network.mode != NetworkMode::Allowlist {
            return Ok(Hosts::default());
        }
        let hosts = Hosts::look_up(&self.profile.network.hosts)
            .map_err(|errno| of("cannot look up the profile's hosts")(errno.into()))?;
        plan.hosts_file = Some(hosts.file());
        Ok(hosts)
    }

    /// Looks up the profile's hosts, and leaves a process outside where one is needed: to put place holders away, or to supervise.
    pub(super) fn outside(&self, plan: &mut Plan) -> Result<Outside, LaunchError> {
        let hosts = self.look_up(plan)?;
        let named = self.profile.network.mode == NetworkMode::Allowlist;
        let told = named.then(|| (hosts.known(), hosts.unknown.clone()));
        Ok(Outside {
            supervision: self.divide_supervised(plan, hosts)?,
            hosts: told,
        })
    }

    fn divide_supervised(&self, plan: &Plan, hosts: Hosts) -> Result<Option<Supervision>, LaunchError> {
        let asked = self.people.is_some();
        let watch = Watch {
            files: asked,
            network: asked || plan.hosts_file.is_some(),
        };
        if !watch.files && !watch.network {
            self.divide(plan, None)?;
            return Ok(None);
        }
        let handshake = Handshake::new().map_err(of("cannot prepare the supervisor"))?;
        // One value before the process divides, one in each process afterwards.
        let handshake = Rc::new(Cell::new(Some(handshake)));
        let supervision = Supervision {
            filter: Filter::build(watch)?,
            handshake: Rc::clone(&handshake),
        };
        let judge: Arc<dyn Judge> = Arc::new(PlanJudge::new(
            plan,
            &self.profile,
            hosts,
            self.setting.gateway.clone(),
        ));
        let people: Arc<dyn People> = self.people.clone().unwrap_or_else(|| Arc::new(NoPeople));
        self.divide(plan, Some(supervise(handshake, judge, people)))?;
        Ok(Some(supervision))
    }
}
