//! A shell that is joined with a socket in the languages that are seldom given a program on the command line: Erlang,
//! Scheme, Julia, R and others. A word that dials and a word that starts a program, in one short text, is all there is to it.

use defenseclaw_model::facts::BehaviourKind::Control;

use super::super::Analysis;
use super::super::code::{holds, strings};
use super::{Invocation, Table};
use crate::shell::Scope;

pub(super) const TABLE: Table = &[(
    &[
        "erl",
        "elixir",
        "iex",
        "guile",
        "julia",
        "R",
        "Rscript",
        "littler",
        "r",
        "crystal",
        "deno",
        "bun",
        "racket",
        "sbcl",
        "clisp",
        "ecl",
        "ghc",
        "ghci",
        "runghc",
        "scala",
        "scala-cli",
        "kotlin",
        "kotlinc",
        "swift",
        "dart",
        "nim",
        "ocaml",
        "octave",
        "tclsh",
        "wish",
        "jimsh",
        "expect",
        "raku",
        "pike",
        "gst",
        "chicken",
        "csi",
        "gsi",
        "janet",
        "bb",
        "clojure",
        "clj",
        "lua",
        "luajit",
        "groovy",
        "jshell",
        "node",
        "nodejs",
        "v",
        "zig",
        "fennel",
        "io",
        "picolisp",
        "newlisp",
        "escript",
        "mono",
        "csharp",
        "dotnet-script",
    ],
    dialled,
)];

/// What opens a connection, as each language spells it.
const DIALS: &[&str] = &[
    "gen_tcp:connect",
    "gen_tcp.connect",
    "ssl:connect",
    "(connect ",
    "inet-pton",
    "Deno.connect",
    "Bun.connect",
    "net.connect",
    "net\").connect",
    "net').connect",
    ".connect(",
    "using Sockets",
    "socketConnection(",
    "make.socket(",
    "TCPSocket.new",
    "TCPSocket.open",
    "socket.tcp",
    "tcp-connect",
    "socket-connect",
    "connectTo",
    "connectSock",
    "getAddrInfo",
    "Socket(\"",
    "Socket('",
    "Socket.connect",
    "Socket::INET",
    "[socket ",
    "openSocket",
    "open_connection",
    "ADDR_INET",
    "TcpClient",
    "net/connect",
    "net-connect",
    "Socket.new(",
];

/// Where JavaScript has its sockets.
const SOCKETS_OF_JS: &[&str] = &[
    "'net'",
    "\"net\"",
    "`net`",
    "node:net",
    "'tls'",
    "\"tls\"",
    "`tls`",
    "node:tls",
    "'dgram'",
    "\"dgram\"",
    "node:dgram",
    "net.connect",
    "net.Socket",
    "Deno.connect",
    "Bun.connect",
    "WebSocket(",
    "'ws'",
    "\"ws\"",
    "socket.io-client",
];

/// What starts a program.
const STARTS: &[&str] = &[
    "os:cmd",
    ":os.cmd",
    "open_port",
    "Port.open",
    "System.cmd",
    "System.shell",
    "(execl",
    "(system ",
    "(system* ",
    "(subprocess ",
    "(process ",
    "(process* ",
    "system(",
    "system2(",
    "pipe(",
    "Deno.Command",
    "Deno.run",
    "Bun.spawn",
    ".spawn(",
    "child_process",
    "run(pipeline",
    "run(`",
    "open(`",
    "pipeline(`",
    "Process.run",
    "Process.new",
    "Process.start",
    "Process(",
    "ProcessBuilder",
    "getRuntime",
    "exec sh",
    "exec /bin",
    "exec $",
    "\"exec ",
    "exec {*}",
    "open \"|",
    "open |",
    "io.popen",
    "os.execute",
    "callProcess",
    "createProcess",
    "readProcess",
    "System.Process",
    "run-program",
    "Unix.dup2",
    "Unix.open_process",
    "execProcess",
    "startProcess",
    "shell-out",
    "clojure.java.shell",
    "os/spawn",
    "os/shell",
    "Proc::Async",
    "qx{",
    "eval $",
    "dup2",
];

/// Longest way from a word that dials to the address that it is given (bytes).
const MAX_BEFORE: usize = 80;

fn dialled(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let texts = call.words().filter(|word| word.contains(['(', '[', ' ']));
    let text: String = texts.chain(call.input()).collect::<Vec<_>>().join("\n");
    if !holds(&text, DIALS) || !holds(&text, STARTS) {
        return;
    }
    // In JavaScript databases, buses and servers of tools have a `connect`, too.
    if matches!(call.name, "node" | "nodejs" | "deno" | "bun") && !holds(&text, SOCKETS_OF_JS) {
        return;
    }
    // Erlang spells an address as numbers, Tcl and Scheme need no quotes.
    let plain = text.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-'));
    let is_near = |word: &str| matches!(word, "localhost" | "127.0.0.1" | "0.0.0.0");
    // Beside this host a word with a dot may be anything, but not where an address stands.
    let near = plain.clone().any(is_near);
    let quoted = strings(&text).filter_map(|(quoted, rest)| {
        let begin = text.len() - rest.len() - quoted.len() - 1;
        let before = text.get(text.floor_char_boundary(begin.saturating_sub(MAX_BEFORE))..begin)?;
        (!near || holds(before, DIALS) || before.ends_with("host: ")).then_some(quoted)
    });
    let addresses = plain
        .clone()
        .filter(|word| word.parse::<std::net::Ipv4Addr>().is_ok());
    let names = quoted.filter(|word| {
        word.contains('.')
            && !word.contains([' ', '/', '(', '$', '\\'])
            && !word.starts_with('.')
            && !word.ends_with('.')
            // A version is no address.
            && word.bytes().any(|b| b.is_ascii_alphabetic())
    });
    let mut peers = addresses.chain(names);
    let far = peers.find(|word| !is_near(word));
    // Where only this host is named, a test talks to its own server.
    if far.is_none() && near {
        return;
    }
    analysis.behave(Control, "reverse-shell", far.unwrap_or_default(), None);
}
