//! A client's outputs, read while it runs: one that tells of a large call would fill a pipe that nobody reads.

use std::io::Read;
use std::process::{Child, ExitStatus};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long one session may take. Most take a second; one whose call is as large as a payload may be, a minute and more on a
/// busy machine.
const DEADLINE: Duration = Duration::from_secs(300);

/// Reads to the end on a thread of its own.
pub(crate) fn collect(from: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // What came until it broke is what there is to show.
            let _ = from.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// What was read.
pub(crate) fn joined(reader: JoinHandle<String>) -> String {
    reader.join().unwrap_or_default()
}

/// Waits for the end; a client that takes too long is killed.
pub(crate) fn await_end(child: &mut Child, who: &str) -> Result<ExitStatus> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            bail!("{who} did not end within {} s", DEADLINE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
