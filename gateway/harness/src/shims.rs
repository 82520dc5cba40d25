//! Plugins for harnesses that start no hook command: thin shims that hand each event to the gateway's socket.
//!
//! Each plugin is one module: the part that all share (`policies/harness/shims/gateway.js`), and its own behind it.

/// One file of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimFile {
    /// Its path below the plugin's folder.
    pub path: &'static str,
    /// What it holds.
    pub content: &'static str,
}

const OPENCODE: &[ShimFile] = &[ShimFile {
    path: "defenseclaw.js",
    content: concat!(
        include_str!("../../../policies/harness/shims/gateway.js"),
        include_str!("../../../policies/harness/shims/opencode.js")
    ),
}];

const OPENCLAW: &[ShimFile] = &[
    ShimFile {
        path: "index.js",
        content: concat!(
            include_str!("../../../policies/harness/shims/gateway.js"),
            include_str!("../../../policies/harness/shims/openclaw/plugin.js")
        ),
    },
    ShimFile {
        path: "openclaw.plugin.json",
        content: include_str!("../../../policies/harness/shims/openclaw/openclaw.plugin.json"),
    },
    ShimFile {
        path: "package.json",
        content: include_str!("../../../policies/harness/shims/openclaw/package.json"),
    },
];

/// The files of a connector's plugin; none for a harness that starts hook commands.
pub fn files(connector: &str) -> &'static [ShimFile] {
    match connector {
        "opencode" => OPENCODE,
        "openclaw" => OPENCLAW,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Contracts, Transport};

    #[test]
    fn every_plugin_has_its_files_and_nothing_else_has() {
        for contract in Contracts::embedded().unwrap().iter() {
            let is_plugin = contract.transport() == Transport::Plugin;
            assert_eq!(
                !files(contract.name()).is_empty(),
                is_plugin,
                "{}",
                contract.name()
            );
        }
    }
}
