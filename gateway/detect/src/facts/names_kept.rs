//! What is read of a process's environment where nothing but the names or the number of its variables is kept.

use defenseclaw_model::facts::BehaviourKind::Credential;
use defenseclaw_model::facts::Program;

use super::Analysis;

/// Most programs that one output is followed through; people write four.
const MAX_STEPS: usize = 16;

/// Programs that hand on what comes in, line by line.
const PASSING: &[&str] = &[
    "cat", "tr", "strings", "sort", "uniq", "head", "tail", "grep", "egrep", "sudo", "xargs",
];

/// Takes the class off an environment of which only names are kept, before flows are drawn from it.
pub(super) fn settle(analysis: &mut Analysis) {
    let is_environment = |at: &usize| {
        analysis.facts.reads.get(*at).is_some_and(|fact| {
            fact.class.as_deref() == Some("process-secrets") && fact.path.ends_with("/environ")
        })
    };
    let found: Vec<usize> = (0..analysis.facts.reads.len()).filter(is_environment).collect();
    for at in found {
        let mut readers = 0;
        let kept = analysis.nodes.iter().enumerate().all(|(program, node)| {
            let reads = node.reads.contains(&at);
            readers += usize::from(reads);
            !reads || keeps(analysis, program, 0)
        });
        if !kept || readers == 0 {
            continue;
        }
        let Some(fact) = analysis.facts.reads.get_mut(at) else {
            continue;
        };
        fact.class = None;
        let path = fact.path.clone();
        analysis.facts.behaviours.retain(|known| {
            known.kind != Credential || known.technique != "env-of-process" || known.object != path
        });
    }
}

/// Whether what the program at `at` prints of its input, or what is left of it further on, is names or a number.
fn keeps(analysis: &Analysis, at: usize, step: usize) -> bool {
    let (Some(node), Some(program)) = (analysis.nodes.get(at), analysis.facts.programs.get(at)) else {
        return false;
    };
    if node.digests || cuts(program) {
        return true;
    }
    if step >= MAX_STEPS
        || !node.writes.is_empty()
        || node.sends.is_some()
        || !PASSING.contains(&program.name.as_str())
    {
        return false;
    }
    let mut readers = analysis
        .facts
        .pipes
        .iter()
        .filter(|pipe| pipe.from == at)
        .peekable();
    readers.peek().is_some() && readers.all(|pipe| pipe.to > at && keeps(analysis, pipe.to, step + 1))
}

/// Whether a filter keeps of `NAME=value` the name alone.
fn cuts(program: &Program) -> bool {
    let words: Vec<&str> = program.argv.iter().skip(1).map(String::as_str).collect();
    let value = |short: &str, long: &str| {
        words.iter().enumerate().find_map(|(at, word)| {
            if *word == short || *word == long {
                return words.get(at + 1).copied();
            }
            let glued = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('='));
            glued.or_else(|| word.strip_prefix(short).filter(|_| !word.starts_with("--")))
        })
    };
    let script = || {
        words
            .iter()
            .find(|word| word.contains('{') || word.starts_with("s/"))
    };
    match program.name.as_str() {
        "cut" => value("-d", "--delimiter") == Some("=") && value("-f", "--fields") == Some("1"),
        "awk" | "gawk" | "mawk" => {
            value("-F", "--field-separator") == Some("=")
                && script().is_some_and(|script| {
                    let bare: String = script.split_whitespace().collect();
                    bare == "{print$1}"
                })
        }
        "sed" => {
            let given = words.iter().filter(|word| !word.starts_with('-')).count();
            given == 1
                && script()
                    .is_some_and(|script| ["s/=.*//", "s/=.*$//", "s/=.*/=/", "s/=.*/=***/"].contains(script))
        }
        _ => false,
    }
}
