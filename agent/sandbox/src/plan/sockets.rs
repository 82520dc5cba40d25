//! Path Unix sockets of the host: what listens behind them acts outside of the sandbox (docker, the session bus, agents of keys).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Folders that hold nothing but sockets and what belongs to them; closed as a whole, for sockets that come later too.
const FOLDERS: [&str; 8] = [
    "/run/dbus",
    "/run/docker",
    "/run/containerd",
    "/run/podman",
    "/run/libvirt",
    "/run/snapd",
    "/run/user",
    "/tmp/.X11-unix",
];
/// Sockets with their own names in `/run`.
const SOCKETS: [&str; 3] = ["/run/docker.sock", "/run/snapd.socket", "/run/crio/crio.sock"];
/// Most sockets that are closed one by one. Each costs a mount.
pub const MAX_SOCKETS: usize = 4096;
/// What the kernel's table of sockets takes on a usual host, twice (bytes): the kernel goes through it anew for each part that is read.
const TABLE_SIZE: usize = 64 << 10;

/// The sockets and folders of sockets on this host that are not `inside`, and whether there are more than can be closed.
pub(super) fn outside(inside: impl Fn(&Path) -> bool) -> (Vec<PathBuf>, bool) {
    // A set: every accepted connection is listed by its listener's path again.
    let named = FOLDERS.iter().chain(&SOCKETS).map(PathBuf::from);
    let mut found: BTreeSet<PathBuf> = super::existing(named).into_iter().collect();
    // All that are bound in this network namespace, whoever did; a path is told as it was given to bind.
    // Twice: a socket may be passed over while others come and go beside it in the kernel's table.
    let mut table = Vec::with_capacity(TABLE_SIZE);
    for _ in 0..2 {
        if let Ok(mut file) = File::open("/proc/net/unix") {
            // What could be read counts.
            let _ = file.read_to_end(&mut table);
        }
    }
    let table = String::from_utf8_lossy(&table);
    let mut cut = false;
    for line in table.lines().skip(1) {
        let Some(at) = line.find(" /") else { continue };
        let Ok(path) = fs::canonicalize(&line[at + 1..]) else {
            continue;
        };
        let socket = fs::metadata(&path).is_ok_and(|meta| meta.file_type().is_socket());
        if !socket || inside(&path) || found.contains(&path) {
            continue;
        }
        if found.len() >= MAX_SOCKETS {
            cut = true;
            break;
        }
        found.insert(path);
    }
    let mut found: Vec<PathBuf> = found.into_iter().filter(|path| !inside(path)).collect();
    found.dedup_by(|below, above| below.starts_with(&*above));
    (found, cut)
}
