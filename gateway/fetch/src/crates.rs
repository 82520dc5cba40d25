//! crates.io, and other registries with a sparse index.

use serde::Deserialize;

use crate::error::FetchError;
use crate::http::Http;
use crate::integrity::Checksum;
use crate::version::newest;
use crate::{Release, Wanted};

#[derive(Deserialize)]
struct Settings {
    dl: String,
}

#[derive(Deserialize)]
struct Entry {
    vers: String,
    cksum: String,
    #[serde(default)]
    yanked: bool,
}

/// Asks which file it is.
pub(crate) fn release(http: &Http, base: &str, wanted: &Wanted) -> Result<Release, FetchError> {
    let settings: Settings = http.json(&format!("{base}/config.json"), "application/json")?;
    let name = wanted.name.to_ascii_lowercase();
    let url = format!("{base}/{}", place(&name));
    let text = http.text(&url)?;
    let entries: Vec<Entry> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let found = match &wanted.version {
        Some(version) => entries.iter().find(|entry| entry.vers == *version),
        None => {
            let open = entries.iter().filter(|entry| !entry.yanked);
            newest(open.map(|entry| (entry.vers.as_str(), entry))).map(|(_, entry)| entry)
        }
    };
    let entry = found.ok_or_else(|| FetchError::NoRelease {
        wanted: wanted.to_string(),
        registry: base.to_owned(),
        why: "the index has no such version",
    })?;
    let checksum = Checksum::of_hex(&entry.cksum).ok_or_else(|| FetchError::Answer {
        url,
        why: "it names no SHA-256 of the crate".to_owned(),
    })?;
    Ok(Release {
        version: entry.vers.clone(),
        url: download(&settings.dl, &wanted.name, &entry.vers, &entry.cksum),
        checksum,
    })
}

/// Where a crate's lines stand in the index: by its length and first letters.
fn place(name: &str) -> String {
    match name.len() {
        1 | 2 => format!("{}/{name}", name.len()),
        3 => format!("3/{}/{name}", name.get(..1).unwrap_or_default()),
        _ => format!(
            "{}/{}/{name}",
            name.get(..2).unwrap_or_default(),
            name.get(2..4).unwrap_or_default()
        ),
    }
}

fn download(pattern: &str, name: &str, version: &str, checksum: &str) -> String {
    if !pattern.contains('{') {
        return format!("{}/{name}/{version}/download", pattern.trim_end_matches('/'));
    }
    let lower = place(&name.to_ascii_lowercase());
    let folder = |place: &str| place.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    pattern
        .replace("{crate}", name)
        .replace("{version}", version)
        .replace("{sha256-checksum}", checksum)
        .replace("{lowerprefix}", &folder(&lower))
        .replace("{prefix}", &folder(&place(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_laid_out_by_letters() {
        for (name, expected) in [
            ("a", "1/a"),
            ("ab", "2/ab"),
            ("abc", "3/a/abc"),
            ("serde", "se/rd/serde"),
        ] {
            assert_eq!(place(name), expected);
        }
        assert_eq!(
            download("https://h/crates", "a", "1.0.0", "c"),
            "https://h/crates/a/1.0.0/download"
        );
        assert_eq!(
            download(
                "https://h/{prefix}/{crate}-{version}.crate",
                "serde",
                "1.0.0",
                "c"
            ),
            "https://h/se/rd/serde-1.0.0.crate"
        );
    }
}
