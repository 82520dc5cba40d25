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
use std::time::Duration;

use defenseclaw_model::package::PackageRelease;
pub use error::FetchError;
pub use http::{Document, Wish, document};
pub use scan::{scan, scan_read};
use tempfile::TempDir;
pub use wanted::{Registry, Wanted};

use http::Http;
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

/// A package as it came, in memory.
#[derive(Debug)]
pub struct Package {
    /// Which version and file that is.
    pub release: PackageRelease,
    /// A name for the file: what it is, and no path.
    pub file_name: String,
    /// The file, compared with its checksum.
    pub bytes: Vec<u8>,
}

/// A registry that was asked for one package.
pub struct Question {
    http: Http,
    wanted: Wanted,
    release: Release,
}

/// Asks `registry` (`None`: its ecosystem's own) which file `wanted` is. All that follows takes `allowed` at most.
pub fn ask(wanted: &Wanted, registry: Option<&str>, allowed: Duration) -> Result<Question, FetchError> {
    let base = registry.unwrap_or(wanted.registry.base()).trim_end_matches('/');
    let http = Http::new(base, allowed)?;
    let release = match wanted.registry {
        Registry::Npm => npm::release(&http, base, wanted)?,
        Registry::Pypi => pypi::release(&http, base, wanted)?,
        Registry::Crates => crates::release(&http, base, wanted)?,
    };
    Ok(Question {
        http,
        wanted: wanted.clone(),
        release,
    })
}

impl Question {
    /// What the registry says.
    pub fn release(&self) -> PackageRelease {
        PackageRelease {
            version: self.release.version.clone(),
            integrity: self.release.checksum.to_string(),
            url: self.release.url.clone(),
        }
    }

    /// Takes the file and compares it.
    pub fn take(self) -> Result<Package, FetchError> {
        let bytes = self.http.file(&self.release.url)?;
        self.release.checksum.check(&self.release.url, &bytes)?;
        Ok(Package {
            release: self.release(),
            file_name: file_name(&self.wanted, &self.release),
            bytes,
        })
    }
}

/// Takes `wanted` from `registry` (`None`: its ecosystem's own) into a folder of its own below `quarantine`, which must exist.
pub fn fetch(wanted: &Wanted, registry: Option<&str>, quarantine: &Path) -> Result<Fetched, FetchError> {
    let package = ask(wanted, registry, http::DEADLINE)?.take()?;
    let kept = |source| FetchError::Quarantine {
        path: quarantine.to_owned(),
        source,
    };
    let folder = tempfile::Builder::new()
        .prefix("fetched-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(quarantine)
        .map_err(kept)?;
    let path = folder.path().join(&package.file_name);
    File::create_new(&path)
        .and_then(|mut file| file.write_all(&package.bytes))
        .map_err(kept)?;
    let PackageRelease {
        version,
        integrity,
        url,
    } = package.release;
    Ok(Fetched {
        wanted: wanted.clone(),
        version,
        url,
        integrity,
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
