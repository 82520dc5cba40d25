//! The people of this host, and looking into their homes with their own rights.
//!
//! A home belongs to whoever owns it, and everything in it may be made to mislead: links into foreign files, settings that are
//! pipes, a file system that never answers. So what is done in a home is done by a process of its own that has given up root's
//! rights for that user's before it starts, has a bounded time, and whose words are made safe before they are printed.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::CliError;

/// User ids of people; between them and 65534 are services', "nobody" and what no host gives out.
const PEOPLE: std::ops::Range<u32> = 1000..65534;
/// How long one home may take: a few files are read and written.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often to look whether it is done.
const PAUSE: Duration = Duration::from_millis(10);
/// What is kept of what a process in a home says (bytes): a few lines for each of eleven harnesses.
const MAX_WORDS: u64 = 256 << 10;

/// Someone with a home.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Person {
    /// User id.
    pub(super) uid: u32,
    /// Group id.
    pub(super) gid: u32,
    /// The name, for a person to read and for a command line.
    pub(super) name: String,
    /// The home folder.
    pub(super) home: PathBuf,
}

/// Root and the people in the password file below `root` whose homes are there, each home once.
pub(super) fn all(root: &Path) -> Result<Vec<Person>, CliError> {
    let path = root.join("etc/passwd");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        CliError::NotFound(format!(
            "the users of this host cannot be read from {}: {error}. Name one with --user",
            path.display()
        ))
    })?;
    let mut homes = BTreeSet::new();
    let mut people: Vec<Person> = text.lines().filter_map(|line| person(root, line)).collect();
    people.retain(|person| homes.insert(person.home.clone()));
    Ok(people)
}

fn person(root: &Path, line: &str) -> Option<Person> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, _] = fields.as_slice() else {
        return None;
    };
    let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
    let home = root.join(home.strip_prefix('/')?);
    // A home that is the whole host is nobody's.
    let there = home != root && home.symlink_metadata().is_ok();
    ((uid == 0 || PEOPLE.contains(&uid)) && there).then(|| Person {
        uid,
        gid,
        name: (*name).to_owned(),
        home,
    })
}

/// What a process in a home answered.
#[derive(Debug)]
pub(super) struct Said {
    /// Its exit status; `None` if it did not end by itself.
    pub(super) status: Option<i32>,
    /// What it printed. Whoever owns the home may have written it.
    pub(super) out: String,
    /// What it complained of.
    pub(super) notes: String,
}

/// Runs this program with those arguments, on the host whose files begin at `root`, as that person and nobody else: no further groups,
/// no variables but ours, no input.
pub(super) fn as_person(person: &Person, root: &Path, arguments: &[&str]) -> std::io::Result<Said> {
    let mut command = this_program(root, arguments)?;
    command.env("HOME", &person.home);
    if nix::unistd::geteuid().is_root() && person.uid != 0 {
        // Root's groups go with its user id.
        command.uid(person.uid).gid(person.gid);
    }
    within(&mut command)
}

/// The same with this process's own rights: for what needs root's own state, and takes on the person's rights for each file.
pub(super) fn apart(root: &Path, arguments: &[&str]) -> std::io::Result<Said> {
    within(&mut this_program(root, arguments)?)
}

fn this_program(root: &Path, arguments: &[&str]) -> std::io::Result<Command> {
    let root = std::path::absolute(root)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).arg("--root").arg(root);
    command.env_clear().current_dir("/");
    for name in [
        "DEFENSECLAW_CONFIG",
        "DEFENSECLAW_SOCKET",
        "DEFENSECLAW_STATE",
        "TZ",
    ] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    Ok(command)
}

fn within(command: &mut Command) -> std::io::Result<Said> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let out = child.stdout.take().map(listen);
    let notes = child.stderr.take().map(listen);
    let begun = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status.code(),
            None if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            None => {
                let _ = child.kill(); // It may have ended just now.
                // Not waited for: one that hangs in a file system that never answers cannot be ended before that does.
                return Ok(Said {
                    status: None,
                    out: String::new(),
                    notes: format!("it took longer than {} s and was given up", PATIENCE.as_secs()),
                });
            }
        }
    };
    let text = |listener: Option<Listener>| {
        listener
            .and_then(|listener| listener.join().ok())
            .unwrap_or_default()
    };
    Ok(Said {
        status,
        out: text(out),
        notes: text(notes),
    })
}

type Listener = std::thread::JoinHandle<String>;

/// Reads to the end, and keeps the beginning: who has more to say is not kept waiting.
fn listen(mut from: impl Read + Send + 'static) -> Listener {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let _ = Read::by_ref(&mut from).take(MAX_WORDS).read_to_end(&mut kept);
        let _ = std::io::copy(&mut from, &mut std::io::sink());
        String::from_utf8_lossy(&kept).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_root_and_those_from_1000_on_whose_homes_are_there() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["etc", "root", "home/ada", "home/service", "home/high"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let lines = "root:x:0:0::/root:/bin/sh\nservice:x:999:999::/home/service:/bin/false\n\
                     ada:x:1000:1001:Ada,,,:/home/ada:/bin/sh\ntwin:x:1002:1002::/home/ada:/bin/sh\n\
                     gone:x:1003:1003::/home/gone:/bin/sh\nhost:x:1004:1004::/:/bin/sh\n\
                     high:x:65534:65534::/home/high:/bin/sh\nbroken:x:1005\nodd:x:x:1::/home/ada:/bin/sh\n";
        std::fs::write(root.path().join("etc/passwd"), lines).unwrap();
        let people = all(root.path()).unwrap();
        let told: Vec<_> = people
            .iter()
            .map(|person| (person.name.as_str(), person.uid, person.gid))
            .collect();
        assert_eq!(told, [("root", 0, 0), ("ada", 1000, 1001)]);
        assert!(all(&root.path().join("nowhere")).is_err());
    }
}
