//! Which packages of a call are to be fetched, and how a version compares with what the call asks for.

use defenseclaw_model::config::InstallRegistries;
use defenseclaw_model::facts::{Ecosystem, Install, InstallSource, VersionAsked};
use defenseclaw_model::package::VersionFit;

/// A package that a call would install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) ecosystem: Ecosystem,
    /// The name under which its registry has it.
    pub(super) name: String,
    version: VersionAsked,
    /// The version as it was written.
    asked: String,
    /// Whether the call names a registry that is not asked.
    pub(super) elsewhere: bool,
}

/// The packages of a call, each once.
pub(super) fn packages(installs: &[Install], registries: &InstallRegistries) -> Vec<Asked> {
    let mut found: Vec<Asked> = Vec::new();
    for install in installs {
        if let Some(asked) = of(install, registries)
            && !found.contains(&asked)
        {
            found.push(asked);
        }
    }
    found
}

/// `None`: it comes from no registry that is known here, or is no package by name.
fn of(install: &Install, registries: &InstallRegistries) -> Option<Asked> {
    let name = match install.source {
        InstallSource::Registry => &install.name,
        InstallSource::Alias => &install.from,
        _ => return None,
    };
    let own = own(install.ecosystem)?;
    if name.is_empty() {
        return None;
    }
    let configured = registry(install.ecosystem, registries);
    let named = install.registry.trim_end_matches('/');
    let fine = named.is_empty()
        || configured.is_some_and(|configured| configured.trim_end_matches('/') == named)
        || (configured.is_none() && own.contains(&named));
    Some(Asked {
        ecosystem: install.ecosystem,
        name: name.clone(),
        version: install.version,
        asked: install.asked.clone(),
        elsewhere: !fine,
    })
}

/// The registry that the operator wants to be asked; `None`: the ecosystem's own.
pub(super) fn registry(ecosystem: Ecosystem, registries: &InstallRegistries) -> Option<&str> {
    match ecosystem {
        Ecosystem::Npm => registries.npm.as_deref(),
        Ecosystem::Pypi => registries.pypi.as_deref(),
        Ecosystem::Crates => registries.crates.as_deref(),
        _ => None,
    }
}

/// What calls write for an ecosystem's own registry.
fn own(ecosystem: Ecosystem) -> Option<&'static [&'static str]> {
    match ecosystem {
        Ecosystem::Npm => Some(&["https://registry.npmjs.org"]),
        Ecosystem::Pypi => Some(&["https://pypi.org/simple", "https://pypi.org"]),
        Ecosystem::Crates => Some(&["https://index.crates.io", "sparse+https://index.crates.io"]),
        _ => None,
    }
}

impl Asked {
    /// As the worker is asked for it: with the version where the call names one, else the newest.
    pub(super) fn package(&self) -> String {
        let one = match self.version {
            VersionAsked::Exact => true,
            // A moving name is npm's; the registry knows what it stands for.
            VersionAsked::Tag => self.ecosystem == Ecosystem::Npm,
            VersionAsked::Range | VersionAsked::None => false,
        };
        let name = format!("{}:{}", self.ecosystem.as_str(), self.name);
        match (one && !self.asked.is_empty(), self.ecosystem) {
            (false, _) => name,
            (true, Ecosystem::Pypi) => format!("{name}=={}", self.asked),
            (true, _) => format!("{name}@{}", self.asked),
        }
    }

    /// How the version that was looked at compares with what the call asks for.
    pub(super) fn fit(&self, version: &str) -> VersionFit {
        match self.version {
            VersionAsked::Exact if self.asked == version => VersionFit::Exact,
            // What a lock file holds is not told.
            VersionAsked::Exact => VersionFit::Other,
            VersionAsked::None => VersionFit::Open,
            VersionAsked::Tag if self.ecosystem == Ecosystem::Npm => VersionFit::Open,
            VersionAsked::Tag => VersionFit::Other,
            VersionAsked::Range if within(self.ecosystem, &self.asked, version) => VersionFit::Open,
            VersionAsked::Range => VersionFit::Other,
        }
    }
}

/// Whether `version` is one that a range takes, as far as the common forms of ranges tell. What is not understood is `false`.
fn within(ecosystem: Ecosystem, range: &str, version: &str) -> bool {
    let Some(version) = numbers(version) else {
        return false;
    };
    let mut bounds = range
        .split([',', ' '])
        .map(str::trim)
        .filter(|bound| !bound.is_empty())
        .peekable();
    bounds.peek().is_some() && bounds.all(|bound| holds(ecosystem, bound, &version))
}

fn holds(ecosystem: Ecosystem, bound: &str, version: &[u64]) -> bool {
    let split = bound
        .find(|c: char| c.is_ascii_digit() || c == '*')
        .unwrap_or(bound.len());
    let (operator, text) = bound.split_at(split);
    let (text, any) = match text.strip_suffix(".*").or(text.strip_suffix(".x")) {
        Some(text) => (text, true),
        None if text == "*" => return operator.is_empty(),
        None => (text, false),
    };
    let Some(of) = numbers(text) else { return false };
    let begins = |most: usize| (0..most).all(|at| part(&of, at) == part(version, at));
    let least = compare(version, &of).is_ge();
    if any {
        return matches!(operator, "" | "==") && begins(of.len());
    }
    match operator {
        ">=" => least,
        ">" => compare(version, &of).is_gt(),
        "<=" => compare(version, &of).is_le(),
        "<" => compare(version, &of).is_lt(),
        "!=" => compare(version, &of).is_ne(),
        "=" | "==" => compare(version, &of).is_eq(),
        "~=" => least && of.len() > 1 && begins(of.len() - 1),
        "~" => least && begins(of.len().clamp(1, 2)),
        // A crate's bare version is such a range, too.
        "^" | "" if operator == "^" || ecosystem == Ecosystem::Crates => {
            let zeros = of.iter().take_while(|part| **part == 0).count();
            least && begins((zeros + 1).min(of.len().max(1)))
        }
        _ => false,
    }
}

fn part(numbers: &[u64], at: usize) -> u64 {
    numbers.get(at).copied().unwrap_or(0)
}

fn compare(a: &[u64], b: &[u64]) -> std::cmp::Ordering {
    let most = a.len().max(b.len());
    let order = (0..most).map(|at| part(a, at).cmp(&part(b, at)));
    order
        .into_iter()
        .find(|order| order.is_ne())
        .unwrap_or(std::cmp::Ordering::Equal)
}

/// The numbers of a final version; `None` for what is only tried out, and for what is none.
fn numbers(version: &str) -> Option<Vec<u64>> {
    let plain = version.split('+').next().unwrap_or_default();
    plain.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(value: serde_json::Value) -> Install {
        let mut all = serde_json::json!({
            "ecosystem": "npm", "name": "pad", "version": "none", "source": "registry", "into": "project",
        });
        for (key, value) in value.as_object().unwrap() {
            all[key] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    fn one(value: serde_json::Value) -> Option<Asked> {
        packages(&[install(value)], &InstallRegistries::default()).pop()
    }

    #[test]
    fn packages_are_asked_for_as_the_call_names_them() {
        for (value, expected) in [
            (serde_json::json!({}), Some("npm:pad")),
            (
                serde_json::json!({"version": "exact", "asked": "1.0.0"}),
                Some("npm:pad@1.0.0"),
            ),
            (
                serde_json::json!({"version": "tag", "asked": "beta"}),
                Some("npm:pad@beta"),
            ),
            (
                serde_json::json!({"version": "range", "asked": "^1"}),
                Some("npm:pad"),
            ),
            (
                serde_json::json!({"ecosystem": "pypi", "version": "exact", "asked": "1.0"}),
                Some("pypi:pad==1.0"),
            ),
            (serde_json::json!({"ecosystem": "crates"}), Some("crates:pad")),
            (
                serde_json::json!({"source": "alias", "from": "real"}),
                Some("npm:real"),
            ),
            (serde_json::json!({"source": "git", "from": "https://g/x"}), None),
            (serde_json::json!({"ecosystem": "gem"}), None),
            (serde_json::json!({"ecosystem": "mcp", "from": "npm:pad"}), None),
            (serde_json::json!({"name": ""}), None),
        ] {
            let told = one(value.clone()).map(|asked| asked.package());
            assert_eq!(told.as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn a_registry_that_a_call_names_is_not_asked_unless_it_is_the_one_that_would_be() {
        for (named, expected) in [
            ("https://registry.npmjs.org/", false),
            ("https://collect.example", true),
            ("https://registry.npmjs.org.evil.example", true),
        ] {
            let asked = one(serde_json::json!({"registry": named})).unwrap();
            assert_eq!(asked.elsewhere, expected, "{named}");
        }
        let mirror = InstallRegistries {
            npm: Some("https://mirror.example/".to_owned()),
            ..InstallRegistries::default()
        };
        for (named, expected) in [
            ("https://mirror.example", false),
            ("https://registry.npmjs.org", true),
        ] {
            let asked = packages(&[install(serde_json::json!({"registry": named}))], &mirror);
            assert_eq!(asked[0].elsewhere, expected, "{named}");
        }
    }

    #[test]
    fn a_version_fits_only_what_is_understood() {
        for (ecosystem, version, asked, scanned, expected) in [
            ("npm", "exact", "1.0.0", "1.0.0", VersionFit::Exact),
            ("npm", "exact", "1.0.0", "1.0.1", VersionFit::Other),
            ("pypi", "exact", "", "1.0", VersionFit::Other),
            ("npm", "none", "", "9", VersionFit::Open),
            ("npm", "tag", "latest", "9.1.0", VersionFit::Open),
            ("npm", "range", "^1.2", "1.9.0", VersionFit::Open),
            ("npm", "range", "^1.2", "2.0.0", VersionFit::Other),
            ("npm", "range", "^1.2", "1.1.9", VersionFit::Other),
            ("npm", "range", "^0.2.3", "0.2.9", VersionFit::Open),
            ("npm", "range", "^0.2.3", "0.3.0", VersionFit::Other),
            ("npm", "range", "~1.2.0", "1.2.7", VersionFit::Open),
            ("npm", "range", "~1.2.0", "1.3.0", VersionFit::Other),
            ("npm", "range", "1.x", "1.8.0", VersionFit::Open),
            ("npm", "range", "<1.0.1", "1.0.1", VersionFit::Other),
            ("npm", "range", "1 || 2", "2.0.0", VersionFit::Other),
            ("pypi", "range", ">=4,<6", "5.2", VersionFit::Open),
            ("pypi", "range", ">=4,<6", "6.0", VersionFit::Other),
            ("pypi", "range", "~=1.4.2", "1.4.9", VersionFit::Open),
            ("pypi", "range", "~=1.4.2", "1.5.0", VersionFit::Other),
            ("pypi", "range", "==1.*", "1.5.0", VersionFit::Open),
            ("pypi", "range", ">=1", "2.0rc1", VersionFit::Other),
            ("crates", "range", "1.2", "1.9.0", VersionFit::Open),
            ("crates", "range", "1.2", "2.0.0", VersionFit::Other),
        ] {
            let value = serde_json::json!({"ecosystem": ecosystem, "version": version, "asked": asked});
            let asked = one(value.clone()).unwrap();
            assert_eq!(asked.fit(scanned), expected, "{value} {scanned}");
        }
    }
}
