//! Programs of which a word of their own says that they copy, unpack or save something: `docker cp`, `git clone`,
//! `aws s3 cp`, `7z x`. What comes from elsewhere is written here, what goes elsewhere is read here.

use super::behaviours::Invocation;
use super::landing::{self, Manner};
use super::programs::Call;
use super::{Access, Analysis};
use crate::shell::{Field, Scope};

/// Notes what the program called `name` carries to where.
pub(super) fn note(analysis: &mut Analysis, name: &str, call: Call<'_>, scope: &Scope<'_>) {
    let call = Invocation { name, call };
    match name {
        "docker" | "podman" | "nerdctl" | "docker-compose" | "kubectl" | "oc" | "lxc" | "incus"
        | "limactl" | "multipass" | "adb" | "aws" | "gsutil" | "gcloud" | "mc" | "s3cmd" | "b2" | "s5cmd"
        | "az" => {
            between(analysis, &call, scope);
        }
        "git" => git(analysis, &call, scope),
        "gh" | "glab" => forge(analysis, &call, scope),
        "7z" | "7za" | "7zr" | "7zz" | "rar" | "unrar" => archiver(analysis, &call, scope),
        "unzip" | "bsdunzip" => unzip(analysis, &call, scope),
        "cpio" | "bsdcpio" | "pax" => copy_archive(analysis, &call, scope),
        "dpkg" | "dpkg-deb" | "unsquashfs" => package(analysis, &call, scope),
        "aria2c" => aria2(analysis, &call, scope),
        "cmake" => cmake(analysis, &call, scope),
        "socat" => socat(analysis, &call, scope),
        "patch" => {
            if let Some(path) = call.value(&["-d", "--directory"]) {
                matters(analysis, path, scope);
            }
        }
        "python" | "python3" => python(analysis, &call, scope),
        "crudini" | "sd" | "yq" => in_place(analysis, &call, scope),
        _ => {}
    }
}

fn folder(analysis: &mut Analysis, path: &str, scope: &Scope<'_>) {
    landing::filled(analysis, &Field::literal(path), scope);
}

/// How a tool copies between this host and one of its own places.
struct Carrier {
    /// The words that say so, one after the other.
    verbs: &'static [&'static str],
    /// Whether it copies what a folder holds.
    contents: bool,
}

const fn one(verbs: &'static [&'static str]) -> Carrier {
    Carrier {
        verbs,
        contents: false,
    }
}

const fn tree(verbs: &'static [&'static str]) -> Carrier {
    Carrier {
        verbs,
        contents: true,
    }
}

fn carriers(name: &str) -> &'static [Carrier] {
    const CONTAINER: &[Carrier] = &[
        one(&["cp"]),
        one(&["container", "cp"]),
        one(&["compose", "cp"]),
        tree(&["rsync"]),
    ];
    const SYSTEM: &[Carrier] = &[
        one(&["file", "pull"]),
        one(&["file", "push"]),
        one(&["copy"]),
        one(&["cp"]),
        one(&["transfer"]),
    ];
    const CLOUD: &[Carrier] = &[
        one(&["s3", "cp"]),
        one(&["s3", "mv"]),
        tree(&["s3", "sync"]),
        one(&["storage", "cp"]),
        one(&["storage", "mv"]),
        tree(&["storage", "rsync"]),
        one(&["compute", "scp"]),
        one(&["cp"]),
        one(&["mv"]),
        one(&["get"]),
        tree(&["rsync"]),
        tree(&["sync"]),
        tree(&["mirror"]),
        one(&["file", "download"]),
    ];
    match name {
        "docker" | "podman" | "nerdctl" | "docker-compose" | "kubectl" | "oc" => CONTAINER,
        "lxc" | "incus" | "limactl" | "multipass" => SYSTEM,
        "adb" => &[Carrier {
            verbs: &["pull"],
            contents: false,
        }],
        _ => CLOUD,
    }
}

/// Options of these tools that take a value.
const VALUES: &[&str] = &[
    "-c",
    "--container",
    "-n",
    "--namespace",
    "--context",
    "--kubeconfig",
    "-H",
    "--host",
    "-f",
    "--file",
    "--project-name",
    "--profile",
    "--region",
    "--endpoint-url",
    "--exclude",
    "--include",
    "--acl",
    "--sse",
    "--zone",
    "--project",
    "-s",
    "--retries",
];

/// A copy between this host and a container, a pod, a machine or a store.
fn between(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    if call.name == "az"
        && let Some(path) = call.value(&["--file", "-f", "--destination", "-d"])
        && call.any(&["download", "download-batch"])
    {
        return match call.any(&["download-batch"]) {
            true => folder(analysis, path, scope),
            false => landing::copied(
                analysis,
                &[&Field::literal("")],
                &Field::literal(path),
                Manner::default(),
                scope,
            ),
        };
    }
    let operands: Vec<&Field> = call.operand_fields(VALUES).collect();
    let says = |carrier: &&Carrier| {
        let said = operands.iter().map(|field| field.text.as_str());
        operands.len() > carrier.verbs.len() && said.zip(carrier.verbs).all(|(word, verb)| word == *verb)
    };
    let Some(carrier) = carriers(call.name).iter().find(says) else {
        return;
    };
    let ends = operands.get(carrier.verbs.len()..).unwrap_or_default();
    let Some((target, sources)) = ends.split_last().filter(|(_, sources)| !sources.is_empty()) else {
        return;
    };
    let near = |field: &&&Field| !is_far(&field.text, call.name) && field.text != "-";
    for source in sources.iter().filter(near) {
        analysis.path(Access::Read, source, scope);
    }
    if near(&target) {
        match carrier.contents {
            true => landing::filled(analysis, target, scope),
            false => landing::copied(analysis, sources, target, Manner::default(), scope),
        }
    }
}

/// Whether `text` names something in a container or a store: `NAME:/path`, `s3://bucket`, and for some tools any name.
fn is_far(text: &str, name: &str) -> bool {
    let own = match text.split_once(':') {
        Some((far, _)) => {
            !far.is_empty() && !far.starts_with(['.', '~']) && {
                // A pod may stand behind its namespace: `ns/pod:/path`.
                matches!(name, "kubectl" | "oc") && !far.starts_with('/') || !far.contains('/')
            }
        }
        None => false,
    };
    own || text.contains("://")
        || matches!(name, "lxc" | "incus" | "mc") && !text.starts_with(['/', '.', '~'])
}

/// Options of git that take a value.
const GIT_VALUES: &[&str] = &[
    "-C",
    "-c",
    "-b",
    "-B",
    "--branch",
    "-o",
    "--origin",
    "--depth",
    "-j",
    "--jobs",
    "--reference",
    "--template",
    "-u",
    "--upload-pack",
    "--filter",
    "--separate-git-dir",
    "--git-dir",
    "--work-tree",
    "--config",
    "--shallow-since",
    "--directory",
    "--prefix",
    "--output",
];

fn git(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let mut operands = call.operand_fields(GIT_VALUES);
    let verb = operands.next().map_or("", |field| field.text.as_str());
    let rest: Vec<&Field> = operands.collect();
    if let Some(path) = call.value(&["--separate-git-dir"]) {
        folder(analysis, path, scope);
    }
    match (verb, rest.as_slice()) {
        ("clone", [_, target, ..]) => landing::filled(analysis, target, scope),
        ("worktree" | "submodule", [add, rest @ ..]) if add.text == "add" => {
            let at = usize::from(verb == "submodule");
            if let Some(target) = rest.get(at) {
                landing::filled(analysis, target, scope);
            }
        }
        ("init", [target, ..]) => landing::filled(analysis, target, scope),
        ("bundle", [create, target, ..]) if create.text == "create" => {
            analysis.path(Access::Write, target, scope);
        }
        _ => {}
    }
    // What a checkout or a merge changes lies in the work tree.
    const CHANGES: &[&str] = &[
        "checkout",
        "switch",
        "restore",
        "reset",
        "pull",
        "merge",
        "read-tree",
        "checkout-index",
        "apply",
        "am",
        "stash",
    ];
    if CHANGES.contains(&verb) {
        let trees = call.values(&["--work-tree", "-C"]);
        let given = call.values(&["--prefix", "--directory"]);
        for path in trees.chain(given.filter(|_| matches!(verb, "checkout-index" | "apply" | "am"))) {
            matters(analysis, path, scope);
        }
    }
    if matches!(verb, "archive" | "diff" | "log" | "show" | "format-patch")
        && let Some(path) = call.value(&["-o", "--output", "--output-directory"])
    {
        analysis.path(Access::Write, &Field::literal(path), scope);
    }
}

/// Notes that `path` is filled, if that would matter: a repository that is worked in is no news.
fn matters(analysis: &mut Analysis, path: &str, scope: &Scope<'_>) {
    let field = Field::literal(path);
    if landing::matters(analysis, &field, scope) {
        landing::filled(analysis, &field, scope);
    }
}

fn forge(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let words: Vec<&Field> = call
        .operand_fields(&["-R", "--repo", "-p", "--pattern", "-u"])
        .collect();
    let verbs: Vec<&str> = words.iter().map(|field| field.text.as_str()).collect();
    match verbs.as_slice() {
        ["repo" | "gist", "clone", _, target, ..] if !target.starts_with('-') => {
            folder(analysis, target, scope)
        }
        ["release" | "run", "download", ..] => {
            if let Some(path) = call.value(&["-D", "--dir"]) {
                folder(analysis, path, scope);
            }
            if let Some(path) = call.value(&["-O", "--output"]).filter(|path| *path != "-") {
                analysis.path(Access::Write, &Field::literal(path), scope);
            }
        }
        _ => {}
    }
}

/// `7z x ARCHIVE -oFOLDER FILES`, `unrar x ARCHIVE FILES FOLDER/`.
fn archiver(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let mut operands = call.fields().filter(|field| !field.text.starts_with('-'));
    let verb = operands.next().map_or("", |field| field.text.as_str());
    let Some(archive) = operands.next() else { return };
    let mut files: Vec<&Field> = operands.collect();
    if !matches!(verb, "x" | "e") {
        let access = match verb {
            "a" | "u" | "d" | "m" | "rn" => Access::Write,
            _ => Access::Read,
        };
        analysis.path(access, archive, scope);
        let packs = matches!(verb, "a" | "u" | "m");
        files
            .iter()
            .filter(|_| packs)
            .for_each(|file| analysis.path(Access::Read, file, scope));
        return;
    }
    analysis.path(Access::Read, archive, scope);
    let own = |field: &&&Field| matches!(call.name, "rar" | "unrar") && field.text.ends_with('/');
    let target = match files.last().filter(own).copied() {
        Some(target) => {
            files.pop();
            Some(target.clone())
        }
        None => call.fields().find_map(|field| {
            let path = field.text.strip_prefix("-o").filter(|path| !path.is_empty())?;
            Some(expanded(field, path, scope))
        }),
    };
    unpacked(analysis, target.as_ref(), &files, scope);
}

/// A value that is attached to its option, where no shell makes `~` a path.
fn expanded(field: &Field, path: &str, scope: &Scope<'_>) -> Field {
    let text = match (path.strip_prefix("~/"), scope.home) {
        (Some(rest), Some(home)) => format!("{home}/{rest}"),
        _ => path.to_owned(),
    };
    Field {
        text,
        ..field.clone()
    }
}

/// What an archive holds is put into `target`, or where the program runs: the members that are named, or any.
fn unpacked(analysis: &mut Analysis, target: Option<&Field>, members: &[&Field], scope: &Scope<'_>) {
    let here = Field::literal(".");
    for member in members {
        landing::member(analysis, target.unwrap_or(&here), member, scope);
    }
    match target {
        _ if !members.is_empty() => {}
        Some(target) => landing::filled(analysis, target, scope),
        // Most archives are unpacked where one works.
        None => matters(analysis, ".", scope),
    }
}

fn unzip(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    const SHOWS: &[&str] = &["-l", "-v", "-t", "-p", "-c", "-z", "-Z"];
    if call.words().any(|word| SHOWS.contains(&word)) {
        return;
    }
    // `-od FOLDER`: the last letter of a cluster takes the folder, too.
    let clustered = || {
        let mut words = call.words();
        words.find(|word| word.starts_with('-') && word.ends_with('d'))?;
        words.next()
    };
    let target = call.value(&["-d"]).or_else(clustered).map(Field::literal);
    let mut members = call.operand_fields(&["-d", "-P"]).skip(1);
    let members: Vec<&Field> = members.by_ref().take_while(|field| field.text != "-x").collect();
    unpacked(analysis, target.as_ref(), &members, scope);
}

/// `cpio -i -D FOLDER`, `cpio -p FOLDER`, `pax -r -w FILES FOLDER`.
fn copy_archive(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    const CPIO_VALUES: &[&str] = &[
        "-D",
        "--directory",
        "-F",
        "--file",
        "-I",
        "-O",
        "-H",
        "-R",
        "-C",
        "-E",
    ];
    let last = || call.operand_fields(CPIO_VALUES).last();
    if call.name == "pax" {
        match (call.short("r"), call.short("w"), last()) {
            (true, true, Some(target)) => landing::filled(analysis, target, scope),
            (true, false, _) => matters(analysis, ".", scope),
            _ => {}
        }
        return;
    }
    let unpacks = call.short("i") || call.any(&["--extract"]);
    let passes = call.short("p") || call.any(&["--pass-through"]);
    let shows = call.short("t") || call.any(&["--list", "--to-stdout"]);
    if unpacks && !shows {
        match call.value(&["-D", "--directory"]) {
            Some(target) => folder(analysis, target, scope),
            None => matters(analysis, ".", scope),
        }
    } else if passes && let Some(target) = last() {
        landing::filled(analysis, target, scope);
    }
}

/// `dpkg-deb -x PACKAGE FOLDER`, `unsquashfs -d FOLDER IMAGE`.
fn package(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    if call.name == "unsquashfs" {
        if let Some(path) = call.value(&["-d", "-dest"]) {
            folder(analysis, path, scope);
        }
        return;
    }
    let unpacks = call.any(&["-x", "-X", "-R", "--extract", "--vextract", "--raw-extract"]);
    if unpacks && let Some(target) = call.operands().nth(1) {
        folder(analysis, target, scope);
    }
}

/// `aria2c -d FOLDER -o NAME URL`.
fn aria2(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let Some(dir) = call.value(&["-d", "--dir"]) else {
        return;
    };
    let dir = Field::literal(dir);
    match call.value(&["-o", "--out"]) {
        Some(name) => landing::member(analysis, &dir, &Field::literal(name), scope),
        None => {
            let urls: Vec<&Field> = call.operand_fields(&["-d", "--dir", "-x", "-s", "-j"]).collect();
            let manner = Manner {
                into: true,
                ..Manner::default()
            };
            landing::copied(analysis, &urls, &dir, manner, scope);
        }
    }
}

/// `cmake -E copy FILES TARGET`, `cmake --install FOLDER --prefix FOLDER`.
fn cmake(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let operands: Vec<&Field> = call.operand_fields(&["--prefix"]).collect();
    match operands.as_slice() {
        [verb, sources @ .., target] if call.any(&["-E"]) && !sources.is_empty() => {
            match verb.text.as_str() {
                "copy" | "copy_if_different" | "rename" | "create_symlink" | "create_hardlink" => {
                    landing::copied(analysis, sources, target, Manner::default(), scope);
                }
                "copy_directory" | "copy_directory_if_different" => landing::filled(analysis, target, scope),
                _ => {}
            }
        }
        _ => {}
    }
}

/// `socat … OPEN:FILE,creat`, `CREATE:FILE`: the file that is opened may be written.
fn socat(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    for word in call.operands() {
        let Some((kind, rest)) = word.split_once(':') else {
            continue;
        };
        let (path, options) = rest.split_once(',').unwrap_or((rest, ""));
        let kind = kind.to_ascii_uppercase();
        let changes = ["creat", "append", "trunc", "wronly", "rdwr"]
            .iter()
            .any(|option| options.contains(option));
        if kind == "CREATE" || matches!(kind.as_str(), "OPEN" | "FILE" | "GOPEN") && changes {
            analysis.path(Access::Write, &Field::literal(path), scope);
        }
    }
}

/// `python3 -m zipfile -e ARCHIVE FOLDER`, `python3 -m tarfile -e ARCHIVE FOLDER`.
fn python(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let words: Vec<&Field> = call.fields().take(5).collect();
    let said: Vec<&str> = words.iter().map(|field| field.text.as_str()).collect();
    if let (["-m", "zipfile" | "tarfile", "-e" | "--extract", _, _], Some(target)) =
        (said.as_slice(), words.last())
    {
        landing::filled(analysis, target, scope);
    }
}

/// Editors of settings that change the file that they name.
fn in_place(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let files: Vec<&Field> = match call.name {
        "sd" if !call.any(&["-p", "--preview"]) => call.operand_fields(&["-n", "-f"]).skip(2).collect(),
        "crudini" if call.any(&["--set", "--del", "--merge"]) => call.operand_fields(&[]).take(1).collect(),
        "yq" if call.short("i") || call.any(&["--inplace", "--in-place"]) => {
            call.operand_fields(&["-I", "-o", "-p"]).skip(1).collect()
        }
        _ => return,
    };
    for file in files {
        analysis.path(Access::Write, file, scope);
    }
}
