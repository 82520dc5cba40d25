//! From a simple command to facts: which program runs, and what it does with its words.

use std::ops::Range;

use super::flows::{self, Way};
use super::landing::{self, Manner};
use super::options::{Arguments, split_options};
use super::shells::{eval, later, run_content, shell_call, sourced, tee};
use super::table::{self, Operands, Use};
use super::{
    Access, Analysis, behaviours, calls, carried, code, elsewhere, functions, given, hosts, languages,
    mentions, normal, prints, scripted, special, stricter, tar, transfers, wrappers,
};
use crate::shell::{self, Command, Field, Piece, Place, Redirect, RedirectKind, Scope, Sink, Word};

/// One program's call within a simple command: the command's own, or the one that a wrapper runs.
#[derive(Clone, Copy)]
pub(super) struct Call<'c> {
    /// The program and its arguments.
    pub(super) fields: &'c [(Field, usize)],
    /// The simple command that it stands in.
    pub(super) command: &'c Command,
    pub(super) place: Place,
}

impl<'c> Call<'c> {
    /// The arguments behind the program's name.
    pub(super) fn arguments(&self) -> &'c [(Field, usize)] {
        self.fields.get(1..).unwrap_or_default()
    }

    /// The same command, but with the program that stands at `at` of [`Call::arguments`].
    pub(super) fn inner(&self, at: usize) -> Self {
        let fields = self.arguments().get(at..).unwrap_or_default();
        self.with(fields)
    }

    pub(super) fn with(&self, fields: &'c [(Field, usize)]) -> Self {
        Self {
            fields,
            command: self.command,
            place: Place {
                depth: self.place.depth + 1,
                ..self.place
            },
        }
    }

    /// The here-document, here-string or literal text that comes in on the standard input.
    pub(super) fn input(&self) -> Option<&'c str> {
        let bodies = self
            .command
            .redirects
            .iter()
            .rev()
            .find_map(|redirect| redirect.body.as_deref());
        bodies.or(self.command.input.as_deref())
    }
}

/// Adds what a simple command declares; gives what it is known to print.
pub(super) fn simple_command(
    analysis: &mut Analysis,
    command: &Command,
    scope: &mut Scope<'_>,
    place: Place,
) -> Option<String> {
    let first = analysis.programs();
    let printed = run(
        analysis,
        Call {
            fields: &command.fields,
            command,
            place,
        },
        scope,
    );
    let own = analysis.at_level(first..analysis.programs(), place.level);
    let mut printed = printed;
    for redirect in &command.redirects {
        if redirect.kind == RedirectKind::Write
            && let Some(text) = printed.take()
        {
            let call = Call {
                fields: &command.fields,
                command,
                place,
            };
            given::file(analysis, &redirect.targets, &text, call, scope);
            analysis.contents.keep(&redirect.targets, text, scope);
        }
        redirected(analysis, redirect, &own, scope);
    }
    printed
}

/// What a redirection reads and writes, for each program that it stands behind.
fn redirected(analysis: &mut Analysis, redirect: &Redirect, own: &[usize], scope: &Scope<'_>) {
    let outer = analysis.current;
    for target in &redirect.targets {
        // Without a program (`> file`) the shell itself opens it.
        if redirect.kind == RedirectKind::Read && target.exact {
            run_from(analysis, target, own, scope);
        }
        for program in own
            .iter()
            .copied()
            .map(Some)
            .chain(own.is_empty().then_some(None))
        {
            analysis.current = program;
            match redirect.kind {
                RedirectKind::Read => analysis.path(Access::Read, target, scope),
                RedirectKind::Write => analysis.path(Access::Write, target, scope),
                RedirectKind::ReadWrite => {
                    analysis.path(Access::Read, target, scope);
                    analysis.path(Access::Write, target, scope);
                }
                RedirectKind::Duplicate | RedirectKind::HereDocument | RedirectKind::HereString => {}
            }
        }
    }
    analysis.current = outer;
    for feed in &redirect.feeds {
        let inner = analysis.outermost(feed.clone());
        match redirect.kind {
            RedirectKind::Write => analysis.join(own, &inner, Way::Input),
            _ => analysis.join(&inner, own, Way::Input),
        }
    }
    for feed in &redirect.followed {
        let inner = analysis.outermost(feed.clone());
        analysis.follow(&inner, own, Way::Input);
    }
}

/// `sh < FILE`: what a program that runs its input is given is the file that it runs.
fn run_from(analysis: &mut Analysis, target: &Field, own: &[usize], scope: &Scope<'_>) {
    for at in own {
        let Some(node) = analysis.nodes.get_mut(*at) else {
            continue;
        };
        if node.runs & Way::Input.bit() != 0 && node.file.is_none() {
            node.runs |= Way::Code.bit();
            node.file = Some(normal::normalise(&target.text, scope.cwd.as_deref()));
        }
    }
}

/// Adds one program's call.
pub(super) fn run(analysis: &mut Analysis, call: Call<'_>, scope: &mut Scope<'_>) -> Option<String> {
    let (first, _) = call.fields.first()?;
    if call.place.depth > shell::MAX_DEPTH {
        analysis.stop("too-deep", &first.text);
        return None;
    }
    let name = program_name(first);
    if !first.exact && name == first.text {
        analysis.opaque(
            if first.substitution {
                "substitution"
            } else {
                "expansion"
            },
            &first.text,
        );
    }
    let words = words_of(call);
    let argv = words.iter().map(Word::as_argument).collect();
    let index = analysis.program(name.clone(), argv, call.place.level)?;
    for (at, word) in words.iter().enumerate() {
        if word.feeds.is_empty() && word.followed.is_empty() {
            continue;
        }
        let way = flows::way_of(&name, words, at);
        let takes = word
            .pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Process { source, .. } if source.starts_with('>')));
        for feed in &word.feeds {
            let inner = analysis.outermost(feed.clone());
            if takes {
                // `tee >(sh)`: what is written there is read in it.
                analysis.join(&[index], &inner, Way::Input);
            } else {
                analysis.join(&inner, &[index], way);
            }
        }
        for feed in &word.followed {
            let inner = analysis.outermost(feed.clone());
            analysis.follow(&inner, &[index], way);
        }
    }
    let outer = (analysis.current.replace(index), analysis.place);
    analysis.place = call.place;
    let printed = act(analysis, &name, call, scope);
    (analysis.current, analysis.place) = outer;
    printed
}

/// What the program called `name` does with its words.
fn act(analysis: &mut Analysis, name: &str, call: Call<'_>, scope: &mut Scope<'_>) -> Option<String> {
    behaviours::of_program(analysis, name, call, scope);
    languages::note(analysis, name, call, scope);
    let ran = carried::note(analysis, name, call, scope);
    if wrappers::run_inner(analysis, name, call, scope) {
        return None;
    }
    match name {
        name if table::is_shell(name) || is_own_shell(call) => shell_call(analysis, call, scope),
        "eval" => eval(analysis, call, scope),
        "source" | "." => sourced(analysis, call, scope),
        "alias" | "trap" => later(analysis, name, call, scope),
        "cd" | "pushd" | "popd" => special::change_folder(call, scope),
        "export" | "declare" | "local" | "readonly" | "typeset" => special::declare(call, scope),
        "read" | "mapfile" | "readarray" | "unset" => special::forget(call, scope),
        "find" => special::find(analysis, call, scope),
        "tar" | "bsdtar" | "gtar" => {
            tar::tar(analysis, call, scope);
            special::listed(analysis, name, call, scope);
        }
        "dd" => {
            special::dd(analysis, call, scope);
            carried::copied(analysis, name, call, scope);
        }
        "set" => special::parameters(call, scope),
        "printf"
            if call
                .arguments()
                .first()
                .is_some_and(|(field, _)| field.text == "-v") =>
        {
            special::format(call, scope);
        }
        // Its name is made up, but the same wherever the call uses it.
        "mktemp" if call.place.level > 0 => return Some(format!("/tmp/tmp.{}", analysis.programs())),
        _ => {
            special::privileged_options(analysis, name, call);
            arguments(analysis, name, call, scope);
            elsewhere::note(analysis, name, call, scope);
            given::note(analysis, name, call, scope);
            transfers::note(analysis, name, call, scope);
            scripted::note(analysis, name, call, scope);
            if !ran {
                carried::shell_among_words(analysis, name, call, scope);
            }
            if !analysis.functions.is_empty() {
                functions::run(analysis, name, call, scope);
            }
            match name {
                "ln" => special::link(analysis, call, scope),
                "cp" | "mv" | "install" => carried::copied(analysis, name, call, scope),
                "cpio" | "pax" | "zip" | "7z" | "rsync" | "rclone" | "wc" | "sort" | "du" => {
                    special::listed(analysis, name, call, scope);
                }
                "tee" => tee(analysis, call, scope),
                "awk" | "gawk" | "mawk" | "nawk" => calls::awk(analysis, call, scope),
                _ => {}
            }
            if let Some((field, _)) = call.fields.first().filter(|(field, _)| field.text.contains('/')) {
                let place = Place {
                    depth: call.place.depth + 1,
                    ..call.place
                };
                run_content(analysis, field, scope, place);
            }
        }
    }
    let invocation = behaviours::Invocation { name, call };
    let shown = shown(analysis, &invocation, scope);
    analysis.spend(shown.as_ref().map_or(0, String::len));
    let printed = shown.or_else(|| prints::printed(&invocation));
    stricter::note(analysis, name, call, printed.as_deref());
    printed
}

/// `cat FILE` of a file that the call has written.
fn shown(analysis: &Analysis, call: &behaviours::Invocation<'_>, scope: &Scope<'_>) -> Option<String> {
    let mut fields = call.fields();
    match (call.name, fields.next(), fields.next()) {
        ("cat" | "tac" | "head" | "tail", Some(file), None) => analysis.contents.of(file, scope),
        _ => None,
    }
}

/// `"$SHELL"`, `"$BASH"`: the shell that reads the command itself, whichever that is.
fn is_own_shell(call: Call<'_>) -> bool {
    let names = |text: &str| {
        ["SHELL", "BASH", "ZSH_ARGZERO"]
            .iter()
            .any(|name| text.contains(name))
    };
    let first = call.fields.first();
    first.is_some_and(|(field, _)| !field.exact && names(&field.text))
}

/// The words that a call's fields came from.
fn words_of<'c>(call: Call<'c>) -> &'c [Word] {
    let range = match (call.fields.first(), call.fields.last()) {
        (Some((_, first)), Some((_, last))) => *first..*last + 1,
        _ => Range::default(),
    };
    call.command.words.get(range).unwrap_or_default()
}

/// The last path component, where that much is literal.
fn program_name(field: &Field) -> String {
    let last = field.text.rsplit('/').next().unwrap_or_default();
    let literal = field.exact || !last.contains(['$', '`', '(', ')', '{', '}']);
    if literal && !last.is_empty() {
        last.to_owned()
    } else {
        field.text.clone()
    }
}

/// Goes through a program's arguments by what the table knows of it.
fn arguments(analysis: &mut Analysis, name: &str, call: Call<'_>, scope: &Scope<'_>) {
    let spec = table::of(name);
    let parsed = split_options(call.arguments(), spec.options);
    for (option, field) in &parsed.values {
        let used = match option_use(&spec, option) {
            _ if name.ends_with("sed") && matches!(*option, "-e" | "--expression") => Use::Ignore,
            Use::Write if only_shows(name, call) => Use::Read,
            used => used,
        };
        apply(analysis, used, field, scope, spec.connects && used != Use::Ignore);
    }
    if matches!(spec.operands, Operands::All(Use::Guess)) {
        glued(analysis, &parsed.flags, scope);
    }
    let pattern_given = parsed
        .values
        .iter()
        .any(|(option, _)| matches!(*option, "-e" | "-f" | "--expression" | "--file"))
        && matches!(
            name,
            "sed" | "gsed" | "grep" | "egrep" | "fgrep" | "rg" | "awk" | "gawk" | "mawk" | "jq"
        );
    let runs_code = parsed
        .values
        .iter()
        .any(|(option, _)| option_use(&spec, option) == Use::Code || *option == "-m")
        && table::interpreter(name);
    let operands = parsed.operands.as_slice();
    match spec.operands {
        Operands::All(Use::Edit) if only_shows(name, call) => operands
            .iter()
            .for_each(|field| apply(analysis, Use::Read, field, scope, spec.connects)),
        Operands::All(used) => operands
            .iter()
            .for_each(|field| apply(analysis, used, field, scope, spec.connects)),
        Operands::First(_, rest) if pattern_given => {
            operands
                .iter()
                .for_each(|field| apply(analysis, rest, field, scope, spec.connects));
        }
        Operands::First(_, rest) if runs_code => {
            operands
                .iter()
                .for_each(|field| apply(analysis, rest, field, scope, spec.connects));
        }
        Operands::First(first, rest) => {
            first_operand(analysis, (first, rest), operands, scope, spec.connects)
        }
        Operands::CopyTo | Operands::MoveTo => {
            let moves = spec.operands == Operands::MoveTo;
            copy(analysis, name, &parsed, moves, scope, spec.connects);
        }
    }
    let awk = matches!(name, "awk" | "gawk" | "mawk" | "nawk");
    if awk
        && parsed
            .values
            .iter()
            .any(|(option, field)| changes_files(option, &field.text))
    {
        for field in operands.iter().skip(usize::from(!pattern_given)) {
            analysis.path(Access::Write, field, scope);
        }
    }
    if matches!(name, "sed" | "gsed" | "perl" | "ruby") && parsed.flags.iter().any(|flag| is_in_place(flag)) {
        for field in operands
            .iter()
            .skip(usize::from(!pattern_given && name.ends_with("sed")))
        {
            analysis.path(Access::Write, field, scope);
        }
    }
    if let [verb, text, ..] = operands
        && matches!(
            (name, verb.text.as_str()),
            ("deno", "eval") | ("bun", "eval") | ("wsl", "-e")
        )
    {
        code::scan(analysis, &text.text, scope);
    }
    if table::interpreter(name)
        && !runs_code
        && let Some(script) = operands.first()
        && let Some(text) = analysis.contents.of(script, scope)
    {
        // A test hands what its texts name to what is tested.
        let text = if mentions::is_test(&script.text) {
            mentions::acting(&script.text, &text, true).into_owned()
        } else {
            text
        };
        code::scan(analysis, &text, scope);
    }
    if table::interpreter(name)
        && !runs_code
        && operands
            .first()
            .is_none_or(|first| languages::is_input(&first.text))
        && let Some(text) = call.input()
    {
        code::scan(analysis, text, scope);
    }
}

/// `gawk -i inplace`: the library by which awk writes back what it reads.
fn changes_files(option: &str, library: &str) -> bool {
    let name = library.rsplit('/').next().unwrap_or_default();
    matches!(option, "-i" | "--include" | "-f" | "--file") && matches!(name, "inplace" | "inplace.awk")
}

fn is_in_place(flag: &str) -> bool {
    flag.starts_with("--in-place")
        || (flag.starts_with('-')
            && !flag.starts_with("--")
            && flag[1..].starts_with(['i', 'n', 'E', 'r', 'p', 's', '0'])
            && flag.contains('i'))
}

/// Whether a program that writes what it names is told to show it: `ssh-keygen -l`, an editor's read-only mode.
fn only_shows(name: &str, call: Call<'_>) -> bool {
    let shows: &[char] = match name {
        "ssh-keygen" => &['l', 'y', 'e', 'F', 'B'],
        "vi" | "vim" | "nvim" | "ex" => &['R', 'M'],
        _ => return false,
    };
    call.arguments().iter().any(|(field, _)| {
        let text = field.text.as_str();
        text.len() > 1 && text.starts_with('-') && text[1..].starts_with(shows)
    })
}

fn option_use(spec: &table::Spec, option: &str) -> Use {
    spec.options
        .iter()
        .find(|(known, _)| *known == option)
        .map_or(Use::Guess, |(_, used)| *used)
}

fn first_operand(
    analysis: &mut Analysis,
    (first, rest): (Use, Use),
    operands: &[&Field],
    scope: &Scope<'_>,
    connects: bool,
) {
    let Some((head, tail)) = operands.split_first() else {
        return;
    };
    if let Use::Host(port) = first {
        let port = if port == 0 {
            tail.first().and_then(|field| field.text.parse().ok())
        } else {
            Some(port)
        };
        named_host(analysis, head, port);
    } else {
        apply(analysis, first, head, scope, connects);
    }
    // What a remote shell runs is not run here.
    let remote = matches!(first, Use::Host(_));
    tail.iter()
        .for_each(|field| apply(analysis, rest, field, scope, connects && !remote));
}

fn copy(
    analysis: &mut Analysis,
    name: &str,
    parsed: &Arguments<'_>,
    moves: bool,
    scope: &Scope<'_>,
    connects: bool,
) {
    let short = |letter: char| {
        let mut flags = parsed.flags.iter();
        flags.any(|flag| !flag.starts_with("--") && flag.contains(letter))
    };
    let long = |wanted: &str| parsed.flags.contains(&wanted);
    if name == "install" && (short('d') || long("--directory")) {
        for folder in &parsed.operands {
            analysis.path(Access::Write, folder, scope);
        }
        return;
    }
    let mut given = parsed.values.iter();
    let given = given.find(|(option, _)| matches!(*option, "-t" | "--target-directory"));
    let mut sources: Vec<&Field> = parsed.operands.clone();
    let target = match given {
        Some((_, folder)) => Some(folder),
        // A single operand of `cp` is read; of `ln` and `mv` likewise.
        None if sources.len() > 1 => sources.pop(),
        None => None,
    };
    let far = |field: &Field| {
        let host = hosts::url_host(&field.text).or_else(|| hosts::remote_path_host(&field.text, 22));
        host.filter(|_| connects)
    };
    for field in &sources {
        if let Some(host) = far(field) {
            analysis.host(host);
            continue;
        }
        analysis.path(Access::Read, field, scope);
        if moves {
            analysis.path(Access::Write, field, scope);
        }
    }
    let Some(target) = target else { return };
    if let Some(host) = far(target) {
        return analysis.host(host);
    }
    // `rclone copy SOURCE FOLDER`: what the source holds.
    if name == "rclone"
        && matches!(sources.first(), Some(verb) if matches!(verb.text.as_str(), "copy" | "sync" | "move"))
    {
        return landing::filled(analysis, target, scope);
    }
    let manner = Manner {
        into: given.is_some(),
        replaces: long("--no-target-directory")
            || !connects && short('T')
            || name == "ln" && (short('n') || long("--no-dereference")),
        contents: matches!(name, "rsync" | "ditto"),
        parents: long("--parents") || name == "rsync" && (short('R') || long("--relative")),
    };
    // `xargs cp -t FOLDER`: what comes in is copied.
    if sources.is_empty() {
        return landing::filled(analysis, target, scope);
    }
    landing::copied(analysis, &sources, target, manner, scope);
}

fn named_host(analysis: &mut Analysis, field: &Field, port: Option<u16>) {
    if !field.exact {
        analysis.opaque("expansion", &field.text);
        return;
    }
    if let Some(host) = hosts::url_host(&field.text).or_else(|| hosts::host_port(&field.text, port)) {
        analysis.host(host);
    }
}

/// Whether a word among addresses is none: a method, or `name=value` and `Name: value` as HTTPie takes them.
fn is_no_address(text: &str) -> bool {
    const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    let bare = text.split(['/', '?']).next().unwrap_or_default();
    METHODS.contains(&text) || bare.contains(['=', ' '])
}

/// Notes one argument by its use.
fn apply(analysis: &mut Analysis, used: Use, field: &Field, scope: &Scope<'_>, connects: bool) {
    match used {
        Use::Ignore => {}
        Use::Read => analysis.path(Access::Read, field, scope),
        Use::Write => analysis.path(Access::Write, field, scope),
        Use::Edit => {
            analysis.path(Access::Read, field, scope);
            analysis.path(Access::Write, field, scope);
        }
        Use::Guess => guess(analysis, field, scope),
        Use::Key => {
            // Somebody's login is told by its class; what else is a key by its name is used, not shown.
            let path = normal::normalise(&field.text, scope.cwd.as_deref());
            if analysis.rules.classify(&path).is_some() || !field.exact && field.glob {
                guess(analysis, field, scope);
            }
        }
        Use::AtFile => {
            // curl: `-d @file`, `-F name=@file`, `-F name=<file`, `--data-urlencode name@file`.
            if let Some((_, path)) = field.text.split_once(['@', '<']) {
                let path = path.split(';').next().unwrap_or_default();
                if !path.contains(char::is_whitespace) {
                    let expanded = match (path.strip_prefix("~/"), scope.home) {
                        (Some(rest), Some(home)) => format!("{home}/{rest}"),
                        _ => path.to_owned(),
                    };
                    analysis.path(
                        Access::Read,
                        &Field {
                            text: expanded,
                            ..field.clone()
                        },
                        scope,
                    );
                }
            }
        }
        Use::Url => {
            if field.text.contains("://") {
                let found = hosts::url_host(&field.text);
                if found.is_none() && !field.exact {
                    analysis.opaque("expansion", &field.text);
                }
                found.into_iter().for_each(|host| analysis.host(host));
            } else if !(field.exact && is_no_address(&field.text)) {
                let bare = field.text.split(['/', '?']).next().unwrap_or_default();
                named_host(
                    analysis,
                    &Field {
                        text: bare.to_owned(),
                        ..field.clone()
                    },
                    Some(80),
                );
            }
        }
        Use::Host(port) => {
            if !field.text.starts_with('+') {
                let text = field.text.trim_start_matches('@').to_owned();
                named_host(
                    analysis,
                    &Field {
                        text,
                        ..field.clone()
                    },
                    Some(port).filter(|port| *port != 0),
                );
            }
        }
        Use::HostPort => named_host(analysis, field, None),
        Use::Folder => landing::filled(analysis, field, scope),
        Use::Output => output(analysis, field, scope),
        Use::Code => code::scan(analysis, &field.text, scope),
        Use::Volume => special::volume(analysis, field, scope),
    }
    if connects && !matches!(used, Use::Url | Use::Host(_) | Use::HostPort | Use::Code) {
        for host in hosts::hosts_in(&field.text) {
            analysis.host(host);
        }
        if field.text.contains('@') && used == Use::Ignore {
            hosts::remote_path_host(&field.text, 22)
                .into_iter()
                .for_each(|host| analysis.host(host));
        }
    }
}

/// `-i/home/u/.ssh/id_rsa`: a secret that is attached to an option of a program that is not known.
fn glued(analysis: &mut Analysis, flags: &[&str], scope: &Scope<'_>) {
    for flag in flags.iter().filter(|flag| !flag.starts_with("--")) {
        let Some(at) = flag.find(['/', '~']) else { continue };
        let path = flag[at..].to_owned();
        let class = analysis.rules.classify(&path);
        if class.is_some_and(|class| analysis.rules.is_secret(class)) {
            analysis.path(Access::Read, &Field::literal(path), scope);
        }
    }
}

/// What an option that usually names an output names in a program that is not known: written, where that would matter.
fn output(analysis: &mut Analysis, field: &Field, scope: &Scope<'_>) {
    let class = analysis.rules.classify(&field.text);
    let guarded = class.is_some_and(|class| analysis.rules.is_guarded(class));
    // `-o IdentityFile=PATH` is a setting.
    if guarded && !field.text.contains('=') {
        analysis.path(Access::Write, field, scope);
    } else if landing::is_guarded_folder(analysis, field, scope) {
        landing::filled(analysis, field, scope);
    } else {
        guess(analysis, field, scope);
    }
}

/// Reads an argument of a program that is not known, if it looks like a path.
fn guess(analysis: &mut Analysis, field: &Field, scope: &Scope<'_>) {
    let text = field.text.as_str();
    let text = text.split_once('=').map_or(text, |(_, value)| value);
    let text = text.trim_start_matches('@');
    let looks = text.contains('/') || text.starts_with(['~', '.']) || analysis.rules.classify(text).is_some();
    if looks
        && !text.contains(char::is_whitespace)
        && !text.starts_with('-')
        && !text.trim_matches('.').is_empty()
    {
        let text = match (text.strip_prefix("~/"), scope.home) {
            (Some(rest), Some(home)) => format!("{home}/{rest}"),
            _ => text.to_owned(),
        };
        analysis.path(
            Access::Read,
            &Field {
                text,
                ..field.clone()
            },
            scope,
        );
    }
}
