//! Prints one JSON report for each line `KIND PATH` of the standard input, by all rules and with source code read by syntax.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example for people at a terminal"
)]

use std::io::BufRead as _;
use std::path::Path;
use std::time::Instant;

use defenseclaw_code::CodeGuard;
use defenseclaw_detect::Detector;
use defenseclaw_detect::scan::Scanner;
use defenseclaw_model::scan::ScanKind;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let detector = match std::env::args().nth(1) {
        Some(folder) => Detector::from_dir(Path::new(&folder))?,
        None => Detector::embedded()?,
    };
    let scanner = Scanner::new(detector)?.with_code(Box::new(CodeGuard::embedded()?));
    let (mut files, mut bytes) = (0, 0);
    let start = Instant::now();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let Some((kind, path)) = line.split_once(' ') else {
            continue;
        };
        let kind: ScanKind = serde_json::from_value(kind.into())?;
        let report = scanner.scan(kind, Path::new(path))?;
        files += report.files;
        bytes += report.bytes;
        println!("{}", serde_json::to_string(&report)?);
    }
    eprintln!("{files} files, {bytes} bytes in {:?}", start.elapsed());
    Ok(())
}
