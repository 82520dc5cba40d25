//! Running a command without a sandbox, under a supervisor that allows and notes everything.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::record::{Record, Recorder};
use crate::launch::LaunchError;
use crate::privileges;
use crate::supervise::{Filter, Handshake, NoPeople, Options, Supervisor, Watch};

/// Runs `command`; gives what it used, and its exit status as a shell tells it. The process must have one thread.
///
/// # Errors
/// When it cannot be supervised, or not be started.
pub fn observe(command: &[OsString]) -> Result<(Record, i32), LaunchError> {
    let step = |what| move |source: std::io::Error| LaunchError::Process { what, source };
    let watch = Watch {
        files: true,
        network: true,
    };
    let filter = Filter::build(watch)?;
    let handshake = Handshake::new().map_err(step("cannot prepare the supervisor"))?;
    let root = nix::unistd::geteuid().is_root();
    privileges::drop_capabilities(!root).map_err(step("cannot drop capabilities"))?;
    // SAFETY: this process has one thread, so the child may do all that the parent may.
    let child = match unsafe { fork() }.map_err(|errno| step("cannot start a process")(errno.into()))? {
        ForkResult::Child => {
            let status = become_command(&filter, handshake, command);
            // SAFETY: ends this process at once, without running what the parent registered for its own end.
            unsafe { libc::_exit(status) }
        }
        ForkResult::Parent { child } => child,
    };
    let recorder = Arc::new(Recorder::default());
    let supervisor = Supervisor::start(
        handshake,
        child.as_raw(),
        Options::default(),
        Arc::clone(&recorder) as _,
        Arc::new(NoPeople),
    )?;
    let status = loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, status)) => break status,
            Ok(WaitStatus::Signaled(_, signal, _)) => break 128 + signal as i32,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(step("cannot wait for the command")(errno.into())),
        }
    };
    drop(supervisor);
    Ok((recorder.record(), status))
}

fn become_command(filter: &Filter, handshake: Handshake, command: &[OsString]) -> i32 {
    let ready = privileges::no_new_privileges().is_ok() && filter.install(handshake).is_ok();
    let Some((program, arguments)) = command.split_first().filter(|_| ready) else {
        return 125;
    };
    let error = Command::new(program).args(arguments).exec();
    match error.kind() {
        std::io::ErrorKind::NotFound => 127,
        _ => 126,
    }
}
