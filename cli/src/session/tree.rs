//! A forest of program images for a person.
//!
//! ```text
//! └─ sh ./build.sh  exit 0, 1.2 s  (argv, declared)
//!    │  read    /home/dev/.aws/credentials [credential]  (lineage, derived)
//!    │  ! HIGH effect.undeclared-credential-read: …
//!    ├─ cc -c a.c  exit 0, 310 ms  (lineage, derived)
//!    └─ … 14 more processes (cc ×12, ld ×2)
//! ```
//!
//! Without `--all` a node shows all its notable children and a few others; what is left is counted. However large the
//! tree, the number of lines is bounded, and findings on what was left out are named below it.

use std::collections::BTreeMap;
use std::io;

use defenseclaw_model::activity::{Action, FileAccess};

use super::forest::{Forest, Node, Noted, Seen};
use super::page::Page;
use crate::text::{self, count, counted, pad, safe};
use crate::view::Ink;
use crate::{time, words};

/// Children of one node that are shown although nothing is notable about them.
const MAX_PLAIN_CHILDREN: usize = 6;
/// Effects of one node that are shown although nothing is notable about them.
const MAX_PLAIN_EFFECTS: usize = 5;
/// Notable effects of one node that are shown.
const MAX_NOTABLE_EFFECTS: usize = 30;
/// Nodes of one forest that are shown.
const MAX_NODES: usize = 150;
/// Findings on nodes that are not shown which are named below the forest.
const MAX_LEFT_OUT_FINDINGS: usize = 10;
/// Columns of the verb before a path or address.
const VERB: usize = 7;

/// What is still to be printed, the next at the end.
enum Todo {
    Node {
        place: usize,
        prefix: String,
        last: bool,
        depth: usize,
    },
    Folded {
        places: Vec<usize>,
        prefix: String,
    },
}

/// Prints the trees below an indentation.
pub(super) fn print(forest: &Forest, page: &mut Page<'_>, indent: usize) -> io::Result<()> {
    let mut todo = Vec::new();
    push(
        forest,
        forest.roots().collect(),
        " ".repeat(indent),
        0,
        page.all,
        &mut todo,
    );
    let (mut shown, mut left_out) = (0, Vec::new());
    while let Some(next) = todo.pop() {
        match next {
            Todo::Folded { places, prefix } => {
                let line = format!("… {}", folded(forest, &places));
                writeln!(
                    page.out,
                    "{}",
                    page.view.paint(Ink::Faint, &format!("{prefix}└─ {line}"))
                )?;
            }
            Todo::Node { place, .. } if !page.all && shown >= MAX_NODES => left_out.push(place),
            Todo::Node {
                place,
                prefix,
                last,
                depth,
            } => {
                shown += 1;
                let below = child_prefix(&prefix, last, depth < levels(page));
                let before = todo.len();
                push(
                    forest,
                    forest.nodes[place].children.clone(),
                    below.clone(),
                    depth + 1,
                    page.all,
                    &mut todo,
                );
                let node = &forest.nodes[place];
                node_line(
                    node,
                    &format!("{prefix}{}", if last { "└─ " } else { "├─ " }),
                    depth,
                    page,
                )?;
                let bar = if todo.len() > before { "│  " } else { "   " };
                effects(node, &format!("{below}{bar}"), page)?;
            }
        }
    }
    if left_out.is_empty() {
        Ok(())
    } else {
        left_out_line(forest, &left_out, page, indent)
    }
}

/// Levels that are indented; deeper ones stand at that indentation, with their level written out.
fn levels(page: &Page<'_>) -> usize {
    (page.width / 9).clamp(4, 24)
}

fn child_prefix(prefix: &str, last: bool, indented: bool) -> String {
    match (indented, last) {
        (false, _) => prefix.to_owned(),
        (true, true) => format!("{prefix}   "),
        (true, false) => format!("{prefix}│  "),
    }
}

/// Puts these siblings on the list: the notable ones and a few others, then one line for the rest.
fn push(forest: &Forest, places: Vec<usize>, prefix: String, depth: usize, all: bool, todo: &mut Vec<Todo>) {
    let plain = places
        .iter()
        .filter(|&&place| !forest.nodes[place].notable)
        .count();
    let mut room = if all || plain <= MAX_PLAIN_CHILDREN + 1 {
        usize::MAX
    } else {
        MAX_PLAIN_CHILDREN
    };
    let (shown, rest): (Vec<usize>, Vec<usize>) = places.into_iter().partition(|&place| {
        if forest.nodes[place].notable {
            return true;
        }
        let fits = room > 0;
        room = room.saturating_sub(1);
        fits
    });
    let folds = !rest.is_empty();
    if folds {
        todo.push(Todo::Folded {
            places: rest,
            prefix: prefix.clone(),
        });
    }
    for (i, &place) in shown.iter().enumerate().rev() {
        let last = !folds && i + 1 == shown.len();
        todo.push(Todo::Node {
            place,
            prefix: prefix.clone(),
            last,
            depth,
        });
    }
}

/// `14 more processes (cc ×12, ld ×2)`.
fn folded(forest: &Forest, places: &[usize]) -> String {
    let mut names: BTreeMap<&str, u64> = BTreeMap::new();
    for &place in places {
        *names
            .entry(words::base_name(&forest.nodes[place].program))
            .or_default() += 1;
    }
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    let mut named: Vec<String> = names
        .iter()
        .take(3)
        .map(|(name, number)| format!("{} ×{number}", text::cut(&safe(name), 20)))
        .collect();
    if names.len() > 3 {
        named.push("…".to_owned());
    }
    let number: u64 = places.iter().map(|&place| forest.nodes[place].below + 1).sum();
    format!(
        "{} ({}); --all shows them",
        counted(number, "more process", "more processes"),
        named.join(", ")
    )
}

fn left_out_line(forest: &Forest, roots: &[usize], page: &mut Page<'_>, indent: usize) -> io::Result<()> {
    let mut findings = Vec::new();
    let mut stack = roots.to_vec();
    let mut number = 0;
    while let Some(place) = stack.pop() {
        number += 1;
        findings.extend(findings_of(&forest.nodes[place]));
        stack.extend(&forest.nodes[place].children);
    }
    let line = format!(
        "… {} not shown; --all shows them",
        counted(number, "further process", "further processes")
    );
    writeln!(page.out, "{:indent$}{}", "", page.view.paint(Ink::Warn, &line))?;
    findings.sort_by_key(|noted| (std::cmp::Reverse(noted.finding.severity), noted.seq));
    let merged = merge_findings(findings.iter().copied());
    for (noted, times) in merged.iter().take(MAX_LEFT_OUT_FINDINGS) {
        page.finding(noted, *times, &" ".repeat(indent + 2))?;
    }
    let more = merged.len().saturating_sub(MAX_LEFT_OUT_FINDINGS) as u64;
    if more > 0 {
        writeln!(
            page.out,
            "{:indent$}  … and {}",
            "",
            counted(more, "more finding", "more findings")
        )?;
    }
    Ok(())
}

/// Every finding on the node itself.
pub(super) fn findings_of(node: &Node) -> impl Iterator<Item = &Noted> {
    let seen = node.exec.iter().chain(&node.effects);
    seen.flat_map(|seen| &seen.findings).chain(&node.end_findings)
}

fn node_line(node: &Node, prefix: &str, depth: usize, page: &mut Page<'_>) -> io::Result<()> {
    let view = page.view;
    let tail = node_tail(node, depth, page);
    let mark = if node.outlived { "  outlived its call" } else { "" };
    let because = match (&node.exec, node.attribution()) {
        (Some(_), Some(attribution)) => format!("  ({})", words::attribution(attribution)),
        _ => String::new(),
    };
    let used: usize = [prefix, &tail, mark, &because].map(text::width).iter().sum();
    let label = label(node);
    let label = text::cut(&label, page.room(used));
    let unexplained = node.exec.as_ref().is_some_and(Seen::is_unexplained);
    writeln!(
        page.out,
        "{}{label}{}{}{}",
        view.paint(Ink::Faint, prefix),
        view.paint(Ink::Faint, &tail),
        view.paint(Ink::Warn, mark),
        view.paint(if unexplained { Ink::Bad } else { Ink::Faint }, &because)
    )
}

/// How the node ended, and what else there is to say of it.
fn node_tail(node: &Node, depth: usize, page: &Page<'_>) -> String {
    let mut tail = match (&node.end, node.replaced) {
        (Some(end), _) => format!(
            "  {}, {}",
            words::exit(end.status),
            time::duration(end.duration_ns)
        ),
        // What it became has the end.
        (None, true) => String::new(),
        (None, false) if node.exec.is_some() => "  no end seen".to_owned(),
        (None, false) => String::new(),
    };
    if page.all && node.forks > 0 {
        tail.push_str(&format!("  {}", counted(node.forks, "fork", "forks")));
    }
    if depth > levels(page) {
        tail.push_str(&format!("  level {}", depth + 1));
    }
    if let Some(exec) = node.exec.as_ref().filter(|_| page.timed && depth == 0) {
        tail.push_str(&format!(
            "  at {}",
            time::local_clock(exec.activity.time_ns, &page.view.zone)
        ));
    }
    tail
}

/// The command line, with the program's path where the command line names another; of an image that was running
/// before, its program.
fn label(node: &Node) -> String {
    match node.exec.as_ref().map(|exec| &exec.activity.action) {
        Some(Action::Exec {
            path,
            argv,
            argv_truncated,
            ..
        }) => {
            // As in a shell: `exec cat` is cat in the shell's own process.
            let same = if node.replaces { "exec " } else { "" };
            let line = format!("{same}{}", text::command_line(argv, *argv_truncated));
            // What a program calls itself is its own choice; what was executed is not.
            let named = argv.first().map(|name| words::base_name(name));
            if named == Some(words::base_name(path)) {
                line
            } else {
                format!("{line} [{}]", safe(path))
            }
        }
        _ if node.image.exec_ns == 0 => {
            format!("{} (already running)", safe(words::base_name(&node.program)))
        }
        _ => format!("{} (started elsewhere)", safe(words::base_name(&node.program))),
    }
}

/// One line of effects: the first of those that are alike, and how many there are.
struct Alike<'a> {
    first: &'a Seen,
    times: usize,
    findings: Vec<&'a Noted>,
}

fn effects(node: &Node, prefix: &str, page: &mut Page<'_>) -> io::Result<()> {
    let own = node
        .exec
        .iter()
        .flat_map(|exec| &exec.findings)
        .chain(&node.end_findings);
    findings(own, prefix, page)?;
    let (mut plain, mut notable, mut left_out) = (0, 0, Vec::new());
    for alike in merge(&node.effects) {
        let (number, most) = match alike.first.is_notable() {
            true => (&mut notable, MAX_NOTABLE_EFFECTS),
            false => (&mut plain, MAX_PLAIN_EFFECTS),
        };
        *number += 1;
        if !page.all && *number > most {
            left_out.push(alike);
            continue;
        }
        effect_line(&alike, prefix, page)?;
        findings(alike.findings.iter().copied(), prefix, page)?;
    }
    if left_out.is_empty() {
        return Ok(());
    }
    let line = format!("… {}; --all shows them", more_effects(&left_out));
    writeln!(
        page.out,
        "{}",
        page.view.paint(Ink::Faint, &format!("{prefix}{line}"))
    )?;
    findings(
        left_out.iter().flat_map(|alike| alike.findings.iter().copied()),
        prefix,
        page,
    )
}

fn findings<'a>(found: impl Iterator<Item = &'a Noted>, prefix: &str, page: &mut Page<'_>) -> io::Result<()> {
    merge_findings(found)
        .into_iter()
        .try_for_each(|(noted, times)| page.finding(noted, times, prefix))
}

fn merge_findings<'a>(found: impl Iterator<Item = &'a Noted>) -> Vec<(&'a Noted, usize)> {
    let mut places: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut merged: Vec<(&Noted, usize)> = Vec::new();
    for noted in found {
        let place = *places
            .entry((&noted.finding.rule, &noted.finding.message))
            .or_insert(merged.len());
        match merged.get_mut(place) {
            Some((_, times)) => *times += 1,
            None => merged.push((noted, 1)),
        }
    }
    merged
}

/// Effects that a person cannot tell apart, as one.
fn merge(effects: &[Seen]) -> Vec<Alike<'_>> {
    let mut places: BTreeMap<(String, bool), usize> = BTreeMap::new();
    let mut merged: Vec<Alike<'_>> = Vec::new();
    for seen in effects {
        let (verb, what, _) = describe(&seen.activity.action);
        let key = format!("{verb} {what} {}", words::attribution(&seen.activity.attribution));
        let place = *places.entry((key, seen.is_notable())).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(alike) => {
                alike.times += 1;
                alike.findings.extend(&seen.findings);
            }
            None => merged.push(Alike {
                first: seen,
                times: 1,
                findings: seen.findings.iter().collect(),
            }),
        }
    }
    merged
}

/// Verb, what, and the class of a path.
fn describe(action: &Action) -> (&'static str, String, Option<&str>) {
    match action {
        Action::Open {
            path,
            path_truncated,
            access,
            class,
            ..
        } => (
            words::access(*access),
            words::path(path, *path_truncated, None),
            class.as_deref(),
        ),
        Action::Connect {
            protocol,
            address,
            port,
        } => ("connect", words::destination(*protocol, *address, *port), None),
        Action::IoUring { entries } => ("io_uring", words::io_uring(*entries), None),
        Action::Exec { path, .. } => ("exec", safe(path).into_owned(), None),
        Action::Exit { status, .. } => ("exit", words::exit(*status), None),
    }
}

fn effect_line(alike: &Alike<'_>, prefix: &str, page: &mut Page<'_>) -> io::Result<()> {
    let view = page.view;
    let (verb, what, class) = describe(&alike.first.activity.action);
    let class = class
        .map(|class| format!(" [{}]", safe(class)))
        .unwrap_or_default();
    let times = if alike.times > 1 {
        format!(" ×{}", count(alike.times as u64))
    } else {
        String::new()
    };
    let because = format!("  ({})", words::attribution(&alike.first.activity.attribution));
    let verb = format!("{} ", pad(verb, VERB));
    let used: usize = [prefix, &verb, &class, &times, &because]
        .map(text::width)
        .iter()
        .sum();
    let what = text::cut_start(&what, page.room(used));
    let unexplained = alike.first.is_unexplained();
    writeln!(
        page.out,
        "{}{what}{}{}{}",
        view.paint(Ink::Faint, &format!("{prefix}{verb}")),
        view.paint(Ink::Warn, &class),
        view.paint(Ink::Faint, &times),
        view.paint(if unexplained { Ink::Bad } else { Ink::Faint }, &because)
    )
}

/// `117 more (110 created, 7 written)`.
fn more_effects(left_out: &[Alike<'_>]) -> String {
    let mut numbers = [
        (0u64, "created"),
        (0, "written"),
        (0, "read"),
        (0, "connections"),
        (0, "other"),
    ];
    for alike in left_out {
        let kind = match &alike.first.activity.action {
            Action::Open {
                access: FileAccess::Create,
                ..
            } => 0,
            Action::Open {
                access: FileAccess::Write,
                ..
            } => 1,
            Action::Open {
                access: FileAccess::Read,
                ..
            } => 2,
            Action::Connect { .. } => 3,
            Action::Exec { .. } | Action::Exit { .. } | Action::IoUring { .. } => 4,
        };
        numbers[kind].0 += 1;
    }
    let parts: Vec<String> = numbers
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{} {what}", count(*n)))
        .collect();
    format!("{} more ({})", count(left_out.len() as u64), parts.join(", "))
}
