//! What of a tool call reaches the ledger, and what of it reaches the agent.
//!
//! The ledger gets everything masked and bounded: secrets do not travel, and one call cannot fill a disk. The agent gets
//! the command as it is, because it compares it with what the kernel executed; it is bounded by what can be executed.

use std::borrow::Cow;

use defenseclaw_detect::mask::{mask, mask_arguments, mask_text, mask_value};
use defenseclaw_detect::paths::PathRules;
use defenseclaw_model::activity::{Action, Activity};
use defenseclaw_model::call::{CallDeclaration, CallKind, ToolCall};
use defenseclaw_model::decision::{Decision, Finding};
use defenseclaw_model::facts::{Facts, Install, Opaque, PathFact, Pipe, Program};
use serde_json::Value;

/// Longest text of a tool's input, a prompt or a command in a record (bytes).
const MAX_TEXT: usize = 16 * 1024;
/// Longest text that a person is shown who decides on a call (bytes).
const MAX_SUMMARY: usize = 2 * 1024;
/// Longest single argument or path in a record's facts (bytes): a path can have no more.
const MAX_ARGUMENT: usize = 4096;
/// All texts of a record's facts together (bytes).
const MAX_FACTS: usize = 64 * 1024;
/// Most of a tool's input that a record takes (bytes of JSON).
const MAX_INPUT: usize = 256 * 1024;
/// The kernel executes no longer argument (`MAX_ARG_STRLEN`), so a longer command never shows in one.
const MAX_COMMAND: usize = 128 * 1024;
/// All texts of the facts that the agent gets (bytes).
const MAX_DECLARED_FACTS: usize = 256 * 1024;

/// Builds what masking and classifying need, once, so that a fault in it shows at start and no hook waits for it.
pub fn warm_up() {
    // Long enough not to be passed over.
    let masked = mask("nothing that is a secret");
    let class = PathRules::embedded().classify("/nothing/of/note");
    tracing::debug!(masked = masked.len(), ?class, "masking and path rules are ready");
}

/// A prompt for its record.
pub fn prompt(text: &str) -> String {
    mask_text(text, MAX_TEXT)
}

/// A tool's input for its record.
pub fn input(input: &Value) -> Value {
    let masked = mask_value(input, MAX_TEXT);
    // Each text is short now; many of them may still be too much.
    let bytes = serde_json::to_vec(&masked).map_or(usize::MAX, |json| json.len());
    if bytes <= MAX_INPUT {
        return masked;
    }
    let keys: Vec<&str> = input
        .as_object()
        .into_iter()
        .flat_map(|o| o.keys())
        .map(String::as_str)
        .take(32)
        .collect();
    let keys: Vec<String> = keys.into_iter().map(|key| mask_text(key, 128)).collect();
    serde_json::json!({ "not_recorded": "the input is too large for a record", "bytes": bytes, "keys": keys })
}

/// What kind of action a call is, for its record.
pub fn kind(kind: &CallKind) -> CallKind {
    let texts = |texts: &[String]| texts.iter().map(|text| mask_text(text, MAX_ARGUMENT)).collect();
    match kind {
        CallKind::Command { command, background } => CallKind::Command {
            command: mask_text(command, MAX_TEXT),
            background: *background,
        },
        CallKind::FileWrite { paths } => CallKind::FileWrite { paths: texts(paths) },
        CallKind::FileRead { paths } => CallKind::FileRead { paths: texts(paths) },
        CallKind::FileSearch { paths } => CallKind::FileSearch { paths: texts(paths) },
        CallKind::Network { targets } => CallKind::Network {
            targets: texts(targets),
        },
        CallKind::Other => CallKind::Other,
    }
}

/// What a call declares, for its record and for judging what it did. Masked and bounded; what was cut is said.
pub fn facts(facts: &Facts) -> Facts {
    let words = |words: &[String]| {
        mask_arguments(words)
            .into_iter()
            .map(|word| shortened(word, MAX_ARGUMENT))
            .collect()
    };
    bounded(facts, MAX_FACTS, |text| mask_text(text, MAX_ARGUMENT), words)
}

/// What the agent gets of a call.
pub fn declaration(call: &ToolCall, cwd: Option<&str>, facts: &Facts) -> CallDeclaration {
    let mut kind = call.kind.clone();
    match &mut kind {
        CallKind::Command { command, .. } => cut(command, MAX_COMMAND),
        CallKind::FileWrite { paths } | CallKind::FileRead { paths } | CallKind::FileSearch { paths } => {
            paths.iter_mut().for_each(|path| cut(path, MAX_ARGUMENT));
        }
        CallKind::Network { targets } => targets.iter_mut().for_each(|target| cut(target, MAX_ARGUMENT)),
        CallKind::Other => {}
    }
    let mut tool = call.tool.clone();
    cut(&mut tool, MAX_ARGUMENT);
    let cwd = cwd.filter(|cwd| cwd.len() <= MAX_ARGUMENT).map(str::to_owned);
    let facts = bounded(facts, MAX_DECLARED_FACTS, str::to_owned, <[String]>::to_vec);
    CallDeclaration {
        call: call.call.clone(),
        tool,
        kind,
        cwd,
        facts,
    }
}

/// What a call is about, for a person: of what its record shows.
pub fn summary(kind: &CallKind, input: &Value) -> String {
    let text = match kind {
        CallKind::Command { command, .. } => command.clone(),
        CallKind::FileWrite { paths } => format!("write {}", paths.join(", ")),
        CallKind::FileRead { paths } => format!("read {}", paths.join(", ")),
        CallKind::FileSearch { paths } => format!("search {}", paths.join(", ")),
        CallKind::Network { targets } => format!("reach {}", targets.join(", ")),
        CallKind::Other => input.to_string(),
    };
    mask_text(&text, MAX_SUMMARY)
}

/// A tool's name, bounded.
pub fn tool(name: &str) -> String {
    mask_text(name, 256)
}

/// Masks what an executed program was given. Paths stay as they are: they are compared with what calls declare.
pub fn activity(activity: &mut Activity) {
    if let Action::Exec { argv, .. } = &mut activity.action {
        *argv = mask_arguments(argv);
    }
}

/// Masks what a decision shows.
pub fn decision(decision: &mut Decision) {
    decision.findings.iter_mut().for_each(finding);
    if let Cow::Owned(masked) = mask(&decision.reason) {
        decision.reason = masked;
    }
    if let Some(changed) = &decision.updated_input {
        decision.updated_input = Some(input(changed));
    }
}

/// Masks what a finding shows.
pub fn finding(finding: &mut Finding) {
    for text in finding
        .evidence
        .iter_mut()
        .chain([&mut finding.message, &mut finding.remedy])
    {
        if let Cow::Owned(masked) = mask(text) {
            *text = masked;
        }
    }
}

/// Cuts at a character's border.
fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
    }
}

fn shortened(mut text: String, max: usize) -> String {
    cut(&mut text, max);
    text
}

/// About how much memory a declared call takes (bytes).
pub fn weight(tool: &str, kind: &CallKind, facts: &Facts) -> usize {
    // What any entry costs beside its text.
    const ENTRY: usize = 64;
    let sum = |texts: &[String]| texts.iter().map(|text| text.len() + ENTRY).sum::<usize>();
    let paths = |paths: &[PathFact]| paths.iter().map(|fact| fact.path.len() + ENTRY).sum::<usize>();
    let kind = match kind {
        CallKind::Command { command, .. } => command.len(),
        CallKind::FileWrite { paths } | CallKind::FileRead { paths } | CallKind::FileSearch { paths } => {
            sum(paths)
        }
        CallKind::Network { targets } => sum(targets),
        CallKind::Other => 0,
    };
    let programs: usize = facts
        .programs
        .iter()
        .map(|program| sum(&program.argv) + 2 * ENTRY)
        .sum();
    let hosts: usize = facts.hosts.iter().map(|host| host.host.len() + ENTRY).sum();
    let opaque: usize = facts
        .opaque
        .iter()
        .map(|opaque| opaque.text.len() + 2 * ENTRY)
        .sum();
    let flows: usize = facts
        .flows
        .iter()
        .map(|flow| flow.from.what.len() + flow.to.what.len() + sum(&flow.through) + 2 * ENTRY)
        .sum();
    let behaviours: usize = facts
        .behaviours
        .iter()
        .map(|behaviour| behaviour.object.len() + behaviour.technique.len() + 2 * ENTRY)
        .sum();
    let installs: usize = facts
        .installs
        .iter()
        .map(|install| texts_of(install) + 2 * ENTRY)
        .sum();
    let rest = installs
        + flows
        + behaviours
        + programs
        + hosts
        + opaque
        + sum(&facts.privilege)
        + facts.pipes.len() * 16;
    4 * ENTRY + tool.len() + kind + paths(&facts.reads) + paths(&facts.writes) + rest
}

/// Bytes of an install's texts.
fn texts_of(install: &Install) -> usize {
    let texts = [
        &install.name,
        &install.asked,
        &install.from,
        &install.host,
        &install.registry,
        &install.place,
        &install.like,
    ];
    texts.into_iter().map(String::len).sum()
}

/// The facts with every text passed through `show`, as far as `budget` bytes reach; then a remark that something is
/// missing, so that policy and reader do not take the rest for the whole.
fn bounded(
    facts: &Facts,
    budget: usize,
    show: impl Fn(&str) -> String,
    show_words: impl Fn(&[String]) -> Vec<String>,
) -> Facts {
    // What any entry costs beside its text, once it is JSON or on the heap.
    const ENTRY: usize = 64;
    let mut left = budget;
    let mut short = false;
    let mut take = |bytes: usize| match left.checked_sub(bytes + ENTRY) {
        Some(rest) => {
            left = rest;
            true
        }
        None => {
            short = true;
            false
        }
    };
    let mut out = Facts::default();
    for opaque in &facts.opaque {
        if take(opaque.text.len()) {
            out.opaque.push(Opaque {
                why: opaque.why.clone(),
                text: show(&opaque.text),
            });
        }
    }
    for (from, into) in [(&facts.reads, &mut out.reads), (&facts.writes, &mut out.writes)] {
        for fact in from {
            if take(fact.path.len()) {
                let mut fact = fact.clone();
                fact.path = show(&fact.path);
                into.push(fact);
            }
        }
    }
    out.hosts
        .extend(facts.hosts.iter().filter(|host| take(host.host.len())).cloned());
    for flow in &facts.flows {
        if take(flow.from.what.len() + flow.to.what.len()) {
            let mut flow = flow.clone();
            flow.from.what = show(&flow.from.what);
            flow.to.what = show(&flow.to.what);
            out.flows.push(flow);
        }
    }
    for behaviour in &facts.behaviours {
        if take(behaviour.object.len()) {
            let mut behaviour = behaviour.clone();
            behaviour.object = show(&behaviour.object);
            out.behaviours.push(behaviour);
        }
    }
    for install in &facts.installs {
        if take(texts_of(install)) {
            let mut install = install.clone();
            for text in [
                &mut install.name,
                &mut install.asked,
                &mut install.from,
                &mut install.registry,
                &mut install.place,
            ] {
                *text = show(text);
            }
            out.installs.push(install);
        }
    }
    out.privilege
        .extend(facts.privilege.iter().filter(|word| take(word.len())).cloned());
    // Indices of pipes stay valid only if programs are cut at the end.
    for program in &facts.programs {
        let bytes: usize = program.argv.iter().map(|word| word.len() + ENTRY).sum();
        if !take(bytes) {
            break;
        }
        out.programs.push(Program {
            name: show(&program.name),
            argv: show_words(&program.argv),
        });
    }
    let programs = out.programs.len();
    let kept = |pipe: &&Pipe| pipe.from < programs && pipe.to < programs;
    out.pipes
        .extend(facts.pipes.iter().filter(kept).filter(|_| take(0)));
    if short {
        out.opaque.push(Opaque {
            why: "too-large".into(),
            text: "not everything that the call declares is kept".into(),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::ids::CallId;
    use serde_json::json;

    use super::*;

    fn program(words: &[&str]) -> Program {
        Program {
            name: words[0].into(),
            argv: words.iter().map(|word| (*word).into()).collect(),
        }
    }

    #[test]
    fn facts_keep_within_their_budget_and_say_what_is_missing() {
        let many = Facts {
            programs: vec![program(&["echo", &"x".repeat(1000)]); 1000],
            reads: vec![PathFact {
                path: "/a".into(),
                class: None,
                by: Vec::new(),
            }],
            pipes: vec![Pipe { from: 0, to: 1 }, Pipe { from: 998, to: 999 }],
            ..Facts::default()
        };
        let kept = facts(&many);
        assert!(serde_json::to_vec(&kept).unwrap().len() < 2 * MAX_FACTS);
        assert_eq!(kept.reads, many.reads);
        assert!(kept.programs.len() < 1000 && !kept.programs.is_empty());
        assert_eq!(
            kept.pipes,
            [Pipe { from: 0, to: 1 }],
            "no pipe to a program that was cut"
        );
        assert_eq!(kept.opaque.last().unwrap().why, "too-large");
        let install =
            serde_json::from_value(json!({"ecosystem": "npm", "name": "left-pad", "version": "exact",
            "asked": "1.3.0", "source": "registry", "into": "project", "scripts": true}));
        let few = Facts {
            programs: vec![program(&["ls", "-l"])],
            installs: vec![install.unwrap()],
            ..Facts::default()
        };
        assert_eq!(facts(&few), few);
        let flood = Facts {
            installs: vec![few.installs[0].clone(); 10_000],
            ..Facts::default()
        };
        let kept = facts(&flood);
        assert!(!kept.installs.is_empty() && kept.installs.len() < 10_000);
        assert_eq!(kept.opaque.last().unwrap().why, "too-large");
    }

    #[test]
    fn a_large_input_is_replaced_by_an_account_of_it() {
        let large: Value = (0..500)
            .map(|n| (format!("field{n}"), json!("some text ".repeat(100))))
            .collect();
        let kept = input(&large);
        assert!(serde_json::to_vec(&kept).unwrap().len() < 8 * 1024);
        assert!(kept["bytes"].as_u64().unwrap() > MAX_INPUT as u64);
        assert_eq!(kept["keys"].as_array().unwrap().len(), 32);
        assert_eq!(input(&json!({"a": [1, "b"]})), json!({"a": [1, "b"]}));
    }

    #[test]
    fn the_agent_gets_the_command_as_it_is_up_to_what_can_be_executed() {
        let call = |command: String| ToolCall {
            call: CallId::new("c").unwrap(),
            tool: "Bash".into(),
            kind: CallKind::Command {
                command,
                background: false,
            },
            input: Value::Null,
        };
        let long = declaration(&call("ä".repeat(MAX_COMMAND)), None, &Facts::default());
        let CallKind::Command { command, .. } = &long.kind else {
            panic!("{long:?}")
        };
        assert_eq!(command.len(), MAX_COMMAND);
        let short = declaration(&call("TOKEN=abc make".into()), Some("/w"), &Facts::default());
        assert_eq!(short.kind, call("TOKEN=abc make".into()).kind);
        assert_eq!(short.cwd.as_deref(), Some("/w"));
    }
}
