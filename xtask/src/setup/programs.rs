//! Programs and files that come from the distribution's packages.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Action, Kind, Wanted};
use crate::arch::Architecture;
use crate::host::find_in_path;

/// What is missing of them.
pub(super) fn plan(wanted: &Wanted) -> Option<Action> {
    let mut packages: BTreeSet<String> = BTreeSet::new();
    let mut reasons = Vec::new();
    for (needed, what, names, why) in PROGRAMS {
        let there = if what.starts_with('/') {
            Path::new(what).exists()
        } else {
            find_in_path(what).is_some()
        };
        if needed(wanted) && !there {
            packages.extend(names.iter().map(ToString::to_string));
            reasons.push(format!("{what} ({why})"));
        }
    }
    (!packages.is_empty()).then(|| Action {
        why: reasons.join(", "),
        kind: Kind::Apt(packages.into_iter().collect()),
    })
}

/// Who needs it, the program or file to look for, the packages that bring it, and what it is for.
type Program = (
    fn(&Wanted) -> bool,
    &'static str,
    &'static [&'static str],
    &'static str,
);

const PROGRAMS: [Program; 17] = [
    (|_| true, "cc", &["gcc", "libc6-dev"], "compiles SQLite and links"),
    (
        |_| true,
        "git",
        &["git"],
        "the sessions work in small repositories",
    ),
    (
        |_| true,
        "/usr/include/seccomp.h",
        &["libseccomp-dev"],
        "builds the supervisor of sandboxes",
    ),
    (
        |w| w.guests || w.systems == Some(Architecture::Amd64),
        "qemu-system-x86_64",
        &["qemu-system-x86", "ipxe-qemu", "seabios"],
        "boots the test guests",
    ),
    (
        |w| w.systems == Some(Architecture::Arm64),
        "qemu-system-aarch64",
        &["qemu-system-arm", "ipxe-qemu"],
        "boots the test guests of the other architecture",
    ),
    (
        |w| w.systems.is_some(),
        "mke2fs",
        &["e2fsprogs"],
        "makes the test guests' disks",
    ),
    (
        |w| w.guests || w.systems.is_some() || w.clean_root,
        DEBIAN_KEYS,
        &["debian-archive-keyring"],
        "checks the test guests' kernels, and the clean root",
    ),
    (|w| w.client, "npm", &["npm"], "fetches the real Claude Code"),
    (
        |w| w.client,
        "bwrap",
        &["bubblewrap"],
        "what Codex and Claude Code make their own sandboxes with",
    ),
    (
        |w| w.client,
        "socat",
        &["socat"],
        "how Claude Code's own sandbox reaches the network",
    ),
    (|w| w.packages, "dpkg-deb", &["dpkg"], "writes packages"),
    (
        |w| w.packages || w.systems.is_some(),
        "xz",
        &["xz-utils"],
        "compresses the repository's lists, unpacks the modules of guests' kernels",
    ),
    (
        |w| w.packages,
        "lintian",
        &["lintian"],
        "checks packages against Debian's rules",
    ),
    (
        |w| w.packages,
        "gpg",
        &["gpg", "gpg-agent"],
        "signs the repository",
    ),
    (
        |w| w.clean_root || w.systems.is_some(),
        "debootstrap",
        &["debootstrap"],
        "makes the roots that packages are tried in",
    ),
    (|w| w.bench, "curl", &["curl"], "the benchmark's comparison"),
    (|w| w.bench, "jq", &["jq"], "the benchmark's comparison"),
];
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
