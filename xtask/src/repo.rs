//! `cargo xtask repo`: a signed APT repository of the packages that `cargo xtask deb` made.
//!
//! A repository is only ever added to: packages that were published stay, and so do the lists that the last `Release` named,
//! because somebody may be between fetching that one and fetching them.

mod keys;
mod published;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sha2::{Digest as _, Sha256};

use crate::arch::Architecture;
use crate::date;
use crate::deb::{Changelog, PLAIN, Stage, Template, Values};
use crate::files;
use crate::host::{Host, output, step};
use crate::setup::{self, Wanted};
use keys::Signer;
use published::Published;

/// Where the repository comes from and goes to.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The address that it will be served from.
    #[arg(long)]
    url: String,
    #[command(flatten)]
    key: keys::Choice,
    /// The folder with the packages; target/deb unless said.
    #[arg(long, value_name = "DIR")]
    packages: Option<PathBuf>,
    /// The repository's folder, which is added to; target/repo unless said.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// After how many days clients refuse it unless it was made anew: so long can somebody show them an old one.
    #[arg(long, value_name = "DAYS", default_value_t = 14)]
    valid_days: u32,
}

impl Options {
    /// For tries: a new repository in `out` of the packages of a folder, signed by a key that is then forgotten.
    pub(crate) fn for_tries(url: &str, packages: PathBuf, out: PathBuf) -> Self {
        Self {
            url: url.to_owned(),
            key: keys::Choice::thrown_away(),
            packages: Some(packages),
            out: Some(out),
            valid_days: 14,
        }
    }
}

const SUITE: &str = "stable";
const COMPONENT: &str = "main";
const POOL: &str = "pool/main/d/defenseclaw";
const KEYRING: &str = "defenseclaw-archive-keyring";

/// Makes the repository, or adds to it.
pub(crate) fn repo(host: &Host, options: &Options) -> Result<()> {
    setup::install(
        host,
        Wanted {
            packages: true,
            ..Wanted::default()
        },
    )?;
    let out = options.out.clone().unwrap_or_else(|| host.target.join("repo"));
    let packages = options
        .packages
        .clone()
        .unwrap_or_else(|| host.target.join("deb"));
    let signer = Signer::new(&options.key)?;
    step("repository", || {
        let mut repository = Repository {
            root: out.clone(),
            now: now()?,
            valid: i64::from(options.valid_days) * 86_400,
            published: Published::default(),
        };
        repository.published = Published::read(&repository.suite(), &signer)?;
        let keyring = keyring_package(host, &signer.public_key()?, &out)?;
        let mut found = debs(&packages)?;
        if found.is_empty() {
            bail!(
                "{} holds no package: run `cargo xtask deb` first",
                packages.display()
            );
        }
        found.push(keyring);
        for package in found {
            repository.publish(&package)?;
        }
        repository.write_lists(&signer)?;
        let keyring = format!("{KEYRING}.gpg");
        write(&out.join(&keyring), &signer.public_key()?)?;
        write(&out.join("defenseclaw.sources"), source(&options.url).as_bytes())
    })?;
    eprintln!(
        "{}: signed by {}, valid for {} days",
        out.display(),
        signer.fingerprint(),
        options.valid_days
    );
    Ok(())
}

/// The entry of APT's sources, which trusts this repository by its key and this key for no other.
fn source(url: &str) -> String {
    format!(
        "Types: deb\nURIs: {url}\nSuites: {SUITE}\nComponents: {COMPONENT}\n\
         Signed-By: /usr/share/keyrings/{KEYRING}.gpg\n"
    )
}

/// The date of the repository; that of `SOURCE_DATE_EPOCH` where it is set.
fn now() -> Result<i64> {
    if let Some(told) = std::env::var_os("SOURCE_DATE_EPOCH") {
        return told
            .to_str()
            .and_then(|told| told.parse().ok())
            .context("SOURCE_DATE_EPOCH is no number of seconds");
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    i64::try_from(since.as_secs()).context("this machine's clock")
}

/// The package that brings the keys, and renews them.
fn keyring_package(host: &Host, key: &[u8], out: &Path) -> Result<PathBuf> {
    let changelog = Changelog::read(&host.root)?;
    let stage = Stage::new(host.target.join("deb/stage").join(KEYRING), changelog.epoch)?;
    stage.write(&format!("/usr/share/keyrings/{KEYRING}.gpg"), key, PLAIN)?;
    let doc = format!("/usr/share/doc/{KEYRING}");
    let packaging = host.root.join("packaging/debian");
    stage.copy(&packaging.join("copyright"), &format!("{doc}/copyright"), PLAIN)?;
    stage.compressed(
        &packaging.join("changelog"),
        &format!("{doc}/changelog.Debian.gz"),
    )?;
    stage.copy(
        &packaging.join(format!("{KEYRING}.lintian-overrides")),
        &format!("/usr/share/lintian/overrides/{KEYRING}"),
        PLAIN,
    )?;
    let more = [
        ("Version", changelog.version.clone()),
        ("Architecture", "all".to_owned()),
        ("Installed-Size", stage.installed_size()?.to_string()),
    ];
    let control = Template::read(&host.root, KEYRING)?.fill(&Values::new(), &more)?;
    let folder = out.join(POOL);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let package = host
        .target
        .join(format!("deb/stage/{KEYRING}_{}_all.deb", changelog.version));
    stage.pack(&control, &package)?;
    Ok(package)
}

/// The packages of a folder, sorted.
fn debs(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = files::within(folder)?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    Ok(found)
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// By another name first: a server never hands out half a file.
fn write(to: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = to.with_file_name(name);
    fs::write(&fresh, bytes).with_context(|| format!("cannot write {}", fresh.display()))?;
    fs::rename(&fresh, to).with_context(|| format!("cannot write {}", to.display()))
}

struct Repository {
    root: PathBuf,
    /// Seconds since 1970.
    now: i64,
    /// Seconds.
    valid: i64,
    /// What may be in its lists.
    published: Published,
}

impl Repository {
    fn suite(&self) -> PathBuf {
        self.root.join("dists").join(SUITE)
    }

    /// Puts a package into the pool. One that was published does not change any more: somebody may have it.
    fn publish(&mut self, package: &Path) -> Result<()> {
        let name = package.file_name().context("a package without a name")?;
        let to = self.root.join(POOL).join(name);
        let bytes = fs::read(package).with_context(|| format!("cannot read {}", package.display()))?;
        self.published.add(&name.to_string_lossy(), &digest(&bytes));
        match fs::read(&to) {
            Ok(there) if there == bytes => Ok(()),
            Ok(_) => bail!(
                "{} was published with other content: raise the revision in packaging/debian/changelog",
                to.display()
            ),
            Err(_) => write(&to, &bytes),
        }
    }

    /// Lists of both architectures, and last what names and signs them.
    fn write_lists(&self, signer: &Signer) -> Result<()> {
        let before = fs::read_to_string(self.suite().join("Release")).unwrap_or_default();
        let mut sums = Vec::new();
        for arch in Architecture::ALL {
            let folder = format!("{COMPONENT}/binary-{}", arch.debian());
            let list = self.list(arch)?;
            for (name, bytes) in [
                ("Packages", list.clone()),
                ("Packages.gz", packed(&["gzip", "-9", "-n", "-c"], &list)?),
                ("Packages.xz", packed(&["xz", "-6", "-T1", "-c"], &list)?),
            ] {
                let sum = digest(&bytes);
                write(
                    &self.suite().join(&folder).join("by-hash/SHA256").join(&sum),
                    &bytes,
                )?;
                write(&self.suite().join(&folder).join(name), &bytes)?;
                sums.push((sum, bytes.len(), format!("{folder}/{name}")));
            }
        }
        let release = self.release(&sums);
        write(&self.suite().join("Release"), release.as_bytes())?;
        let file = self.suite().join("Release");
        // What is read first is written last.
        write(&self.suite().join("Release.gpg"), &signer.detached(&file)?)?;
        write(&self.suite().join("InRelease"), &signer.inline(&file)?)?;
        self.forget_lists(&[before, release])
    }

    /// What packages there are for an architecture.
    fn list(&self, arch: Architecture) -> Result<Vec<u8>> {
        let mut list = String::new();
        for package in debs(&self.root.join(POOL))? {
            let bytes = fs::read(&package).with_context(|| format!("cannot read {}", package.display()))?;
            let name = package.file_name().unwrap_or_default().to_string_lossy();
            let sum = digest(&bytes);
            // Before anything reads it.
            self.published.check(&name, &sum)?;
            let fields = output(Command::new("dpkg-deb").arg("--field").arg(&package))?;
            let own = crate::host::field(&fields, "Architecture").unwrap_or_default();
            if own != arch.debian() && own != "all" {
                continue;
            }
            list.push_str(&format!(
                "{}\nFilename: {POOL}/{name}\nSize: {}\nSHA256: {sum}\n\n",
                fields.trim_end(),
                bytes.len(),
            ));
        }
        Ok(list.into_bytes())
    }

    fn release(&self, sums: &[(String, usize, String)]) -> String {
        let archs = Architecture::ALL.map(Architecture::debian).join(" ");
        let mut text = format!(
            "Origin: DefenseClaw\nLabel: DefenseClaw\nSuite: {SUITE}\nCodename: {SUITE}\nDate: {}\nValid-Until: {}\n\
             Acquire-By-Hash: yes\nArchitectures: {archs}\nComponents: {COMPONENT}\n\
             Description: DefenseClaw packages\nSHA256:\n",
            date::format(self.now),
            date::format(self.now + self.valid)
        );
        for (sum, size, name) in sums {
            text.push_str(&format!(" {sum} {size} {name}\n"));
        }
        text
    }

    /// Removes lists by hash that none of these names.
    fn forget_lists(&self, releases: &[String]) -> Result<()> {
        let named: BTreeSet<&str> = releases
            .iter()
            .flat_map(|release| release.lines())
            .filter_map(|line| line.strip_prefix(' ')?.split(' ').next())
            .collect();
        for arch in Architecture::ALL {
            let folder = format!("{COMPONENT}/binary-{}/by-hash/SHA256", arch.debian());
            for path in files::within(&self.suite().join(folder))? {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                if !named.contains(name.as_str()) {
                    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
                }
            }
        }
        Ok(())
    }
}

/// What a program makes of some bytes.
fn packed(command: &[&str], bytes: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command[0]))?;
    let mut input = child.stdin.take().context("no way to hand it over")?;
    let own = bytes.to_vec();
    // From a thread: the program writes before it has read everything.
    let writer = std::thread::spawn(move || input.write_all(&own));
    let output = child.wait_with_output()?;
    let written = writer.join().map_err(|_| anyhow::anyhow!("a thread failed"))?;
    if !output.status.success() || written.is_err() {
        bail!("{} failed", command[0]);
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_says_until_when_and_names_each_list() {
        let repository = Repository {
            root: PathBuf::new(),
            now: 1_709_164_800,
            valid: 86_400,
            published: Published::default(),
        };
        let text = repository.release(&[("ab".into(), 3, "main/binary-arm64/Packages".into())]);
        assert!(text.contains("Date: Thu, 29 Feb 2024 00:00:00 UTC\n"), "{text}");
        assert!(
            text.contains("Valid-Until: Fri, 01 Mar 2024 00:00:00 UTC\n"),
            "{text}"
        );
        assert!(text.contains("Acquire-By-Hash: yes\n"), "{text}");
        assert!(
            text.ends_with("SHA256:\n ab 3 main/binary-arm64/Packages\n"),
            "{text}"
        );
    }

    #[test]
    fn what_was_published_does_not_change() {
        let folder = std::env::temp_dir().join(format!("defenseclaw-pool-{}", std::process::id()));
        let mut repository = Repository {
            root: folder.join("repo"),
            now: 0,
            valid: 1,
            published: Published::default(),
        };
        fs::create_dir_all(&folder).unwrap();
        let package = folder.join("a_1_all.deb");
        fs::write(&package, "one").unwrap();
        repository.publish(&package).unwrap();
        repository.publish(&package).unwrap();
        fs::write(&package, "other").unwrap();
        assert!(
            repository
                .publish(&package)
                .unwrap_err()
                .to_string()
                .contains("raise the revision")
        );
        fs::remove_dir_all(folder).unwrap();
    }
}
