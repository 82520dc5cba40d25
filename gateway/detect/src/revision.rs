//! What packs of rules are known by. The build script includes this file, too: what it embeds is known by the same.

use sha2::{Digest as _, Sha256};

/// The first 12 hex digits of the SHA-256 over packs, each a file's name and text, in whatever order.
pub(crate) fn revision_of(packs: &[(String, String)]) -> String {
    let mut packs: Vec<&(String, String)> = packs.iter().collect();
    packs.sort_unstable();
    let mut digest = Sha256::new();
    for (file, text) in packs {
        for part in [file, text] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
    }
    let digest = digest.finalize();
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
