//! What debuggers need goes into a package of its own, named by build ids as debuggers look for it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::elf;
use super::stage::{EXECUTABLE, PLAIN, Stage};
use crate::host::Host;
use crate::shipped::debug_name;

/// Puts a program of the folder `programs` into the package, and its symbols, which the build has laid beside, into the other one.
/// Gives its build id if there were any.
pub(crate) fn add(
    programs: &Path,
    program: &Path,
    to: &str,
    stages: (&Stage, &Stage),
) -> Result<Option<String>> {
    let (package, symbols) = stages;
    let found = elf::read(program)?;
    if found.debug {
        bail!(
            "{} still has its symbols: packages are made of what `cargo xtask build` lays into target/dist",
            program.display()
        );
    }
    package.copy(program, to, EXECUTABLE)?;
    // Small static programs are built without.
    let Some(id) = found.build_id else {
        return Ok(None);
    };
    let name = debug_name(&id)?;
    let apart = Host::symbols(programs).join(&name);
    // An older build may have laid a file there that holds none.
    if !apart.is_file() || !elf::read(&apart)?.debug {
        return Ok(None);
    }
    let to = PathBuf::from("/usr/lib/debug").join(name);
    symbols.copy(&apart, &to.display().to_string(), PLAIN)?;
    Ok(Some(id))
}
