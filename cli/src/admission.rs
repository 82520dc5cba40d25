//! `policy check` on an artifact: whether it would be admitted.

use defenseclaw_inspect::Rules;
use defenseclaw_model::admission::{AdmissionAction, AdmissionInput};
use defenseclaw_policy::PolicyError;
use serde_json::Value;

use crate::text::safe;
use crate::{Answer, CliError, Context, json, time};

/// Whether that input is about an artifact, not about a tool call or text.
pub fn is_admission(input: &Value) -> bool {
    input.get("kind").is_some() && input.get("scanner_verdict").is_some()
}

/// Prints what the policy answers as one JSON object. An input that is not of the form goes to the policy all the same: what it
/// answers is what would happen.
pub fn check(mut input: Value, rules: &Rules, context: &mut Context<'_>) -> Result<Answer, CliError> {
    if let Err(error) = serde_json::from_value::<AdmissionInput>(input.clone()) {
        let error = error.to_string();
        writeln!(
            context.notes,
            "defenseclaw-cli: the input is not of the form that is admitted: {}",
            safe(&error)
        )?;
    }
    if let Some(input) = input.as_object_mut() {
        input.entry("now_ns").or_insert_with(|| time::now_ns().into());
    }
    let admission = rules.policy.admit_json(&input).map_err(|error| match error {
        PolicyError::InputTooLarge => CliError::Usage(error.to_string()),
        error => CliError::Refused(format!("no answer, which blocks: {error}")),
    })?;
    json::line(context.out, &admission)?;
    Ok(if admission.action == AdmissionAction::Block {
        Answer::No
    } else {
        Answer::Yes
    })
}
