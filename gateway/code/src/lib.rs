//! Source code read by syntax: where data comes from, and where it ends.
//!
//! | Module | Holds |
//! |---|---|
//! | `table` | what `policies/code` says of languages and of flows |
//! | `grammar` | the languages' parsers, packed until they are needed |
//! | `tree` | a file's syntax, within bounds |
//! | `lower` | from syntax to a graph of values |
//! | `imports`, `constants` | names from elsewhere; texts that are known beforehand |
//! | `world` | what all files of an artifact hold, joined |
//! | `graph`, `labels` | what is known of each value, carried along |
//! | `judge` | which flows are findings |

mod constants;
mod grammar;
mod graph;
mod imports;
mod judge;
mod labels;
mod lower;
mod table;
#[cfg(test)]
mod tests;
mod tree;
mod world;

use std::collections::HashMap;

use defenseclaw_detect::scan::code::{CodeReader, Language, SourceFile};
use defenseclaw_model::scan::ScanFinding;

use table::{Rules, Tongue};
use world::World;

/// A table that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the table {file} of policies/code cannot be used: {why}; correct it and build again")]
pub struct TableError {
    /// The file's name.
    pub file: String,
    /// What is wrong with it.
    pub why: String,
}

/// Reads source code by syntax.
#[derive(Debug)]
pub struct CodeGuard {
    tongues: HashMap<Language, Tongue>,
    rules: Rules,
}

macro_rules! table {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../policies/code/", $name)))
    };
}

impl CodeGuard {
    /// With the tables that this program was built with.
    pub fn embedded() -> Result<Self, TableError> {
        let languages = [
            (Language::Python, table!("python.yaml"), &grammar::PYTHON),
            (Language::JavaScript, table!("javascript.yaml"), &grammar::TSX),
            (Language::Go, table!("go.yaml"), &grammar::GO),
            (Language::Rust, table!("rust.yaml"), &grammar::RUST),
            (Language::Ruby, table!("ruby.yaml"), &grammar::RUBY),
            (Language::Php, table!("php.yaml"), &grammar::PHP),
            (Language::Java, table!("java.yaml"), &grammar::JAVA),
        ];
        let mut tongues = HashMap::new();
        for (language, (file, text), grammar) in languages {
            tongues.insert(language, Tongue::load(file, text, grammar)?);
        }
        let (file, text) = table!("rules.yaml");
        Ok(Self {
            tongues,
            rules: Rules::load(file, text)?,
        })
    }

    /// The table for a file. One grammar reads both JavaScript and TypeScript, with or without JSX.
    fn tongue(&self, source: &SourceFile<'_>) -> Option<&Tongue> {
        match source.language {
            Language::TypeScript => self.tongues.get(&Language::JavaScript),
            // The endings of other languages of its machine are Java's neighbours, not Java.
            Language::Java if !source.path.ends_with(".java") => None,
            language => self.tongues.get(&language),
        }
    }
}

impl CodeReader for CodeGuard {
    fn read(&self, files: &[SourceFile<'_>]) -> Vec<ScanFinding> {
        let mut world = World::default();
        let mut left = tree::MAX_ALL_NODES;
        for source in files {
            let Some(tongue) = self.tongue(source) else {
                continue;
            };
            let ast = tree::read(tongue, source.text, source.line, left);
            left = left.saturating_sub(ast.items.len());
            lower::file(&mut world, tongue, &self.rules, source, &ast);
        }
        world.link();
        world.graph.run();
        judge::judge(&world, &self.rules, files)
    }
}
