//! The scripted model in the words of the Responses API, as Codex 0.169 speaks it.
//!
//! Which turn of the script a request wants is told by the request itself: by which calls' outputs, and which words of the
//! assistant, it already holds. So a repeated request gets the same answer again.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model_server::ToolResult;
use crate::script::{Call, Turn};

/// What the model was told, the number of the turn that is answered, and the answer as server-sent events.
pub(crate) fn answer(request: &Value, turns: &[Turn]) -> (BTreeMap<String, ToolResult>, usize, String) {
    let none = Vec::new();
    let input = request["input"].as_array().unwrap_or(&none);
    let results: BTreeMap<String, ToolResult> = input
        .iter()
        .filter(|item| {
            item["type"]
                .as_str()
                .is_some_and(|kind| kind.ends_with("call_output"))
        })
        .filter_map(|item| Some((item["call_id"].as_str()?.to_owned(), output(&item["output"]))))
        .collect();
    // Only the session itself is offered tools to run commands with; everything else is a side request.
    let is_session = request["tools"]
        .as_array()
        .unwrap_or(&none)
        .iter()
        .any(|tool| tool["name"] == "exec_command");
    if !is_session {
        return (results, 0, events(0, &[message("ok")]));
    }
    let at = turns
        .iter()
        .take_while(|turn| is_done(turn, input, &results))
        .count();
    let turn = turns.get(at).cloned().unwrap_or_else(|| Turn::text("Done."));
    let text = (!turn.text.is_empty()).then(|| message(&turn.text));
    let items: Vec<Value> = text.into_iter().chain(turn.calls.iter().map(item)).collect();
    (results, at + 1, events(at, &items))
}

fn is_done(turn: &Turn, input: &[Value], results: &BTreeMap<String, ToolResult>) -> bool {
    if turn.calls.is_empty() {
        return input
            .iter()
            .any(|item| item["role"] == "assistant" && item["content"][0]["text"] == turn.text.as_str());
    }
    turn.calls.iter().all(|call| results.contains_key(&call.id))
}

/// An output is text, or an object or a list that holds text. Whether it is an error is not said.
fn output(output: &Value) -> ToolResult {
    let text = match output {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        other => other["content"].as_str().unwrap_or_default().to_owned(),
    };
    ToolResult {
        text,
        is_error: false,
    }
}

/// A call in the form of Codex's own tools: commands and new files have tools of their own there.
fn item(call: &Call) -> Value {
    let of = |field: &str| call.input[field].as_str().unwrap_or_default();
    match call.tool.as_str() {
        "Bash" => function(call, "exec_command", &json!({"cmd": of("command")})),
        "Write" => {
            let lines: String = of("content").lines().map(|line| format!("+{line}\n")).collect();
            let patch = format!(
                "*** Begin Patch\n*** Add File: {}\n{lines}*** End Patch\n",
                of("file_path")
            );
            json!({"type": "custom_tool_call", "name": "apply_patch", "input": patch, "call_id": call.id})
        }
        other => function(call, other, &call.input),
    }
}

fn function(call: &Call, name: &str, arguments: &Value) -> Value {
    json!({"type": "function_call", "name": name, "arguments": arguments.to_string(), "call_id": call.id})
}

fn message(text: &str) -> Value {
    json!({"type": "message", "role": "assistant", "id": "m", "content": [{"type": "output_text", "text": text}]})
}

fn events(number: usize, items: &[Value]) -> String {
    let id = format!("resp_{number}");
    let usage = json!({"input_tokens": 1, "input_tokens_details": null, "output_tokens": 1,
                       "output_tokens_details": null, "total_tokens": 2});
    let mut all = vec![json!({"type": "response.created", "response": {"id": id}})];
    all.extend(
        items
            .iter()
            .map(|item| json!({"type": "response.output_item.done", "item": item})),
    );
    all.push(json!({"type": "response.completed", "response": {"id": id, "usage": usage}}));
    all.iter()
        .map(|event| {
            format!(
                "event: {}\ndata: {event}\n\n",
                event["type"].as_str().unwrap_or_default()
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(input: Value) -> Value {
        json!({"tools": [{"name": "exec_command"}], "input": input})
    }

    #[test]
    fn the_turn_follows_from_the_conversation() {
        let turns = [
            Turn::one(Call::bash("t1", "ls")),
            Turn::one(Call::write("t2", "/w/a", "x\ny\n")),
            Turn::text("bye"),
        ];
        let (told, turn, body) = answer(&request(json!([{"role": "user"}])), &turns);
        assert!(
            told.is_empty() && turn == 1 && body.contains("exec_command"),
            "{body}"
        );
        let first = json!({"type": "function_call_output", "call_id": "t1", "output": "a.txt"});
        let (told, turn, body) = answer(&request(json!([first])), &turns);
        assert_eq!((told["t1"].text.as_str(), turn), ("a.txt", 2));
        assert!(body.contains("*** Add File: /w/a\\n+x\\n+y\\n"), "{body}");
        let second = json!({"type": "custom_tool_call_output", "call_id": "t2", "output": "ok"});
        let (_, turn, body) = answer(&request(json!([first, second])), &turns);
        assert!(turn == 3 && body.contains("bye"), "{body}");
    }

    #[test]
    fn side_requests_take_no_turn() {
        let (_, turn, body) = answer(&json!({"input": []}), &[Turn::text("bye")]);
        assert!(turn == 0 && body.contains("\"ok\""), "{body}");
    }
}
