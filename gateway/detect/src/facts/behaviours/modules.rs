//! Packages that come from elsewhere than where packages come from every day.

use defenseclaw_model::facts::BehaviourKind::Execution;

use super::super::{Analysis, flows, hosts};
use super::Invocation;
use crate::shell::Scope;

/// Packages that come from an address rather than a registry.
pub(super) fn module(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let words: Vec<_> = call.operands().take(2).collect();
    let installs = match call.name {
        "deno" => words.first().is_some_and(|verb| *verb == "run"),
        "go" => words
            .first()
            .is_some_and(|verb| matches!(*verb, "run" | "install" | "get")),
        "npx" | "bunx" | "uvx" | "easy_install" => true,
        _ => call.any(&["install", "add", "i", "tool", "run", "pip"]),
    };
    if !installs {
        return;
    }
    let index = call.value(&[
        "-i",
        "--index-url",
        "--extra-index-url",
        "--source",
        "--registry",
        "--index",
        "--default-index",
        "-f",
        "--find-links",
    ]);
    let index = index
        .and_then(hosts::url_host)
        .map(|host| host.host)
        .filter(|host| !is_registry(host));
    let address = call.words().find_map(|word| {
        let bare = word.strip_prefix("git+").unwrap_or(word);
        let direct = word.starts_with("git+")
            || word.contains("@git+")
            || word.starts_with("http://")
            || word.starts_with("https://")
            || word.starts_with("git://")
            || call.value(&["--git"]) == Some(word);
        let bare = bare
            .split_once("@ ")
            .or_else(|| bare.split_once("@git+"))
            .map_or(bare, |(_, address)| address.trim_start_matches("git+"));
        direct
            .then(|| hosts::url_host(bare))
            .flatten()
            .map(|host| host.host)
            .filter(|host| !is_registry(host))
    });
    if let Some(host) = index.or(address).filter(|host| !flows::is_near(host)) {
        analysis.behave(Execution, "remote-module", host, None);
    }
}

/// Where packages come from every day.
fn is_registry(host: &str) -> bool {
    matches!(
        host,
        "pypi.org"
            | "files.pythonhosted.org"
            | "registry.npmjs.org"
            | "registry.yarnpkg.com"
            | "rubygems.org"
            | "download.pytorch.org"
            | "crates.io"
            | "proxy.golang.org"
            | "pypi.nvidia.com"
            | "pypi.ngc.nvidia.com"
            | "data.pyg.org"
            | "storage.googleapis.com"
            | "jsr.io"
            | "deno.land"
            | "esm.sh"
            | "index.crates.io"
            | "npm.pkg.github.com"
            | "test.pypi.org"
            | "wheels.vllm.ai"
            | "flashinfer.ai"
            | "developer.download.nvidia.com"
    )
}
