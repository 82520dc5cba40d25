//! Turns the harness contracts into the client's static table: what to say, in each harness's own form, when the gateway
//! cannot be asked. The client itself reads no YAML.
//!
//! Only what the client needs is read here. The whole of a contract is checked by `defenseclaw-harness`, whose tests also
//! compare this table's answers with the gateway's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde::Deserialize;

#[derive(Deserialize)]
struct Contract {
    connector: String,
    hook: Hook,
    payload: Payload,
    primary: String,
    events: BTreeMap<String, Event>,
    replies: BTreeMap<String, Replies>,
}

#[derive(Deserialize)]
struct Hook {
    limit_ms: u64,
}

#[derive(Deserialize)]
struct Payload {
    event: Option<String>,
}

#[derive(Deserialize)]
struct Event {
    kind: String,
    replies: Option<String>,
}

#[derive(Deserialize)]
struct Replies {
    #[serde(default)]
    allow: Reply,
    deny: Reply,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reply {
    exit: u8,
    body: String,
    stderr: String,
}

fn main() {
    let folder = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../../policies/harness");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    let mut table = format!("pub(crate) static HARNESSES: [Harness; {}] = [\n", files.len());
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let contract: Contract =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        table.push_str(&harness(&contract));
    }
    table.push_str("];\n");
    let out = Path::new(&variable("OUT_DIR")).join("harnesses.rs");
    fs::write(&out, table).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("cargo sets {name}: {error}"))
}

fn harness(contract: &Contract) -> String {
    let mut events = String::new();
    for (name, event) in &contract.events {
        let replies = event.replies.as_ref().map(|replies| {
            contract
                .replies
                .get(replies)
                .unwrap_or_else(|| panic!("{}: there are no replies {replies:?}", contract.connector))
        });
        let silence = Reply::default();
        let (pass, deny) = replies.map_or((&silence, &silence), |replies| (&replies.allow, &replies.deny));
        let is_call = matches!(event.kind.as_str(), "call" | "permission");
        let _ = writeln!(
            events,
            "Event {{ name: {name:?}, is_call: {is_call}, pass: {}, deny: {} }},",
            reply(pass, name),
            reply(deny, name)
        );
    }
    format!(
        "Harness {{ name: {:?}, event_field: {:?}, primary: {:?}, limit_ms: {}, events: &[\n{events}] }},\n",
        contract.connector, contract.payload.event, contract.primary, contract.hook.limit_ms
    )
}

/// A template with the event's name filled in; its reason stays open.
fn reply(reply: &Reply, event: &str) -> String {
    let fill = |text: &str| text.replace("{event}", event);
    format!(
        "Template {{ exit: {}, body: {:?}, stderr: {:?} }}",
        reply.exit,
        fill(&reply.body),
        fill(&reply.stderr)
    )
}
