//! The key that signs the repository. It is held by gpg in a folder of its own for as long as this runs.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::host::describe;

/// Which key.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Choice {
    /// The secret key, as `gpg --export-secret-keys` writes it.
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// A new key that is forgotten afterwards: for tries. Nobody can sign a second version with it.
    #[arg(long)]
    pub(super) throw_away_key: bool,
}

impl Choice {
    /// A new key that is forgotten afterwards.
    pub(crate) fn thrown_away() -> Self {
        Self {
            key: None,
            throw_away_key: true,
        }
    }
}

/// gpg with one secret key.
pub(crate) struct Signer {
    /// Short, and not below the checkout: gpg's agent listens on a socket in it, whose path is bounded to 107 bytes.
    home: PathBuf,
    fingerprint: String,
}

impl Signer {
    pub(crate) fn new(choice: &Choice) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let home = std::env::temp_dir().join(format!("dc-gpg-{}-{number}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&home)
            .with_context(|| format!("cannot create {}", home.display()))?;
        let mut signer = Self {
            home,
            fingerprint: String::new(),
        };
        match &choice.key {
            Some(file) => signer.gpg(&["--import"], Some(file)),
            None => signer.gpg(
                &[
                    "--quick-generate-key",
                    "DefenseClaw (a key for tries)",
                    "ed25519",
                    "sign",
                    "30d",
                ],
                None,
            ),
        }?;
        let listed = signer.gpg(&["--list-secret-keys", "--with-colons"], None)?;
        signer.fingerprint = only_fingerprint(&String::from_utf8_lossy(&listed))?;
        Ok(signer)
    }

    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(crate) fn public_key(&self) -> Result<Vec<u8>> {
        self.gpg(&["--export", &self.fingerprint], None)
    }

    /// A signature that lies beside the file.
    pub(crate) fn detached(&self, file: &Path) -> Result<Vec<u8>> {
        self.gpg(
            &["--local-user", &self.fingerprint, "--armor", "--detach-sign"],
            Some(file),
        )
    }

    /// The file with its signature around it.
    pub(crate) fn inline(&self, file: &Path) -> Result<Vec<u8>> {
        self.gpg(&["--local-user", &self.fingerprint, "--clearsign"], Some(file))
    }

    /// The text that such a signature is around, if it is one by a key of the file.
    pub(crate) fn verified(&self, file: &Path) -> Result<String> {
        let text = self.gpg(&["--verify"], Some(file))?;
        String::from_utf8(text).context("what was signed is no text")
    }

    fn gpg(&self, arguments: &[&str], file: Option<&Path>) -> Result<Vec<u8>> {
        let mut command = Command::new("gpg");
        command
            .arg("--homedir")
            .arg(&self.home)
            // A key with a passphrase has to be unlocked before it is given: nobody can be asked here.
            .args(["--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(["--digest-algo", "SHA512"]);
        // Where to comes before the file that it is about.
        if arguments
            .iter()
            .any(|argument| argument.ends_with("sign") || *argument == "--verify")
        {
            command.args(["--output", "-"]);
        }
        command.args(arguments).args(file).stdin(Stdio::null());
        let output = command.output().context("cannot start gpg")?;
        if !output.status.success() {
            bail!(
                "`{}` failed: {}",
                describe(&command),
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
        Ok(output.stdout)
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let mut end = Command::new("gpgconf");
        end.arg("--homedir").arg(&self.home).args(["--kill", "gpg-agent"]);
        // Both can do no more than fail; the key's folder is gone at the latest with the machine's temporary files.
        let _ = end.stdout(Stdio::null()).stderr(Stdio::null()).status();
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// The fingerprint of the one secret key that gpg lists.
fn only_fingerprint(listed: &str) -> Result<String> {
    let secret = listed.lines().filter(|line| line.starts_with("sec:")).count();
    if secret != 1 {
        bail!("the key file must hold one secret key, and it holds {secret}");
    }
    listed
        .lines()
        .find_map(|line| line.strip_prefix("fpr:"))
        .and_then(|line| line.split(':').find(|field| !field.is_empty()))
        .map(str::to_owned)
        .context("gpg names no fingerprint")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_secret_key_is_wanted() {
        let one = "sec:u:255:22:AA:1:::u:::scSC:::+::ed25519:::0:\nfpr:::::::::ABCD:\ngrp:::::::::EF:\n";
        assert_eq!(only_fingerprint(one).unwrap(), "ABCD");
        assert!(only_fingerprint("").is_err());
        assert!(only_fingerprint(&one.repeat(2)).is_err());
    }
}
