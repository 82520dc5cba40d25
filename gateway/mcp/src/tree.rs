//! The processes of a server, all of them: those below it, and those that left it but not its sandbox.
//!
//! A sandbox has a mount namespace of its own, which no process in it can leave. What carries that namespace belongs to it,
//! whatever became of its parents, groups and sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How often what is still there is ended. A storm of forks loses against a few rounds, since what is killed forks no more.
const ROUNDS: usize = 200;
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(5);
/// The size of a page where the kernel does not say: small, so that too much is counted rather than too little.
const PAGE: u64 = 4096;

/// The processes of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    root: i32,
    /// The sandbox's mount namespace; `None` where it has none of its own.
    namespace: Option<PathBuf>,
}

impl Tree {
    /// Those of the process `root`, which has entered its sandbox.
    pub(crate) fn of(root: u32) -> Self {
        let own = fs::read_link("/proc/self/ns/mnt").ok();
        let its = fs::read_link(format!("/proc/{root}/ns/mnt")).ok();
        Self {
            root: i32::try_from(root).unwrap_or(-1),
            namespace: its.filter(|its| Some(its) != own.as_ref()),
        }
    }

    fn in_namespace(&self, pid: i32) -> bool {
        self.namespace.is_some() && fs::read_link(format!("/proc/{pid}/ns/mnt")).ok() == self.namespace
    }

    /// All that are alive.
    fn members(&self) -> Vec<i32> {
        let mut parents = BTreeMap::new();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
            if let Some(parent) = parent_of(pid) {
                parents.insert(pid, parent);
            }
        }
        let mut below: BTreeSet<i32> = BTreeSet::from([self.root]);
        // A child may have a smaller number than its parent: go on until nothing is added.
        loop {
            let known = below.len();
            below.extend(
                parents
                    .iter()
                    .filter(|(_, parent)| below.contains(parent))
                    .map(|(pid, _)| *pid)
                    .collect::<Vec<_>>(),
            );
            if below.len() == known {
                break;
            }
        }
        parents
            .into_keys()
            .filter(|pid| below.contains(pid) || self.in_namespace(*pid))
            .collect()
    }

    /// How many there are, and the memory that is theirs (bytes).
    pub(crate) fn weight(&self) -> (usize, u64) {
        let members = self.members();
        let page = rustix::param::page_size();
        let page = u64::try_from(page).unwrap_or(PAGE);
        let memory = members.iter().filter_map(|pid| {
            let sizes = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
            let mut sizes = sizes
                .split(' ')
                .skip(1)
                .map_while(|size| size.parse::<u64>().ok());
            // Resident, without what is shared with files.
            Some(sizes.next()?.saturating_sub(sizes.next().unwrap_or_default()) * page)
        });
        (members.len(), memory.sum())
    }

    /// Ends all of them. Says whether none is left.
    pub(crate) fn end(&self) -> bool {
        for _ in 0..ROUNDS {
            let members = self.members();
            if members.is_empty() {
                return true;
            }
            // A descriptor means one process for good. Whether that is one of ours is looked at once all are held, and before
            // the first is ended: children of what has ended are nobody's.
            let held: Vec<_> = members
                .into_iter()
                .filter_map(|pid| Some((pid, pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?)))
                .collect();
            let ours: BTreeSet<i32> = self.members().into_iter().collect();
            for (_, process) in held.iter().filter(|(pid, _)| ours.contains(pid)) {
                // It may have ended by itself.
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
            std::thread::sleep(PAUSE);
        }
        self.members().is_empty()
    }
}

/// The parent of a process that is alive.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.next()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn alive(pid: i32) -> bool {
        parent_of(pid).is_some()
    }

    #[test]
    fn children_and_grandchildren_are_ended_and_a_stranger_is_not() {
        let mut stranger = Command::new("sleep")
            .arg("60")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'sleep 60 & echo $!; wait' & wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(child.stdout.take().unwrap()),
            &mut line,
        )
        .unwrap();
        let grandchild: i32 = line.trim().parse().unwrap();
        let tree = Tree::of(child.id());
        assert_eq!(tree.namespace, None, "no sandbox here");
        let (count, memory) = tree.weight();
        assert!(count >= 3 && memory > 0, "{count} {memory}");
        // The root stays a zombie until it is waited for, which is not alive.
        let ended = tree.end();
        let lives = alive(i32::try_from(stranger.id()).unwrap());
        stranger.kill().unwrap();
        child.wait().unwrap();
        assert!(ended && lives && !alive(grandchild));
        stranger.wait().unwrap();
    }
}
