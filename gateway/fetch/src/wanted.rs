//! Which package, as a person writes it.

use std::fmt;
use std::str::FromStr;

use defenseclaw_model::package::pypi_name;

/// Where packages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Registry {
    /// JavaScript's.
    Npm,
    /// Python's.
    Pypi,
    /// Rust's.
    Crates,
}

impl Registry {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pypi => "pypi",
            Self::Crates => "crates",
        }
    }

    /// The ecosystem's own registry.
    pub(crate) fn base(self) -> &'static str {
        match self {
            Self::Npm => "https://registry.npmjs.org",
            Self::Pypi => "https://pypi.org",
            Self::Crates => "https://index.crates.io",
        }
    }
}

/// A package that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Where it comes from.
    pub registry: Registry,
    /// Its name.
    pub name: String,
    /// One version, or for npm a tag; `None`: the newest.
    pub version: Option<String>,
}

/// Why a text names no package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} names no package: {why}. Write npm:NAME[@VERSION], pypi:NAME[==VERSION] or crates:NAME[@VERSION]"
)]
pub struct NoPackage {
    text: String,
    why: &'static str,
}

/// Longest name (bytes): npm allows 214, the others less.
const MAX_NAME: usize = 214;

/// Longest version (bytes).
const MAX_VERSION: usize = 128;

impl FromStr for Wanted {
    type Err = NoPackage;

    fn from_str(text: &str) -> Result<Self, NoPackage> {
        let no = |why| NoPackage {
            text: text.to_owned(),
            why,
        };
        let (registry, rest) = text
            .split_once(':')
            .ok_or_else(|| no("the registry is missing"))?;
        let registry = match registry {
            "npm" => Registry::Npm,
            "pypi" => Registry::Pypi,
            "crates" | "cargo" => Registry::Crates,
            _ => return Err(no("the registry is not known")),
        };
        let scoped = usize::from(rest.starts_with('@'));
        let cut = match registry {
            Registry::Pypi => rest.find("==").or_else(|| rest.find('@')),
            _ => rest
                .get(scoped..)
                .and_then(|rest| rest.find('@'))
                .map(|at| at + scoped),
        };
        let (name, version) = match cut.and_then(|at| rest.split_at_checked(at)) {
            Some((name, version)) => (name, Some(version.trim_start_matches(['=', '@']))),
            None => (rest, None),
        };
        if name.is_empty() || name.len() > MAX_NAME || !is_name(registry, name) {
            return Err(no("the name is none that its registry allows"));
        }
        if version.is_some_and(|version| {
            version.is_empty() || version.len() > MAX_VERSION || !version.chars().all(is_of_version)
        }) {
            return Err(no(
                "a range or path is no version: name one version, or none for the newest",
            ));
        }
        let name = match registry {
            Registry::Pypi => pypi_name(name),
            Registry::Npm | Registry::Crates => name.to_owned(),
        };
        Ok(Self {
            registry,
            name,
            version: version.map(str::to_owned),
        })
    }
}

/// What stands in a URL is only what registries allow: nothing that could lead elsewhere in it.
fn is_name(registry: Registry, name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.~".contains(c))
    };
    match (registry, name.strip_prefix('@')) {
        (Registry::Npm, Some(scoped)) => scoped
            .split_once('/')
            .is_some_and(|(scope, name)| plain(scope) && plain(name)),
        (_, Some(_)) => false,
        (_, None) => plain(name),
    }
}

fn is_of_version(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.+!".contains(c)
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.registry.as_str(), self.name)?;
        match &self.version {
            Some(version) if self.registry == Registry::Pypi => write!(f, "=={version}"),
            Some(version) => write!(f, "@{version}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_and_told_the_same() {
        for (text, told) in [
            ("npm:left-pad@1.3.0", "npm:left-pad@1.3.0"),
            ("npm:@scope/name", "npm:@scope/name"),
            ("npm:@scope/name@latest", "npm:@scope/name@latest"),
            ("pypi:Foo_Bar==1.2", "pypi:foo-bar==1.2"),
            ("crates:serde@1.0.200", "crates:serde@1.0.200"),
        ] {
            assert_eq!(text.parse::<Wanted>().unwrap().to_string(), told);
        }
    }

    #[test]
    fn what_leads_elsewhere_in_a_url_is_no_name() {
        for text in [
            "left-pad",
            "gem:rails",
            "npm:",
            "npm:../x",
            "npm:a/b",
            "npm:@a",
            "npm:@a/../b",
            "pypi:a?b",
            "npm:a@",
            "npm:a@^1.2",
            "crates:a@../b",
            "npm:a#b",
            "npm:.a",
        ] {
            let error = text.parse::<Wanted>().unwrap_err().to_string();
            assert!(error.contains("npm:NAME"), "{error}");
        }
    }
}
