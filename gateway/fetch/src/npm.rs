//! The npm registry: one version's document, with where its file lies and what its checksum is.

use serde::Deserialize;

use crate::error::FetchError;
use crate::http::Http;
use crate::integrity::Checksum;
use crate::{Release, Wanted};

#[derive(Deserialize)]
struct Document {
    version: String,
    dist: Dist,
}

#[derive(Deserialize)]
struct Dist {
    tarball: String,
    #[serde(default)]
    integrity: String,
}

/// Asks which file it is.
pub(crate) fn release(http: &Http, base: &str, wanted: &Wanted) -> Result<Release, FetchError> {
    let name = wanted.name.replace('/', "%2f");
    let version = wanted.version.as_deref().unwrap_or("latest");
    let url = format!("{base}/{name}/{version}");
    let document: Document = http.json(&url, "application/json")?;
    let checksum = Checksum::of_integrity(&document.dist.integrity).ok_or_else(|| FetchError::Answer {
        url,
        why: "it names no SHA-512 of the file (dist.integrity); what came could not be checked".to_owned(),
    })?;
    Ok(Release {
        version: document.version,
        url: document.dist.tarball,
        checksum,
    })
}
