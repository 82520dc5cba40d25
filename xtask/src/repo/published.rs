//! What a repository holds already, by its own signature: nothing else may be signed again.
//!
//! The folder comes back from where it is served, and who broke in there may have put a package into it. A signature over new lists
//! would make it ours.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{digest, keys::Signer};

/// Packages that may be in the next lists: names in the pool, and SHA-256 of their content.
#[derive(Debug, Default)]
pub(crate) struct Published(BTreeMap<String, String>);

impl Published {
    /// What the lists of a suite name, if they are those that its key has signed. A suite that is not there names nothing.
    pub(crate) fn read(suite: &Path, signer: &Signer) -> Result<Self> {
        let mut published = Self::default();
        let release = suite.join("InRelease");
        if !release.exists() {
            return Ok(published);
        }
        let release = signer.verified(&release).with_context(|| {
            format!(
                "{} is not signed by this key, so what is in the repository is nobody's: make one in another folder. After a change \
                 of keys, the file of the new one must also hold the old public key",
                release.display()
            )
        })?;
        for (sum, name) in lists(&release) {
            let list = suite.join(name);
            let bytes = fs::read(&list).with_context(|| format!("cannot read {}", list.display()))?;
            if digest(&bytes) != sum {
                bail!("{} is not as it was signed", list.display());
            }
            published.add_list(&String::from_utf8_lossy(&bytes))?;
        }
        Ok(published)
    }

    fn add_list(&mut self, list: &str) -> Result<()> {
        for stanza in list.split("\n\n").filter(|stanza| !stanza.trim().is_empty()) {
            let field =
                |name| crate::host::field(stanza, name).with_context(|| format!("a package has no {name}"));
            let name = field("Filename")?.rsplit('/').next().unwrap_or_default();
            self.add(name, field("SHA256")?);
        }
        Ok(())
    }

    /// One more, of which we know ourselves what it is.
    pub(crate) fn add(&mut self, name: &str, sum: &str) {
        self.0.insert(name.to_owned(), sum.to_owned());
    }

    /// Refuses a file of the pool that was not published, or is not what was.
    pub(crate) fn check(&self, name: &str, sum: &str) -> Result<()> {
        match self.0.get(name) {
            Some(known) if known == sum => Ok(()),
            Some(_) => bail!("{name} in the repository's pool is not what was signed"),
            None => bail!("{name} lies in the repository's pool, and no signed list names it: take it away"),
        }
    }
}

/// Sums and names of the uncompressed lists in a `Release`.
fn lists(release: &str) -> impl Iterator<Item = (&str, &str)> {
    release.lines().filter_map(|line| {
        let mut words = line.strip_prefix(' ')?.split_whitespace();
        let (sum, _, name) = (words.next()?, words.next()?, words.next()?);
        name.ends_with("/Packages").then_some((sum, name))
    })
}

#[cfg(test)]
mod tests {
    use super::super::keys::Choice;
    use super::*;

    #[test]
    fn only_what_was_signed_and_is_still_the_same_is_taken_over() {
        let folder = std::env::temp_dir().join(format!("defenseclaw-published-{}", std::process::id()));
        let suite = folder.join("dists/stable");
        fs::create_dir_all(suite.join("main/binary-amd64")).unwrap();
        let key = || {
            Signer::new(&Choice {
                key: None,
                throw_away_key: true,
            })
            .unwrap()
        };
        let (own, other) = (key(), key());
        Published::read(&suite, &own).unwrap();

        let list = "Package: a\nFilename: pool/main/d/a_1_amd64.deb\nSHA256: abcd\n\n";
        let packages = suite.join("main/binary-amd64/Packages");
        fs::write(&packages, list).unwrap();
        let text = format!(
            "Suite: stable\nSHA256:\n {} {} main/binary-amd64/Packages\n 00 1 main/binary-amd64/Packages.gz\n",
            digest(list.as_bytes()),
            list.len()
        );
        let (plain, release) = (suite.join("Release"), suite.join("InRelease"));
        fs::write(&plain, &text).unwrap();
        fs::write(&release, own.inline(&plain).unwrap()).unwrap();
        let published = Published::read(&suite, &own).unwrap();
        published.check("a_1_amd64.deb", "abcd").unwrap();
        for (name, sum, reason) in [
            ("a_1_amd64.deb", "ef01", "not what was signed"),
            ("b_1_amd64.deb", "abcd", "no signed list"),
        ] {
            let error = published.check(name, sum).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }

        let refused = |reason: &str| {
            let error = format!("{:#}", Published::read(&suite, &own).unwrap_err());
            assert!(error.contains(reason), "{error}");
        };
        fs::write(&packages, list.replace("abcd", "ef01")).unwrap();
        refused("not as it was signed");
        let signed = fs::read_to_string(&release).unwrap();
        fs::write(&release, signed.replace("Suite: stable", "Suite: oldest")).unwrap();
        refused("not signed by this key");
        fs::write(&release, &text).unwrap();
        refused("not signed by this key");
        fs::write(&release, other.inline(&plain).unwrap()).unwrap();
        refused("not signed by this key");
        fs::remove_dir_all(folder).unwrap();
    }
}
