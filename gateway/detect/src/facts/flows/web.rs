//! Web clients: what they fetch, what they send, and what of it comes in on their input.

use defenseclaw_model::facts::FlowKind;

use super::super::behaviours::Invocation;
use super::super::{Access, Analysis, hosts};
use super::ends::{gives, is_near, secret_names, sends};
use super::{Node, Way};
use crate::shell::{Field, Scope};

/// The host of a web client's URL: what it fetches from and sends to.
fn web_host(call: &Invocation<'_>, values: &[&str]) -> Option<String> {
    let mut unknown = false;
    let mut hosts = call.operands_after(values).chain(call.value(&["--url"]));
    let far = hosts.find_map(|text| {
        let host = match hosts::url_host(text) {
            Some(host) => Some(host.host),
            None if text.contains(['$', '`']) => {
                unknown = true;
                None
            }
            None => {
                let bare = text.split(['/', '?']).next().unwrap_or_default();
                hosts::host_port(bare, None)
                    .map(|host| host.host)
                    .filter(|host| host.contains('.'))
            }
        };
        host.filter(|host| !is_near(host))
    });
    far.or_else(|| unknown.then(String::new))
}

/// curl's options that take a value; what is not listed takes none or does not matter.
const CURL_VALUES: &[&str] = &[
    "-o",
    "--output",
    "-D",
    "-c",
    "-d",
    "--data",
    "--data-binary",
    "--data-raw",
    "--data-ascii",
    "--data-urlencode",
    "--json",
    "-F",
    "--form",
    "--form-string",
    "-T",
    "--upload-file",
    "-K",
    "--config",
    "-b",
    "--cookie",
    "--url",
    "-x",
    "--proxy",
    "--resolve",
    "-H",
    "--header",
    "-A",
    "--user-agent",
    "-u",
    "--user",
    "-X",
    "--request",
    "-m",
    "--max-time",
    "--connect-timeout",
    "-w",
    "--write-out",
    "-e",
    "--referer",
    "-E",
    "--cert",
    "--key",
    "--cacert",
    "--capath",
    "-r",
    "--retry",
    "--retry-delay",
    "--retry-max-time",
    "-C",
    "--limit-rate",
    "--interface",
    "--unix-socket",
    "--output-dir",
    "--connect-to",
    "--dump-header",
    "--cookie-jar",
    "--range",
];

/// curl's options that carry data away.
const CURL_DATA: &[&str] = &[
    "-d",
    "--data",
    "--data-binary",
    "--data-ascii",
    "--data-urlencode",
    "--json",
    "-F",
    "--form",
    "-T",
    "--upload-file",
    "--data-raw",
];

pub(super) fn curl(analysis: &mut Analysis, node: &mut Node, call: &Invocation<'_>, scope: &Scope<'_>) {
    node.ends_flow = true;
    node.deaf = true;
    let Some(host) = web_host(call, CURL_VALUES) else {
        return;
    };
    gives(node, FlowKind::Network, &host);
    let mut data = call.values(CURL_DATA);
    let from_input = |value: &str| {
        matches!(value, "-" | "." | "@-")
            || value.ends_with("@-")
            || value.contains("=@-")
            || value.contains("/dev/stdin")
    };
    let input = data.clone().any(from_input);
    let own = data.next().is_some();
    let takes = Way::Argument.bit()
        | Way::Login.bit()
        | (Way::Input.bit() * u8::from(input))
        | (Way::File.bit() * u8::from(own));
    sends(node, &host, web_technique(&host, call), takes, own);
    if own {
        let words = call.values(CURL_DATA).flat_map(secret_names);
        let names: Vec<_> = words.map(str::to_owned).collect();
        names
            .iter()
            .for_each(|name| gives(node, FlowKind::Environment, name));
    }
    if call.short("OJ") || call.any(&["--remote-name", "--remote-name-all"]) {
        saved(analysis, call, CURL_VALUES, scope);
    }
}

/// The technique of sending to `host`.
fn web_technique(host: &str, call: &Invocation<'_>) -> &'static str {
    if hosts::is_paste(host) {
        "paste"
    } else if call.words().any(hosts::is_chat_webhook) {
        "chat-webhook"
    } else {
        "upload"
    }
}

/// wget's options that take a value.
const WGET_VALUES: &[&str] = &[
    "-O",
    "--output-document",
    "-o",
    "-a",
    "-P",
    "--directory-prefix",
    "-i",
    "--post-file",
    "--body-file",
    "--post-data",
    "--body-data",
    "--header",
    "-U",
    "--user-agent",
    "-T",
    "-t",
    "--tries",
    "--timeout",
    "-A",
    "-R",
    "-l",
    "-w",
    "-Q",
    "-e",
    "--user",
    "--password",
    "--method",
];

pub(super) fn wget(analysis: &mut Analysis, node: &mut Node, call: &Invocation<'_>, scope: &Scope<'_>) {
    node.ends_flow = true;
    node.deaf = true;
    let Some(host) = web_host(call, WGET_VALUES) else {
        return;
    };
    gives(node, FlowKind::Network, &host);
    let own = call.values(&["--post-file", "--body-file"]).next().is_some();
    let takes =
        Way::Argument.bit() | Way::Login.bit() | ((Way::Input.bit() | Way::File.bit()) * u8::from(own));
    sends(node, &host, web_technique(&host, call), takes, own);
    // `-qO-` gives `-O` its value, too.
    if call.value(&["-O", "--output-document"]).is_none() && !call.short("O") && !call.any(&["--spider"]) {
        saved(analysis, call, WGET_VALUES, scope);
    }
}

/// The files that a download is saved as, by the last component of its URL.
fn saved(analysis: &mut Analysis, call: &Invocation<'_>, values: &[&str], scope: &Scope<'_>) {
    let folder = call.value(&["-P", "--directory-prefix", "--output-dir"]);
    for url in call.operands_after(values) {
        let path = url.split_once("://").map_or(url, |(_, rest)| rest);
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let Some((_, name)) = path.rsplit_once('/') else {
            continue;
        };
        if name.is_empty() || name.contains(['$', '`', '*', '{']) {
            continue;
        }
        let path = folder.map_or_else(
            || name.to_owned(),
            |folder| format!("{}/{name}", folder.trim_end_matches('/')),
        );
        analysis.path(Access::Write, &Field::literal(path), scope);
    }
}
