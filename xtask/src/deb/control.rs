//! What `packaging/debian` says: the packages' descriptions, and the version with its date.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::date;

const FILE: &str = "packaging/debian/changelog";

/// The newest entry of `packaging/debian/changelog`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changelog {
    /// With its Debian revision.
    pub(crate) version: String,
    /// Its date: seconds since 1970. Everything in the packages bears it.
    pub(crate) epoch: i64,
}

impl Changelog {
    /// Reads it; its version must be the one of `Cargo.toml` with a revision.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let file = root.join(FILE);
        let changelog = Self::newest(root)?;
        let own = env!("CARGO_PKG_VERSION");
        if changelog.version.rsplit_once('-').map(|(upstream, _)| upstream) != Some(own) {
            bail!(
                "{} names version {}, and Cargo.toml {own}: add an entry for {own}-1",
                file.display(),
                changelog.version
            );
        }
        Ok(changelog)
    }

    /// Reads it, whatever its version.
    pub(crate) fn newest(root: &Path) -> Result<Self> {
        let file = root.join(FILE);
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| file.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let (_, rest) = text
            .split_once('(')
            .context("the first line names no version in brackets")?;
        let (version, _) = rest.split_once(')').context("a bracket is not closed")?;
        let trailer = text
            .lines()
            .find(|line| line.starts_with(" -- "))
            .context("no line ` -- Name <address>  Date`")?;
        let (_, when) = trailer
            .split_once(">  ")
            .context("two blanks are missing before the date")?;
        Ok(Self {
            version: version.to_owned(),
            epoch: date::parse(when)?,
        })
    }
}

/// What `packaging/debian/control` says of a package.
pub(crate) struct Template {
    /// Fields in the file's order, those of the source first.
    fields: Vec<(String, String)>,
}

/// What stands for `${…}`.
pub(crate) type Values<'a> = BTreeMap<&'a str, String>;

impl Template {
    pub(crate) fn read(root: &Path, package: &str) -> Result<Self> {
        let file = root.join("packaging/debian/control");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::find(&text, package).with_context(|| format!("{} has no package {package}", file.display()))
    }

    fn find(text: &str, package: &str) -> Option<Self> {
        let text: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let stanzas: Vec<_> = text
            .split(|line| line.trim().is_empty())
            .filter(|stanza| !stanza.is_empty())
            .map(fields)
            .collect();
        let source = stanzas.first()?;
        let own = stanzas.iter().find(|stanza| {
            stanza
                .iter()
                .any(|(name, value)| name == "Package" && value == package)
        })?;
        let inherited = source
            .iter()
            .filter(|(name, _)| name != "Source" && own.iter().all(|(other, _)| other != name));
        let mut fields = own.clone();
        // The description comes last, as everywhere.
        let description = fields.pop_if(|(name, _)| name == "Description");
        fields.extend(inherited.cloned());
        fields.extend(description);
        Some(Self { fields })
    }

    /// The control file. `more` are fields that are computed; a dependency without a value is left out.
    pub(crate) fn fill(&self, values: &Values<'_>, more: &[(&str, String)]) -> Result<String> {
        let mut text = String::new();
        for (name, value) in &self.fields {
            if name == "Description" {
                for (name, value) in more {
                    text.push_str(&format!("{name}: {value}\n"));
                }
            }
            let mut value = value.clone();
            for (key, known) in values {
                value = value.replace(&format!("${{{key}}}"), known);
            }
            if value.contains("${") {
                bail!("packaging/debian/control: nothing stands for a `${{…}}` in {name}: {value}");
            }
            if name == "Depends" {
                let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
                value = parts.collect::<Vec<_>>().join(", ");
            }
            text.push_str(&format!("{name}: {value}\n"));
        }
        Ok(text)
    }
}

/// Fields of a stanza; lines that go on are kept with their line ends.
fn fields(lines: &[&str]) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with(' ') {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entry_of_a_changelog_counts() {
        let text = "tool (1.2-3) stable; urgency=medium\n\n  * x\n\n -- A <a@b>  Thu, 29 Feb 2024 00:00:00 +0000\n\n\
                    tool (1.1-1) stable; urgency=low\n\n -- A <a@b>  Thu, 01 Jan 1970 00:00:00 +0000\n";
        let changelog = Changelog::parse(text).unwrap();
        assert_eq!(
            (changelog.version.as_str(), changelog.epoch),
            ("1.2-3", 1_709_164_800)
        );
        assert!(Changelog::parse("nothing").is_err());
    }

    #[test]
    fn a_package_takes_what_the_source_says_unless_it_says_otherwise() {
        let text = "# a comment\nSource: s\nSection: admin\nPriority: optional\n\nPackage: a\nSection: debug\n\
                    Depends: ${x}, b, ${y}\nDescription: short\n long\n .\n more\n\nPackage: c\nDescription: none\n";
        let template = Template::find(text, "a").unwrap();
        let values = Values::from([("x", "d (>= 1)".to_owned()), ("y", String::new())]);
        let control = template.fill(&values, &[("Version", "1".to_owned())]).unwrap();
        assert_eq!(
            control,
            "Package: a\nSection: debug\nDepends: d (>= 1), b\nPriority: optional\nVersion: 1\n\
             Description: short\n long\n .\n more\n"
        );
        assert!(
            template.fill(&Values::new(), &[]).is_err(),
            "nothing stands for it"
        );
        assert!(Template::find(text, "z").is_none());
    }

    #[test]
    fn this_project_s_own_files_are_understood() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        Changelog::read(root).unwrap();
        for package in ["defenseclaw", "defenseclaw-dbgsym", "defenseclaw-archive-keyring"] {
            Template::read(root, package).unwrap();
        }
    }
}
