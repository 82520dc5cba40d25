//! Deleting, overwriting, resetting, and how far it reaches. Databases, clouds and clusters stand in `databases` and `remote`.

use defenseclaw_model::facts::BehaviourKind::{Destruction, Privilege};
use defenseclaw_model::facts::Radius;

use super::super::{Analysis, normal, radius, sought};
use super::{Invocation, Table};
use crate::shell::{Field, Scope};

pub(super) const TABLE: Table = &[
    (&["rm", "unlink", "rmdir", "trash", "gio"], remove),
    (&["find", "fd", "fdfind"], find),
    (
        &["shred", "srm", "wipe", "sfill", "scrub"],
        |analysis, call, scope| {
            each(
                analysis,
                call,
                scope,
                "shred",
                &["-n", "-s", "--iterations", "--size"],
            );
        },
    ),
    (&["truncate"], truncate),
    (
        &[
            "mkfs",
            "mke2fs",
            "mkfs.ext4",
            "wipefs",
            "mkswap",
            "blkdiscard",
            "cryptsetup",
            "hdparm",
            "nvme",
            "zpool",
            "zfs",
            "lvremove",
            "vgremove",
            "pvremove",
            "mdadm",
            "btrfs",
            "badblocks",
        ],
        format,
    ),
    (
        &["fdisk", "sfdisk", "parted", "sgdisk", "gdisk", "cfdisk"],
        partition,
    ),
    (&["dd"], overwrite),
    (&["chmod", "chown", "chgrp", "setfacl"], modes),
    (&["git"], git),
    (&["rsync"], rsync),
    (&["xargs", "parallel"], listed),
    (&["tar", "bsdtar"], |analysis, call, scope| {
        if call.any(&["--remove-files"]) {
            each(
                analysis,
                call,
                scope,
                "delete-tree",
                &["-f", "-cf", "-czf", "-C", "-cJf", "-cjf", "--file"],
            );
        }
    }),
    (
        &[
            "reboot",
            "shutdown",
            "halt",
            "poweroff",
            "init",
            "telinit",
            "systemctl",
            "kexec",
        ],
        reboot,
    ),
    (
        &["userdel", "deluser", "groupdel", "delgroup"],
        |analysis, call, _| {
            analysis.behave(
                Destruction,
                "account-delete",
                call.operands().last().unwrap_or_default(),
                Radius::System,
            );
        },
    ),
    (&["docker", "podman", "nerdctl", "docker-compose"], containers),
    (
        &[
            "openssl", "gpg", "gpg2", "age", "ccrypt", "7z", "7za", "zip", "mcrypt",
        ],
        encrypt,
    ),
    (&["mv"], away),
    (
        &["tmutil", "vssadmin", "snapper", "timeshift"],
        |analysis, call, _| {
            if call.any(&["delete", "deletelocalsnapshots", "--delete", "--delete-all"]) {
                analysis.behave(Destruction, "backup-delete", call.name, Radius::System);
            }
        },
    ),
];

/// Each operand, with how far it reaches.
fn each(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>, technique: &str, values: &[&str]) {
    let mut skip = false;
    for field in call.fields() {
        let word = field.text.as_str();
        if std::mem::take(&mut skip) {
            continue;
        }
        if word.starts_with('-') && word.len() > 1 {
            skip = values.contains(&word);
            continue;
        }
        one(analysis, technique, field, scope);
    }
}

fn one(analysis: &mut Analysis, technique: &str, field: &Field, scope: &Scope<'_>) {
    let reach = radius::of(field, scope);
    if reach < Radius::Home || !field.exact {
        analysis.behave(Destruction, technique, &field.text, reach);
        return;
    }
    // What reaches this far is named as a whole: `/var/lib` for `cd /var && rm -rf lib/*`.
    let path = normal::normalise(&field.text, scope.cwd.as_deref());
    analysis.behave(Destruction, technique, radius::contents_of(&path), reach);
}

fn remove(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let tree = call.short("rR") || call.any(&["--recursive"]) || matches!(call.name, "trash" | "gio");
    // `rmdir` removes what is empty, and the index of git alone is no loss.
    if call.name == "rmdir" || (call.name == "gio" && call.operand(0) != Some("trash")) {
        return;
    }
    let technique = if tree { "delete-tree" } else { "delete-files" };
    each(analysis, call, scope, technique, &[]);
    if call.any(&["--no-preserve-root"]) {
        analysis.behave(Destruction, "delete-tree", "/", Radius::System);
    }
}

/// `find ROOT -delete`, `find ROOT -exec rm {} +`.
fn find(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let words: Vec<_> = call.words().collect();
    let runs = words.windows(2).any(|pair| {
        matches!(pair[0], "-exec" | "-execdir" | "-ok" | "-x" | "-X" | "--exec")
            && matches!(
                pair[1].rsplit('/').next(),
                Some("rm" | "shred" | "unlink" | "truncate")
            )
    });
    if !runs && !call.any(&["-delete"]) {
        return;
    }
    if call.name != "find" {
        return sought_by_fd(analysis, call, scope);
    }
    // What is looked for by name, age or emptiness is less than all that lies there.
    let names: Vec<_> = call
        .values(&["-name", "-iname", "-path", "-regex"])
        .filter(|name| !matches!(*name, "*" | "*.*" | ".*" | "*/*"))
        .collect();
    let narrow = call.any(&[
        "-mtime",
        "-mmin",
        "-ctime",
        "-atime",
        "-empty",
        "-newer",
        "-maxdepth",
        "-size",
        "-user",
        "-nouser",
    ]);
    let arguments = call.call.arguments();
    let tests = arguments
        .iter()
        .position(|(field, _)| field.text.starts_with(['-', '(', '!']));
    let by_name = sought::names(arguments.get(tests.unwrap_or(0)..).unwrap_or_default()).1;
    let mut roots = 0;
    for field in call.fields() {
        if field.text.starts_with(['-', '(', '!']) {
            break;
        }
        roots += 1;
        // Names that let everything else pass, too, narrow nothing; in a project that is how one keeps some files.
        let all = names.is_empty() || !by_name && radius::of(field, scope) >= Radius::Home;
        if all && !narrow {
            one(analysis, "delete-tree", field, scope);
            continue;
        }
        let mut reach = radius::of(field, scope);
        for name in &names {
            let below = Field {
                text: format!("{}/{name}", field.text),
                ..field.clone()
            };
            let below_reach = radius::of(&below, scope);
            reach = if reach >= Radius::Home && *name != "*" {
                reach.min(Radius::Home)
            } else {
                below_reach.min(reach)
            };
        }
        if names.is_empty() && reach != Radius::System {
            reach = reach.min(Radius::Files);
        }
        let technique = "delete-files";
        analysis.behave(Destruction, technique, &field.text, reach);
    }
    if roots == 0 && names.is_empty() && !narrow {
        one(analysis, "delete-tree", &Field::literal("."), scope);
    }
}

/// `fd PATTERN FOLDER… -x rm`: the pattern comes first, and may be a suffix alone.
fn sought_by_fd(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    const VALUES: &[&str] = &[
        "-e",
        "--extension",
        "-E",
        "--exclude",
        "-t",
        "--type",
        "-d",
        "--max-depth",
        "-S",
        "--size",
        "-o",
        "--owner",
        "--changed-within",
        "--changed-before",
        "--min-depth",
        "--exact-depth",
        "-c",
        "--color",
        "-j",
        "--threads",
    ];
    let ends = |word: &str| matches!(word, "-x" | "-X" | "--exec" | "--exec-batch");
    let end = call.words().position(ends).unwrap_or(usize::MAX);
    let before: Vec<&Field> = call.fields().take(end).collect();
    let mut operands = Vec::new();
    let mut narrow = false;
    let mut words = before.iter();
    while let Some(field) = words.next() {
        let word = field.text.as_str();
        if VALUES.contains(&word) {
            narrow |= !matches!(
                word,
                "-t" | "--type" | "-E" | "--exclude" | "-c" | "--color" | "-j" | "--threads"
            );
            words.next();
        } else if word.starts_with('-') {
            narrow |= ["-e", "--extension=", "--changed-", "-S", "--size="]
                .iter()
                .any(|start| word.starts_with(start));
        } else {
            operands.push(*field);
        }
    }
    let (pattern, roots) = match operands.split_first() {
        Some((pattern, roots)) => (pattern.text.as_str(), roots),
        None => ("", [].as_slice()),
    };
    narrow |= sought::regex_says_something(pattern);
    let here = Field::literal(".");
    let roots = if roots.is_empty() {
        vec![&here]
    } else {
        roots.to_vec()
    };
    for root in roots {
        if narrow {
            let reach = radius::of(root, scope).min(Radius::Home);
            analysis.behave(Destruction, "delete-files", &root.text, reach);
        } else {
            one(analysis, "delete-tree", root, scope);
        }
    }
}

fn truncate(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    if call
        .value(&["-s", "--size"])
        .is_some_and(|size| size.trim_start_matches('=').starts_with('0'))
    {
        each(analysis, call, scope, "truncate", &["-s", "--size", "-r", "-o"]);
    }
}

/// Whether `path` is a disk; the rest are files that stand for one.
fn disk_radius(path: &str) -> Radius {
    if path.starts_with("/dev/")
        && !path.starts_with("/dev/loop")
        && !path.starts_with("/dev/ram")
        && !path.starts_with("/dev/zram")
    {
        Radius::System
    } else {
        Radius::Files
    }
}

fn format(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let verb = call.operand(0).unwrap_or_default();
    let formats = match call.name {
        "cryptsetup" => {
            matches!(verb, "luksFormat" | "erase" | "luksErase" | "reencrypt")
                || call.any(&["luksFormat", "luksErase"])
        }
        "hdparm" => call.begins(&["--security-erase", "--trim-sector"]),
        "nvme" => matches!(verb, "format" | "sanitize" | "write-zeroes"),
        "zpool" | "zfs" => verb == "destroy",
        "mdadm" => call.any(&["--zero-superblock", "--stop", "--remove"]),
        "btrfs" => call.any(&["delete"]) && call.any(&["subvolume", "device"]),
        "badblocks" => call.short("w"),
        "wipefs" => call.short("ao") || call.any(&["--all"]),
        _ => true,
    };
    if formats {
        let disk = call
            .operands()
            .filter(|word| word.contains('/'))
            .last()
            .or_else(|| call.operands().last())
            .unwrap_or_default();
        let radius = if matches!(call.name, "zpool" | "zfs" | "lvremove" | "vgremove" | "pvremove") {
            Radius::System
        } else {
            disk_radius(disk)
        };
        analysis.behave(Destruction, "format-disk", disk, radius);
    }
}

fn partition(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    if call.any(&[
        "-l", "--list", "-d", "--dump", "print", "-p", "--print", "-x", "-V", "--verify", "-J",
    ]) {
        return;
    }
    let disk = call
        .operands()
        .find(|word| word.contains('/'))
        .unwrap_or_default();
    analysis.behave(Destruction, "partition", disk, disk_radius(disk));
}

/// `dd of=/dev/…` is told by the path; here, a disk that a variable names.
fn overwrite(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    for word in call.words() {
        if let Some(target) = word.strip_prefix("of=") {
            let device = target.starts_with("/dev/")
                && disk_radius(target) == Radius::System
                && ![
                    "/dev/null",
                    "/dev/stdout",
                    "/dev/zero",
                    "/dev/tty",
                    "/dev/fd/",
                    "/dev/shm/",
                ]
                .iter()
                .any(|known| target.starts_with(known));
            if device || target.starts_with("$DISK") || target.starts_with("\"$DISK") {
                analysis.behave(Destruction, "overwrite-device", target, Radius::System);
            }
        }
    }
}

fn modes(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let technique = if call.name == "chmod" {
        "chmod-tree"
    } else {
        "chown-tree"
    };
    let tree = call.short("R") || call.any(&["--recursive"]);
    let mut fields = call.fields().filter(|field| !field.text.starts_with('-'));
    let mode = fields.next().map_or("", |field| field.text.as_str());
    for field in fields {
        let reach = radius::of(field, scope);
        if tree {
            analysis.behave(Destruction, technique, &field.text, reach);
        } else if call.name == "chmod"
            && matches!(
                mode,
                "777" | "0777" | "666" | "000" | "a+rwx" | "a+w" | "o+w" | "ugo+rwx" | "0"
            )
            && reach >= Radius::Home
        {
            analysis.behave(Privilege, "world-writable", &field.text, None);
        }
    }
}

fn git(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let mut words = call.operands_after(&["-C", "-c", "--git-dir", "--work-tree"]);
    let verb = words.next().unwrap_or_default();
    let next = words.next().unwrap_or_default();
    let (object, reach) = match verb {
        "push" if call.any(&["--mirror"]) => ("push --mirror", Radius::Remote),
        "push"
            if call.any(&["--force"])
                || call
                    .words()
                    .any(|word| word.starts_with('-') && !word.starts_with("--") && word.contains('f')) =>
        {
            ("push --force", Radius::Remote)
        }
        "push"
            if call
                .words()
                .skip(1)
                .any(|word| word.starts_with('+') && word.len() > 1) =>
        {
            ("push --force", Radius::Remote)
        }
        "push"
            if call.any(&["--delete", "-d"])
                || call.words().any(|word| word.starts_with(':') && word.len() > 1) =>
        {
            ("push --delete", Radius::Remote)
        }
        "reset" if call.any(&["--hard"]) => ("reset --hard", Radius::Project),
        "clean"
            if (call.short("f") || call.any(&["--force"]))
                && !call.short("n")
                && !call.any(&["--dry-run"]) =>
        {
            (
                "clean",
                if call.short("xX") {
                    Radius::Project
                } else {
                    Radius::Files
                },
            )
        }
        "filter-branch" | "filter-repo" => (verb, Radius::Project),
        "reflog" if matches!(next, "expire" | "delete") => ("reflog expire", Radius::Project),
        "gc" if call.begins(&["--prune=now", "--prune=all"]) => ("gc --prune", Radius::Project),
        "update-ref" if call.short("d") => ("update-ref -d", Radius::Project),
        "stash" if matches!(next, "drop" | "clear") => ("stash drop", Radius::Files),
        "checkout" | "restore" if call.any(&["."]) && (verb == "restore" || call.any(&["--", "-f"])) => {
            ("checkout .", Radius::Files)
        }
        "branch" if call.any(&["-D"]) => ("branch -D", Radius::Files),
        "rm" if call.short("rf") && call.any(&[".", "*"]) && !call.any(&["--cached"]) => {
            ("rm", Radius::Project)
        }
        _ => return,
    };
    analysis.behave(Destruction, "git-history", object, reach);
}

fn rsync(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let deletes = call.begins(&["--delete", "--remove-source-files"]);
    let target = call.fields().filter(|field| !field.text.starts_with('-')).last();
    if let Some(target) = target.filter(|target| deletes && !target.text.contains(':')) {
        one(analysis, "delete-tree", target, scope);
    }
}

/// `cd ~ && ls | xargs rm -rf`: what a list names lies in the folder where it runs.
fn listed(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let deletes = call
        .words()
        .any(|word| matches!(word.rsplit('/').next(), Some("rm" | "shred" | "srm" | "unlink")));
    let Some(cwd) = scope.cwd.as_deref().filter(|_| deletes && call.name == "xargs") else {
        return;
    };
    let reach = radius::of_path(cwd, scope);
    // What was looked for by name is less than all that lies there.
    let before = analysis.facts.programs.iter().rev().skip(1).take(4);
    let narrow = before.clone().any(|program| {
        program.argv.iter().any(|word| {
            matches!(
                word.as_str(),
                "-name" | "-iname" | "-mtime" | "-empty" | "-type" | "-path"
            )
        }) || matches!(program.name.as_str(), "head" | "tail" | "git" | "rg" | "docker")
            || program.name == "grep"
                && !program
                    .argv
                    .iter()
                    .any(|word| word.starts_with('-') && word.contains('v'))
    });
    let lists = before
        .clone()
        .any(|program| matches!(program.name.as_str(), "ls" | "find" | "fd" | "echo" | "printf"));
    if reach >= Radius::Home && lists && !narrow {
        analysis.behave(Destruction, "delete-tree", cwd, reach);
    }
}

fn reboot(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let does = match call.name {
        "systemctl" => call.operands().next().is_some_and(|verb| {
            matches!(
                verb,
                "reboot" | "poweroff" | "halt" | "kexec" | "rescue" | "emergency" | "suspend" | "hibernate"
            )
        }),
        "shutdown" => !call.any(&["-c", "--help"]),
        "init" | "telinit" => {
            matches!(call.operand(0), Some("0" | "1" | "6" | "S" | "s")) && call.operand(1).is_none()
        }
        "kexec" => call.any(&["-e", "-l"]),
        _ => !call.any(&["--help", "--version"]),
    };
    if does {
        analysis.behave(Destruction, "reboot", call.name, Radius::System);
    }
}

fn containers(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let words: Vec<_> = call
        .operands_after(&["-f", "--file", "-H", "--context", "-p", "--project-name"])
        .take(3)
        .collect();
    let (object, reach) = match words.as_slice() {
        ["system", "prune", ..] => (
            "system prune",
            if call.any(&["--volumes"]) {
                Radius::System
            } else {
                Radius::Files
            },
        ),
        ["volume", "prune", ..] => ("volume prune", Radius::System),
        ["volume", "rm", ..] => ("volume rm", Radius::Project),
        [
            "image" | "container" | "network" | "builder" | "buildx",
            "prune",
            ..,
        ] => ("prune", Radius::Scratch),
        ["compose", "down", ..] | ["down", ..] if call.any(&["-v", "--volumes"]) => {
            ("compose down -v", Radius::Project)
        }
        ["rm" | "kill" | "rmi" | "stop", ..] | ["container", "rm" | "kill", ..]
            if call.words().any(|word| {
                (word.contains("docker ps") || word.contains("podman ps") || word.contains("images"))
                    && word.contains("q")
            }) =>
        {
            (
                "rm all",
                if words[0] == "stop" {
                    Radius::Files
                } else {
                    Radius::Project
                },
            )
        }
        ["swarm", "leave", ..] => ("swarm leave", Radius::Remote),
        _ => return,
    };
    analysis.behave(Destruction, "container-prune", object, reach);
}

/// Encryption of files in bulk: in a loop, below `find` or `xargs`, or with the originals removed.
fn encrypt(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let encrypts = match call.name {
        "openssl" => {
            let verb = call.operand(0).unwrap_or_default();
            (verb == "enc"
                || verb.starts_with("aes-")
                || matches!(verb, "des3" | "bf" | "camellia256" | "smime" | "cms"))
                && !call.any(&["-d", "-decrypt"])
                && !call.any(&["-verify", "-sign"])
        }
        "7z" | "7za" => call.begins(&["-sdel"]) && call.begins(&["-p"]),
        "zip" => call.short("m") && (call.short("Pe") || call.any(&["--encrypt", "--password"])),
        "age" => call.any(&["-p", "--passphrase"]) || call.short("re") && !call.any(&["-d", "--decrypt"]),
        "ccrypt" | "mcrypt" => !call.short("d"),
        _ => call.short("c") || call.any(&["--symmetric", "-e", "--encrypt"]) || call.short("e"),
    };
    let bulk = call
        .call
        .fields
        .iter()
        .any(|(field, _)| field.text.contains("{}") || field.glob)
        || call.words().any(|word| {
            matches!(
                word.trim_matches('"'),
                "$f" | "$file" | "$i" | "$1" | "${f}" | "${file}" | "$x" | "$F" | "$FILE" | "$line"
            )
        })
        || call.begins(&["-sdel"])
        || call.name == "ccrypt" && call.short("r")
        || call.fields().count() > 0 && call.name == "zip" && call.short("m");
    if encrypts && bulk {
        analysis.behave(
            Destruction,
            "encrypt-files",
            call.operands().last().unwrap_or_default(),
            Radius::Home,
        );
    }
}

/// `mv ~/* /dev/null`.
fn away(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let fields: Vec<_> = call
        .fields()
        .filter(|field| !field.text.starts_with('-'))
        .collect();
    if let [sources @ .., last] = fields.as_slice()
        && last.text == "/dev/null"
    {
        for source in sources {
            one(analysis, "delete-tree", source, scope);
        }
    }
}
