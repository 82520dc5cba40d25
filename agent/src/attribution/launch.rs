//! What our own launcher opens on its way into a sandbox: it tries, before a command starts, whether what is closed is closed.
//!
//! Those are no acts of the command. They are left out only for a launcher that the harness itself has started, in place of the
//! shell of a call: one that an agent starts could have been made to run something else first.

use defenseclaw_detect::line;
use defenseclaw_model::activity::{Basis, FileId};

use super::Attributor;
use super::images::Role;
use crate::sensor::record::Exec;

/// The files that are programs of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// `defenseclaw-shell`, to which harnesses hand their lines.
    pub shells: Vec<FileId>,
    /// `defenseclaw-cli`, whose `run` closes sandboxes.
    pub launchers: Vec<FileId>,
    /// The whole tool, to which the launcher hands over a sandbox with a supervisor.
    pub tools: Vec<FileId>,
}

/// How far an image is on its way into a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stage {
    /// It is on no such way.
    #[default]
    None,
    /// The harness's shell, whose line begins with a program of ours.
    Line,
    /// Our shell.
    Shell,
    /// The launcher.
    Launcher,
}

impl Attributor {
    /// The stage of an image that was just executed, `before` being that of the image which it replaced.
    pub(super) fn stage(&self, exec: &Exec, role: &Role, before: Stage) -> Stage {
        let Role::Call { basis, .. } = role else {
            return Stage::None;
        };
        let runs = exec.argv.get(1).is_some_and(|verb| verb == "run");
        match before {
            Stage::Line if self.own.shells.contains(&exec.file) => Stage::Shell,
            Stage::Line | Stage::Shell if runs && self.own.launchers.contains(&exec.file) => Stage::Launcher,
            Stage::Launcher if runs && self.own.tools.contains(&exec.file) => Stage::Launcher,
            Stage::None if *basis == Basis::Argv && line::begins_launch(&exec.argv) => Stage::Line,
            _ => Stage::None,
        }
    }
}
