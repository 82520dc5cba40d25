//! Package URLs.

use crate::item::Package;

/// The package's URL; `None` for a registry whose URLs need more than is known.
pub fn purl(package: &Package) -> Option<String> {
    let version = package.version.as_deref();
    let at = version
        .map(|version| format!("@{}", encoded(version)))
        .unwrap_or_default();
    match package.registry.as_str() {
        "npm" => {
            let name = match package.name.split_once('/') {
                Some((scope, name)) => format!("{}/{}", encoded(scope), encoded(name)),
                None => encoded(&package.name),
            };
            Some(format!("pkg:npm/{name}{at}"))
        }
        // PyPI compares names in lower case, with dashes.
        "pypi" => Some(format!(
            "pkg:pypi/{}{at}",
            encoded(&package.name.to_ascii_lowercase().replace('_', "-"))
        )),
        "deb" => Some(format!("pkg:deb/{}{at}", encoded(&package.name))),
        // Only a digest names an image; a tag is a qualifier.
        "oci" => {
            let name = package
                .name
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_ascii_lowercase();
            let digest = version.filter(|version| version.starts_with("sha256:"));
            let at = digest
                .map(|digest| format!("@{}", encoded(digest)))
                .unwrap_or_default();
            let tag = version.filter(|_| digest.is_none());
            let tag = tag
                .map(|tag| format!("&tag={}", encoded(tag)))
                .unwrap_or_default();
            Some(format!(
                "pkg:oci/{}{at}?repository_url={}{tag}",
                encoded(&name),
                encoded(&package.name)
            ))
        }
        _ => None,
    }
}

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_packages() {
        for (registry, name, version, expected) in [
            (
                "npm",
                "@acme/server",
                Some("1.0.0"),
                Some("pkg:npm/%40acme/server@1.0.0"),
            ),
            ("npm", "server", None, Some("pkg:npm/server")),
            ("npm", "s", Some("1.0.0+b"), Some("pkg:npm/s@1.0.0%2Bb")),
            ("pypi", "Mcp_Server", Some("2"), Some("pkg:pypi/mcp-server@2")),
            ("deb", "cursor", Some("2.4.1"), Some("pkg:deb/cursor@2.4.1")),
            (
                "oci",
                "ghcr.io/Acme/Server",
                Some("1.4"),
                Some("pkg:oci/server?repository_url=ghcr.io%2FAcme%2FServer&tag=1.4"),
            ),
            (
                "oci",
                "a/b",
                Some("sha256:ab"),
                Some("pkg:oci/b@sha256%3Aab?repository_url=a%2Fb"),
            ),
            ("other", "x", None, None),
        ] {
            let package = Package {
                registry: registry.to_owned(),
                name: name.to_owned(),
                version: version.map(str::to_owned),
            };
            assert_eq!(purl(&package).as_deref(), expected);
        }
    }
}
