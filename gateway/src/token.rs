//! The bearer token for loopback TCP: whoever may read its file may ask.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Random bytes of a token that is made here; in the file they stand as hex.
const RANDOM: usize = 32;
/// Shortest token that is taken (bytes).
const SHORTEST: usize = 32;
/// Longest token that is taken (bytes).
const LONGEST: usize = 512;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be used.
    #[error("cannot {doing} the API's token in {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else may read or could have written it.
    #[error(
        "the API's token in {} is not taken: {why}. Others may know it: remove the file, and a new one is made at the next start",
        path.display()
    )]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It is no token.
    #[error(
        "the API's token in {} is not taken: {why}. Remove the file, and a new one is made at the next start",
        path.display()
    )]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The token, as its SHA-256: enough to recognise it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    /// Reads the file, or makes it.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        match make(path) {
            Ok(token) => Ok(token),
            Err(TokenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
                read(path)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether an `Authorization` header holds it. The time that takes tells nothing of the token: digests are compared, and
    /// all of them.
    pub fn admits(&self, authorization: &[u8]) -> bool {
        let Some((scheme, token)) = authorization.split_at_checked(7) else {
            return false;
        };
        if !scheme.eq_ignore_ascii_case(b"bearer ") || token.len() > LONGEST {
            return false;
        }
        let given = digest(token.trim_ascii());
        let difference = self
            .0
            .iter()
            .zip(given)
            .fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        std::hint::black_box(difference) == 0
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn make(path: &Path) -> Result<Token, TokenError> {
    let failed = |source| TokenError::Io {
        path: path.to_owned(),
        doing: "make",
        source,
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let mut random = [0; RANDOM];
    let made = OpenOptions::new()
        .read(true)
        .open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random));
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let written = made
        .and_then(|()| writeln!(file, "{token}"))
        .and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a token must not be taken for one at the next start.
        let _ = std::fs::remove_file(path);
        return Err(failed(error));
    }
    Ok(Token(digest(token.as_bytes())))
}

fn read(path: &Path) -> Result<Token, TokenError> {
    let failed = |source| TokenError::Io {
        path: path.to_owned(),
        doing: "read",
        source,
    };
    let untrusted = |why: String| TokenError::Untrusted {
        path: path.to_owned(),
        why,
    };
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(nix::libc::ELOOP) => {
            return Err(untrusted("it is a link".into()));
        }
        Err(error) => return Err(failed(error)),
    };
    let meta = file.metadata().map_err(failed)?;
    let own = nix::unistd::geteuid().as_raw();
    if !meta.is_file() {
        return Err(untrusted("it is no regular file".into()));
    }
    if meta.uid() != own {
        return Err(untrusted(format!(
            "it belongs to user {}, not to the gateway's user {own}",
            meta.uid()
        )));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(untrusted(format!(
            "others may use it (mode {:04o}, not 0600)",
            meta.mode() & 0o7777
        )));
    }
    let mut text = Vec::new();
    file.take(LONGEST as u64 + 2)
        .read_to_end(&mut text)
        .map_err(failed)?;
    let token = text.trim_ascii();
    if !(SHORTEST..=LONGEST).contains(&token.len()) || !token.iter().all(u8::is_ascii_graphic) {
        return Err(TokenError::Invalid {
            path: path.to_owned(),
            why: format!("a token has {SHORTEST} to {LONGEST} printable characters"),
        });
    }
    Ok(Token(digest(token)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once_for_its_owner_only_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api-token");
        let token = Token::load(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim().len(), 64);
        assert_eq!(Token::load(&path).unwrap(), token);
        let header = format!("Bearer {}", text.trim());
        assert!(
            token.admits(header.as_bytes()) && token.admits(header.replace("Bearer", "bearer").as_bytes())
        );
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            text.trim(),
            &header[..header.len() - 1],
            &format!("{header}0"),
            &format!("Basic  {}", text.trim()),
            &format!("Bearer {}", "x".repeat(10_000)),
        ] {
            assert!(!token.admits(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn one_that_others_can_read_or_swap_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api-token");
        Token::load(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Token::load(&path).unwrap_err().to_string();
            assert!(
                error.contains("others may use it") && error.contains("api-token"),
                "{error}"
            );
        }
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Token::load(&link).unwrap_err().to_string().contains("a link"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short\n").unwrap();
        assert!(Token::load(&path).unwrap_err().to_string().contains("printable"));
        let missing = Token::load(&folder.path().join("none/api-token"))
            .unwrap_err()
            .to_string();
        assert!(missing.contains("make"), "{missing}");
    }
}
