//! Prepared engines, and evaluation within bounds.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};
use serde::Serialize;

use crate::PolicyError;
use crate::source::Source;
use crate::value::value_of;

/// Longest evaluation. A hook client waits 3 s at most, and ours takes well below a millisecond: what takes longer than
/// this is a fault of the policy.
const TIME_LIMIT: ExecutionTimerConfig = ExecutionTimerConfig {
    limit: Duration::from_millis(500),
    check_interval: NonZeroU32::new(256).unwrap(),
};

/// Most idle engines that are kept: the gateway's threads that decide, and their helpers. Each shares the parsed policy and keeps its own
/// working memory.
const KEPT: usize = 7;

/// Engines with the same policy, one for each thread that asks at the same time.
pub(crate) struct Engines {
    idle: Mutex<Vec<Engine>>,
    template: Mutex<Engine>,
}

impl Engines {
    pub(crate) fn new(source: &Source) -> Result<Self, PolicyError> {
        let mut engine = load(source)?;
        engine.set_execution_timer_config(TIME_LIMIT);
        Ok(Self {
            idle: Mutex::new(Vec::new()),
            template: Mutex::new(engine),
        })
    }

    /// Checks that `rule` is there; prepares for asking it.
    pub(crate) fn require(&self, rule: &'static str) -> Result<(), PolicyError> {
        let mut template = self.template.lock().unwrap_or_else(PoisonError::into_inner);
        template.set_input(Value::new_object());
        match template.eval_rule(rule.to_owned()) {
            Ok(_) => Ok(()),
            Err(error) => Err(PolicyError::Missing {
                rule,
                why: error.to_string(),
            }),
        }
    }

    /// Evaluates `rule` on `input`.
    pub(crate) fn ask(&self, rule: &str, input: &impl Serialize) -> Result<Value, PolicyError> {
        let input = value_of(input)?;
        let failed = |error: &dyn std::fmt::Display| PolicyError::Evaluation {
            rule: rule.to_owned(),
            why: error.to_string(),
        };
        let mut engine = self.take();
        engine.set_input(input);
        let answer = engine.eval_rule(rule.to_owned());
        // The input may be large, and may hold what should not stay in memory.
        engine.set_input(Value::Undefined);
        self.give_back(engine);
        answer.map_err(|error| failed(&error))
    }

    fn take(&self) -> Engine {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| {
            self.template
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        })
    }

    fn give_back(&self, engine: Engine) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(engine);
        }
    }
}

/// An engine with the policy's modules and data, without its tests.
pub(crate) fn load(source: &Source) -> Result<Engine, PolicyError> {
    let mut engine = bare();
    for (name, text) in &source.modules {
        add(&mut engine, name, text)?;
    }
    add_data(&mut engine, source)?;
    Ok(engine)
}

/// An engine with nothing in it.
pub(crate) fn bare() -> Engine {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(true);
    engine
}

/// Has the engine analyse its policy, so that its clones need not: that takes far longer than an evaluation.
pub(crate) fn prepare(engine: &mut Engine, rule: &str) {
    // Whether that rule can be evaluated is for whoever asks for it.
    let _ = engine.eval_rule(rule.to_owned());
    let _ = engine.take_prints();
}

/// Adds the policy's data.
pub(crate) fn add_data(engine: &mut Engine, source: &Source) -> Result<(), PolicyError> {
    let wrong = |why: String| PolicyError::Data(why);
    let data = Value::from_json_str(&source.data_json()?).map_err(|error| wrong(error.to_string()))?;
    engine.add_data(data).map_err(|error| wrong(error.to_string()))
}

/// The edition of the language that a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edition {
    /// Rego v1: `if` and `contains` are keywords and required.
    V1,
    /// The syntax before that; `import future.keywords` brings single keywords.
    V0,
}

/// Adds one module: as Rego v1, or, where it is not that and does not claim to be, in the older syntax.
pub(crate) fn add(engine: &mut Engine, name: &str, text: &str) -> Result<Edition, PolicyError> {
    let refused = |why| PolicyError::Syntax {
        file: name.to_owned(),
        why,
    };
    let newer = match add_as(engine, Edition::V1, name, text) {
        Ok(()) => return Ok(Edition::V1),
        Err(why) => why,
    };
    if is_newer(text) {
        return Err(refused(newer));
    }
    match add_as(engine, Edition::V0, name, text) {
        Ok(()) => Ok(Edition::V0),
        Err(older) => Err(refused(format!(
            "as Rego v1: {newer}\nin the older syntax: {older}"
        ))),
    }
}

/// Whether a text says that it is Rego v1, or uses its keywords without the import that the older syntax needs for them. Such a text
/// with a mistake in it must not be read in the older syntax: there `if` is a name like any other, and a rule means something else.
fn is_newer(text: &str) -> bool {
    let imports = |what: &str| text.lines().any(|line| line.trim_start().starts_with(what));
    imports("import rego.v1") || (!imports("import future.keywords") && has_newer_keyword(text))
}

/// Whether `if`, or `contains` that is not the function, stands outside of comments and strings.
fn has_newer_keyword(text: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '`' => rest[1..].find('`').map_or(rest.len(), |end| end + 2),
            '"' => {
                let mut escaped = false;
                let end = rest[1..].find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                end.map_or(rest.len(), |end| end + 2)
            }
            c if is_word(c) => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let (word, behind) = rest.split_at(end);
                if word == "if" || (word == "contains" && !behind.starts_with('(')) {
                    return true;
                }
                end
            }
            c => c.len_utf8(),
        };
        rest = &rest[length..];
    }
    false
}

/// Adds one module in that edition; says where it stumbled (`file:line:column`) and why.
pub(crate) fn add_as(engine: &mut Engine, edition: Edition, name: &str, text: &str) -> Result<(), String> {
    engine.set_rego_v0(edition == Edition::V0);
    let added = engine.add_policy(name.to_owned(), text.to_owned());
    engine.set_rego_v0(false);
    added.map(|_| ()).map_err(|error| place_first(&error.to_string()))
}

/// The engine draws the place under the text; a person gets `file:line:column: what` on one line.
fn place_first(drawn: &str) -> String {
    let place = drawn
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("--> "));
    let what = drawn
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("error: "));
    match (place, what) {
        (Some(place), Some(what)) => format!("{place}: {what}"),
        _ => drawn.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_in_rego_v1_is_not_read_as_the_older_syntax() {
        let mut engine = bare();
        for text in [
            "package p\n\nallow := true if {\n\tinput.x == 1\n}\nnonsense",
            "package p\n\ndeny contains \"x\" if input.x\nnonsense",
            "package p\n\nimport rego.v1\n\nnonsense",
        ] {
            assert!(add(&mut engine, "p.rego", text).is_err(), "{text}");
        }
        for text in [
            "package q\n\n# if this is contains\nallow { input.x == \"if\" }",
            "package r\n\nallow { contains(input.x, `if`) }",
            "package s\n\nimport future.keywords.if\n\nallow if { input.x == \"\\\"\" }\n\nother { true }",
        ] {
            let edition = add(&mut engine, "q.rego", text);
            assert_eq!(edition.ok(), Some(Edition::V0), "{text}");
        }
    }
}
