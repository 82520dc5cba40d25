//! Compiles the grammars without their largest tables, and packs those tables.
//!
//! A grammar is a lexer and tables, and nine tenths of its size are four tables that are mostly zeros. Six megabytes of them for seven
//! languages would be the largest part of what is installed; packed they are a fifteenth of that. So each `parser.c` is compiled with a
//! language that lacks them, the tables are taken from the object file, and a language gets its tables back when its first file is parsed
//! (`src/grammar.rs`).
//!
//! The crates of the grammars are dependencies of this script alone, for their sources: `cargo metadata` says where these lie, in the
//! registry's folder as well as vendored. What is looked for in a source is refused loudly where it is missing.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use object::{Object as _, ObjectSection as _};

/// Crate, folder of the sources in it, and the language's name in C.
const GRAMMARS: [(&str, &str, &str); 7] = [
    ("tree-sitter-go", "src", "go"),
    ("tree-sitter-java", "src", "java"),
    ("tree-sitter-php", "php/src", "php"),
    ("tree-sitter-python", "src", "python"),
    ("tree-sitter-ruby", "src", "ruby"),
    ("tree-sitter-rust", "src", "rust"),
    ("tree-sitter-typescript", "tsx/src", "tsx"),
];

/// The packed tables: what a definition begins with, and the field of the language that points to it. Those of the widest elements come
/// first, so that each is aligned where they lie one behind the other.
const TABLES: [(&str, &str); 4] = [
    (
        "static const uint32_t ts_small_parse_table_map[]",
        ".small_parse_table_map = ts_small_parse_table_map,",
    ),
    (
        "static const TSParseActionEntry ts_parse_actions[]",
        ".parse_actions = ts_parse_actions,",
    ),
    (
        "static const uint16_t ts_parse_table[LARGE_STATE_COUNT][SYMBOL_COUNT]",
        ".parse_table = &ts_parse_table[0][0],",
    ),
    (
        "static const uint16_t ts_small_parse_table[]",
        ".small_parse_table = ts_small_parse_table,",
    ),
];

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let packages = packages()?;
    let mut list = String::new();
    for (name, folder, language) in GRAMMARS {
        let package = packages
            .get(name)
            .ok_or(format!("`cargo metadata` names no {name}"))?;
        let source = package.join(folder);
        let edited = out.join(format!("{language}.c"));
        fs::write(
            &edited,
            without_tables(&fs::read_to_string(source.join("parser.c"))?, language)?,
        )?;
        let mut build = cc::Build::new();
        // Lexers run for each character of what is scanned; whoever debugs looks at the tables of this crate.
        build
            .std("c11")
            .include(&source)
            .file(&edited)
            .opt_level(2)
            .debug(false)
            .warnings(false);
        let scanner = source.join("scanner.c");
        if scanner.is_file() {
            build.file(&scanner);
        }
        let objects = build.compile_intermediates();
        let parser = objects.first().ok_or("no object file")?;
        let lengths = pack(parser, &out.join(format!("{language}.tables")))?;
        let mut library = cc::Build::new();
        library.objects(&objects);
        library.compile(&format!("defenseclaw-grammar-{language}"));
        writeln!(
            list,
            "/// The grammar of {language}.\npub(crate) static {}: Grammar = Grammar::new(defenseclaw_grammar_{language}, \
             defenseclaw_give_{language}, include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{language}.tables\")), {lengths:?});",
            language.to_uppercase()
        )?;
        writeln!(
            list,
            "unsafe extern \"C\" {{\n    fn defenseclaw_grammar_{language}() -> *const ();\n    \
             fn defenseclaw_give_{language}(tables: *const Tables);\n}}"
        )?;
    }
    fs::write(out.join("grammars.rs"), list)?;
    Ok(())
}

/// Where the sources of all packages lie, by name.
fn packages() -> Outcome<HashMap<String, PathBuf>> {
    let manifest = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform"])
        .arg(env::var("TARGET")?)
        .arg("--manifest-path")
        .arg(manifest)
        .output()?;
    if !output.status.success() {
        return Err(format!(
            "`cargo metadata` failed: {}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = answer
        .get("packages")
        .and_then(|all| all.as_array())
        .ok_or("no packages")?;
    let place = |package: &serde_json::Value| {
        let manifest = Path::new(package.get("manifest_path")?.as_str()?);
        Some((
            package.get("name")?.as_str()?.to_owned(),
            manifest.parent()?.to_owned(),
        ))
    };
    Ok(packages.iter().filter_map(place).collect())
}

/// The source with a language whose tables are given to it, and with each table in a section that nothing refers to: the linker drops it.
fn without_tables(source: &str, language: &str) -> Outcome<String> {
    let mut edited = source.to_owned();
    let mut replace = |from: &str, to: &str| match edited.match_indices(from).count() {
        1 => {
            edited = edited.replacen(from, to, 1);
            Ok(())
        }
        count => Err(format!(
            "the parser of {language} has {from:?} {count} times, and not once"
        )),
    };
    let mut fields = String::new();
    for (number, (definition, field)) in TABLES.iter().enumerate() {
        let section = section(number);
        replace(
            definition,
            &format!("__attribute__((used, section(\"{section}\"))) {definition}"),
        )?;
        replace(field, "")?;
        let (name, _) = field.split_once(" = ").ok_or("a field has a value")?;
        write!(fields, "language{name} = tables->at[{number}]; ")?;
    }
    replace(
        &format!(
            "TS_PUBLIC const TSLanguage *tree_sitter_{language}(void) {{\n  static const TSLanguage language = {{"
        ),
        "static TSLanguage language = {",
    )?;
    replace(
        "  return &language;\n}",
        &format!(
            "const TSLanguage *defenseclaw_grammar_{language}(void) {{ return &language; }}\n\
             struct tables {{ const void *at[{}]; }};\n\
             void defenseclaw_give_{language}(const struct tables *tables) {{ {fields}}}",
            TABLES.len()
        ),
    )?;
    Ok(edited)
}

fn section(number: usize) -> String {
    format!(".rodata.defenseclaw_packed_{number}")
}

/// Packs the tables of an object file, one behind the other; gives their lengths (bytes).
fn pack(object: &Path, to: &Path) -> Outcome<Vec<usize>> {
    let bytes = fs::read(object)?;
    let file = object::File::parse(bytes.as_slice())?;
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::best());
    let mut lengths = Vec::new();
    for number in 0..TABLES.len() {
        let name = section(number);
        let section = file
            .section_by_name(&name)
            .ok_or(format!("{} has no section {name}", object.display()))?;
        if section.relocations().next().is_some() {
            return Err(format!("{name} of {} holds addresses", object.display()).into());
        }
        let table = section.data()?;
        packed.write_all(table)?;
        lengths.push(table.len());
    }
    fs::write(to, packed.finish()?)?;
    Ok(lengths)
}
