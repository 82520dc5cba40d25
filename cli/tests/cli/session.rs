//! `session list` and `session show` on a ledger that tells a realistic session.

use crate::common::{Host, Program, Teller, allow, connect, finding, open, program, session, shell, why};
use crate::story;
use clap::Parser;
use defenseclaw_cli::args::{Cli, Command};
use defenseclaw_cli::view::View;
use defenseclaw_cli::{Answer, Context};
use defenseclaw_model::activity::{Basis, Explained, FileAccess};
use defenseclaw_model::decision::{Severity, Verdict};
use defenseclaw_model::record::{Binding, RecordBody};
use defenseclaw_run::settings::Settings;
use jiff::tz::TimeZone;

fn told() -> Host {
    let host = Host::new();
    story::tell(&host);
    host
}

/// The command's output as on a terminal of that width.
fn on_terminal(host: &Host, colour: bool, width: usize, arguments: &[&str]) -> String {
    let cli = Cli::parse_from(std::iter::once(&"defenseclaw-cli").chain(arguments));
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let mut context = Context {
        settings: Settings {
            socket: host.path().join("none"),
            ledger: host.ledger(),
            config: defenseclaw_model::config::Config::default(),
            file: host.path().join("config.yaml"),
            socket_from_environment: false,
            policies: None,
        },
        view: View {
            colour,
            width: Some(width),
            zone: TimeZone::fixed(jiff::tz::offset(1)),
        },
        out: &mut out,
        notes: &mut notes,
        notes_are_terminal: false,
    };
    assert!(matches!(cli.command, Command::Session(_) | Command::Audit(_)));
    assert_eq!(
        defenseclaw_cli::run(&cli.command, &mut context).unwrap(),
        Answer::Yes
    );
    String::from_utf8(out).unwrap()
}

#[test]
fn the_joined_timeline() {
    insta::assert_snapshot!("show", told().run(&["session", "show", "last"]).done());
}

#[test]
fn the_joined_timeline_in_full() {
    insta::assert_snapshot!(
        "show_all",
        told().run(&["session", "show", "4f1c9", "--all"]).done()
    );
}

#[test]
fn the_joined_timeline_for_programs() {
    let out = told().run(&["session", "show", "last", "--json"]).done();
    for line in out.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["line"].is_string(), "{line}");
    }
    insta::assert_snapshot!("show_json", out);
}

#[test]
fn the_joined_timeline_in_colour_on_a_narrow_terminal_in_another_zone() {
    let out = on_terminal(&told(), true, 70, &["session", "show", "last"]);
    insta::assert_snapshot!("show_colour", out.replace('\x1b', "<ESC>"));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let host = told();
    for width in [80, 100, 200] {
        for line in on_terminal(&host, false, width, &["session", "show", "last"]).lines() {
            // The reason of a decision and the totals are sentences: they wrap rather than lose their end.
            let sentence =
                line.contains("deny: ") || line.starts_with("housekeeping") || line.starts_with("totals");
            assert!(
                sentence || defenseclaw_cli::text::width(line) <= width,
                "{width}: {line}"
            );
        }
    }
}

#[test]
fn sessions_are_listed_newest_first() {
    let host = told();
    let mut second = Teller::new(&host, session("77aa0000-second"));
    second.start(60_000, Binding::NoAgent);
    second.prompt(61_000, "hello");
    let mut held = allow();
    held.verdict = Verdict::Deny;
    held.enforced = false;
    held.reason = "it would be refused in action mode".to_owned();
    second.call(62_000, "toolu_1", "Bash", shell("sudo id"), held);
    insta::assert_snapshot!("list", host.run(&["session", "list"]).done());
    insta::assert_snapshot!("list_json", host.run(&["session", "list", "--json"]).done());
    insta::assert_snapshot!("show_observed", host.run(&["session", "show", "77aa"]).done());
}

#[test]
fn a_session_is_named_by_any_unambiguous_part() {
    let host = told();
    Teller::new(&host, session("4f1cffff-other")).start(60_000, Binding::Bound);
    assert!(
        host.run(&["session", "show", "claude-code/4f1cffff-other"])
            .done()
            .contains("4f1cffff-other")
    );
    assert!(
        host.run(&["session", "show", "4f1cffff-other"])
            .done()
            .contains("4f1cffff-other")
    );
    assert!(
        host.run(&["session", "show", "other"])
            .done()
            .contains("4f1cffff-other")
    );
    insta::assert_snapshot!("ambiguous", host.run(&["session", "show", "4f1c"]).whole());
    insta::assert_snapshot!(
        "no_such_session",
        host.run(&["session", "show", "x\x1b[2J"]).whole()
    );
}

#[test]
fn nothing_hostile_reaches_the_terminal() {
    let host = Host::new();
    let mut t = Teller::new(&host, session("hostile"));
    let evil = "a\x1b[2J\x1b]0;owned\x07\u{9b}31m\u{202e}txt.exe\u{200b}\r\x08b";
    t.start(
        0,
        Binding::Forged {
            caller: evil.to_owned(),
        },
    );
    t.prompt(1, &format!("line one\n{evil}"));
    let mut refused = allow();
    refused.verdict = Verdict::Deny;
    refused.reason = evil.to_owned();
    refused.findings.push(finding("rule.x", Severity::High, evil));
    t.call(2, "c1", evil, shell(&format!("echo ok\n{evil}")), refused);
    let bash = program(5, 3, "/tmp/\x1b[31mred\u{202e}");
    t.exec(
        &bash,
        &program(1, 0, "node"),
        &[evil, "two\nlines"],
        why("c1", Basis::Argv, Explained::Declared),
    );
    let lineage = || why("c1", Basis::Lineage, Explained::Derived);
    let seq = t.act(
        4,
        &bash,
        open(&format!("/{evil}"), FileAccess::Create, Some(evil)),
        lineage(),
    );
    t.finding(5, Some("c1"), seq, finding(evil, Severity::Critical, evil));
    t.add(
        6,
        None,
        RecordBody::Gap {
            cause: evil.to_owned(),
            missing: None,
            detail: evil.to_owned(),
        },
    );
    t.add(
        7,
        None,
        RecordBody::SessionEnd {
            reason: Some(evil.to_owned()),
        },
    );
    t.add_to_none(
        3,
        RecordBody::Daemon {
            daemon: evil.to_owned(),
            state: evil.to_owned(),
            detail: evil.to_owned(),
        },
    );
    let commands: [&[&str]; 9] = [
        &["session", "show", "last"],
        &["session", "show", "last", "--all"],
        &["session", "show", "last", "--json"],
        &["session", "list"],
        &["audit", "tail", "-n", "100"],
        &["audit", "tail", "-n", "100", "--json"],
        &["audit", "show", "4"],
        &["audit", "show", "6"],
        &["audit", "show", "5", "--json"],
    ];
    for command in commands {
        let out = host.run(command).done();
        let bad = out
            .chars()
            .find(|&c| c != '\n' && defenseclaw_cli::text::is_unsafe(c));
        assert_eq!(bad, None, "{command:?} printed it: {out:?}");
    }
    insta::assert_snapshot!("hostile", host.run(&["session", "show", "last"]).done());
}

#[test]
fn a_call_that_ran_although_it_was_denied_is_called_that() {
    let host = Host::new();
    let mut t = Teller::new(&host, session("bypass"));
    let mut refused = allow();
    refused.verdict = Verdict::Deny;
    t.call(0, "c1", "Bash", shell("rm -rf /"), refused);
    let rm = program(7, 10, "/usr/bin/rm");
    t.exec(
        &rm,
        &program(1, 0, "node"),
        &["rm", "-rf", "/"],
        why("c1", Basis::Argv, Explained::Declared),
    );
    assert!(
        host.run(&["session", "show", "last"])
            .done()
            .contains("RAN ALTHOUGH IT WAS DENIED: 1 activity")
    );
}

#[test]
fn effects_of_a_call_that_the_ledger_does_not_know_are_shown() {
    let host = Host::new();
    let mut t = Teller::new(&host, session("lost"));
    let rm = program(7, 10, "/usr/bin/rm");
    t.exec(
        &rm,
        &program(1, 0, "node"),
        &["rm", "x"],
        why("lost-call", Basis::Lineage, Explained::Derived),
    );
    let seq = t.prompt(20, "after");
    t.finding(
        30,
        None,
        seq + 1_000,
        finding("rule.lost", Severity::Low, "about a record that is not there"),
    );
    let out = host.run(&["session", "show", "last"]).done();
    assert!(
        out.contains("a call whose declaration is not in the ledger"),
        "{out}"
    );
    assert!(out.contains("rm x  no end seen  (lineage, derived)"), "{out}");
    assert!(out.contains("! LOW rule.lost"), "{out}");
}

/// A process tree that is wide, deep and full of findings is bounded without `--all`, and what is left out is named.
#[test]
fn a_hostile_tree_is_bounded_and_its_worst_finding_still_shown() {
    const DEPTH: u32 = 400;
    let host = Host::new();
    let mut t = Teller::new(&host, session("deep"));
    t.call(0, "c1", "Bash", shell("./fork.sh"), allow());
    let mut above: Program = program(1, 0, "node");
    for i in 0..DEPTH {
        let sh = program(100 + i, 10 + u64::from(i), "/usr/bin/sh");
        t.exec(
            &sh,
            &above,
            &["sh", "-c", "again"],
            why("c1", Basis::Lineage, Explained::Derived),
        );
        let seq = t.act(
            10 + u64::from(i),
            &sh,
            connect("203.0.113.9", 443),
            why("c1", Basis::Lineage, Explained::Derived),
        );
        if i == DEPTH - 1 {
            t.finding(
                500,
                Some("c1"),
                seq,
                finding("effect.worst", Severity::Critical, "at the very end"),
            );
        }
        above = sh;
    }
    let short = host.run(&["session", "show", "last"]).done();
    assert!(short.lines().count() < 350, "{}", short.lines().count());
    assert!(short.contains("… 250 further processes not shown"), "{short}");
    assert!(
        short.contains("! CRITICAL effect.worst: at the very end"),
        "{short}"
    );
    assert!(
        short.contains("level 100"),
        "deep nodes tell their level: {short}"
    );

    let all = host.run(&["session", "show", "last", "--all"]).done();
    assert_eq!(
        all.lines().filter(|line| line.contains("sh -c again")).count() as u32,
        DEPTH
    );
    let widest = all.lines().map(defenseclaw_cli::text::width).max().unwrap();
    assert!(widest < 200, "indentation is bounded: {widest}");
}
