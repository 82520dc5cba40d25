//! Prepared engines, and evaluation within bounds.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};
use serde::Serialize;

use crate::PolicyError;
use crate::lists::{self, Lists};
use crate::source::Source;
use crate::value::value_of;

/// Longest evaluation. A hook client waits 3 s at most, and ours takes well below a millisecond: what takes longer than
/// this is a fault of the policy.
const TIME_LIMIT: ExecutionTimerConfig = ExecutionTimerConfig {
    limit: Duration::from_millis(500),
    check_interval: NonZeroU32::new(256).unwrap(),
};

/// Most idle engines that are kept. Each shares the parsed policy and keeps its own working memory.
const KEPT: usize = 4;

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
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(true);
    for (name, text) in &source.modules {
        add(&mut engine, name, text)?;
    }
    let data = data(source)?;
    engine
        .add_data(data)
        .map_err(|error| PolicyError::Data(error.to_string()))?;
    Ok(engine)
}

/// The data document, with the operator's lists as `operator`.
fn data(source: &Source) -> Result<Value, PolicyError> {
    let wrong = |error: &dyn std::fmt::Display| PolicyError::Data(error.to_string());
    if source.lists.is_empty() {
        return Value::from_json_str(&source.data).map_err(|error| wrong(&error));
    }
    let lists = Lists::from_yaml(Path::new(lists::FILE), &source.lists)?;
    let mut data: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&source.data).map_err(|error| wrong(&error))?;
    data.insert(
        "operator".to_owned(),
        serde_json::to_value(lists).map_err(|error| wrong(&error))?,
    );
    let data = serde_json::to_string(&data).map_err(|error| wrong(&error))?;
    Value::from_json_str(&data).map_err(|error| wrong(&error))
}

/// Adds one module.
pub(crate) fn add(engine: &mut Engine, name: &str, text: &str) -> Result<(), PolicyError> {
    let added = engine.add_policy(name.to_owned(), text.to_owned());
    added.map(|_| ()).map_err(|error| PolicyError::Syntax {
        file: name.to_owned(),
        why: error.to_string(),
    })
}
