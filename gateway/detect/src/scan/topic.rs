//! What an artifact says that it is for: its name and description, wherever its kind writes them.

use serde_json::Value;

use super::artifact::{Artifact, ArtifactFile};
use super::{markdown, skill};
use crate::text::fold::fold;

/// Most of a description that is read (bytes): it is one paragraph.
const MAX_TOPIC: usize = 4096;

/// Largest manifest that is read for it (bytes).
const MAX_MANIFEST: usize = 64 << 10;

/// Words of artifacts whose work is attacks: what they quote is what they look for.
const ABOUT_ATTACKS: &[&str] = &[
    "injection",
    "red team",
    "red-team",
    "redteam",
    "malware",
    "forensic",
    "forense",
    "incident response",
    "incident-response",
    "security incident",
    "security audit",
    "security review",
    "security-audit",
    "triage malicious",
    "malicious",
    "phishing",
    "intrusion",
    "threat",
    "detection rule",
    "pentest",
    "penetration test",
    "vulnerab",
    "jailbreak",
    "schadsoftware",
    "恶意",
];

/// Whether an artifact says that attacks are its subject.
pub(super) fn is_about_attacks(topic: &str) -> bool {
    ABOUT_ATTACKS
        .iter()
        .any(|word| memchr::memmem::find(topic.as_bytes(), word.as_bytes()).is_some())
}

/// Name and description of an artifact, folded; empty where it says neither.
pub(super) fn of(artifact: &Artifact) -> String {
    let mut said = String::new();
    let depth = |file: &&ArtifactFile| file.path.matches('/').count();
    let main = artifact.files.iter().filter(|file| skill::is_skill(&file.path));
    if let Some(file) = main.min_by_key(depth) {
        let head = file
            .bytes
            .get(..file.bytes.len().min(MAX_MANIFEST))
            .unwrap_or_default();
        if let Some((front, _)) = markdown::front_of(&String::from_utf8_lossy(head)) {
            said.push_str(&front);
        }
    }
    for file in &artifact.files {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let manifest = matches!(
            name,
            "plugin.json" | "package.json" | "manifest.json" | "gemini-extension.json"
        );
        if !manifest || file.bytes.len() > MAX_MANIFEST || said.len() >= MAX_TOPIC {
            continue;
        }
        let Ok(value) = serde_json::from_slice::<Value>(&file.bytes) else {
            continue;
        };
        for field in ["name", "description", "homepage"] {
            said.push(' ');
            said.push_str(value.get(field).and_then(Value::as_str).unwrap_or_default());
        }
    }
    said.truncate(said.floor_char_boundary(MAX_TOPIC));
    fold(&said).text
}
