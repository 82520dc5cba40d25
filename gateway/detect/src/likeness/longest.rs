//! The text of a call that can be made longer at will: its command, the content that is written, the longest string of its input.

use defenseclaw_model::call::{CallKind, ToolCall};
use serde_json::{Value, json};

/// Deepest nesting of an input that is looked into.
const MAX_DEPTH: usize = 16;

/// That text. `None`: the call has none.
pub(super) fn of(call: &ToolCall) -> Option<&str> {
    match &call.kind {
        CallKind::Command { command, .. } => Some(command),
        _ => leaves(&call.input, 0).max_by_key(|text| text.len()),
    }
}

/// The same call with `text` in its place.
pub(super) fn replaced(call: &ToolCall, text: &str) -> ToolCall {
    let (kind, input) = match &call.kind {
        CallKind::Command { background, .. } => {
            let kind = CallKind::Command {
                command: text.to_owned(),
                background: *background,
            };
            (kind, json!({ "command": text }))
        }
        kind => {
            let mut input = call.input.clone();
            if let Some(longest) = of(call) {
                replace(&mut input, longest, text, 0);
            }
            (kind.clone(), input)
        }
    };
    ToolCall {
        call: call.call.clone(),
        tool: call.tool.clone(),
        kind,
        input,
    }
}

fn leaves(value: &Value, depth: usize) -> Box<dyn Iterator<Item = &str> + '_> {
    if depth > MAX_DEPTH {
        return Box::new(std::iter::empty());
    }
    match value {
        Value::String(text) => Box::new(std::iter::once(text.as_str())),
        Value::Array(items) => Box::new(items.iter().flat_map(move |item| leaves(item, depth + 1))),
        Value::Object(fields) => Box::new(fields.values().flat_map(move |field| leaves(field, depth + 1))),
        _ => Box::new(std::iter::empty()),
    }
}

fn replace(value: &mut Value, from: &str, to: &str, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    match value {
        Value::String(text) if text == from => to.clone_into(text),
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| replace(item, from, to, depth + 1)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|field| replace(field, from, to, depth + 1)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::ids::CallId;

    use super::*;

    #[test]
    fn the_longest_text_of_a_call_is_found_and_replaced() {
        let write = ToolCall {
            call: CallId::new("c").unwrap(),
            tool: "Write".to_owned(),
            kind: CallKind::FileWrite {
                paths: vec!["/a".to_owned()],
            },
            input: json!({"file_path": "/a", "more": [{"content": "one\ntwo"}], "n": 1}),
        };
        assert_eq!(of(&write), Some("one\ntwo"));
        let other = replaced(&write, "one");
        assert_eq!(other.kind, write.kind);
        assert_eq!(
            other.input,
            json!({"file_path": "/a", "more": [{"content": "one"}], "n": 1})
        );
        let deep = (0..200).fold(json!("x"), |inner, _| json!([inner]));
        assert_eq!(of(&ToolCall { input: deep, ..write }), None);
    }
}
