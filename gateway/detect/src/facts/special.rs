//! Programs whose arguments follow rules of their own.

use super::behaviours::Invocation;
use super::programs::{Call, run};
use super::{Access, Analysis, functions, landing, normal, prints, sought};
use crate::shell::{Field, Scope};

/// `cd`, `pushd`, `popd`: relative paths behind them begin elsewhere.
pub(super) fn change_folder(call: Call<'_>, scope: &mut Scope<'_>) {
    let popped = call.fields.first().is_some_and(|(field, _)| field.text == "popd");
    let target = call
        .arguments()
        .iter()
        .map(|(field, _)| field)
        .find(|field| field.text == "-" || !field.text.starts_with('-'));
    let next = match target {
        _ if popped => scope.previous.clone(),
        None => scope.home.map(str::to_owned),
        Some(field) if field.text == "-" => scope.previous.clone(),
        Some(field) if field.exact && !field.glob => {
            let path = normal::normalise(&field.text, scope.cwd.as_deref());
            path.starts_with(['/', '~']).then_some(path)
        }
        Some(_) => None,
    };
    scope.previous = std::mem::replace(&mut scope.cwd, next);
}

/// `export NAME=value` and its like.
pub(super) fn declare(call: Call<'_>, scope: &mut Scope<'_>) {
    for (field, _) in call.arguments() {
        if let Some((name, value)) = field.text.split_once('=') {
            scope.set(
                name,
                vec![Field {
                    text: value.to_owned(),
                    ..field.clone()
                }],
            );
        }
    }
}

/// `read NAME`, `unset NAME`: what the variable holds is no longer known, but for the programs that it may come from.
pub(super) fn forget(call: Call<'_>, scope: &mut Scope<'_>) {
    let redirects = call.command.redirects.iter();
    let feeds: Vec<_> = redirects
        .flat_map(|redirect| redirect.feeds.iter().chain(&redirect.followed).cloned())
        .collect();
    let name = call.fields.first().map_or("", |(field, _)| field.text.as_str());
    let text = call.input().filter(|_| name != "unset").map(str::trim_end);
    let invocation = Invocation { name, call };
    // Options that take a value: of `read`, and of `mapfile`.
    let values: &[&str] = match name {
        "read" => &["-d", "-n", "-N", "-t", "-u", "-p", "-i"],
        "unset" => &[],
        _ => &["-d", "-n", "-O", "-s", "-u", "-C", "-c"],
    };
    let operands = invocation.operand_fields(values);
    // The whole text stands in the one name that takes it; of several names each takes a part.
    let known = match (text, operands.clone().count()) {
        (Some(text), 1) => vec![Field::literal(text)],
        _ => Vec::new(),
    };
    for field in operands {
        scope.set_fed(&field.text, known.clone(), feeds.clone());
    }
}

/// `set -- WORDS`: what `"$@"` is from now on.
pub(super) fn parameters(call: Call<'_>, scope: &mut Scope<'_>) {
    let arguments = call.arguments();
    let at = arguments.iter().position(|(field, _)| field.text == "--");
    if let Some(given) = at.and_then(|at| arguments.get(at + 1..)) {
        functions::bind(scope, given, &call.command.words);
    }
}

/// `printf -v NAME FORMAT WORDS`
pub(super) fn format(call: Call<'_>, scope: &mut Scope<'_>) {
    let Some((name, _)) = call.arguments().get(1) else {
        return;
    };
    let behind = call.with(call.arguments().get(1..).unwrap_or_default());
    let text = prints::printed(&Invocation {
        name: "printf",
        call: behind,
    });
    scope.set(&name.text, text.map(Field::literal).into_iter().collect());
}

/// `find ROOT… -name PATTERN -exec CMD {} ; -delete`.
pub(super) fn find(analysis: &mut Analysis, call: Call<'_>, scope: &mut Scope<'_>) {
    let arguments = call.arguments();
    let expression = |text: &str| text.starts_with('-') || matches!(text, "(" | "!" | ")");
    let roots_end = arguments
        .iter()
        .position(|(field, _)| expression(&field.text))
        .unwrap_or(arguments.len());
    let (roots, tests) = arguments.split_at(roots_end);
    let mut acts = None;
    let mut at = 0;
    while let Some((field, _)) = tests.get(at) {
        let value = tests.get(at + 1).map(|(field, _)| field);
        match (field.text.as_str(), value) {
            (
                "-path" | "-wholename" | "-ipath" | "-iwholename" | "-name" | "-iname" | "-regex" | "-iregex",
                Some(_),
            ) => {
                at += 1;
            }
            ("-fprint" | "-fprintf" | "-fls", Some(value)) => {
                analysis.path(Access::Write, value, scope);
                at += 1;
            }
            ("-delete", _) => acts = Some(Access::Write),
            ("-exec" | "-execdir" | "-ok" | "-okdir" | "-x" | "--exec" | "-X" | "--exec-batch", Some(_)) => {
                let end = tests[at..]
                    .iter()
                    .position(|(field, _)| matches!(field.text.as_str(), ";" | "+"));
                let end = end.map_or(tests.len(), |end| at + end);
                let given = tests.get(at + 1..end).unwrap_or_default();
                run(analysis, call.with(given), scope);
                acts = match changes_found(given) {
                    true => Some(Access::Write),
                    false => acts.or(Some(Access::Read)),
                };
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    let Some(access) = acts else { return };
    let (names, by_name) = sought::names(tests);
    let here = [(Field::literal("."), 0)];
    for (root, _) in if roots.is_empty() { &here } else { roots } {
        let mut found = Vec::new();
        // What is removed by its name is not the folder that is searched.
        if access == Access::Read || !by_name {
            found.push(root.clone());
        }
        if access == Access::Write && names.is_empty() && !by_name {
            found.push(Field {
                text: format!("{}/*", root.text),
                glob: true,
                ..root.clone()
            });
        }
        if access == Access::Read || !names.is_empty() {
            // What is found may lie at any depth; rules that name a file in any folder, or the folder itself, still tell.
            found.extend(names.iter().map(|name| Field {
                text: format!("{}/{name}", root.text),
                glob: true,
                ..root.clone()
            }));
        }
        found.iter().for_each(|field| analysis.path(access, field, scope));
    }
}

/// Whether what `find` runs changes what it finds: an editor in place, something that is written over it or removed.
fn changes_found(given: &[(Field, usize)]) -> bool {
    let mut words = given.iter().map(|(field, _)| field.text.as_str());
    let name = words
        .next()
        .unwrap_or_default()
        .rsplit('/')
        .next()
        .unwrap_or_default();
    match name {
        "cp" | "mv" | "rm" | "tee" | "truncate" | "ln" | "install" | "shred" | "unlink" => true,
        "sed" | "perl" | "ruby" => {
            words.any(|word| word.starts_with("-i") || word.starts_with("-pi") || word == "--in-place")
        }
        "sh" | "bash" | "dash" | "zsh" => words.any(|word| {
            ["> \"$", ">\"$", "> $", ">$", "sed -i", "rm ", "truncate ", "tee "]
                .iter()
                .any(|part| word.contains(part))
        }),
        _ => false,
    }
}

/// Most names that one list of files is followed to.
const MAX_LISTED: usize = 64;

/// Programs that read the files whose names come in on their standard input: `cpio -o`, `tar -T -`, `zip -@`.
pub(super) fn listed(analysis: &mut Analysis, name: &str, call: Call<'_>, scope: &Scope<'_>) {
    let any = |words: &[&str]| {
        call.arguments()
            .iter()
            .any(|(field, _)| words.contains(&field.text.as_str()))
    };
    let list = match name {
        "cpio" | "pax" => call.arguments().iter().any(|(field, _)| {
            field.text.starts_with("-o")
                || field.text.starts_with("-p")
                || field.text.starts_with("-w")
                || matches!(field.text.as_str(), "--create" | "--pass-through")
        }),
        "zip" | "7z" => any(&["-@", "@-"]),
        "tar" | "bsdtar" => any(&["-T-", "--files-from=-"]) || any(&["-T", "--files-from"]) && any(&["-"]),
        "rsync" | "rclone" => any(&["--files-from=-"]) || any(&["--files-from"]) && any(&["-"]),
        "wc" | "sort" | "du" => any(&["--files0-from=-"]),
        _ => false,
    };
    let Some(text) = call.input().filter(|_| list) else {
        return;
    };
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .take(MAX_LISTED)
    {
        let line = match (line.strip_prefix("~/"), scope.home) {
            (Some(rest), Some(home)) => format!("{home}/{rest}"),
            _ => line.to_owned(),
        };
        analysis.path(Access::Read, &Field::literal(line), scope);
    }
}

/// `ln -s TARGET LINK`: what is read below the link is read below its target.
pub(super) fn link(analysis: &mut Analysis, call: Call<'_>, scope: &Scope<'_>) {
    let operands: Vec<_> = call
        .arguments()
        .iter()
        .map(|(field, _)| field)
        .filter(|field| !field.text.starts_with('-'))
        .collect();
    let (target, link) = match operands.as_slice() {
        [target] => (*target, target.text.rsplit('/').next().unwrap_or_default()),
        [target, link] => (*target, link.text.as_str()),
        _ => return,
    };
    let cwd = scope.cwd.as_deref();
    let into = link.ends_with('/') || link == ".";
    let name = target
        .text
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let link = if into {
        format!("{link}/{name}")
    } else {
        link.to_owned()
    };
    if target.exact {
        analysis.contents.link(
            normal::normalise(&link, cwd),
            normal::normalise(&target.text, cwd),
        );
    }
}

/// `dd if=FILE of=FILE`.
pub(super) fn dd(analysis: &mut Analysis, call: Call<'_>, scope: &mut Scope<'_>) {
    for (field, _) in call.arguments() {
        let (access, path) = match field.text.split_once('=') {
            Some(("if", path)) => (Access::Read, path),
            Some(("of", path)) => (Access::Write, path),
            _ => continue,
        };
        analysis.path(
            access,
            &Field {
                text: path.to_owned(),
                ..field.clone()
            },
            scope,
        );
    }
}

/// What a container is given of this host: `/host/path:/container/path[:ro]` or `type=bind,source=/host/path,…`.
pub(super) fn volume(analysis: &mut Analysis, field: &Field, scope: &Scope<'_>) {
    let text = field.text.as_str();
    let named = text
        .split(',')
        .filter_map(|part| part.split_once('='))
        .find(|(key, _)| matches!(*key, "source" | "src" | "device"));
    let source = match named {
        Some((_, source)) => source,
        None => text.split(':').next().unwrap_or_default(),
    };
    if !source.contains('/') && !source.starts_with(['.', '~', '$']) {
        return;
    }
    let home = ["~", "$HOME", "${HOME}"]
        .iter()
        .find_map(|home| source.strip_prefix(home));
    let source = match (home, scope.home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
        (Some(""), None) => "~".to_owned(),
        _ => source.to_owned(),
    };
    let given = Field {
        text: source,
        ..field.clone()
    };
    let path = normal::normalise(&given.text, scope.cwd.as_deref());
    match path.as_str() {
        "/" => analysis.privilege("container-host-root"),
        "/var/run/docker.sock" | "/run/docker.sock" => analysis.privilege("container-socket"),
        // Where the home itself is what is worked in, it is the project.
        _ if scope.previous.is_none() && scope.cwd.as_deref() == Some(path.as_str()) => {}
        _ if is_home(&path) => analysis.privilege("container-home"),
        _ => {}
    }
    analysis.path(Access::Read, &given, scope);
    let options = match named {
        Some(_) => text
            .split(',')
            .any(|part| matches!(part, "readonly" | "ro" | "readonly=true" | "ro=true")),
        None => text
            .rsplit(':')
            .next()
            .is_some_and(|options| options.split(',').any(|option| option == "ro")),
    };
    if !options {
        lent(analysis, &given, &path, scope);
    }
}

/// Whether `path` is a person's home folder as a whole, or all of them.
fn is_home(path: &str) -> bool {
    let own = path
        .strip_prefix("/home/")
        .or_else(|| path.strip_prefix("/Users/"));
    matches!(path, "~" | "/root" | "/home" | "/Users") || own.is_some_and(|name| !name.contains('/'))
}

/// What a container may write to: a file by which something runs or somebody logs in, or a folder of such files.
fn lent(analysis: &mut Analysis, given: &Field, path: &str, scope: &Scope<'_>) {
    match analysis.rules.classify(path) {
        Some("ssh-access" | "shell-startup" | "harness-managed" | "git-hooks") => {
            analysis.path(Access::Write, given, scope);
        }
        Some("persistence") if !path.ends_with("/.ssh/config") => landing::filled(analysis, given, scope),
        None if landing::is_guarded_folder(analysis, given, scope) => landing::filled(analysis, given, scope),
        _ => {}
    }
}

/// Options that raise privilege in programs that otherwise do not.
pub(super) fn privileged_options(analysis: &mut Analysis, name: &str, call: Call<'_>) {
    let any = |test: &dyn Fn(&str) -> bool| call.arguments().iter().any(|(field, _)| test(&field.text));
    match name {
        "docker" | "podman" | "nerdctl" => {
            let opens = |text: &str| {
                matches!(
                    text,
                    "--privileged" | "--pid=host" | "--cap-add=ALL" | "--cap-add=SYS_ADMIN" | "--userns=host"
                )
            };
            if any(&opens) {
                analysis.privilege("container-privileged");
            }
        }
        "chmod" => {
            let octal = |text: &str| {
                let digits = text.trim_start_matches('0');
                digits.len() == 4
                    && digits.bytes().all(|b| (b'0'..=b'7').contains(&b))
                    && digits.starts_with(['2', '4', '6', '7'])
            };
            let symbolic = |text: &str| {
                text.split_once(['+', '=']).is_some_and(|(who, what)| {
                    who.bytes().all(|b| b"ugoa".contains(&b))
                        && what.contains('s')
                        && what.bytes().all(|b| b"rwxXst,".contains(&b))
                })
            };
            if any(&|text| octal(text) || symbolic(text)) {
                analysis.privilege("setuid");
            }
        }
        "setcap" => analysis.privilege("setcap"),
        "insmod" | "modprobe" => analysis.privilege("kernel-module"),
        _ => {}
    }
}
