//! Whether this kernel really makes an open wait, and refuses it when told to: tried on a file of our own.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::fanotify::{Fanotify, FanotifyResponse, MarkFlags, MaskFlags, Response};

/// How long the question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tries it in a folder below `state`. The error says what this host lacks.
pub fn prove(fan: &Fanotify, state: &Path) -> Result<(), String> {
    // The state folder is the gateway's to make.
    let state = if state.is_dir() {
        state
    } else {
        &std::env::temp_dir()
    };
    let folder = state.join(format!("gate-canary-{}", std::process::id()));
    let failed =
        |error: std::io::Error| format!("the canary could not be set up in {}: {error}", state.display());
    // One that a crash left behind would be in the way.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).map_err(failed)?;
    let file = folder.join("canary");
    let proved = fs::write(&file, "canary\n")
        .map_err(failed)
        .and_then(|()| attempt(fan, &folder, &file));
    let _ = fs::remove_dir_all(&folder); // Its mark goes with it.
    proved
}

fn attempt(fan: &Fanotify, folder: &Path, file: &Path) -> Result<(), String> {
    let mask = MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_OPEN_EXEC_PERM | MaskFlags::FAN_EVENT_ON_CHILD;
    let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_ONLYDIR;
    fan.mark(flags, mask, nix::fcntl::AT_FDCWD, Some(folder))
        .map_err(|error| {
            format!("this kernel does not ask before opens (CONFIG_FANOTIFY_ACCESS_PERMISSIONS): {error}")
        })?;
    let tried = try_open(fan, file, Response::FAN_DENY).and_then(|refused| match refused {
        Err(ErrorKind::PermissionDenied) => try_open(fan, file, Response::FAN_ALLOW),
        _ => Err("an open that was refused went on".to_owned()),
    });
    // What is not marked cannot hold the removal of the folder.
    let _ = fan.mark(
        MarkFlags::FAN_MARK_REMOVE,
        mask,
        nix::fcntl::AT_FDCWD,
        Some(folder),
    );
    match tried? {
        Ok(()) => Ok(()),
        Err(kind) => Err(format!("an open that was allowed failed: {kind}")),
    }
}

/// Opens the file in another thread and answers the kernel's question about it.
fn try_open(fan: &Fanotify, file: &Path, response: Response) -> Result<Result<(), ErrorKind>, String> {
    let file = file.to_owned();
    let opener = std::thread::spawn(move || fs::File::open(file).map(drop).map_err(|error| error.kind()));
    let deadline = Instant::now() + PATIENCE;
    let mut asked = false;
    while !asked && Instant::now() < deadline {
        let mut fds = [PollFd::new(fan.as_fd(), PollFlags::POLLIN)];
        let wait = PollTimeout::try_from(Duration::from_millis(50)).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut fds, wait); // An interrupted wait is followed by a look that finds nothing.
        for event in fan.read_events().unwrap_or_default() {
            if let Some(opened) = event.fd() {
                asked = true;
                let written = fan.write_response(FanotifyResponse::new(opened, response));
                written.map_err(|error| format!("an answer was refused: {error}"))?;
            }
        }
        if opener.is_finished() && !asked {
            break;
        }
    }
    if !asked {
        // The opener still stands if the question was lost; the group's end releases it.
        return Err("an open went on without a question".to_owned());
    }
    opener.join().map_err(|_| "the canary's thread failed".to_owned())
}
