//! The model of the real clients, on loopback.
//!
//! Codex asks `POST /v1/responses`, which [`responses`](crate::responses) answers.
//!
//! It speaks as much of the Anthropic Messages API as Claude Code 2.1.197 asks for: `HEAD /` at the start, `POST
//! /v1/messages` with server-sent events, `…/count_tokens`, and side requests (titles, summaries) that carry no tools.
//! Which turn of the script a request wants is told by the request itself, by how many answers of the assistant it
//! holds, so that a repeated request gets the same answer again.

use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::responses;
use crate::script::{Script, Turn};

/// Most requests that are kept whole: a session holds its history in each.
const MAX_REQUESTS: usize = 64;

/// A running model server. It ends with the process.
#[derive(Debug)]
pub struct ModelServer {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

/// What the client sent.
#[derive(Debug, Default)]
struct Seen {
    results: BTreeMap<String, ToolResult>,
    turns: usize,
    /// The requests about the session, whole.
    requests: Vec<String>,
}

/// What the client told the model of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// Its text.
    pub text: String,
    /// Whether the client called it an error: failed, or denied.
    pub is_error: bool,
}

impl ModelServer {
    /// Starts a server that follows `script`.
    pub fn start(script: &Script) -> Result<Self> {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).context("no loopback port for the model server")?;
        let port = listener.local_addr()?.port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let turns = Arc::new(script.turns.clone());
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (turns, seen) = (Arc::clone(&turns), Arc::clone(&shared));
                // A client that goes away in mid-request is no concern of the script.
                std::thread::spawn(move || serve(&stream, &turns, &seen).unwrap_or_default());
            }
        });
        Ok(Self { port, seen })
    }

    /// For `ANTHROPIC_BASE_URL`; Codex wants `/v1` behind it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What the model was told of each call, by call id.
    pub fn results(&self) -> BTreeMap<String, ToolResult> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .results
            .clone()
    }

    /// Whether a request held this text: what the client has read into its context.
    pub fn was_told(&self, text: &str) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.requests.iter().any(|request| request.contains(text))
    }

    /// How many turns of the script were asked for.
    pub fn turns(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).turns
    }
}

/// Answers one connection's requests.
fn serve(stream: &TcpStream, turns: &[Turn], seen: &Mutex<Seen>) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream.try_clone()?;
    loop {
        let Some((method, path, length)) = read_head(&mut reader)? else {
            return Ok(());
        };
        let mut body = vec![0; length];
        std::io::Read::read_exact(&mut reader, &mut body)?;
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (kind, answer) = match (method.as_str(), path.split('?').next().unwrap_or_default()) {
            ("POST", "/v1/messages") => answer(&request, turns, seen),
            ("POST", "/v1/responses") => {
                let (told, turn, answer) = responses::answer(&request, turns);
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.results.extend(told);
                seen.turns = seen.turns.max(turn);
                ("text/event-stream", answer)
            }
            ("POST", "/v1/messages/count_tokens") => {
                ("application/json", json!({"input_tokens": 10}).to_string())
            }
            _ => ("application/json", "{}".to_owned()),
        };
        write!(
            writer,
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        )?;
        if method != "HEAD" {
            writer.write_all(answer.as_bytes())?;
        }
        writer.flush()?;
    }
}

/// Method, path and body length; `None` at the end of the connection.
fn read_head(reader: &mut impl std::io::BufRead) -> Result<Option<(String, String, usize)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let path = words.next().unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            return Ok(Some((method, path, length)));
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
}

/// Content type and body of the answer to a messages request.
fn answer(request: &Value, turns: &[Turn], seen: &Mutex<Seen>) -> (&'static str, String) {
    let none = Vec::new();
    let messages = request["messages"].as_array().unwrap_or(&none);
    let offered: Vec<&str> = request["tools"]
        .as_array()
        .unwrap_or(&none)
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.requests.len() < MAX_REQUESTS {
        seen.requests.push(request.to_string());
    }
    for message in messages {
        for block in message["content"].as_array().unwrap_or(&none) {
            if let (Some("tool_result"), Some(id)) = (block["type"].as_str(), block["tool_use_id"].as_str()) {
                seen.results.insert(id.to_owned(), tool_result(block));
            }
        }
    }
    // Only the session itself is offered tools to run commands with; everything else is a side request.
    let answered = messages
        .iter()
        .filter(|message| message["role"] == "assistant")
        .count();
    let turn = if offered.contains(&"Bash") {
        seen.turns = seen.turns.max(answered + 1);
        turns
            .get(answered)
            .cloned()
            .unwrap_or_else(|| Turn::text("Done."))
    } else {
        Turn::text("ok")
    };
    if request["stream"] == json!(true) {
        ("text/event-stream", events(&turn, request, answered))
    } else {
        (
            "application/json",
            message(&turn, request, answered, blocks(&turn)).to_string(),
        )
    }
}

/// A result's content is text, or a list of blocks that hold text.
fn tool_result(block: &Value) -> ToolResult {
    let text = match &block["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    };
    ToolResult {
        text,
        is_error: block["is_error"] == json!(true),
    }
}

fn stop_reason(turn: &Turn) -> &'static str {
    if turn.calls.is_empty() {
        "end_turn"
    } else {
        "tool_use"
    }
}

fn blocks(turn: &Turn) -> Vec<Value> {
    let text = (!turn.text.is_empty()).then(|| json!({"type": "text", "text": turn.text}));
    let calls = turn
        .calls
        .iter()
        .map(|call| json!({"type": "tool_use", "id": call.id, "name": call.tool, "input": call.input}));
    text.into_iter().chain(calls).collect()
}

/// The client takes answers with one id for parts of one answer: each turn has its own.
fn message(turn: &Turn, request: &Value, number: usize, content: Vec<Value>) -> Value {
    json!({
        "id": format!("msg_{number}"), "type": "message", "role": "assistant", "model": request["model"], "content": content,
        "stop_reason": stop_reason(turn), "stop_sequence": null,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    })
}

/// The same as server-sent events.
fn events(turn: &Turn, request: &Value, number: usize) -> String {
    let mut text = String::new();
    let mut send = |event: Value| {
        text.push_str(&format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap_or_default()
        ));
    };
    let mut start = message(turn, request, number, Vec::new());
    start["stop_reason"] = Value::Null;
    send(json!({"type": "message_start", "message": start}));
    for (index, block) in blocks(turn).into_iter().enumerate() {
        let (empty, deltas) = if block["type"] == "text" {
            (
                json!({"type": "text", "text": ""}),
                vec![json!({"type": "text_delta", "text": block["text"]})],
            )
        } else {
            let input = block["input"].to_string();
            let empty = json!({"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}});
            let piece = |part: String| json!({"type": "input_json_delta", "partial_json": part});
            (empty, pieces(&input).map(piece).collect())
        };
        send(json!({"type": "content_block_start", "index": index, "content_block": empty}));
        for delta in deltas {
            send(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        send(json!({"type": "content_block_stop", "index": index}));
    }
    let delta = json!({"stop_reason": stop_reason(turn), "stop_sequence": null});
    send(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}}));
    send(json!({"type": "message_stop"}));
    text
}

/// A large input in parts, as a model sends it: the client takes long for one line of many megabytes.
fn pieces(input: &str) -> impl Iterator<Item = String> {
    const PIECE: usize = 1 << 20;
    let characters: Vec<char> = input.chars().collect();
    let parts: Vec<String> = characters
        .chunks(PIECE)
        .map(|part| part.iter().collect())
        .collect();
    parts.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Call;

    fn ask(script: &Script, request: &Value) -> (String, Seen) {
        let seen = Mutex::new(Seen::default());
        let (_, body) = answer(request, &script.turns, &seen);
        (body, seen.into_inner().unwrap())
    }

    fn script() -> Script {
        let turns = vec![Turn::one(Call::bash("t1", "ls")), Turn::text("bye")];
        Script {
            prompt: "x".into(),
            turns,
        }
    }

    #[test]
    fn the_turn_follows_from_the_conversation() {
        let tools = json!([{"name": "Bash"}]);
        let first = json!({"tools": tools, "messages": [{"role": "user", "content": "x"}]});
        let (body, seen) = ask(&script(), &first);
        assert!(body.contains("\"tool_use\""), "{body}");
        assert_eq!(seen.turns, 1);
        assert_eq!(
            ask(&script(), &first).0,
            body,
            "a repeated request is answered alike"
        );
        let second = json!({"tools": tools, "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a.txt", "is_error": false}]},
        ]});
        let (body, seen) = ask(&script(), &second);
        assert!(body.contains("bye"), "{body}");
        assert_eq!(
            seen.results["t1"],
            ToolResult {
                text: "a.txt".into(),
                is_error: false
            }
        );
    }

    #[test]
    fn side_requests_take_no_turn() {
        let (body, seen) = ask(
            &script(),
            &json!({"messages": [{"role": "user", "content": "title?"}]}),
        );
        assert!(body.contains("\"ok\""), "{body}");
        assert_eq!(seen.turns, 0);
    }

    #[test]
    fn streamed_blocks_come_in_the_order_that_the_client_expects() {
        let request = json!({"stream": true, "tools": [{"name": "Bash"}], "messages": []});
        let (body, _) = ask(&script(), &request);
        let names: Vec<&str> = body
            .lines()
            .filter_map(|line| line.strip_prefix("event: "))
            .collect();
        let block = ["content_block_start", "content_block_delta", "content_block_stop"];
        let expected: Vec<&str> = ["message_start"]
            .into_iter()
            .chain(block)
            .chain(["message_delta", "message_stop"])
            .collect();
        assert_eq!(names, expected);
    }
}
