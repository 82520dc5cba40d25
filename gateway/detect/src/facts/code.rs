//! Source text of other languages, handed to an interpreter: not parsed, but looked over.
//!
//! What a quoted string in it names outright (the path of something sensitive, a URL) is declared; a text that it hands to a
//! shell is read as one; and a few combinations of calls say what it is for. The text itself is noted as opaque.

use defenseclaw_model::facts::BehaviourKind::{Control, Credential, Destruction, Execution, Privilege};
use defenseclaw_model::facts::{FlowEnd, FlowKind};

use super::calls::{deletions, shells};
use super::flows::{Sends, Way};
use super::literals::Literals;
use super::received::{peer_of, takes_commands, tasked};
use super::{Access, Analysis, flows, hosts, places, spelled};
use crate::paths::PathRules;
use crate::shell::{Field, Scope, Sink};

/// Most quoted strings that are looked at in one text.
const MAX_STRINGS: usize = 256;

/// Longest quoted string that can be a path (bytes).
pub(super) const MAX_PATH: usize = 4096;

/// Notes what `text` names and does.
pub(super) fn scan(analysis: &mut Analysis, text: &str, scope: &Scope<'_>) {
    analysis.spend(text.len());
    if analysis.stopped() {
        return;
    }
    analysis.opaque("interpreter", text);
    if decodes(text) && executes(text) {
        analysis.opaque("encoding", text);
    }
    read(analysis, text, scope);
    if let Some(spelled) = spelled::out(text) {
        analysis.spend(spelled.len());
        read(analysis, &spelled, scope);
    }
}

/// What `text` names and does, as it is written.
fn read(analysis: &mut Analysis, text: &str, scope: &Scope<'_>) {
    for host in hosts::hosts_in(text) {
        analysis.host(host);
    }
    for (quoted, rest) in strings(text) {
        let expanded = match (quoted.strip_prefix("~/"), scope.home) {
            (Some(rest), Some(home)) => format!("{home}/{rest}"),
            _ => quoted.to_owned(),
        };
        let written = is_written(text, rest);
        if is_sensitive(analysis.rules, &expanded)
            || (written && analysis.rules.classify(&expanded).is_some())
        {
            let access = if written { Access::Write } else { Access::Read };
            let field = Field {
                glob: expanded.contains('*'),
                ..Field::literal(expanded)
            };
            analysis.path(access, &field, scope);
        }
    }
    let name = analysis.current.and_then(|at| analysis.facts.programs.get(at));
    let name = name.map_or(String::new(), |program| program.name.clone());
    behaviours(analysis, &name, text, scope);
    ends(analysis, text);
}

fn is_sensitive(rules: &PathRules, path: &str) -> bool {
    let class = if path.contains('*') {
        rules.classify_glob(path)
    } else {
        rules.classify(path)
    };
    let class = class.or_else(|| path.strip_prefix('/').and_then(|tail| rules.classify(tail)));
    class.is_some_and(|class| places::is_secret(rules, class))
}

/// Whether what stands around a quoted path says that it is written: `open(PATH, "w")`, `writeFileSync(PATH`.
fn is_written(text: &str, rest: &str) -> bool {
    let at = text.len() - rest.len();
    let before = &text[text.floor_char_boundary(at.saturating_sub(MAX_PATH.min(160)))..at];
    let mode = rest.trim_start().strip_prefix(',').map_or("", str::trim_start);
    let opens = mode
        .strip_prefix(['"', '\''])
        .is_some_and(|mode| mode.starts_with(['w', 'a', 'x', '>']) || mode.starts_with("r+"));
    let writes = [
        "writeFile",
        "appendFile",
        "File.write",
        "file_put_contents",
        "write_text",
        "copyfile",
        "createWriteStream",
    ];
    let line = before.rsplit(['\n', ';']).next().unwrap_or_default();
    opens
        || writes.iter().any(|word| line.contains(word))
        || rest.starts_with(").write_text")
        || rest.starts_with(").write_bytes")
}

/// The quoted strings of `text`, by the nearest closing quote, each with what stands behind it.
pub(super) fn strings(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let open = rest.find(['"', '\'', '`'])?;
        let quote = char::from(rest.as_bytes()[open]);
        let inner = &rest[open + 1..];
        match inner.find([quote, '\n']) {
            // A quote that closes nothing on its line (an apostrophe) is stepped over.
            Some(end) if inner[end..].starts_with(quote) => {
                rest = &inner[end + 1..];
                Some((&inner[..end], rest))
            }
            _ => {
                rest = inner;
                Some(("", rest))
            }
        }
    })
    .take(MAX_STRINGS)
    .filter(|(quoted, _)| !quoted.is_empty() && quoted.len() <= MAX_PATH)
}

/// Calls that decode.
static DECODES: Literals = Literals::new(&[
    "b64decode",
    "base64",
    "fromhex",
    "unhexlify",
    "atob(",
    "decode64",
    "unpack(",
    "codecs.decode",
    "marshal.loads",
    "zlib.decompress",
    "fromCharCode",
    "gzinflate",
    "str_rot13",
    "unescape(",
]);

/// Calls that run a text.
static RUNS_TEXT: Literals = Literals::new(&[
    "os.system(",
    "execSync(",
    "new Function(",
    ".then(eval",
    "import('data:",
    "import(\"data:",
    "vm.runIn",
    "._compile(",
    "eval base64",
    "eval get",
    "eval $",
    "eval(",
    "iex ",
    "IEX(",
    "compile(",
]);

/// Ways to hand a shell over to whoever is connected.
static HANDS_OVER: Literals = Literals::new(&[
    "->fdopen",
    "system$_",
    "dup2",
    "pty.spawn",
    "\"/bin/sh\"",
    "'/bin/sh'",
    "/bin/sh -i",
    "/bin/bash",
    "open(STDIN",
    "STDIN,\">&",
    ".spawn(",
    "exec(\"sh",
    "exec \"/bin",
    "proc_open",
    "to_s|sh",
    "cmd.exe",
    "/bin/sh",
]);

/// Calls that open a shell for a person.
static OPENS_SHELL: Literals = Literals::new(&[
    "system('/bin/sh')",
    "system('/bin/bash')",
    "exec('/bin/sh')",
    "exec(\"/bin/sh\")",
    "pty.spawn(",
    "os.execl(\"/bin",
    "os.execl('/bin",
    "os.execvp(\"/bin",
    "os.system(\"/bin/sh\")",
    "os.system('/bin/sh')",
    "os.system(\"/bin/bash\")",
    "os.system('/bin/bash')",
    "os.system(\"sh\")",
    "exec \"/bin/sh\"",
    "exec '/bin/sh'",
    "exec \"/bin/bash\"",
    "system(\"/bin/sh\")",
    "spawn(\"/bin/sh\"",
    "spawn('/bin/sh'",
    "os.execute(\"/bin/sh\")",
    "os.execute('/bin/sh')",
    "pcntl_exec(\"/bin",
    "passthru(\"/bin/sh",
    "exec {\"/bin/sh\"",
    "spawnSync(\"/bin/sh\"",
    "execSync('/bin/sh'",
]);

pub(super) fn holds(text: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| text.contains(part))
}

fn decodes(text: &str) -> bool {
    DECODES.within(text)
}

fn executes(text: &str) -> bool {
    holds(
        text,
        &[
            "exec(",
            "eval(",
            "system(",
            "popen",
            "subprocess",
            "child_process",
            "spawn(",
            "__import__('os')",
        ],
    )
}

/// Runs text of its own language or of a shell, with nothing of it to be read.
fn runs_text(text: &str) -> bool {
    let own = text
        .match_indices("exec(")
        .chain(text.match_indices("eval("))
        .any(|(at, _)| {
            // `re.exec(`, `cursor.exec(` and `literal_eval(` run no code.
            !text[..at].ends_with(['.', '_']) || text[..at].ends_with("builtins.")
        });
    own || RUNS_TEXT.within(text) && (own || !text.contains("re.compile(") || text.contains("os.system("))
}

/// Words that reach another host, and those that only fetch from one.
pub(super) static CONNECTS: Literals = Literals::new(&[
    "urlopen",
    "requests.",
    "http.client",
    "httpx.",
    "aiohttp",
    "socket",
    "fetch(",
    "axios",
    "http.request",
    "https.request",
    "http.get",
    "https.get",
    "Net::HTTP",
    "open-uri",
    "LWP",
    "HTTP::Tiny",
    "curl_init",
    "file_get_contents('http",
    "file_get_contents(\"http",
    "fsockopen",
    "smtplib",
    "ftplib",
    "paramiko",
    "XMLHttpRequest",
    "URI.open",
    "net.connect",
    "Invoke-WebRequest",
    "WebClient",
]);
pub(super) static FETCHES: Literals = Literals::new(&[
    "urlopen",
    "requests.get",
    "httpx.get",
    "fetch(",
    "axios.get",
    "http.get",
    "https.get",
    "Net::HTTP.get",
    "URI.open",
    "open(\"http",
    "open('http",
    "LWP::Simple",
    "get(\"http",
    "get('http",
    "file_get_contents('http",
    "file_get_contents(\"http",
    "urlretrieve",
    "WebClient",
    "DownloadString",
    "Invoke-WebRequest",
]);

/// What combinations of calls say.
pub(super) fn behaviours(analysis: &mut Analysis, name: &str, text: &str, scope: &Scope<'_>) {
    let host = || {
        hosts::hosts_in(text)
            .into_iter()
            .map(|host| host.host)
            .find(|host| !flows::is_near(host))
    };
    let socket = holds(
        text,
        &[
            "socket",
            "Socket",
            "fsockopen",
            "net.connect",
            "net.Socket",
            "TCPClient",
        ],
    );
    let hands_over = HANDS_OVER.within(text);
    let peer = connected(text);
    if socket
        && hands_over
        && (peer.is_some()
            || holds(
                text,
                &[
                    "connect",
                    "fsockopen",
                    "TCPSocket",
                    "TCPClient",
                    "bind(",
                    "PeerAddr",
                ],
            ))
    {
        let bound =
            holds(text, &[".bind(", "TCPServer", "createServer", "listen("]) && !text.contains("connect");
        let technique = if bound { "bind-shell" } else { "reverse-shell" };
        analysis.behave(Control, technique, peer.clone().unwrap_or_default(), None);
    }
    tasked(analysis, text, host());
    if !(socket && hands_over) {
        takes_commands(analysis, text, peer_of(text, &peer).or_else(host));
    }
    if runs_text(text) {
        let fetches = FETCHES.within(text);
        if decodes(text)
            && (holds(text, &["exec(", "eval(", "eval ", "Function("])
                || text.contains("os.system(base64")
                || text.contains("loads("))
        {
            analysis.behave(Execution, "decoded-code", name, None);
        }
        if let Some(host) = host().filter(|_| fetches) {
            flow(analysis, (FlowKind::Network, &host), (FlowKind::Code, name));
            analysis.behave(Execution, "network-to-code", host, None);
        }
    }
    calls(analysis, name, text, socket);
    deletions(analysis, text, scope);
    shells(analysis, text, scope);
}

/// Single calls that say enough by themselves.
fn calls(analysis: &mut Analysis, name: &str, text: &str, socket: bool) {
    let shell = OPENS_SHELL.within(text);
    if shell && !socket {
        analysis.behave(Execution, "gtfobin-shell", name, None);
    }
    if holds(
        text,
        &[
            "setuid(0)",
            "setuid 0",
            "Process::Sys.setuid(0)",
            "setreuid(0",
            "POSIX::setuid(0",
            "posix_setuid(0",
            "process.setuid(0",
        ],
    ) {
        analysis.behave(Privilege, "setuid", name, None);
    }
    if holds(text, &["LINUX_REBOOT_CMD", ".reboot(0x"]) {
        analysis.behave(
            Destruction,
            "reboot",
            name,
            defenseclaw_model::facts::Radius::System,
        );
    }
    if holds(text, &["memfd_create", "syscall(319"]) {
        analysis.behave(Execution, "memfd", name, None);
    }
    if holds(text, &["PTRACE_", "ptrace(", "process_vm_writev"]) {
        analysis.behave(Execution, "process-inject", name, None);
    }
    if holds(
        text,
        &[
            "pynput",
            "keyboard.on_press",
            "keyboard.record",
            "pyxhook",
            "/dev/input/event",
        ],
    ) {
        analysis.behave(Credential, "keylog", name, None);
    }
    if holds(text, &["os.fork()", "fork while", "while fork", "fork()"])
        && holds(
            text,
            &[
                "while True",
                "while 1",
                "while(1)",
                "while true",
                "fork while",
                "for(;;)",
                "loop {",
            ],
        )
    {
        analysis.behave(
            Destruction,
            "fork-bomb",
            "",
            defenseclaw_model::facts::Radius::System,
        );
    }
}

/// The address that a text connects a socket to.
fn connected(text: &str) -> Option<String> {
    let begin = [
        "connect((",
        "connect(",
        "fsockopen(",
        "TCPSocket.open(",
        "TCPSocket.new(",
        "TCPClient(",
    ]
    .iter()
    .find_map(|word| text.find(word).map(|at| at + word.len()))?;
    let (quoted, _) = strings(&text[begin..text.ceil_char_boundary((begin + 200).min(text.len()))]).next()?;
    let host = hosts::host_port(quoted, None)?;
    Some(host.host)
}

/// What the text sends, and from where.
fn ends(analysis: &mut Analysis, text: &str) {
    if !CONNECTS.within(text) {
        return;
    }
    let host = hosts::hosts_in(text)
        .into_iter()
        .map(|host| host.host)
        .find(|host| !flows::is_near(host));
    let host = host.or_else(|| connected(text).filter(|host| !flows::is_near(host)));
    let Some(node) = analysis.current.and_then(|at| analysis.nodes.get_mut(at)) else {
        return;
    };
    let Some(host) = host else { return };
    let whole = [
        "dict(os.environ)",
        "os.environ.items()",
        "str(os.environ)",
        "JSON.stringify(process.env)",
        "ENV.to_h",
        "os.environ)",
        "%ENV",
        "$_ENV",
        "getenv()",
    ];
    if holds(text, &whole) {
        node.gives.push(FlowEnd {
            kind: FlowKind::Environment,
            what: String::new(),
        });
    }
    node.gives.push(FlowEnd {
        kind: FlowKind::Network,
        what: host.clone(),
    });
    let technique = if hosts::is_paste(&host) { "paste" } else { "upload" };
    node.sends = Some(Sends {
        host,
        technique,
        takes: if holds(text, &["stdin", "STDIN", "ARGF", "/dev/stdin"]) {
            Way::Input.bit()
        } else {
            0
        },
        own: true,
    });
}

pub(super) fn flow(analysis: &mut Analysis, from: (FlowKind, &str), to: (FlowKind, &str)) {
    let end = |(kind, what): (FlowKind, &str)| FlowEnd {
        kind,
        what: what.to_owned(),
    };
    let flow = defenseclaw_model::facts::Flow {
        from: end(from),
        to: end(to),
        through: Vec::new(),
    };
    if !analysis.facts.flows.contains(&flow) {
        analysis.facts.flows.push(flow);
    }
}
