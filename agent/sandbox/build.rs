//! Turns the profiles of `policies/sandbox/` into JSON: every launch reads three of them, and reading YAML takes longer than all system
//! calls of a launch together.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/sandbox");
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut profiles = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        println!("cargo:rerun-if-changed={}", path.display());
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let value: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(&path)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        profiles.push((name, value.to_string()));
    }
    profiles.sort();
    let mut text = String::from("&[\n");
    for (name, json) in &profiles {
        writeln!(text, "    ({name:?}, r###\"{json}\"###),")?;
    }
    text.push_str("]\n");
    let out = std::env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("profiles.rs"), text)?;
    Ok(())
}
