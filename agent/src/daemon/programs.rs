//! Our own programs: where they lie, and what file each of them is.

use std::path::{Path, PathBuf};

use defenseclaw_model::sandbox::{LAUNCHER, SHELL, WHOLE_TOOL};

use crate::attribution::{Hook, Own};
use crate::kernel::proc;

/// A program of ours: beside the agent, or where packages put it.
pub(super) fn places(name: &str) -> impl Iterator<Item = PathBuf> {
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name(name));
    beside.into_iter().chain([Path::new("/usr/bin").join(name)])
}

/// Our hook client.
pub(super) fn hooks() -> Vec<Hook> {
    places("defenseclaw-hook")
        .filter_map(|path| {
            proc::file_id(&path).map(|file| Hook {
                path: path.to_string_lossy().into_owned(),
                file,
            })
        })
        .collect()
}

/// Our shell and our launcher.
pub(super) fn own() -> Own {
    let files = |name| places(name).filter_map(|path| proc::file_id(&path)).collect();
    Own {
        shells: files(SHELL),
        launchers: files(LAUNCHER),
        tools: places(LAUNCHER)
            .filter_map(|launcher| launcher.parent().map(Path::to_owned))
            .flat_map(|folder| WHOLE_TOOL.map(|tool| folder.join(tool)))
            .filter_map(|path| proc::file_id(&path))
            .collect(),
    }
}
