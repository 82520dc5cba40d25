//! Turns the packs of `policies/rules/` into what the program carries: JSON without the tests beside the rules, which every
//! process that judges anything reads at its start, and all of it, compressed, for those who run the tests. Reading the YAML
//! took a third of a start.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::{env, fs};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde_json::{Value, json};

#[path = "src/revision.rs"]
mod revision;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../policies/rules");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut packs = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            println!("cargo::rerun-if-changed={}", path.display());
            let file = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            packs.push((file, fs::read_to_string(&path)?));
        }
    }
    packs.sort();

    let mut source = format!(
        "pub(crate) const REVISION: &str = {:?};\n",
        revision::revision_of(&packs)
    );
    let mut kinds = [
        ("facts", "FACTS", String::new()),
        ("text", "TEXTS", String::new()),
        ("artifact", "ARTIFACTS", String::new()),
    ];
    for (file, text) in &packs {
        let mut pack: Value = serde_saphyr::from_str(text).map_err(|error| format!("{file}: {error}"))?;
        forget_tests(&mut pack);
        let (_, _, entries) = kinds
            .iter_mut()
            .find(|(kind, ..)| pack.get("kind").and_then(Value::as_str) == Some(kind))
            .ok_or_else(|| format!("{file}: its kind is not facts, text or artifact"))?;
        let name = file.trim_end_matches(".yaml").to_uppercase();
        writeln!(
            source,
            "pub(crate) const {name}: Pack<'static> = ({file:?}, Text::Json({:?}));",
            pack.to_string()
        )?;
        write!(entries, "{name}, ")?;
    }
    for (_, name, entries) in &kinds {
        writeln!(
            source,
            "pub(crate) const {name}: &[Pack<'static>] = &[{entries}];"
        )?;
    }

    let out = env::var("OUT_DIR")?;
    let mut whole = DeflateEncoder::new(Vec::new(), Compression::best());
    whole.write_all(json!(packs).to_string().as_bytes())?;
    fs::write(Path::new(&out).join("packs.deflate"), whole.finish()?)?;
    fs::write(Path::new(&out).join("packs.rs"), source)?;
    Ok(())
}

/// The tests of a rule are half of its text. One of each kind stays, because no rule is taken without.
fn forget_tests(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "tests" => *value = json!({"positive": ["-"], "negative": ["-"]}),
                    _ => forget_tests(value),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(forget_tests),
        _ => {}
    }
}
