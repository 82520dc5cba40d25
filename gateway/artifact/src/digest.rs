//! The digest over an artifact's entries, for whoever reads them in its own way: from a folder, or from a copy of one.
//!
//! Where an artifact has a [`Manifest`](crate::Manifest) it is that manifest's digest. What has none (names that are no UTF-8, FIFOs,
//! links that lead out) has one here all the same: the gate must be able to name what it refuses.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::manifest::{DOMAIN, hex};
use crate::signature::SIGNATURE_FILE;

/// Adds up entries, which may come in any order.
#[derive(Debug, Clone, Default)]
pub struct ContentDigest {
    /// Path and tag to what is hashed of the entry. A path that is told twice as different things keeps both.
    entries: BTreeMap<(Vec<u8>, u8), Vec<u8>>,
}

impl ContentDigest {
    /// A file: whether anyone may execute it, its size, and the SHA-256 of its bytes.
    pub fn file(&mut self, path: &[u8], executable: bool, size: u64, sha256: &[u8; 32]) {
        let mut rest = vec![u8::from(executable)];
        rest.extend(size.to_le_bytes());
        rest.extend(sha256);
        self.put(path, b'f', rest);
    }

    /// A symbolic link and where it leads.
    pub fn link(&mut self, path: &[u8], target: &[u8]) {
        let mut rest = (target.len() as u64).to_le_bytes().to_vec();
        rest.extend(target);
        self.put(path, b'l', rest);
    }

    /// Something that is neither file, folder nor link, or that could not be read: no manifest has such an entry.
    pub fn other(&mut self, path: &[u8]) {
        self.put(path, b's', Vec::new());
    }

    fn put(&mut self, path: &[u8], tag: u8, rest: Vec<u8>) {
        self.entries.insert((path.to_vec(), tag), rest);
    }

    /// `sha256:` and 64 hex digits. The signature file at the top of a folder is no content; a single file always is.
    pub fn finish(mut self, is_folder: bool) -> String {
        let signature = (SIGNATURE_FILE.as_bytes().to_vec(), b'f');
        let is_plain = self
            .entries
            .get(&signature)
            .is_some_and(|rest| rest.first() == Some(&0));
        if is_plain && is_folder {
            self.entries.remove(&signature);
        }
        let mut digest = Sha256::new_with_prefix(DOMAIN);
        digest.update((self.entries.len() as u64).to_le_bytes());
        for ((path, tag), rest) in &self.entries {
            digest.update([*tag]);
            digest.update((path.len() as u64).to_le_bytes());
            digest.update(path);
            digest.update(rest);
        }
        format!("sha256:{}", hex(&digest.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::Manifest;

    fn sha(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    #[test]
    fn it_is_the_manifest_s_where_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("a/x"), "x").unwrap();
        fs::write(root.join("a-b"), "run").unwrap();
        fs::set_permissions(root.join("a-b"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("a/x", root.join("l")).unwrap();
        fs::write(root.join(SIGNATURE_FILE), "{}").unwrap();
        let mut digest = ContentDigest::default();
        digest.file(b"a/x", false, 1, &sha(b"x"));
        digest.link(b"l", b"a/x");
        digest.file(SIGNATURE_FILE.as_bytes(), false, 2, &sha(b"{}"));
        digest.file(b"a-b", true, 3, &sha(b"run"));
        assert_eq!(digest.clone().finish(true), Manifest::of(root).unwrap().digest());
        // A program of that name is content.
        digest.entries.remove(&(SIGNATURE_FILE.as_bytes().to_vec(), b'f'));
        digest.file(SIGNATURE_FILE.as_bytes(), true, 2, &sha(b"{}"));
        fs::set_permissions(root.join(SIGNATURE_FILE), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(digest.finish(true), Manifest::of(root).unwrap().digest());
    }

    #[test]
    fn everything_that_differs_differs() {
        let mut seen = Vec::new();
        for change in 0..7 {
            let mut digest = ContentDigest::default();
            match change {
                0 => digest.file(b"a", false, 1, &sha(b"x")),
                1 => digest.file(b"a", true, 1, &sha(b"x")),
                2 => digest.file(b"b", false, 1, &sha(b"x")),
                3 => digest.link(b"a", b"x"),
                4 => digest.other(b"a"),
                5 => digest.file(b"a\xff", false, 1, &sha(b"x")),
                _ => {}
            }
            seen.push(digest.finish(true));
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 7);
    }
}
