//! From the text of `policies/paths.yaml` to compiled rules.

use defenseclaw_model::decision::Severity;
use serde::Deserialize;

use super::{Class, Component, Ends, MAX_WATCHED_NAME, NamePlace, PathRules, Pattern, Watch, WatchedName};
use crate::quick::Table;

/// Most wildcards in one component, so that matching stays within a small constant of the component's length.
const MAX_STARS: usize = 2;

/// Why path rules were refused.
#[derive(Debug, thiserror::Error)]
pub enum PathRulesError {
    /// Not the schema.
    #[error("the path rules cannot be read: {0}")]
    Syntax(String),
    /// A version that this program does not know.
    #[error("the path rules have version {0}; this program knows version 1")]
    Version(u32),
    /// A class is given twice.
    #[error("the class {0:?} is given twice; merge the two")]
    Duplicate(String),
    /// A class id is not of lower-case letters, digits and hyphens.
    #[error("{0:?} is no class id: use lower-case letters, digits and hyphens")]
    BadId(String),
    /// A pattern is malformed.
    #[error("class {class:?}, pattern {pattern:?}: {why}")]
    BadPattern {
        /// Whose.
        class: String,
        /// Which.
        pattern: String,
        /// What is wrong and what to do.
        why: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    classes: Vec<ClassEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassEntry {
    id: String,
    severity: Severity,
    description: String,
    #[serde(default)]
    secret: bool,
    #[serde(default)]
    guarded: bool,
    patterns: Vec<PatternEntry>,
    #[serde(default)]
    except: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PatternEntry {
    Plain(String),
    Full(FullPattern),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullPattern {
    path: String,
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    unwatched: Option<String>,
}

impl PatternEntry {
    fn into_full(self) -> FullPattern {
        match self {
            Self::Plain(path) => FullPattern {
                path,
                by: None,
                unwatched: None,
            },
            Self::Full(full) => full,
        }
    }
}

pub(super) fn compile(yaml: &str) -> Result<PathRules, PathRulesError> {
    let file: File =
        defenseclaw_yaml::from_str(yaml).map_err(|error| PathRulesError::Syntax(error.to_string()))?;
    if file.version != 1 {
        return Err(PathRulesError::Version(file.version));
    }
    let mut rules = PathRules {
        classes: Vec::new(),
        patterns: Vec::new(),
        by_component: Table::default(),
        wild: Vec::new(),
    };
    for entry in file.classes {
        add_class(&mut rules, entry)?;
    }
    for (index, pattern) in (0_u32..).zip(&rules.patterns) {
        match pattern.key.and_then(|key| pattern.components.get(key)) {
            Some(Component::Literal(name)) => rules.by_component.entry(name.clone()).or_default().push(index),
            _ => rules.wild.push((index, Ends::of(pattern))),
        }
    }
    Ok(rules)
}

fn add_class(rules: &mut PathRules, entry: ClassEntry) -> Result<(), PathRulesError> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if entry.id.is_empty() || !entry.id.chars().all(known) {
        return Err(PathRulesError::BadId(entry.id));
    }
    if rules.classes.iter().any(|class| class.id == entry.id) {
        return Err(PathRulesError::Duplicate(entry.id));
    }
    let class = u32::try_from(rules.classes.len()).unwrap_or(u32::MAX);
    for pattern in entry.patterns {
        let full = pattern.into_full();
        let refuse = |why| PathRulesError::BadPattern {
            class: entry.id.clone(),
            pattern: full.path.clone(),
            why,
        };
        let mut pattern = parse(&full.path, class, false).map_err(refuse)?;
        if entry.secret && full.unwatched.is_none() {
            pattern.watch = Some(watch(&pattern, &full).map_err(refuse)?);
        }
        rules.patterns.push(pattern);
    }
    for text in entry.except {
        let refuse = |why| PathRulesError::BadPattern {
            class: entry.id.clone(),
            pattern: text.clone(),
            why,
        };
        rules.patterns.push(parse(&text, class, true).map_err(refuse)?);
    }
    rules.classes.push(Class {
        id: entry.id,
        severity: entry.severity,
        description: entry.description,
        secret: entry.secret,
        guarded: entry.guarded,
    });
    Ok(())
}

fn parse(text: &str, class: u32, except: bool) -> Result<Pattern, &'static str> {
    let (anchored, rest) = if let Some(rest) = text.strip_prefix("~/").or_else(|| text.strip_prefix("**/")) {
        (false, rest)
    } else if let Some(rest) = text.strip_prefix('/') {
        (true, rest)
    } else {
        return Err("begin it with '~/', '**/' or '/'");
    };
    let (below, rest) = match rest.strip_suffix("/**") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let mut components = Vec::new();
    for part in rest.split('/').filter(|_| !rest.is_empty()) {
        let stars = part.bytes().filter(|&byte| byte == b'*').count();
        match part {
            "" | "." | ".." => return Err("it has an empty component, '.' or '..'"),
            _ if part.contains("**") => {
                return Err("'**' may stand only at its beginning or as its last component");
            }
            _ if stars > MAX_STARS => return Err("a component may have two '*' at most"),
            _ if part.contains(['*', '?']) => components.push(Component::Glob(part.into())),
            _ => components.push(Component::Literal(part.into())),
        }
    }
    let key = components
        .iter()
        .rposition(|component| matches!(component, Component::Literal(_)));
    if !anchored && key.is_none() && (components.len() != 1 || below) {
        return Err("without any literal component it may have one component only");
    }
    Ok(Pattern {
        class,
        except,
        anchored,
        below,
        components,
        key,
        watch: None,
    })
}

fn watch(pattern: &Pattern, full: &FullPattern) -> Result<Watch, &'static str> {
    let literal = |at: usize| match pattern.components.get(at) {
        Some(Component::Literal(name)) => Some(name.to_string()),
        _ => None,
    };
    let last = pattern.components.len().wrapping_sub(1);
    let folders = if pattern.below {
        pattern.components.len()
    } else {
        last
    };
    let (name, place) = match &full.by {
        Some(by) if !(0..folders).any(|at| literal(at).as_ref() == Some(by)) => {
            return Err("'by' must name one of its own folders");
        }
        Some(by) => (by.clone(), NamePlace::Directory),
        None => match literal(last).filter(|_| !pattern.below) {
            Some(name) => (name, NamePlace::Last),
            None => match (0..folders).rev().find_map(literal) {
                Some(name) => (name, NamePlace::Directory),
                None => {
                    return Err(
                        "the sensor cannot filter by it: name a folder, or say under 'unwatched' why not",
                    );
                }
            },
        },
    };
    if name.len() > MAX_WATCHED_NAME {
        return Err("the name that the sensor filters by has more than 63 bytes");
    }
    let mut prefix = String::new();
    let home = full.path.starts_with("~/");
    // Only a wildcard in the last place leaves a folder that is worth knowing.
    let fixed = (0..pattern.components.len())
        .take_while(|&at| literal(at).is_some())
        .count();
    if (home || pattern.anchored) && fixed >= last {
        for name in (0..fixed).map_while(literal) {
            prefix.push('/');
            prefix.push_str(&name);
        }
    }
    Ok(Watch {
        name: WatchedName { name, place },
        prefix,
        home,
    })
}
