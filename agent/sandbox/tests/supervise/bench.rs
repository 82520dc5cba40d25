//! What it costs. Not a check: `cargo test --release -p defenseclaw-sandbox bench -- --ignored --nocapture`.

use std::time::Instant;

use crate::harness::{Run, folder};
use crate::target::{open, tell};

const TIMES: u32 = 20_000;

pub(crate) fn act(operation: &str, arguments: &[&str]) -> Option<()> {
    if operation != "open often" {
        return None;
    }
    for path in arguments {
        let begin = Instant::now();
        for _ in 0..TIMES {
            let fd = open(path, libc::O_RDONLY | libc::O_CLOEXEC, 0);
            if fd >= 0 {
                // SAFETY: ours.
                unsafe { libc::close(fd) };
            }
        }
        tell(&format!(
            "{:.2} µs {path}",
            begin.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES)
        ));
    }
    Some(())
}

/// Processor time of this process and of its finished children, in microseconds.
fn processor_time() -> f64 {
    [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN]
        .map(|who| {
            // SAFETY: a zeroed `rusage` is valid, and writable.
            let usage = unsafe {
                let mut usage: libc::rusage = std::mem::zeroed();
                libc::getrusage(who, &raw mut usage);
                usage
            };
            let micros = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
            micros(usage.ru_utime) + micros(usage.ru_stime)
        })
        .iter()
        .sum()
}

#[test]
#[ignore = "a measurement"]
fn opens_per_second() {
    let folder = folder();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let absolute = folder.path().join("file").to_str().unwrap().to_owned();
    for (supervised, workers) in [(false, 0), (true, 1), (true, 2), (true, 4)] {
        println!("supervised: {supervised}, workers: {workers}");
        for path in [
            "file",
            &absolute,
            "missing",
            "/proc/self/status",
            "/usr/lib/os-release",
        ] {
            let mut run = Run {
                supervised,
                arguments: vec![path.into()],
                ..Run::new("open often", folder.path())
            };
            run.options.workers = workers;
            let before = processor_time();
            let text = run.done().text;
            let processor = (processor_time() - before) / f64::from(TIMES);
            println!("  {processor:6.2} µs of processor time; waited {}", text.trim());
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn programs() {
    let folder = folder();
    let commands: [&[&str]; 3] = [
        &["/bin/true"],
        &["/usr/bin/python3", "-c", "import json, urllib.request, email"],
        &[
            "/bin/sh",
            "-c",
            "for i in 1 2 3 4 5 6 7 8 9 10; do cat /etc/hostname >/dev/null; done",
        ],
    ];
    for command in commands {
        for (supervised, files) in [(false, false), (true, false), (true, true)] {
            let mut best = f64::MAX;
            let mut calls = 0;
            for _ in 0..20 {
                let begin = Instant::now();
                let mut run = Run {
                    supervised,
                    command: command.to_vec(),
                    ..Run::new("", folder.path())
                };
                run.watch.files = files;
                calls = run.done().counts.received;
                best = best.min(begin.elapsed().as_secs_f64() * 1e3);
            }
            println!("{best:8.2} ms, {calls} calls: supervised {supervised}, files {files}: {command:?}");
        }
    }
}
