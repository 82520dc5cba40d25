//! What is shown to whoever asks: folders that are served, tunnels in containers, addresses that are not what they are called.

use defenseclaw_model::facts::BehaviourKind::Control;

use super::super::elsewhere::RUN_VALUES;
use super::super::{Analysis, hosts, normal};
use super::control::TUNNELS;
use super::{Invocation, Table};
use crate::shell::Scope;

pub(super) const TABLE: Table = &[
    (
        &[
            "python",
            "php",
            "ruby",
            "busybox",
            "npx",
            "pnpx",
            "bunx",
            "http-server",
            "updog",
            "serve",
            "caddy",
            "rclone",
            "miniserve",
            "dufs",
            "darkhttpd",
            "live-server",
            "httpd",
            "simple-http-server",
            "sfz",
            "webfsd",
            "twistd",
            "filebrowser",
            "quark",
            "static-web-server",
            "goshs",
            "gohttpserver",
        ],
        serves,
    ),
    (&["docker", "podman", "nerdctl", "kubectl", "oc"], image),
    (&["curl"], hidden_host),
];

/// A folder's files for whoever asks. Many look at a web page so; the port and folder tell no more.
fn serves(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let words: Vec<_> = call.words().take(3).collect();
    let does = match call.name {
        name if name.starts_with("python") => matches!(
            words.as_slice(),
            [
                "-m",
                "http.server" | "SimpleHTTPServer" | "pyftpdlib" | "uploadserver",
                ..
            ]
        ),
        "php" => words.first() == Some(&"-S"),
        "ruby" => call.any(&["-run"]) && call.any(&["httpd"]),
        "busybox" => words.first() == Some(&"httpd"),
        "npx" | "pnpx" | "bunx" => {
            let program = words.iter().find(|word| !word.starts_with('-'));
            matches!(program, Some(&("http-server" | "serve" | "live-server")))
        }
        "caddy" => words.first() == Some(&"file-server"),
        "rclone" => words.first() == Some(&"serve"),
        "twistd" => words.contains(&"web"),
        "updog" | "serve" | "http-server" => call.words().any(|word| word == "-u" || word == "."),
        _ => true,
    };
    let near = call.holds(&["127.0.0.1", "localhost"]);
    let serves =
        does || matches!(call.name, "serve" | "http-server" | "updog") && !call.any(&["--version", "--help"]);
    if !serves || near {
        return;
    }
    if does {
        analysis.behave(Control, "file-server", call.name, None);
    }
    if let Some(folder) = whole_home(call, scope) {
        analysis.behave(Control, "home-server", folder, None);
    }
}

/// The folder that is served, if it is a home, or one above or a hidden one in it.
fn whole_home(call: &Invocation<'_>, scope: &Scope<'_>) -> Option<String> {
    const FOLDERS: &[&str] = &["-d", "--directory", "-t", "--root", "-root", "--dir", "-r"];
    const VALUES: &[&str] = &[
        "-d",
        "--directory",
        "-t",
        "-p",
        "--port",
        "-l",
        "-a",
        "--addr",
        "-e",
        "-c",
        "-h",
        "-S",
        "-b",
        "--bind",
        "-m",
        "--listen",
    ];
    let named = call.value(FOLDERS);
    let named = named.or_else(|| {
        call.value(&["-h"])
            .filter(|_| matches!(call.name, "busybox" | "httpd"))
    });
    let operand = || {
        let operands = call.operands_after(VALUES);
        operands.filter(|word| word.starts_with(['/', '~', '.'])).last()
    };
    let folder = named.or_else(operand).unwrap_or(".");
    let folder = match (folder.strip_prefix('~'), scope.home) {
        (Some(rest), Some(home)) => format!("{home}{rest}"),
        (Some("" | "/"), None) => return Some("~".to_owned()),
        _ => folder.to_owned(),
    };
    let path = normal::normalise(&folder, scope.cwd.as_deref());
    // Where the home itself is what is worked in, it is the project.
    if folder == "." && path != "/" && scope.previous.is_none() {
        return None;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let whole = match parts.as_slice() {
        _ if !path.starts_with('/') => path == "~",
        [] | ["home" | "Users" | "root" | "etc" | "var"] | ["home" | "Users", _] => true,
        ["home" | "Users", _, hidden] | ["root", hidden] => hidden.starts_with('.'),
        _ => scope.home == Some(path.as_str()),
    };
    whole.then_some(path)
}

/// A container of nothing but a tunnel: `docker run jpillora/chisel client …`.
fn image(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let mut operands = call
        .operands_after(RUN_VALUES)
        .skip_while(|word| matches!(*word, "container" | "compose"));
    if !matches!(operands.next(), Some("run" | "create")) {
        return;
    }
    let image = call.value(&["--image"]).or_else(|| operands.next());
    let asks = |word: &str| matches!(word, "version" | "--version" | "help" | "--help");
    if let Some(image) = image
        && !call.words().any(asks)
    {
        // Registry and owner before, tag and digest behind.
        let name = image.rsplit('/').next().unwrap_or_default();
        let name = name.split([':', '@']).next().unwrap_or_default();
        if TUNNELS.contains(&name) {
            analysis.behave(Control, "tunnel", name, None);
            analysis.behave(Control, "way-in", name, None);
        }
    }
}

/// A name that is said to be at another address than it has: `--resolve NAME:PORT:ADDRESS`, `--connect-to A:B:ADDRESS:PORT`.
fn hidden_host(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    const CARRIES: &[&str] = &["-d", "--data", "-T", "--upload-file", "-F", "--form", "--json"];
    // To look at a server before its name leads there is ordinary.
    if !call.begins(CARRIES) {
        return;
    }
    let at = |value: &str, field: usize| value.split(':').nth(field).map(str::to_owned);
    let resolved = call.values(&["--resolve"]).filter_map(|value| at(value, 2));
    let connected = call.values(&["--connect-to"]).filter_map(|value| at(value, 2));
    let addresses = resolved
        .chain(connected)
        .filter_map(|host| hosts::host_port(&host, None));
    for host in addresses {
        let public = host.host.parse().is_ok_and(|address: std::net::Ipv4Addr| {
            !(address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || address.is_unspecified())
        });
        if public {
            analysis.behave(Control, "other-address", host.host, None);
        }
    }
}
