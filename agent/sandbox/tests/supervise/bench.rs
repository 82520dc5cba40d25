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

#[test]
#[ignore = "a measurement"]
fn opens_per_second() {
    let folder = folder();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let absolute = folder.path().join("file").to_str().unwrap().to_owned();
    for (supervised, workers) in [(false, 0), (true, 1), (true, 2), (true, 4)] {
        let mut run = Run {
            supervised,
            arguments: [
                "file",
                &absolute,
                "missing",
                "/proc/self/status",
                "/usr/lib/os-release",
            ]
            .map(String::from)
            .to_vec(),
            ..Run::new("open often", folder.path())
        };
        run.options.workers = workers;
        println!(
            "supervised: {supervised}, workers: {workers}\n{}",
            run.done().text
        );
    }
}
