//! What somebody outside replaces or makes while a sandbox lasts. The process outside does it at every full beat of the clock, and
//! attacks try once, when their sandbox has covered it anew: until then no sandbox promises anything, and on an emulated machine
//! that is busy, too, it takes its time. What is never covered anew is tried all the same.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use defenseclaw_testkit::escape::scene::{DEFACED, Scene};

use crate::case::{ALL, Case, MOUNTS, Theme, case, loot};
use crate::reading::writable;
use crate::sys::{Attempt, refused};

pub(crate) const THEME: Theme = Theme {
    name: "meanwhile",
    cases: CASES,
};

/// How often the process outside does it. Half of it is time enough to renew what was replaced, but for an emulated machine that is
/// some thirty times slower and has both processors busy.
pub(crate) const BEAT: Duration = Duration::from_millis(1200);
/// How many beats an attack lets pass in which nothing was covered anew in time, before it tries: some profiles need no cover, for
/// they let nothing be written.
const PATIENCE: u32 = 6;

const CASES: &[Case] = &[
    case!("read-file-saved-meanwhile": "opens a closed file that somebody outside has saved by rename meanwhile", |s| {
              one_covered_anew(s, &s.beaten_secret());
              loot(&fs::read(s.beaten_secret())?)
          }; twin "opens a source file meanwhile", |s| {
              after_a_beat();
              Ok(format!("{} bytes", fs::read(s.project.join("src/main.c"))?.len()))
          }; ALL, MOUNTS, renewed true),
    case!("read-file-saved-at-terminal": "at a terminal, opens a closed file that somebody outside has saved by rename meanwhile", |s| {
              one_covered_anew(s, &s.beaten_secret());
              loot(&fs::read(s.beaten_secret())?)
          }; twin "at a terminal, makes files with a secret's name and opens them", |s| {
              let file = writable(s)?.join(".env.twin");
              fs::write(&file, "twin")?;
              std::thread::sleep(Duration::from_millis(50));
              Ok(format!("{} bytes", fs::read(file)?.len()))
          }; ALL, MOUNTS, terminal true),
    case!("write-settings-saved-at-terminal": "at a terminal, writes a sealed file that somebody outside has saved meanwhile", |s| {
              one_covered_anew(s, &s.beaten_settings());
              append(&s.beaten_settings())
          }; twin "reads the sealed file meanwhile", |s| {
              after_a_beat();
              Ok(format!("{} bytes", fs::read(s.beaten_settings())?.len()))
          }; ALL, MOUNTS, terminal true),
    case!("read-file-made-meanwhile": "opens files with a secret's name that somebody outside has made meanwhile", |s| {
              any(&covered_anew(s, || made(&s.project, ".env.beat-")), |path| loot(&fs::read(path)?))
          }; twin "opens files of its own that it has made meanwhile", own_files; ALL, MOUNTS, renewed true),
    case!("write-settings-saved-meanwhile": "writes a sealed file that somebody outside has saved by rename meanwhile", |s| {
              one_covered_anew(s, &s.beaten_settings());
              append(&s.beaten_settings())
          }; twin "reads the sealed file meanwhile", |s| {
              after_a_beat();
              Ok(format!("{} bytes", fs::read(s.beaten_settings())?.len()))
          }; ALL, MOUNTS, renewed true),
    case!("write-hooks-remade-meanwhile": "writes into a sealed folder that somebody outside has replaced meanwhile", |s| {
              one_covered_anew(s, &s.beaten_hooks());
              append(&s.beaten_hooks().join("pre-commit"))
          }; twin "reads the sealed folder meanwhile", |s| {
              after_a_beat();
              Ok(format!("{} bytes", fs::read(s.beaten_hooks().join("pre-commit"))?.len()))
          }; ALL, MOUNTS, renewed true),
    case!("ask-socket-restarted-meanwhile": "asks a socket whose service was restarted meanwhile", |s| {
              one_covered_anew(s, &s.beaten_socket());
              talk(&s.beaten_socket())
          }; twin "talks through a socket of its own meanwhile", own_socket; ALL, MOUNTS, renewed true, judge Outside),
    case!("ask-socket-made-meanwhile": "asks sockets that came meanwhile into a folder where others lie", |s| {
              any(&covered_anew(s, || made(&s.later_sockets(), "beat-")), talk)
          }; twin "talks through a socket of its own meanwhile", own_socket; ALL, MOUNTS, renewed true, judge Outside),
];

fn since_a_beat() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(u64::try_from(now.as_millis() % BEAT.as_millis()).unwrap_or(0))
}

/// Waits for the next beat.
pub(crate) fn beat() {
    std::thread::sleep(BEAT.saturating_sub(since_a_beat()));
}

fn after_a_beat() {
    beat();
    std::thread::sleep(BEAT / 2);
}

/// Waits for a beat, and behind it until there are such paths and each of them is covered: a mount point of this sandbox's own.
/// Says which: what comes later is covered later.
fn covered_anew(scene: &Scene, paths: impl Fn() -> Vec<PathBuf>) -> Vec<PathBuf> {
    for _ in 0..PATIENCE {
        after_a_beat();
        // Looked at to the last before the next beat, which uncovers them again.
        while since_a_beat() < BEAT * 3 / 4 {
            let found = paths();
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
            let points: Vec<&Path> = points
                .map(Path::new)
                .filter(|point| point.starts_with(&scene.home))
                .collect();
            // Without a sandbox nothing is covered, ever.
            let covered = points.is_empty() || found.iter().all(|path| points.contains(&path.as_path()));
            if covered && !found.is_empty() {
                return found;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    paths()
}

/// The same for one path.
fn one_covered_anew(scene: &Scene, path: &Path) {
    covered_anew(scene, || vec![path.to_owned()]);
}

/// Files of that prefix; where the folder cannot be listed, none.
fn made(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    ours.map(|entry| entry.path()).collect()
}

/// The first that succeeds.
fn any(paths: &[PathBuf], act: impl Fn(&Path) -> Attempt) -> Attempt {
    let mut result = refused("there is none");
    for path in paths {
        result = act(path);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn append(file: &Path) -> Attempt {
    let mut file = fs::OpenOptions::new().append(true).open(file)?;
    file.write_all(DEFACED.as_bytes())?;
    Ok("appended".to_owned())
}

fn talk(path: &Path) -> Attempt {
    UnixStream::connect(path)?.write_all(DEFACED.as_bytes())?;
    Ok("sent".to_owned())
}

fn own_files(scene: &Scene) -> Attempt {
    let folder = writable(scene)?;
    for number in 0..20 {
        fs::write(folder.join(format!("env-{number}")), "twin")?;
    }
    std::thread::sleep(Duration::from_millis(50));
    for number in 0..20 {
        fs::read(folder.join(format!("env-{number}")))?;
    }
    Ok("20 files".to_owned())
}

fn own_socket(scene: &Scene) -> Attempt {
    let path = writable(scene)?.join("meanwhile.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    std::thread::sleep(Duration::from_millis(50));
    UnixStream::connect(&path)?.write_all(b"twin")?;
    listener.accept()?;
    Ok("talked".to_owned())
}
