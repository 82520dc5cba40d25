//! Hooks of ours that no manifest knows: those of a version that was removed without its hooks, or that were set up with
//! another state folder.

use std::path::PathBuf;

use super::files::{self, Acting};
use super::manifest::Manifest;
use super::site::Site;
use super::spec::{Scope, Spec};
use super::{CLIENT, InstallError};

/// Characters that a path of a hook client can hold: set-up takes no other.
const PLAIN: &[u8] = b"/._-+@";

/// A settings file that names a hook client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The file.
    pub file: PathBuf,
    /// The client that it names first, as far as that is a path.
    pub client: Option<PathBuf>,
}

/// The files of a place that name our hook client although the manifest has no such installation. They are searched for its name,
/// with the user's own rights, and not parsed: whoever wrote them may have meant harm.
///
/// # Errors
/// When the place cannot be told, for instance because a variable names no folder.
pub fn leftover(
    site: &Site,
    spec: &Spec,
    scope: Scope,
    manifest: &Manifest,
) -> Result<Vec<Leftover>, InstallError> {
    let mut known = manifest.installed.iter();
    if spec.place(scope).is_none()
        || known.any(|installed| installed.is(&spec.connector, scope, &site.user.home))
    {
        return Ok(Vec::new());
    }
    let planned = site.plan(spec, scope)?;
    let of_user = scope == Scope::User;
    let _acting = Acting::as_user(&site.user, site.privileged && of_user);
    let boundary = (site.privileged && of_user).then_some(site.user.home.as_path());
    let found = planned.into_iter().filter_map(|planned| {
        // What cannot be read is no hook of ours that anybody could run.
        let bytes = files::find(&planned.path, boundary).ok()?.bytes?;
        let client = named(&bytes)?;
        Some(Leftover {
            file: planned.path,
            client,
        })
    });
    Ok(found.collect())
}

/// The client that a text names: `None` where it names none, and no path where only the name stands there.
fn named(text: &[u8]) -> Option<Option<PathBuf>> {
    let name = CLIENT.as_bytes();
    let at = text.windows(name.len()).position(|window| window == name)?;
    let plain = |byte: &&u8| byte.is_ascii_alphanumeric() || PLAIN.contains(byte);
    let before = text[..at].iter().rev().take_while(plain).count();
    let path = String::from_utf8_lossy(&text[at - before..at + name.len()]).into_owned();
    Some(path.starts_with('/').then(|| path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_found_with_the_path_before_it() {
        let path =
            |text: &str| named(text.as_bytes()).map(|path| path.map(|path| path.display().to_string()));
        assert_eq!(
            path("{\"command\": \"/opt/old/defenseclaw-hook codex\"}"),
            Some(Some("/opt/old/defenseclaw-hook".into()))
        );
        assert_eq!(path("defenseclaw-hook codex"), Some(None));
        assert_eq!(path("hooks: []"), None);
        assert_eq!(path(""), None);
    }
}
