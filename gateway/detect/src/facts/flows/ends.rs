//! What each program gives out, takes in, sends and runs.

use defenseclaw_model::facts::{FlowEnd, FlowKind};

use super::super::behaviours::Invocation;
use super::super::{Access, Analysis, elsewhere, hosts, languages, normal, table, wrappers};
use super::web::{curl, wget};
use super::{Node, Sends, Way};
use crate::shell::{Field, Scope, Word};

/// Options of web clients whose value logs in rather than tells.
const LOGIN_OPTIONS: &[&str] = &[
    "-H",
    "--header",
    "-u",
    "--user",
    "-b",
    "--cookie",
    "--oauth2-bearer",
    "-a",
    "--auth",
];

/// By which way what the word at `at` of `words` holds comes to the program `name`.
pub(in super::super) fn way_of(name: &str, words: &[Word], at: usize) -> Way {
    let before = at
        .checked_sub(1)
        .and_then(|at| words.get(at))
        .map_or("", |word| word.source());
    let word = words.get(at).map_or("", |word| word.source());
    match name {
        "eval" | "source" | "." | "trap" => Way::Code,
        "curl" | "wget" | "http" | "https" | "xh" => {
            let header = LOGIN_OPTIONS.contains(&before) || word.starts_with("--header=");
            let lower = word.to_ascii_lowercase();
            let logs_in = !matches!(before, "-H" | "--header") && !word.starts_with("--header=")
                || ["authorization", "token", "api-key", "apikey", "cookie"]
                    .iter()
                    .any(|part| lower.contains(part));
            if header && logs_in {
                Way::Login
            } else {
                Way::Argument
            }
        }
        _ if table::is_shell(name) || table::interpreter(name) => {
            if is_code_option(before) || word.starts_with("<(") || (at == 0 && word.contains('$')) {
                Way::Code
            } else {
                Way::Argument
            }
        }
        "make" | "gmake" | "just" | "ansible-playbook" | "gdb" | "vim" | "nvim" | "vi"
            if word.starts_with("<(") || matches!(before, "-f" | "--file" | "--makefile" | "-x" | "-S") =>
        {
            Way::Code
        }
        // The program itself is what a substitution prints.
        _ if at == 0 => Way::Code,
        _ => Way::Argument,
    }
}

fn is_code_option(word: &str) -> bool {
    matches!(word, "-e" | "-r" | "--eval" | "-E" | "-p")
        || (word.starts_with('-') && !word.starts_with("--") && word.ends_with('c'))
}

/// Fills the node of the program that is being looked at.
pub(in super::super) fn describe(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let Some(at) = analysis.current else { return };
    let mut node = std::mem::take(&mut analysis.nodes[at]);
    fill(analysis, &mut node, call, scope);
    // What `fill` itself noted of paths went into the place-holder.
    let noted = std::mem::replace(&mut analysis.nodes[at], node);
    let node = &mut analysis.nodes[at];
    node.reads.extend(noted.reads);
    node.writes.extend(noted.writes);
}

fn fill(analysis: &mut Analysis, node: &mut Node, call: &Invocation<'_>, scope: &Scope<'_>) {
    let name = call.name;
    node.file = call.path(scope);
    match name {
        "echo" | "printf" => text(node, call),
        "cat" | "tac" | "head" | "tail" | "grep" | "egrep" | "fgrep" | "zgrep" | "rg" | "sort" | "uniq"
        | "cut" | "sed" | "awk" | "gawk" | "mawk" | "nl" | "fold" | "fmt" | "tee" | "jq" | "yq"
        | "strings" | "od" | "hexdump" | "hd" | "paste" | "column" | "iconv" | "split" | "dd" | "tar"
        | "bsdtar" | "zip" | "7z" | "cp" | "mv" | "ln" | "install" | "gpg2" | "age" | "pv" | "less"
        | "more" | "bat" | "xclip" | "xsel" | "sudo" | "doas" | "env" | "xargs" | "nohup" | "timeout"
        | "time" | "command" | "builtin" | "nice" | "stdbuf" | "setsid" | "parallel" | "while" | "read"
        | "test" | "[" | "true" | "cd" | "mkdir" | "rm" | "touch" | "chmod" | "sleep" | "export" | "set"
        | "diff" | "comm" | "busybox" | "watch" | "exec" | "ionice" | "seq" | "date" | "uname"
        | "basename" | "dirname" | "pwd" | "which" => filter(node, call, scope),
        "rev" => gives(node, FlowKind::Encoded, name),
        "tr" if !call.short("ds") => gives(node, FlowKind::Encoded, name),
        "tr" => {}
        "base64" | "base32" | "basenc" | "openssl" | "gpg" | "xxd" | "gzip" | "bzip2" | "xz" | "zstd"
        | "zcat" | "gunzip" | "bunzip2" | "unxz" | "bzcat" | "xzcat" | "zstdcat" | "uudecode"
        | "uncompress" => decoder(node, call),
        "printenv" => gives(node, FlowKind::Environment, call.operand(0).unwrap_or_default()),
        "wc" | "md5sum" | "sha1sum" | "sha256sum" | "sha512sum" | "b2sum" | "cksum" => node.digests = true,
        "curl" => curl(analysis, node, call, scope),
        "wget" | "wget2" => wget(analysis, node, call, scope),
        _ => other(analysis, node, call, scope),
    }
    if name == "env" && call.operand(0).is_none() {
        gives(node, FlowKind::Environment, "");
    }
}

/// Programs that are neither filters nor decoders.
fn other(analysis: &mut Analysis, node: &mut Node, call: &Invocation<'_>, scope: &Scope<'_>) {
    let name = call.name;
    match name {
        "http" | "https" | "xh" | "lynx" | "w3m" | "aria2c" | "axel" | "fetch" => {
            if let Some(host) = far_host(call) {
                gives(node, FlowKind::Network, &host);
                sends(
                    node,
                    &host,
                    "upload",
                    Way::Argument.bit() | Way::Input.bit() | Way::File.bit(),
                    true,
                );
            }
        }
        "nc" | "ncat" | "netcat" | "socat" | "telnet" => socket(node, call),
        "ssh" | "dbclient" => {
            let host = call.operands_after(SSH_VALUES).next().unwrap_or_default();
            remote(
                node,
                host.rsplit('@').next().unwrap_or_default(),
                Way::Input.bit() | Way::Argument.bit(),
            );
            if elsewhere::takes_input(call) {
                node.runs = Way::Input.bit();
            }
            gives(node, FlowKind::Command, name);
        }
        "scp" | "rsync" | "sftp" | "ftp" | "lftp" | "tftp" | "ncftpput" => transfer(node, call),
        "mail" | "mailx" | "mutt" | "sendmail" | "msmtp" | "swaks" | "sendemail" | "s-nail" | "ssmtp" => {
            let to = call
                .operands()
                .find(|word| word.contains('@'))
                .unwrap_or_default();
            sends(
                node,
                to,
                "mail",
                Way::Input.bit() | Way::Argument.bit() | Way::File.bit(),
                true,
            );
        }
        "dig" | "nslookup" | "host" | "drill" | "kdig" | "ping" | "resolvectl" => {
            // This host's own name, with nothing behind it, is a question to its own resolver.
            let own = |word: &str| {
                matches!(
                    word,
                    "$(hostname)" | "$(hostname -f)" | "$(hostname -s)" | "`hostname`" | "$HOSTNAME"
                )
            };
            if !call.operands().any(own) || call.fields().any(|field| field.substitution && !own(&field.text))
            {
                sends(node, "", "dns", Way::Argument.bit(), false);
            }
            gives(node, FlowKind::Network, "dns");
        }
        "aws" | "gsutil" | "gcloud" | "az" | "rclone" | "mc" | "s3cmd" | "b2" | "azcopy" | "oci"
        | "s5cmd" => cloud(analysis, node, call, scope),
        "gh" | "glab" if matches!(call.operand(0), Some("gist" | "snippet")) => {
            sends(
                node,
                "github.com",
                "paste",
                Way::Input.bit() | Way::File.bit(),
                true,
            );
        }
        "tshark" | "tcpdump" => gives(node, FlowKind::Command, name),
        _ if table::is_shell(name) => interpreter(analysis, node, call, scope),
        _ if let Some(given) = languages::given(call) => {
            language(analysis, node, call, &given, scope);
        }
        _ if table::interpreter(name) => interpreter(analysis, node, call, scope),
        "eval" | "source" | "." => {
            node.runs = Way::Code.bit() | (Way::Input.bit() * u8::from(call.any(&["/dev/stdin", "-"])));
            node.keeps_reads = true;
            node.file = call
                .operand(0)
                .map(|path| normal::normalise(path, scope.cwd.as_deref()));
            if name == "eval" {
                variables(node, call);
            }
        }
        "at" | "batch" | "crontab" => {
            node.runs = Way::Input.bit() | Way::Code.bit();
            let file = match name {
                "crontab" => call.operands_after(&["-u"]).next(),
                _ => call.value(&["-f"]),
            };
            let file = file.filter(|file| !languages::is_input(file));
            node.file = file.map(|file| normal::normalise(file, scope.cwd.as_deref()));
            node.keeps_reads = true;
        }
        _ => {
            node.runs = Way::Code.bit();
            let bare = call.operands().count() <= usize::from(name == "chroot");
            let login = matches!(name, "su" | "runuser")
                && !call.short("c")
                && !call.begins(&["--command", "--session"]);
            if elsewhere::takes_input(call)
                || (bare || login) && wrappers::opens_shell(name, call.call.arguments())
            {
                node.runs |= Way::Input.bit();
            }
            if call.call.fields.first().is_some_and(|(field, _)| !field.exact) {
                node.runs |= Way::Input.bit();
            }
            node.keeps_reads = true;
            gives(node, FlowKind::Command, name);
        }
    }
}

pub(super) fn gives(node: &mut Node, kind: FlowKind, what: &str) {
    node.gives.push(FlowEnd {
        kind,
        what: what.to_owned(),
    });
}

pub(super) fn sends(node: &mut Node, host: &str, technique: &'static str, takes: u8, own: bool) {
    node.sends = Some(Sends {
        host: host.to_owned(),
        technique,
        takes,
        own,
    });
}

fn remote(node: &mut Node, host: &str, takes: u8) {
    if !is_near(host) {
        sends(node, host, "upload", takes | Way::File.bit(), true);
    }
}

/// `echo` and `printf`: many escapes are an encoding; a variable that looks like a secret is one of the environment.
fn text(node: &mut Node, call: &Invocation<'_>) {
    /// A format has a few escapes (colours, line ends); a hidden command has one for each letter.
    const MANY: usize = 6;
    node.deaf = true;
    let escapes =
        |text: &str| text.matches("\\x").count() + text.matches("\\0").count() + text.matches("\\1").count();
    if call.words().map(escapes).sum::<usize>() >= MANY {
        gives(node, FlowKind::Encoded, call.name);
    }
    variables(node, call);
}

/// Variables of the environment whose names say that they hold secrets.
fn variables(node: &mut Node, call: &Invocation<'_>) {
    for name in call.secret_variables() {
        gives(node, FlowKind::Environment, name);
    }
}

fn filter(node: &mut Node, call: &Invocation<'_>, scope: &Scope<'_>) {
    let name = call.name;
    node.deaf = matches!(
        name,
        "cp" | "mv" | "ln" | "install" | "cd" | "mkdir" | "rm" | "touch" | "chmod" | "sleep" | "seq" | "date"
    );
    node.ends_flow = matches!(
        name,
        "test" | "[" | "mkdir" | "rm" | "touch" | "chmod" | "cd" | "sleep"
    );
    node.digests = name.ends_with("grep") && call.short("cqlL");
    // Their programs may come from a file: `awk -f FILE`.
    if matches!(name, "awk" | "gawk" | "mawk" | "sed")
        && let Some(file) = call.value(&["-f", "--file"])
    {
        node.runs = Way::Code.bit() | (Way::Input.bit() * u8::from(languages::is_input(file)));
        node.file = (!languages::is_input(file)).then(|| normal::normalise(file, scope.cwd.as_deref()));
    }
    node.keeps_reads = matches!(name, "sudo" | "doas" | "env" | "rm" | "test" | "[");
    // A shell reads its commands from whatever `xargs` or `parallel` was given none for.
    if name == "parallel" && call.operand(0).is_none() {
        node.runs = Way::Input.bit();
    }
    if matches!(name, "sudo" | "doas") && call.operand(0).is_none() && call.short("si") {
        node.runs = Way::Input.bit();
    }
}

/// Decoders give out what nobody could read before.
fn decoder(node: &mut Node, call: &Invocation<'_>) {
    let decodes = match call.name {
        "base64" | "base32" | "basenc" => call.short("dD") || call.any(&["--decode"]),
        "openssl" => call.short_word("-d") || call.any(&["-d", "-decrypt"]),
        "gpg" => call.any(&["-d", "--decrypt"]),
        "xxd" => call.short("r") || call.any(&["-revert"]),
        "gzip" | "bzip2" | "xz" | "zstd" => call.short("d") || call.any(&["--decompress"]),
        _ => true,
    };
    if decodes {
        gives(node, FlowKind::Encoded, call.name);
    }
    if call.name == "openssl" && call.operand(0) == Some("s_client") {
        let to = call.value(&["-connect"]).unwrap_or_default();
        let host = to.rsplit_once(':').map_or(to, |(host, _)| host);
        if !is_near(host) {
            gives(node, FlowKind::Network, host);
            sends(node, host, "upload", Way::Input.bit(), true);
        }
    }
}

const SSH_VALUES: &[&str] = &[
    "-p", "-i", "-o", "-l", "-L", "-R", "-D", "-F", "-J", "-W", "-b", "-c", "-E", "-e", "-I", "-m", "-O",
    "-Q", "-S", "-w", "-B",
];

/// A host on this machine.
pub(in super::super) fn is_near(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.starts_with("127.")
        || matches!(
            host,
            "::1" | "0.0.0.0" | "0" | "host.docker.internal" | "ip6-localhost"
        )
}

/// `:3000/x`, `:/x`: a port of this host, as HTTPie takes it.
fn is_own_port(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(':') else {
        return false;
    };
    let path = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.len() - path.len() <= 5 && (path.is_empty() || path.starts_with('/'))
}

/// The first host of the words that is not this one; empty if a word's host cannot be told. `None` if all are near.
fn far_host(call: &Invocation<'_>) -> Option<String> {
    let mut unknown = false;
    // HTTPie takes one address; `:3000/x` is this host's.
    let httpie = matches!(call.name, "http" | "https" | "xh");
    for (field, _) in call.call.arguments() {
        let text = field.text.as_str();
        if text.starts_with('-') {
            continue;
        }
        if httpie && is_own_port(text) {
            return None;
        }
        match hosts::url_host(text) {
            Some(host) if !is_near(&host.host) => return Some(host.host),
            Some(_) => {}
            None if text.contains("://") && field.exact => {}
            None if text.contains("://") || !field.exact => unknown = true,
            None => {
                let bare = text.split(['/', ':', '?']).next().unwrap_or_default();
                let named = bare.contains('.')
                    && !bare.starts_with('.')
                    && !text.starts_with('/')
                    && !text.contains([' ', '@', '{', '=']);
                if named && !is_near(bare) {
                    return Some(bare.to_ascii_lowercase());
                }
            }
        }
    }
    unknown.then(String::new)
}

/// netcat and its like: what comes in goes out.
fn socket(node: &mut Node, call: &Invocation<'_>) {
    let listens = call.name != "telnet" && (call.short("l") || call.any(&["--listen"]));
    let host = if call.name == "socat" {
        let peer = call.operands().find_map(|word| {
            let rest = word.split_once(':').filter(|(kind, _)| {
                let kind = kind.to_ascii_lowercase();
                kind.starts_with("tcp")
                    || kind.starts_with("udp")
                    || kind.starts_with("openssl")
                    || kind.starts_with("sctp")
            });
            rest.map(|(kind, rest)| (kind.to_ascii_lowercase().contains("listen"), rest))
        });
        peer.filter(|(listens, _)| !listens)
            .map(|(_, rest)| rest.split([':', ',']).next().unwrap_or_default())
    } else if listens || call.short("z") {
        None
    } else {
        call.operands_after(&[
            "-w",
            "-s",
            "-p",
            "-e",
            "-c",
            "-i",
            "-q",
            "-x",
            "-X",
            "-T",
            "--exec",
            "--sh-exec",
        ])
        .next()
    };
    match host {
        Some(host) if is_near(host) => {}
        Some(host) => {
            gives(node, FlowKind::Network, host);
            let technique = if hosts::is_paste(host) { "paste" } else { "upload" };
            sends(node, host, technique, Way::Input.bit() | Way::File.bit(), true);
        }
        None if listens => {
            gives(node, FlowKind::Network, "");
            sends(node, "", "upload", Way::Input.bit(), true);
        }
        None => {}
    }
    node.ends_flow = true;
}

/// Copies to and from other hosts: which way follows from where the remote name stands.
fn transfer(node: &mut Node, call: &Invocation<'_>) {
    node.deaf = !matches!(call.name, "sftp" | "ftp" | "lftp" | "tftp");
    let remote_host = |word: &str| {
        hosts::url_host(word)
            .or_else(|| hosts::remote_path_host(word, 22))
            .map(|host| host.host)
    };
    let operands: Vec<_> = call.operands_after(SSH_VALUES).collect();
    if !node.deaf {
        let host = operands
            .first()
            .map_or("", |word| word.rsplit('@').next().unwrap_or_default());
        remote(
            node,
            host.split(':').next().unwrap_or_default(),
            Way::Input.bit() | Way::Argument.bit(),
        );
        return;
    }
    let Some((last, sources)) = operands.split_last() else {
        return;
    };
    if let Some(host) = remote_host(last) {
        remote(node, &host, Way::Argument.bit());
    } else if let Some(host) = sources.iter().find_map(|word| remote_host(word)) {
        gives(node, FlowKind::Network, &host);
    }
}

/// `aws s3 cp FILE s3://…` and its like.
fn cloud(analysis: &mut Analysis, node: &mut Node, call: &Invocation<'_>, scope: &Scope<'_>) {
    let words: Vec<_> = call.operands().collect();
    let is_remote = |word: &str| {
        ["s3://", "gs://", "https://", "b2://", "az://", "oss://"]
            .iter()
            .any(|scheme| word.starts_with(scheme))
            || (matches!(call.name, "rclone" | "mc")
                && word.contains(':') | (call.name == "mc" && word.contains('/')))
    };
    let copies = words.iter().any(|word| {
        matches!(
            *word,
            "cp" | "mv"
                | "sync"
                | "copy"
                | "move"
                | "put"
                | "upload"
                | "upload-batch"
                | "copyto"
                | "rsync"
                | "rcat"
                | "pipe"
        )
    });
    gives(node, FlowKind::Command, call.name);
    let Some(last) = words.last().filter(|_| copies) else {
        return;
    };
    let Some(verb) = words.iter().position(|word| {
        matches!(
            *word,
            "cp" | "mv" | "sync" | "copy" | "move" | "put" | "copyto" | "rsync" | "rcat" | "pipe"
        )
    }) else {
        // `az storage blob upload --file F --account-name A`
        if let Some(file) = call.value(&["--file", "-f", "--source", "-s"]) {
            analysis.path(Access::Read, &Field::literal(file), scope);
            sends(node, "", "cloud-copy", Way::File.bit(), true);
        }
        return;
    };
    if is_remote(last) {
        for source in words.get(verb + 1..words.len() - 1).unwrap_or_default() {
            if !is_remote(source) && *source != "-" {
                analysis.path(Access::Read, &Field::literal(*source), scope);
            }
        }
        let host = last.split_once("://").map_or(*last, |(_, rest)| rest);
        let host = host.split(['/', ':']).next().unwrap_or_default();
        sends(node, host, "cloud-copy", Way::Input.bit() | Way::File.bit(), true);
    } else {
        gives(node, FlowKind::Network, call.name);
    }
}

/// Programs of [`languages`].
fn language(
    analysis: &Analysis,
    node: &mut Node,
    call: &Invocation<'_>,
    given: &languages::Given<'_>,
    scope: &Scope<'_>,
) {
    node.keeps_reads = true;
    // `docker exec -i NAME sh`
    let inside = elsewhere::takes_input(call);
    node.installs = given.installs && !inside;
    node.runs = Way::Code.bit() | (Way::Input.bit() * u8::from(given.input || inside));
    let named = given
        .file
        .map(|file| normal::normalise(file, scope.cwd.as_deref()));
    node.file = named
        .or_else(|| languages::fixed(analysis, call, scope))
        .or(node.file.take());
    gives(node, FlowKind::Command, call.name);
}

/// Options of node whose value is loaded before the script.
fn is_preload(name: &str, word: &str) -> bool {
    matches!(name, "node" | "nodejs") && matches!(word, "-r" | "--require" | "--import" | "--loader")
}

/// Shells and interpreters: which of their words, or their input, is code.
fn interpreter(analysis: &Analysis, node: &mut Node, call: &Invocation<'_>, scope: &Scope<'_>) {
    node.keeps_reads = true;
    let shell = table::is_shell(call.name);
    let mut words = call.words();
    let mut code = None;
    let mut operand = None;
    while let Some(word) = words.next() {
        let option = word.starts_with('-') && word.len() > 1;
        if is_preload(call.name, word) {
            let file = words.next();
            node.file = file.map(|file| normal::normalise(file, scope.cwd.as_deref()));
            continue;
        }
        if option && !word.starts_with("--") && word.contains('c') && shell
            || matches!(word, "-c" | "-e" | "-r" | "--eval" | "-E" | "-p" | "-m") && !shell
        {
            code = words.next();
            break;
        }
        if matches!(word, "-s") {
            continue;
        }
        if matches!(word, "--rcfile" | "--init-file") {
            // It is run before all else.
            let file = words.next();
            node.file = file.map(|file| normal::normalise(file, scope.cwd.as_deref()));
        } else if matches!(word, "-o" | "+o" | "-O" | "-W" | "-X") {
            words.next();
        } else if !option {
            operand = Some(word);
            break;
        }
    }
    node.runs = Way::Code.bit();
    match (code, operand) {
        // What is put in its place comes through `xargs`, or through a variable that the input fills.
        (Some(code), _) => {
            node.deaf = false;
            if code.contains("{}") || code.trim_matches('"').starts_with('$') {
                node.runs |= Way::Input.bit();
            }
        }
        (None, Some(script)) if !languages::is_input(script) && !call.any(&["-s"]) => {
            // Of a file that is loaded first and the script, the one that the call has written.
            let written = |path: &String| analysis.facts.writes.iter().any(|fact| fact.path == *path);
            let first = node.file.take().filter(written);
            node.file = first.or_else(|| Some(normal::normalise(script, scope.cwd.as_deref())));
        }
        _ => node.runs |= Way::Input.bit(),
    }
    gives(node, FlowKind::Command, call.name);
}

/// The names in `text` of variables that look like secrets: `$AWS_SECRET_ACCESS_KEY`, `${TOKEN}`.
pub(in super::super) fn secret_names(text: &str) -> impl Iterator<Item = &str> {
    text.split('$').skip(1).filter_map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let end = rest
            .bytes()
            .position(|b| b != b'_' && !b.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        let name = &rest[..end];
        // `${TOKEN:+set}` says that it is there, not what it is.
        let tested =
            rest[end..].starts_with([':', '+']) && rest[end..].trim_start_matches(':').starts_with('+');
        (!tested && is_secret_name(name)).then_some(name)
    })
}

/// Whether a variable's name says that it holds a secret.
pub(in super::super) fn is_secret_name(name: &str) -> bool {
    const WORDS: &[&str] = &[
        "SECRET",
        "TOKEN",
        "PASSWORD",
        "PASSWD",
        "API_KEY",
        "APIKEY",
        "ACCESS_KEY",
        "PRIVATE_KEY",
        "CREDENTIAL",
        "_PAT",
        "_PWD",
        "_PASS",
    ];
    name.len() > 3
        && name.bytes().all(|b| !b.is_ascii_lowercase())
        && WORDS.iter().any(|word| name.contains(word))
}
