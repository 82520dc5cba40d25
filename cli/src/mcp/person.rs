//! Whose servers are meant where this runs through sudo.

use std::ffi::CString;
use std::io::Write;
use std::path::PathBuf;

use nix::unistd::{Uid, User, geteuid, initgroups, setgid, setuid};

use crate::CliError;
use crate::text::safe;

/// Through sudo the person who called is meant: their settings, their pins, and servers that run as them and not as root. Becomes that
/// person for good and gives their home; `None`: whoever runs this is meant.
pub(super) fn become_caller(notes: &mut dyn Write) -> Result<Option<PathBuf>, CliError> {
    let named = std::env::var("SUDO_UID").ok();
    let Some(uid) = meant(geteuid(), named.as_deref()) else {
        return Ok(None);
    };
    let usage = |why: String| {
        CliError::Usage(format!(
            "sudo was called by user {uid}, {why}; run this as the user whose servers are meant"
        ))
    };
    let user = User::from_uid(uid).ok().flatten();
    let user = user.ok_or_else(|| usage("who has no entry on this host".to_owned()))?;
    let name = CString::new(user.name.as_str()).map_err(|_| usage("whose name is none".to_owned()))?;
    // Groups first: who has become somebody may not choose them any more.
    initgroups(&name, user.gid)
        .and_then(|()| setgid(user.gid))
        .and_then(|()| setuid(user.uid))
        .map_err(|error| usage(format!("and this process cannot become that user: {error}")))?;
    writeln!(
        notes,
        "for {} ({}), who called sudo; as root itself this looks at root's servers",
        safe(&user.name),
        safe(&user.dir.to_string_lossy())
    )?;
    Ok(Some(user.dir))
}

/// Whom sudo names, where it does so for root.
fn meant(own: Uid, named: Option<&str>) -> Option<Uid> {
    let named = Uid::from_raw(named?.parse().ok()?);
    (own.is_root() && !named.is_root()).then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_becomes_whom_sudo_names() {
        let (root, person) = (Uid::from_raw(0), Uid::from_raw(1000));
        assert_eq!(meant(root, Some("1000")), Some(person));
        for (own, named) in [
            (root, None),
            (root, Some("0")),
            (root, Some("kim")),
            (root, Some("-1")),
            (person, Some("1001")),
        ] {
            assert_eq!(meant(own, named), None, "{own} {named:?}");
        }
    }
}
