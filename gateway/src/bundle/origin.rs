//! Where bundles come from: a file, or an https server.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use defenseclaw_artifact::MAX_BUNDLE;
use defenseclaw_fetch::{Document, FetchError, Wish, document};
use defenseclaw_model::config::BundleConfig;

use super::BundleFault;

/// Longest time that a server may take for everything. Hooks wait for none of it.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where bundles come from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// A file on this host.
    File(PathBuf),
    /// A server.
    Server {
        url: String,
        plain_loopback: bool,
        deadline: Duration,
    },
}

/// What was found there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// What is there already.
    Unchanged,
    /// Bytes of a bundle file, and how the server names them.
    Bytes { bytes: Vec<u8>, etag: Option<String> },
}

impl Origin {
    /// As configured. `{group}` in an address stands for the group.
    pub(super) fn of(config: &BundleConfig) -> Result<Self, BundleFault> {
        let wrong = |why: &str| Err(BundleFault::Config(why.to_owned()));
        match (&config.path, &config.url) {
            (Some(path), None) if path.is_absolute() => Ok(Self::File(path.clone())),
            (Some(path), None) => wrong(&format!(
                "`bundle.path` is {}; it must be absolute",
                path.display()
            )),
            (None, Some(url)) => {
                let plain = config.plain_loopback && url.starts_with("http://");
                if !plain && !url.starts_with("https://") {
                    return wrong("`bundle.url` must be an https address");
                }
                Ok(Self::Server {
                    url: url.replace("{group}", &config.group),
                    plain_loopback: config.plain_loopback,
                    deadline: DEADLINE,
                })
            }
            (Some(_), Some(_)) => {
                wrong("`bundle` names both a `path` and a `url`; bundles come from one of them")
            }
            (None, None) => wrong("`bundle` names neither a `path` nor a `url`"),
        }
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            // What stands behind a question mark may be a secret.
            Self::Server { url, .. } => url.split('?').next().unwrap_or_default().to_owned(),
        }
    }

    /// Looks for a bundle. `etag`: what the server called the one that is there already.
    pub(super) fn look(&self, etag: Option<&str>) -> Result<Found, BundleFault> {
        match self {
            Self::File(path) => Ok(Found::Bytes {
                bytes: read_file(path, || {})?,
                etag: None,
            }),
            Self::Server {
                url,
                plain_loopback,
                deadline,
            } => {
                let wish = Wish {
                    etag,
                    most: MAX_BUNDLE,
                    deadline: *deadline,
                    plain_loopback: *plain_loopback,
                };
                match document(url, &wish).map_err(unavailable)? {
                    Document::Unchanged => Ok(Found::Unchanged),
                    Document::New { bytes, etag } => Ok(Found::Bytes { bytes, etag }),
                }
            }
        }
    }
}

/// In words that fit here: those of the crate speak of packages.
fn unavailable(error: FetchError) -> BundleFault {
    BundleFault::Unavailable(match error {
        FetchError::Network { why, .. } => format!("the server did not answer: {why}"),
        FetchError::Status { status, .. } => format!("the server answered with status {status}"),
        FetchError::TooLarge { bytes, .. } => format!("the server sends more than {bytes} bytes"),
        other => other.to_string(),
    })
}

/// Reads a file that somebody else may be replacing. `meanwhile` runs once it is read, before it is looked at again.
pub(super) fn read_file(path: &Path, meanwhile: impl FnOnce()) -> Result<Vec<u8>, BundleFault> {
    let failed = |why: String| BundleFault::Unavailable(format!("{}: {why}", path.display()));
    let io = |error: std::io::Error| failed(error.to_string());
    // A FIFO would let the gateway wait for ever.
    let open = || {
        File::options()
            .read(true)
            .custom_flags((nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOCTTY).bits())
            .open(path)
    };
    let mut file = open().map_err(io)?;
    let before = file.metadata().map_err(io)?;
    if !before.is_file() {
        return Err(failed("it is no ordinary file".to_owned()));
    }
    if before.len() > MAX_BUNDLE {
        return Err(failed(format!(
            "it has more than the {MAX_BUNDLE} bytes that a bundle may have"
        )));
    }
    let mut bytes = Vec::new();
    (&mut file)
        .take(MAX_BUNDLE + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    meanwhile();
    let after = file.metadata().map_err(io)?;
    // The time of its status also changes when another is renamed into its place, and then what was opened is whole.
    let state = |meta: &std::fs::Metadata| (meta.len(), meta.mtime(), meta.mtime_nsec());
    if state(&before) != state(&after) || bytes.len() as u64 != before.len() {
        return Err(failed(
            "it was changed while it was read; put a new one beside it and rename it into its place"
                .to_owned(),
        ));
    }
    Ok(bytes)
}
