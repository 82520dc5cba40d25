//! Drafts for the tests: made by hand and at random.

use std::path::Path;

use defenseclaw_audit::{Ledger, Verified, verify};
use defenseclaw_model::activity::{
    Action, Activity, Attribution, Basis, ExitStatus, Explained, FileAccess, FileId, Protocol,
};
use defenseclaw_model::call::CallKind;
use defenseclaw_model::config::Durability;
use defenseclaw_model::decision::{Decision, Finding, Severity, Verdict};
use defenseclaw_model::facts::{Facts, HostFact, Opaque, PathFact, Pipe, Program};
use defenseclaw_model::ids::{CallId, ImageId, ProcessId, SessionId};
use defenseclaw_model::record::{Binding, Draft, RecordBody};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

pub(crate) fn open(path: &Path) -> Ledger {
    Ledger::open(path, Durability::Process).unwrap()
}

pub(crate) fn verified(path: &Path) -> Verified {
    verify(path, &mut |_, _| {}).unwrap()
}

/// A prompt of one of three sessions.
pub(crate) fn prompt(number: u64) -> Draft {
    Draft {
        time_ns: 1_000 + number,
        session: Some(SessionId::new("claude-code", &format!("s{}", number % 3)).unwrap()),
        call: number
            .is_multiple_of(2)
            .then(|| CallId::new(&format!("c{}", number / 4)).unwrap()),
        body: RecordBody::Prompt {
            text: format!("prompt {number}"),
        },
    }
}

pub(crate) fn prompts(range: std::ops::Range<u64>) -> Vec<Draft> {
    range.map(prompt).collect()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z/._-]{0,12}", any::<String>()]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no such number", |number| number.is_finite())
            .prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((text(), inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

pub(crate) fn severity() -> impl Strategy<Value = Severity> {
    select(vec![
        Severity::None,
        Severity::Low,
        Severity::Medium,
        Severity::High,
        Severity::Critical,
    ])
}

pub(crate) fn session() -> impl Strategy<Value = SessionId> {
    prop_oneof![
        3 => select(vec!["a", "b", "c/d"]).prop_map(|id| SessionId::new("claude-code", id).unwrap()),
        1 => ("[a-z0-9-]{1,20}", "[!-~é]{1,40}").prop_map(|(connector, id)| SessionId::new(&connector, &id).unwrap()),
    ]
}

pub(crate) fn call() -> impl Strategy<Value = CallId> {
    prop_oneof![
        3 => select(vec!["1", "2", "3"]).prop_map(|id| CallId::new(id).unwrap()),
        1 => "[!-~é]{1,40}".prop_map(|id| CallId::new(&id).unwrap()),
    ]
}

fn finding() -> impl Strategy<Value = Finding> {
    (text(), text(), severity(), text(), vec(text(), 0..3), any::<u8>()).prop_map(
        |(rule, category, severity, message, evidence, confidence)| Finding {
            rule,
            category,
            severity,
            message,
            remedy: String::new(),
            evidence,
            confidence,
        },
    )
}

fn decision() -> impl Strategy<Value = Decision> {
    let verdict = select(vec![Verdict::Allow, Verdict::Ask, Verdict::Deny]);
    (
        verdict,
        severity(),
        text(),
        vec(finding(), 0..3),
        text(),
        any::<bool>(),
    )
        .prop_map(
            |(verdict, severity, reason, findings, policy, enforced)| Decision {
                verdict,
                severity,
                reason,
                findings,
                policy,
                enforced,
                rule: String::new(),
                line: String::new(),
                updated_input: None,
                sandbox: None,
            },
        )
}

fn path_fact() -> impl Strategy<Value = PathFact> {
    (text(), option::of(text())).prop_map(|(path, class)| PathFact {
        path,
        class,
        by: Vec::new(),
    })
}

fn facts() -> impl Strategy<Value = Facts> {
    let program = (text(), vec(text(), 0..3)).prop_map(|(name, argv)| Program { name, argv });
    let host = (text(), option::of(any::<u16>())).prop_map(|(host, port)| HostFact { host, port });
    let pipe = (0..4usize, 0..4usize).prop_map(|(from, to)| Pipe { from, to });
    let opaque = (text(), text()).prop_map(|(why, text)| Opaque { why, text });
    (
        vec(program, 0..3),
        vec(path_fact(), 0..3),
        vec(path_fact(), 0..3),
        vec(host, 0..3),
        vec(pipe, 0..3),
        vec(text(), 0..2),
        vec(opaque, 0..2),
    )
        .prop_map(
            |(programs, reads, writes, hosts, pipes, privilege, opaque)| Facts {
                programs,
                reads,
                writes,
                hosts,
                pipes,
                privilege,
                opaque,
                flows: Vec::new(),
                behaviours: Vec::new(),
                installs: Vec::new(),
            },
        )
}

fn call_kind() -> impl Strategy<Value = CallKind> {
    prop_oneof![
        (text(), any::<bool>()).prop_map(|(command, background)| CallKind::Command { command, background }),
        vec(text(), 0..3).prop_map(|paths| CallKind::FileWrite { paths }),
        vec(text(), 0..3).prop_map(|paths| CallKind::FileRead { paths }),
        vec(text(), 0..3).prop_map(|paths| CallKind::FileSearch { paths }),
        vec(text(), 0..3).prop_map(|targets| CallKind::Network { targets }),
        Just(CallKind::Other),
    ]
}

fn binding() -> impl Strategy<Value = Binding> {
    prop_oneof![
        Just(Binding::Bound),
        Just(Binding::NoAgent),
        text().prop_map(|reason| Binding::Failed { reason }),
        text().prop_map(|caller| Binding::Forged { caller }),
    ]
}

fn file() -> impl Strategy<Value = FileId> {
    (any::<u32>(), any::<u64>()).prop_map(|(dev, ino)| FileId { dev, ino })
}

fn image() -> impl Strategy<Value = ImageId> {
    (any::<u32>(), any::<u64>()).prop_map(|(tgid, exec_ns)| ImageId { tgid, exec_ns })
}

fn action() -> impl Strategy<Value = Action> {
    let access = select(vec![FileAccess::Read, FileAccess::Write, FileAccess::Create]);
    let status = prop_oneof![
        any::<u8>().prop_map(ExitStatus::Code),
        any::<u8>().prop_map(ExitStatus::Signal)
    ];
    prop_oneof![
        (text(), vec(text(), 0..4), any::<bool>(), text(), file(), image()).prop_map(
            |(path, argv, argv_truncated, cwd, file, parent)| Action::Exec {
                path,
                argv,
                argv_truncated,
                cwd,
                file,
                parent,
            }
        ),
        (status, any::<u64>()).prop_map(|(status, duration_ns)| Action::Exit { status, duration_ns }),
        (text(), any::<bool>(), access, file(), option::of(text())).prop_map(
            |(path, path_truncated, access, file, class)| Action::Open {
                path,
                path_truncated,
                access,
                file,
                class,
            }
        ),
        (
            select(vec![Protocol::Tcp, Protocol::Udp]),
            any::<std::net::IpAddr>(),
            any::<u16>()
        )
            .prop_map(|(protocol, address, port)| Action::Connect {
                protocol,
                address,
                port
            }),
        any::<u32>().prop_map(|entries| Action::IoUring { entries }),
    ]
}

fn activity() -> impl Strategy<Value = Activity> {
    let basis = select(vec![
        Basis::Lineage,
        Basis::Argv,
        Basis::Path,
        Basis::Window,
        Basis::Contract,
        Basis::None,
    ]);
    let explained = select(vec![
        Explained::Declared,
        Explained::Derived,
        Explained::Unexplained,
    ]);
    let attribution = (option::of(call()), basis, explained, any::<bool>()).prop_map(
        |(call, basis, explained, after_call)| Attribution {
            call,
            basis,
            explained,
            after_call,
        },
    );
    let process = (any::<u32>(), any::<u64>()).prop_map(|(tgid, start_ns)| ProcessId { tgid, start_ns });
    (
        any::<u64>(),
        session(),
        process,
        image(),
        text(),
        action(),
        attribution,
    )
        .prop_map(
            |(time_ns, session, process, image, program, action, attribution)| Activity {
                time_ns,
                session,
                process,
                image,
                program,
                action,
                attribution,
            },
        )
}

fn body() -> impl Strategy<Value = RecordBody> {
    prop_oneof![
        (option::of(text()), option::of(text()), any::<u32>(), binding()).prop_map(
            |(source, cwd, uid, binding)| RecordBody::SessionStart {
                source,
                cwd,
                uid,
                binding
            }
        ),
        text().prop_map(|text| RecordBody::Prompt { text }),
        (
            text(),
            call_kind(),
            json(),
            facts(),
            decision(),
            any::<u64>(),
            binding()
        )
            .prop_map(
                |(tool, call_kind, input, facts, decision, decision_us, binding)| RecordBody::ToolCall {
                    tool,
                    call_kind,
                    input,
                    facts,
                    decision,
                    decision_us,
                    binding,
                    posture: None,
                }
            ),
        (
            text(),
            text(),
            option::of(text()),
            option::of(any::<u32>()),
            text()
        )
            .prop_map(|(approval, state, scope, by_uid, detail)| RecordBody::Approval {
                approval,
                state,
                scope,
                by_uid,
                detail,
            }),
        (text(), text(), text(), text()).prop_map(|(connector, file, state, detail)| RecordBody::Harness {
            connector,
            file,
            state,
            detail,
        }),
        (text(), text(), text(), text(), any::<u32>()).prop_map(|(server, scope, state, detail, by_uid)| {
            RecordBody::Pin {
                pin: state.clone(),
                server,
                scope,
                state,
                digest: String::new(),
                by_uid,
                detail,
            }
        }),
        text().prop_map(|name| RecordBody::Notice { name }),
        text().prop_map(|text| RecordBody::Completion { text }),
        (text(), any::<bool>()).prop_map(|(tool, failed)| RecordBody::CallEnd { tool, failed }),
        Just(RecordBody::Stop {}),
        option::of(text()).prop_map(|reason| RecordBody::SessionEnd { reason }),
        activity().prop_map(|activity| RecordBody::Activity { activity }),
        (finding(), option::of(any::<u64>()))
            .prop_map(|(finding, about_seq)| RecordBody::Finding { finding, about_seq }),
        (text(), option::of(any::<u64>()), text()).prop_map(|(cause, missing, detail)| RecordBody::Gap {
            cause,
            missing,
            detail
        }),
        (text(), text(), text()).prop_map(|(daemon, state, detail)| RecordBody::Daemon {
            daemon,
            state,
            detail
        }),
    ]
}

/// Any draft at all; times lie close together, so that queries by time meet several.
pub(crate) fn draft() -> impl Strategy<Value = Draft> {
    let time = prop_oneof![9 => 0..40u64, 1 => 0..i64::MAX.unsigned_abs()];
    (time, option::of(session()), option::of(call()), body()).prop_map(|(time_ns, session, call, body)| {
        Draft {
            time_ns,
            session,
            call,
            body,
        }
    })
}
