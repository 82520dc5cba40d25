//! `read_code FILE…`: what is to be said of these files together; `--cost N` reads them N times and tells how long once takes.

use std::time::Instant;

use defenseclaw_code::CodeGuard;
use defenseclaw_detect::scan::code::{CodeReader as _, Language, SourceFile};

fn main() {
    let mut words = std::env::args().skip(1).peekable();
    let mut rounds = 0_u32;
    if words.next_if(|word| word == "--cost").is_some() {
        rounds = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
    }
    let texts: Vec<(String, String)> = words
        .filter_map(|path| {
            let bytes = std::fs::read(&path).ok()?;
            Some((path, String::from_utf8_lossy(&bytes).into_owned()))
        })
        .collect();
    let files: Vec<SourceFile<'_>> = texts
        .iter()
        .filter_map(|(path, text)| {
            Some(SourceFile {
                path,
                line: 1,
                language: Language::of_name(path.rsplit('.').next()?)?,
                text,
            })
        })
        .collect();
    let guard = match CodeGuard::embedded() {
        Ok(guard) => guard,
        Err(error) => return eprintln!("{error}"),
    };
    for finding in guard.read(&files) {
        eprintln!(
            "{} {} {}:{} {}",
            finding.severity.as_str(),
            finding.rule,
            finding.file,
            finding.line,
            finding.message
        );
    }
    let start = Instant::now();
    for _ in 0..rounds {
        std::hint::black_box(guard.read(&files));
    }
    if rounds > 0 {
        let bytes: usize = texts.iter().map(|(_, text)| text.len()).sum();
        eprintln!(
            "{} files, {bytes} bytes: {:?} each time",
            files.len(),
            start.elapsed() / rounds
        );
    }
}
