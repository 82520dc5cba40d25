//! What the gate costs an open, and how long a folder that comes into a place is without its mark.
//!
//! `cargo run --release -p defenseclaw-agent --example gate_cost`, as root. A file of an admitted skill is opened and closed again and
//! again, in turns with the same file outside of any place; ratios are of medians in one run.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement ends at the first thing that fails"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use defenseclaw_agent::gate::{Gate, Outgoing, Setup};
use defenseclaw_model::admission::AdmissionAction;
use defenseclaw_model::config::Config;
use defenseclaw_model::decision::{Mode, Severity};
use defenseclaw_model::gate::GateAnswer;

const ROUNDS: usize = 200;
const OPENS: usize = 100;

fn main() {
    if std::env::args().nth(1).is_some() {
        return scan();
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = folder.path().canonicalize().unwrap();
    let skills = root.join("home/.claude/skills");
    fs::create_dir_all(&skills).unwrap();
    fs::create_dir(root.join("state")).unwrap();
    let mut config = Config {
        mode: Mode::Action,
        state: root.join("state"),
        ..Config::default()
    };
    config.gate.quarantine = false;
    let program = root.join("scanner");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let setup = Setup {
        config,
        scanners: vec![program],
        homes: vec![root.join("home")],
    };
    let gate = Arc::new(Gate::start(setup).unwrap());
    gate.connected();
    let stop = Arc::new(AtomicBool::new(false));
    let answers = serve(gate.clone(), stop.clone());
    opens(&root, &skills);
    arrivals(&gate, &root, &skills);
    stop.store(true, Ordering::Relaxed);
    answers.join().unwrap();
    if let Ok(gate) = Arc::try_unwrap(gate) {
        gate.stop();
    }
}

/// This program as a scanner that finds nothing.
fn scan() {
    use nix::sys::socket::{MsgFlags, recv, send};
    send(0, b"ready", MsgFlags::empty()).unwrap();
    // Zero bytes: the gate needs no scan any more.
    if recv(0, &mut [0; 4096], MsgFlags::empty()).unwrap() > 0 {
        send(0, b"{\"bytes\":2}", MsgFlags::empty()).unwrap();
        send(0, b"{}", MsgFlags::empty()).unwrap();
    }
}

/// A gateway that allows everything.
fn serve(gate: Arc<Gate>, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            for outgoing in gate.take() {
                if let Outgoing::Admit(request, ..) = outgoing {
                    let answer = GateAnswer {
                        action: AdmissionAction::Allow,
                        reason: String::new(),
                        severity: Severity::None,
                        enforced: true,
                        rules: Vec::new(),
                    };
                    gate.admitted(request, answer);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    })
}

fn opens(root: &Path, skills: &Path) {
    let skill = skills.join("x");
    fs::create_dir(&skill).unwrap();
    fs::read_dir(skills).unwrap().for_each(drop);
    let (held, free) = (skill.join("SKILL.md"), root.join("SKILL.md"));
    let beside = root.join("home/.bashrc");
    for path in [&held, &free, &beside] {
        fs::write(path, "text").unwrap();
    }
    let once = |path: &Path| {
        let begun = Instant::now();
        for _ in 0..OPENS {
            drop(fs::File::open(path).unwrap());
        }
        begun.elapsed().as_secs_f64() * 1e6 / OPENS as f64
    };
    once(&held);
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (times, path) in times.iter_mut().zip([&held, &free, &beside]) {
            times.push(once(path));
        }
    }
    let [with, without, beside] = times.map(median);
    println!("open of a file in a home, beside settings that are held: {beside:.1} µs");
    println!(
        "open of an admitted file: {with:.1} µs; of a file in no place: {without:.1} µs; {:.1} µs more",
        with - without
    );
}

fn arrivals(gate: &Gate, root: &Path, skills: &Path) {
    for files in [1, 100] {
        let mut times = Vec::new();
        for n in 0..50 {
            let made = root.join("made");
            fs::create_dir(&made).unwrap();
            for file in 0..files {
                fs::write(made.join(file.to_string()), "text").unwrap();
            }
            let skill = skills.join(format!("{files}-{n}"));
            let begun = Instant::now();
            fs::rename(&made, &skill).unwrap();
            while !gate.watches(&skill) {
                std::hint::spin_loop();
            }
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        let worst = times.last().copied().unwrap_or_default();
        println!(
            "from a rename into a place to the folder's mark, {files} files in it: {:.0} µs, at worst {worst:.0} µs",
            median(times)
        );
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}
