//! A package taken from its registry into quarantine, and scanned there.
//!
//! | Module | Holds |
//! |---|---|
//! | [`wanted`] | which package, as a person writes it |
//! | [`error`] | why it could not be had |
//! | `http` | requests within bounds: https, or loopback where the registry is there |
//! | `npm`, `pypi`, `crates` | what each registry answers |
//! | `integrity` | checksums |
//! | `version` | which of several versions is the newest |
//! | [`scan`] | what is in the file |

mod crates;
pub mod error;
mod http;
mod integrity;
mod npm;
mod pypi;
pub mod scan;
mod version;
pub mod wanted;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub use error::FetchError;
pub use scan::scan;
use tempfile::TempDir;
pub use wanted::{Registry, Wanted};

use http::{Http, MAX_PACKAGE};
use integrity::Checksum;

/// What a registry says of one version.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) version: String,
    pub(crate) url: String,
    pub(crate) checksum: Checksum,
}

/// A package in quarantine. Its folder goes with it.
#[derive(Debug)]
pub struct Fetched {
    /// What was asked for.
    pub wanted: Wanted,
    /// Which version that is.
    pub version: String,
    /// Where it came from.
    pub url: String,
    /// The checksum that it was compared with: `sha512-…` or `sha256:…`.
    pub integrity: String,
    /// The file.
    pub path: PathBuf,
    folder: TempDir,
}

impl Fetched {
    /// The folder that it lies in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Takes `wanted` from `registry` (`None`: its ecosystem's own) into a folder of its own below `quarantine`, which must exist.
pub fn fetch(wanted: &Wanted, registry: Option<&str>, quarantine: &Path) -> Result<Fetched, FetchError> {
    let base = registry.unwrap_or(wanted.registry.base()).trim_end_matches('/');
    let http = Http::new(base)?;
    let release = match wanted.registry {
        Registry::Npm => npm::release(&http, base, wanted)?,
        Registry::Pypi => pypi::release(&http, base, wanted)?,
        Registry::Crates => crates::release(&http, base, wanted)?,
    };
    let bytes = http.get(&release.url, None, MAX_PACKAGE)?;
    release.checksum.check(&release.url, &bytes)?;
    let kept = |source| FetchError::Quarantine {
        path: quarantine.to_owned(),
        source,
    };
    let folder = tempfile::Builder::new()
        .prefix("fetched-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(quarantine)
        .map_err(kept)?;
    let path = folder.path().join(file_name(wanted, &release));
    File::create_new(&path)
        .and_then(|mut file| file.write_all(&bytes))
        .map_err(kept)?;
    Ok(Fetched {
        wanted: wanted.clone(),
        version: release.version,
        url: release.url,
        integrity: release.checksum.to_string(),
        path,
        folder,
    })
}

/// A name for the file that says what it is and holds no path.
fn file_name(wanted: &Wanted, release: &Release) -> String {
    let plain = |text: &str| -> String {
        text.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .take(100)
            .collect()
    };
    let end = match wanted.registry {
        Registry::Npm => "tgz",
        Registry::Crates => "crate",
        Registry::Pypi if release.url.ends_with(".whl") => "whl",
        Registry::Pypi if release.url.ends_with(".zip") => "zip",
        Registry::Pypi => "tar.gz",
    };
    format!("{}-{}.{end}", plain(&wanted.name), plain(&release.version))
}
