//! PyPI's own JSON, and the JSON of other Python indexes (PEP 691).

use std::collections::HashMap;

use defenseclaw_model::package::pypi_name;
use serde::Deserialize;

use crate::error::FetchError;
use crate::http::Http;
use crate::integrity::Checksum;
use crate::version::newest;
use crate::{Release, Wanted};

/// PyPI answers with one version's files, and with the newest one's where none is named.
#[derive(Deserialize)]
struct Project {
    info: Info,
    urls: Vec<Listed>,
}

#[derive(Deserialize)]
struct Info {
    version: String,
}

#[derive(Deserialize)]
struct Listed {
    filename: String,
    url: String,
    #[serde(default)]
    digests: HashMap<String, String>,
}

/// Other indexes list all files.
#[derive(Deserialize)]
struct Simple {
    files: Vec<SimpleFile>,
}

#[derive(Deserialize)]
struct SimpleFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: HashMap<String, String>,
    #[serde(default)]
    yanked: serde_json::Value,
}

/// One file of a version.
struct Candidate {
    filename: String,
    url: String,
    sha256: Option<String>,
}

/// Asks which file it is.
pub(crate) fn release(http: &Http, base: &str, wanted: &Wanted) -> Result<Release, FetchError> {
    if base.trim_end_matches("/simple").ends_with("://pypi.org") {
        own(http, base.trim_end_matches("/simple"), wanted)
    } else {
        simple(http, base, wanted)
    }
}

fn own(http: &Http, base: &str, wanted: &Wanted) -> Result<Release, FetchError> {
    let url = match &wanted.version {
        Some(version) => format!("{base}/pypi/{}/{version}/json", wanted.name),
        None => format!("{base}/pypi/{}/json", wanted.name),
    };
    let project: Project = http.json(&url, "application/json")?;
    let files = project.urls.into_iter().map(|mut file| Candidate {
        sha256: file.digests.remove("sha256"),
        url: absolute(&url, &file.url),
        filename: file.filename,
    });
    chosen(project.info.version, files.collect(), &url, wanted, base)
}

fn simple(http: &Http, base: &str, wanted: &Wanted) -> Result<Release, FetchError> {
    let url = format!("{base}/{}/", wanted.name);
    let listed: Simple = http.json(&url, "application/vnd.pypi.simple.v1+json")?;
    let of_version: Vec<(String, SimpleFile)> = listed
        .files
        .into_iter()
        .filter_map(|file| Some((version_of(&file.filename, &wanted.name)?, file)))
        .collect();
    let not_yanked = of_version.iter().filter(|(_, file)| {
        matches!(
            file.yanked,
            serde_json::Value::Null | serde_json::Value::Bool(false)
        )
    });
    let version = match &wanted.version {
        Some(version) => Some(version.clone()),
        None => newest(not_yanked.map(|(version, _)| (version.as_str(), ())))
            .map(|(version, ())| version.to_owned()),
    };
    let version = version.unwrap_or_default();
    let files = of_version
        .into_iter()
        .filter(|(of, _)| *of == version)
        .map(|(_, mut file)| Candidate {
            sha256: file.hashes.remove("sha256"),
            filename: file.filename,
            url: absolute(&url, &file.url),
        });
    chosen(version.clone(), files.collect(), &url, wanted, base)
}

/// The version that a file's name tells: `NAME-VERSION-….whl`, `NAME-VERSION.tar.gz`.
fn version_of(filename: &str, name: &str) -> Option<String> {
    if let Some(stem) = filename.strip_suffix(".whl") {
        let mut parts = stem.split('-');
        let of = parts.next()?;
        return (pypi_name(of) == name).then(|| parts.next().map(str::to_owned))?;
    }
    let stem = [".tar.gz", ".zip"]
        .iter()
        .find_map(|end| filename.strip_suffix(end))?;
    let (of, version) = stem.rsplit_once('-')?;
    (pypi_name(of) == name).then(|| version.to_owned())
}

/// A file's address is often given relative to the list's.
fn absolute(list: &str, url: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    if url.contains("://") {
        return url.to_owned();
    }
    let origin = list.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    if let Some(path) = url.strip_prefix('/') {
        return format!("{origin}/{path}");
    }
    let folder = list.get(origin.len()..).unwrap_or_default();
    let mut parts: Vec<&str> = folder.split('/').skip(1).collect();
    // What stands behind the last slash is no folder.
    parts.pop();
    for part in url.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." => {}
            _ => parts.push(part),
        }
    }
    format!("{origin}/{}", parts.join("/"))
}

/// What pip would take: a wheel for every platform, then one for this kind of system, then the sources.
fn rank(filename: &str) -> u8 {
    match filename {
        _ if filename.ends_with("-none-any.whl") => 0,
        _ if filename.ends_with(".whl") && filename.contains("linux") => 1,
        _ if filename.ends_with(".tar.gz") || filename.ends_with(".zip") => 2,
        _ if filename.ends_with(".whl") => 3,
        _ => 4,
    }
}

fn chosen(
    version: String,
    mut files: Vec<Candidate>,
    url: &str,
    wanted: &Wanted,
    base: &str,
) -> Result<Release, FetchError> {
    files.sort_by(|a, b| (rank(&a.filename), &a.filename).cmp(&(rank(&b.filename), &b.filename)));
    let file = files.into_iter().next().ok_or_else(|| FetchError::NoRelease {
        wanted: wanted.to_string(),
        registry: base.to_owned(),
        why: "no file of that version is listed",
    })?;
    let checksum = file
        .sha256
        .as_deref()
        .and_then(Checksum::of_hex)
        .ok_or_else(|| FetchError::Answer {
            url: url.to_owned(),
            why: format!(
                "it names no SHA-256 of {}; what came could not be checked",
                file.filename
            ),
        })?;
    Ok(Release {
        version,
        url: file.url,
        checksum,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_in_the_names_of_files() {
        assert_eq!(
            version_of("Foo_Bar-1.2-py3-none-any.whl", "foo-bar").as_deref(),
            Some("1.2")
        );
        assert_eq!(
            version_of("foo-bar-1.2.tar.gz", "foo-bar").as_deref(),
            Some("1.2")
        );
        assert_eq!(version_of("foo-bar-extra-1.2.tar.gz", "foo-bar"), None);
        assert_eq!(version_of("foo.exe", "foo"), None);
    }

    #[test]
    fn addresses_are_made_whole() {
        let list = "http://127.0.0.1:1/simple/foo/";
        assert_eq!(
            absolute(list, "foo-1.whl"),
            "http://127.0.0.1:1/simple/foo/foo-1.whl"
        );
        assert_eq!(
            absolute(list, "/files/foo-1.whl"),
            "http://127.0.0.1:1/files/foo-1.whl"
        );
        assert_eq!(
            absolute(list, "https://h/foo-1.whl#sha256=1"),
            "https://h/foo-1.whl"
        );
    }
}
